//! What a certificate says, as far as it is shown or looked up. Whether it is true is rustls's to check.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A parsed certificate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Certificate<'a> {
    serial: &'a [u8],
    issuer: Name<'a>,
    validity: &'a [u8],
    subject: Name<'a>,
    extensions: Option<&'a [u8]>,
}

/// A distinguished name; shown as RFC 4514 writes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a>(&'a [u8]);

/// Tag and content of DER values, one after the other. It ends at the first that is malformed.
#[derive(Clone, Copy, Debug)]
struct Values<'a>(&'a [u8]);

/// A point in time, in UTC.
struct Moment {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERAL_TIME: u8 = 0x18;
const BMP: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const KEY_ID: u8 = 0x80;

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 29, 17];
const AUTHORITY_KEY: &[u8] = &[0x55, 29, 35];

/// RFC 4514's short names, and `emailAddress`, which every other server shows too.
const SHORT: &[(&[u8], &str)] = &[
    (COMMON_NAME, "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 12], "title"),
    (&[0x55, 4, 42], "GN"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
];

// === impl Certificate ===

impl<'a> Certificate<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let certificate = Values(der).value(SEQUENCE)?;
        let mut fields = Values(Values(certificate).value(SEQUENCE)?);
        if fields.0.first() == Some(&VERSION) {
            fields.next();
        }
        let serial = fields.value(INTEGER)?;
        fields.value(SEQUENCE)?;
        let issuer = Name(fields.value(SEQUENCE)?);
        let validity = fields.value(SEQUENCE)?;
        let subject = Name(fields.value(SEQUENCE)?);
        fields.value(SEQUENCE)?;
        let extensions = fields.find(|(tag, _)| *tag == EXTENSIONS).map(|(_, content)| content);
        Some(Self { serial, issuer, validity, subject, extensions })
    }

    /// In hexadecimal, upper case.
    pub(super) fn serial(&self) -> String {
        // A leading zero only keeps the number positive.
        let digits = if self.serial.len() > 1 { self.serial.strip_prefix(&[0]).unwrap_or(self.serial) } else { self.serial };
        digits.iter().map(|byte| format!("{byte:02X}")).collect()
    }

    pub(super) fn subject(&self) -> Name<'a> {
        self.subject
    }

    pub(super) fn issuer(&self) -> Name<'a> {
        self.issuer
    }

    /// Its first and last moment, such as `Nov  1 12:00:00 2026 GMT`.
    pub(super) fn validity(&self) -> (Option<String>, Option<String>) {
        let mut times = Values(self.validity).map(|(tag, content)| Some(Moment::parse(tag, content)?.to_string()));
        (times.next().flatten(), times.next().flatten())
    }

    /// The same as points in time.
    pub(super) fn lifetime(&self) -> Option<(SystemTime, SystemTime)> {
        let mut times = Values(self.validity).map(|(tag, content)| Some(Moment::parse(tag, content)?.time()));
        Some((times.next()??, times.next()??))
    }

    /// The host names it is for.
    pub(super) fn dns_names(&self) -> Vec<String> {
        let names = self.extension(ALTERNATIVE_NAMES).and_then(|content| Values(content).value(SEQUENCE));
        let names = Values(names.unwrap_or_default()).filter(|(tag, _)| *tag == DNS_NAME);
        names.map(|(_, name)| String::from_utf8_lossy(name).into_owned()).collect()
    }

    /// What tells it from all others, to those who have issued it: the key it was signed with, and its serial number as it stands.
    pub(super) fn identity(&self) -> Option<(&'a [u8], &'a [u8])> {
        let mut authority = Values(Values(self.extension(AUTHORITY_KEY)?).value(SEQUENCE)?);
        Some((authority.value(KEY_ID)?, self.serial))
    }

    fn extension(&self, kind: &[u8]) -> Option<&'a [u8]> {
        let mut extensions = Values(Values(self.extensions?).value(SEQUENCE)?).filter_map(|(_, content)| {
            let mut extension = Values(content);
            (extension.value(OID)? == kind).then_some(extension)
        });
        extensions.next()?.find(|(tag, _)| *tag == OCTETS).map(|(_, content)| content)
    }
}

