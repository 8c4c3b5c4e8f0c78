//! Uploaded files on disk, and what a script is told of them.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    Settings,
    form::{Value, write_text},
};
use crate::telemetry::Seldom;

/// Files that are removed with this, unless the script has moved them.
#[derive(Debug, Default)]
pub struct TemporaryFiles(Vec<PathBuf>);

/// One uploaded file.
#[derive(Debug)]
pub(super) struct Upload {
    name: String,
    mime: String,
    size: u64,
    error: u8,
    path: PathBuf,
}

/// A file as it comes.
#[derive(Debug)]
pub(super) struct Receiving {
    upload: Upload,
    /// None if its content is not wanted, or cannot be kept.
    file: Option<File>,
}

// PHP's UPLOAD_ERR_*.
const OK: u8 = 0;
const NO_TMP_DIR: u8 = 6;
const CANT_WRITE: u8 = 7;
const EXTENSION: u8 = 8;

// === impl Receiving ===

impl Receiving {
    /// Makes room for a file; whether it may come and can be kept, the script will be told.
    pub(super) fn new(name: String, mime: String, settings: &Settings, files: &mut TemporaryFiles) -> Self {
        let mut upload = Upload { name, mime, size: 0, error: OK, path: PathBuf::new() };
        if !is_allowed(&upload.name, settings) {
            upload.error = EXTENSION;
            return Self { upload, file: None };
        }
        match create(&settings.uploads) {
            Ok((file, path)) => {
                files.0.push(path.clone());
                upload.path = path;
                Self { upload, file: Some(file) }
            }
            Err(error) => {
                static SELDOM: Seldom = Seldom::new();
                if let Some(unsaid) = SELDOM.say() {
                    let directory = settings.uploads.display();
                    tracing::error!(%error, unsaid, %directory, "no file for an upload; see http.uploads.dir");
                }
                upload.error = NO_TMP_DIR;
                Self { upload, file: None }
            }
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        match file.write_all(bytes) {
            Ok(()) => self.upload.size += bytes.len() as u64,
            Err(error) => {
                static SELDOM: Seldom = Seldom::new();
                if let Some(unsaid) = SELDOM.say() {
                    tracing::error!(%error, unsaid, file = %self.upload.path.display(), "an upload cannot be kept");
                }
                self.upload.error = CANT_WRITE;
                self.file = None;
            }
        }
    }

    pub(super) fn finish(self) -> Upload {
        self.upload
    }
}

fn is_allowed(name: &str, settings: &Settings) -> bool {
    // Go's path.Ext: from the last dot on, and `.htaccess` is all extension.
    let extension = name.rfind('.').map_or_else(String::new, |dot| name[dot..].to_lowercase());
    let is_in = |list: &[String]| list.contains(&extension);
    !is_in(&settings.forbid) && (settings.allow.is_empty() || is_in(&settings.allow))
}

/// A new file that the server's user alone may read.
fn create(directory: &Path) -> io::Result<(File, PathBuf)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let moment = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    let path = directory.join(format!("upload{}-{moment}-{}", process::id(), NEXT.fetch_add(1, Relaxed)));
    // Never one that exists already: somebody may have guessed the name.
    let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    Ok((file, path))
}

// === impl Value for Upload ===

impl Value for Upload {
    /// Of several files under one name, RoadRunner keeps the first.
    fn chosen(values: Vec<Self>) -> Option<Self> {
        values.into_iter().next()
    }

    fn is_empty(&self) -> bool {
        false
    }

    fn write(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(b"{\"name\":");
        write_text(&self.name, into);
        into.extend_from_slice(b",\"mime\":");
        write_text(&self.mime, into);
        into.extend_from_slice(format!(",\"size\":{},\"error\":{},\"tmpName\":", self.size, self.error).as_bytes());
        write_text(&self.path.to_string_lossy(), into);
        into.push(b'}');
    }
}

// === impl TemporaryFiles ===

impl TemporaryFiles {
    /// Their paths.
    pub fn paths(&self) -> &[PathBuf] {
        &self.0
    }
}

impl Drop for TemporaryFiles {
    fn drop(&mut self) {
        for path in &self.0 {
            // The script may have moved it.
            drop(fs::remove_file(path));
        }
    }
}
