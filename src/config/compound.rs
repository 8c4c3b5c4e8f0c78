//! Forms of lists, of maps and of what may be left out.

use ::http::{HeaderName, HeaderValue};
use regex::Regex;
use serde_json::{Map, Value};

use super::{
    form::{Count, Form, ROOTED, Text, Wrong, whole},
    http::Rewrite,
    suggest::closest,
};

/// What the form says, or nothing for an empty text.
pub(super) struct Maybe<F>(pub(super) F);
/// What the form says, or nothing for `auto` or 0.
pub(super) struct Auto<F>(pub(super) F);
/// A list, or a text of its elements with commas between; those in braces are part of an element.
pub(super) struct List<F>(pub(super) F);
/// Names and texts.
pub(super) struct Pairs {
    /// Whether a name may hold further pairs, to be joined to theirs by a dot.
    pub(super) nested: bool,
}
/// Header fields: names and values.
pub(super) struct Fields;
/// Path prefixes and directories.
pub(super) struct Locations;
/// Statuses and paths.
pub(super) struct ErrorPages;
/// A rule of `http.rewrite`.
pub(super) struct Rule;

// === impl Form ===

impl<T, F: Form<T>> Form<Option<T>> for Maybe<F> {
    fn read(&self, raw: &Value) -> Result<Option<T>, Wrong> {
        if raw == "" { Ok(None) } else { self.0.read(raw).map(Some) }
    }

    fn show(&self, value: &Option<T>) -> Value {
        value.as_ref().map_or(Value::Null, |value| self.0.show(value))
    }
}

impl<T, F: Form<T>> Form<Option<T>> for Auto<F> {
    fn read(&self, raw: &Value) -> Result<Option<T>, Wrong> {
        if raw == "auto" || whole(raw) == Some(0) { Ok(None) } else { self.0.read(raw).map(Some) }
    }

    fn show(&self, value: &Option<T>) -> Value {
        value.as_ref().map_or("auto".into(), |value| self.0.show(value))
    }
}

impl<T, F: Form<T>> Form<Vec<T>> for List<F> {
    fn read(&self, raw: &Value) -> Result<Vec<T>, Wrong> {
        match raw {
            Value::Array(list) => collect(list.iter().enumerate().map(|(at, raw)| (format!("[{at}]"), self.0.read(raw)))),
            Value::String(text) if text.trim().is_empty() => Ok(Vec::new()),
            Value::String(text) => {
                collect(split(text).into_iter().map(|part| (String::new(), self.0.read(&Value::from(part.trim())))))
            }
            Value::Number(_) => self.0.read(raw).map(|one| vec![one]),
            _ => Err(Wrong::expected("a list", raw)),
        }
    }

    fn show(&self, value: &Vec<T>) -> Value {
        value.iter().map(|one| self.0.show(one)).collect()
    }
}

impl Form<Vec<(String, String)>> for Pairs {
    fn read(&self, raw: &Value) -> Result<Vec<(String, String)>, Wrong> {
        let pairs = collect(entries(raw)?.into_iter().map(|(name, raw)| {
            let named = match raw {
                _ if name.is_empty() || name.contains(['=', '\0']) => {
                    Err(Wrong::expected("a name without =", &name.clone().into()))
                }
                Value::Object(_) if self.nested => {
                    self.read(raw).map(|inner| inner.into_iter().map(|(rest, value)| (format!("{name}.{rest}"), value)).collect())
                }
                Value::Null => Ok(vec![(name.clone(), String::new())]),
                _ => Text("a text, a number, true or false", |_| true).read(raw).map(|value| vec![(name.clone(), value)]),
            };
            (format!(".{name}"), named)
        }))?;
        Ok(pairs.into_iter().flatten().collect())
    }

    fn show(&self, value: &Vec<(String, String)>) -> Value {
        Value::Object(value.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect())
    }
}

impl Form<Vec<(String, String)>> for Fields {
    fn read(&self, raw: &Value) -> Result<Vec<(String, String)>, Wrong> {
        let pairs = Pairs { nested: false }.read(raw)?;
        collect(pairs.into_iter().map(|(name, value)| {
            let place = format!(".{name}");
            let checked = match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
                (Ok(_), Ok(_)) => Ok((name, value)),
                (Err(_), _) => Err(Wrong::expected("the name of a header field", &name.into())),
                (_, Err(_)) => Err(Wrong::expected("a header's value", &value.into())),
            };
            (place, checked)
        }))
    }

    fn show(&self, value: &Vec<(String, String)>) -> Value {
        Pairs { nested: false }.show(value)
    }
}

impl Form<Vec<(String, String)>> for Locations {
    fn read(&self, raw: &Value) -> Result<Vec<(String, String)>, Wrong> {
        let pairs = Pairs { nested: false }.read(raw)?;
        collect(pairs.into_iter().map(|(prefix, directory)| {
            let place = format!(".{prefix}");
            let is_whole = prefix.starts_with('/') && prefix.ends_with('/');
            let read = match directory.is_empty() {
                _ if !is_whole => Err(Wrong::expected("a path that starts and ends with /", &prefix.into())),
                true => Err(Wrong::expected("a directory", &directory.into())),
                false => Ok((prefix, directory)),
            };
            (place, read)
        }))
    }

    fn show(&self, value: &Vec<(String, String)>) -> Value {
        Pairs { nested: false }.show(value)
    }
}

impl Form<Vec<(u16, String)>> for ErrorPages {
    fn read(&self, raw: &Value) -> Result<Vec<(u16, String)>, Wrong> {
        collect(entries(raw)?.into_iter().map(|(name, raw)| {
            let status = Count(400, 599).read(&Value::from(name.as_str()));
            (format!(".{name}"), status.and_then(|status| Ok((status, ROOTED.read(raw)?))))
        }))
    }

