//! Debug mode: each request has a worker of its own, which sees the code as it is now, and its client is told errors.

use super::{
    active::Active,
    context::Context,
    engine::ScriptKind,
    opcache,
    run::{Ended, Feed, Run},
    slot::Slot,
    thread::Settings,
    worker::why,
};
use crate::worker::{IniValue, Jobs, Next, Pool, Script, Seat, Variables, Work, roadrunner::Exchange};

/// The life of a worker's thread in debug mode.
pub(super) fn serve(pool: &Pool, slot: &Slot, settings: &Settings, script: &Script) {
    let seat = pool.seat();
    slot.standing.sit(&seat, pool);
    slot.standing.ready();
    slot.end();
    while !slot.is_written_off() {
        match seat.next() {
            Next::Work(work) => answer(work, &seat, slot, settings, script),
            // Every request starts afresh.
            Next::Recalled => {}
            Next::Closed => break,
        }
    }
}

/// What debug mode adds to the ini values: scripts are looked at for changes each time, and errors are displayed unless `given` says
/// otherwise.
pub(super) fn ini(given: &[(String, String)]) -> Vec<IniValue> {
    let wanted = [("opcache.validate_timestamps", "1"), ("opcache.revalidate_freq", "0"), ("display_errors", "1")];
    let is_open = |name: &str| name.starts_with("opcache.") || given.iter().all(|(key, _)| key != name);
    wanted
        .into_iter()
        .filter(|(name, _)| is_open(name))
        .map(|(name, value)| IniValue { name: name.into(), value: value.into(), locked: false })
        .collect()
}

fn answer(work: Work, seat: &Seat, slot: &Slot, settings: &Settings, script: &Script) {
    let context = Context::attach(slot);
    slot.booting(script, seat);
    slot.begin(&work);
    slot.settle();
    let ready = || slot.standing.ready();
    let feed = Feed::new(seat, Jobs::new(1), &ready);
    let (feed, lifeline) = match &settings.script {
        ScriptKind::RoadRunner { terms, .. } => {
            let Some(request) = Exchange::begin(work, terms) else { return slot.end() };
            let lifeline = request.lifeline();
            (feed.first(request), lifeline)
        }
        ScriptKind::Classic | ScriptKind::Worker { .. } => {
            let request = Active::new(work, settings, Variables::default());
            let lifeline = request.lifeline();
            (feed.only(request), lifeline)
        }
    };
    *slot.lifeline.lock() = lifeline;
    let pass = opcache::pass();
    let ended = Run::worker(script.clone(), feed, slot, settings);
    drop(pass);
    drop(context);
    refuse(ended, script);
    slot.standing.ready();
}

/// Tells the client why its worker did not boot.
fn refuse(mut ended: Ended, script: &Script) {
    let (request, exchange) = (ended.unanswered.take(), ended.unheard.take());
    if request.is_none() && exchange.is_none() {
        return;
    }
    let reason = format!("worker script {} did not boot: {}", script.shown(), why(&ended));
    tracing::error!("{reason}");
    if let Some(mut exchange) = exchange {
        exchange.refuse_with(reason.clone());
    }
    let Some(mut request) = request else { return };
    request.headers(500, None, [&b"Content-Type: text/plain; charset=utf-8"[..]].into_iter());
    request.write(reason.as_bytes());
    request.finish();
}
