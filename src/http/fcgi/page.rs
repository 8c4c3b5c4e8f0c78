//! The status page in its five syntaxes.

use std::{borrow::Cow, fmt::Write, time::SystemTime};

use super::status::{Format, FpmStatus, ProcessState, ProcessStatus, Syntax};
use crate::sys::clock::log_date;

/// The page and its content type.
pub fn render(status: &FpmStatus, format: Format, now: SystemTime) -> (&'static str, String) {
    let page = Page { status, full: format.full, now };
    match format.syntax {
        Syntax::Html => ("text/html;charset=UTF-8", page.html()),
        Syntax::Json => ("application/json", page.json()),
        Syntax::OpenMetrics => ("application/openmetrics-text; version=1.0.0; charset=utf-8", page.openmetrics()),
        Syntax::Text => ("text/plain;charset=UTF-8", page.text()),
        Syntax::Xml => ("text/xml;charset=UTF-8", page.xml()),
    }
}

struct Page<'s> {
    status: &'s FpmStatus,
    full: bool,
    now: SystemTime,
}

enum Value<'s> {
    Cpu(f64),
    Number(u64),
    Text(&'s str),
    Time(SystemTime),
}

// === impl Page ===

impl Page<'_> {
    fn pool(&self) -> [(&'static str, Value<'_>); 15] {
        let status = self.status;
        [
            ("pool", Value::Text(&status.pool)),
            ("process manager", Value::Text(status.process_manager)),
            ("start time", Value::Time(status.start_time)),
            ("start since", Value::Number(self.since(status.start_time))),
            ("accepted conn", Value::Number(status.accepted_conn)),
            ("listen queue", Value::Number(status.listen_queue)),
            ("max listen queue", Value::Number(status.max_listen_queue)),
            ("listen queue len", Value::Number(status.listen_queue_len)),
            ("idle processes", Value::Number(status.idle_processes)),
            ("active processes", Value::Number(status.active_processes)),
            ("total processes", Value::Number(status.idle_processes + status.active_processes)),
            ("max active processes", Value::Number(status.max_active_processes)),
            ("max children reached", Value::Number(status.max_children_reached)),
            ("slow requests", Value::Number(status.slow_requests)),
            ("memory peak", Value::Number(status.memory_peak)),
        ]
    }

    fn process<'p>(&self, process: &'p ProcessStatus) -> [(&'static str, Value<'p>); 13] {
        let idle = process.state == ProcessState::Idle;
        [
            ("pid", Value::Number(process.pid.into())),
            ("state", Value::Text(process.state.name())),
            ("start time", Value::Time(process.start_time)),
            ("start since", Value::Number(self.since(process.start_time))),
            ("requests", Value::Number(process.requests)),
            ("request duration", Value::Number(process.request_duration.as_micros() as u64)),
            ("request method", Value::Text(or_dash(&process.request_method))),
            ("request uri", Value::Text(or_dash(&process.request_uri))),
            ("content length", Value::Number(process.content_length)),
            ("user", Value::Text(or_dash(&process.user))),
            ("script", Value::Text(or_dash(&process.script))),
            // Of a request that still runs they are not known yet.
            ("last request cpu", Value::Cpu(if idle { process.last_request_cpu } else { 0.0 })),
            ("last request memory", Value::Number(if idle { process.last_request_memory } else { 0 })),
        ]
    }

    fn since(&self, time: SystemTime) -> u64 {
        self.now.duration_since(time).unwrap_or_default().as_secs()
    }

    fn processes(&self) -> &[ProcessStatus] {
        if self.full { &self.status.processes } else { &[] }
    }

    fn text(&self) -> String {
        let mut page = String::new();
        for (name, value) in self.pool() {
            put(&mut page, format_args!("{:21} {}\n", format!("{name}:"), value.plain()));
        }
        for process in self.processes() {
            page.push_str("\n************************\n");
            for (name, value) in self.process(process) {
                let name = if name == "request uri" { "request URI" } else { name };
                put(&mut page, format_args!("{:21} {}\n", format!("{name}:"), value.plain()));
            }
        }
        page
    }

    fn html(&self) -> String {
        let mut page = String::from(HTML_START);
        for (name, value) in self.pool() {
            put(&mut page, format_args!("<tr><th>{name}</th><td>{}</td></tr>\n", markup(&value.plain())));
        }
        page.push_str("</table>\n");
        if self.full {
            page.push_str(HTML_PROCESSES);
            for process in self.processes() {
                page.push_str("<tr>");
                for (_, value) in self.process(process) {
                    put(&mut page, format_args!("<td>{}</td>", markup(&value.plain())));
                }
                page.push_str("</tr>\n");
            }
            page.push_str("</table>");
        }
        page.push_str("</body></html>");
        page
    }

    fn xml(&self) -> String {
        let mut page = String::from("<?xml version=\"1.0\" ?>\n<status>\n");
        let element = |page: &mut String, name: &str, value: &Value<'_>| {
            let name = name.replace(' ', "-");
            put(page, format_args!("<{name}>{}</{name}>", markup(&value.raw())));
        };
        for (name, value) in self.pool() {
            element(&mut page, name, &value);
            page.push('\n');
        }
        if self.full {
            page.push_str("<processes>\n");
            for process in self.processes() {
                page.push_str("<process>");
                for (name, value) in self.process(process) {
                    element(&mut page, name, &value);
                }
                page.push_str("</process>\n");
            }
            page.push_str("</processes>\n");
        }
        page.push_str("</status>");
        page
    }

    fn json(&self) -> String {
        let mut page = String::from("{");
        members(&mut page, &self.pool());
        if self.full {
            page.push_str(", \"processes\":[");
            for (index, process) in self.processes().iter().enumerate() {
                page.push_str(if index == 0 { "{" } else { ",{" });
                members(&mut page, &self.process(process));
                page.push('}');
            }
            page.push(']');
        }
        page.push('}');
        page
    }

    fn openmetrics(&self) -> String {
        let status = self.status;
        let mut page = String::new();
        let pool = status.pool.replace(['\n', '\r'], " ");
        let up = format!("Could pool {pool} using a {} PM on PHP-FPM be reached?", status.process_manager);
        let metrics = [
            ("up", "gauge", up.as_str(), 1),
            ("start_since", "counter", "The number of seconds since FPM has started.", self.since(status.start_time)),
            ("accepted_connections", "counter", "The number of requests accepted by the pool.", status.accepted_conn),
            ("listen_queue", "gauge", "The number of requests in the queue of pending connections.", status.listen_queue),
            ("max_listen_queue", "counter", HELP_MAX_LISTEN_QUEUE, status.max_listen_queue),
            ("listen_queue_length", "gauge", "The size of the socket queue of pending connections.", status.listen_queue_len),
            ("idle_processes", "gauge", "The number of idle processes.", status.idle_processes),
            ("active_processes", "gauge", "The number of active processes.", status.active_processes),
            (
                "total_processes",
                "gauge",
                "The number of idle + active processes.",
                status.idle_processes + status.active_processes,
            ),
            ("max_active_processes", "counter", HELP_MAX_ACTIVE, status.max_active_processes),
            ("max_children_reached", "counter", HELP_MAX_CHILDREN, status.max_children_reached),
            ("slow_requests", "counter", HELP_SLOW, status.slow_requests),
            ("memory_peak", "gauge", "The memory usage peak since FPM has started.", status.memory_peak),
        ];
        for (name, kind, help, value) in metrics {
            let head = [format!("# HELP phpfpm_{name} {help}\n"), format!("# TYPE phpfpm_{name} {kind}\n")];
            put(&mut page, format_args!("{}{}phpfpm_{name} {value}\n", head[0], head[1]));
        }
        page.push_str("# EOF\n");
        page
    }
}

