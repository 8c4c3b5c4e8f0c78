//! A request's context and body.

use std::{collections::BTreeMap, io::Read, mem};

use bytes::Bytes;
use http::{HeaderMap, header};
use percent_encoding::percent_decode;

use super::{
    Encoding, Error, Settings, TemporaryFiles, context,
    form::{self, Fields},
    multipart,
};
use crate::worker::{
    Body, BodyReader, HttpHead, Request, Source, Task, Variables,
    goridge::Flags,
    params::{protocol, shown, title_case},
};

/// A request as a worker gets it.
#[derive(Debug)]
pub struct Encoded {
    /// How the context is written, for the frame's flags.
    pub codec: Flags,
    /// The head.
    pub context: Vec<u8>,
    /// The body, or the form it was.
    pub body: Bytes,
    /// Uploaded files, which must stay until the script has answered.
    pub files: TemporaryFiles,
    /// Workers that had it and asked to be replaced.
    pub handed_on: u32,
}

/// What a context says.
#[derive(Debug, Default)]
pub(super) struct Context {
    pub(super) remote_addr: String,
    pub(super) protocol: String,
    pub(super) method: String,
    pub(super) uri: String,
    pub(super) headers: Vec<(String, Vec<Vec<u8>>)>,
    pub(super) cookies: BTreeMap<String, Vec<u8>>,
    pub(super) raw_query: String,
    pub(super) parsed: bool,
    /// JSON; none without a multipart form.
    pub(super) uploads: Option<Vec<u8>>,
    pub(super) attributes: Vec<(String, String)>,
}

enum Content {
    Nothing,
    Raw,
    Urlencoded,
    Multipart,
}

/// A task's context and body are sent as they are.
fn of_task(task: &mut Task, body: Body) -> Result<Encoded, Error> {
    let context = mem::take(&mut task.context).into();
    Ok(Encoded { codec: task.codec, context, body: whole(body)?, files: TemporaryFiles::default(), handed_on: 0 })
}

/// Takes the body of `request` and gives what a worker is sent. Reads files, so not for an io thread.
pub fn encode(request: &mut Request, attributes: &[(String, String)], settings: &Settings) -> Result<Encoded, Error> {
    let body = match mem::take(&mut request.body) {
        Body::Encoded(encoded) => return Ok(*encoded),
        body => body,
    };
    if let Source::Task(task) = &mut request.source {
        return of_task(task, body);
    }
    let mut context = match &request.source {
        Source::Http(head) => of_http(head),
        // The latter has nothing to show; it is not made for this kind of worker.
        Source::FastCgi(_) | Source::Task(_) | Source::Boot => of_fastcgi(request),
    };
    context.attributes = attributes.to_vec();
    let mut cookies = Vec::new();
    request.cookies(&mut cookies);
    context.cookies = read_cookies(&cookies);

    let content_type = request.header(header::CONTENT_TYPE).unwrap_or_default();
    let mut files = TemporaryFiles::default();
    let body = match content(request.method(), content_type, settings) {
        Content::Nothing => Bytes::new(),
        Content::Raw => whole(body)?,
        Content::Urlencoded => {
            context.parsed = true;
            let fields = match request.method() {
                b"POST" | b"PUT" | b"PATCH" => form::urlencoded(&whole_form(body, settings)?),
                _ => Fields::default(),
            };
            written(fields, settings)?
        }
        Content::Multipart => {
            context.parsed = true;
            let form = multipart::read(body.into_reader(), &String::from_utf8_lossy(content_type), settings)?;
            files = form.files;
            let mut uploads = Vec::new();
            form.uploads.into_tree()?.write(&mut uploads);
            context.uploads = Some(uploads);
            written(form.values, settings)?
        }
    };
    let (codec, context) = match settings.encoding {
        Encoding::Json => (Flags::JSON, context.to_json()),
        Encoding::Proto => (Flags::PROTO, context::to_proto(context)),
    };
    Ok(Encoded { codec, context, body, files, handed_on: 0 })
}

fn of_http(head: &HttpHead) -> Context {
    let host = head.headers.get(header::HOST).map_or(head.server_name.as_bytes(), http::HeaderValue::as_bytes);
    Context {
        remote_addr: head.remote.map_or_else(|| "unix:".into(), |remote| remote.ip().to_canonical().to_string()),
        protocol: protocol(head.version).into(),
        method: head.method.as_str().into(),
        uri: uri(head.secure.is_some(), &String::from_utf8_lossy(host), &head.target),
        headers: headers(&head.headers),
        raw_query: head.query.clone(),
        ..Context::default()
    }
}

