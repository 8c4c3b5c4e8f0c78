//! Frames from every side: written, read back, cut, damaged, made up.

use super::{
    message::{self, Answer, FromWorker},
    *,
};

/// A small generator of numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    fn frame(&mut self) -> Frame {
        let options: Vec<u32> = (0..self.below(MAX_OPTIONS + 1)).map(|_| self.next() as u32).collect();
        let length = self.below(300);
        let flags = Flags(self.next() as u8);
        Frame::new(flags, self.bytes(length)).with_options(&options).with_stream(Stream(self.next() as u8))
    }
}

fn decode(bytes: &[u8]) -> Result<Option<Frame>, Error> {
    let mut decoder = Decoder::new(1 << 20);
    decoder.extend(bytes);
    decoder.next()
}

/// `bytes` with a checksum that matches them.
fn signed(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32fast::hash(&bytes[..6]);
    bytes[6..10].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

// === the bytes ===

#[test]
fn a_frame_has_the_bytes_that_the_php_library_writes() {
    // From `Frame::packFrame(new Frame('{"pid":1}', [], Frame::CONTROL))` of spiral/goridge 4.2.
    let control = Frame::new(Flags::CONTROL, r#"{"pid":1}"#);
    let head = [0x13, 0x01, 9, 0, 0, 0, 0xac, 0xb7, 0xe8, 0x74, 0, 0];
    assert_eq!(control.to_bytes().unwrap(), [&head[..], br#"{"pid":1}"#].concat());
    assert_eq!(decode(&control.to_bytes().unwrap()), Ok(Some(control)));
    // A call of RPC: sequence number and method's length are options.
    let call = Frame::new(Flags::JSON, "informer.Listtrue").with_options(&[7, 13]);
    let bytes = call.to_bytes().unwrap();
    assert_eq!(bytes[..20], [0x15, 0x08, 17, 0, 0, 0, 0xb0, 0x49, 0x0c, 0x3a, 0, 0, 7, 0, 0, 0, 13, 0, 0, 0]);
    assert_eq!(&bytes[20..], b"informer.Listtrue");
}

#[test]
fn the_checksum_is_the_ieee_crc_32() {
    assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
}

// === round trips ===

#[test]
fn what_is_written_is_read_back_however_it_is_cut() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for _ in 0..200 {
        let frames: Vec<Frame> = (0..numbers.below(5)).map(|_| numbers.frame()).collect();
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.write(&mut bytes).unwrap());
        let mut decoder = Decoder::new(300);
        let mut read = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(1 + numbers.below(rest.len()));
            decoder.extend(piece);
            rest = after;
            while let Some(frame) = decoder.next().unwrap() {
                read.push(frame);
            }
        }
        assert_eq!(read, frames);
        assert_eq!(decoder.pending(), 0);
    }
}

#[test]
fn no_part_of_a_frame_is_taken_for_the_whole() {
    let bytes = Frame::new(Flags::RAW, "payload").with_options(&[1, 2, 3]).to_bytes().unwrap();
    for length in 0..bytes.len() {
        let mut decoder = Decoder::new(100);
        decoder.extend(&bytes[..length]);
        assert_eq!(decoder.next(), Ok(None), "{length} bytes");
        assert_eq!(decoder.pending(), length);
        decoder.extend(&bytes[length..]);
        assert!(decoder.next().unwrap().is_some(), "{length} bytes and the rest");
    }
}

// === damage ===

#[test]
fn any_flipped_bit_of_what_the_checksum_covers_is_noticed() {
    let bytes = Frame::new(Flags::JSON, "{}").with_options(&[0]).to_bytes().unwrap();
    for bit in 0..80 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let start = *damaged.first_chunk().unwrap();
        assert_eq!(decode(&damaged), Err(Error::Checksum { start }), "bit {bit}");
    }
}

