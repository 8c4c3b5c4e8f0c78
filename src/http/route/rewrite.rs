//! The operator's own rules: a pattern, what becomes of it, and perhaps a status.

use std::io;

use http::StatusCode;
use regex::Regex;

use super::path;

/// One rule (`http.rewrite`): the first whose pattern matches the decoded path applies, once, before any file is looked up.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// What is asked for.
    pub from: From,
    /// What it becomes: a path or, with a redirect, perhaps a whole address. `$1` to `$9` are what stars or groups matched, `$host`
    /// is the request's host (redirects only). The request's query string is appended; a `?` at the end drops it.
    pub to: String,
    /// None: the request goes on as if it had asked for `to`. A redirect's status: the client is sent there. One of 4xx: it is
    /// refused, and `to` is unused.
    pub status: Option<u16>,
}

/// The paths that a rule is for.
#[derive(Clone, Debug)]
pub enum From {
    /// The whole path; each `*` stands for any characters, slashes included, as few as possible but for the last.
    Stars(String),
    /// A regular expression, which may match anywhere in the path. It takes time in proportion to that, whatever it says.
    Regex(String),
}

/// Rules that were checked.
#[derive(Debug)]
pub(in crate::http) struct Rules(Vec<Rule>);

/// What the rule that matched asks for.
#[derive(Debug, Eq, PartialEq)]
pub(in crate::http) enum Outcome {
    Internal { path: String, query: Option<String>, keep_query: bool },
    Redirect { status: StatusCode, location: String, keep_query: bool },
    Refuse(StatusCode),
}

#[derive(Debug)]
struct Rule {
    from: Pattern,
    to: String,
    keep_query: bool,
    status: Option<StatusCode>,
}

#[derive(Debug)]
enum Pattern {
    /// What stands between the stars.
    Stars(Vec<String>),
    Regex(Regex),
}

// === impl Rules ===

impl Rules {
    pub(in crate::http) fn new(rules: Vec<Rewrite>) -> io::Result<Self> {
        rules.into_iter().map(Rule::new).collect::<io::Result<_>>().map(Self)
    }

    pub(in crate::http) fn apply(&self, path: &str) -> Option<Outcome> {
        self.0.iter().find_map(|rule| Some(rule.outcome(&rule.from.matches(path)?)))
    }
}

// === impl Rule ===

impl Rule {
    fn new(Rewrite { from, to, status }: Rewrite) -> io::Result<Self> {
        let (From::Stars(text) | From::Regex(text)) = &from;
        let wrong = |what: &str| {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("rewrite rule from {text:?} to {to:?}: {what}")))
        };
        let pattern = match &from {
            From::Stars(from) if !from.starts_with(['/', '*']) => return wrong("the pattern must begin with / or *"),
            From::Stars(from) => Pattern::Stars(from.split('*').map(str::to_owned).collect()),
            From::Regex(from) => match Regex::new(from) {
                Ok(regex) => Pattern::Regex(regex),
                Err(error) => return wrong(&error.to_string()),
            },
        };
        let status = match status.map(StatusCode::from_u16) {
            None => None,
            Some(Ok(status)) if status.is_client_error() || matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) => {
                Some(status)
            }
            Some(_) => return wrong("the status must be 301, 302, 303, 307, 308 or one of 4xx"),
        };
        if let Err(what) = check_target(&to, pattern.captures(), status) {
            return wrong(what);
        }
        let keep_query = !to.ends_with('?');
        let to = if keep_query { to } else { to[..to.len() - 1].to_owned() };
        Ok(Self { from: pattern, to, keep_query, status })
    }

    fn outcome(&self, captures: &[&str]) -> Outcome {
        let Some(status) = self.status else {
            let (to, query) = match self.to.split_once('?') {
                Some((to, query)) => (to, Some(expand(query, captures, path::encode_value))),
                None => (self.to.as_str(), None),
            };
            return Outcome::Internal { path: expand(to, captures, str::to_owned), query, keep_query: self.keep_query };
        };
        if status.is_client_error() {
            return Outcome::Refuse(status);
        }
        let (to, query) = self.to.split_once('?').unwrap_or((&self.to, ""));
        let mut location = expand(to, captures, path::encode);
        if location.starts_with("//") {
            // A capture that begins with a slash must not turn a path into another host.
            location.replace_range(..location.len() - location.trim_start_matches('/').len(), "/");
        }
        path::push_query(&mut location, &expand(query, captures, path::encode_value));
        Outcome::Redirect { status, location, keep_query: self.keep_query }
    }
}

