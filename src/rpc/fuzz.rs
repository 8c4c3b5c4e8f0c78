//! Fuzz target: arguments of calls.

use serde_json::Value;

use super::{Codec, Payload, informer::PluginRequest};
use crate::worker::goridge::Frame;

/// What a frame's payload is as an argument; what is read of it can be sent back.
pub(crate) fn argument(frame: &Frame) {
    let Ok(codec) = Codec::of(frame.header.flags) else { return };
    let argument = Payload { codec, body: frame.payload.clone() };
    if let Ok(value) = argument.read::<Value>()
        && codec != Codec::Raw
    {
        let back = argument.reply(&value).expect("what was read can be written");
        if codec == Codec::Json && !argument.body.is_empty() {
            assert_eq!(back.read::<Value>(), Ok(value));
        }
    }
    drop(argument.read::<Option<String>>());
    drop(argument.message::<PluginRequest>());
}
