//! The service `informer`: who works here, and more or fewer of them.
//!
//! RoadRunner 2025.1 knows `List`, `Workers`, `Jobs`, `AddWorker` and `RemoveWorker`, none of them in protobuf. The plugins for
//! its next version had for a while `ListPlugins`, `GetWorkers` and `GetJobs` with messages of `informer.v1`; both names are
//! answered in every codec. `Threads` is ours: what `rr threads` shows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Answer, Codec, Concerns, Error, Payload, Service, agreed, lists};
use crate::worker::{Control, Controls, ThreadRow, WorkerRow};

/// Answers the calls of `rr workers` and of PHP's `WorkerPool`.
#[derive(Clone, Debug)]
pub struct Informer(Controls);

/// A worker as RoadRunner shows it, and what it does at the moment.
#[derive(Debug, Serialize)]
struct State<'a> {
    pid: i64,
    status: u8,
    #[serde(rename = "numExecs")]
    num_execs: u64,
    /// Nanoseconds since 1970, as all times here.
    created: i64,
    #[serde(rename = "memoryUsage")]
    memory_usage: u64,
    #[serde(rename = "CPUPercent")]
    cpu_percent: f64,
    command: &'a str,
    #[serde(rename = "statusStr")]
    status_str: &'static str,
    /// Ours: the work in progress, `GET /path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<&'a str>,
    /// Ours: when it began.
    #[serde(rename = "currentSince", skip_serializing_if = "Option::is_none")]
    current_since: Option<i64>,
}

#[derive(Debug, Serialize)]
struct WorkerList<'a> {
    /// None if the plugin has no pool, as in Go.
    workers: Option<Vec<State<'a>>>,
}

/// A thread and what it is in the middle of.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ThreadState<'a> {
    name: &'a str,
    id: i64,
    state: &'static str,
    request: u64,
    script: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_since: Option<i64>,
    trace: &'a [String],
}

/// `informer.v1.GetWorkersRequest`, and every other message that names a plugin.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PluginRequest {
    #[prost(string, tag = "1")]
    plugin: String,
}

/// `informer.v1.PluginsList`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PluginsList {
    #[prost(string, repeated, tag = "1")]
    plugins: Vec<String>,
}

/// `informer.v1.WorkersList`.
#[derive(Clone, PartialEq, Message)]
struct WorkersMessage {
    #[prost(message, repeated, tag = "1")]
    workers: Vec<StateMessage>,
}

/// `informer.v1.ProcessState`.
#[derive(Clone, PartialEq, Message)]
struct StateMessage {
    #[prost(int32, tag = "1")]
    pid: i32,
    #[prost(int64, tag = "2")]
    status: i64,
    #[prost(uint64, tag = "3")]
    num_execs: u64,
    #[prost(int64, tag = "4")]
    created: i64,
    #[prost(uint64, tag = "5")]
    memory_usage: u64,
    #[prost(float, tag = "6")]
    cpu_percent: f32,
    #[prost(string, tag = "7")]
    command: String,
    #[prost(string, tag = "8")]
    status_str: String,
}

/// `informer.v1.Response`.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(bool, tag = "1")]
    ok: bool,
}

/// What is done to workers waits for what they do: their pools bound that, and this comes after.
pub(super) const CHANGES_WITHIN: Duration = Duration::from_secs(290);

/// An engine that lives tells what it does at once, or its threads' calls after a while.
const TELLS_WITHIN: Duration = Duration::from_secs(5);

// === impl Informer ===

impl Informer {
    /// Speaks of these pools.
    pub fn new(pools: Controls) -> Self {
        Self(pools)
    }

    fn workers(&self, argument: &Payload) -> Result<Payload, Error> {
        let pools = self.0.of(&PluginRequest::read(argument)?);
        let rows: Vec<WorkerRow> = pools.iter().flat_map(|pool| pool.workers()).collect();
        match argument.codec {
            Codec::Proto => argument.reply_message(&WorkersMessage { workers: rows.iter().map(StateMessage::new).collect() }),
            codec => {
                let list = WorkerList { workers: (!pools.is_empty()).then(|| rows.iter().map(State::new).collect()) };
                // Go's MessagePack knows nothing of JSON's names.
                if codec == Codec::Msgpack { argument.reply(&go_names(&list)?) } else { argument.reply(&list) }
            }
        }
    }

    async fn threads(&self, argument: &Payload) -> Result<Payload, Error> {
        let mut rows = Vec::new();
        for pool in self.0.of(&PluginRequest::read(argument)?) {
            rows.extend(pool.threads().await);
        }
        argument.reply(&rows.iter().map(ThreadState::new).collect::<Vec<_>>())
    }

