//! The ini files that PHP is about to read. It passes over those that it cannot read without a word, and with them over what they
//! forbid; so they are looked for beforehand, where and in the order that `php_init_config` does.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use nix::unistd::{User, geteuid};

use super::engine::IniFile;

/// One of them is there, but not for this process.
#[derive(Debug, thiserror::Error)]
#[error(
    "PHP's {} cannot be read by {user}: {error}; let that user read it and enter the folders above it, or take it away: PHP would \
     start without what it says",
    path.display()
)]
pub struct Unreadable {
    path: PathBuf,
    user: String,
    error: io::Error,
}

/// What the search goes by.
#[derive(Debug)]
pub(super) struct Search {
    sapi: String,
    /// What the operator has named: a file, or a folder.
    named: Option<PathBuf>,
    /// Where php.ini is looked for.
    folders: Vec<Folder>,
    /// All `.ini` files in these are read.
    scanned: Vec<Folder>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// By the operator, who therefore wants to hear if it cannot be entered.
    is_named: bool,
}

/// What PHP was built to look into.
const BUILT_IN: &str = env!("RR_PHP_INI_PATH");
/// The same of further files; may be empty.
const SCANNED: &str = env!("RR_PHP_INI_DIR");

// === impl Search ===

impl Search {
    /// That of a PHP called `sapi` whose `php` is `binary`; none if it reads no file.
    pub(super) fn of(file: &IniFile, sapi: &str, binary: Option<&Path>) -> Option<Self> {
        let variable = |name| env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let (named, folders) = match file {
            IniFile::None => return None,
            IniFile::At(path) => (Some(path.clone()), folders_of(path.as_os_str())),
            IniFile::Usual => {
                let named = variable("PHPRC");
                let mut all = named.as_deref().map(folders_of).unwrap_or_default();
                let built_in = binary.and_then(Path::parent).into_iter().chain([Path::new(BUILT_IN)]);
                all.extend(built_in.map(|path| Folder { path: path.to_owned(), is_named: false }));
                (named.map(PathBuf::from), all)
            }
        };
        let scanned = match env::var_os("PHP_INI_SCAN_DIR") {
            Some(none) if none.is_empty() => Vec::new(),
            Some(list) => folders_of(&list),
            None => vec![Folder { path: SCANNED.into(), is_named: false }],
        };
        // An empty element is what PHP was built with.
        let built_in = |folder: Folder| match folder.path.as_os_str() {
            path if path.is_empty() => Folder { path: SCANNED.into(), is_named: false },
            _ => folder,
        };
        let scanned = scanned.into_iter().map(built_in).filter(|folder| !folder.path.as_os_str().is_empty());
        Some(Self { sapi: sapi.to_owned(), named, folders, scanned: scanned.collect() })
    }

    /// Refuses a file that PHP would pass over though it is there.
    pub(super) fn check(&self) -> Result<(), Unreadable> {
        self.check_main()?;
        self.scanned.iter().try_for_each(Folder::check_all)
    }

    /// The first one that there is counts.
    fn check_main(&self) -> Result<(), Unreadable> {
        if let Some(named) = &self.named {
            match fs::metadata(named) {
                Ok(found) if !found.is_dir() => return File::open(named).map(drop).map_err(Unreadable::of(named)),
                Err(error) if !is_absent(&error) => return Err(Unreadable::of(named)(error)),
                _ => {}
            }
        }
        for name in [&format!("php-{}.ini", self.sapi), "php.ini"] {
            for folder in &self.folders {
                let path = folder.path.join(name);
                match File::open(&path) {
                    Ok(_) => return Ok(()),
                    Err(error) => folder.pass_over(&path, error)?,
                }
            }
        }
        Ok(())
    }
}

// === impl Folder ===

