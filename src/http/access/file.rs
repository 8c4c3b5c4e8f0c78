//! The access log's file, which makes room for another when it has grown large or old.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, SystemTime},
};

use flate2::{Compression, write::GzEncoder};

use super::moment::Moment;

/// When a file makes room, and what becomes of it.
#[derive(Clone, Debug, Default)]
pub struct Rotation {
    /// Bytes after which it does; 0 is never.
    pub max_size: u64,
    /// Time after which it does; zero is never.
    pub every: Duration,
    /// Old files that are kept; 0 is all.
    pub max_backups: usize,
    /// Old files are compressed, but for the last: a process that is being replaced may still write to that.
    pub compress: bool,
}

/// The file that is written to.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    length: u64,
    /// It ends with a whole line.
    is_whole: bool,
    since: SystemTime,
    /// A thread tidies up the old ones.
    is_tidying: Arc<AtomicBool>,
}

// === impl LogFile ===

impl LogFile {
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let metadata = file.metadata()?;
        // Not every file system knows when a file was made.
        let since = metadata.created().unwrap_or_else(|_| SystemTime::now());
        let is_tidying = Arc::default();
        Ok(Self { path: path.to_owned(), rotation, file, length: metadata.len(), is_whole: true, since, is_tidying })
    }

    fn is_due(&self, more: usize) -> bool {
        let Rotation { max_size, every, .. } = self.rotation;
        let is_full = max_size > 0 && self.length > 0 && self.length + more as u64 > max_size;
        is_full || !every.is_zero() && self.length > 0 && self.since.elapsed().is_ok_and(|age| age >= every)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let (ours, there) = (self.file.metadata()?, fs::metadata(&self.path));
        // Unless somebody else has moved it already: logrotate, or another engine.
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            fs::rename(&self.path, backup_of(&self.path, SystemTime::now()))?;
        }
        let tidying = self.is_tidying.clone();
        *self = Self { is_tidying: tidying.clone(), ..Self::open(&self.path, self.rotation.clone())? };
        if !tidying.swap(true, SeqCst) {
            let (path, rotation) = (self.path.clone(), self.rotation.clone());
            let tidy = move || {
                if let Err(error) = tidy_up(&path, &rotation) {
                    tracing::error!(%error, file = %path.display(), "old files of the access log");
                }
                tidying.store(false, SeqCst);
            };
            thread::Builder::new().name("access-log-old".into()).spawn(tidy)?;
        }
        Ok(())
    }
}

