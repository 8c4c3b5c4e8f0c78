//! Certificates that change on disk are taken up while serving.

use std::{fs, os::unix::fs::MetadataExt, path::Path, time::Duration};

use super::{Config, Tls, acme::Acme};

/// What tells one content of a file from another without reading it; nothing while there is no file.
pub(super) type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// How often files are looked at: whoever renews a certificate does it weeks ahead.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The stamps of all files that `config` names. Links are followed: a mounted secret changes by its link.
pub(super) fn stamps(config: &Config, acme: Option<&Acme>) -> Vec<Stamp> {
    let given = config.certificates.iter().flat_map(|pair| [&pair.chain, &pair.key]).chain(&config.root_ca);
    let issued = acme.into_iter().flat_map(Acme::pairs).map(|pair| stamp(&pair.chain));
    let ocsp = config.certificates.iter().map(|pair| stamp(&pair.ocsp()));
    given.map(|path| stamp(path)).chain(issued).chain(ocsp).collect()
}

fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec(), file.size()))
}

// === impl Tls ===

impl Tls {
    /// Looks at the files for ever.
    pub async fn watch(self) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        loop {
            tick.tick().await;
            self.look();
        }
    }

    /// Takes up what has changed. A certificate and its key are two files: while they do not match, the old ones serve on.
    pub(super) fn look(&self) {
        let shared = &self.0;
        let now = stamps(&shared.config, shared.acme.as_ref());
        if *shared.seen.lock() == now {
            return;
        }
        *shared.seen.lock() = now;
        match shared.config.load(shared.acme.as_ref(), &shared.provider) {
            Ok(current) => {
                *shared.current.write() = current;
                shared.changed.send_replace(());
                tracing::info!("http.ssl: the certificates have changed and are in force");
            }
            Err(error) => tracing::error!("http.ssl: the certificates have changed, but the old ones go on: {error}"),
        }
    }
}
