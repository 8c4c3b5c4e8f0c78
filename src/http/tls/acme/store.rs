//! The cache directory, in which each authority has one of its own.
//!
//! | file | holds |
//! |---|---|
//! | `owner.lock` | nothing; who has locked it asks the authority |
//! | `account.json` | the account and its key |
//! | `certificates/HOST.pem` | the key, then the chain: one file, so that they always match |
//! | `orders/HOST.json` | an order that is not finished, and its key: whoever owns the cache next goes on with it |
//! | `http-01/TOKEN`, `tls-alpn-01/HOST` | answers to challenges |
//! | `wanted/HOST` | nothing; a client has asked for this host |
//! | `failures/HOST.json` | when to try again, so that a restart does not |
//! | `renewals/HOST.json` | when to renew, so that a restart neither chooses nor asks again |
//!
//! Files are written beside their place and moved into it, for this user alone.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Challenge, Error, due};

#[derive(Debug)]
pub(super) struct Store(PathBuf);

/// Held by the process that asks the authority.
pub(super) struct Ownership {
    _lock: Flock<File>,
}

/// An order that is not finished.
#[derive(Deserialize, Serialize)]
pub(super) struct Pending {
    pub(super) account: String,
    pub(super) url: String,
    /// In PEM.
    pub(super) key: String,
}

/// How often a host has failed in a row, and when to try again, in seconds of Unix time.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct Failure {
    pub(super) count: u32,
    pub(super) until: u64,
}

/// When a certificate is to be renewed, in seconds of Unix time.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct Renewal {
    /// The beginning of the certificate that this is about.
    pub(super) from: u64,
    pub(super) renew: u64,
    /// When to ask the authority about that.
    pub(super) ask: Option<u64>,
}

/// The longest name or answer that is read: a key authorization has some hundred bytes.
const LONGEST_TOKEN: usize = 200;

// === impl Store ===

impl Store {
    pub(super) fn new(cache_dir: &Path, directory: &str) -> Self {
        let name = directory.split_once("://").map_or(directory, |(_, rest)| rest);
        let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' };
        Self(cache_dir.join(name.chars().map(plain).collect::<String>()))
    }

    /// Makes the directories.
    pub(super) fn prepare(&self) -> Result<(), Error> {
        for name in ["certificates", "orders", "http-01", "tls-alpn-01", "wanted", "failures", "renewals"] {
            let path = self.0.join(name);
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(|error| Error::cache(&path, error))?;
        }
        Ok(())
    }

    /// The right to ask the authority; none while another process has it.
    pub(super) fn own(&self) -> Result<Option<Ownership>, Error> {
        let path = self.0.join("owner.lock");
        let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|error| Error::cache(&path, error))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Ownership { _lock: lock })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(Error::cache(&path, error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn account(&self) -> PathBuf {
        self.0.join("account.json")
    }

    pub(super) fn certificate(&self, host: &str) -> PathBuf {
        self.0.join("certificates").join(format!("{host}.pem"))
    }

    pub(super) fn order(&self, host: &str) -> PathBuf {
        self.0.join("orders").join(format!("{host}.json"))
    }

    pub(super) fn renewal(&self, host: &str) -> PathBuf {
        self.0.join("renewals").join(format!("{host}.json"))
    }

    fn failure_file(&self, host: &str) -> PathBuf {
        self.0.join("failures").join(format!("{host}.json"))
    }

    /// What a failed order of `host` has left, if the last one failed.
    pub(super) fn failure(&self, host: &str) -> Option<Failure> {
        // One that cannot be read means no more than that nothing is known.
        self.read(&self.failure_file(host)).ok().flatten()
    }

    pub(super) fn fail(&self, host: &str, failure: Failure) -> Result<(), Error> {
        self.write_json(&self.failure_file(host), &failure)
    }

    /// Forgets what an order needed, and with it what failed.
    pub(super) fn forget(&self, host: &str) {
        for file in [self.order(host), self.failure_file(host), self.0.join("wanted").join(host)] {
            drop(fs::remove_file(file));
        }
    }

    pub(super) fn ask_for(&self, host: &str) -> io::Result<()> {
        let path = self.0.join("wanted").join(host);
        if path.exists() {
            return Ok(());
        }
        File::options().create(true).truncate(false).write(true).mode(0o600).open(path).map(drop)
    }

    /// The hosts that were asked for.
    pub(super) fn wanted(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.0.join("wanted")) else { return Vec::new() };
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }

    fn answer_file(&self, challenge: Challenge, name: &str) -> PathBuf {
        self.0.join(challenge.name()).join(name)
    }

    /// Puts an answer where every process finds it.
    pub(super) fn give(&self, challenge: Challenge, name: &str, answer: &[u8]) -> Result<(), Error> {
        if !is_plain(name) {
            return Err(Error::Failed("the challenge", format!("{name:?} is no name for a file")));
        }
        self.write(&self.answer_file(challenge, name), answer)
    }

    pub(super) fn answer(&self, challenge: Challenge, name: &str) -> Option<Vec<u8>> {
        is_plain(name).then(|| fs::read(self.answer_file(challenge, name)).ok())?
    }

    /// Takes back all answers.
    pub(super) fn clear(&self, challenge: Challenge) {
        for entry in fs::read_dir(self.0.join(challenge.name())).into_iter().flatten().flatten() {
            drop(fs::remove_file(entry.path()));
        }
    }

    pub(super) fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, Error> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| Error::cache(path, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::cache(path, error)),
        }
    }

    pub(super) fn write_json(&self, path: &Path, value: &impl Serialize) -> Result<(), Error> {
        self.write(path, &serde_json::to_vec(value).map_err(|error| Error::cache(path, error))?)
    }

    /// All or nothing, also when the machine stops.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let written = File::options().create(true).truncate(true).write(true).mode(0o600).open(&beside).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, path)?;
            path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
        });
        written.map_err(|error| {
            drop(fs::remove_file(&beside));
            Error::cache(path, error)
        })
    }
}

// === impl Failure ===

impl Failure {
    pub(super) fn until(self) -> SystemTime {
        due::at(self.until)
    }

    pub(super) fn is_over(self) -> bool {
        self.until() <= SystemTime::now()
    }
}

/// True for a token, and for a host's name.
fn is_plain(name: &str) -> bool {
    let fits = (1..=LONGEST_TOKEN).contains(&name.len()) && !name.starts_with('.');
    fits && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}