impl Folder {
    fn check_all(&self) -> Result<(), Unreadable> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) => return self.pass_over(&self.path, error),
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if !path.as_os_str().as_bytes().ends_with(b".ini") {
                continue;
            }
            match fs::metadata(&path) {
                Ok(found) if !found.is_file() => {}
                Ok(_) => drop(File::open(&path).map_err(Unreadable::of(&path))?),
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(Unreadable::of(&path)(error)),
            }
        }
        Ok(())
    }

    /// `path` in it could not be opened, which is right if it is not there.
    fn pass_over(&self, path: &Path, error: io::Error) -> Result<(), Unreadable> {
        if is_absent(&error) {
            return Ok(());
        }
        if self.is_named || fs::symlink_metadata(path).is_ok() || fs::metadata(&self.path).is_ok() {
            return Err(Unreadable::of(path)(error));
        }
        // A PHP that was built below somebody's home is there for nobody else, files or none.
        tracing::warn!(
            "{} cannot look for PHP's {}: {error}; what it says, if it is there, is not in force",
            user(),
            path.display()
        );
        Ok(())
    }
}

// === impl Unreadable ===

impl Unreadable {
    fn of(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self { path, user: user(), error }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Those of a list as `PATH` is one.
fn folders_of(list: &OsStr) -> Vec<Folder> {
    let each = list.as_bytes().split(|byte| *byte == b':');
    each.map(|path| Folder { path: OsString::from_vec(path.to_owned()).into(), is_named: true }).collect()
}

/// Whom this process runs as.
fn user() -> String {
    let number = geteuid();
    let name = User::from_uid(number).ok().flatten().map(|user| user.name);
    format!("user {}", name.unwrap_or_else(|| number.to_string()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder that is gone with the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("rr-ini-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("empty")).unwrap();
            Self(path)
        }

        /// A file that not even root can read.
        fn closed(&self, name: &str) -> PathBuf {
            let path = self.0.join(name);
            symlink(name, &path).unwrap();
            path
        }

        fn search(&self, named: Option<&str>, folders: &[&str], scanned: &[&str]) -> Search {
            let folder = |name: &&str| Folder { path: self.0.join(name), is_named: true };
            let (folders, scanned) = (folders.iter().map(folder).collect(), scanned.iter().map(folder).collect());
            Search { sapi: "fpm-fcgi".into(), named: named.map(|name| self.0.join(name)), folders, scanned }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn what_is_not_there_is_no_fault() {
        let scratch = Scratch::new("absent");
        assert!(scratch.search(Some("nothing"), &["nothing", "empty"], &["nothing", "empty"]).check().is_ok());
    }

    #[test]
    fn a_file_that_is_there_and_cannot_be_read_is_named_wherever_it_is() {
        let scratch = Scratch::new("closed");
        let closed = scratch.closed("php.ini");
        for search in [
            scratch.search(Some("php.ini"), &[], &[]),
            scratch.search(None, &["empty", ""], &[]),
            scratch.search(None, &[], &["empty", ""]),
        ] {
            let said = search.check().unwrap_err().to_string();
            let expected = format!("PHP's {} cannot be read by user ", closed.display());
            assert!(said.starts_with(&expected), "{search:?}: {said}");
        }
    }

    #[test]
    fn the_file_that_counts_hides_the_others() {
        let scratch = Scratch::new("hidden");
        scratch.closed("php.ini");
        assert!(scratch.search(None, &[""], &[]).check().is_err());
        fs::write(scratch.0.join("php-fpm-fcgi.ini"), "").unwrap();
        assert!(scratch.search(None, &[""], &[]).check().is_ok());
        // Another name, and a folder, are not read at all.
        fs::remove_file(scratch.0.join("php.ini")).unwrap();
        scratch.closed("php.ini.dist");
        fs::create_dir(scratch.0.join("folder.ini")).unwrap();
        assert!(scratch.search(None, &[], &[""]).check().is_ok());
    }

    #[test]
    fn lists_and_their_empty_elements_are_taken_apart_as_php_does() {
        let search = Search::of(&IniFile::At("/a:/b".into()), "cli", None).unwrap();
        let paths: Vec<_> = search.folders.iter().map(|folder| folder.path.as_path()).collect();
        assert_eq!(paths, [Path::new("/a"), Path::new("/b")]);
        assert_eq!(folders_of(OsStr::new("/a:")).iter().map(|folder| folder.path.as_os_str().len()).collect::<Vec<_>>(), [2, 0]);
        assert!(Search::of(&IniFile::None, "cli", None).is_none());
    }
}
