//! The figures on their way to another engine, in chunks; and what is called of them there.

use std::{
    io, iter,
    ops::Bound::{Excluded, Included, Unbounded},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::{Buf, BufMut};

use super::{
    Act, Collector, Collectors, Declaration, LONGEST_VALUE, Line, NAME, Series,
    act::{Answer, encode_answer},
};
use crate::state::{
    CHUNK, Called, Chunks, Plugin,
    form::{put_text, room, take_text},
};

/// How far the figures have been told, in the order of their names and their labels' values.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Cursor {
    /// The figure that is told.
    name: String,
    /// All of it has been.
    is_over: bool,
    /// Up to these values.
    labels: Option<Vec<String>>,
}

/// Which of them are told, and how.
#[derive(Clone, Copy)]
struct Told {
    since: u64,
    /// To somebody who has declared none, as if all had been declared by calls.
    is_shown: bool,
}

/// The version of all this.
const FORM: u32 = 1;

/// What stands before each thing in a chunk.
const FIXED: u8 = 0;
const DECLARED: u8 = 1;
const LINE: u8 = 2;
const FORGET: u8 = 3;
const FORGET_ALL: u8 = 4;

const ALL: Told = Told { since: 0, is_shown: false };

// === impl Collectors ===

impl Collectors {
    fn act(&self, act: Act) -> Answer {
        let told = |error: super::Error| error.to_string();
        match act {
            Act::Change { change, name, value, labels } => self.change(&name, change, value, &labels).map_err(told)?,
            Act::Declare(declared) => self.declare(declared).map_err(told)?,
            Act::Unregister(name) => self.unregister(&name).map_err(told)?,
            Act::Read(mut cursor) => {
                let chunk = self.chunk(&mut cursor, Told { is_shown: true, ..ALL });
                let next = self.next(&cursor).map(|_| cursor);
                return Ok(Some((chunk, next)));
            }
        }
        Ok(None)
    }

    /// What comes next; the figures are kept from callers only while a chunk is made, one by one.
    fn chunk(&self, cursor: &mut Cursor, told: Told) -> Vec<u8> {
        let mut chunk = Vec::with_capacity(CHUNK + 4096);
        while chunk.len() < CHUNK
            && let Some(collector) = self.next(cursor)
        {
            cursor.enter(&collector);
            let all = collector.series.lock();
            let mut has_head = false;
            let mut head = |chunk: &mut Vec<u8>| {
                if !std::mem::replace(&mut has_head, true) {
                    chunk.put_u8(if collector.is_fixed && !told.is_shown { FIXED } else { DECLARED });
                    collector.declared.put(chunk);
                }
            };
            let after = cursor.labels.take();
            if all.is_some() && after.is_none() && collector.epoch >= told.since {
                head(&mut chunk);
            }
            let from = (after.as_ref().map_or(Unbounded, Excluded), Unbounded);
            let lines = all.iter().flat_map(|all| all.range::<Vec<String>, _>(from));
            // Never none, however long the declaration is: the cursor must go on.
            let mut last = None;
            for (labels, line) in lines.filter(|(_, line)| line.epoch >= told.since) {
                if chunk.len() >= CHUNK
                    && let Some(last) = last
                {
                    cursor.labels = Some(Vec::clone(last));
                    return chunk;
                }
                head(&mut chunk);
                chunk.put_u8(LINE);
                labels.iter().for_each(|label| put_text(&mut chunk, label));
                line.series.put(&mut chunk);
                last = Some(labels);
            }
            cursor.is_over = true;
        }
        chunk
    }

    /// The one that `cursor` is at.
    fn next(&self, cursor: &Cursor) -> Option<Arc<Collector>> {
        let names = self.0.names.read();
        let from = if cursor.is_over { Excluded(&cursor.name) } else { Included(&cursor.name) };
        names.known.range::<String, _>((from, Unbounded)).next().map(|(_, collector)| collector.clone())
    }

    fn chunks(&self, told: Told) -> Chunks {
        let (all, mut cursor) = (self.clone(), Cursor::default());
        Box::new(iter::from_fn(move || Some(all.chunk(&mut cursor, told)).filter(|chunk| !chunk.is_empty())))
    }

    /// Takes what another one of these has told.
    pub(super) fn take_chunk(&self, mut from: &[u8]) -> Result<(), String> {
        self.try_to_take(&mut from).map_err(|error| format!("a figure cannot be read: {error}"))
    }

