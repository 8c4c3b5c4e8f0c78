//! Fuzz targets: frames of workers and of RPC clients, and forms.

use std::path::PathBuf;

use bytes::Bytes;
use serde_json::Value;

use super::{
    Body, Request, Script, Source,
    goridge::{Decoder, Frame, MAX_OPTIONS, message},
    roadrunner::{self, Encoding, Settings},
};

/// Frames, in pieces as long as the first byte says, and what they mean to a pool.
pub(crate) fn goridge(input: &[u8]) -> Vec<Frame> {
    let Some((&piece, bytes)) = input.split_first() else { return Vec::new() };
    let bytes = signed(bytes);
    let mut decoder = Decoder::new(MAX_PAYLOAD);
    let mut frames = Vec::new();
    for piece in bytes.chunks(usize::from(piece).max(1)) {
        decoder.extend(piece);
        while let Ok(Some(frame)) = decoder.next() {
            frames.push(frame);
        }
    }
    let mut whole = Decoder::new(MAX_PAYLOAD);
    whole.extend(&bytes);
    for frame in &frames {
        assert_eq!(whole.next().as_ref(), Ok(&Some(frame.clone())), "cutting the bytes changes nothing");
        means(frame);
    }
    frames
}

fn means(frame: &Frame) {
    assert!(frame.payload.len() <= MAX_PAYLOAD && frame.header.options.len() <= MAX_OPTIONS);
    let written = frame.to_bytes().expect("its length was read from as many bytes");
    let mut decoder = Decoder::new(MAX_PAYLOAD);
    decoder.extend(&written);
    assert_eq!(decoder.next(), Ok(Some(frame.clone())), "what was read is written so that it reads the same");
    if let Ok(message::FromWorker::Answer(answer)) = message::read(frame)
        && let Ok(answer) = roadrunner::decode(&answer.context)
    {
        let lines = answer.lines();
        assert_eq!(memchr::memchr_iter(b'\n', &lines).count(), memchr::memmem::find_iter(&lines, b"\r\n").count());
        answer.into_head();
    }
}

/// `bytes` with the checksum of their first header: no fuzzer guesses it.
fn signed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some((covered, rest)) = bytes.split_at_mut_checked(6)
        && let Some(place) = rest.first_chunk_mut()
    {
        *place = crc32fast::hash(covered).to_le_bytes();
    }
    bytes
}

/// A form's content type, up to the first line feed, and its body.
pub(crate) fn form(input: &[u8]) {
    let Some(end) = memchr::memchr(b'\n', input) else { return };
    let (content_type, body) = (Bytes::copy_from_slice(&input[..end]), Bytes::copy_from_slice(&input[end + 1..]));
    for encoding in [Encoding::Json, Encoding::Proto] {
        // Nothing is written: there is no such directory, and uploads say so.
        let settings = Settings { encoding, uploads: PathBuf::from("/proc/none"), max_parts: 100, ..Settings::default() };
        let mut request = post(content_type.clone(), body.clone());
        let Ok(encoded) = roadrunner::encode(&mut request, &[], &settings) else { continue };
        assert!(encoded.files.paths().is_empty());
        if encoding == Encoding::Json && json(&encoded.context).is_some_and(|context| context["parsed"] == true) {
            json(&encoded.body);
        }
    }
}

/// None if it is nested more deeply than this reader goes; PHP's goes further.
fn json(bytes: &[u8]) -> Option<Value> {
    match serde_json::from_slice(bytes) {
        Err(error) if error.to_string().starts_with("recursion limit exceeded") => None,
        read => Some(read.expect("what is made of a form is JSON")),
    }
}

fn post(content_type: Bytes, body: Bytes) -> Request {
    let params = [("REQUEST_METHOD", Bytes::from("POST")), ("REQUEST_URI", "/".into()), ("CONTENT_TYPE", content_type)];
    Request {
        id: 1,
        received: std::time::SystemTime::UNIX_EPOCH,
        script: Script { filename: "/x.php".into(), name: "/x.php".into(), path_info: "".into(), document_root: "/".into() },
        source: Source::FastCgi(params.map(|(name, value)| (Bytes::from(name), value)).into()),
        body: Body::Memory(body),
        ini: Vec::new(),
        interim: None,
        phases: None,
    }
}

const MAX_PAYLOAD: usize = 4096;
