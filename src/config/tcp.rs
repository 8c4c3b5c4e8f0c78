//! The resolved `tcp` section.

use std::{path::PathBuf, time::Duration};

use serde_json::{Map, Value};

use super::{
    compound::{collect, entries},
    form::{Form, Listen, Text, Wrong},
    http::{Address, Http},
    pool::Pool,
    suggest::closest,
    types::Config,
};

/// TCP servers whose protocol is a script's (`tcp`).
///
/// # Defaults
/// - `tcp.servers`: `{}`
/// - `tcp.worker`: `null`
/// - `tcp.read_buf_size`: `1`
/// - `tcp.max_message_size`: `16`
/// - `tcp.idle_timeout`: `1h`
/// - `tcp.write_timeout`: `1m`
/// - `tcp.max_connections`: `10000`
/// - `tcp.max_memory`: `256M`
#[derive(Clone, Debug, PartialEq)]
pub struct Tcp {
    /// The servers, in the order given; without one there is no such plugin.
    pub servers: Vec<TcpServer>,
    /// A script that takes tasks by `RR\Worker`, in place of `server.command`.
    pub worker: Option<PathBuf>,
    /// Bytes read at once.
    pub read_buf_size: u64,
    /// Bytes of the longest message.
    pub max_message_size: u64,
    /// How long a client may say nothing.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of an answer.
    pub write_timeout: Duration,
    /// Connections at once, of all servers.
    pub max_connections: usize,
    /// Bytes of all long messages at once.
    pub max_memory: usize,
    /// What is told of connections.
    pub pool: Pool,
}

/// One of `tcp.servers`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TcpServer {
    /// What workers know it by.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// What ends a message.
    pub delimiter: String,
}

/// Names, and for each `addr` and, unless CRLF ends a message, `delimiter`.
pub(super) struct Servers;

// === impl Tcp ===

impl Default for Tcp {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            worker: None,
            read_buf_size: 1 << 20,
            max_message_size: 16 << 20,
            idle_timeout: Duration::from_secs(3600),
            write_timeout: Duration::from_secs(60),
            max_connections: 10_000,
            max_memory: 256 << 20,
            pool: Pool::default(),
        }
    }
}

// === impl Config ===

impl Config {
    /// The same as for something that is served by HTTP: `tcp`'s workers in the place of those.
    pub(crate) fn of_tcp(&self) -> Self {
        let http = Http {
            address: Vec::new(),
            fcgi: None,
            root: None,
            worker: self.tcp.worker.clone(),
            routes: Vec::new(),
            request_timeout: Duration::ZERO,
            pool: self.tcp.pool.clone(),
            ..self.http.clone()
        };
        Self { http, sites: Vec::new(), ..self.clone() }
    }
}

// === impl Form ===

impl Form<Vec<TcpServer>> for Servers {
    fn read(&self, raw: &Value) -> Result<Vec<TcpServer>, Wrong> {
        let servers = collect(entries(raw)?.into_iter().map(|(name, raw)| (format!(".{name}"), server(&name, raw))))?;
        for (at, server) in servers.iter().enumerate() {
            if let Some(other) = servers[..at].iter().find(|other| other.address == server.address) {
                let message = format!("expected an address of its own, got that of {}", other.name);
                return Err(Wrong(vec![(format!(".{}.addr", server.name), message)]));
            }
        }
        Ok(servers)
    }

    fn show(&self, value: &Vec<TcpServer>) -> Value {
        let shown = |server: &TcpServer| {
            let keys = [("addr", server.address.to_string()), ("delimiter", server.delimiter.clone())];
            Value::Object(keys.into_iter().map(|(key, text)| (key.to_owned(), text.into())).collect())
        };
        Value::Object(value.iter().map(|server| (server.name.clone(), shown(server))).collect::<Map<_, _>>())
    }
}

fn server(name: &str, raw: &Value) -> Result<TcpServer, Wrong> {
    let (mut address, mut delimiter, mut wrong) = (None, None, Vec::new());
    for (key, raw) in entries(raw)?.into_iter().filter(|(_, raw)| !raw.is_null()) {
        let read = match key.as_str() {
            "addr" => Listen("").read(raw).map(|read| address = Some(read)),
            "delimiter" => Text("a text", |_| true).read(raw).map(|read| delimiter = Some(read)),
            other => {
                let hint = closest(other, ["addr", "delimiter"]).map_or(String::new(), |name| format!(", did you mean {name}?"));
                Err(Wrong(vec![(String::new(), format!("unknown key{hint}"))]))
            }
        };
        wrong.extend(read.err().into_iter().flat_map(|inner| inner.inside(&format!(".{key}"))));
    }
    // As in RoadRunner, none is the usual one.
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty()).unwrap_or_else(|| "\r\n".into());
    match address {
        Some(address) if wrong.is_empty() => Ok(TcpServer { name: name.to_owned(), address, delimiter }),
        None if wrong.is_empty() => Err(Wrong(vec![(".addr".into(), "missing".into())])),
        _ => Err(Wrong(wrong)),
    }
}
