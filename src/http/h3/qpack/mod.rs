//! QPACK (RFC 9204) without a dynamic table, which we offer no room for: field sections stand for themselves, so that no stream waits
//! for another, and none can make us remember anything.

mod huffman;
mod table;

use std::{borrow::Cow, collections::HashMap, sync::LazyLock};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use self::table::FIELDS;

/// A field section that cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Error {
    /// It breaks the rules.
    Malformed,
    /// Its names and values are longer than allowed.
    TooLong,
}

/// One field as it was sent.
pub(super) type Field = (Cow<'static, [u8]>, Cow<'static, [u8]>);

/// What a field counts beyond its bytes: what separates it from others on an HTTP/1 connection.
const OVERHEAD: usize = 4;

/// The index of the first field with a name.
static NAMES: LazyLock<HashMap<&'static str, usize>> = LazyLock::new(|| {
    let mut names = HashMap::new();
    for (index, (name, _)) in FIELDS.iter().enumerate() {
        names.entry(*name).or_insert(index);
    }
    names
});

/// Reads a field section whose fields have no more than `limit` bytes in all.
pub(super) fn decode(section: &[u8], limit: usize) -> Result<Vec<Field>, Error> {
    let mut reader = Reader(section);
    // With no dynamic table there is nothing to wait for, and nothing to count from.
    if reader.integer(8)? != 0 {
        return Err(Error::Malformed);
    }
    reader.integer(7)?;
    let mut fields = Vec::new();
    let mut size = 0;
    while let Some(&first) = reader.0.first() {
        let field = reader.field(first)?;
        size += field.0.len() + field.1.len() + OVERHEAD;
        if size > limit {
            return Err(Error::TooLong);
        }
        fields.push(field);
    }
    Ok(fields)
}

/// Writes the field section of an answer; of trailers, if there is no status.
pub(super) fn encode(status: Option<StatusCode>, fields: &HeaderMap) -> Bytes {
    let mut section = BytesMut::with_capacity(256);
    section.put_slice(&[0, 0]);
    if let Some(status) = status {
        match FIELDS.iter().position(|field| *field == (":status", status.as_str())) {
            Some(index) => integer(&mut section, 0b1100_0000, 6, index),
            None => literal(&mut section, ":status", status.as_str().as_bytes()),
        }
    }
    for (name, value) in fields {
        literal(&mut section, name.as_str(), value.as_bytes());
    }
    section.freeze()
}

fn literal(into: &mut BytesMut, name: &str, value: &[u8]) {
    match NAMES.get(name) {
        Some(&index) => integer(into, 0b0101_0000, 4, index),
        None => {
            integer(into, 0b0010_0000, 3, name.len());
            into.put_slice(name.as_bytes());
        }
    }
    integer(into, 0, 7, value.len());
    into.put_slice(value);
}

/// Writes a number into the last `bits` of a byte that begins with `pattern`, and into further ones.
fn integer(into: &mut BytesMut, pattern: u8, bits: u32, mut value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        into.put_u8(pattern | value as u8);
        return;
    }
    into.put_u8(pattern | most as u8);
    value -= most;
    while value >= 0x80 {
        into.put_u8(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    into.put_u8(value as u8);
}

struct Reader<'a>(&'a [u8]);

// === impl Reader ===

impl<'a> Reader<'a> {
    fn field(&mut self, first: u8) -> Result<Field, Error> {
        // Whatever speaks of the dynamic table is malformed.
        if first & 0b1100_0000 == 0b1100_0000 {
            let (name, value) = self.listed(6)?;
            return Ok((name.as_bytes().into(), value.as_bytes().into()));
        }
        if first & 0b1101_0000 == 0b0101_0000 {
            let (name, _) = self.listed(4)?;
            return Ok((name.as_bytes().into(), self.string(7)?.into()));
        }
        if first & 0b1110_0000 == 0b0010_0000 {
            return Ok((self.string(3)?.into(), self.string(7)?.into()));
        }
        Err(Error::Malformed)
    }

    fn listed(&mut self, bits: u32) -> Result<(&'static str, &'static str), Error> {
        let index = self.integer(bits)?;
        FIELDS.get(index).copied().ok_or(Error::Malformed)
    }

    /// A string whose length is in the last `bits` of a byte, behind the bit that says whether it is coded.
    fn string(&mut self, bits: u32) -> Result<Vec<u8>, Error> {
        let is_coded = self.0.first().ok_or(Error::Malformed)? & (1 << bits) != 0;
        let length = self.integer(bits)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Error::Malformed)?;
        self.0 = rest;
        if is_coded { huffman::decode(text).ok_or(Error::Malformed) } else { Ok(text.to_vec()) }
    }

    fn integer(&mut self, bits: u32) -> Result<usize, Error> {
        let most = (1usize << bits) - 1;
        let mut value = usize::from(self.byte()?) & most;
        if value < most {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        // Nothing that long is allowed.
        Err(Error::Malformed)
    }

    fn byte(&mut self) -> Result<u8, Error> {
        let (&byte, rest) = self.0.split_first().ok_or(Error::Malformed)?;
        self.0 = rest;
        Ok(byte)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn shown(section: &[u8]) -> Result<Vec<(String, String)>, Error> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok(decode(section, 1000)?.iter().map(|(name, value)| (text(name), text(value))).collect())
    }

    #[test]
    fn what_is_written_can_be_read() {
        let long = "x".repeat(700);
        let pairs = [("content-type", "text/html"), ("x-long", &long), ("set-cookie", "a=1"), ("set-cookie", "b=2")];
        let fields = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
        let mut headers = HeaderMap::new();
        fields.for_each(|(name, value)| _ = headers.append(name, value));
        for status in [200, 418] {
            let section = encode(StatusCode::from_u16(status).ok(), &headers);
            let mut expected = vec![(":status".to_owned(), status.to_string())];
            expected.extend(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
            assert_eq!(shown(&section).unwrap(), expected);
        }
    }

    #[test]
    fn reads_the_example_of_the_rfc() {
        let section = b"\x00\x00\x51\x0b/index.html";
        assert_eq!(shown(section).unwrap(), [(":path".to_owned(), "/index.html".to_owned())]);
    }

    #[test]
    fn sections_have_their_bounds() {
        for malformed in [
            &b""[..],
            b"\x00",
            b"\x01\x00\xc1",
            b"\x00\x00\x80",
            b"\x00\x00\x10",
            b"\x00\x00\x40\x00",
            b"\x00\x00\x00\x00",
            b"\x00\x00\xff\x24",
            b"\x00\x00\xff\xff\xff\xff\xff\x7f",
            b"\x00\x00\x51\x0b/index",
            b"\x00\x00\x51",
        ] {
            assert_eq!(decode(malformed, 1000), Err(Error::Malformed), "{malformed:?}");
        }
        assert_eq!(shown(b"\x00\x00\xff\x23").unwrap(), [("x-frame-options".to_owned(), "sameorigin".to_owned())]);
        let mut bomb = vec![0, 0];
        bomb.resize(1000, 0xc1);
        assert_eq!(decode(&bomb, 1000), Err(Error::TooLong));
    }
}
