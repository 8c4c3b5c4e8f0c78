//! The paths that a middleware is for.

use http::request::Parts;

use crate::http::{route::decode, site::matches};

/// Paths, or those that begin alike (`/admin/*`); none listed means all.
#[derive(Clone, Debug, Default)]
pub struct Paths(Vec<String>);

// === impl Paths ===

impl Paths {
    /// These.
    pub fn new(patterns: Vec<String>) -> Self {
        Self(patterns)
    }

    /// Whether `parts` asks for one of them, in whatever disguise. A path that is none at all is: nothing behind a guard answers it.
    pub(super) fn have(&self, parts: &Parts) -> bool {
        self.0.is_empty() || decode(parts.uri.path()).is_none_or(|path| self.0.iter().any(|pattern| matches(pattern, &path)))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_path_in_disguise_is_the_same_path() {
        let paths = Paths::new(vec!["/admin/*".into(), "/ping".into()]);
        let has = |uri: &str| paths.have(&Request::get(uri).body(()).unwrap().into_parts().0);
        for guarded in ["/admin/", "/admin", "/admin/x?y", "/%61dmin/x", "//admin//x", "/x/../admin/y", "/ping", "/%zz"] {
            assert!(has(guarded), "{guarded}");
        }
        for free in ["/", "/administrator", "/ping/x", "/x?/admin/"] {
            assert!(!has(free), "{free}");
        }
        assert!(Paths::default().have(&Request::get("/").body(()).unwrap().into_parts().0), "all, if none is named");
    }
}
