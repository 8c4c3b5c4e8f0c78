//! Name-value pairs: a request's parameters, and the values that management records carry.

use std::collections::{HashMap, hash_map::Entry};

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A request's parameters, in order, each name once.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(Bytes, Bytes)>);

/// The pairs are cut off, or longer than they say.
#[derive(Debug, thiserror::Error)]
#[error("malformed name-value pairs")]
pub(super) struct Malformed;

// === impl Params ===

impl Params {
    /// The pairs in `bytes`, which they share. Of several with one name the last one's value stands, in the place of the first.
    pub(super) fn decode(mut bytes: Bytes) -> Result<Self, Malformed> {
        let mut pairs: Vec<(Bytes, Bytes)> = Vec::with_capacity(TYPICAL);
        let mut places: HashMap<Bytes, usize> = HashMap::with_capacity(TYPICAL);
        while !bytes.is_empty() {
            let name_length = length(&mut bytes)?;
            let value_length = length(&mut bytes)?;
            if name_length > bytes.len() || value_length > bytes.len() - name_length {
                return Err(Malformed);
            }
            let name = bytes.split_to(name_length);
            let value = bytes.split_to(value_length);
            match places.entry(name) {
                Entry::Occupied(place) => pairs[*place.get()].1 = value,
                Entry::Vacant(place) => {
                    pairs.push((place.key().clone(), value));
                    place.insert(pairs.len() - 1);
                }
            }
        }
        Ok(Self(pairs))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(Bytes, Bytes)> {
        self.0.iter()
    }

    pub(super) fn set(&mut self, name: &'static str, value: Bytes) {
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((Bytes::from_static(name.as_bytes()), value)),
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| key != name);
    }

    pub(super) fn into_inner(self) -> Vec<(Bytes, Bytes)> {
        self.0
    }

    /// The values of those names that a web server may ask us for.
    pub(super) fn answer(&self, max_connections: usize) -> BytesMut {
        let mut values = BytesMut::new();
        for (name, _) in &self.0 {
            match name.as_ref() {
                b"FCGI_MAX_CONNS" | b"FCGI_MAX_REQS" => put_pair(&mut values, name, max_connections.to_string().as_bytes()),
                b"FCGI_MPXS_CONNS" => put_pair(&mut values, name, b"0"),
                _ => {}
            }
        }
        values
    }
}

/// Adds a pair.
pub(super) fn put_pair(into: &mut BytesMut, name: &[u8], value: &[u8]) {
    put_length(into, name.len());
    put_length(into, value.len());
    into.put_slice(name);
    into.put_slice(value);
}

fn put_length(into: &mut BytesMut, length: usize) {
    match u8::try_from(length) {
        Ok(short) if short < LONG => into.put_u8(short),
        _ => into.put_u32(u32::try_from(length).expect("pairs are bounded") | LONG_FORM),
    }
}

fn length(bytes: &mut Bytes) -> Result<usize, Malformed> {
    match bytes.first() {
        None => Err(Malformed),
        Some(&short) if short < LONG => {
            bytes.advance(1);
            Ok(usize::from(short))
        }
        Some(_) => bytes.try_get_u32().map(|long| (long & !LONG_FORM) as usize).map_err(|_| Malformed),
    }
}

/// More than nginx's fastcgi_params and a browser's header fields.
const TYPICAL: usize = 64;

const LONG: u8 = 0x80;
const LONG_FORM: u32 = 0x8000_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_length_are_read() {
        let long = vec![b'v'; 70_000];
        let mut bytes = BytesMut::new();
        put_pair(&mut bytes, b"SHORT", b"");
        put_pair(&mut bytes, &[b'N'; 128], &long);
        // A short length may be spelled long.
        bytes.put_slice(b"\x80\0\0\x01\x80\0\0\x01ab");
        let params = Params::decode(bytes.freeze()).expect("well formed");
        assert_eq!(params.get("SHORT").expect("there"), "");
        assert_eq!(params.get(&"N".repeat(128)).expect("there"), &long);
        assert_eq!(params.get("a").expect("there"), "b");
    }

    #[test]
    fn the_last_of_a_name_stands_where_the_first_was() {
        let mut bytes = BytesMut::new();
        for (name, value) in [("A", "1"), ("B", "2"), ("A", "3")] {
            put_pair(&mut bytes, name.as_bytes(), value.as_bytes());
        }
        let params = Params::decode(bytes.freeze()).expect("well formed");
        assert_eq!(params.into_inner(), [("A".into(), "3".into()), ("B".into(), "2".into())]);
    }

    #[test]
    fn cut_off_pairs_are_malformed() {
        let mut bytes = BytesMut::new();
        put_pair(&mut bytes, b"NAME", &[b'v'; 200]);
        for end in 1..bytes.len() {
            assert!(Params::decode(Bytes::copy_from_slice(&bytes[..end])).is_err(), "{end}");
        }
        assert!(Params::decode(Bytes::from_static(b"\xff\xff\xff\xff\xff\xff\xff\xff")).is_err());
    }
}