    fn try_to_take(&self, from: &mut &[u8]) -> io::Result<()> {
        // Of which figure the next values are, and where they belong if they do.
        let mut of: Option<(Declaration, Option<Arc<Collector>>)> = None;
        let mut lost = 0;
        while !from.is_empty() {
            match from.try_get_u8()? {
                kind @ (FIXED | DECLARED) => {
                    let declared = Declaration::take(from)?;
                    declared.check().map_err(io::Error::other)?;
                    let place = self.place(&declared, kind == FIXED);
                    of = Some((declared, place));
                }
                LINE => {
                    let (declared, place) = of.as_ref().ok_or(io::ErrorKind::InvalidData)?;
                    let labels: Vec<_> =
                        declared.labels.iter().map(|_| take_text(from).map(str::to_owned)).collect::<io::Result<_>>()?;
                    let series = Series::take(declared, from)?;
                    if labels.iter().any(|label| label.len() > LONGEST_VALUE) {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    if let Some(place) = place {
                        lost += usize::from(!self.put_line(place, labels, series));
                    }
                }
                FORGET => self.forget(take_text(from)?),
                FORGET_ALL => self.reset(),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        if lost > 0 {
            tracing::warn!(lost, "metrics.max_series ({}) is less than there were: some are lost", self.0.max_series);
        }
        Ok(())
    }

    /// Where the values of one that was declared like this belong, if there is such a place.
    fn place(&self, declared: &Declaration, is_fixed: bool) -> Option<Arc<Collector>> {
        let mut names = self.0.names.write();
        match names.known.get(&declared.name) {
            Some(known) if known.declared.is_like(declared) => Some(known.clone()),
            Some(_) => {
                tracing::warn!("metrics: {} begins anew, for the configuration declares it in another way", declared.name);
                None
            }
            // The configuration has it no more.
            None if is_fixed => None,
            None => match self.insert(&mut names, declared.clone(), false) {
                Ok(collector) => Some(collector),
                Err(error) => {
                    tracing::warn!("metrics: {} is lost: {error}", declared.name);
                    None
                }
            },
        }
    }

    /// False if there is no room for it.
    fn put_line(&self, collector: &Collector, labels: Vec<String>, series: Series) -> bool {
        let mut all = collector.series.lock();
        let Some(all) = all.as_mut() else { return true };
        if !all.contains_key(&labels) && self.take(&collector.declared.name).is_err() {
            return false;
        }
        all.insert(labels, Line { series, epoch: 0 });
        true
    }

    /// As if nothing had been done to it.
    fn forget(&self, name: &str) {
        let mut names = self.0.names.write();
        self.remove(&mut names, name);
        if let Some(declared) = self.0.fixed.iter().find(|declared| declared.name == name) {
            // It had room before.
            drop(self.insert(&mut names, declared.clone(), true));
        }
    }

    /// The same of all.
    fn reset(&self) {
        let mut names = self.0.names.write();
        let known: Vec<_> = names.known.keys().cloned().collect();
        for name in &known {
            self.remove(&mut names, name);
        }
        // They had room before.
        drop(self.declare_fixed(&mut names));
    }
}

impl Plugin for Collectors {
    fn name(&self) -> &'static str {
        NAME
    }

    fn form(&self) -> u32 {
        FORM
    }

    fn entries(&self) -> usize {
        self.len()
    }

    fn call(self: Arc<Self>, request: &[u8]) -> Called {
        let answer = match Act::decode(request) {
            Ok(act) => self.act(act),
            Err(error) => Err(format!("the call cannot be read: {error}")),
        };
        Called::Done(encode_answer(&answer))
    }

    fn serve(&self) {
        self.0.names.write().forgotten = None;
    }

    fn copy(self: Arc<Self>) -> Chunks {
        let mut names = self.0.names.write();
        names.forgotten = Some(Default::default());
        self.0.epoch.fetch_add(1, Relaxed);
        drop(names);
        self.chunks(ALL)
    }

    fn freeze(&self) -> Chunks {
        let forgotten = self.0.names.write().forgotten.take();
        let Some(forgotten) = forgotten else { return Box::new(iter::once(vec![FORGET_ALL]).chain(self.chunks(ALL))) };
        let mut chunks = Vec::new();
        for name in &forgotten {
            let chunk = room(&mut chunks);
            chunk.put_u8(FORGET);
            put_text(chunk, name);
        }
        Box::new(chunks.into_iter().chain(self.chunks(Told { since: self.0.epoch.load(Relaxed), ..ALL })))
    }

    fn restore(&self, chunk: &[u8]) -> Result<(), String> {
        self.take_chunk(chunk)
    }

    fn clear(&self) {
        self.reset();
    }
}

// === impl Cursor ===

impl Cursor {
    /// It is told from here on, unless some of it has been.
    fn enter(&mut self, collector: &Collector) {
        if self.is_over || self.name != collector.declared.name {
            collector.declared.name.clone_into(&mut self.name);
            (self.is_over, self.labels) = (false, None);
        }
    }

    pub(super) fn put(&self, into: &mut Vec<u8>) {
        put_text(into, &self.name);
        into.put_u8(u8::from(self.is_over) + 2 * u8::from(self.labels.is_some()));
        if let Some(labels) = &self.labels {
            into.put_u32_le(labels.len() as u32);
            labels.iter().for_each(|label| put_text(into, label));
        }
    }

    pub(super) fn take(from: &mut &[u8]) -> io::Result<Self> {
        let name = take_text(from)?.to_owned();
        let flags = from.try_get_u8()?;
        let labels = if flags & 2 == 0 {
            None
        } else {
            Some((0..from.try_get_u32_le()?).map(|_| take_text(from).map(str::to_owned)).collect::<io::Result<_>>()?)
        };
        Ok(Self { name, is_over: flags & 1 == 1, labels })
    }
}

#[cfg(test)]
mod tests;