// === impl Name ===

impl<'a> Name<'a> {
    /// The last `CN`.
    pub(super) fn common_name(self) -> Option<String> {
        self.attributes().filter(|(kind, ..)| *kind == COMMON_NAME).last().map(|(_, tag, value)| text(tag, value))
    }

    fn attributes(self) -> impl Iterator<Item = (&'a [u8], u8, &'a [u8])> {
        Values(self.0).filter(|(tag, _)| *tag == SET).flat_map(|(_, set)| Values(set)).filter_map(|(_, pair)| {
            let mut pair = Values(pair);
            let kind = pair.value(OID)?;
            let (tag, value) = pair.next()?;
            Some((kind, tag, value))
        })
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attributes: Vec<_> = self.attributes().collect();
        // The most special one first.
        for (at, (kind, tag, value)) in attributes.iter().rev().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match SHORT.iter().find(|(known, _)| known == kind) {
                Some((_, short)) => write!(formatter, "{comma}{short}=")?,
                None => write!(formatter, "{comma}{}=", dotted(kind))?,
            }
            escape(&text(*tag, value), formatter)?;
        }
        Ok(())
    }
}

// === impl Values ===

impl<'a> Values<'a> {
    /// The content of the next value, which must have this tag.
    fn value(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
            length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = after;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

fn text(tag: u8, value: &[u8]) -> String {
    if tag == BMP {
        let units: Vec<_> = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        return String::from_utf16_lossy(&units);
    }
    String::from_utf8_lossy(value).into_owned()
}

fn escape(text: &str, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    use fmt::Write;
    let last = text.chars().count().saturating_sub(1);
    for (at, letter) in text.chars().enumerate() {
        let is_edge = letter == ' ' && (at == 0 || at == last) || letter == '#' && at == 0;
        if letter.is_control() {
            // A line feed in a name must not become one in a log or a header.
            write!(formatter, "\\{:02X}", u32::from(letter))?;
        } else {
            if is_edge || matches!(letter, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
                formatter.write_char('\\')?;
            }
            formatter.write_char(letter)?;
        }
    }
    Ok(())
}

fn dotted(kind: &[u8]) -> String {
    let mut numbers = Vec::new();
    let mut number = 0u64;
    for byte in kind {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.push(first);
                number -= first * 40;
            }
            numbers.push(number);
            number = 0;
        }
    }
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

// === impl Moment ===

impl Moment {
    fn parse(tag: u8, content: &[u8]) -> Option<Self> {
        let digits = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
        let (year, rest) = match tag {
            // Two digits mean 1950 to 2049.
            UTC_TIME => {
                let year: u64 = digits.get(..2)?.parse().ok()?;
                (if year < 50 { 2000 + year } else { 1900 + year }, digits.get(2..)?)
            }
            GENERAL_TIME => (digits.get(..4)?.parse().ok()?, digits.get(4..)?),
            _ => return None,
        };
        let number = |at: usize| rest.get(at..at + 2)?.parse::<u64>().ok();
        let (month, day, hour, minute, second) = (number(0)?, number(2)?, number(4)?, number(6)?, number(8)?);
        ((1..=12).contains(&month) && day > 0).then_some(Self { year, month, day, hour, minute, second })
    }

    /// Not before 1970.
    fn time(&self) -> SystemTime {
        // Years that begin in March have their leap day last.
        let (year, month) =
            if self.month > 2 { (self.year, self.month - 3) } else { (self.year.saturating_sub(1), self.month + 9) };
        let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + self.day - 1;
        let seconds = days.saturating_sub(DAYS_TO_1970) * 86_400 + self.hour * 3600 + self.minute * 60 + self.second;
        UNIX_EPOCH + Duration::from_secs(seconds)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        let month = usize::try_from(*month).ok().and_then(|month| MONTHS.get(month - 1)).unwrap_or(&"");
        write!(formatter, "{month} {day:2} {hour:02}:{minute:02}:{second:02} {year} GMT")
    }
}

/// From the first of March of the year 0.
const DAYS_TO_1970: u64 = 719_468;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
