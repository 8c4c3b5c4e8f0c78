//! RoadRunner's `static`: files of one directory go before the worker, whatever the method; what is no file is the worker's.
//!
//! Unlike there, PHP's source, hidden files and left-overs are no files here, nor does a weak `ETag` outlive the content.

use std::{io, path::PathBuf};

use http::{HeaderMap, Method, Response, StatusCode};

use crate::http::{
    Body,
    files::{self, Files},
    preset::Preset,
    response,
    route::{self, Router},
};

/// `http.static`.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory.
    pub dir: PathBuf,
    /// Extensions in lower case, with their dot, that are the worker's.
    pub forbid: Vec<String>,
    /// The only ones that are not the worker's, unless there is none.
    pub allow: Vec<String>,
    /// Added to requests for files.
    pub request: HeaderMap,
    /// Set in answers with files.
    pub response: HeaderMap,
    /// How files are sent.
    pub files: files::Config,
}

/// Answers requests for files.
#[derive(Debug)]
pub struct Statics {
    router: Router,
    files: Files,
    forbid: Vec<String>,
    allow: Vec<String>,
    request: HeaderMap,
    response: HeaderMap,
}

// === impl Config ===

impl Config {
    /// Resolves the directory and starts the threads that read files.
    pub fn build(self) -> io::Result<Statics> {
        let router = route::Config {
            root: self.dir,
            preset: Preset::Files,
            index: Vec::new(),
            front_controller: None,
            rewrite: Vec::new(),
            // `public/storage` of a Laravel application is one that leads out.
            follow_symlinks: true,
            error_pages: Vec::new(),
        };
        let Self { forbid, allow, request, response, .. } = self;
        Ok(Statics { router: router.build()?, files: self.files.build()?, forbid, allow, request, response })
    }
}

// === impl Statics ===

impl Statics {
    /// The answer to a request for `path`, undecoded, if that is a file.
    pub async fn respond(&self, path: &str, method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
        if path.split('/').any(|segment| segment == "..") {
            return Some(response::plain(StatusCode::FORBIDDEN));
        }
        let target = self.router.file(path, |extension| self.accepts(extension))?;
        // As Go's ServeContent has it: whoever posts to a file is sent it.
        let method = if method == Method::HEAD { &Method::HEAD } else { &Method::GET };
        let mut response = if self.request.is_empty() {
            self.files.respond(&target, method, headers).await
        } else {
            let mut headers = headers.clone();
            for (name, value) in &self.request {
                headers.append(name, value.clone());
            }
            self.files.respond(&target, method, &headers).await
        };
        // Gone since it was found, so it is no file.
        if response.status() == StatusCode::NOT_FOUND {
            return None;
        }
        for (name, value) in &self.response {
            response.headers_mut().insert(name, value.clone());
        }
        Some(response)
    }

    fn accepts(&self, extension: &str) -> bool {
        let has = |list: &[String]| list.iter().any(|one| one == extension);
        !has(&self.forbid) && (self.allow.is_empty() || has(&self.allow))
    }
}
