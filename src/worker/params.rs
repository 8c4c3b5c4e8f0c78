//! The variables that a request gives to a script: RFC 3875, in the set and spelling of nginx's `fastcgi_params`.

use std::{io::Write, net::SocketAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use super::{Request, Source};

/// The head of an HTTP request as our own front received it.
#[derive(Debug)]
pub struct HttpHead {
    /// The method.
    pub method: Method,
    /// The request target as the client sent it, path and query, undecoded.
    pub target: String,
    /// The query string after rewriting, without `?`.
    pub query: String,
    /// The protocol version.
    pub version: Version,
    /// The header fields.
    pub headers: HeaderMap,
    /// The client's address; none on a unix socket.
    pub remote: Option<SocketAddr>,
    /// Our end of the connection; none on a unix socket.
    pub local: Option<SocketAddr>,
    /// The port that a proxy says its client came to, on a unix socket.
    pub port: Option<u16>,
    /// What the request is called, if it has a name (`http.middleware: request_id`).
    pub name: Option<HeaderValue>,
    /// Set if the client's connection is encrypted.
    pub secure: Option<Arc<Secure>>,
    /// The site's name, or the request's host without its port.
    pub server_name: String,
}

/// What is known of an encrypted connection; made once for all of its requests.
#[derive(Clone, Debug, Default)]
pub struct Secure {
    /// What scripts are told, such as `SSL_PROTOCOL`.
    pub variables: Vec<(&'static str, String)>,
}

/// Names and values of a request's variables, in one arena that is reused from request to request.
#[derive(Debug, Default)]
pub struct Variables {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    name: usize,
    value: usize,
    end: usize,
}

const SERVER_SOFTWARE: &[u8] = concat!("nginx/1.27 (rr/", env!("CARGO_PKG_VERSION"), ")").as_bytes();

// === impl Variables ===

impl Variables {
    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }

    /// Adds one.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name.as_ref());
        self.push_value(start, |bytes| bytes.extend_from_slice(value.as_ref()));
    }

    /// All of them, in order, as name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.spans.iter().map(|span| (&self.bytes[span.name..span.value], &self.bytes[span.value..span.end]))
    }

    /// The server variables of `request` (`$_SERVER` without what the language itself adds).
    pub fn fill_server(&mut self, request: &Request) {
        match &request.source {
            Source::Http(head) => self.fill_http(request, head),
            Source::FastCgi(params) => {
                params.iter().filter(|(name, _)| is_shown(name)).for_each(|(name, value)| self.push(name, value));
            }
            Source::Task(_) | Source::Boot => {
                self.push(b"SCRIPT_FILENAME", &request.script.filename);
                self.push(b"SCRIPT_NAME", &request.script.name);
                self.push(b"DOCUMENT_ROOT", &request.script.document_root);
                self.push(b"SERVER_SOFTWARE", SERVER_SOFTWARE);
            }
        }
    }

    /// The request's header fields as the client sent them (`getallheaders()`).
    pub fn fill_headers(&mut self, request: &Request) {
        match &request.source {
            Source::Http(head) => {
                for name in shown(&head.headers) {
                    let start = self.bytes.len();
                    title_case(name, &mut self.bytes);
                    self.push_value(start, |bytes| join(&head.headers, name, bytes));
                }
            }
            Source::FastCgi(params) => {
                for (name, value) in params.iter().filter(|(name, _)| is_shown(name)) {
                    let start = self.bytes.len();
                    match name.as_ref() {
                        b"CONTENT_TYPE" if !value.is_empty() => self.bytes.extend_from_slice(b"Content-Type"),
                        b"CONTENT_LENGTH" if !value.is_empty() => self.bytes.extend_from_slice(b"Content-Length"),
                        name => match name.strip_prefix(b"HTTP_") {
                            Some(name) => from_meta_variable(name, &mut self.bytes),
                            None => continue,
                        },
                    }
                    self.push_value(start, |bytes| bytes.extend_from_slice(value));
                }
            }
            Source::Task(_) | Source::Boot => {}
        }
    }

    /// The same line by line, those of one name together. A FastCGI client has joined them already.
    pub fn fill_header_lines(&mut self, request: &Request) {
        let Source::Http(head) = &request.source else { return self.fill_headers(request) };
        for name in shown(&head.headers) {
            for value in head.headers.get_all(name) {
                let start = self.bytes.len();
                title_case(name, &mut self.bytes);
                self.push_value(start, |bytes| bytes.extend_from_slice(value.as_bytes()));
            }
        }
    }

    fn fill_http(&mut self, request: &Request, head: &HttpHead) {
        let script = &request.script;
        self.push(b"QUERY_STRING", &head.query);
        self.push(b"REQUEST_METHOD", head.method.as_str());
        self.push(b"CONTENT_TYPE", value_of(head, header::CONTENT_TYPE));
        self.push(b"CONTENT_LENGTH", value_of(head, header::CONTENT_LENGTH));
        self.push(b"SCRIPT_FILENAME", &script.filename);
        self.push(b"SCRIPT_NAME", &script.name);
        self.push(b"PATH_INFO", &script.path_info);
        self.push(b"REQUEST_URI", &head.target);
        self.push(b"DOCUMENT_URI", &script.name);
        self.push(b"DOCUMENT_ROOT", &script.document_root);
        self.push(b"SERVER_PROTOCOL", protocol(head.version));
        self.push(b"REQUEST_SCHEME", if head.secure.is_some() { "https" } else { "http" });
        if let Some(secure) = &head.secure {
            self.push(b"HTTPS", "on");
            secure.variables.iter().for_each(|(name, value)| self.push(name, value));
        }
        self.push(b"GATEWAY_INTERFACE", "CGI/1.1");
        self.push(b"SERVER_SOFTWARE", SERVER_SOFTWARE);
        self.push_address(b"REMOTE_ADDR", b"REMOTE_PORT", head.remote);
        match (head.local, head.port) {
            (None, Some(port)) => {
                self.push(b"SERVER_ADDR", "");
                self.push(b"SERVER_PORT", port.to_string());
            }
            (local, _) => self.push_address(b"SERVER_ADDR", b"SERVER_PORT", local),
        }
        self.push(b"SERVER_NAME", &head.server_name);
        self.push(b"REDIRECT_STATUS", "200");
        for name in shown(&head.headers) {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(b"HTTP_");
            self.bytes.extend(name.as_str().bytes().map(|byte| if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }));
            self.push_value(start, |bytes| join(&head.headers, name, bytes));
        }
    }

    fn push_address(&mut self, name: &[u8], port: &[u8], address: Option<SocketAddr>) {
        match address {
            Some(address) => {
                self.push_with(name, |bytes| write_into(bytes, format_args!("{}", address.ip().to_canonical())));
                self.push_with(port, |bytes| write_into(bytes, format_args!("{}", address.port())));
            }
            // What nginx gives for a client on a unix socket.
            None => {
                self.push(name, if name == b"REMOTE_ADDR" { "unix:" } else { "" });
                self.push(port, "");
            }
        }
    }

    fn push_with(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.push_value(start, write);
    }

    fn push_value(&mut self, name: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let value = self.bytes.len();
        write(&mut self.bytes);
        self.spans.push(Span { name, value, end: self.bytes.len() });
    }
}

