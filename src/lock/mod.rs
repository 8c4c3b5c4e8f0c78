//! Locks that PHP's `roadrunner-php/lock` asks for by calls: for one writer or many readers, with a time after which they end.
//!
//! They are in memory, and go with a reload to the next engine ([`crate::state`]); a crash loses them.
//!
//! As in RoadRunner, a lock belongs to an id, not to a connection; the only reader may become the writer; and writers that wait
//! keep later readers waiting. Other than there, a resource is forgotten when nobody holds it, so `ForceRelease` of what is not
//! held is false, and a reader that asks for the lock it has just has a new time for it.
//!
//! # Bounds
//! Locks that are held, calls that wait for one, and the length of names: see [`Config`]. How long a call waits is for its caller to
//! say; the queue's length is not.

mod ask;
mod table;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

pub use ask::{Answer, Ask, Verb, decode_answer};

use self::{
    ask::{Entry, FORM, encode_answer, put_forget, put_held, take_entry},
    table::{Table, Want},
};
use crate::{
    state::{CHUNK, Called, Chunks, Plugin, form::room},
    sys::clock,
};

/// What this is called by.
pub const NAME: &str = "lock";

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Locks held at once, of writers and readers, and resources that are held; those who waited for one may come on top.
    pub max_locks: usize,
    /// Calls that wait for a lock at once.
    pub max_waiting: usize,
    /// Bytes of a resource's name, and of an id.
    pub max_name: usize,
}

/// All locks of this server, if they are in this engine.
#[derive(Debug)]
pub struct Locks {
    config: Config,
    kept: Mutex<Kept>,
    /// The next lock ends sooner than it was thought.
    sooner: Notify,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    table: Table,
    serves: bool,
}

/// How it looks now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Figures {
    /// Resources that are locked.
    pub resources: usize,
    /// Locks that are held.
    pub held: usize,
    /// Calls that wait for one.
    pub waiting: usize,
    /// Calls that were refused since the start, for there were too many.
    pub refused: u64,
}

enum Step {
    Answer(bool),
    Wait(Waiting),
}

/// Somebody who waits; dropped, it is as if it had never asked.
struct Waiting {
    locks: Arc<Locks>,
    resource: String,
    id: Arc<str>,
    ticket: u64,
    told: oneshot::Receiver<()>,
    is_over: bool,
}

// === impl Locks ===

impl Locks {
    /// None, and nobody is served yet.
    pub fn new(config: Config) -> Self {
        Self { config, kept: Mutex::default(), sooner: Notify::new(), refused: AtomicU64::new(0) }
    }

    /// What is held here.
    pub fn figures(&self) -> Figures {
        let table = &self.kept.lock().table;
        let (resources, held, waiting) = (table.resources(), table.len(), table.waiting());
        Figures { resources, held, waiting, refused: self.refused.load(Relaxed) }
    }

    /// Ends locks whose time is over; never returns.
    pub async fn keep_time(&self) {
        loop {
            let next = {
                let mut kept = self.kept.lock();
                if kept.serves {
                    kept.table.expire(now());
                }
                kept.table.next_end().filter(|_| kept.serves)
            };
            // What changes from here on is told, and the telling is kept until it is heard.
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.sooner.notified() => {}
            }
        }
    }

    fn act(self: &Arc<Self>, ask: &Ask) -> Result<Step, String> {
        let mut kept = self.kept.lock();
        let (table, now) = (&mut kept.table, now());
        table.expire(now);
        let before = table.next_end();
        let Ask { verb, resource, id, ttl, .. } = ask;
        let answer = match verb {
            Verb::Lock | Verb::LockRead => {
                if table.len() >= self.config.max_locks && !table.is_held(resource, Some(id)) {
                    return Err(self.refuse("locks are held, which lock.max_locks lets there be", table.len()));
                }
                let want = ask.want();
                if !table.lock(resource, &want, now) {
                    return self.wait(table, resource, want).map(Step::Wait);
                }
                true
            }
            Verb::Release => table.release(resource, id, now),
            Verb::ForceRelease => table.release_all(resource, now),
            Verb::Exists => table.is_held(resource, (id != "*").then_some(id)),
            Verb::UpdateTtl => table.renew(resource, id, *ttl, now),
        };
        if before.is_none() || table.next_end() < before {
            self.sooner.notify_one();
        }
        Ok(Step::Answer(answer))
    }

    fn wait(self: &Arc<Self>, table: &mut Table, resource: &str, want: Want) -> Result<Waiting, String> {
        if table.waiting() >= self.config.max_waiting {
            return Err(self.refuse("calls wait for a lock, which lock.max_waiting lets there be", table.waiting()));
        }
        let id = want.id.clone();
        let (ticket, told) = table.wait(resource, want);
        Ok(Waiting { locks: self.clone(), resource: resource.to_owned(), id, ticket, told, is_over: false })
    }

    fn refuse(&self, what: &str, count: usize) -> String {
        self.refused.fetch_add(1, Relaxed);
        format!("{count} {what}: try again later")
    }

    fn check(&self, ask: &Ask) -> Result<(), String> {
        let longest = ask.resource.len().max(ask.id.len());
        if longest > self.config.max_name {
            return Err(format!("a name of {longest} bytes is longer than lock.max_name, {}", self.config.max_name));
        }
        Ok(())
    }
}

