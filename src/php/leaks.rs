//! Names what grows from request to request of a worker script (`dev.leaks`).
//!
//! `leaks.c` measures after each request; here is judged what that means. Caches fill and services are made when a page is asked
//! for the first time, so growth counts when the same page is asked for again: five times by the same amount, or ten times by any.
//! Whatever shrinks once is no leak.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use parking_lot::Mutex;

use super::{ffi::Measure, slot::Current};

/// What one worker has been seen to keep.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    looks: u64,
    requests: u64,
    tracks: HashMap<u64, Track>,
    /// How often each page was asked for.
    visits: HashMap<u64, u32>,
}

/// One measure since it last shrank.
#[derive(Debug)]
struct Track {
    value: u64,
    /// The value, and the number of looks, before it grew.
    base: u64,
    since: u64,
    seen: u64,
    /// Looks that found it larger.
    grown: u64,
    /// Of these, those after a page that had been asked for before.
    again: u64,
    last_growth: u64,
    step: u64,
    is_even: bool,
}

/// Visits of a page after which it is known.
const WARM_UP: u32 = 2;
const EVENLY: u64 = 5;
const ANYHOW: u64 = 10;
/// Growth after pages that are new each time.
const ELSEWHERE: u64 = 64;
/// Looks without growth after which it starts over.
const FORGOTTEN: u64 = 100;
/// A text that comes to be this much longer is worth a word.
const BYTES: u64 = 32;
const MOST_PAGES: usize = 4096;
const MOST_TRACKS: usize = 100_000;

/// What was said of each thing on any thread, as a power of two of how often it grew.
static TOLD: Mutex<Option<HashMap<u64, u32>>> = Mutex::new(None);

/// The code has changed: what was said before may be said again.
pub(super) fn forget() {
    *TOLD.lock() = None;
}

// === impl Tracker ===

impl Tracker {
    /// Compares what is kept after a request with what was before; says what to tell.
    pub(crate) fn judge(&mut self, measures: &[Measure], after: &Current) -> Vec<String> {
        self.looks += 1;
        let known = self.visit(after) > WARM_UP;
        if self.tracks.len() > MOST_TRACKS {
            self.tracks.clear();
        }
        let mut told = Vec::new();
        let mut has_more_objects = false;
        for measure in measures {
            let track = match self.tracks.entry(measure.id) {
                Entry::Vacant(vacant) => {
                    vacant.insert(Track::new(measure.value, self.looks));
                    has_more_objects = measure.what == OBJECTS;
                    continue;
                }
                Entry::Occupied(occupied) => occupied.into_mut(),
            };
            if track.seen == self.looks {
                continue;
            }
            track.seen = self.looks;
            let grew = measure.value > track.value;
            if measure.what == OBJECTS {
                has_more_objects = grew;
            }
            if measure.value < track.value
                || self.looks - track.last_growth > FORGOTTEN
                || (measure.what == PROPERTY && has_more_objects)
            {
                *track = Track::new(measure.value, self.looks);
            } else if grew {
                track.grow(measure.value, self.looks, known);
                if track.is_suspicious(measure) && is_news(measure.id, track.grown.ilog2()) {
                    told.push(track.tell(measure, self.looks, after));
                }
            }
        }
        told
    }

    /// Whether there was no look yet after that many requests.
    pub(crate) fn is_new(&mut self, requests: u64) -> bool {
        requests != std::mem::replace(&mut self.requests, requests)
    }

    fn visit(&mut self, after: &Current) -> u32 {
        if self.visits.len() >= MOST_PAGES {
            self.visits.clear();
        }
        let mut hasher = DefaultHasher::new();
        after.method.hash(&mut hasher);
        after.target.split('?').next().hash(&mut hasher);
        let visits = self.visits.entry(hasher.finish()).or_default();
        *visits = visits.saturating_add(1);
        *visits
    }
}

// === impl Track ===

impl Track {
    fn new(value: u64, look: u64) -> Self {
        Self { value, base: value, since: look, seen: look, grown: 0, again: 0, last_growth: look, step: 0, is_even: true }
    }

    fn grow(&mut self, value: u64, look: u64, known: bool) {
        let step = value - self.value;
        if known {
            self.is_even &= self.again == 0 || self.step == step;
            self.again += 1;
            self.step = step;
        }
        self.grown += 1;
        self.value = value;
        self.last_growth = look;
    }

    fn is_suspicious(&self, measure: &Measure) -> bool {
        let often = (self.is_even && self.again >= EVENLY) || self.again >= ANYHOW || self.grown >= ELSEWHERE;
        often && (!is_bytes(measure) || self.value - self.base >= BYTES)
    }

    fn tell(&self, measure: &Measure, look: u64, after: &Current) -> String {
        let looks = look - self.since;
        let when = if self.grown == looks {
            format!("in each of the last {looks} requests")
        } else {
            format!("in {} of the last {looks} requests", self.grown)
        };
        let unit = match measure.what {
            GLOBALS | RESOURCES | OBJECTS => "",
            _ if is_bytes(measure) => " bytes",
            _ => " elements",
        };
        let (subject, base, value, method, target) = (Subject(measure), self.base, self.value, &after.method, &after.target);
        format!("{subject} grew from {base} to {value}{unit} {when} ({method} {target})")
    }
}

/// What a measure is of.
struct Subject<'a>(&'a Measure);

