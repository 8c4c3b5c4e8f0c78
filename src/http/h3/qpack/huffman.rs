//! Decodes Huffman-coded strings.

use std::sync::LazyLock;

use super::table::CODE_LENGTHS;

/// Codes of one length, in the order of their bytes.
#[derive(Debug)]
struct Level {
    length: u32,
    /// The first code of this length, and the first longer one, both with their first bit on the left of 32.
    first: u32,
    end: u64,
    bytes: Vec<u8>,
}

static LEVELS: LazyLock<Vec<Level>> = LazyLock::new(|| {
    let mut levels = Vec::new();
    let mut code: u64 = 0;
    for length in 1..=30u32 {
        code <<= 1;
        let bytes: Vec<u8> = (0..=255).filter(|&byte| u32::from(CODE_LENGTHS[usize::from(byte)]) == length).collect();
        if bytes.is_empty() {
            continue;
        }
        let first = (code << (32 - length)) as u32;
        code += bytes.len() as u64;
        levels.push(Level { length, first, end: code << (32 - length), bytes });
    }
    levels
});

/// The text that `coded` stands for; none if it is malformed.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    let levels = &**LEVELS;
    // No code is shorter than five bits.
    let mut text = Vec::with_capacity(coded.len() * 8 / 5);
    let (mut bits, mut count) = (0u64, 0u32);
    let mut rest = coded.iter();
    loop {
        while count <= 32
            && let Some(&byte) = rest.next()
        {
            bits |= u64::from(byte) << (56 - count);
            count += 8;
        }
        // Past the end there are ones, which begin no code that would be complete.
        let window = ((bits | u64::MAX.checked_shr(count).unwrap_or(0)) >> 32) as u32;
        let Some(level) = levels.iter().find(|level| u64::from(window) < level.end) else {
            return is_padding(bits, count).then_some(text);
        };
        if level.length > count {
            return is_padding(bits, count).then_some(text);
        }
        text.push(level.bytes[((window - level.first) >> (32 - level.length)) as usize]);
        bits <<= level.length;
        count -= level.length;
    }
}

/// Fewer than eight bits, all ones.
fn is_padding(bits: u64, count: u32) -> bool {
    count < 8 && bits | u64::MAX.checked_shr(count).unwrap_or(0) == u64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_examples_of_the_rfc() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
        };
        let decoded = |text: &str| decode(&hex(text));
        assert_eq!(decoded("f1e3c2e5f23a6ba0ab90f4ff").unwrap(), b"www.example.com");
        assert_eq!(decoded("a8eb10649cbf").unwrap(), b"no-cache");
        assert_eq!(decoded("9d29ad171863c78f0b97c8e9ae82ae43d3").unwrap(), b"https://www.example.com");
        assert_eq!(decoded("d07abe941054d444a8200595040b8166e082a62d1bff").unwrap(), b"Mon, 21 Oct 2013 20:13:21 GMT");
        assert_eq!(decoded("").unwrap(), b"");
    }

    #[test]
    fn refuses_what_no_encoder_writes() {
        assert_eq!(decode(&[0xff]), None, "eight bits of padding");
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff]), None, "the end of the string");
        assert_eq!(decode(&[0x00, 0x00]), None, "padding that is not of ones");
    }
}
