//! The context of an answer.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use prost::Message;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{Error, context::HeaderValues};
use crate::worker::Head;

/// What a worker answered, but for the body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Names as the script spells them, with their values.
    pub fields: Vec<(String, Vec<Bytes>)>,
}

/// `http.v1.Response`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ResponseMessage {
    #[prost(int64, tag = "1")]
    pub(super) status: i64,
    #[prost(btree_map = "string, message", tag = "2")]
    pub(super) headers: BTreeMap<String, HeaderValues>,
}

#[derive(Deserialize)]
struct ResponseJson {
    #[serde(default)]
    status: i64,
    #[serde(default)]
    headers: Fields,
}

#[derive(Default)]
struct Fields(Vec<(String, Vec<Bytes>)>);
struct Values(Vec<Bytes>);

/// Reads the context of an answer. An empty one is a 200: a body may come without.
///
/// Later parts of a stream repeat the context; only the first of an answer counts, and those before it with a status below 200.
pub fn decode(context: &[u8]) -> Result<Answer, Error> {
    if context.is_empty() {
        return Ok(Answer { status: StatusCode::OK, fields: Vec::new() });
    }
    let unreadable = |error: &dyn fmt::Display| Error::Answer(format!("unreadable context: {error}"));
    // No protobuf of this message starts with a brace, which would be a group of field 15.
    let (status, fields) = if context.trim_ascii_start().starts_with(b"{") {
        let json: ResponseJson = serde_json::from_slice(context).map_err(|error| unreadable(&error))?;
        (json.status, json.headers.0)
    } else {
        let message = ResponseMessage::decode(context).map_err(|error| unreadable(&error))?;
        let values = |values: HeaderValues| values.value.into_iter().map(Bytes::from).collect();
        (message.status, message.headers.into_iter().map(|(name, all)| (name, values(all))).collect())
    };
    let code = u16::try_from(status).ok().filter(|code| (100..600).contains(code));
    let status = code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Error::Status(status))?;
    Ok(Answer { status, fields })
}

// === impl Answer ===

impl Answer {
    /// Whether the answer proper is still to come (103 and its like).
    pub fn is_interim(&self) -> bool {
        self.status.is_informational()
    }

    /// The head, and the fields that are to follow the body because a `Trailer` field names them.
    pub fn into_head(self) -> (Head, HeaderMap) {
        let late: Vec<String> = self
            .fields
            .iter()
            .filter(|(name, _)| name == TRAILER)
            .flat_map(|(_, values)| values)
            .flat_map(|value| String::from_utf8_lossy(value).split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>())
            .collect();
        let (mut headers, mut trailers) = (HeaderMap::new(), HeaderMap::new());
        for (name, values) in self.fields {
            if name == TRAILER || name == HTTP2_PUSH {
                continue;
            }
            let into = if late.contains(&name) { &mut trailers } else { &mut headers };
            append(&name, &values, into);
        }
        (Head { status: self.status, reason: None, headers, lines: Vec::new() }, trailers)
    }

    /// The fields as lines in the script's own spelling, for a FastCGI client.
    pub fn lines(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        for (name, values) in self.fields.iter().filter(|(name, _)| name != HTTP2_PUSH && name != TRAILER) {
            for value in
                values.iter().filter(|_| HeaderName::from_bytes(name.as_bytes()).is_ok()).filter_map(|value| field(value))
            {
                lines.extend_from_slice(name.as_bytes());
                lines.extend_from_slice(b": ");
                lines.extend_from_slice(value.as_bytes());
                lines.extend_from_slice(b"\r\n");
            }
        }
        lines
    }
}

fn append(name: &str, values: &[Bytes], into: &mut HeaderMap) {
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        tracing::warn!(name, "a worker's header is left out: its name is none");
        return;
    };
    for value in values {
        match field(value) {
            Some(value) => drop(into.append(parsed.clone(), value)),
            None => tracing::warn!(name, "a worker's header is left out: its value has a control character"),
        }
    }
}

/// A value on one line, as Go sends it.
fn field(value: &[u8]) -> Option<HeaderValue> {
    let unbroken: Vec<u8> = value.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
    HeaderValue::from_bytes(unbroken.trim_ascii()).ok()
}

// === impl Fields ===

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of headers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, Values(values))) = map.next_entry()? {
                    fields.push((name, values));
                }
                Ok(Fields(fields))
            }

            // An empty array of PHP's.
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Fields, A::Error> {
                match list.next_element::<IgnoredAny>()? {
                    None => Ok(Fields::default()),
                    Some(_) => Err(serde::de::Error::custom("headers without names")),
                }
            }

            fn visit_unit<E>(self) -> Result<Fields, E> {
                Ok(Fields::default())
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a header's value, or a list of them")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Values, A::Error> {
                let mut all = Vec::new();
                while let Some(Values(values)) = list.next_element()? {
                    all.extend(values);
                }
                Ok(Values(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
                // A list of PHP's with a hole in it.
                let mut all = Vec::new();
                while let Some((_, Values(values))) = map.next_entry::<IgnoredAny, _>()? {
                    all.extend(values);
                }
                Ok(Values(all))
            }

            fn visit_str<E>(self, text: &str) -> Result<Values, E> {
                Ok(Values(vec![Bytes::copy_from_slice(text.as_bytes())]))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Values, E> {
                Ok(Values(vec![number.to_string().into()]))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Values, E> {
                Ok(Values(vec![number.to_string().into()]))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

// Matched as spelled, as in RoadRunner.
const TRAILER: &str = "Trailer";
const HTTP2_PUSH: &str = "Http2-Push";