// === impl Subject ===

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: C lends the names for as long as it lends the measure, which is borrowed.
        let text = |bytes: super::ffi::Bytes| String::from_utf8_lossy(unsafe { bytes.view() }).into_owned();
        let (scope, function, name) = (text(self.0.scope), text(self.0.function), text(self.0.name));
        match self.0.what & !1 {
            _ if self.0.what == RESOURCES => write!(f, "the number of open resources, streams among them,"),
            GLOBALS => write!(f, "the number of global variables"),
            GLOBAL => write!(f, "global variable ${name}"),
            STATIC_PROPERTY => write!(f, "static property {scope}::${name}"),
            STATIC_VARIABLE if scope.is_empty() => write!(f, "static variable ${name} of {function}()"),
            STATIC_VARIABLE => write!(f, "static variable ${name} of {scope}::{function}()"),
            OBJECTS => write!(f, "the number of {scope} objects"),
            _ => write!(f, "property {scope}::${name}"),
        }
    }
}

fn is_bytes(measure: &Measure) -> bool {
    (GLOBAL..OBJECTS).contains(&measure.what) && measure.what & 1 == 1
}

/// Whether nobody has said it yet. Whatever goes on growing is told of again at each power of two.
fn is_news(id: u64, level: u32) -> bool {
    let mut told = TOLD.lock();
    let known = told.get_or_insert_default().entry(id).or_default();
    // Zero is nothing yet: growth that is told of has happened several times.
    let is_news = level > *known;
    *known = level.max(*known);
    is_news
}

// As in `shim.h`; of those with two forms, the odd one is bytes.
const GLOBALS: i32 = 0;
const RESOURCES: i32 = 1;
const GLOBAL: i32 = 2;
const STATIC_PROPERTY: i32 = 4;
const STATIC_VARIABLE: i32 = 6;
const OBJECTS: i32 = 8;
const PROPERTY: i32 = 10;

#[cfg(test)]
mod tests {
    use super::{super::ffi::Bytes, *};

    fn measure(what: i32, id: u64, value: u64) -> Measure {
        Measure { what, id, value, scope: Bytes::of(b"App\\Cache"), function: Bytes::of(b"get"), name: Bytes::of(b"items") }
    }

    fn get(target: &str) -> Current {
        Current { method: "GET".into(), target: target.into(), ..Current::default() }
    }

    /// What is told after each of a page's requests, of one thing with these values.
    fn told(what: i32, id: u64, values: impl IntoIterator<Item = u64>) -> Vec<String> {
        let mut tracker = Tracker::default();
        values.into_iter().flat_map(|value| tracker.judge(&[measure(what, id, value)], &get("/x?y"))).collect()
    }

    #[test]
    fn even_growth_of_a_known_page_is_told_at_powers_of_two() {
        let lines = told(STATIC_PROPERTY, 1, 10..80);
        assert_eq!(
            lines[0],
            "static property App\\Cache::$items grew from 10 to 16 elements in each of the last 6 requests (GET /x?y)"
        );
        assert!(lines[1].contains("from 10 to 18 elements in each of the last 8 requests"), "{lines:?}");
        // 6 times, 8, 16, 32, 64.
        assert_eq!(lines.len(), 5, "{lines:?}");
    }

    #[test]
    fn what_is_stable_or_shrinks_is_not_told_of() {
        assert!(told(GLOBAL, 2, std::iter::repeat_n(5, 300)).is_empty());
        assert!(told(GLOBAL, 3, (0..300).map(|look| look % 5)).is_empty());
        // A cache that fills, page by page.
        let mut tracker = Tracker::default();
        for page in 0..60_u64 {
            for _ in 0..5 {
                let target = format!("/{page}");
                assert!(tracker.judge(&[measure(STATIC_PROPERTY, 4, page)], &get(&target)).is_empty(), "{page}");
            }
        }
    }

    #[test]
    fn uneven_growth_takes_longer() {
        let squares = (0..40_u64).map(|look| look * look);
        let lines = told(STATIC_VARIABLE, 5, squares);
        assert!(lines[0].starts_with("static variable $items of App\\Cache::get() grew from 0 to 121 elements"), "{lines:?}");
    }

    #[test]
    fn other_pages_between_do_not_hide_it() {
        let mut tracker = Tracker::default();
        let mut lines = Vec::new();
        for look in 0..20_u64 {
            let target = if look % 2 == 0 { "/leak" } else { "/favicon.ico" };
            lines.extend(tracker.judge(&[measure(GLOBAL, 6, look / 2)], &get(target)));
        }
        assert!(
            lines[0].starts_with("global variable $items grew from 0 to 6 elements in 6 of the last 12 requests"),
            "{lines:?}"
        );
    }

    #[test]
    fn more_objects_explain_more_in_their_properties() {
        let mut tracker = Tracker::default();
        let mut lines = Vec::new();
        for look in 0..20 {
            lines.extend(tracker.judge(&[measure(OBJECTS, 7, look), measure(PROPERTY, 8, look * 3)], &get("/")));
        }
        assert!(lines.iter().all(|line| line.starts_with("the number of App\\Cache objects grew")), "{lines:?}");
        assert!(!told(PROPERTY, 9, 0..20).is_empty());
    }

    #[test]
    fn a_thing_measured_twice_counts_once_and_short_texts_do_not() {
        let mut tracker = Tracker::default();
        let twice = |value| [measure(GLOBAL, 10, value), measure(GLOBAL, 10, value)];
        let lines: Vec<_> = (0..8).flat_map(|value| tracker.judge(&twice(value), &get("/"))).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(told(GLOBAL + 1, 11, 0..20).is_empty());
        assert!(told(GLOBAL + 1, 12, 0..60)[0].contains(" bytes in each of the last 32 requests"));
    }
}
