//! How a raw value becomes a setting, and back. Forms made of others stand in `compound`.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use serde_json::Value;

use super::{http::Address, number, suggest::closest};

/// One way to read and to show a `T`. What is shown reads back as the same.
pub(super) trait Form<T>: Sync {
    /// The setting that `raw` means.
    fn read(&self, raw: &Value) -> Result<T, Wrong>;
    /// The plainest raw value that means `value`.
    fn show(&self, value: &T) -> Value;
}

/// What is wrong with a value, each with the place inside it (`[2].from`).
#[derive(Debug, PartialEq)]
pub(super) struct Wrong(pub(super) Vec<(String, String)>);

/// An enum with one name or more per variant, the first being the one shown.
pub(super) trait Named: Copy + PartialEq + 'static {
    /// The names.
    const NAMES: &'static [(&'static str, Self)];
}

/// A whole number that a setting may be held in.
pub(super) trait Whole: Copy + TryFrom<u64> + TryInto<u64> {}

/// `true`, `false`.
pub(super) struct Flag;
/// A whole number from the first to the second.
pub(super) struct Count(pub(super) u64, pub(super) u64);
/// RoadRunner's queue length, where 0 means no limit.
pub(super) struct QueueLength;
/// Bytes, at least this many.
pub(super) struct Size(pub(super) u64);
/// Bytes, a bare number being megabytes.
pub(super) struct Megabytes;
/// A time.
pub(super) struct Time {
    /// Whether it may be none.
    pub(super) zero: bool,
}
/// One of an enum's names.
pub(super) struct Choice;
/// A text of the kind named first and told by the second.
pub(super) struct Text(pub(super) &'static str, pub(super) fn(&str) -> bool);
/// A file's or directory's path.
pub(super) struct FilePath;
/// Where to listen; an address without a host is on this one.
pub(super) struct Listen(pub(super) &'static str);
/// A client's address.
pub(super) struct Client;
/// A socket's permissions, in octal.
pub(super) struct Mode;
/// `raw` as messages quote it.
pub(super) struct Found<'a>(pub(super) &'a Value);

// === impl Wrong ===

impl Wrong {
    /// The whole value is not `what`.
    pub(super) fn expected(what: impl fmt::Display, raw: &Value) -> Self {
        Self(vec![(String::new(), format!("expected {what}, got {}", Found(raw)))])
    }

    /// The same, of a value that stands at `place` in another.
    pub(super) fn inside(self, place: &str) -> Vec<(String, String)> {
        self.0.into_iter().map(|(rest, message)| (format!("{place}{rest}"), message)).collect()
    }
}

// === impl Found ===

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Array(list) => write!(f, "a list of {}", list.len()),
            Value::Object(map) => write!(f, "a map of {}", map.len()),
            Value::String(text) if text.chars().count() > LONGEST_QUOTE => {
                write!(f, "{:?}…", text.chars().take(LONGEST_QUOTE).collect::<String>())
            }
            Value::String(text) => write!(f, "{text:?}"),
            other => write!(f, "{other}"),
        }
    }
}

// === impl Whole ===

impl Whole for u8 {}
impl Whole for u16 {}
impl Whole for u32 {}
impl Whole for u64 {}
impl Whole for usize {}

// === impl Form for the scalars ===

impl Form<bool> for Flag {
    fn read(&self, raw: &Value) -> Result<bool, Wrong> {
        match text(raw).as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("1" | "t" | "true" | "yes" | "on") => Ok(true),
            Some("0" | "f" | "false" | "no" | "off" | "") => Ok(false),
            _ => Err(Wrong::expected("true or false", raw)),
        }
    }

    fn show(&self, value: &bool) -> Value {
        (*value).into()
    }
}

impl<T: Whole> Form<T> for Count {
    fn read(&self, raw: &Value) -> Result<T, Wrong> {
        let Self(min, max) = *self;
        let number = whole(raw).filter(|number| (min..=max).contains(number)).and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| match max {
            u64::MAX => Wrong::expected(format_args!("a whole number from {min} up"), raw),
            _ => Wrong::expected(format_args!("a whole number from {min} to {max}"), raw),
        })
    }

    fn show(&self, value: &T) -> Value {
        (*value).try_into().unwrap_or(u64::MAX).into()
    }
}

impl Form<usize> for QueueLength {
    fn read(&self, raw: &Value) -> Result<usize, Wrong> {
        let length = Count(0, u64::MAX).read(raw)?;
        Ok(if length == 0 { usize::MAX } else { length })
    }

    fn show(&self, value: &usize) -> Value {
        if *value == usize::MAX { 0.into() } else { (*value).into() }
    }
}

impl<T: Whole> Form<T> for Size {
    fn read(&self, raw: &Value) -> Result<T, Wrong> {
        let bytes = text(raw).and_then(|text| number::size(&text)).filter(|bytes| *bytes >= self.0);
        bytes.and_then(|bytes| T::try_from(bytes).ok()).ok_or_else(|| match self.0 {
            0 => Wrong::expected("a size such as 65536, \"64K\" or \"1M\"", raw),
            min => Wrong::expected(format_args!("a size from {} up, such as 65536 or \"64K\"", number::show_size(min)), raw),
        })
    }

    fn show(&self, value: &T) -> Value {
        number::show_size((*value).try_into().unwrap_or(u64::MAX)).into()
    }
}