#[test]
fn text_is_quoted_where_a_frame_was_expected() {
    let error = decode(b"Could not open input file: worker.php\n").unwrap_err();
    assert_eq!(error.to_string(), r#"not a Goridge frame, for its checksum is wrong: it starts with "Could not op""#);
    // What stays is all there was, for a carrier that quotes more of it.
    let mut decoder = Decoder::new(10);
    decoder.extend(b"<br />\n<b>Warning</b>");
    assert!(decoder.next().is_err() && decoder.next().is_err());
    assert_eq!(decoder.room(), &b"<br />\n<b>Warning</b>"[..]);
}

#[test]
fn versions_and_header_lengths_are_checked() {
    let head = |first: u8| signed(vec![first, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for version in (0..16).filter(|version| *version != 1) {
        assert_eq!(decode(&head(version << 4 | 3)), Err(Error::Version(version)));
    }
    for words in [0, 1, 2, 14, 15] {
        assert_eq!(decode(&head(1 << 4 | words)), Err(Error::HeaderLength(words)));
    }
    assert_eq!(decode(&head(0x13)), Ok(Some(Frame::default())));
    assert_eq!(decode(&head(0x1d)), Ok(None), "ten options are to come");
}

#[test]
fn a_payload_beyond_the_bound_is_refused_before_it_comes() {
    let frame = Frame::new(Flags::PROTO, vec![0; 11]).with_options(&[42, 5]);
    let bytes = frame.to_bytes().unwrap();
    let mut decoder = Decoder::new(10);
    decoder.extend(&bytes[..20]);
    assert_eq!(decoder.next(), Err(Error::TooLarge { header: frame.header, length: 11, limit: 10 }));
    assert_eq!(frame.header.options[..], [42, 5], "enough to answer with");
    let mut claim = bytes[..20].to_vec();
    claim[2..6].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut decoder = Decoder::new(usize::MAX);
    decoder.extend(&signed(claim));
    assert_eq!(decoder.next(), Ok(None));
    assert!(decoder.room().capacity() < 100_000, "memory does not follow a claim");
}

#[test]
fn noise_never_panics_and_never_passes_a_bound() {
    let mut numbers = Numbers(42);
    for _ in 0..20_000 {
        let count = numbers.below(64);
        let mut noise = numbers.bytes(count);
        if count >= 12 && numbers.below(2) == 0 {
            // As far as the checks of the header let it.
            noise = signed(noise);
        }
        let mut decoder = Decoder::new(32);
        decoder.extend(&noise);
        while let Ok(Some(frame)) = decoder.next() {
            assert!(frame.payload.len() <= 32 && frame.header.options.len() <= MAX_OPTIONS);
            drop(message::read(&frame));
        }
    }
}

// === between server and worker ===

fn said(frame: &Frame) -> Result<FromWorker, message::Error> {
    message::read(&decode(&frame.to_bytes().unwrap()).unwrap().unwrap())
}

#[test]
fn a_request_is_context_and_body() {
    let head = message::request(Flags::JSON, b"{context}", b"body").unwrap();
    let frame = decode(&[&head[..], b"{context}", b"body"].concat()).unwrap().unwrap();
    assert_eq!((frame.header.flags, &frame.header.options[..]), (Flags::JSON, &[9][..]));
    let answer = Answer { codec: Flags::JSON, context: "{context}".into(), body: "body".into(), ..Answer::default() };
    assert_eq!(message::read(&frame), Ok(FromWorker::Answer(answer)));
}

#[test]
fn answers_may_be_streamed_and_may_ask() {
    let chunk = Frame::new(Flags::default(), "headbody").with_options(&[4]).with_stream(Stream::MORE | Stream::PING);
    let answer = Answer { codec: Flags::default(), context: "head".into(), body: "body".into(), more: true, ping: true };
    assert_eq!(said(&chunk), Ok(FromWorker::Answer(answer)));
    // How the PHP library confirms the end of a stream.
    let end = Frame::new(Flags::default(), "").with_options(&[0]);
    assert_eq!(said(&end), Ok(FromWorker::Answer(Answer::default())));
}

#[test]
fn workers_report_errors_with_or_without_a_codec() {
    for flags in [Flags::ERROR, Flags::ERROR | Flags::PROTO] {
        assert_eq!(said(&Frame::new(flags, "no memory")), Ok(FromWorker::Error("no memory".into())));
    }
}

#[test]
fn workers_tell_their_pid_and_ask_to_be_replaced() {
    assert_eq!(said(&Frame::new(Flags::CONTROL, r#"{"pid":4711}"#)), Ok(FromWorker::Pid(4711)));
    assert_eq!(said(&Frame::new(Flags::CONTROL, r#"{"stop":true}"#)), Ok(FromWorker::Stop));
    assert_eq!(said(&Frame::new(Flags::default(), r#"{"stop":true}"#).with_options(&[13])), Ok(FromWorker::Stop));
    let answer = Frame::new(Flags::default(), r#"{"stop":true}and a body"#).with_options(&[13]);
    assert!(matches!(said(&answer), Ok(FromWorker::Answer(answer)) if answer.body == "and a body"));
}

#[test]
fn what_makes_no_sense_is_named() {
    let wrong = said(&Frame::new(Flags::default(), "short").with_options(&[6])).unwrap_err();
    assert_eq!(wrong.to_string(), "worker's frame claims a context of 6 bytes in a payload of 5");
    for payload in ["", "{", "[]", r#"{"sleep":true}"#, r#"{"stop":false}"#, r#"{"pid":"x"}"#] {
        let wrong = said(&Frame::new(Flags::CONTROL, payload)).unwrap_err();
        assert!(wrong.to_string().starts_with("worker's control frame is neither a pid nor a stop"), "{wrong}");
    }
}

#[test]
fn commands_are_those_that_the_php_library_reads() {
    assert_eq!(message::stop(), Frame::new(Flags::CONTROL, r#"{"stop":true}"#));
    assert_eq!(message::pid(17), Frame::new(Flags::CONTROL, r#"{"pid":17}"#));
    for (frame, bit) in [(message::pong(), 8), (message::stop_stream(), 2)] {
        let bytes = frame.to_bytes().unwrap();
        assert_eq!((bytes[0], bytes[1], bytes[10], bytes.len()), (0x14, 0, bit, 16));
    }
}
