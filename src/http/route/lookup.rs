//! What lies at a decoded path in the document root.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::StatusCode;

use super::{Config, names};
use crate::{
    http::{files::Target, preset::Preset},
    worker::Script,
};

/// A document root and what may be shown of it.
#[derive(Debug)]
pub(super) struct Site {
    root: PathBuf,
    document_root: Bytes,
    preset: Preset,
    index: Vec<String>,
    follow_symlinks: bool,
    linked: Vec<PathBuf>,
    has_front_controller: bool,
}

/// What answers a path, before a front controller is thought of.
#[derive(Debug)]
pub(super) enum Found {
    Script(Script),
    File {
        target: Target,
        /// Its URL.
        path: String,
    },
    /// A directory that was asked for without its slash.
    Slash,
    /// Nothing; a front controller may answer.
    Missing,
    Refused(StatusCode),
}

enum Node {
    Missing,
    /// Its path without symbolic links.
    File(PathBuf),
    Directory,
    /// A link out of the root, or neither file nor directory.
    Barred,
}

// === impl Site ===

impl Site {
    /// The site at `root`, which is resolved.
    pub(super) fn new(root: PathBuf, config: &Config) -> Self {
        Self {
            document_root: Bytes::copy_from_slice(root.as_os_str().as_bytes()),
            preset: config.preset,
            index: config.index.clone(),
            follow_symlinks: config.follow_symlinks,
            linked: config.preset.linked(&root),
            has_front_controller: config.front_controller().is_some(),
            root,
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn find(&self, path: &str) -> Found {
        let relocated = self.preset.relocate(path);
        match (self.look(path), relocated) {
            (Found::Missing, Some(other)) => match self.look(other) {
                Found::Missing if self.withholds(path) || self.withholds(other) => NOT_FOUND,
                found => found,
            },
            (Found::Missing, None) if self.withholds(path) => NOT_FOUND,
            (found, _) => found,
        }
    }

    fn look(&self, path: &str) -> Found {
        let mut is_missing = false;
        for script in scripts(path) {
            if names::is_hidden(script) {
                return NOT_FOUND;
            }
            match self.node(script) {
                Node::File(real) => return self.script(script, &path[script.len()..], &real),
                Node::Directory => {}
                Node::Barred => return NOT_FOUND,
                Node::Missing => {
                    is_missing = true;
                    break;
                }
            }
        }
        if names::is_hidden(path) {
            return NOT_FOUND;
        }
        let (trimmed, name) = (path.trim_end_matches('/'), path.rsplit('/').next().unwrap_or_default());
        if is_missing || names::is_private(name) {
            return Found::Missing;
        }
        let node = if trimmed.is_empty() { Node::Directory } else { self.node(trimmed) };
        match node {
            Node::Missing => Found::Missing,
            Node::Barred => NOT_FOUND,
            Node::File(_) if trimmed.len() < path.len() => Found::Missing,
            Node::File(real) => self.file(path, real),
            Node::Directory if trimmed.len() < path.len() => match self.index(path) {
                Found::Missing if !self.has_front_controller => Found::Refused(StatusCode::FORBIDDEN),
                found => found,
            },
            // Frameworks redirect `/dir/` to `/dir`: to redirect back a directory that has nothing to show would never end.
            Node::Directory => match self.index(&[path, "/"].concat()) {
                Found::Missing if self.has_front_controller => Found::Missing,
                _ => Found::Slash,
            },
        }
    }

    fn index(&self, directory: &str) -> Found {
        for name in &self.index {
            let path = [directory, name].concat();
            match self.node(&path) {
                Node::Missing | Node::Directory => {}
                Node::Barred => return NOT_FOUND,
                Node::File(real) if name.ends_with(".php") => return self.script(&path, "", &real),
                Node::File(real) => return self.file(&path, real),
            }
        }
        Found::Missing
    }

    fn script(&self, path: &str, path_info: &str, real: &Path) -> Found {
        // Linked directories hold what visitors and packages brought.
        let is_linked = self.linked.iter().any(|linked| real.starts_with(linked));
        if is_linked || self.refuses(path, real) {
            return NOT_FOUND;
        }
        Found::Script(Script {
            filename: self.full(path).into(),
            name: path.to_owned().into(),
            path_info: path_info.to_owned().into(),
            document_root: self.document_root.clone(),
        })
    }

    fn file(&self, path: &str, real: PathBuf) -> Found {
        // A harmless name may be a link to one that is not.
        let name = real.file_name().unwrap_or_default().to_string_lossy();
        let within = real.strip_prefix(&self.root).map_or_else(|_| Path::new(&*name).to_owned(), Path::to_owned);
        if names::is_private(&name) || names::is_hidden(&format!("/{}", within.display())) || self.refuses(path, &real) {
            return NOT_FOUND;
        }
        Found::File { target: Target::new(real, OsStr::new(path)), path: path.to_owned() }
    }

    /// True if the preset refuses it under its own name or under the name that a link leads to.
    fn refuses(&self, path: &str, real: &Path) -> bool {
        let real = real.strip_prefix(&self.root).map(|within| format!("/{}", within.display()).to_ascii_lowercase());
        self.preset.refuses(&path.to_ascii_lowercase()) || real.is_ok_and(|real| self.preset.refuses(&real))
    }

    /// True if the file that `path` names would be withheld: then no front controller is asked, and nobody learns whether it
    /// exists. In a directory that does not exist the name is the application's (a repository browser's `/tree/composer.json`).
    fn withholds(&self, path: &str) -> bool {
        let script = scripts(path).next();
        let (directory, name) = script.unwrap_or(path).rsplit_once('/').unwrap_or_default();
        (script.is_some() || names::is_private(name) || self.preset.refuses(&path.to_ascii_lowercase()))
            && matches!(self.node(directory), Node::Directory | Node::Barred)
    }

    fn node(&self, path: &str) -> Node {
        let full = PathBuf::from(OsString::from_vec(self.full(path)));
        let Ok(metadata) = fs::metadata(&full) else { return Node::Missing };
        if metadata.is_dir() {
            return Node::Directory;
        }
        if !metadata.is_file() {
            return Node::Barred;
        }
        match fs::canonicalize(&full) {
            Ok(real) if self.shows(&real) => Node::File(real),
            Ok(real) => {
                tracing::debug!(path = %full.display(), target = %real.display(), "a symbolic link leads out of the document root");
                Node::Barred
            }
            Err(_) => Node::Missing,
        }
    }

    fn full(&self, path: &str) -> Vec<u8> {
        [&self.document_root[..], path.as_bytes()].concat()
    }

    fn shows(&self, real: &Path) -> bool {
        self.follow_symlinks || real.starts_with(&self.root) || self.linked.iter().any(|linked| real.starts_with(linked))
    }
}

/// The parts of `path` that may name a script, shortest first: those that end in `.php` at a segment's end, byte for byte.
/// Case folding here once moved the point at which FrankenPHP split (04fdc0c1).
fn scripts(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices(".php")
        .map(|(at, extension)| at + extension.len())
        .filter(|&end| matches!(path.as_bytes().get(end), None | Some(b'/')))
        .map(|end| &path[..end])
}

/// The one refusal for all that is withheld: it does not tell whether there is such a file.
const NOT_FOUND: Found = Found::Refused(StatusCode::NOT_FOUND);
