//! `sendfile`: a script names a file in place of a body, by `X-Sendfile` or by `X-Accel-Redirect`.
//!
//! The first is a path, as RoadRunner and Apache's module have it, the second a URL below an internal location, as in nginx. The
//! file is sent as any other: with ranges and conditions, unlike RoadRunner's, which sends all of it under status 200. As there,
//! the script's other headers stay, but for those that speak of a body. An answer that names no file is left as it is, streams
//! among them. Neither header reaches the client.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};

use super::{Note, Verdict};
use crate::http::{
    Body,
    files::{Files, Target},
    response,
    route::decode,
};

/// Where files are found (`http.sendfile`).
#[derive(Clone, Debug)]
pub struct Config {
    /// Directories that hold what `X-Sendfile` names; a relative path is below the first.
    pub roots: Vec<PathBuf>,
    /// What `X-Accel-Redirect` begins with, and the directory that it stands for.
    pub locations: Vec<(String, PathBuf)>,
}

/// Sends the files that scripts name.
#[derive(Debug)]
pub struct Sendfile {
    roots: Vec<PathBuf>,
    locations: Vec<(String, PathBuf)>,
}

/// What the client asks of a file.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
}

const X_SENDFILE: HeaderName = HeaderName::from_static("x-sendfile");
const X_ACCEL_REDIRECT: HeaderName = HeaderName::from_static("x-accel-redirect");

/// What decides on the part of a file that is sent.
const CONDITIONS: [HeaderName; 7] = [
    header::ACCEPT_ENCODING,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
];

/// What a script says of a body that is not sent.
pub(super) const OF_BODY: [HeaderName; 7] = [
    header::ACCEPT_RANGES,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::TRANSFER_ENCODING,
];

// === impl Config ===

impl Config {
    /// Resolves the directories: a release that is switched by a symbolic link counts from the next reload.
    pub fn build(self) -> io::Result<Sendfile> {
        let resolve = |path: PathBuf| {
            let found = fs::canonicalize(&path)
                .and_then(|path| if path.is_dir() { Ok(path) } else { Err(io::ErrorKind::NotADirectory.into()) });
            found.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        };
        let roots = self.roots.into_iter().map(resolve).collect::<io::Result<_>>()?;
        let locations = self.locations.into_iter().map(|(prefix, path)| Ok((prefix, resolve(path)?)));
        let mut locations = locations.collect::<io::Result<Vec<_>>>()?;
        locations.sort_by_key(|(prefix, _)| usize::MAX - prefix.len());
        Ok(Sendfile { roots, locations })
    }
}

// === impl Sendfile ===

impl Sendfile {
    pub(super) fn before(parts: &Parts) -> Verdict {
        // A file in answer to a form is sent whole: conditions are those of GET and HEAD.
        let method = if parts.method == Method::HEAD { Method::HEAD } else { Method::GET };
        let mut headers = HeaderMap::new();
        if matches!(parts.method, Method::GET | Method::HEAD) {
            for name in CONDITIONS {
                for value in parts.headers.get_all(&name) {
                    headers.append(&name, value.clone());
                }
            }
        }
        Verdict::Pass(Note::Asked(Box::new(Asked { method, headers })))
    }

    pub(super) async fn after(&self, asked: Asked, mut response: Response<Body>, files: &Files) -> Response<Body> {
        let path = response.headers_mut().remove(X_SENDFILE);
        let url = response.headers_mut().remove(X_ACCEL_REDIRECT);
        let found = match (path, url) {
            // A script that has compared the validators itself has nothing to send.
            _ if response.status() == StatusCode::NOT_MODIFIED => return response,
            (Some(path), _) => self.named(&path),
            (None, Some(url)) => self.located(&url),
            (None, None) => return response,
        };
        let sent = match found {
            Ok(target) => match Box::pin(files.respond(&target, &asked.method, &asked.headers)).await {
                // It is a directory, a pipe, or gone since.
                none if none.status() == StatusCode::NOT_FOUND => response::plain(none.status()),
                sent => sent,
            },
            Err(status) => response::plain(status),
        };
        merged(response.into_parts().0.headers, sent)
    }

    /// The file that `X-Sendfile` names.
    fn named(&self, value: &HeaderValue) -> Result<Target, StatusCode> {
        let path = Path::new(OsStr::from_bytes(value.as_bytes()));
        let first = self.roots.first().map(PathBuf::as_path).unwrap_or(Path::new("/"));
        beneath(&self.roots, &first.join(path)).inspect_err(|status| {
            tracing::error!(%status, path = %path.display(), "X-Sendfile: no file of http.sendfile.roots");
        })
    }

    /// The file that `X-Accel-Redirect` names.
    fn located(&self, value: &HeaderValue) -> Result<Target, StatusCode> {
        let find = || {
            let url = value.to_str().ok()?;
            let path = decode(url.split(['?', '#']).next()?)?;
            let (prefix, root) = self.locations.iter().find(|(prefix, _)| path.starts_with(prefix.as_str()))?;
            Some(beneath(std::slice::from_ref(root), &root.join(&path[prefix.len()..])))
        };
        find().unwrap_or(Err(StatusCode::NOT_FOUND)).inspect_err(|status| {
            tracing::error!(%status, url = ?value, "X-Accel-Redirect: no file of http.sendfile.locations");
        })
    }
}

/// The file at `path`, if it is one below one of `roots`, wherever symbolic links lead.
fn beneath(roots: &[PathBuf], path: &Path) -> Result<Target, StatusCode> {
    if path.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(StatusCode::FORBIDDEN);
    }
    let real = fs::canonicalize(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        _ => StatusCode::NOT_FOUND,
    })?;
    if !roots.iter().any(|root| real.starts_with(root)) {
        return Err(StatusCode::FORBIDDEN);
    }
    let name = path.file_name().unwrap_or_default();
    Ok(Target::new(real, name))
}

/// `sent` under the headers of the script.
fn merged(mut script: HeaderMap, mut sent: Response<Body>) -> Response<Body> {
    OF_BODY.iter().for_each(|name| drop(script.remove(name)));
    if !matches!(sent.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        // Of the answers without the file, each has its own body, or none.
        script.remove(header::CONTENT_TYPE);
        script.remove(header::CONTENT_DISPOSITION);
    }
    if sent.headers().contains_key(header::CONTENT_ENCODING) || sent.headers().contains_key(header::VARY) {
        script.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    for name in script.keys() {
        sent.headers_mut().remove(name);
    }
    for name in script.keys() {
        for value in script.get_all(name) {
            sent.headers_mut().append(name, value.clone());
        }
    }
    sent
}
