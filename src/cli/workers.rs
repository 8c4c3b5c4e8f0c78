//! `rr workers`: who works, at what, and more or fewer of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::{
    remote, say,
    table::{Table, ago, bytes, grouped, span},
};
use crate::{config::Address, error::Error, rpc::Client};

/// What is wanted of the workers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Wanted<'a> {
    /// To see those of the plugins named, or all.
    Show(&'a [String]),
    /// To see them again every second.
    Watch(&'a [String]),
    /// One more.
    Add(&'a str),
    /// One less.
    Remove(&'a str),
}

#[derive(Debug, Deserialize)]
struct List {
    workers: Option<Vec<Worker>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Worker {
    pid: i64,
    num_execs: u64,
    created: i64,
    memory_usage: u64,
    #[serde(rename = "CPUPercent")]
    cpu_percent: f64,
    status_str: String,
    current: Option<String>,
    current_since: Option<i64>,
}

/// Answer of `memory.Show`.
#[derive(Debug, Deserialize)]
struct Memory {
    limit: u64,
    used: u64,
    own: u64,
    measure: String,
}

// === impl Wanted ===

impl<'a> Wanted<'a> {
    /// What the words of the command line mean.
    pub(super) fn of(words: &'a [String], interactive: bool) -> Result<Self, Error> {
        let change: fn(&'a str) -> Self = match words.first().map(String::as_str) {
            Some("add") => Self::Add,
            Some("remove") => Self::Remove,
            _ if interactive => return Ok(Self::Watch(words)),
            _ => return Ok(Self::Show(words)),
        };
        match words {
            [_] => Ok(change("http")),
            [_, plugin] if !interactive => Ok(change(plugin)),
            _ => Err(Error::Config(format!("rr workers {} takes one plugin, and no -i", words[0]))),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
/// A worker may have to boot, or to finish what it does.
const CHANGE_PATIENCE: Duration = Duration::from_secs(300);
const REFRESH: Duration = Duration::from_secs(1);

/// Does it.
pub(super) fn run(address: Option<&Address>, wanted: &Wanted<'_>, silent: bool) -> Result<(), Error> {
    match wanted {
        Wanted::Show(plugins) => say(&draw(&mut remote::connect(address, PATIENCE)?, plugins)?),
        Wanted::Watch(plugins) => watch(&mut remote::connect(address, PATIENCE)?, plugins),
        Wanted::Add(plugin) => change(address, "informer.AddWorker", plugin, "worker added", silent),
        Wanted::Remove(plugin) => change(address, "informer.RemoveWorker", plugin, "worker removed", silent),
    }
}

fn change(address: Option<&Address>, method: &str, plugin: &str, done: &str, silent: bool) -> Result<(), Error> {
    let mut client = remote::connect(address, CHANGE_PATIENCE)?;
    client.call::<bool>(method, &plugin).map_err(remote::failed(method))?;
    if silent { Ok(()) } else { say(&format!("{done}: [{plugin}]\n")) }
}

/// Draws until Ctrl-C.
fn watch(client: &mut Client, plugins: &[String]) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::system("terminal"))?;
    runtime.block_on(async {
        let mut clear = CLEAR;
        loop {
            say(&format!("{clear}{}", draw(client, plugins)?))?;
            clear = HOME;
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(()),
                () = tokio::time::sleep(REFRESH) => {}
            }
        }
    })
}

fn draw(client: &mut Client, named: &[String]) -> Result<String, Error> {
    let mut text = String::new();
    for plugin in remote::plugins(client, "informer.List", named)? {
        let list: List = client.call("informer.Workers", &plugin).map_err(remote::failed("informer.Workers"))?;
        let Some(mut workers) = list.workers else {
            return Err(Error::Remote(format!("the server has no workers of a plugin {plugin:?}")));
        };
        workers.sort_by_key(|worker| worker.pid);
        text.push_str(&format!("Workers of [{plugin}]:\n{}", table(&workers, SystemTime::now()).render()));
    }
    text.push_str(&memory(client));
    Ok(text)
}

/// How short memory is; nothing, if nobody guards it.
fn memory(client: &mut Client) -> String {
    let Ok(memory) = client.call::<Memory>("memory.Show", &true) else { return String::new() };
    let Memory { limit, used, own, measure } = memory;
    format!("Memory: {} of {} used, {} by this server; measure: {measure}\n", bytes(used), bytes(limit), bytes(own))
}

fn table(workers: &[Worker], now: SystemTime) -> Table {
    let mut table = Table::new(&["PID", "STATUS", "EXECS", "MEMORY", "CPU%", "CREATED", "REQUEST", "SINCE"]);
    for worker in workers {
        let since = worker.current_since.map(|since| span(now.duration_since(moment(since)).unwrap_or_default()));
        table.push(vec![
            worker.pid.to_string(),
            worker.status_str.clone(),
            grouped(worker.num_execs),
            bytes(worker.memory_usage),
            format!("{:.2}", worker.cpu_percent),
            ago(moment(worker.created), now),
            worker.current.clone().unwrap_or_default(),
            since.unwrap_or_default(),
        ]);
    }
    table
}

pub(super) fn moment(nanoseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
}

const CLEAR: &str = "\x1b[2J\x1b[H";
/// To the top, and what is below of the last table goes.
const HOME: &str = "\x1b[H\x1b[J";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_is_wanted() {
        let of = |line: &str, interactive| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Wanted::of(&words, interactive).map(|wanted| format!("{wanted:?}")).map_err(|error| error.to_string())
        };
        assert_eq!(of("", false), Ok("Show([])".into()));
        assert_eq!(of("http jobs", true), Ok(r#"Watch(["http", "jobs"])"#.into()));
        assert_eq!(of("add", false), Ok(r#"Add("http")"#.into()));
        assert_eq!(of("remove jobs", false), Ok(r#"Remove("jobs")"#.into()));
        for (line, interactive) in [("add a b", false), ("remove a", true)] {
            assert!(of(line, interactive).unwrap_err().ends_with("takes one plugin, and no -i"), "{line}");
        }
    }

    #[test]
    fn a_worker_s_row_shows_what_it_does() {
        let now = moment(2_000_000_000_000_000_000);
        let list = r#"{"workers":[{"pid":7,"status":2,"numExecs":1234,"created":1999999995000000000,"memoryUsage":31000000,
            "CPUPercent":1.5,"command":"","statusStr":"working","current":"GET /slow","currentSince":1999999999500000000}]}"#;
        let list: List = serde_json::from_str(list).unwrap();
        let drawn = table(&list.workers.unwrap(), now).render();
        let row = "| 7   | working | 1,234 | 31 MB  | 1.50 | 5 seconds ago | GET /slow | 500ms |";
        assert!(drawn.contains(row), "{drawn}");
    }
}
