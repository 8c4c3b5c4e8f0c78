//! Lines by a template: php-fpm's codes, and Apache's combined log.

use std::{
    fmt::Write as _,
    net::IpAddr,
    os::unix::process::parent_id,
    process,
    time::{Duration, SystemTime},
};

use http::HeaderName;

use super::{
    Record, Remote,
    encode::{Escaped, put},
    moment::Moment,
};

/// A template that was found good.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    /// `%C`, in percent of the time that the request took.
    Cpu,
    /// `%M`, divided by so many bytes.
    Memory(u64),
    /// `%P`
    Parent,
    /// `%f`
    Script,
    /// `%n`
    Pool,
    /// `%{REQUEST_URI}e`
    Target,
    /// `%{SERVER_NAME}e`
    Host,
    /// `%{SERVER_PROTOCOL}e`
    Protocol,
    /// `%b`, which is ours.
    BodyBytes,
    /// `%d`, divided by so many nanoseconds.
    Elapsed(u64),
    /// `%l`
    ContentLength,
    /// `%m`
    Method,
    /// `%p`
    Pid,
    /// `%q`, and `%Q` if it is only the mark before it.
    Query,
    QueryMark,
    /// `%r`
    Path,
    /// Apache's `%r`.
    RequestLine,
    /// `%R`
    Remote,
    /// `%s`
    Status,
    /// `%t` and `%T`, in the form of `strftime`.
    Start(String),
    End(String),
    /// `%u`
    User,
    /// `%{NAME}i`, which is ours, and `%{NAME}o`.
    Request(HeaderName),
    Response(HeaderName),
}

/// What php-fpm writes by default, and Apache too.
const TIME: &str = "%d/%b/%Y:%H:%M:%S %z";

// === impl Template ===

impl Template {
    /// Apache's combined log format.
    pub fn combined() -> Self {
        let text = |text: &str| Piece::Text(text.to_owned());
        let header = |name| Piece::Request(name);
        Self(vec![
            Piece::Remote,
            text(" - "),
            Piece::User,
            text(" ["),
            Piece::End(TIME.into()),
            text("] \""),
            Piece::RequestLine,
            text("\" "),
            Piece::Status,
            text(" "),
            Piece::BodyBytes,
            text(" \""),
            header(http::header::REFERER),
            text("\" \""),
            header(http::header::USER_AGENT),
            text("\""),
        ])
    }

    /// Reads a template; what is wrong with it otherwise.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            if at > 0 {
                pieces.push(Piece::Text(rest[..at].to_owned()));
            }
            rest = &rest[at + 1..];
            let argument = match rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                Some((argument, after)) => {
                    rest = after;
                    Some(argument)
                }
                None => None,
            };
            let code = rest.chars().next().ok_or("a % at its end")?;
            rest = &rest[code.len_utf8()..];
            pieces.push(Piece::parse(code, argument)?);
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// Whether it names a header of requests, or of answers.
    pub(super) fn needs_headers(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Request(_) | Piece::Response(_)))
    }

    /// Whether it says anything of the script that ran.
    pub(super) fn needs_script(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Cpu | Piece::Memory(_) | Piece::Script | Piece::Pool))
    }

    pub(super) fn encode(&self, record: &Record<'_>, line: &mut Vec<u8>) {
        self.0.iter().for_each(|piece| piece.encode(record, line));
    }
}

// === impl Piece ===

impl Piece {
    fn parse(code: char, argument: Option<&str>) -> Result<Self, String> {
        let header = || {
            let name = argument.ok_or_else(|| format!("%{code} without the name of a header, as in %{{Referer}}{code}"))?;
            name.parse::<HeaderName>().map_err(|_| format!("{name:?} is no header's name"))
        };
        Ok(match code {
            '%' => Self::Text("%".into()),
            'b' => Self::BodyBytes,
            'd' => Self::Elapsed(match argument {
                None | Some("seconds") => 1_000_000_000,
                Some("milliseconds" | "milli" | "mili" | "miliseconds") => 1_000_000,
                Some("microseconds" | "micro") => 1000,
                Some(other) => return Err(format!("%{{{other}}}d: expected seconds, milliseconds or microseconds")),
            }),
            'i' => Self::Request(header()?),
            'l' => Self::ContentLength,
            'm' => Self::Method,
            'o' => Self::Response(header()?),
            'p' => Self::Pid,
            'q' => Self::Query,
            'Q' => Self::QueryMark,
            'r' => Self::Path,
            'R' => Self::Remote,
            's' => Self::Status,
            't' => Self::Start(argument.unwrap_or(TIME).to_owned()),
            'T' => Self::End(argument.unwrap_or(TIME).to_owned()),
            'u' => Self::User,
            'C' => match argument {
                None | Some("total") => Self::Cpu,
                Some(part) => return Err(format!("%{{{part}}}C: of the CPU's time only the total is known")),
            },
            'M' => Self::Memory(match argument {
                None | Some("bytes") => 1,
                Some("kilobytes" | "kilo") => 1 << 10,
                Some("megabytes" | "mega") => 1 << 20,
                Some(other) => return Err(format!("%{{{other}}}M: expected bytes, kilobytes or megabytes")),
            }),
            'P' => Self::Parent,
            'e' => Self::variable(argument.unwrap_or_default())?,
            'f' => Self::Script,
            'n' => Self::Pool,
            other => return Err(format!("%{other} means nothing")),
        })
    }