    fn show(&self, value: &Vec<(u16, String)>) -> Value {
        Value::Object(value.iter().map(|(status, page)| (status.to_string(), page.as_str().into())).collect())
    }
}

impl Form<Rewrite> for Rule {
    fn read(&self, raw: &Value) -> Result<Rewrite, Wrong> {
        let Value::Object(map) = raw else {
            return Err(Wrong::expected("a map of from, or regex, to and, for a redirect, status", raw));
        };
        let mut wrong = Vec::new();
        let (mut from, mut regex, mut to, mut status) = (None, None, None, None);
        for (name, raw) in map.iter().filter(|(_, raw)| !raw.is_null()) {
            let any = |what| Text(what, |text| !text.is_empty()).read(raw);
            let read = match name.to_ascii_lowercase().as_str() {
                "from" => ROOTED.read(raw).map(|text| from = Some(text)),
                "regex" => any("a regular expression").map(|text| regex = Some(text)),
                "to" => any("a path that starts with / or a URL").map(|text| to = Some(text)),
                "status" => Count(300, 499).read(raw).map(|number: u16| status = Some(number)),
                other => {
                    let hint = closest(other, ["from", "regex", "to", "status"])
                        .map_or(String::new(), |name| format!(", did you mean {name}?"));
                    Err(Wrong(vec![(String::new(), format!("unknown key{hint}"))]))
                }
            };
            wrong.extend(read.err().into_iter().flat_map(|inner| inner.inside(&format!(".{name}"))));
        }
        let has = |name: &str| map.keys().any(|key| key.eq_ignore_ascii_case(name));
        let refuses = status.is_some_and(|status| status >= 400);
        if from.is_some() && regex.is_some() {
            wrong.push((".regex".into(), "from is there too: give one of them".into()));
        } else if !has("from") && !has("regex") {
            wrong.push((".from".into(), "missing".into()));
        }
        if !has("to") && !refuses {
            wrong.push((".to".into(), "missing".into()));
        }
        let is_regex = regex.is_some();
        match from.or(regex) {
            Some(from) if wrong.is_empty() => checked(Rewrite { from, is_regex, to: to.unwrap_or_default(), status }),
            _ => Err(Wrong(wrong)),
        }
    }

    fn show(&self, value: &Rewrite) -> Value {
        let mut map = Map::new();
        map.insert(if value.is_regex { "regex" } else { "from" }.into(), value.from.as_str().into());
        if !value.to.is_empty() {
            map.insert("to".into(), value.to.as_str().into());
        }
        if let Some(status) = value.status {
            map.insert("status".into(), status.into());
        }
        Value::Object(map)
    }
}

/// A map's entries. An empty list is an empty map: PHP cannot tell them apart.
pub(super) fn entries(raw: &Value) -> Result<Vec<(String, &Value)>, Wrong> {
    match raw {
        Value::Object(map) => Ok(map.iter().map(|(name, value)| (name.clone(), value)).collect()),
        Value::Array(list) if list.is_empty() => Ok(Vec::new()),
        _ => Err(Wrong::expected("a map", raw)),
    }
}

/// The elements of a list written as one text; a comma in braces belongs to a glob.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|character| {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && character == ','
    })
    .collect()
}

/// All that could be read, or all that is wrong.
pub(super) fn collect<T>(parts: impl Iterator<Item = (String, Result<T, Wrong>)>) -> Result<Vec<T>, Wrong> {
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for (place, part) in parts {
        match part {
            Ok(part) => good.push(part),
            Err(inner) => wrong.extend(inner.inside(&place)),
        }
    }
    if wrong.is_empty() { Ok(good) } else { Err(Wrong(wrong)) }
}

fn checked(rule: Rewrite) -> Result<Rewrite, Wrong> {
    let wrong = |place: &str, message: String| Err(Wrong(vec![(place.to_owned(), message)]));
    let (groups, what) = match rule.is_regex {
        true => match Regex::new(&rule.from) {
            Ok(regex) => (regex.captures_len() - 1, ("regex", "group")),
            Err(error) => return wrong(".regex", error.to_string()),
        },
        false => (rule.from.matches('*').count(), ("from", "*")),
    };
    let (place, group) = what;
    if groups > 9 {
        return wrong(&format!(".{place}"), format!("expected at most 9 {group}, got {groups}"));
    }
    if rule.status.is_some_and(|status| status >= 400) {
        return Ok(rule);
    }
    let named = rule.to.split('$').skip(1).filter_map(|after| after.chars().next().and_then(|digit| digit.to_digit(10)));
    if let Some(digit) = named.into_iter().find(|digit| *digit == 0 || *digit as usize > groups) {
        return wrong(".to", format!("${digit} names no {group} of {place}, which has {groups}"));
    }
    let is_url = rule.to.starts_with("http://") || rule.to.starts_with("https://");
    match rule.status {
        Some(301 | 302 | 307 | 308) if rule.to.starts_with('/') || is_url => Ok(rule),
        None if rule.to.starts_with('/') => Ok(rule),
        Some(301 | 302 | 307 | 308) => wrong(".to", format!("expected a path that starts with / or a URL, got {:?}", rule.to)),
        None => wrong(".to", format!("expected a path that starts with / (a URL needs a status), got {:?}", rule.to)),
        Some(status) => wrong(".status", format!("expected 301, 302, 307, 308 or one of 4xx, got {status}")),
    }
}
