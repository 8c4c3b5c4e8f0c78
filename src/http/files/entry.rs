//! A file as it was last seen, with its precompressed siblings and the header fields ready to send.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag},
};

use super::{
    Etag,
    encoding::{self, Coding},
    forms::Forms,
    media, text,
};
use crate::http::date::LAST_SECOND;

/// What the configuration says of every file.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) etag: Etag,
    pub(super) cache_control: Option<HeaderValue>,
    pub(super) cache_max_file: u64,
    pub(super) precompressed: bool,
}

/// A file and its precompressed siblings.
#[derive(Debug)]
pub(super) struct Entry {
    plain: Variant,
    compressed: Vec<(Coding, Variant)>,
    /// What was seen for each coding when it was loaded.
    seen: Vec<(Coding, Option<Stamp>)>,
    /// False if one was changed just before: the next change may fall into the same tick of the file system's clock.
    is_settled: bool,
}

/// One of the forms of a file.
#[derive(Debug)]
pub(super) struct Variant {
    /// All fields of a 200.
    pub(super) headers: HeaderMap,
    /// As a strong one is written, whatever is sent.
    pub(super) etag: HeaderValue,
    pub(super) modified: SystemTime,
    pub(super) length: u64,
    pub(super) source: Source,
    stamp: Stamp,
}

/// Where the bytes are.
#[derive(Debug)]
pub(super) enum Source {
    /// With forms if it is of a kind that is compressed.
    Memory {
        bytes: Bytes,
        forms: Option<Arc<Forms>>,
    },
    Disk {
        coding: Coding,
    },
}

/// What tells one state of a file from the next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    seconds: i64,
    nanoseconds: i64,
    changed: (i64, i64),
}

// === impl Entry ===

impl Entry {
    pub(super) fn load(path: &Path, content_type: &'static str, terms: &Terms) -> io::Result<Self> {
        let (file, plain) = open_regular(path)?;
        let has_siblings = terms.precompressed && media::is_compressible(content_type);
        let siblings = Coding::COMPRESSED.into_iter().filter(|_| has_siblings);
        let siblings: Vec<_> = siblings.map(|coding| (coding, open_regular(&coding.beside(path)).ok())).collect();
        let mut seen = vec![(Coding::Identity, Some(plain))];
        seen.extend(siblings.iter().map(|(coding, opened)| (*coding, opened.as_ref().map(|(_, stamp)| *stamp))));
        let settled_before = SystemTime::now() - SETTLING;
        let is_settled = seen.iter().filter_map(|(_, stamp)| *stamp).all(|stamp| stamp.changed() < settled_before);
        let compressed: Vec<_> = siblings
            .into_iter()
            .filter_map(|(coding, opened)| Some((coding, opened?)))
            // An older one is left over from an earlier state of the file.
            .filter(|(_, (_, stamp))| (stamp.seconds, stamp.nanoseconds) >= (plain.seconds, plain.nanoseconds))
            .collect();
        let varies = !compressed.is_empty();
        let variant = |coding, file: File, stamp| {
            let about = About { coding, content_type, modified: plain.modified(), varies };
            Variant::read(file, stamp, &about, terms)
        };
        let compressed = compressed
            .into_iter()
            .map(|(coding, (file, stamp))| Ok((coding, variant(coding, file, stamp)?)))
            .collect::<io::Result<_>>()?;
        Ok(Self { plain: variant(Coding::Identity, file, plain)?, compressed, seen, is_settled })
    }

    /// The form that the client likes best.
    pub(super) fn choose(&self, headers: &HeaderMap) -> &Variant {
        if self.compressed.is_empty() {
            return &self.plain;
        }
        match encoding::choose(self.compressed.iter().map(|(coding, _)| *coding), headers) {
            Some(index) => &self.compressed[index].1,
            None => &self.plain,
        }
    }

    /// True if nothing changed on disk.
    pub(super) fn is_current(&self, path: &Path) -> bool {
        self.is_settled
            && self.seen.iter().all(|(coding, seen)| {
                let now = fs::symlink_metadata(coding.beside(path)).ok().filter(Metadata::is_file);
                now.as_ref().map(Stamp::of) == *seen
            })
    }

