//! Durations as Go writes them, and sizes in bytes.

use std::time::Duration;

/// Reads `1h30m`, `1.5h`, `100ms`, `10µs`; none if it is no such thing, or negative.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, 0_u128);
    loop {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (whole, fraction) = rest[..number].split_once('.').unwrap_or((&rest[..number], ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        rest = &rest[number..];
        let (unit, nanos) = DURATION_UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        total = total.checked_add(scaled(whole, fraction, *nanos)?)?;
        if rest.is_empty() {
            break;
        }
    }
    // Go's bound: nanoseconds in an i64.
    i64::try_from(total).ok().map(|nanos| Duration::from_nanos(nanos.unsigned_abs()))
}

/// Reads `65536`, `64K`, `1.5M`, `1GiB`; all units are powers of 1024, as in php.ini and nginx.
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let number = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (whole, fraction) = text[..number].split_once('.').unwrap_or((&text[..number], ""));
    if whole.is_empty() || fraction.contains('.') {
        return None;
    }
    let unit = text[number..].trim_start().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    scaled(whole, fraction, u128::from(*bytes))?.try_into().ok()
}

/// The shortest spelling that [`duration`] reads as `value`.
pub(super) fn show_duration(value: Duration) -> String {
    let mut nanos = value.as_nanos();
    let mut text = String::new();
    for unit in ["h", "m", "s", "ms", "us", "ns"] {
        let size = DURATION_UNITS.iter().find(|(name, _)| *name == unit).map_or(1, |(_, size)| *size);
        if nanos >= size {
            text.push_str(&format!("{}{unit}", nanos / size));
            nanos %= size;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// The shortest spelling that [`size`] reads as `value`.
pub(super) fn show_size(value: u64) -> String {
    match SIZE_UNITS.iter().find(|(_, bytes)| value >= *bytes && value.is_multiple_of(*bytes)) {
        Some((unit, bytes)) => format!("{}{}", value / bytes, unit.to_ascii_uppercase()),
        None => value.to_string(),
    }
}

fn scaled(whole: &str, fraction: &str, unit: u128) -> Option<u128> {
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    // Eighteen digits are finer than any unit's smallest part and keep the product within 128 bits.
    let fraction = &fraction[..fraction.len().min(18)];
    let part = if fraction.is_empty() {
        0
    } else {
        u128::from(fraction.parse::<u64>().ok()?) * unit / 10_u128.pow(fraction.len() as u32)
    };
    (u128::from(whole) * unit).checked_add(part)
}

/// `ms` before `m`: the first whose name fits is taken.
const DURATION_UNITS: &[(&str, u128)] = &[
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("us", 1_000),
    ("ns", 1),
];

const SIZE_UNITS: &[(&str, u64)] = &[("t", 1 << 40), ("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10), ("", 1)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("10s", 10_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("100ms", 100_000_000),
            ("1m30s500ms", 90_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("3µs", 3_000),
            ("3μs", 3_000),
            ("3us", 3_000),
            ("7ns", 7),
            ("+1s", 1_000_000_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for text in
            ["", "10", "s", "1", "1d", "-1s", "1.2.3s", "1s ", "soon", "1h2", ".s", "9223372037s", "99999999999999999999h"]
        {
            assert_eq!(duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("64", 64),
            ("64K", 65_536),
            ("64k", 65_536),
            ("1M", 1 << 20),
            ("1GiB", 1 << 30),
            ("1.5m", 3 << 19),
            ("2 MB", 2 << 20),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "K", "1X", "-1", "1.2.3M", "999999999T", "much"] {
            assert_eq!(size(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for nanos in [0, 1, 1_500, 30_000_000_000, 75_000_000_000, 5_400_000_000_000, 100_000_000, 3_600_000_000_001] {
            let value = Duration::from_nanos(nanos);
            assert_eq!(duration(&show_duration(value)), Some(value), "{}", show_duration(value));
        }
        assert_eq!(show_duration(Duration::from_secs(75)), "1m15s");
        for bytes in [0, 1, 1023, 1024, 1 << 20, 3 << 19, u64::MAX >> 24] {
            assert_eq!(size(&show_size(bytes)), Some(bytes), "{}", show_size(bytes));
        }
        assert_eq!(show_size(1 << 30), "1G");
    }
}
