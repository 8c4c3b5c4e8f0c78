//! What every worker is doing, kept where it outlives the process: after a crash the supervisor reads who ran what.
//!
//! A page of atomic words. Each slot has one writer and is framed by a sequence number, odd while it is written; a reader trusts
//! no byte of it, since the writer may have died anywhere.

use std::{
    collections::BTreeSet,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use parking_lot::Mutex;

use crate::sys::clock;

/// Workers that have a slot; those beyond are not reported.
pub const SLOTS: usize = 1024;

const TEXT: usize = 29;
const SLOT: usize = 3 + TEXT;
/// The beat, then the table of plugins.
const HEAD: usize = 8 + PLUGINS * PLUGIN;
/// Plugins whose state is told; those beyond are not.
const PLUGINS: usize = 16;
/// The state, then the name.
const PLUGIN: usize = 1 + NAME;
const NAME: usize = 3;
/// Threads besides the main one that beat; those beyond are not watched.
const HEARTS: usize = 256;
/// The beat, then the name.
const HEART: usize = 1 + NAME;
const NOT_READY: u64 = 1;
const IS_READY: u64 = 2;

/// Words that a scoreboard takes.
pub const WORDS: usize = HEAD + SLOTS * SLOT + HEARTS * HEART;

/// The page.
#[derive(Clone, Copy, Debug)]
pub struct Scoreboard(&'static [AtomicU64]);

/// One worker's part of it.
#[derive(Clone, Copy, Debug)]
pub struct Writer(&'static [AtomicU64]);

/// A slot that is one worker's until this is dropped.
#[derive(Debug)]
pub struct Lease {
    slot: usize,
    writer: Writer,
}

/// The slots that are somebody's in this process.
static LEASED: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

/// The beat of one thread that must not stand still, until this is dropped.
#[derive(Debug)]
pub struct Heart {
    heart: usize,
    words: &'static [AtomicU64],
}

/// The hearts that are somebody's in this process.
static BEATING: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

/// A request that was running.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Running {
    /// The slot, which is the thread's number.
    pub slot: usize,
    /// When it began, by [`now_ms`].
    pub began_ms: u64,
    /// Thread, method, URI without its query, and script.
    pub what: String,
}

// === impl Scoreboard ===

impl Scoreboard {
    /// On [`WORDS`] words.
    pub fn new(words: &'static [AtomicU64]) -> Option<Self> {
        (words.len() >= WORDS).then_some(Self(words))
    }

    /// In this process's own memory, for the rest of its life.
    pub fn local() -> Self {
        Self(Box::leak((0..WORDS).map(|_| AtomicU64::new(0)).collect()))
    }

    /// A slot that nobody has; none if all are taken.
    pub fn lease(self) -> Option<Lease> {
        let mut leased = LEASED.lock();
        let slot = (0..SLOTS).find(|slot| !leased.contains(slot))?;
        let writer = self.writer(slot)?;
        leased.insert(slot);
        Some(Lease { slot, writer })
    }

    /// The writer of one slot; none past the last.
    pub fn writer(self, slot: usize) -> Option<Writer> {
        let start = HEAD + slot * SLOT;
        (slot < SLOTS).then(|| Writer(&self.0[start..start + SLOT]))
    }

    /// Says that the main thread is alive; see [`Self::beat`].
    pub fn alive(self) {
        self.0[0].store(now_ms(), Relaxed);
    }

    /// For a thread called `name`, alive from now on; none if there are too many.
    pub fn heart(self, name: &str) -> Option<Heart> {
        let mut beating = BEATING.lock();
        let heart = (0..HEARTS).find(|heart| !beating.contains(heart))?;
        beating.insert(heart);
        let heart = Heart { heart, words: self.hearts().nth(heart)? };
        put_name(&heart.words[1..], name);
        heart.beat();
        Some(heart)
    }

    /// The thread that has been silent for longest, and since when by [`now_ms`]; none before the main thread is alive.
    pub fn beat(self) -> Option<(u64, String)> {
        let main = self.0[0].load(Relaxed);
        let others = self.hearts().map(|words| (words[0].load(Acquire), name(&words[1..])));
        let all = others.filter(|(beat, _)| *beat != 0).chain([(main, "main".into())]);
        all.min_by_key(|(beat, _)| *beat).filter(|_| main != 0)
    }

    fn hearts(self) -> impl Iterator<Item = &'static [AtomicU64]> {
        self.0[HEAD + SLOTS * SLOT..WORDS].chunks_exact(HEART)
    }

    /// Says of each plugin whether all its pools can work; `plugins` must come in the same order each time.
    pub fn note_plugins<'a>(self, plugins: impl Iterator<Item = (&'a str, bool)>) {
        for (entry, (name, is_ready)) in self.plugin_entries().zip(plugins) {
            if entry[0].load(Relaxed) == 0 {
                put_name(&entry[1..], name);
            }
            entry[0].store(if is_ready { IS_READY } else { NOT_READY }, Release);
        }
    }

    /// What [`Self::note_plugins`] said last.
    pub fn plugins(self) -> Vec<(String, bool)> {
        let told = self.plugin_entries().map_while(|entry| {
            let state = entry[0].load(Acquire);
            (state != 0).then(|| (name(&entry[1..]), state == IS_READY))
        });
        told.collect()
    }

    fn plugin_entries(self) -> impl Iterator<Item = &'static [AtomicU64]> {
        self.0[8..HEAD].chunks_exact(PLUGIN)
    }

    /// The requests that run, as far as the page can be read.
    pub fn running(self) -> Vec<Running> {
        (0..SLOTS).filter_map(|slot| self.writer(slot)?.read(slot)).collect()
    }

    /// Forgets everything, for a new process.
    pub fn clear(self) {
        self.0.iter().for_each(|word| word.store(0, Relaxed));
    }
}

