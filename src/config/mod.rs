//! What the operator asked for.
//!
//! Parsed twice, trusted once: `source` finds and merges the files into one raw array, `resolve` turns that into the
//! types here. Nothing downstream checks a value again. The keys, their documentation and how each is read stand in one
//! table, `schema`; `config.php.dist` is rendered from it.

mod absent;
mod access;
mod acme;
mod answers;
mod compound;
mod dev;
pub mod dist;
mod edge;
mod env;
mod error;
mod fileserver;
mod form;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod guards;
mod http;
mod lock;
mod metrics;
mod middleware;
mod number;
mod php;
mod pool;
mod resolve;
mod schema;
mod server;
mod site;
mod source;
mod suggest;
mod tcp;
mod types;

#[cfg(test)]
mod tests;

pub use access::AccessLog;
pub use acme::{Acme, AcmeChallenge, AcmeKeyType};
pub use answers::{CircuitBreaker, SendRemoteFile};
pub use dev::Dev;
pub use edge::{ClientAuth, Http3, ProxyFact, ProxyHeaders, ProxyProtocol, Ssl, Subnet, TlsProfile};
pub use env::{Dotenv, read_dotenv};
pub use error::Error;
pub use fileserver::{Fileserver, Folder};
pub use guards::{BasicAuth, IpFilter, Maintenance, RateLimit, RequestId};
pub use http::{Address, Context, Fcgi, Http, Limits, Output, Preset, Rewrite, StaticFiles, Statics};
pub use lock::Lock;
pub use metrics::Metrics;
pub use middleware::{Coding, Compress, Cors, Headers, Middleware, Sendfile};
pub use pool::{DynamicAllocator, Pool, Supervisor};
pub use server::{Carrier, Relay, Server};
pub use site::{Own, Route, Site, is_read_once};
pub use source::{LoadOptions, find, load, rpc_address};
pub use tcp::{Tcp, TcpServer};
pub use types::{Config, Encoding, Engine, Level, LogMode, Logs, Memory, Php, Reset, Rpc, Status};
