//! The state on its way from one engine to the next.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    Chunks, Plugin,
    frame::Frame,
    link::Link,
    owner::{Apart, Owner, Shared},
};

/// What the newer engine says to chunks.
#[derive(Debug)]
pub(super) enum Reply {
    Placed,
    Complete,
    Aborted(String),
}

/// What has come so far.
#[derive(Debug, Default)]
pub(super) struct Restoring {
    chunks: u32,
    is_whole: bool,
}

/// What was handed over.
#[derive(Debug, Default)]
struct Load {
    chunks: u32,
    bytes: usize,
    entries: usize,
}

/// Chunks on their way that are not acknowledged.
const WINDOW: u32 = 16;
/// Replies to those, and to the end.
pub(super) const REPLIES: usize = WINDOW as usize + 2;
/// The older engine gives up a copy that takes longer.
const COPIES_WITHIN: Duration = Duration::from_secs(20);
/// The older engine makes calls again if it has not handed over by then.
const FREEZES_FOR: Duration = Duration::from_secs(2);
/// The newer engine gives up by then: later than the older one, which says why.
const TAKES_OVER_WITHIN: Duration = Duration::from_secs(25);

/// Has the state handed over by the engine that owns it, if that is another one.
pub(super) async fn take_over(shared: &Arc<Shared>) -> Result<(), String> {
    let (tell, mut told) = oneshot::channel();
    // Before anybody is asked: the other engine may die at once.
    *shared.taking.lock() = Some(tell);
    let link = match shared.owner() {
        Owner::There { link, .. } => link,
        Owner::Here | Owner::Moving => {
            shared.taking.lock().take();
            return Ok(());
        }
        Owner::Gone => return go_apart(shared, told).await,
    };
    let began = Instant::now();
    link.send(Frame::Take).await;
    let ended = "the engine that owns the state says nothing more";
    let outcome = match timeout(TAKES_OVER_WITHIN, &mut told).await {
        Ok(outcome) => outcome.unwrap_or_else(|_| Err(ended.into())),
        Err(_) if shared.give_up(ended) => {
            // Should it hand over now, nobody takes it, and it goes on as the owner.
            shared.set_owner(Owner::Gone);
            link.close();
            Err(ended.into())
        }
        // It came in the last moment.
        Err(_) => told.await.unwrap_or_else(|_| Err(ended.into())),
    };
    if outcome.is_ok() && !shared.plugins.is_empty() {
        let entries: usize = shared.plugins.iter().map(|plugin| plugin.entries()).sum();
        tracing::info!(entries, ms = began.elapsed().as_millis(), "what plugins keep in memory is in this engine now");
    }
    outcome
}

/// Without what the owner has, if that speaks another version.
async fn go_apart(shared: &Shared, told: oneshot::Receiver<Result<(), String>>) -> Result<(), String> {
    let ended = || Err("the engine that owns the state cannot be reached".into());
    if shared.taking.lock().take().is_none() {
        // It was heard of in this moment.
        return told.await.unwrap_or_else(|_| ended());
    }
    let apart = shared.apart.lock().clone();
    match apart {
        Some(Apart::Refused(why)) => {
            shared.begin(Some(&why));
            Ok(())
        }
        Some(Apart::Severed(why)) => Err(why),
        None => ended(),
    }
}

/// Hands the state over to the engine at the other end, whose plugins have these forms.
pub(super) async fn hand_over(shared: Arc<Shared>, link: Arc<Link>, forms: Vec<(String, u32)>, told: mpsc::Receiver<Reply>) {
    let _alone = shared.handing_over.lock().await;
    if !shared.owns() {
        return link.send(Frame::Aborted("the engine before does not own the state".into())).await;
    }
    let mut sending = Sending { shared: &shared, link: &link, forms, told, load: Load::default(), on_their_way: 0 };
    let is_heard = |frozen| if link.has_ended() { Err("the new engine is not heard of any more".to_owned()) } else { Ok(frozen) };
    match sending.all().await.and_then(is_heard) {
        Ok(frozen) => {
            // The other engine is the owner once it reads this; calls follow it.
            link.send(Frame::Yours).await;
            shared.set_owner(Owner::There { link: link.clone(), kept: true });
            let frozen_us = frozen.elapsed().as_micros();
            // Otherwise it may have read it, and be the owner.
            if link.is_gone() {
                shared.died(&link, "the engine that took the state over has ended");
            }
            if !shared.plugins.is_empty() {
                let Load { entries, bytes, .. } = sending.load;
                tracing::info!(entries, bytes, frozen_us, "what plugins keep in memory was handed over to the new engine");
            }
        }
        Err(why) => {
            shared.keep();
            tracing::error!("what plugins keep in memory stays in this engine: {why}");
            link.send(Frame::Aborted(why)).await;
        }
    }
}