impl Plugin for Locks {
    fn name(&self) -> &'static str {
        NAME
    }

    fn form(&self) -> u32 {
        FORM
    }

    fn entries(&self) -> usize {
        self.kept.lock().table.len()
    }

    fn call(self: Arc<Self>, request: &[u8]) -> Called {
        let done = |answer| Called::Done(encode_answer(&answer));
        let ask = match Ask::decode(request) {
            Ok(ask) => ask,
            Err(error) => return done(Err(format!("the call cannot be read: {error}"))),
        };
        match self.check(&ask).and_then(|()| self.act(&ask)) {
            Ok(Step::Answer(answer)) => done(Ok(answer)),
            Ok(Step::Wait(waiting)) => {
                let over = async move { waiting.over(ask.until).await.map(|ok| encode_answer(&Ok(ok))) };
                Called::Waits(Box::pin(over))
            }
            Err(why) => done(Err(why)),
        }
    }

    fn serve(&self) {
        let mut kept = self.kept.lock();
        kept.serves = true;
        drop(kept.table.changed());
        drop(kept);
        self.sooner.notify_one();
    }

    fn copy(self: Arc<Self>) -> Chunks {
        let mut names = self.kept.lock().table.watch().into_iter().peekable();
        // Of the first name, holders that were in the chunk before.
        let mut done = 0;
        // The table is kept from callers only while a chunk is made.
        let next = move || {
            let (mut chunk, kept) = (Vec::with_capacity(CHUNK + 1024), self.kept.lock());
            while let Some(name) = names.peek() {
                // Its new holders may not go together with those of before; the freeze has them all.
                let is_stale = done > 0 && kept.table.has_changed(name);
                for held in kept.table.holders(name).skip(done).take_while(|_| !is_stale) {
                    if chunk.len() >= CHUNK {
                        return Some(chunk);
                    }
                    put_held(&mut chunk, &held);
                    done += 1;
                }
                names.next();
                done = 0;
            }
            (!chunk.is_empty()).then_some(chunk)
        };
        Box::new(std::iter::from_fn(next))
    }

    fn freeze(&self) -> Chunks {
        let mut kept = self.kept.lock();
        kept.serves = false;
        kept.table.dismiss();
        let mut chunks = Vec::new();
        match kept.table.changed() {
            Some(changed) => {
                for name in &changed {
                    put_forget(room(&mut chunks), Some(name));
                    kept.table.holders(name).for_each(|held| put_held(room(&mut chunks), &held));
                }
            }
            None => {
                put_forget(room(&mut chunks), None);
                kept.table.held().for_each(|held| put_held(room(&mut chunks), &held));
            }
        }
        Box::new(chunks.into_iter())
    }

    fn restore(&self, mut chunk: &[u8]) -> Result<(), String> {
        let table = &mut self.kept.lock().table;
        while !chunk.is_empty() {
            match take_entry(&mut chunk).map_err(|error| format!("a lock cannot be read: {error}"))? {
                Entry::Held(held) if table.put(&held) => {}
                Entry::Held(held) => return Err(format!("{:?} is locked twice", held.resource)),
                Entry::Forget(resource) => table.forget(resource),
                Entry::ForgetAll => *table = Table::default(),
            }
        }
        Ok(())
    }

    fn clear(&self) {
        self.kept.lock().table = Table::default();
    }
}

// === impl Ask ===

impl Ask {
    fn want(&self) -> Want {
        Want { id: self.id.as_str().into(), exclusive: self.verb == Verb::Lock, since: self.since, ttl: self.ttl }
    }
}

// === impl Waiting ===

impl Waiting {
    /// Whether it got the lock; none if the locks move.
    async fn over(mut self, until: u64) -> Option<bool> {
        let told = tokio::select! {
            told = &mut self.told => told.is_ok().then_some(true),
            () = sleep_until(Some(until)) => self.give_up(),
        };
        self.is_over = true;
        told
    }

    fn give_up(&mut self) -> Option<bool> {
        if self.locks.kept.lock().table.withdraw(&self.resource, self.ticket, now()) {
            return Some(false);
        }
        // It came in the last moment, if it came.
        self.told.try_recv().is_ok().then_some(true)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let table = &mut self.locks.kept.lock().table;
        if !table.withdraw(&self.resource, self.ticket, now()) && self.told.try_recv().is_ok() {
            table.release(&self.resource, &self.id, now());
        }
    }
}

/// Nanoseconds of the monotonic clock.
pub fn now() -> u64 {
    u64::try_from(clock::monotonic().as_nanos()).unwrap_or(u64::MAX)
}

async fn sleep_until(moment: Option<u64>) {
    match moment {
        Some(moment) => tokio::time::sleep(Duration::from_nanos(moment.saturating_sub(now()))).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
