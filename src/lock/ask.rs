//! Calls and locks as bytes, for another engine.

use std::io;

use bytes::{Buf, BufMut, Bytes};

use super::table::Held;
use crate::state::form::{put_text, take_text};

/// What is asked of the locks. It means the same whenever it is read, also in another process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ask {
    /// What to do.
    pub verb: Verb,
    /// What is to be locked, or is.
    pub resource: String,
    /// Whose lock it is.
    pub id: String,
    /// How long it is held unless it is released, in nanoseconds.
    pub ttl: u64,
    /// When this was first asked, in nanoseconds of the [monotonic clock](crate::sys::clock::monotonic).
    pub since: u64,
    /// How long to wait for it, by the same clock.
    pub until: u64,
}

/// What can be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    /// Lock it for one.
    Lock,
    /// Lock it for any number of readers.
    LockRead,
    /// Give one's own lock back.
    Release,
    /// Take all locks of it from whoever has them.
    ForceRelease,
    /// Is there such a lock? Of anybody's, if the id is `*`.
    Exists,
    /// Change how long it is held from now on.
    UpdateTtl,
}

/// What a call brings about.
pub type Answer = Result<bool, String>;

/// The version of all this.
pub(super) const FORM: u32 = 1;

const VERBS: [Verb; 6] = [Verb::Lock, Verb::LockRead, Verb::Release, Verb::ForceRelease, Verb::Exists, Verb::UpdateTtl];

// === impl Ask ===

impl Ask {
    /// As it is sent.
    pub fn encode(&self) -> Bytes {
        let mut into = Vec::with_capacity(40 + self.resource.len() + self.id.len());
        into.put_u8(VERBS.iter().position(|verb| *verb == self.verb).unwrap_or_default() as u8);
        into.put_u64_le(self.ttl);
        into.put_u64_le(self.since);
        into.put_u64_le(self.until);
        put_text(&mut into, &self.resource);
        put_text(&mut into, &self.id);
        into.into()
    }

    pub(super) fn decode(mut from: &[u8]) -> io::Result<Self> {
        let verb = VERBS.get(usize::from(from.try_get_u8()?)).ok_or(io::ErrorKind::InvalidData)?;
        let (ttl, since, until) = (from.try_get_u64_le()?, from.try_get_u64_le()?, from.try_get_u64_le()?);
        let (resource, id) = (take_text(&mut from)?.to_owned(), take_text(&mut from)?.to_owned());
        Ok(Self { verb: *verb, resource, id, ttl, since, until })
    }
}

/// An answer as it is sent: 0 or 1, or the reason why there is none.
pub(super) fn encode_answer(answer: &Answer) -> Bytes {
    match answer {
        Ok(ok) => Bytes::from_static(if *ok { &[1] } else { &[0] }),
        Err(why) => [&[2], why.as_bytes()].concat().into(),
    }
}

/// What was answered.
pub fn decode_answer(answer: &[u8]) -> Answer {
    match answer.split_first() {
        Some((0, [])) => Ok(false),
        Some((1, [])) => Ok(true),
        Some((2, why)) => Err(String::from_utf8_lossy(why).into_owned()),
        _ => Err("the answer makes no sense".into()),
    }
}

/// One thing in a chunk.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Entry<'a> {
    /// This lock is held.
    Held(Held<'a>),
    /// Whatever was said of this resource is not so any more.
    Forget(&'a str),
    /// The same of all resources.
    ForgetAll,
}

pub(super) fn put_forget(into: &mut Vec<u8>, resource: Option<&str>) {
    match resource {
        Some(resource) => {
            into.put_u8(2);
            put_text(into, resource);
        }
        None => into.put_u8(3),
    }
}

pub(super) fn put_held(into: &mut Vec<u8>, held: &Held<'_>) {
    into.put_u8(held.exclusive.into());
    into.put_u64_le(held.until);
    put_text(into, held.resource);
    put_text(into, held.id);
}

pub(super) fn take_entry<'a>(from: &mut &'a [u8]) -> io::Result<Entry<'a>> {
    Ok(match from.try_get_u8()? {
        2 => Entry::Forget(take_text(from)?),
        3 => Entry::ForgetAll,
        kind @ (0 | 1) => {
            let until = from.try_get_u64_le()?;
            Entry::Held(Held { exclusive: kind == 1, until, resource: take_text(from)?, id: take_text(from)? })
        }
        _ => return Err(io::ErrorKind::InvalidData.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_and_answered_is_read_as_it_was_written() {
        for verb in VERBS {
            let ask = Ask { verb, resource: "é r".into(), id: String::new(), ttl: 1, since: 2, until: u64::MAX };
            assert_eq!(Ask::decode(&ask.encode()).unwrap(), ask);
            assert!(Ask::decode(&ask.encode()[..20]).is_err());
        }
        for answer in [Ok(true), Ok(false), Err("no".to_owned())] {
            assert_eq!(decode_answer(&encode_answer(&answer)), answer);
        }
        assert!(decode_answer(b"").is_err() && decode_answer(b"\x01\x01").is_err() && Ask::decode(b"\x09").is_err());
    }

    #[test]
    fn locks_are_read_as_they_were_written() {
        let held = [("r", "a", true, 7), ("s", "", false, u64::MAX)];
        let held = held.map(|(resource, id, exclusive, until)| Held { resource, id, exclusive, until });
        let mut bytes = Vec::new();
        put_forget(&mut bytes, None);
        held.iter().for_each(|one| put_held(&mut bytes, one));
        put_forget(&mut bytes, Some("t"));
        let mut from = &bytes[..];
        let read: Vec<_> = (0..4).map(|_| take_entry(&mut from).unwrap()).collect();
        let [first, second] = held.map(Entry::Held);
        assert_eq!(read, [Entry::ForgetAll, first, second, Entry::Forget("t")]);
        assert!(from.is_empty() && take_entry(&mut &bytes[1..12]).is_err() && take_entry(&mut &b"\x09"[..]).is_err());
    }
}
