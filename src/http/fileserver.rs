//! `fileserver`: directories on a listener of their own, which never touch PHP, as RoadRunner's plugin has it.
//!
//! Unlike there, hidden files, left-overs and PHP's source are not sent, and nothing from outside of a directory.

use std::{io, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

use super::{
    Body, Incoming, Peer,
    conn::Handler,
    files::{self, Files},
    middleware::{Chain, Compress, Middleware},
    preset::Preset,
    response,
    route::{self, Route, Router},
};

/// One directory (`fileserver.serve`).
#[derive(Debug)]
pub struct Config {
    /// What its URLs begin with.
    pub prefix: String,
    /// Where it is.
    pub root: std::path::PathBuf,
    /// Answers with parts of a file.
    pub ranges: bool,
    /// Makes answers smaller.
    pub compress: Option<Compress>,
    /// How files are sent.
    pub files: files::Config,
}

/// Answers requests for files; cheap to clone.
#[derive(Clone, Debug)]
pub struct FileServer(Arc<[Folder]>);

#[derive(Debug)]
struct Folder {
    /// Without a slash at its end.
    prefix: String,
    router: Router,
    files: Files,
    ranges: bool,
    compress: Option<Chain>,
}

// === impl Config ===

impl Config {
    /// Resolves the directory and starts the threads that read files.
    fn build(self) -> io::Result<Folder> {
        let router = route::Config {
            root: self.root,
            preset: Preset::Files,
            index: vec!["index.html".into()],
            front_controller: None,
            rewrite: Vec::new(),
            follow_symlinks: false,
            error_pages: Vec::new(),
        };
        Ok(Folder {
            prefix: self.prefix.trim_end_matches('/').to_owned(),
            router: router.build()?,
            files: self.files.build()?,
            ranges: self.ranges,
            compress: Chain::new(self.compress.map(Middleware::Compress).into_iter().collect()),
        })
    }
}

// === impl FileServer ===

impl FileServer {
    /// One of these directories; where two have a URL, the longer prefix counts.
    pub fn new(folders: Vec<Config>) -> io::Result<Self> {
        let mut folders = folders.into_iter().map(Config::build).collect::<io::Result<Vec<_>>>()?;
        folders.sort_by_key(|folder| usize::MAX - folder.prefix.len());
        Ok(Self(folders.into()))
    }

    fn find<'p>(&self, path: &'p str) -> Option<(&Folder, &'p str)> {
        self.0.iter().find_map(|folder| {
            let rest = path.strip_prefix(folder.prefix.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then_some((folder, rest))
        })
    }
}

impl Handler for FileServer {
    async fn handle(&self, request: Request<Incoming>, mut peer: Peer) -> Response<Body> {
        let (mut parts, _) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let Some((folder, rest)) = self.find(&path) else { return response::plain(StatusCode::NOT_FOUND) };
        let Some(chain) = &folder.compress else { return folder.respond(rest, &parts.method, parts.headers).await };
        let (notes, _) = chain.before(&mut parts, &mut peer, None).await;
        let response = folder.respond(rest, &parts.method, parts.headers).await;
        chain.after(notes, response, &folder.files).await
    }
}

// === impl Folder ===

impl Folder {
    /// The answer to a request for `path` below the prefix, undecoded.
    async fn respond(&self, path: &str, method: &Method, mut headers: HeaderMap) -> Response<Body> {
        if path.is_empty() {
            return response::redirect(StatusCode::MOVED_PERMANENTLY, &format!("{}/", self.prefix));
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = response::plain(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let target = match self.router.route(path, "", "") {
            Route::File(target) => target,
            Route::Redirect { status, location } => return response::redirect(status, &format!("{}{location}", self.prefix)),
            Route::Script { .. } => return response::plain(StatusCode::NOT_FOUND),
            Route::Refuse(status) => return response::plain(status),
        };
        if !self.ranges {
            headers.remove(header::RANGE);
        }
        let mut response = self.files.respond(&target, method, &headers).await;
        if !self.ranges {
            response.headers_mut().remove(header::ACCEPT_RANGES);
        }
        match response.status() {
            status @ (StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => response::plain(status),
            _ => response,
        }
    }
}
