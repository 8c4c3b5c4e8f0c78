//! The memory guard at work: it looks once a second, and has workers start afresh, works refused, and at last another engine take
//! over.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{
    config,
    rpc::{Answer, Concerns, Error, Payload, Service},
    sys::{
        cgroup::{MemoryGroups, Usage},
        limits,
    },
    worker::{Control, Controls, Guard, Pool, Pressure, Reading, Replace, Thresholds, process::Processes},
};

/// What it looks at and acts on.
pub(super) struct MemoryGuard {
    guard: Guard,
    groups: MemoryGroups,
    /// Given by the configuration; then what this server itself holds counts, and not its group.
    limit: Option<u64>,
    pools: Arc<[Pool]>,
    processes: Arc<[Arc<Processes>]>,
    controls: Controls,
    pressure: Pressure,
    killed: u64,
    shown: Arc<Mutex<Shown>>,
    /// Since when this engine is to end before another begins.
    due: Option<Instant>,
    /// When a request was last seen that had run for long.
    held: Option<Instant>,
    /// The longest that its end is put off for the sake of such.
    patience: Duration,
}

/// As a call tells it; sizes in bytes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Shown {
    limit: u64,
    used: u64,
    own: u64,
    /// What is done about it.
    measure: String,
}

/// Answers `memory.Show`.
struct Told(Arc<Mutex<Shown>>);

const TICK: Duration = Duration::from_secs(1);

/// A worker that has just started afresh has nothing to give.
const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// A request that has run for longer may hold what memory there is, and would be waited for while nobody accepts.
const LONG: Duration = Duration::from_secs(1);

/// After such a request it takes so long to see what memory is left: workers that have grown start afresh, one a second.
const SETTLES: Duration = Duration::from_secs(5);

/// Nor has one that holds no more than this.
const WORTHWHILE: u64 = 16 << 20;

/// It is known already.
const TELLS_WITHIN: Duration = Duration::from_secs(5);

// === impl MemoryGuard ===

impl MemoryGuard {
    /// None if it is off. The engine serves from now on.
    pub(super) fn new(
        engine: &config::Engine,
        pools: &Arc<[Pool]>,
        processes: &Arc<[Arc<Processes>]>,
        controls: &Controls,
    ) -> Option<Self> {
        let config = &engine.memory;
        if !config.guard {
            return None;
        }
        let thresholds =
            Thresholds { recycle_at: config.recycle_at, shed_at: config.shed_at, replace_after: config.replace_after };
        let groups = MemoryGroups::of_this_process();
        let watched = Self {
            guard: Guard::new(thresholds, own(processes)),
            killed: groups.killed().unwrap_or(0),
            groups,
            limit: config.limit,
            pools: pools.clone(),
            processes: processes.clone(),
            controls: controls.clone(),
            pressure: Pressure::None,
            shown: Arc::default(),
            due: None,
            held: None,
            patience: engine.grace_period,
        };
        watched.show(watched.read());
        Some(watched)
    }

    /// Tells calls what it sees.
    pub(super) fn service(&self) -> Arc<dyn Service> {
        Arc::new(Told(self.shown.clone()))
    }

    /// Looks and acts until another engine is to take over.
    pub(super) async fn watch(&mut self) -> Replace {
        loop {
            tokio::time::sleep(TICK).await;
            if let Some(replace) = self.look() {
                return replace;
            }
        }
    }

    fn look(&mut self) -> Option<Replace> {
        let reading = self.read();
        let now = Instant::now();
        let pressure = self.guard.look(reading, now);
        let before = std::mem::replace(&mut self.pressure, pressure);
        self.show(reading);
        if pressure != before {
            self.apply(reading);
        }
        self.note_killed();
        if pressure >= Pressure::Recycle {
            self.relieve();
        }
        let replace = self.guard.replace(reading, now);
        self.put_off(replace, now)
    }

