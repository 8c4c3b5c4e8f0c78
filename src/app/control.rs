//! PHP threads under an operator's hand.

use std::{sync::Arc, thread, time::Duration};

use tokio::sync::oneshot;

use crate::{
    php::{Slot, SlotState, Snapshot, Threads},
    worker::{Control, CurrentWork, Done, NotDone, Relief, ThreadRow, Told, WorkerRow, WorkerStatus, date_of},
};

/// One pool's threads.
#[derive(Debug)]
pub(super) struct ThreadPool(Arc<Threads>);

// === impl ThreadPool ===

impl ThreadPool {
    pub(super) fn new(threads: &Arc<Threads>) -> Self {
        Self(threads.clone())
    }
}

impl Control for ThreadPool {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn workers(&self) -> Vec<WorkerRow> {
        self.0.slots().iter().map(|slot| row(slot)).collect()
    }

    fn threads(&self) -> Told<'_> {
        let threads = self.0.clone();
        Box::pin(async move {
            let (tell, told) = oneshot::channel();
            // It waits for answers, and an io thread must not.
            let wait = move || drop(tell.send(threads.snapshot()));
            match thread::Builder::new().name("snapshot".into()).spawn(wait) {
                Ok(_) => told.await.unwrap_or_default().into_iter().map(thread_row).collect(),
                Err(error) => {
                    tracing::error!(%error, "no thread to look at the PHP threads");
                    Vec::new()
                }
            }
        })
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    fn relief(&self, settled: Duration) -> Option<Relief<'_>> {
        let slot = self.0.largest(settled)?;
        let (memory, worker) = (slot.life().memory, slot.name().to_owned());
        Some(Relief { memory, worker, renew: Box::new(move || slot.renew()) })
    }

    fn reset(&self) -> Done<'_> {
        let threads = self.0.clone();
        Box::pin(async move {
            let (tell, told) = oneshot::channel();
            // It waits as long as `reset_timeout`, and an io thread must not.
            let wait = move || drop(tell.send(threads.reset()));
            let waiter = thread::Builder::new().name("reset".into()).spawn(wait);
            waiter.map_err(|error| NotDone::Failed(format!("no thread to wait for the workers: {error}")))?;
            told.await.unwrap_or_else(|_| Err("the server stops".into())).map_err(NotDone::Failed)
        })
    }

    fn add(&self) -> Done<'_> {
        Box::pin(async { self.0.add().map_err(NotDone::Failed) })
    }

    fn remove(&self) -> Done<'_> {
        Box::pin(async { self.0.remove().map_err(NotDone::Failed) })
    }
}

fn thread_row(snapshot: Snapshot) -> ThreadRow {
    let Snapshot { slot, is_lost, trace } = snapshot;
    let state = match slot.state() {
        _ if is_lost => "stuck",
        SlotState::Starting => "booting",
        SlotState::Idle => "idle",
        SlotState::Running => "working",
        SlotState::Failed => "failed",
        SlotState::Leaving => "leaving",
        SlotState::Gone => "gone",
    };
    let current = slot.current();
    let running = current.began.filter(|_| current.ended.is_none());
    ThreadRow {
        name: slot.name().to_owned(),
        id: slot.thread_id().into(),
        state,
        request: running.map_or(0, |_| current.request),
        script: if running.is_some() || slot.is_on_errand() { current.script } else { String::new() },
        current: running
            .map(|began| CurrentWork { name: format!("{} {}", current.method, current.target), since: date_of(began) }),
        trace,
    }
}

fn row(slot: &Slot) -> WorkerRow {
    let life = slot.life();
    let status = match (slot.state(), life.due) {
        (SlotState::Gone, _) => WorkerStatus::Stopped,
        (SlotState::Leaving, _) => WorkerStatus::Stopping,
        (SlotState::Starting | SlotState::Idle | SlotState::Failed, _) if life.is_leaving => WorkerStatus::Stopping,
        (SlotState::Failed, _) => WorkerStatus::Errored,
        (_, Some(WorkerStatus::ExecTtlReached)) => WorkerStatus::ExecTtlReached,
        (SlotState::Running, Some(_)) => WorkerStatus::Invalid,
        (SlotState::Running, None) => WorkerStatus::Working,
        (_, Some(due)) => due,
        (SlotState::Starting, None) => WorkerStatus::Inactive,
        (SlotState::Idle, None) => WorkerStatus::Ready,
    };
    let age = life.began.elapsed().as_secs_f64().max(f64::EPSILON);
    let current = slot.current();
    let running = current.began.filter(|_| slot.state() == SlotState::Running && current.ended.is_none());
    WorkerRow {
        pid: slot.thread_id().into(),
        status,
        executions: life.served,
        created: date_of(life.began),
        memory: life.memory,
        cpu_percent: life.cpu.as_secs_f64() / age * 100.0,
        command: String::new(),
        current: running
            .map(|began| CurrentWork { name: format!("{} {}", current.method, current.target), since: date_of(began) }),
    }
}