    fn pool(&self, argument: &Payload) -> Result<&dyn Control, Error> {
        let plugin = PluginRequest::read(argument)?;
        let pool = self.0.of(&plugin).first().copied();
        pool.ok_or_else(|| Error::Failed(format!("plugin {plugin} does not support workers management")))
    }
}

impl Service for Informer {
    fn name(&self) -> &str {
        "informer"
    }

    fn concerns(&self, method: &str) -> Concerns {
        match method {
            "Workers" | "GetWorkers" | "Threads" => Concerns::All { within: TELLS_WITHIN, join: lists },
            "AddWorker" | "RemoveWorker" => Concerns::All { within: CHANGES_WITHIN, join: agreed },
            _ => Concerns::Any,
        }
    }

    fn call<'a>(&'a self, method: &'a str, argument: Payload) -> Answer<'a> {
        Box::pin(async move {
            match method {
                "List" | "ListPlugins" => PluginsList::reply(&self.0, &argument),
                "Workers" | "GetWorkers" => self.workers(&argument),
                "Threads" if argument.codec != Codec::Proto => self.threads(&argument).await,
                // No plugin has jobs yet, which Go says with nothing.
                "Jobs" | "GetJobs" if argument.codec == Codec::Proto => argument.reply_message(&PluginsList::default()),
                "Jobs" | "GetJobs" => argument.reply(&Value::Null),
                "AddWorker" => {
                    self.pool(&argument)?.add().await.map_err(|refused| Error::Failed(refused.to_string()))?;
                    done(&argument)
                }
                "RemoveWorker" => {
                    self.pool(&argument)?.remove().await.map_err(|refused| Error::Failed(refused.to_string()))?;
                    done(&argument)
                }
                _ => Err(Error::UnknownMethod),
            }
        })
    }
}

/// The result of what was done.
pub(super) fn done(argument: &Payload) -> Result<Payload, Error> {
    match argument.codec {
        Codec::Proto => argument.reply_message(&Response { ok: true }),
        _ => argument.reply(&true),
    }
}

/// Fields by their names in Go, all of which start with a capital.
fn go_names(value: &impl Serialize) -> Result<Value, Error> {
    let value = serde_json::to_value(value).map_err(|error| Error::Failed(error.to_string()))?;
    Ok(capitalised(value))
}

fn capitalised(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let entry = |(name, value): (String, Value)| {
                let first = name.chars().next().map(|first| first.to_ascii_uppercase());
                (first.into_iter().chain(name.chars().skip(1)).collect(), capitalised(value))
            };
            Value::Object(map.into_iter().map(entry).collect::<Map<_, _>>())
        }
        Value::Array(list) => list.into_iter().map(capitalised).collect(),
        other => other,
    }
}

// === impl PluginRequest, PluginsList ===

impl PluginRequest {
    /// The plugin that a call names.
    pub(super) fn read(argument: &Payload) -> Result<String, Error> {
        match argument.codec {
            Codec::Proto => argument.message::<Self>().map(|request| request.plugin),
            _ => argument.read(),
        }
    }
}

impl PluginsList {
    /// The names of the pools: where each plugin has one, the plugins.
    pub(super) fn reply(pools: &Controls, argument: &Payload) -> Result<Payload, Error> {
        let plugins = pools.names();
        match argument.codec {
            Codec::Proto => argument.reply_message(&Self { plugins: plugins.into_iter().map(str::to_owned).collect() }),
            _ => argument.reply(&plugins),
        }
    }
}

// === impl ThreadState, State, StateMessage ===

impl<'a> ThreadState<'a> {
    fn new(row: &'a ThreadRow) -> Self {
        Self {
            name: &row.name,
            id: row.id,
            state: row.state,
            request: row.request,
            script: &row.script,
            current: row.current.as_ref().map(|current| current.name.as_str()),
            current_since: row.current.as_ref().map(|current| nanoseconds(current.since)),
            trace: &row.trace,
        }
    }
}

impl<'a> State<'a> {
    fn new(row: &'a WorkerRow) -> Self {
        Self {
            pid: row.pid,
            status: row.status as u8,
            num_execs: row.executions,
            created: nanoseconds(row.created),
            memory_usage: row.memory,
            cpu_percent: row.cpu_percent,
            command: &row.command,
            status_str: row.status.name(),
            current: row.current.as_ref().map(|current| current.name.as_str()),
            current_since: row.current.as_ref().map(|current| nanoseconds(current.since)),
        }
    }
}

impl StateMessage {
    fn new(row: &WorkerRow) -> Self {
        Self {
            pid: i32::try_from(row.pid).unwrap_or(i32::MAX),
            status: row.status as i64,
            num_execs: row.executions,
            created: nanoseconds(row.created),
            memory_usage: row.memory,
            cpu_percent: row.cpu_percent as f32,
            command: row.command.clone(),
            status_str: row.status.name().into(),
        }
    }
}

fn nanoseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}
