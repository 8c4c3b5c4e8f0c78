//! Workers of RoadRunner's kind: the command that starts one, and what carries frames to it.

use std::path::PathBuf;

use serde_json::Value;

use super::form::{Form, Named, Wrong};

/// The workers that plugins share (`server`).
///
/// # Defaults
/// - `server.command`: `[]`
/// - `server.env`: `{}`
/// - `server.relay`: `pipes`
/// - `server.user`: `null`
/// - `server.group`: `null`
/// - `server.umask`: `null`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Server {
    /// What starts a worker: a program and its arguments; empty if there are no such workers.
    pub command: Vec<String>,
    /// Environment variables for workers, in the order given, their names as RoadRunner has them: in capitals.
    pub env: Vec<(String, String)>,
    /// How a worker's process is spoken to.
    pub relay: Relay,
    /// The name or number of the user that scripts run as; none for whoever started the server.
    pub user: Option<String>,
    /// The same of its group; none for the user's own.
    pub group: Option<String>,
    /// The rights that files made by scripts do not get; none for what the server was started with.
    pub umask: Option<u32>,
}

/// How a worker's process is spoken to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Relay {
    /// Through its standard input and output.
    #[default]
    Pipes,
    /// It connects to this `host:port`.
    Tcp(String),
    /// It connects to the socket at this path.
    Unix(PathBuf),
}

/// What runs the workers of a pool (`http.pool.carrier`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Carrier {
    /// Threads if the command is a PHP script and its relay `pipes`, else processes.
    #[default]
    Auto,
    /// Threads of this process.
    Thread,
    /// A process each.
    Process,
}

/// A command, as a list or as a text with spaces between.
pub(super) struct CommandLine;
/// `pipes`, `tcp://host:port` or `unix://path`.
pub(super) struct RelayAddress;
/// Names and texts; the names are put into capitals.
pub(super) struct Variables;

// === impl Form ===

impl Form<Vec<String>> for CommandLine {
    fn read(&self, raw: &Value) -> Result<Vec<String>, Wrong> {
        // A text that has commas is a list, as Octane gives it on the command line.
        let parts: Vec<String> = match raw {
            Value::String(text) => text.split(',').map(str::to_owned).collect(),
            Value::Array(list) => {
                let text = |part: &Value| match part {
                    Value::String(text) => Ok(text.clone()),
                    Value::Number(number) => Ok(number.to_string()),
                    _ => Err(Wrong::expected("a text", part)),
                };
                list.iter().map(text).collect::<Result<_, _>>()?
            }
            _ => return Err(Wrong::expected("a command as a text or as a list", raw)),
        };
        let parts = match &parts[..] {
            [whole] => whole.split_whitespace().map(str::to_owned).collect(),
            _ => parts.iter().map(|part| part.trim().to_owned()).collect::<Vec<_>>(),
        };
        if parts.iter().any(|part| part.contains('\0')) {
            return Err(Wrong::expected("a command without NUL", raw));
        }
        Ok(parts)
    }

    fn show(&self, value: &Vec<String>) -> Value {
        value.iter().map(String::as_str).collect()
    }
}

impl Form<Relay> for RelayAddress {
    fn read(&self, raw: &Value) -> Result<Relay, Wrong> {
        let text = raw.as_str().unwrap_or_default();
        let is_address = |address: &&str| address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        match text.split_once("://") {
            Some(("tcp", address)) if is_address(&address) => Ok(Relay::Tcp(address.to_owned())),
            Some(("unix", path)) if !path.is_empty() => Ok(Relay::Unix(path.into())),
            None if text == "pipes" => Ok(Relay::Pipes),
            _ => Err(Wrong::expected("pipes, tcp://host:port or unix://path", raw)),
        }
    }

    fn show(&self, value: &Relay) -> Value {
        match value {
            Relay::Pipes => "pipes".into(),
            Relay::Tcp(address) => format!("tcp://{address}").into(),
            Relay::Unix(path) => format!("unix://{}", path.display()).into(),
        }
    }
}

impl Form<Vec<(String, String)>> for Variables {
    fn read(&self, raw: &Value) -> Result<Vec<(String, String)>, Wrong> {
        let pairs = super::compound::Pairs { nested: false }.read(raw)?;
        Ok(pairs.into_iter().map(|(name, value)| (name.to_uppercase(), value)).collect())
    }

    fn show(&self, value: &Vec<(String, String)>) -> Value {
        super::compound::Pairs { nested: false }.show(value)
    }
}

impl Named for Carrier {
    const NAMES: &'static [(&'static str, Self)] = &[("auto", Self::Auto), ("thread", Self::Thread), ("process", Self::Process)];
}