/// The older engine's part.
struct Sending<'a> {
    shared: &'a Shared,
    link: &'a Link,
    forms: Vec<(String, u32)>,
    told: mpsc::Receiver<Reply>,
    load: Load,
    on_their_way: u32,
}

// === impl Sending ===

impl Sending<'_> {
    /// Returns since when the state is frozen.
    async fn all(&mut self) -> Result<Instant, String> {
        let too_long = |limit: Duration| move |_| Err(format!("it took more than {} s", limit.as_secs()));
        timeout(COPIES_WITHIN, self.copy()).await.unwrap_or_else(too_long(COPIES_WITHIN))?;
        if !self.shared.begin_to_move() {
            return Err("the engine does not own the state any more".into());
        }
        let frozen = Instant::now();
        timeout(FREEZES_FOR, self.rest()).await.unwrap_or_else(too_long(FREEZES_FOR))?;
        Ok(frozen)
    }

    async fn copy(&mut self) -> Result<(), String> {
        for plugin in &self.shared.plugins {
            if let Some(place) = self.place(&**plugin) {
                self.chunks(place, plugin.clone().copy()).await?;
            }
        }
        // Nothing of it is to be waited for later, when calls wait.
        while self.on_their_way > 0 {
            self.on_their_way -= placed(&mut self.told).await?;
        }
        Ok(())
    }

    async fn rest(&mut self) -> Result<(), String> {
        for plugin in &self.shared.plugins {
            let chunks = plugin.freeze();
            match self.place(&**plugin) {
                Some(place) => {
                    self.load.entries += plugin.entries();
                    self.chunks(place, chunks).await?;
                }
                None => say_lost(&**plugin),
            }
        }
        self.link.send(Frame::End(self.load.chunks)).await;
        loop {
            match placed(&mut self.told).await? {
                0 if self.on_their_way == 0 => return Ok(()),
                0 => return Err("the new engine says that all is in its place, and has not said it of each part".into()),
                one => {
                    let left = self.on_their_way.checked_sub(one);
                    self.on_their_way = left.ok_or("the new engine acknowledges what was not sent")?;
                }
            }
        }
    }

    /// Which of the newer engine's plugins it is.
    fn place(&self, plugin: &dyn Plugin) -> Option<u8> {
        let place = self.forms.iter().position(|(name, form)| *name == plugin.name() && *form == plugin.form());
        u8::try_from(place?).ok()
    }

    async fn chunks(&mut self, plugin: u8, chunks: Chunks) -> Result<(), String> {
        for bytes in chunks {
            while self.on_their_way >= WINDOW {
                self.on_their_way -= placed(&mut self.told).await?;
            }
            self.load.bytes += bytes.len();
            self.link.send(Frame::Chunk { number: self.load.chunks, plugin, bytes: bytes.into() }).await;
            self.load.chunks += 1;
            self.on_their_way += 1;
        }
        Ok(())
    }
}

/// 1 for a chunk, 0 for all of it.
async fn placed(told: &mut mpsc::Receiver<Reply>) -> Result<u32, String> {
    match told.recv().await {
        Some(Reply::Placed) => Ok(1),
        Some(Reply::Complete) => Ok(0),
        Some(Reply::Aborted(why)) => Err(why),
        None => Err("the new engine has ended".into()),
    }
}

fn say_lost(plugin: &dyn Plugin) {
    if plugin.entries() > 0 {
        let (name, entries) = (plugin.name(), plugin.entries());
        tracing::warn!(
            entries,
            "what {name} keeps in memory is lost: the new engine has no such plugin, or keeps it in another form"
        );
    }
}

// === impl Restoring ===

impl Restoring {
    /// Puts a chunk in its place.
    pub(super) fn chunk(&mut self, shared: &Shared, number: u32, plugin: u8, bytes: &[u8]) -> Result<(), String> {
        if shared.taking.lock().is_none() {
            return Err("the new engine does not wait for it".into());
        }
        if number != self.chunks {
            return Err(format!("part {number} came where part {} belongs", self.chunks));
        }
        self.chunks += 1;
        let plugin = shared.plugins.get(usize::from(plugin)).ok_or("a part is of no plugin")?;
        plugin.restore(bytes).map_err(|why| format!("{}: {why}", plugin.name()))
    }

    /// Whether all of it is there.
    pub(super) fn end(&mut self, count: u32) -> Result<(), String> {
        let came = std::mem::take(&mut self.chunks);
        self.is_whole = came == count;
        if self.is_whole { Ok(()) } else { Err(format!("{came} of {count} parts came")) }
    }

    /// Whether it was said that it is.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }
}
