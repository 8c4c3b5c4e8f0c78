//! Arguments and results in the four codecs.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use prost::Message;
use serde::{Serialize, Serializer, de::DeserializeOwned};

use crate::worker::goridge::Flags;

/// How a call's argument and result are encoded. The caller chooses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Codec {
    /// Bytes.
    Raw,
    /// JSON; bytes are a text in base64.
    Json,
    /// MessagePack.
    Msgpack,
    /// Protocol buffers; the method says which message.
    Proto,
}

/// An argument or a result.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Payload {
    /// How it is encoded.
    pub codec: Codec,
    /// The bytes.
    pub body: Bytes,
}

/// Why a call has no result; the caller gets the text. PHP's libraries look for parts of some of these.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// The service has no such method.
    #[error("rpc: can't find method")]
    UnknownMethod,
    /// No flag that is known here says how the argument is encoded.
    #[error("{0}")]
    UnknownCodec(&'static str),
    /// The argument cannot be read.
    #[error("{codec} argument: {reason}")]
    Argument {
        /// Its codec.
        codec: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The method does not go with the codec.
    #[error("{0}")]
    Mismatch(&'static str),
    /// The method did not do it.
    #[error("{0}")]
    Failed(String),
}

// === impl Codec ===

impl Codec {
    /// The codec of a request.
    pub fn of(flags: Flags) -> Result<Self, Error> {
        let order = [Self::Proto, Self::Json, Self::Raw, Self::Msgpack];
        let known = order.into_iter().find(|codec| flags.has(codec.flags()));
        known.ok_or(Error::UnknownCodec(if flags.has(Flags::GOB) {
            "gob is not spoken here, but JSON, PROTO, MSGPACK and RAW are; use this server's own commands: rr workers, rr reset"
        } else {
            "no codec flag is set: JSON, PROTO, MSGPACK or RAW"
        }))
    }

    /// Its flag.
    pub fn flags(self) -> Flags {
        match self {
            Self::Raw => Flags::RAW,
            Self::Json => Flags::JSON,
            Self::Msgpack => Flags::MSGPACK,
            Self::Proto => Flags::PROTO,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Json => "json",
            Self::Msgpack => "msgpack",
            Self::Proto => "protobuf",
        }
    }
}

// === impl Payload ===

impl Payload {
    /// The argument as a value. Nothing, and raw bytes, are the default value: Go's rules, by which callers may omit what a
    /// method ignores.
    pub fn read<T: DeserializeOwned + Default>(&self) -> Result<T, Error> {
        let wrong = |error: &dyn std::fmt::Display| Error::Argument { codec: self.codec.name(), reason: error.to_string() };
        match self.codec {
            Codec::Proto => Err(NOT_PROTO),
            _ if self.body.is_empty() => Ok(T::default()),
            Codec::Raw => Ok(T::default()),
            Codec::Json => serde_json::from_slice(&self.body).map_err(|error| wrong(&error)),
            Codec::Msgpack => rmp_serde::from_slice(&self.body).map_err(|error| wrong(&error)),
        }
    }

    /// The argument as a protobuf message.
    pub fn message<M: Message + Default>(&self) -> Result<M, Error> {
        match self.codec {
            Codec::Proto => M::decode(self.body.clone())
                .map_err(|error| Error::Argument { codec: self.codec.name(), reason: error.to_string() }),
            _ => Err(Error::Mismatch("this method takes a protobuf message")),
        }
    }

    /// A result in the argument's codec.
    pub fn reply<T: Serialize + ?Sized>(&self, value: &T) -> Result<Self, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("{} result: {error}", self.codec.name()));
        let body = match self.codec {
            Codec::Json => serde_json::to_vec(value).map_err(|error| failed(&error))?,
            Codec::Msgpack => rmp_serde::to_vec_named(value).map_err(|error| failed(&error))?,
            Codec::Raw => return Err(Error::Mismatch("unknown Raw payload type")),
            Codec::Proto => return Err(NOT_PROTO),
        };
        Ok(self.with(body))
    }

    /// A protobuf message as the result.
    pub fn reply_message<M: Message>(&self, message: &M) -> Result<Self, Error> {
        match self.codec {
            Codec::Proto => Ok(self.with(message.encode_to_vec())),
            _ => Err(Error::Mismatch("this method returns a protobuf message")),
        }
    }

    /// Bytes as the result.
    pub fn reply_bytes(&self, bytes: &[u8]) -> Result<Self, Error> {
        match self.codec {
            Codec::Raw => Ok(self.with(bytes.to_vec())),
            Codec::Json => self.reply(&BASE64.encode(bytes)),
            Codec::Msgpack => self.reply(&Binary(bytes)),
            Codec::Proto => Err(NOT_PROTO),
        }
    }

    fn with(&self, body: Vec<u8>) -> Self {
        Self { codec: self.codec, body: body.into() }
    }
}

/// Go's text for a method without a message.
const NOT_PROTO: Error = Error::Mismatch("message type is not a proto");

struct Binary<'a>(&'a [u8]);

impl Serialize for Binary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}
