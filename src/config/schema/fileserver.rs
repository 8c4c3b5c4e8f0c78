//! The keys of `fileserver`.

use super::{Field, Key, key, section};
use crate::config::{
    compound::{List, Maybe},
    fileserver::FolderForm,
    form::{Flag, Listen},
};

/// The rows.
pub(super) const OWN: &[Key] = &[
    section("fileserver", "Directories on a listener of their own, which never touch PHP."),
    key(
        "fileserver.address",
        "Where to listen, such as 127.0.0.1:10101.",
        &Field(|c| &mut c.fileserver.address, Maybe(Listen(""))),
    ),
    key("fileserver.calculate_etag", "Send an ETag.", &Field(|c| &mut c.fileserver.calculate_etag, Flag)),
    key("fileserver.weak", "The ETag is a weak one.", &Field(|c| &mut c.fileserver.weak, Flag)),
    key(
        "fileserver.stream_request_body",
        "Has no meaning: no request's body is read.",
        &Field(|c| &mut c.fileserver.stream_request_body, Flag),
    ),
    key(
        "fileserver.serve",
        "The directories: [prefix => /static, root => /srv/static], and compress, bytes_range, cache_duration and max_age in seconds.",
        &Field(|c| &mut c.fileserver.serve, List(FolderForm)),
    ),
];
