//! The users of an `htpasswd` file, which may change while we serve.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;

/// Names and hashes; the file is looked at again when it has changed.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    hashes: HashMap<String, String>,
    stamp: Stamp,
    looked: Instant,
}

/// What tells one state of the file from the next.
type Stamp = (Option<SystemTime>, u64);

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

// === impl Users ===

impl Users {
    /// Reads the file, in which every hash must be one of bcrypt.
    pub fn read(path: &Path) -> io::Result<Self> {
        let (hashes, stamp) = load(path)?;
        Ok(Self { path: path.to_owned(), state: Mutex::new(State { hashes, stamp, looked: Instant::now() }) })
    }

    pub(super) fn hash_of(&self, name: &str) -> Option<String> {
        let mut state = self.state.lock();
        if state.looked.elapsed() >= LOOK {
            state.look(&self.path);
        }
        state.hashes.get(name).cloned()
    }

    /// A hash that takes as long to compute as others.
    pub(super) fn any_hash(&self) -> String {
        self.state.lock().hashes.values().next().cloned().unwrap_or_default()
    }
}

// === impl State ===

impl State {
    fn look(&mut self, path: &Path) {
        self.looked = Instant::now();
        if stamp(path).is_ok_and(|stamp| stamp == self.stamp) {
            return;
        }
        match load(path) {
            Ok((hashes, stamp)) => (self.hashes, self.stamp) = (hashes, stamp),
            // An editor may be about to write it.
            Err(error) => tracing::error!("http.basic_auth.file: {error}; the users stay as they were"),
        }
    }
}

fn load(path: &Path) -> io::Result<(HashMap<String, String>, Stamp)> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let stamp = stamp(path).map_err(named)?;
    let text = fs::read_to_string(path).map_err(named)?;
    parse(&text).map(|hashes| (hashes, stamp)).map_err(|what| named(io::Error::new(io::ErrorKind::InvalidData, what)))
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.modified().ok(), metadata.len()))
}

fn parse(text: &str) -> Result<HashMap<String, String>, String> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let hashes = lines.map(|(number, line)| match line.split_once(':') {
        Some((name, hash)) if hash.parse::<bcrypt::HashParts>().is_ok() => Ok((name.to_owned(), hash.to_owned())),
        _ => Err(format!("line {number}: expected a name and a bcrypt hash, as htpasswd -B writes them")),
    });
    hashes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bcrypt_is_taken() {
        let hash = bcrypt::hash("x", 4).unwrap();
        let users = parse(&format!("# people\nbob:{hash}\n\nann:{}\n", hash.replace("$2b$", "$2y$"))).unwrap();
        assert_eq!(users.len(), 2);
        for wrong in ["bob", "bob:plain", "bob:$apr1$x$y", "bob:{SHA}x"] {
            assert!(parse(&format!("ann:{hash}\n{wrong}")).unwrap_err().starts_with("line 2: "), "{wrong}");
        }
    }
}