fn put_name(words: &[AtomicU64], name: &str) {
    let mut bytes = [0; NAME * 8];
    let length = name.len().min(bytes.len());
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    for (word, bytes) in words.iter().zip(bytes.as_chunks().0) {
        word.store(u64::from_le_bytes(*bytes), Relaxed);
    }
}

fn name(words: &[AtomicU64]) -> String {
    let bytes = words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).take_while(|&byte| byte != 0);
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).chars().map(printable).collect()
}

/// A log line must not be forged by what a client sent.
fn printable(char: char) -> char {
    if char.is_control() { '?' } else { char }
}

// === impl Heart ===

impl Heart {
    /// The thread is alive.
    pub fn beat(&self) {
        self.words[0].store(now_ms(), Release);
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.words[0].store(0, Release);
        BEATING.lock().remove(&self.heart);
    }
}

// === impl Lease ===

impl Lease {
    /// What writes to it.
    pub fn writer(&self) -> Writer {
        self.writer
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.writer.end();
        LEASED.lock().remove(&self.slot);
    }
}

// === impl Writer ===

impl Writer {
    /// A request begins.
    pub fn begin(self, parts: [&[u8]; 4]) {
        self.framed(|slot| {
            slot.0[1].store(now_ms(), Relaxed);
            let mut length = 0;
            let mut word = 0_u64;
            let bytes = parts.into_iter().flat_map(|part| part.iter().chain(b" ")).take(TEXT * 8);
            for &byte in bytes {
                word |= u64::from(byte) << (length % 8 * 8);
                length += 1;
                if length % 8 == 0 {
                    slot.0[2 + length / 8].store(word, Relaxed);
                    word = 0;
                }
            }
            if length % 8 != 0 {
                slot.0[3 + length / 8].store(word, Relaxed);
            }
            slot.0[2].store(length as u64, Relaxed);
        });
    }

    /// It has ended.
    pub fn end(self) {
        self.0[1].store(0, Release);
    }

    fn framed(self, write: impl FnOnce(Self)) {
        let sequence = self.0[0].load(Relaxed);
        self.0[0].store(sequence | 1, Release);
        write(self);
        self.0[0].store((sequence | 1).wrapping_add(1), Release);
    }

