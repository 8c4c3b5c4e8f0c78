//! Cross-origin resource sharing, with the answers that RoadRunner gives.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
    },
    request::Parts,
};

use crate::http::Body;

/// What scripts of other sites may ask.
#[derive(Debug)]
pub struct Cors {
    /// Which sites.
    pub origins: Origins,
    /// By which methods; `OPTIONS` always.
    pub methods: Vec<Method>,
    /// With which headers; none means any.
    pub headers: Option<Vec<HeaderName>>,
    /// Which headers of answers they may read.
    pub exposed: Option<HeaderValue>,
    /// With cookies.
    pub credentials: bool,
    /// How many seconds browsers may remember; 0 leaves it to them.
    pub max_age: u32,
    /// The status of a preflight request's answer.
    pub success: StatusCode,
    /// Say in the log why something is not allowed.
    pub debug: bool,
}

/// Which sites may ask.
#[derive(Debug)]
pub enum Origins {
    /// All.
    Any,
    /// Those in lower case, in which `*` stands for anything.
    Listed(Vec<String>),
    /// Those that a pattern matches.
    Matching(regex::Regex),
}

type Headers = Vec<(HeaderName, HeaderValue)>;

// === impl Cors ===

impl Cors {
    /// Whether a browser asks what it may ask.
    pub(super) fn is_preflight(parts: &Parts) -> bool {
        parts.method == Method::OPTIONS && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// The answer to that.
    pub(super) fn preflight(&self, headers: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = self.success;
        response.headers_mut().insert(VARY, HeaderValue::from_static(PREFLIGHT_VARY));
        match self.permit(headers) {
            Ok(permission) => response.headers_mut().extend(permission),
            Err(reason) => self.explain(reason, headers),
        }
        response
    }

    /// What is added to the answer of any other request.
    pub(super) fn actual(&self, method: &Method, headers: &HeaderMap) -> Headers {
        let mut added = vec![(VARY, HeaderValue::from_static("Origin"))];
        let Some(origin) = headers.get(ORIGIN) else { return added };
        if !self.origins.allow(origin) {
            self.explain("the origin is not allowed", headers);
        } else if !self.allows(method) {
            self.explain("the method is not allowed", headers);
        } else {
            added.push((ACCESS_CONTROL_ALLOW_ORIGIN, self.origins.echo(origin)));
            added.extend(self.exposed.clone().map(|exposed| (ACCESS_CONTROL_EXPOSE_HEADERS, exposed)));
            added.extend(self.credentials.then(|| (ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"))));
        }
        added
    }

    fn permit(&self, headers: &HeaderMap) -> Result<Headers, &'static str> {
        let origin = headers.get(ORIGIN).ok_or("there is no origin")?;
        if !self.origins.allow(origin) {
            return Err("the origin is not allowed");
        }
        let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD).ok_or("there is no method")?;
        if !Method::from_bytes(asked.as_bytes()).is_ok_and(|method| self.allows(&method)) {
            return Err("the method is not allowed");
        }
        let wanted = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).filter(|wanted| !wanted.is_empty());
        if !wanted.is_none_or(|wanted| self.allows_headers(wanted)) {
            return Err("a header is not allowed");
        }
        let mut permission = vec![(ACCESS_CONTROL_ALLOW_ORIGIN, self.origins.echo(origin))];
        permission.push((ACCESS_CONTROL_ALLOW_METHODS, asked.clone()));
        permission.extend(wanted.map(|wanted| (ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone())));
        permission.extend(self.credentials.then(|| (ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"))));
        permission.extend((self.max_age > 0).then(|| (ACCESS_CONTROL_MAX_AGE, self.max_age.into())));
        Ok(permission)
    }

    fn allows(&self, method: &Method) -> bool {
        method == Method::OPTIONS || self.methods.contains(method)
    }

    fn allows_headers(&self, wanted: &HeaderValue) -> bool {
        let Some(allowed) = &self.headers else { return true };
        let names = wanted.to_str().unwrap_or("?").split(',').map(str::trim).filter(|name| !name.is_empty());
        // The origin is the browser's own, whatever is allowed.
        names.into_iter().all(|name| {
            name.eq_ignore_ascii_case("origin") || allowed.iter().any(|known| known.as_str().eq_ignore_ascii_case(name))
        })
    }

    fn explain(&self, reason: &str, headers: &HeaderMap) {
        if self.debug {
            tracing::info!(origin = ?headers.get(ORIGIN), "CORS: {reason}");
        }
    }
}

// === impl Origins ===

impl Origins {
    /// The origins of a list: `*` among them means any, and so does an empty one.
    pub fn listed(origins: Vec<String>) -> Self {
        if origins.is_empty() || origins.iter().any(|origin| origin == "*") {
            return Self::Any;
        }
        Self::Listed(origins.into_iter().map(|origin| origin.to_lowercase()).collect())
    }

    fn allow(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        match self {
            Self::Any => true,
            Self::Listed(known) => {
                let origin = origin.to_lowercase();
                known.iter().any(|known| match known.split_once('*') {
                    Some((start, end)) => {
                        origin.len() >= start.len() + end.len() && origin.starts_with(start) && origin.ends_with(end)
                    }
                    None => *known == origin,
                })
            }
            Self::Matching(pattern) => pattern.is_match(origin),
        }
    }

    fn echo(&self, origin: &HeaderValue) -> HeaderValue {
        if matches!(self, Self::Any) { HeaderValue::from_static("*") } else { origin.clone() }
    }
}

const PREFLIGHT_VARY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
