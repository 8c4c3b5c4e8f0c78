//! The keys of files that are served without PHP.

use super::{EXTENSION, Field, HEADER, Key, TIME, key, section};
use crate::config::{
    compound::{Fields, List, Maybe},
    form::{FilePath, Flag, Size},
};

/// Those of the middleware `static`.
pub(super) const STATIC: &[Key] = &[
    section(
        "http.static",
        "Files served before a worker is asked, if http.middleware has static; what http.root never shows is left to it. Wherever static is listed it is the innermost, so that no file passes by a guard, and each has the headers that others set.",
    ),
    key("http.static.dir", "The directory that holds them.", &Field(|c| &mut c.http.statics.dir, Maybe(FilePath))),
    key(
        "http.static.forbid",
        "Extensions of files that are left to the worker, such as .php.",
        &Field(|c| &mut c.http.statics.forbid, List(EXTENSION)),
    ),
    key(
        "http.static.allow",
        "Extensions of the files served; empty means any. A file without an extension never is.",
        &Field(|c| &mut c.http.statics.allow, List(EXTENSION)),
    ),
    key("http.static.calculate_etag", "Send an ETag.", &Field(|c| &mut c.http.statics.calculate_etag, Flag)),
    key("http.static.weak", "The ETag is a weak one.", &Field(|c| &mut c.http.statics.weak, Flag)),
    key("http.static.request", "Fields added to requests for files.", &Field(|c| &mut c.http.statics.request, Fields)),
    key("http.static.response", "Fields set in answers with files.", &Field(|c| &mut c.http.statics.response, Fields)),
];

/// Those below a root.
pub(super) const FILES: &[Key] = &[
    section("http.files", "Files served without PHP."),
    key(
        "http.files.cache_control",
        "The Cache-Control of every file, such as public, max-age=3600.",
        &Field(|c| &mut c.http.static_files.cache_control, Maybe(HEADER)),
    ),
    key(
        "http.files.cache_memory",
        "Bytes of files kept in memory; 0 means none are.",
        &Field(|c| &mut c.http.static_files.cache_memory, Size(0)),
    ),
    key(
        "http.files.cache_max_file",
        "The largest file kept in memory.",
        &Field(|c| &mut c.http.static_files.cache_max_file, Size(0)),
    ),
    key(
        "http.files.revalidate",
        "How long a kept file is served before it is looked at again.",
        &Field(|c| &mut c.http.static_files.revalidate, TIME),
    ),
    key(
        "http.files.precompressed",
        "Serve x.br, x.zst or x.gz beside x to clients that take it.",
        &Field(|c| &mut c.http.static_files.precompressed, Flag),
    ),
];