    /// The piece that says what a web server would tell php-fpm in a variable; a script's own are not known here.
    fn variable(name: &str) -> Result<Self, String> {
        let header = |name: &str| name.replace('_', "-").to_ascii_lowercase().parse::<HeaderName>().ok().map(Self::Request);
        let known = match name {
            "REQUEST_METHOD" => Some(Self::Method),
            "REQUEST_URI" => Some(Self::Target),
            "QUERY_STRING" => Some(Self::Query),
            "REMOTE_ADDR" => Some(Self::Remote),
            "REMOTE_USER" => Some(Self::User),
            "SCRIPT_FILENAME" => Some(Self::Script),
            "SERVER_NAME" => Some(Self::Host),
            "SERVER_PROTOCOL" => Some(Self::Protocol),
            "CONTENT_TYPE" | "CONTENT_LENGTH" => header(name),
            _ => name.strip_prefix("HTTP_").and_then(header),
        };
        known
            .ok_or_else(|| format!("%{{{name}}}e: not known here, unlike REQUEST_URI, REMOTE_ADDR, HTTP_USER_AGENT and the like"))
    }

    fn encode(&self, record: &Record<'_>, line: &mut Vec<u8>) {
        let target = record.uri;
        match self {
            Self::Text(text) => line.extend_from_slice(text.as_bytes()),
            Self::Cpu => {
                let used = record.ran.and_then(|ran| ran.phases.used()).map_or(0.0, |used| used.cpu.as_secs_f64());
                let elapsed = record.elapsed.as_secs_f64();
                put(line, format_args!("{:.2}", if elapsed > 0.0 { 100.0 * used / elapsed } else { 0.0 }));
            }
            Self::Memory(unit) => {
                let used = record.ran.and_then(|ran| ran.phases.used()).map_or(0, |used| used.memory);
                put(line, format_args!("{}", used / unit));
            }
            Self::Parent => put(line, format_args!("{}", parent_id())),
            Self::Script => dashed(record.ran.map_or(b"", |ran| &ran.script), line),
            Self::Pool => dashed(record.ran.map_or("", |ran| &ran.pool).as_bytes(), line),
            Self::Target => dashed(target.as_bytes(), line),
            Self::Host => dashed(record.host, line),
            Self::Protocol => put(line, format_args!("{:?}", record.version)),
            Self::BodyBytes => put(line, format_args!("{}", record.write_bytes)),
            Self::Elapsed(unit) => {
                let units = record.elapsed.as_nanos() as f64 / *unit as f64;
                put(line, format_args!("{units:.3}"));
            }
            Self::ContentLength => put(line, format_args!("{}", record.content_length.unwrap_or(0))),
            Self::Method => put(line, format_args!("{}", Escaped(record.method.as_bytes()))),
            Self::Pid => put(line, format_args!("{}", process::id())),
            Self::Query => put(line, format_args!("{}", Escaped(record.query.as_bytes()))),
            Self::QueryMark if record.query.is_empty() => {}
            Self::QueryMark => line.push(b'?'),
            Self::Path => put(line, format_args!("{}", Escaped(target.split('?').next().unwrap_or_default().as_bytes()))),
            Self::RequestLine => {
                put(
                    line,
                    format_args!("{} {} {:?}", Escaped(record.method.as_bytes()), Escaped(target.as_bytes()), record.version),
                );
            }
            Self::Remote => match ip(record.remote) {
                Some(ip) => put(line, format_args!("{ip}")),
                None => line.push(b'-'),
            },
            Self::Status => put(line, format_args!("{}", record.status)),
            Self::Start(format) => time(format, record.start, line),
            Self::End(format) => time(format, record.start + record.elapsed, line),
            Self::User => dashed(record.user.as_bytes(), line),
            Self::Request(name) => {
                dashed(record.request.and_then(|headers| headers.get(name)).map_or(b"", |v| v.as_bytes()), line)
            }
            Self::Response(name) => {
                dashed(record.response.and_then(|headers| headers.get(name)).map_or(b"", |v| v.as_bytes()), line)
            }
        }
    }
}

/// What a client sent, or a dash for nothing.
fn dashed(text: &[u8], line: &mut Vec<u8>) {
    match text {
        [] => line.push(b'-'),
        text => put(line, format_args!("{}", Escaped(text))),
    }
}

fn ip(remote: Remote) -> Option<IpAddr> {
    match remote {
        Remote::Socket(address) => Some(address.ip()),
        Remote::Proxied(address) => Some(address),
        Remote::Unix => None,
    }
}