    /// Bytes held, with those that compressed forms may take.
    pub(super) fn memory(&self) -> u64 {
        self.compressed.iter().map(|(_, variant)| variant).chain([&self.plain]).map(Variant::memory).sum()
    }
}

// === impl Variant ===

struct About {
    coding: Coding,
    content_type: &'static str,
    modified: SystemTime,
    varies: bool,
}

impl Variant {
    fn read(file: File, stamp: Stamp, about: &About, terms: &Terms) -> io::Result<Self> {
        let source = if stamp.length <= terms.cache_max_file {
            let mut bytes = Vec::with_capacity(stamp.length as usize);
            file.take(stamp.length).read_to_end(&mut bytes)?;
            if bytes.len() as u64 != stamp.length {
                return Err(io::ErrorKind::StaleNetworkFileHandle.into());
            }
            let may_have_forms = about.coding == Coding::Identity && media::is_compressible(about.content_type);
            Source::Memory { bytes: bytes.into(), forms: may_have_forms.then(Arc::default) }
        } else {
            Source::Disk { coding: about.coding }
        };
        let etag = text(match about.coding {
            Coding::Identity => format!("\"{:x}-{:x}-{:x}\"", stamp.seconds, stamp.nanoseconds, stamp.length),
            coding => format!("\"{:x}-{:x}-{:x}-{}\"", stamp.seconds, stamp.nanoseconds, stamp.length, coding.name()),
        });
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(about.content_type));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(stamp.length));
        headers.insert(header::LAST_MODIFIED, text(httpdate::fmt_http_date(about.modified)));
        match terms.etag {
            Etag::Strong => drop(headers.insert(header::ETAG, etag.clone())),
            Etag::Weak => drop(headers.insert(header::ETAG, text(["W/", etag.to_str().unwrap_or_default()].concat()))),
            Etag::None => {}
        }
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if about.coding != Coding::Identity {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(about.coding.name()));
        }
        if about.varies {
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if let Some(value) = &terms.cache_control {
            headers.insert(header::CACHE_CONTROL, value.clone());
        }
        Ok(Self { headers, etag, modified: about.modified, length: stamp.length, source, stamp })
    }

    fn memory(&self) -> u64 {
        match &self.source {
            Source::Memory { bytes, forms } => bytes.len() as u64 * if forms.is_some() { 2 } else { 1 },
            Source::Disk { .. } => 0,
        }
    }

    /// Opens the file on disk; stale if it is no longer the one that the header fields describe.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        let (file, stamp) = open_regular(path)?;
        if stamp == self.stamp { Ok(file) } else { Err(io::ErrorKind::StaleNetworkFileHandle.into()) }
    }
}

// === impl Stamp ===

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// When the kernel last noted a change, whatever the owner says of the content's age.
    fn changed(&self) -> SystemTime {
        let (seconds, nanoseconds) = self.changed;
        SystemTime::UNIX_EPOCH + Duration::new(seconds.max(0) as u64, nanoseconds.clamp(0, 999_999_999) as u32)
    }

    /// To the second, as `Last-Modified` tells it, in whose form there are the years 1970 to 9999.
    fn modified(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs((self.seconds.max(0) as u64).min(LAST_SECOND))
    }
}

/// The coarsest clock of a common file system is FAT's, 2 s; ext4's and XFS's tick every 4 ms.
const SETTLING: Duration = Duration::from_secs(2);

/// Opens the regular file at `path`, which routing found free of symbolic links: one that has come since leads nowhere.
fn open_regular(path: &Path) -> io::Result<(File, Stamp)> {
    // A FIFO would block the open until somebody writes.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let file = match nix::fcntl::openat2(nix::fcntl::AT_FDCWD.as_fd(), path, how) {
        Ok(descriptor) => File::from(descriptor),
        // Kernels before 5.6, and containers whose filter does not know the call.
        Err(Errno::ENOSYS | Errno::EPERM) => File::options().read(true).custom_flags(flags.bits()).open(path)?,
        Err(errno) => return Err(errno.into()),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok((file, Stamp::of(&metadata)))
}
