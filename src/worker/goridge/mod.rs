//! Goridge frames: what RoadRunner and its PHP library speak over pipes, sockets and RPC connections.
//!
//! ```text
//! byte 0      high nibble: the version, 1; low nibble: the header's length in words of four bytes, 3 and one for each option
//! byte 1      flags (Flags)
//! bytes 2–5   the payload's length
//! bytes 6–9   the CRC-32 (IEEE) of bytes 0–5
//! byte 10     stream bits (Stream)
//! byte 11     0
//! then        the options, at most ten words, and the payload; every number is little endian
//! ```
//!
//! Versions 3 and 4 of Goridge, the library, both speak version 1 of this. [`Decoder`] takes bytes as they come and bounds the
//! payload; [`message`] gives frames the meaning they have between a server and its workers. `crate::rpc` gives them another.

mod decoder;
mod frame;
pub mod message;

pub use decoder::{Decoder, Error};
pub use frame::{Flags, Frame, Head, Header, MAX_OPTIONS, Options, Stream, TooLong};

#[cfg(test)]
mod tests;