// === impl Pattern ===

impl Pattern {
    /// How many parts of a path it names.
    fn captures(&self) -> usize {
        match self {
            Self::Stars(pieces) => pieces.len() - 1,
            Self::Regex(regex) => regex.captures_len() - 1,
        }
    }

    /// Those parts, if it matches.
    fn matches<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        match self {
            Self::Stars(pieces) => stars(pieces, path),
            Self::Regex(regex) => {
                let found = regex.captures(path)?;
                Some(found.iter().skip(1).map(|group| group.map_or("", |group| group.as_str())).collect())
            }
        }
    }
}

/// What each star stands for. Linear: every piece is taken where it is found first, and that never spoils a later match.
fn stars<'p>(pieces: &[String], path: &'p str) -> Option<Vec<&'p str>> {
    let (first, rest) = pieces.split_first().expect("splitting gives at least one piece");
    let mut path = path.strip_prefix(first.as_str())?;
    let Some((last, middle)) = rest.split_last() else { return path.is_empty().then(Vec::new) };
    let mut captures = Vec::with_capacity(rest.len());
    for piece in middle {
        let at = path.find(piece.as_str())?;
        captures.push(&path[..at]);
        path = &path[at + piece.len()..];
    }
    captures.push(path.strip_suffix(last.as_str())?);
    Some(captures)
}

fn check_target(to: &str, captures: usize, status: Option<StatusCode>) -> Result<(), &'static str> {
    if status.is_some_and(|status| status.is_client_error()) {
        return Ok(());
    }
    let mut used = to.split('$').skip(1).filter_map(|after| after.chars().next()?.to_digit(10));
    if used.any(|digit| digit == 0 || digit as usize > captures) {
        return Err("it uses a capture for which the pattern has no star or group");
    }
    match to.strip_prefix("https://").or_else(|| to.strip_prefix("http://")) {
        None if !to.starts_with('/') => return Err("the target must begin with /, http:// or https://"),
        None => {}
        Some(_) if status.is_none() => return Err("an address needs a redirect's status"),
        Some(address) => {
            // Neither `https://$1/` nor `https://example.com$1`: the client would choose the host.
            let host = address.split('/').next().unwrap_or_default().replace("$host", "");
            if host.contains('$') {
                return Err("a capture cannot be part of the host: a / must come before it");
            }
        }
    }
    if status.is_some() && !to.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the target must be percent-encoded");
    }
    Ok(())
}

/// Replaces `$host` in a redirect's location. Captures cannot bring one in: they are encoded.
pub(in crate::http) fn with_host(location: &str, host: &str) -> String {
    // The host is the client's word; anything but a name, an address and a port is not repeated.
    let is_plain =
        host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']'));
    location.replace("$host", if is_plain { host } else { "" })
}

