//! The access log's file, which makes room for another when it has grown large or old.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant, SystemTime},
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
    /// When it is tried again to make room, which failed.
    retry_at: Option<Instant>,
    /// A thread tidies up the old ones.
    is_tidying: Arc<AtomicBool>,
}

// === impl LogFile ===

impl LogFile {
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let mut file = File::options().create(true).append(true).open(path)?;
        if rotation.is_wanted() {
            // Held while it is written to: what nobody holds can be compressed. Whoever compresses it has moved it away before.
            for _ in 0..ATTEMPTS {
                let is_held = !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
                if is_held && is_at(&file, path)?.is_some() {
                    break;
                }
                file = File::options().create(true).append(true).open(path)?;
            }
        }
        let metadata = file.metadata()?;
        // Not every file system knows when a file was made.
        let since = metadata.created().unwrap_or_else(|_| SystemTime::now());
        let is_tidying = Arc::default();
        let (path, length) = (path.to_owned(), metadata.len());
        Ok(Self { path, rotation, file, length, is_whole: true, since, retry_at: None, is_tidying })
    }

    fn is_due(&self, more: usize) -> bool {
        let Rotation { max_size, every, .. } = self.rotation;
        let is_full = max_size > 0 && self.length > 0 && self.length + more as u64 > max_size;
        is_full || !every.is_zero() && self.length > 0 && self.since.elapsed().is_ok_and(|age| age >= every)
    }

    /// Makes room if it is time for `more` bytes, or goes where others write who have made room: other engines, or logrotate.
    fn keep_up(&mut self, more: usize) -> io::Result<()> {
        match is_at(&self.file, &self.path)? {
            // Others write there too.
            Some(length) => self.length = length,
            None => return self.reopen(),
        }
        if self.is_due(more) { self.rotate() } else { Ok(()) }
    }

    fn reopen(&mut self) -> io::Result<()> {
        *self = Self { is_tidying: self.is_tidying.clone(), ..Self::open(&self.path, self.rotation.clone())? };
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        // One at a time: the second would move the new file, maybe onto the old one. Where directories cannot be locked there is
        // one process, as a rule.
        let directory = File::open(directory_of(&self.path))?;
        if matches!(directory.try_lock(), Err(TryLockError::WouldBlock)) {
            return Ok(());
        }
        if is_at(&self.file, &self.path)?.is_some() {
            fs::rename(&self.path, free_backup_of(&self.path))?;
        }
        self.reopen()?;
        drop(directory);
        let tidying = self.is_tidying.clone();
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

// === impl Rotation ===

impl Rotation {
    fn is_wanted(&self) -> bool {
        self.max_size > 0 || !self.every.is_zero()
    }
}

impl Write for LogFile {
    /// What is written in parts stays together.
    fn write(&mut self, batch: &[u8]) -> io::Result<usize> {
        if self.is_whole
            && self.rotation.is_wanted()
            && self.retry_at.is_none_or(|at| at <= Instant::now())
            && let Err(error) = self.keep_up(batch.len())
        {
            tracing::error!(%error, file = %self.path.display(), "the access log cannot be rotated; it grows on");
            // Not again for each batch.
            self.retry_at = Some(Instant::now() + RETRY_AFTER);
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

/// The length of `file` if it is the one at `path`.
fn is_at(file: &File, path: &Path) -> io::Result<Option<u64>> {
    let (ours, there) = (file.metadata()?, fs::metadata(path));
    Ok(there.ok().filter(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())).map(|there| there.len()))
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A name that no old file has.
fn free_backup_of(path: &Path) -> PathBuf {
    let mut moment = SystemTime::now();
    loop {
        let name = backup_of(path, moment);
        if !name.exists() && !name.with_added_extension("gz").exists() {
            return name;
        }
        moment += Duration::from_millis(1);
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
        remove(&file)?;
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
    let is_backup = |name: &str| {
        let name = name.strip_suffix(".gz").unwrap_or(name);
        let moment = name.strip_prefix(&start).and_then(|rest| rest.strip_suffix(&end));
        moment.is_some_and(|moment| moment.len() == "2026-01-31T23-59-59.000".len() && moment.as_bytes()[10] == b'T')
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory_of(path))? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_backup) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Compresses `file`, unless somebody still writes to it, or compresses it.
fn compress(file: &Path) -> io::Result<()> {
    let mut old = match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    if matches!(old.try_lock(), Err(TryLockError::WouldBlock)) || old.metadata()?.nlink() == 0 {
        return Ok(());
    }
    let (unfinished, finished) = (file.with_added_extension("gz.new"), file.with_added_extension("gz"));
    let mut encoder = GzEncoder::new(File::create(&unfinished)?, Compression::default());
    io::copy(&mut old, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::rename(unfinished, finished)?;
    remove(file)
}

/// Removes `file`, if another has not.
fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// How long a file that cannot make room grows on.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// How often a file is opened that is moved away at once.
const ATTEMPTS: usize = 8;

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
    fn several_who_write_to_one_file_lose_nothing() {
        const LINES: usize = 3000;
        let directory = Directory::new("several");
        let path = directory.0.join("access.log");
        let rotation = Rotation { max_size: 4000, compress: true, ..Rotation::default() };
        let write = |who: usize| {
            let mut log = LogFile::open(&path, rotation.clone()).unwrap();
            // One of them writes seldom, and so has many a file moved away under it.
            for number in 0..LINES {
                log.write_all(format!("{who}-{number}\n").as_bytes()).unwrap();
                if who == 0 && number % 100 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            while log.is_tidying.load(SeqCst) {
                thread::yield_now();
            }
        };
        thread::scope(|scope| (0..3).for_each(|who| _ = scope.spawn(move || write(who))));
        let names = directory.names();
        assert!(names.iter().filter(|name| name.ends_with(".gz")).count() > 2, "{names:?}");
        let mut found: Vec<_> = names
            .iter()
            .flat_map(|name| content(&directory.0.join(name)).lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let mut expected: Vec<_> = (0..3).flat_map(|who| (0..LINES).map(move |number| format!("{who}-{number}"))).collect();
        found.sort();
        expected.sort();
        assert_eq!(found.len(), expected.len());
        assert!(found == expected);
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
    fn a_file_that_cannot_make_room_is_tried_again_after_a_while() {
        let directory = Directory::new("stuck");
        // No longer name is possible, so there is none for an old file.
        let path = directory.0.join("x".repeat(255));
        let mut log = LogFile::open(&path, Rotation { max_size: 1, ..Rotation::default() }).unwrap();
        log.write_all(b"1\n").unwrap();
        assert_eq!(log.retry_at, None);
        log.write_all(b"2\n").unwrap();
        let retry_at = log.retry_at;
        log.write_all(b"3\n").unwrap();
        assert!(retry_at.is_some() && log.retry_at == retry_at, "not for each batch");
        log.retry_at = Some(Instant::now());
        log.write_all(b"4\n").unwrap();
        assert!(log.retry_at > retry_at);
        assert_eq!(content(&path), "1\n2\n3\n4\n");
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