impl Write for LogFile {
    /// What is written in parts stays together.
    fn write(&mut self, batch: &[u8]) -> io::Result<usize> {
        if self.is_whole
            && self.is_due(batch.len())
            && let Err(error) = self.rotate()
        {
            tracing::error!(%error, file = %self.path.display(), "the access log cannot be rotated; it grows on");
            // Not again for each batch.
            (self.length, self.since) = (0, SystemTime::now());
        }
        let written = self.file.write(batch)?;
        self.length += written as u64;
        self.is_whole = batch[..written].ends_with(b"\n");
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `access-2026-01-31T23-59-59.000.log` for `access.log`.
fn backup_of(path: &Path, moment: SystemTime) -> PathBuf {
    let (start, end) = name_parts(path);
    let Moment { year, month, day, hour, minute, second, millisecond } = Moment::of(moment);
    let mut name = start;
    name.push(format!("{year}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{millisecond:03}"));
    name.push(end);
    path.with_file_name(name)
}

/// What stands before and after the moment in the name of an old file.
fn name_parts(path: &Path) -> (OsString, OsString) {
    let mut start = path.file_stem().unwrap_or_default().to_owned();
    start.push("-");
    let mut end = OsString::new();
    if let Some(extension) = path.extension() {
        end.push(".");
        end.push(extension);
    }
    (start, end)
}

/// Compresses and removes old files.
fn tidy_up(path: &Path, rotation: &Rotation) -> io::Result<()> {
    let mut old = backups(path)?;
    old.sort();
    let surplus = if rotation.max_backups == 0 { 0 } else { old.len().saturating_sub(rotation.max_backups) };
    for file in old.drain(..surplus) {
        fs::remove_file(file)?;
    }
    old.pop();
    for file in old.iter().filter(|file| rotation.compress && file.extension().is_none_or(|end| end != "gz")) {
        compress(file)?;
    }
    Ok(())
}

fn backups(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (start, end) = name_parts(path);
    let (start, end) = (start.to_string_lossy().into_owned(), end.to_string_lossy().into_owned());
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_backup = |name: &str| {
        let name = name.strip_suffix(".gz").unwrap_or(name);
        let moment = name.strip_prefix(&start).and_then(|rest| rest.strip_suffix(&end));
        moment.is_some_and(|moment| moment.len() == "2026-01-31T23-59-59.000".len() && moment.as_bytes()[10] == b'T')
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_backup) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn compress(file: &Path) -> io::Result<()> {
    let named = |end: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let (unfinished, finished) = (named(".gz.new"), named(".gz"));
    let mut encoder = GzEncoder::new(File::create(&unfinished)?, Compression::default());
    io::copy(&mut File::open(file)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::rename(unfinished, finished)?;
    fs::remove_file(file)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("rr-rotate-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<_> =
                fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    fn content(path: &Path) -> String {
        let mut text = String::new();
        match path.extension().is_some_and(|end| end == "gz") {
            true => flate2::read::GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap(),
            false => File::open(path).unwrap().read_to_string(&mut text).unwrap(),
        };
        text
    }

    #[test]
    fn a_full_file_makes_room_and_old_ones_are_compressed_and_removed() {
        let directory = Directory::new("full");
        let path = directory.0.join("access.log");
        let rotation = Rotation { max_size: 10, max_backups: 3, compress: true, ..Rotation::default() };
        let mut log = LogFile::open(&path, rotation.clone()).unwrap();
        for number in 0..6 {
            log.write_all(format!("line-{number}\n").as_bytes()).unwrap();
            while log.is_tidying.load(SeqCst) {
                thread::yield_now();
            }
            // Old files are told apart, and ordered, by the millisecond.
            let now = SystemTime::now();
            while now.elapsed().unwrap() < Duration::from_millis(2) {
                thread::yield_now();
            }
        }
        let names = directory.names();
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(names[0].ends_with(".log.gz") && names[1].ends_with(".log.gz") && names[2].ends_with(".log"));
        let lines: Vec<_> = names.iter().map(|name| content(&directory.0.join(name))).collect();
        assert_eq!(lines, ["line-2\n", "line-3\n", "line-4\n", "line-5\n"]);
        assert_eq!(backups(&path).unwrap().len(), 3, "and nobody else's files");
    }

    #[test]
    fn what_another_has_moved_is_not_moved_again() {
        let directory = Directory::new("moved");
        let path = directory.0.join("access.log");
        let mut log = LogFile::open(&path, Rotation { max_size: 10, ..Rotation::default() }).unwrap();
        log.write_all(b"one of ours\n").unwrap();
        fs::rename(&path, directory.0.join("moved")).unwrap();
        fs::write(&path, "another's\n").unwrap();
        log.write_all(b"two\n").unwrap();
        assert_eq!(directory.names(), ["access.log", "moved"]);
        assert_eq!(content(&path), "another's\ntwo\n");
    }

    #[test]
    fn an_old_file_makes_room() {
        let directory = Directory::new("old");
        let path = directory.0.join("access");
        let mut log = LogFile::open(&path, Rotation { every: Duration::from_secs(3600), ..Rotation::default() }).unwrap();
        log.write_all(b"one\n").unwrap();
        log.write_all(b"two\n").unwrap();
        log.since = SystemTime::now() - Duration::from_secs(3601);
        log.write_all(b"three\n").unwrap();
        assert_eq!(content(&path), "three\n");
        assert_eq!(content(&backups(&path).unwrap()[0]), "one\ntwo\n");
    }
}