// === impl Value ===

impl Value<'_> {
    /// For readers: a date as the access log writes it.
    fn plain(&self) -> Cow<'_, str> {
        match self {
            Self::Time(time) => log_date(*time).into(),
            Self::Text(text) => text.replace(|character: char| character.is_control(), "?").into(),
            _ => self.raw(),
        }
    }

    /// For programs: a date in seconds.
    fn raw(&self) -> Cow<'_, str> {
        match self {
            Self::Cpu(share) => format!("{share:.2}").into(),
            Self::Number(number) => number.to_string().into(),
            Self::Text(text) => (*text).into(),
            Self::Time(time) => epoch(*time).to_string().into(),
        }
    }
}

fn members(page: &mut String, values: &[(&'static str, Value<'_>)]) {
    for (index, (name, value)) in values.iter().enumerate() {
        page.push_str(if index == 0 { "" } else { "," });
        match value {
            Value::Text(text) => put(page, format_args!("\"{name}\":{}", json_string(text))),
            _ => put(page, format_args!("\"{name}\":{}", value.raw())),
        }
    }
}

/// As `json_encode` writes strings: only ASCII, `/` escaped.
fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '/' => out.push_str("\\/"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    put(&mut out, format_args!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
    out
}

fn markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(character),
            // XML has no way to write these.
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ if character.is_control() => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
    out
}

fn epoch(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn put(into: &mut String, arguments: std::fmt::Arguments<'_>) {
    into.write_fmt(arguments).expect("writing into a string cannot fail");
}

const HTML_START: &str = "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Strict//EN\" \
    \"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd\">\n\
    <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n\
    <head><title>PHP-FPM Status Page</title></head>\n<body>\n<table>\n";

const HTML_PROCESSES: &str = "<table border=\"1\">\n<tr><th>pid</th><th>state</th><th>start time</th><th>start since</th>\
    <th>requests</th><th>request duration</th><th>request method</th><th>request uri</th><th>content length</th><th>user</th>\
    <th>script</th><th>last request cpu</th><th>last request memory</th></tr>\n";

const HELP_MAX_LISTEN_QUEUE: &str = "The maximum number of requests in the queue of pending connections since FPM has started.";
const HELP_MAX_ACTIVE: &str = "The maximum number of active processes since FPM has started.";
const HELP_MAX_CHILDREN: &str = "The number of times, the process limit has been reached, when pm tries to start more children \
    (works only for pm 'dynamic' and 'ondemand').";
const HELP_SLOW: &str = "The number of requests that exceeded your 'request_slowlog_timeout' value.";

#[cfg(test)]
mod tests;