// === impl Request ===

impl Request {
    /// The method, upper case as sent; the plugin whose task it is.
    pub fn method(&self) -> &[u8] {
        match &self.source {
            Source::Http(head) => head.method.as_str().as_bytes(),
            Source::Task(task) => task.plugin.as_bytes(),
            Source::FastCgi(_) | Source::Boot => self.param(b"REQUEST_METHOD").unwrap_or(b"GET"),
        }
    }

    /// What it is called in the access log, if anything.
    pub fn given_name(&self) -> Option<&HeaderValue> {
        if let Source::Http(head) = &self.source { head.name.as_ref() } else { None }
    }

    /// The request target, undecoded; the task's name.
    pub fn target(&self) -> &[u8] {
        match &self.source {
            Source::Http(head) => head.target.as_bytes(),
            Source::Task(task) => task.name.as_bytes(),
            Source::FastCgi(_) | Source::Boot => self.param(b"REQUEST_URI").unwrap_or_default(),
        }
    }

    /// The query string without `?`.
    pub fn query(&self) -> &[u8] {
        match &self.source {
            Source::Http(head) => head.query.as_bytes(),
            Source::FastCgi(_) | Source::Task(_) | Source::Boot => self.param(b"QUERY_STRING").unwrap_or_default(),
        }
    }

