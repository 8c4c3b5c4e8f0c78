//! What the server's processes hold.

use std::{fmt, fs};

use nix::unistd::Pid;

use super::trial::Trial;
use crate::harness::{PATIENCE, wait_until};

/// At one moment, without a client.
#[derive(Debug)]
pub(super) struct Census {
    supervisor: Holding,
    engine: Holding,
    engine_pid: Pid,
    /// Files that were to be temporary.
    files: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Holding {
    kilobytes: u64,
    threads: usize,
    descriptors: usize,
}

/// What memory may grow by and count as flat: caches and fragments, not leaks, which grow with the time that a test takes.
const SLACK_KB: u64 = 24 * 1024;

/// Processes below `pid`, at any depth.
pub(super) fn below(pid: Pid) -> Vec<Pid> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<Pid> =
        lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).map(number).collect();
    children.iter().copied().chain(children.iter().flat_map(|child| below(*child))).collect()
}

/// False for zombies too.
pub(super) fn is_running(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("Z").starts_with(['Z', 'X']))
}

fn number(text: String) -> Pid {
    Pid::from_raw(text.parse().unwrap())
}

/// Whether nothing has grown: the supervisor since it was `fresh`, the engine since `before`.
pub(super) fn same_again(fresh: &Census, before: &Census, after: &Census, trial: &Trial) {
    let (now, then) = (after.supervisor, fresh.supervisor);
    // Two more: what a rollback would bring back.
    assert!(now.threads == then.threads && now.descriptors <= then.descriptors + 2, "the supervisor: {then:?}, now {now:?}");
    assert!(now.kilobytes <= then.kilobytes + SLACK_KB, "the supervisor: {then:?}, now {now:?}");
    assert_eq!(before.engine_pid, after.engine_pid, "nothing replaced the engine: {}", trial.server.log.text());
    let (now, then) = (after.engine, before.engine);
    // Files and OPcache's own may have been opened meanwhile, threads for files started.
    assert!(now.descriptors <= then.descriptors + 4 && now.threads <= then.threads + 2, "the engine: {then:?}, now {now:?}");
    assert!(now.kilobytes <= then.kilobytes + SLACK_KB, "the engine: {then:?}, now {now:?}");
    let (now, then) = (after.engine, fresh.engine);
    assert!(
        now.descriptors <= then.descriptors + 4 && now.threads <= then.threads + 4,
        "the engine: fresh {then:?}, now {now:?}"
    );
    // PHP's own file of an upload stays when it is killed in the middle of one; there are no others.
    let others: Vec<_> = after.files.iter().filter(|name| !name.starts_with("php")).collect();
    assert!(others.is_empty() && after.files.len() <= trial.deaths(), "temporary files: {:?}", after.files);
}

// === impl Census ===

impl Census {
    /// Once there is one engine, whose connections are closed: nobody is connected.
    pub(super) fn settled(trial: &Trial) -> Self {
        let mut last = None;
        let settled = wait_until(PATIENCE, || {
            let now = Self::now(trial);
            std::thread::sleep(std::time::Duration::from_millis(200));
            let same = |now: &Self, last: &Self| {
                (now.engine_pid, now.engine.threads, now.engine.descriptors, now.files.len())
                    == (last.engine_pid, last.engine.threads, last.engine.descriptors, last.files.len())
            };
            let settled = now.as_ref().zip(last.as_ref()).is_some_and(|(now, last)| same(now, last));
            last = now;
            settled
        });
        assert!(
            settled,
            "it does not come to rest: {last:?}, below {:?}: {}",
            below(trial.server.pid()),
            trial.server.log.text()
        );
        last.unwrap()
    }

    /// None unless there is just one engine.
    fn now(trial: &Trial) -> Option<Self> {
        let [engine_pid] = below(trial.server.pid())[..] else { return None };
        let temporary = fs::read_dir(trial.server.dir().join("tmp")).ok()?;
        Some(Self {
            supervisor: Holding::of(trial.server.pid())?,
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
        Some(Self { kilobytes, threads: count("task")?, descriptors: count("fd")? })
    }
}

impl fmt::Display for Holding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} KB, {} threads, {} descriptors", self.kilobytes, self.threads, self.descriptors)
    }
}
