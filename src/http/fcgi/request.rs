//! What to do about a request, once its parameters are there: run a script, or answer without one.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::Path, time::SystemTime};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use super::{
    Shared, ini, page,
    params::Params,
    path::{self, Entry},
    reply,
    status::Format,
};
use crate::worker::{IniValue, Reply, ReplyBody, Script};

/// What to do.
#[derive(Debug)]
pub(super) enum Decision {
    /// Answer at once.
    Answer(Answer),
    /// Run a script.
    Run(Run),
}

/// An answer without a script.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) reply: Reply,
    /// What goes to the web server's log, by way of the STDERR stream.
    pub(super) log: Option<String>,
}

/// A script to run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) script: Script,
    pub(super) ini: Vec<IniValue>,
    pub(super) params: Params,
    /// `CONTENT_LENGTH`.
    pub(super) length: u64,
}

/// Decides as php-fpm does, and corrects the parameters on the way.
pub(super) fn decide(shared: &Shared, mut params: Params) -> Decision {
    // CVE-2016-5385: libraries take HTTP_PROXY for a proxy setting.
    params.remove("HTTP_PROXY");
    if let Some(status) = excess(shared, &params) {
        return Decision::Answer(Answer { reply: error(status, &params), log: None });
    }
    let resolved = path::resolve(&mut params, shared.settings.fix_pathinfo, entry);
    if params.get("REQUEST_METHOD").is_none() {
        // Not HTTP at all; php-fpm ends such a request with nothing but its default head.
        return answer(shared, &params, reply::page(StatusCode::OK, reply::HTML, ""), None);
    }
    if let Some(page) = resolved.name.as_deref().and_then(|name| monitoring_page(shared, &params, name)) {
        return answer(shared, &params, page, None);
    }
    let (file, found) = match resolved.script {
        Some(script) => script,
        None => return refuse(shared, &params, StatusCode::NOT_FOUND, "File not found.\n", "Primary script unknown".into()),
    };
    let filename = String::from_utf8_lossy(&file);
    if !shared.settings.limit_extensions.is_empty() && !has_allowed_extension(&file, &shared.settings.limit_extensions) {
        let log = format!("Access to the script '{filename}' has been denied (see security.limit_extensions)");
        return refuse(shared, &params, StatusCode::FORBIDDEN, "Access denied.\n", log);
    }
    if found != Entry::File {
        let log = format!("Unable to open primary script: {filename} (No such file or directory)");
        return refuse(shared, &params, StatusCode::NOT_FOUND, "No input file specified.\n", log);
    }
    if !is_readable(&file) {
        let log = format!("Unable to open primary script: {filename} (Permission denied)");
        return refuse(shared, &params, StatusCode::FORBIDDEN, "Access denied.\n", log);
    }
    let length = params.get("CONTENT_LENGTH").map_or(0, |text| leading_number(text));
    if length > shared.settings.max_request_size {
        return Decision::Answer(Answer { reply: error(StatusCode::PAYLOAD_TOO_LARGE, &params), log: None });
    }
    Decision::Run(Run { script: script(shared, &params, file, resolved.name), ini: ini::values(&params), params, length })
}

/// The status for a request whose head is larger than one that comes to our own front may be.
fn excess(shared: &Shared, params: &Params) -> Option<StatusCode> {
    let settings = &shared.settings;
    if params.get("REQUEST_URI").is_some_and(|target| target.len() > settings.max_uri) {
        return Some(StatusCode::URI_TOO_LONG);
    }
    let fields = || params.iter().filter(|(name, _)| name.starts_with(b"HTTP_"));
    let bytes: usize = fields().map(|(name, value)| name.len() + value.len()).sum();
    let is_too_large = fields().count() > settings.max_headers || bytes > settings.max_header_bytes;
    is_too_large.then_some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
}

/// An answer of ours, without its body for HEAD.
fn error(status: StatusCode, params: &Params) -> Reply {
    let mut reply = reply::error(status);
    if params.get("REQUEST_METHOD").is_some_and(|method| method == "HEAD") {
        reply.body = ReplyBody::Whole(Bytes::new());
    }
    reply
}

