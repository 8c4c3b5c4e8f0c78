//! The pool's figures in php-fpm's words: for its status page, and for `fpm_get_status()`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;

use crate::{
    http::fcgi::{Format, FpmStatus, ProcessState, ProcessStatus, StatusSource, Syntax, render},
    php::{Slot, SlotState, Threads},
    worker::Pool,
};

/// Where the figures come from.
#[derive(Debug)]
pub(super) struct Source {
    pool: Pool,
    threads: Arc<Threads>,
    started: SystemTime,
    most_active: AtomicU64,
}

// === impl Source ===

impl Source {
    /// The figures of `pool`, which its own scripts can ask for.
    pub(super) fn provide(pool: &Pool, threads: &Arc<Threads>) -> Arc<Self> {
        let source =
            Self { pool: pool.clone(), threads: threads.clone(), started: SystemTime::now(), most_active: AtomicU64::new(0) };
        let provided = Arc::new(source);
        // Weak: the threads hold what is provided, and this holds the threads.
        let source = Arc::downgrade(&provided);
        threads.provide_status(move || {
            let Some(source) = source.upgrade() else { return String::new() };
            let format = Format { syntax: Syntax::Json, full: true };
            let page = render(&source.snapshot(true), format, SystemTime::now()).1;
            serde_json::from_str(&page).map(dashed).unwrap_or_default().to_string()
        });
        provided
    }
}

impl StatusSource for Source {
    fn snapshot(&self, full: bool) -> FpmStatus {
        let pool = self.pool.snapshot();
        let slots = self.threads.slots();
        let active = slots.iter().filter(|slot| slot.state() == SlotState::Running).count() as u64;
        let most_active = self.most_active.fetch_max(active, Relaxed).max(active);
        FpmStatus {
            pool: self.threads.name().into(),
            process_manager: "static",
            start_time: self.started,
            accepted_conn: pool.taken,
            listen_queue: pool.queued as u64,
            max_listen_queue: pool.queued_max as u64,
            listen_queue_len: self.pool.config().max_queue_size as u64,
            idle_processes: slots.len() as u64 - active,
            active_processes: active,
            max_active_processes: most_active,
            max_children_reached: u64::from(pool.queued_max > 0),
            slow_requests: 0,
            memory_peak: slots.iter().map(|slot| slot.memory_peak()).max().unwrap_or(0),
            processes: if full {
                slots.iter().enumerate().map(|(number, slot)| process(number, slot)).collect()
            } else {
                Vec::new()
            },
        }
    }
}

/// The page's object with the keys that `fpm_get_status()` has: `start-time` for `start time`, `procs` for `processes`.
fn dashed(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, value)| (dashed_key(&key), dashed(value))).collect()),
        Value::Array(values) => values.into_iter().map(dashed).collect(),
        other => other,
    }
}

fn dashed_key(key: &str) -> String {
    if key == "processes" { "procs".into() } else { key.replace(' ', "-") }
}

fn process(number: usize, slot: &Slot) -> ProcessStatus {
    let current = slot.current();
    let now = Instant::now();
    let duration = current.began.map_or(Duration::ZERO, |began| current.ended.unwrap_or(now).saturating_duration_since(began));
    ProcessStatus {
        pid: std::process::id().wrapping_add(u32::try_from(number).unwrap_or(0)),
        state: match slot.state() {
            SlotState::Starting | SlotState::Failed => ProcessState::Creating,
            SlotState::Running => ProcessState::Running,
            SlotState::Idle | SlotState::Leaving | SlotState::Gone => ProcessState::Idle,
        },
        start_time: SystemTime::now() - slot.started().elapsed(),
        requests: slot.requests(),
        request_duration: duration,
        request_method: current.method,
        request_uri: current.target,
        content_length: current.body,
        user: String::new(),
        script: current.script,
        last_request_cpu: 0.0,
        last_request_memory: slot.memory_peak(),
    }
}
