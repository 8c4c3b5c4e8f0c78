//! What is asked of the figures, as bytes for another engine.

use std::io;

use bytes::{Buf, BufMut, Bytes};

use super::{Change, Declaration, moving::Cursor};
use crate::state::form::{put_text, take_text};

/// It means the same whenever it is read, also in another process.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Change one.
    Change {
        /// How.
        change: Change,
        /// Which one.
        name: String,
        /// By how much, or to what.
        value: f64,
        /// The values of its labels.
        labels: Vec<String>,
    },
    /// Declare one.
    Declare(Declaration),
    /// Forget the one of this name.
    Unregister(String),
    /// Tell those from here on.
    Read(Cursor),
}

/// What became of it: nothing but for those that are read, which are some and where the next are.
pub(super) type Answer = Result<Option<(Vec<u8>, Option<Cursor>)>, String>;

const CHANGES: [Change; 4] = [Change::Add, Change::Sub, Change::Observe, Change::Set];

// === impl Act ===

impl Act {
    pub(super) fn encode(&self) -> Bytes {
        let mut into = Vec::with_capacity(256);
        match self {
            Self::Change { change, name, value, labels } => {
                into.put_u8(CHANGES.iter().position(|one| one == change).unwrap_or_default() as u8);
                into.put_f64_le(*value);
                put_text(&mut into, name);
                labels.iter().for_each(|label| put_text(&mut into, label));
            }
            Self::Declare(declared) => {
                into.put_u8(4);
                declared.put(&mut into);
            }
            Self::Unregister(name) => {
                into.put_u8(5);
                put_text(&mut into, name);
            }
            Self::Read(cursor) => {
                into.put_u8(6);
                cursor.put(&mut into);
            }
        }
        into.into()
    }

    pub(super) fn decode(mut from: &[u8]) -> io::Result<Self> {
        Ok(match from.try_get_u8()? {
            4 => Self::Declare(Declaration::take(&mut from)?),
            5 => Self::Unregister(take_text(&mut from)?.to_owned()),
            6 => Self::Read(Cursor::take(&mut from)?),
            change => {
                let change = *CHANGES.get(usize::from(change)).ok_or(io::ErrorKind::InvalidData)?;
                let (value, name) = (from.try_get_f64_le()?, take_text(&mut from)?.to_owned());
                let mut labels = Vec::new();
                while !from.is_empty() {
                    labels.push(take_text(&mut from)?.to_owned());
                }
                Self::Change { change, name, value, labels }
            }
        })
    }
}

pub(super) fn encode_answer(answer: &Answer) -> Bytes {
    let mut into = Vec::new();
    match answer {
        Ok(None) => return Bytes::from_static(&[0]),
        Ok(Some((chunk, next))) => {
            into.put_u8(1 + u8::from(next.is_some()));
            if let Some(next) = next {
                next.put(&mut into);
            }
            into.put_slice(chunk);
        }
        Err(why) => {
            into.put_u8(3);
            into.put_slice(why.as_bytes());
        }
    }
    into.into()
}

pub(super) fn decode_answer(answer: &[u8]) -> Answer {
    let nonsense = |error: io::Error| format!("the answer makes no sense: {error}");
    match answer.split_first() {
        Some((0, [])) => Ok(None),
        Some((1, chunk)) => Ok(Some((chunk.to_owned(), None))),
        Some((2, mut rest)) => {
            let next = Cursor::take(&mut rest).map_err(nonsense)?;
            Ok(Some((rest.to_owned(), Some(next))))
        }
        Some((3, why)) => Err(String::from_utf8_lossy(why).into_owned()),
        _ => Err(nonsense(io::ErrorKind::InvalidData.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Kind, *};

    #[test]
    fn what_is_asked_and_answered_is_read_as_it_was_written() {
        let cursor = Cursor::default();
        let declared = Declaration {
            name: "n".into(),
            namespace: "s".into(),
            kind: Kind::Summary,
            help: "é".into(),
            labels: vec!["a".into(), "b".into()],
            buckets: vec![1.0, f64::INFINITY],
            objectives: vec![(0.5, 0.01)],
            ..Declaration::default()
        };
        let change = |change| Act::Change { change, name: "n".into(), value: -0.5, labels: vec![String::new(), "é".into()] };
        let acts = CHANGES.map(change).into_iter();
        for act in acts.chain([Act::Declare(declared), Act::Unregister("n".into()), Act::Read(cursor.clone())]) {
            let bytes = act.encode();
            assert_eq!(Act::decode(&bytes).unwrap(), act);
            assert!(Act::decode(&bytes[..bytes.len() - 1]).is_err(), "{act:?}");
        }
        for answer in [Ok(None), Ok(Some((vec![7], None))), Ok(Some((vec![7], Some(cursor)))), Err("no".to_owned())] {
            assert_eq!(decode_answer(&encode_answer(&answer)), answer);
        }
        assert!(decode_answer(b"").is_err() && decode_answer(b"\x02").is_err() && Act::decode(b"\x09").is_err());
    }
}