fn script(shared: &Shared, params: &Params, filename: Bytes, name: Option<Bytes>) -> Script {
    // PHP_SELF is the name followed by this; without cgi.fix_pathinfo it is the name alone.
    let path_info = params.get("PATH_INFO").filter(|_| shared.settings.fix_pathinfo);
    let mut document_root = params.get("DOCUMENT_ROOT").cloned().unwrap_or_default();
    if document_root.ends_with(b"/") {
        document_root.truncate(document_root.len() - 1);
    }
    Script { filename, name: name.unwrap_or_default(), path_info: path_info.cloned().unwrap_or_default(), document_root }
}

fn monitoring_page(shared: &Shared, params: &Params, name: &[u8]) -> Option<Reply> {
    let settings = &shared.settings;
    let is = |path: &Option<String>| path.as_ref().is_some_and(|path| path.as_bytes() == name);
    let mut page = if is(&settings.ping_path) {
        reply::page(StatusCode::OK, "text/plain;charset=UTF-8", settings.ping_response.clone())
    } else if is(&settings.status_path) {
        let format = Format::from_query(params.get("QUERY_STRING").map_or(&b""[..], |query| query));
        let (content_type, body) = page::render(&shared.status.snapshot(format.full), format, SystemTime::now());
        reply::page(StatusCode::OK, content_type, body)
    } else {
        return None;
    };
    let headers = &mut page.head.headers;
    headers.insert(header::EXPIRES, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
    let no_cache = HeaderValue::from_static("no-cache, no-store, must-revalidate, max-age=0");
    headers.insert(header::CACHE_CONTROL, no_cache);
    Some(page)
}

fn refuse(shared: &Shared, params: &Params, status: StatusCode, body: &'static str, log: String) -> Decision {
    tracing::debug!(reason = log, "no script is run");
    answer(shared, params, reply::page(status, reply::HTML, body), Some(log))
}

fn answer(shared: &Shared, params: &Params, mut reply: Reply, log: Option<String>) -> Decision {
    if let Some(powered_by) = &shared.settings.powered_by {
        reply.head.headers.insert(header::HeaderName::from_static("x-powered-by"), powered_by.clone());
    }
    if params.get("REQUEST_METHOD").is_some_and(|method| method == "HEAD") {
        reply.body = ReplyBody::Whole(Bytes::new());
    }
    Decision::Answer(Answer { reply, log })
}

fn entry(path: &[u8]) -> Entry {
    match fs::metadata(Path::new(OsStr::from_bytes(path))) {
        Ok(metadata) if metadata.is_file() => Entry::File,
        Ok(_) => Entry::Other,
        Err(_) => Entry::Missing,
    }
}

fn is_readable(path: &[u8]) -> bool {
    use nix::{fcntl::AtFlags, unistd};
    unistd::faccessat(nix::fcntl::AT_FDCWD, path, unistd::AccessFlags::R_OK, AtFlags::AT_EACCESS).is_ok()
}

fn has_allowed_extension(path: &[u8], allowed: &[String]) -> bool {
    allowed.iter().any(|extension| path.len() > extension.len() && path.ends_with(extension.as_bytes()))
}

/// As C's `atol`, but never negative: the digits at the start.
fn leading_number(text: &[u8]) -> u64 {
    let digits = text.trim_ascii_start().iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_must_be_more_than_its_extension() {
        let allowed = [".php".to_owned(), ".phar".to_owned()];
        assert!(has_allowed_extension(b"/r/x.php", &allowed));
        assert!(has_allowed_extension(b"/r/x.phar", &allowed));
        assert!(!has_allowed_extension(b"/r/x.php5", &allowed));
        assert!(!has_allowed_extension(b"/r/x.PHP", &allowed));
        assert!(!has_allowed_extension(b".php", &allowed));
    }

    #[test]
    fn a_length_is_its_leading_digits() {
        for (text, number) in [("12", 12), ("", 0), ("-1", 0), ("7x", 7), (" 9", 9), ("99999999999999999999999", u64::MAX)] {
            assert_eq!(leading_number(text.as_bytes()), number, "{text}");
        }
    }
}
