//! The resolved file server.

use std::{path::PathBuf, time::Duration};

use serde_json::{Map, Value};

use super::{
    compound::entries,
    form::{FilePath, Flag, Form, ROOTED, Time, Wrong},
    http::Address,
    suggest::closest,
};

/// Directories on a listener of their own (`fileserver`).
///
/// # Defaults
/// - `fileserver.address`: `null`
/// - `fileserver.calculate_etag`: `false`
/// - `fileserver.weak`: `false`
/// - `fileserver.stream_request_body`: `false`
/// - `fileserver.serve`: `[]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fileserver {
    /// Where to listen, if anywhere.
    pub address: Option<Address>,
    /// Send an `ETag`.
    pub calculate_etag: bool,
    /// The `ETag` is a weak one.
    pub weak: bool,
    /// Has no meaning: no request's body is read.
    pub stream_request_body: bool,
    /// The directories.
    pub serve: Vec<Folder>,
}

/// One of `fileserver.serve`.
#[derive(Clone, Debug, PartialEq)]
pub struct Folder {
    /// What its URLs begin with.
    pub prefix: String,
    /// Where it is.
    pub root: PathBuf,
    /// Make answers smaller.
    pub compress: bool,
    /// How long a file in memory is trusted before the one on disk is looked at.
    pub cache_duration: Duration,
    /// Seconds that clients may keep a file; 0 says nothing of it.
    pub max_age: u64,
    /// Answer with parts of a file.
    pub bytes_range: bool,
}

/// A directory.
pub(super) struct FolderForm;

/// RoadRunner counts in seconds where it is not told otherwise.
struct Seconds;

// === impl Folder ===

impl Default for Folder {
    fn default() -> Self {
        Self {
            prefix: "/".into(),
            root: ".".into(),
            compress: false,
            cache_duration: Duration::from_secs(10),
            max_age: 0,
            bytes_range: false,
        }
    }
}

// === impl Form ===

impl Form<Duration> for Seconds {
    fn read(&self, raw: &Value) -> Result<Duration, Wrong> {
        match raw.as_u64() {
            Some(seconds) => Ok(Duration::from_secs(seconds)),
            None => Time { zero: true }.read(raw),
        }
    }

    fn show(&self, value: &Duration) -> Value {
        Time { zero: true }.show(value)
    }
}

impl Form<Folder> for FolderForm {
    fn read(&self, raw: &Value) -> Result<Folder, Wrong> {
        if !raw.is_object() {
            return Err(Wrong::expected("a map of prefix, root and other keys", raw));
        }
        let (mut folder, mut wrong, mut has_prefix) = (Folder::default(), Vec::new(), false);
        for (name, raw) in entries(raw)?.into_iter().filter(|(_, raw)| !raw.is_null()) {
            let name = name.to_ascii_lowercase();
            let read = match name.as_str() {
                "prefix" => ROOTED.read(raw).map(|prefix| (folder.prefix, has_prefix) = (prefix, true)),
                "root" => FilePath.read(raw).map(|root| folder.root = root),
                "compress" => Flag.read(raw).map(|compress| folder.compress = compress),
                "cache_duration" => Seconds.read(raw).map(|duration| folder.cache_duration = duration),
                "max_age" => Seconds.read(raw).map(|age| folder.max_age = age.as_secs()),
                "bytes_range" => Flag.read(raw).map(|ranges| folder.bytes_range = ranges),
                other => {
                    let hint =
                        closest(other, KEYS.iter().copied()).map_or(String::new(), |name| format!(", did you mean {name}?"));
                    Err(Wrong(vec![(String::new(), format!("unknown key{hint}"))]))
                }
            };
            wrong.extend(read.err().into_iter().flat_map(|inner| inner.inside(&format!(".{name}"))));
        }
        if !has_prefix && wrong.is_empty() {
            wrong.push((".prefix".into(), "missing".into()));
        }
        if wrong.is_empty() { Ok(folder) } else { Err(Wrong(wrong)) }
    }

    fn show(&self, value: &Folder) -> Value {
        let mut map = Map::new();
        map.insert("prefix".into(), value.prefix.as_str().into());
        map.insert("root".into(), FilePath.show(&value.root));
        map.insert("compress".into(), value.compress.into());
        map.insert("cache_duration".into(), Seconds.show(&value.cache_duration));
        map.insert("max_age".into(), value.max_age.into());
        map.insert("bytes_range".into(), value.bytes_range.into());
        Value::Object(map)
    }
}

const KEYS: [&str; 6] = ["prefix", "root", "compress", "cache_duration", "max_age", "bytes_range"];
