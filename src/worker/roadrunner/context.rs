//! The context of a request, written in JSON and in protobuf.

use std::collections::BTreeMap;

use prost::Message;

use super::{form::write_text, request::Context};

/// `http.v1.Request`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RequestMessage {
    #[prost(string, tag = "1")]
    pub(super) remote_addr: String,
    #[prost(string, tag = "2")]
    pub(super) protocol: String,
    #[prost(string, tag = "3")]
    pub(super) method: String,
    #[prost(string, tag = "4")]
    pub(super) uri: String,
    #[prost(btree_map = "string, message", tag = "5")]
    pub(super) header: BTreeMap<String, HeaderValues>,
    #[prost(btree_map = "string, message", tag = "6")]
    pub(super) cookies: BTreeMap<String, HeaderValues>,
    #[prost(string, tag = "7")]
    pub(super) raw_query: String,
    #[prost(bool, tag = "8")]
    pub(super) parsed: bool,
    /// JSON.
    #[prost(bytes = "vec", tag = "9")]
    pub(super) uploads: Vec<u8>,
    #[prost(btree_map = "string, message", tag = "10")]
    pub(super) attributes: BTreeMap<String, HeaderValues>,
}

/// `http.v1.HeaderValue`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HeaderValues {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) value: Vec<Vec<u8>>,
}

/// The context as `http.v1.Request`.
pub(super) fn to_proto(context: Context) -> Vec<u8> {
    let one = |(name, value): (String, Vec<u8>)| (name, HeaderValues { value: vec![value] });
    let message = RequestMessage {
        remote_addr: context.remote_addr,
        protocol: context.protocol,
        method: context.method,
        uri: context.uri,
        header: context.headers.into_iter().map(|(name, value)| (name, HeaderValues { value })).collect(),
        cookies: context.cookies.into_iter().map(one).collect(),
        raw_query: context.raw_query,
        parsed: context.parsed,
        uploads: context.uploads.unwrap_or_default(),
        attributes: context.attributes.into_iter().map(|(name, value)| one((name, value.into_bytes()))).collect(),
    };
    message.encode_to_vec()
}

// === impl Context ===

impl Context {
    /// The context as JSON, its keys in RoadRunner's order. Written straight, for it is made for every request.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(1024);
        json.push(b'{');
        for (key, text) in [
            ("remoteAddr", &self.remote_addr),
            ("protocol", &self.protocol),
            ("method", &self.method),
            ("uri", &self.uri),
            ("rawQuery", &self.raw_query),
        ] {
            write_text(key, &mut json);
            json.push(b':');
            write_text(text, &mut json);
            json.push(b',');
        }
        json.extend_from_slice(b"\"headers\":");
        map(&self.headers, &mut json, |(name, values), json| {
            write_text(name, json);
            json.extend_from_slice(b":[");
            for (place, value) in values.iter().enumerate() {
                if place > 0 {
                    json.push(b',');
                }
                write_bytes(value, json);
            }
            json.push(b']');
        });
        json.extend_from_slice(b",\"cookies\":");
        map(&self.cookies, &mut json, |(name, value), json| {
            write_text(name, json);
            json.push(b':');
            write_bytes(value, json);
        });
        json.extend_from_slice(b",\"attributes\":");
        map(&self.attributes, &mut json, |(name, value), json| {
            write_text(name, json);
            json.push(b':');
            write_text(value, json);
        });
        json.extend_from_slice(b",\"uploads\":");
        json.extend_from_slice(self.uploads.as_deref().unwrap_or(b"null"));
        json.extend_from_slice(if self.parsed { b",\"parsed\":true}" } else { b",\"parsed\":false}" });
        json
    }
}

fn map<T>(entries: impl IntoIterator<Item = T>, json: &mut Vec<u8>, mut write: impl FnMut(T, &mut Vec<u8>)) {
    json.push(b'{');
    for (place, entry) in entries.into_iter().enumerate() {
        if place > 0 {
            json.push(b',');
        }
        write(entry, json);
    }
    json.push(b'}');
}

/// Bytes as a text; JSON has nothing else for them.
fn write_bytes(bytes: &[u8], json: &mut Vec<u8>) {
    write_text(&String::from_utf8_lossy(bytes), json);
}
