//! The file server, as the configuration wants it.

use std::{sync::Arc, time::Duration};

use super::{edge, settings};
use crate::{
    config::{self, Config},
    error::Error,
    http::{
        Drain,
        conn::{self, Entry},
        files,
        fileserver::{self, FileServer},
        listen::{self, Listeners},
    },
};

/// The server and where it listens. Cheap to clone.
#[derive(Clone)]
pub(super) struct Serving {
    server: FileServer,
    entries: Arc<[Entry]>,
    config: Arc<conn::Config>,
}

/// RoadRunner's time-outs.
const PATIENCE: Duration = Duration::from_secs(10);

/// To listen where `config` says, if it does.
pub(super) fn listen(config: &Config) -> Result<listen::Config, Error> {
    settings::listen("fileserver.address", &config.fileserver.address, config.http.limits.backlog.into())
}

/// The directories; none if nobody can ask for them.
pub(super) fn build(config: &Config) -> Result<Option<FileServer>, Error> {
    let section = &config.fileserver;
    if section.address.is_none() {
        return Ok(None);
    }
    let etag = match (section.calculate_etag, section.weak) {
        (false, _) => files::Etag::None,
        (true, false) => files::Etag::Strong,
        (true, true) => files::Etag::Weak,
    };
    let folder = |folder: &config::Folder| fileserver::Config {
        prefix: folder.prefix.clone(),
        root: folder.root.clone(),
        ranges: folder.bytes_range,
        compress: folder.compress.then(|| edge::compress(&config.http.compress, &config.http.compress.encodings)),
        files: files::Config {
            etag,
            cache_control: (folder.max_age > 0).then(|| format!("public, max-age={}", folder.max_age)),
            revalidate: folder.cache_duration,
            threads: 1,
            ..settings::files(config)
        },
    };
    let folders = section.serve.iter().map(folder).collect();
    FileServer::new(folders).map(Some).map_err(|error| Error::Config(format!("fileserver.serve: {error}")))
}

// === impl Serving ===

impl Serving {
    /// On `listeners`; none if nobody can ask for anything.
    pub(super) fn new(config: &Config, listeners: Listeners) -> Result<Option<Self>, Error> {
        let Some(server) = build(config)? else { return Ok(None) };
        let usual = settings::connections(&config.http);
        let terms = conn::Config { header_timeout: PATIENCE, write_timeout: PATIENCE, ..usual };
        let entries = Arc::new([Entry { listeners, proxies: Vec::new(), tls: None }]);
        Ok(Some(Self { server, entries, config: Arc::new(terms) }))
    }

    /// Answers from the current runtime until `drain` says otherwise.
    pub(super) async fn serve(&self, drain: Drain) {
        if let Err(error) = conn::serve(&self.entries, self.config.clone(), self.server.clone(), drain).await {
            tracing::error!(%error, "the file server ended");
        }
    }
}