fn of_fastcgi(request: &Request) -> Context {
    let text = |name: &[u8]| String::from_utf8_lossy(request.param(name).unwrap_or_default()).into_owned();
    let secure = !matches!(text(b"HTTPS").to_ascii_lowercase().as_str(), "" | "off");
    let host = request
        .param(b"HTTP_HOST")
        .filter(|host| !host.is_empty())
        .map_or_else(|| text(b"SERVER_NAME"), |host| String::from_utf8_lossy(host).into_owned());
    let mut variables = Variables::default();
    variables.fill_headers(request);
    let shown = variables.iter().filter(|(name, _)| !matches!(*name, b"Host" | b"Proxy" | b"Transfer-Encoding"));
    Context {
        remote_addr: text(b"REMOTE_ADDR"),
        protocol: text(b"SERVER_PROTOCOL"),
        method: String::from_utf8_lossy(request.method()).into_owned(),
        uri: uri(secure, &host, &String::from_utf8_lossy(request.target())),
        headers: shown.map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), vec![value.to_vec()])).collect(),
        raw_query: text(b"QUERY_STRING"),
        ..Context::default()
    }
}

fn uri(secure: bool, host: &str, target: &str) -> String {
    let mut uri = match target {
        // As a client asks a proxy.
        absolute if absolute.starts_with("http://") || absolute.starts_with("https://") => absolute.to_owned(),
        _ => format!("{}://{host}{target}", if secure { "https" } else { "http" }),
    };
    // A FastCGI client may send anything, and this ends up in headers.
    uri.retain(|character| character != '\r' && character != '\n');
    uri
}

fn headers(headers: &HeaderMap) -> Vec<(String, Vec<Vec<u8>>)> {
    let framing = [header::HOST, header::TRANSFER_ENCODING, header::TRAILER];
    let mut shown: Vec<_> = shown(headers).filter(|name| !framing.contains(name)).collect();
    shown.sort_by_key(|name| name.as_str());
    let spelled = |name: &http::HeaderName| {
        let mut spelled = Vec::with_capacity(name.as_str().len());
        title_case(name, &mut spelled);
        String::from_utf8(spelled).expect("a header's name is ASCII")
    };
    let values = |name: &http::HeaderName| -> Vec<Vec<u8>> {
        let values: Vec<_> = headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect();
        // HTTP/2 sends them one by one; a script reads one line of them.
        if *name == header::COOKIE { vec![values.join(&b"; "[..])] } else { values }
    };
    shown.into_iter().map(|name| (spelled(name), values(name))).collect()
}

/// Cookies by Go's reading: one whose name or value has a character that it may not have is none.
fn read_cookies(line: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut cookies = BTreeMap::new();
    for part in line.split(|byte| *byte == b';') {
        let part = part.trim_ascii();
        let split = memchr::memchr(b'=', part).unwrap_or(part.len());
        let (name, value) = (part[..split].trim_ascii(), part.get(split + 1..).unwrap_or_default());
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        let is_token = http::HeaderName::from_bytes(name).is_ok();
        if is_token
            && value.iter().all(|byte| matches!(byte, 0x20..=0x7e) && !b"\"\\".contains(byte))
            && let Some(value) = unescaped(value)
        {
            cookies.insert(String::from_utf8_lossy(name).into_owned(), value);
        }
    }
    cookies
}

/// Decodes `+` and `%41`; none if a `%` is followed by anything else.
fn unescaped(value: &[u8]) -> Option<Vec<u8>> {
    let is_whole = |at: usize| value.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let escapes_are_whole = memchr::memchr_iter(b'%', value).all(is_whole);
    escapes_are_whole
        .then(|| percent_decode(&value.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect::<Vec<_>>()).collect())
}

fn content(method: &[u8], content_type: &[u8], settings: &Settings) -> Content {
    let says = |kind: &str| memchr::memmem::find(content_type, kind.as_bytes()).is_some();
    match method {
        b"HEAD" | b"OPTIONS" => Content::Nothing,
        _ if settings.raw_body => Content::Raw,
        _ if says("application/x-www-form-urlencoded") => Content::Urlencoded,
        _ if says("multipart/form-data") => Content::Multipart,
        _ => Content::Raw,
    }
}

fn written(fields: Fields<String>, settings: &Settings) -> Result<Bytes, Error> {
    let tree = fields.into_tree()?;
    if tree.is_empty() && settings.encoding == Encoding::Proto {
        return Ok(Bytes::new());
    }
    let mut json = Vec::new();
    tree.write(&mut json);
    Ok(json.into())
}

fn whole_form(body: Body, settings: &Settings) -> Result<Bytes, Error> {
    let limit = settings.form_memory;
    if body.len() > limit as u64 {
        return Err(Error::TooLarge { what: "bytes of names and values", limit });
    }
    whole(body)
}

/// All of a body; its size was bounded when it was received.
fn whole(body: Body) -> Result<Bytes, Error> {
    if let Body::Memory(bytes) = body {
        return Ok(bytes);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(body.len()).unwrap_or(0));
    let mut reader: BodyReader = body.into_reader();
    reader.read_to_end(&mut bytes)?;
    Ok(bytes.into())
}