    fn read(self, slot: usize) -> Option<Running> {
        let began_ms = self.0[1].load(Acquire);
        if began_ms == 0 {
            return None;
        }
        let length = usize::try_from(self.0[2].load(Relaxed)).unwrap_or(usize::MAX).min(TEXT * 8);
        let bytes: Vec<u8> = self.0[3..].iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).take(length).collect();
        let what = String::from_utf8_lossy(&bytes).chars().map(printable).collect();
        Some(Running { slot, began_ms, what })
    }
}

/// Milliseconds by the clock that all processes share and nobody sets; never 0.
pub fn now_ms() -> u64 {
    u64::try_from(clock::monotonic().as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Scoreboard {
        Scoreboard::local()
    }

    #[test]
    fn a_slot_is_leased_to_one_and_then_to_another() {
        let board = board();
        let (one, two) = (board.lease().expect("a slot"), board.lease().expect("a slot"));
        assert_ne!(one.slot, two.slot);
        one.writer().begin([b"php-http-1", b"GET", b"/a", b"/srv/index.php"]);
        let free = one.slot;
        drop(one);
        assert_eq!(board.running(), []);
        assert_eq!(board.lease().expect("a slot").slot, free);
    }

    #[test]
    fn tells_what_runs_and_not_what_has_ended() {
        let board = board();
        let (one, two) = (board.writer(1).expect("a slot"), board.writer(2).expect("a slot"));
        one.begin([b"php-http-1", b"GET", b"/a", b"/srv/index.php"]);
        two.begin([b"php-http-2", b"POST", b"/b\nforged", &[b'x'; 1000]]);
        two.begin([b"php-http-2", b"PUT", b"/c\nforged", b"/srv/c.php"]);
        let running = board.running();
        assert_eq!(
            running.iter().map(|one| one.what.trim()).collect::<Vec<_>>(),
            ["php-http-1 GET /a /srv/index.php", "php-http-2 PUT /c?forged /srv/c.php"]
        );
        one.end();
        assert_eq!(board.running().len(), 1);
        board.clear();
        assert_eq!(board.running(), []);
        assert!(board.writer(SLOTS).is_none());
    }

    #[test]
    fn plugins_are_told_with_their_state() {
        let board = board();
        assert_eq!(board.plugins(), []);
        let name = "a name of more than twenty-four bytes";
        board.note_plugins([("http", false), (name, true)].into_iter());
        board.note_plugins([("http", true), (name, false)].into_iter());
        assert_eq!(board.plugins(), [("http".into(), true), (name[..24].into(), false)]);
        board.note_plugins((0..PLUGINS + 1).map(|_| ("x", true)));
        assert_eq!(board.plugins().len(), PLUGINS);
        assert_eq!(board.running(), [], "the table is not in a slot");
    }

    #[test]
    fn the_thread_that_is_silent_for_longest_speaks_for_all() {
        let board = board();
        let (io, watchdog) = (board.heart("io-0").expect("a heart"), board.heart("php-watchdog").expect("a heart"));
        assert_eq!(board.beat(), None, "it boots");
        board.alive();
        io.words[0].store(7, Relaxed);
        assert_eq!(board.beat(), Some((7, "io-0".into())));
        io.beat();
        watchdog.words[0].store(8, Relaxed);
        assert_eq!(board.beat(), Some((8, "php-watchdog".into())));
        drop((io, watchdog));
        board.0[0].store(9, Relaxed);
        assert_eq!(board.beat(), Some((9, "main".into())), "threads that have ended need not beat");
        let all: Vec<_> = (0..).map_while(|_| board.heart("io")).collect();
        assert!(all.len() <= HEARTS && board.heart("io").is_none());
    }

    #[test]
    fn garbage_is_survived() {
        let board = board();
        board.0.iter().for_each(|word| word.store(u64::MAX, Relaxed));
        assert_eq!(board.running().len(), SLOTS);
        assert_eq!(board.plugins().len(), PLUGINS);
        assert_eq!(board.beat().map(|(beat, _)| beat), Some(u64::MAX));
    }
}