impl Form<u64> for Megabytes {
    fn read(&self, raw: &Value) -> Result<u64, Wrong> {
        let bytes = match whole(raw) {
            Some(megabytes) => megabytes.checked_mul(MIB),
            None => text(raw).and_then(|text| number::size(&text)),
        };
        bytes.ok_or_else(|| Wrong::expected("a whole number of megabytes, or a size such as \"64M\"", raw))
    }

    fn show(&self, value: &u64) -> Value {
        if value.is_multiple_of(MIB) { (value / MIB).into() } else { number::show_size(*value).into() }
    }
}

impl Form<Duration> for Time {
    fn read(&self, raw: &Value) -> Result<Duration, Wrong> {
        let time = match raw {
            // Go's reading of a bare number: nanoseconds.
            Value::Number(number) => number.as_u64().map(Duration::from_nanos),
            Value::String(text) => number::duration(text),
            _ => None,
        };
        match time {
            Some(time) if self.zero || !time.is_zero() => Ok(time),
            Some(_) => Err(Wrong::expected("a duration longer than zero", raw)),
            None => Err(Wrong::expected("a duration such as \"30s\", \"1m30s\" or \"100ms\"", raw)),
        }
    }

    fn show(&self, value: &Duration) -> Value {
        number::show_duration(*value).into()
    }
}

impl<T: Named> Form<T> for Choice {
    fn read(&self, raw: &Value) -> Result<T, Wrong> {
        let given = text(raw).unwrap_or_default().to_ascii_lowercase();
        T::NAMES.iter().find(|(name, _)| *name == given).map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<_> = T::NAMES.iter().map(|(name, _)| *name).collect();
            let mut wrong = Wrong::expected(format_args!("one of {}", names.join(", ")), raw);
            if let (Some(name), Some((_, message))) = (closest(&given, names), wrong.0.first_mut()) {
                message.push_str(&format!("; did you mean {name}?"));
            }
            wrong
        })
    }

    fn show(&self, value: &T) -> Value {
        T::NAMES.iter().find(|(_, named)| named == value).map_or(Value::Null, |(name, _)| (*name).into())
    }
}

impl Form<String> for Text {
    fn read(&self, raw: &Value) -> Result<String, Wrong> {
        text(raw).filter(|text| self.1(text) && !text.contains('\0')).ok_or_else(|| Wrong::expected(self.0, raw))
    }

    fn show(&self, value: &String) -> Value {
        value.as_str().into()
    }
}

impl Form<PathBuf> for FilePath {
    fn read(&self, raw: &Value) -> Result<PathBuf, Wrong> {
        Text("a path", |text| !text.is_empty()).read(raw).map(PathBuf::from)
    }

    fn show(&self, value: &PathBuf) -> Value {
        value.to_string_lossy().into()
    }
}

impl Form<Address> for Listen {
    fn read(&self, raw: &Value) -> Result<Address, Wrong> {
        let given = text(raw).unwrap_or_default();
        if let Some(path) = given.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err(Wrong::expected("a path after unix://", raw))
            } else {
                Ok(Address::Unix(path.into()))
            };
        }
        let tcp = given.strip_prefix("tcp://").unwrap_or(&given);
        match tcp.rsplit_once(':') {
            Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok() => {
                Ok(Address::Tcp(if host.is_empty() { format!("{}:{port}", self.0) } else { tcp.into() }))
            }
            _ => Err(Wrong::expected("an address such as 127.0.0.1:8080, :8080, [::1]:8080 or unix:///run/rr.sock", raw)),
        }
    }

    fn show(&self, value: &Address) -> Value {
        value.to_string().into()
    }
}

impl Form<IpAddr> for Client {
    fn read(&self, raw: &Value) -> Result<IpAddr, Wrong> {
        text(raw).and_then(|text| text.trim().parse().ok()).ok_or_else(|| Wrong::expected("an IP address", raw))
    }

    fn show(&self, value: &IpAddr) -> Value {
        value.to_string().into()
    }
}

impl Form<u32> for Mode {
    fn read(&self, raw: &Value) -> Result<u32, Wrong> {
        let mode = match raw {
            // PHP has already read 0660 as octal.
            Value::Number(number) => number.as_u64().and_then(|mode| u32::try_from(mode).ok()),
            Value::String(text) => u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8).ok(),
            _ => None,
        };
        mode.filter(|mode| *mode <= 0o777).ok_or_else(|| Wrong::expected("permissions in octal such as \"0660\"", raw))
    }

    fn show(&self, value: &u32) -> Value {
        format!("{value:04o}").into()
    }
}

/// A path below the root, as a URL writes it.
pub(super) const ROOTED: Text = Text("a path that starts with /", |text| text.starts_with('/'));

/// Weakly typed, as RoadRunner's files are: numbers and booleans are texts too.
pub(super) fn text(raw: &Value) -> Option<String> {
    match raw {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(if *flag { "1" } else { "0" }.into()),
        _ => None,
    }
}

/// Weakly typed, as RoadRunner's files are: a text may hold a number, and an empty one is 0.
pub(super) fn whole(raw: &Value) -> Option<u64> {
    match raw {
        Value::String(text) if text.is_empty() => Some(0),
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => number.as_u64(),
        _ => None,
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')),
    }
}

const LONGEST_QUOTE: usize = 80;
const MIB: u64 = 1 << 20;
