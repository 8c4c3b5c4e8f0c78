//! What the server's processes hold.

use std::{fmt, fs};

use nix::unistd::Pid;

use super::{PATIENCE, Server, wait_until};

/// At one moment, without a client.
#[derive(Debug)]
pub(crate) struct Census {
    pub(crate) supervisor: Holding,
    pub(crate) engine: Holding,
    pub(crate) engine_pid: Pid,
    /// Files that were to be temporary.
    pub(crate) files: Vec<String>,
}

/// What one process holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Holding {
    /// Its share of the memory that it has in common with others, and all of its own.
    pub(crate) kilobytes: u64,
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
    /// How many of those are sockets.
    pub(crate) sockets: usize,
}

/// Processes below `pid`, at any depth.
pub(crate) fn below(pid: Pid) -> Vec<Pid> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<Pid> =
        lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).map(number).collect();
    children.iter().copied().chain(children.iter().flat_map(|child| below(*child))).collect()
}

/// False for zombies too.
pub(crate) fn is_running(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("Z").starts_with(['Z', 'X']))
}

fn number(text: String) -> Pid {
    Pid::from_raw(text.parse().unwrap())
}

// === impl Census ===

impl Census {
    /// Once there is one engine, whose connections are closed: nobody is connected.
    pub(crate) fn settled(server: &Server) -> Self {
        let mut last = None;
        let settled = wait_until(PATIENCE, || {
            let now = Self::now(server);
            std::thread::sleep(std::time::Duration::from_millis(200));
            let same = |now: &Self, last: &Self| {
                (now.engine_pid, now.engine.threads, now.engine.descriptors, now.files.len())
                    == (last.engine_pid, last.engine.threads, last.engine.descriptors, last.files.len())
            };
            let settled = now.as_ref().zip(last.as_ref()).is_some_and(|(now, last)| same(now, last));
            last = now;
            settled
        });
        assert!(settled, "it does not come to rest: {last:?}, below {:?}: {}", below(server.pid()), server.log.text());
        last.unwrap()
    }

    /// None unless there is just one engine.
    pub(crate) fn now(server: &Server) -> Option<Self> {
        let [engine_pid] = below(server.pid())[..] else { return None };
        let temporary = fs::read_dir(server.dir().join("tmp")).ok()?;
        Some(Self {
            supervisor: Holding::of(server.pid())?,
            engine: Holding::of(engine_pid)?,
            engine_pid,
            files: temporary.flatten().map(|file| file.file_name().to_string_lossy().into_owned()).collect(),
        })
    }
}

impl fmt::Display for Census {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "supervisor {}; engine {}; {} temporary files", self.supervisor, self.engine, self.files.len())
    }
}

// === impl Holding ===

impl Holding {
    fn of(pid: Pid) -> Option<Self> {
        let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).map(Iterator::count).ok();
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        let kilobytes = pss.trim().trim_end_matches(" kB").parse().ok()?;
        let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        let sockets =
            files.filter_map(|file| fs::read_link(file.path()).ok()).filter(|link| link.to_string_lossy().starts_with("socket:"));
        Some(Self { kilobytes, threads: count("task")?, descriptors: count("fd")?, sockets: sockets.count() })
    }
}

impl fmt::Display for Holding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} KB, {} threads, {} descriptors", self.kilobytes, self.threads, self.descriptors)
    }
}