    /// Where there is no room for two engines, this one's end is of no use while requests hold the memory that run on until they end,
    /// and nobody would be answered meanwhile. So it waits for those, no longer than `patience`.
    fn put_off(&mut self, replace: Option<Replace>, now: Instant) -> Option<Replace> {
        if self.pressure < Pressure::Shed || replace == Some(Replace::Beside) {
            self.due = None;
            return replace;
        }
        let works = self.controls.iter().flat_map(|pool| pool.workers()).filter_map(|worker| worker.current);
        let mut ages = works.map(|work| work.since.elapsed().unwrap_or_default());
        if ages.any(|age| age >= LONG) {
            self.held = Some(now);
        }
        if replace.is_some() && self.due.is_none() {
            self.due = Some(now);
            if self.is_held(now) {
                tracing::warn!("memory stays short, with no room for two engines: requests that run are waited for");
            }
        }
        let due = self.due?;
        if self.is_held(now) && now.duration_since(due) < self.patience {
            return None;
        }
        self.due = None;
        Some(Replace::After)
    }

    fn is_held(&self, now: Instant) -> bool {
        self.held.is_some_and(|held| now.duration_since(held) < SETTLES)
    }

    fn apply(&self, reading: Reading) {
        for pool in &*self.pools {
            pool.feel(self.pressure);
        }
        let Reading { limit, used, own } = reading;
        if self.pressure == Pressure::None {
            tracing::info!(used, limit, own, "memory is no longer short");
        } else {
            tracing::warn!(used, limit, own, "memory is short: {}", self.pressure.measure());
        }
    }

    /// Has the largest worker of all start afresh, after what it does.
    fn relieve(&self) {
        let largest = self.controls.iter().filter_map(|pool| pool.relief(SETTLED_AFTER)).max_by_key(|relief| relief.memory);
        if let Some(relief) = largest.filter(|relief| relief.memory >= WORTHWHILE) {
            tracing::warn!(worker = relief.worker, memory = relief.memory, "memory is short: the largest worker starts afresh");
            (relief.renew)();
        }
    }

    fn note_killed(&mut self) {
        let Some(killed) = self.groups.killed() else { return };
        if killed > self.killed {
            tracing::error!(processes = killed - self.killed, "the kernel has killed for want of memory in this control group");
        }
        self.killed = killed;
    }

    fn read(&self) -> Reading {
        let own = own(&self.processes);
        let of_group = || self.groups.tightest();
        match self.limit.map(|limit| Usage { limit, used: own }).or_else(of_group) {
            Some(Usage { limit, used }) => Reading { limit, used, own },
            // What else runs on the machine is not ours to make up for.
            None => Reading { limit: limits::memory(), used: own, own },
        }
    }

    fn show(&self, reading: Reading) {
        let Reading { limit, used, own } = reading;
        *self.shown.lock() = Shown { limit, used, own, measure: self.pressure.measure().into() };
    }
}

/// What this process and its workers' processes hold, without the pages of files.
fn own(processes: &[Arc<Processes>]) -> u64 {
    let workers = processes.iter().flat_map(|processes| processes.workers());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    resident(&status) + workers.map(|worker| worker.memory).sum::<u64>()
}

/// The bytes of `RssAnon` and `RssShmem`.
fn resident(status: &str) -> u64 {
    let kilobytes = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    ["RssAnon", "RssShmem"].into_iter().filter_map(kilobytes).sum::<u64>() * 1024
}

// === impl Told ===

impl Service for Told {
    fn name(&self) -> &str {
        "memory"
    }

    fn concerns(&self, method: &str) -> Concerns {
        match method {
            "Show" => Concerns::All { within: TELLS_WITHIN, join: sum },
            _ => Concerns::Any,
        }
    }

    fn call<'a>(&'a self, method: &'a str, argument: Payload) -> Answer<'a> {
        Box::pin(async move {
            match method {
                "Show" => argument.reply(&self.0.lock().clone()),
                _ => Err(Error::UnknownMethod),
            }
        })
    }
}

/// Engines hold the sum of what each holds, and the one with the most used under the same limit does the most about it.
fn sum(results: Vec<Payload>) -> Result<Payload, Error> {
    let all = results.iter().map(Payload::read).collect::<Result<Vec<Shown>, _>>()?;
    let own = all.iter().map(|shown| shown.own).sum();
    let worst = all.into_iter().max_by_key(|shown| shown.used).unwrap_or_default();
    results[0].reply(&Shown { own, used: worst.used.max(own), ..worst })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_files_are_nobodys() {
        let status = "VmRSS:\t  900 kB\nRssAnon:\t  100 kB\nRssFile:\t  700 kB\nRssShmem:\t  100 kB\n";
        assert_eq!(resident(status), 200 << 10);
    }
}
