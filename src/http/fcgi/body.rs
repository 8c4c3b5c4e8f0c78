//! A request body that the web server has already put into a file.

use std::{ffi::OsStr, fs::File, os::unix::ffi::OsStrExt, path::Path};

use crate::worker::Body;

/// nginx's `client_body_in_file_only`: the body is in a file of the web server.
pub(super) fn from_file(path: &[u8], length: u64) -> Body {
    let path = Path::new(OsStr::from_bytes(path));
    match File::open(path).and_then(|file| Ok((file.metadata()?.len(), file))) {
        Ok((size, file)) => Body::File { file, length: length.min(size) },
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "REQUEST_BODY_FILE cannot be read");
            Body::Empty
        }
    }
}