fn expand(template: &str, captures: &[&str], encode: impl Fn(&str) -> String) -> String {
    let mut expanded = String::with_capacity(template.len() + captures.iter().map(|capture| capture.len()).sum::<usize>());
    let mut pieces = template.split('$');
    expanded.extend(pieces.next());
    for piece in pieces {
        match piece.chars().next().and_then(|char| char.to_digit(10)) {
            Some(digit) => {
                expanded.push_str(&encode(captures[digit as usize - 1]));
                expanded.push_str(&piece[1..]);
            }
            None => {
                expanded.push('$');
                expanded.push_str(piece);
            }
        }
    }
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(from: &str, to: &str, status: Option<u16>) -> io::Result<Rules> {
        Rules::new(vec![Rewrite { from: From::Stars(from.into()), to: to.into(), status }])
    }

    fn location(from: &str, to: &str, path: &str) -> Option<String> {
        match rule(from, to, Some(301)).expect("a valid rule").apply(path)? {
            Outcome::Redirect { location, .. } => Some(location),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn stars_capture_and_the_whole_path_must_match() {
        assert_eq!(location("/a/*", "/b/$1", "/a/x/y").as_deref(), Some("/b/x/y"));
        assert_eq!(location("/*/-/*", "/$2/$1", "/a/-/b/-/c").as_deref(), Some("/b/-/c/a"));
        assert_eq!(location("*.html", "$1".replace("$1", "/p$1").as_str(), "/x.html").as_deref(), Some("/p/x"));
        assert_eq!(location("/a", "/b", "/a").as_deref(), Some("/b"));
        assert_eq!(location("/a", "/b", "/a/"), None);
        assert_eq!(location("/a*b", "/b", "/a/x"), None);
        assert_eq!(location("/a*a", "/b", "/a"), None);
    }

    #[test]
    fn a_regular_expression_matches_anywhere_and_its_groups_are_captures() {
        let rules =
            |from: &str, to: &str| Rules::new(vec![Rewrite { from: From::Regex(from.into()), to: to.into(), status: Some(302) }]);
        let location = |from: &str, to: &str, path: &str| match rules(from, to).expect("a valid rule").apply(path)? {
            Outcome::Redirect { location, .. } => Some(location),
            other => panic!("{other:?}"),
        };
        assert_eq!(location(r"^/post-(\d+)(\.html)?$", "/p/$1$2", "/post-17").as_deref(), Some("/p/17"));
        assert_eq!(location(r"(?i)\.JPE?G$", "/image", "/a/b.jpeg").as_deref(), Some("/image"));
        assert_eq!(location(r"^/post-(\d+)$", "/p/$1", "/post-x"), None);
        assert_eq!(location("^/go(.*)$", "/$1", "/go//evil.example").as_deref(), Some("/evil.example"));
        assert!(rules("(", "/").is_err() && rules("^/a$", "/$1").is_err() && rules("^/(.*)$", "$1").is_err());
    }

    #[test]
    fn a_redirect_stays_where_the_operator_sent_it() {
        assert_eq!(location("/old*", "/$1", "/old/evil.com").as_deref(), Some("/evil.com"));
        assert_eq!(location("/old/*", "/$1", "/old/$host\\x y").as_deref(), Some("/%24host%5Cx%20y"));
        assert!(rule("/a*", "https://example.com$1", Some(301)).is_err());
        assert!(rule("/a*", "https://$1/x", Some(301)).is_err());
        assert_eq!(with_host("https://$host/x", "a.example:80"), "https://a.example:80/x");
        assert_eq!(with_host("https://$host/x", "a\r\nb"), "https:///x");
    }

    #[test]
    fn an_internal_target_may_carry_a_query() {
        let rules = rule("/wiki/*", "/index.php?title=$1", None).expect("a valid rule");
        let Some(Outcome::Internal { path, query, keep_query }) = rules.apply("/wiki/A&B c") else { panic!("no match") };
        assert_eq!((path.as_str(), query.as_deref(), keep_query), ("/index.php", Some("title=A%26B%20c"), true));
    }

    #[test]
    fn a_rule_that_cannot_work_is_refused_at_start() {
        assert!(rule("a", "/b", None).is_err());
        assert!(rule("/a", "b", None).is_err());
        assert!(rule("/a", "/b/$1", None).is_err());
        assert!(rule("/a*", "/b/$2", None).is_err());
        assert!(rule("/a*", "/b/$0", None).is_err());
        assert!(rule("/a", "https://b/", None).is_err());
        assert!(rule("/a", "/b", Some(200)).is_err());
        assert!(rule("/a", "", Some(410)).is_ok());
    }
}