    /// One header field; of several lines with that name, the first.
    pub fn header(&self, name: HeaderName) -> Option<&[u8]> {
        match &self.source {
            Source::Http(head) => head.headers.get(name).map(http::HeaderValue::as_bytes),
            Source::FastCgi(_) | Source::Task(_) | Source::Boot => {
                let mut variable = Vec::with_capacity(name.as_str().len() + 5);
                if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
                    variable.extend_from_slice(b"HTTP_");
                }
                variable.extend(name.as_str().bytes().map(|byte| if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }));
                self.param(&variable).filter(|value| !value.is_empty())
            }
        }
    }

    /// Appends the cookie string to `into`; several `Cookie` lines (HTTP/2 splits them) are joined by `"; "`.
    pub fn cookies(&self, into: &mut Vec<u8>) {
        match &self.source {
            Source::Http(head) => join(&head.headers, &header::COOKIE, into),
            Source::FastCgi(_) | Source::Task(_) | Source::Boot => {
                into.extend_from_slice(self.param(b"HTTP_COOKIE").unwrap_or_default())
            }
        }
    }

    /// A FastCGI parameter.
    pub fn param(&self, name: &[u8]) -> Option<&[u8]> {
        match &self.source {
            Source::Http(_) | Source::Task(_) | Source::Boot => None,
            Source::FastCgi(params) => params.iter().rev().find(|(key, _)| key.as_ref() == name).map(|(_, value)| value.as_ref()),
        }
    }
}

/// The names that scripts are shown: of letters, digits and hyphens, as nginx has it. `Proxy` would become HTTP_PROXY, which libraries
/// take for a proxy setting (CVE-2016-5385), and an underscore, or a dot, which PHP makes one, could pose as a hyphen: `X.Auth.User`
/// would take the place of the `X-Auth-User` that a proxy has set.
pub(super) fn shown(headers: &HeaderMap) -> impl Iterator<Item = &HeaderName> {
    let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    headers.keys().filter(move |name| is_plain(name.as_str()) && *name != "proxy")
}

/// Whether scripts are shown a FastCGI parameter: not what a web server that lets any header pass has made of an odd one.
fn is_shown(name: &[u8]) -> bool {
    let header = name.strip_prefix(b"HTTP_");
    header.is_none_or(|header| header.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_'))
}

pub(super) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 | Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

fn value_of(head: &HttpHead, name: HeaderName) -> &[u8] {
    head.headers.get(name).map(http::HeaderValue::as_bytes).unwrap_or_default()
}

fn join(headers: &HeaderMap, name: &HeaderName, into: &mut Vec<u8>) {
    let separator: &[u8] = if name == header::COOKIE { b"; " } else { b", " };
    for (index, value) in headers.get_all(name).iter().enumerate() {
        if index > 0 {
            into.extend_from_slice(separator);
        }
        into.extend_from_slice(value.as_bytes());
    }
}

/// `content-type` → `Content-Type`.
pub(super) fn title_case(name: &HeaderName, into: &mut Vec<u8>) {
    let mut start = true;
    for byte in name.as_str().bytes() {
        into.push(if start { byte.to_ascii_uppercase() } else { byte });
        start = byte == b'-';
    }
}

/// `USER_AGENT` → `User-Agent`.
fn from_meta_variable(name: &[u8], into: &mut Vec<u8>) {
    let mut start = true;
    for &byte in name {
        into.push(match byte {
            b'_' => b'-',
            _ if start => byte.to_ascii_uppercase(),
            _ => byte.to_ascii_lowercase(),
        });
        start = byte == b'_';
    }
}

fn write_into(bytes: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    bytes.write_fmt(arguments).expect("writing into a vector cannot fail");
}