/// What `strftime` writes in UTC, of its codes those for numbers and short months.
fn time(format: &str, moment: SystemTime, line: &mut Vec<u8>) {
    let at = Moment::of(moment);
    let mut text = String::new();
    let mut codes = format.chars();
    while let Some(char) = codes.next() {
        if char != '%' {
            text.push(char);
            continue;
        }
        _ = match codes.next() {
            Some('d') => write!(text, "{:02}", at.day),
            Some('m') => write!(text, "{:02}", at.month),
            Some('b') => write!(text, "{}", at.month_name()),
            Some('Y') => write!(text, "{}", at.year),
            Some('y') => write!(text, "{:02}", at.year % 100),
            Some('H') => write!(text, "{:02}", at.hour),
            Some('M') => write!(text, "{:02}", at.minute),
            Some('S') => write!(text, "{:02}", at.second),
            Some('F') => write!(text, "{}-{:02}-{:02}", at.year, at.month, at.day),
            Some('T') => write!(text, "{:02}:{:02}:{:02}", at.hour, at.minute, at.second),
            Some('z') => write!(text, "+0000"),
            Some('Z') => write!(text, "UTC"),
            Some('s') => write!(text, "{}", moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()),
            Some('%') => write!(text, "%"),
            Some(other) => write!(text, "%{other}"),
            None => write!(text, "%"),
        };
    }
    line.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderMap;

    use super::*;
    use crate::{
        http::access::Ran,
        worker::{Phases, Used},
    };

    fn line(template: &Template) -> String {
        line_of(template, None)
    }

    fn line_of(template: &Template, ran: Option<&Ran>) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("referer", "http://a/\"".parse().unwrap());
        headers.insert("x-own", "own".parse().unwrap());
        let record = Record {
            status: 404,
            method: "POST",
            uri: "/a?q=1",
            url: "http://a.b/a?q=1",
            version: http::Version::HTTP_11,
            remote: Remote::Socket(([192, 0, 2, 1], 5000).into()),
            user: "bob",
            request_id: b"",
            read_bytes: 3,
            write_bytes: 4,
            start: SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777),
            elapsed: Duration::from_millis(7),
            query: "q=1",
            content_length: Some(3),
            host: b"a.b",
            user_agent: b"",
            referer: b"",
            request: Some(&headers),
            response: Some(&headers),
            ran,
        };
        let mut line = Vec::new();
        template.encode(&record, &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn combined_is_apaches() {
        assert_eq!(
            line(&Template::combined()),
            r#"192.0.2.1 - bob [06/Nov/1994:08:49:37 +0000] "POST /a?q=1 HTTP/1.1" 404 4 "http://a/\"" "-""#
        );
    }

    #[test]
    fn a_script_is_named_with_what_it_took() {
        let template =
            Template::parse("%n %f %M %{kilo}M %{mega}M %C %P %{HTTP_X_OWN}e %{REQUEST_URI}e %{SERVER_PROTOCOL}e").unwrap();
        assert!(template.needs_script() && template.needs_headers());
        let phases = Phases::new(Duration::ZERO, true);
        phases.end(Used { memory: 3 << 20, cpu: Duration::from_micros(3500) });
        phases.end(Used::default());
        let ran = Ran { script: "/srv/a.php".into(), pool: "http:a.test".into(), phases: Arc::new(phases) };
        let parent = parent_id();
        assert_eq!(
            line_of(&template, Some(&ran)),
            format!("http:a.test /srv/a.php 3145728 3072 3 50.00 {parent} own /a?q=1 HTTP/1.1")
        );
        assert_eq!(line(&template), format!("- - 0 0 0 0.00 {parent} own /a?q=1 HTTP/1.1"), "no script ran");
    }

    #[test]
    fn codes_are_php_fpms() {
        let template =
            Template::parse("%R %u %t \"%m %r%Q%q\" %s %{milli}d %{micro}d %d %l %b %{X-Own}i %{x-own}o %{%F %T}T 100%%");
        assert_eq!(
            line(&template.unwrap()),
            "192.0.2.1 bob 06/Nov/1994:08:49:37 +0000 \"POST /a?q=1\" 404 7.000 7000.000 0.007 3 4 own own 1994-11-06 08:49:37 100%"
        );
        for (wrong, why) in [
            ("%x", "%x means nothing"),
            ("a %", "a % at its end"),
            ("%i", "%i without the name of a header, as in %{Referer}i"),
            ("%{fortnights}d", "%{fortnights}d: expected seconds, milliseconds or microseconds"),
            ("%{tera}M", "%{tera}M: expected bytes, kilobytes or megabytes"),
            ("%{user}C", "%{user}C: of the CPU's time only the total is known"),
            ("%{APP}e", "%{APP}e: not known here, unlike REQUEST_URI, REMOTE_ADDR, HTTP_USER_AGENT and the like"),
        ] {
            assert_eq!(Template::parse(wrong), Err(why.to_owned()));
        }
    }
}
