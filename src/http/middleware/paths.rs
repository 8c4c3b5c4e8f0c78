//! The paths that a middleware is for.

use crate::http::known::Known;

/// Paths, or those that begin alike (`/admin/*`); none listed means all.
#[derive(Clone, Debug, Default)]
pub struct Paths(Vec<String>);

// === impl Paths ===

impl Paths {
    /// These.
    pub fn new(patterns: Vec<String>) -> Self {
        Self(patterns)
    }

    /// Whether they are some, so that it matters what is asked for.
    pub(super) fn are_some(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether one of them is asked for. What is no path at all is: nothing behind a guard answers it.
    pub(super) fn have(&self, known: &Known) -> bool {
        self.0.is_empty() || known.is_malformed() || self.0.iter().any(|pattern| known.is_guarded(pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_listed_means_all() {
        let paths = Paths::new(vec!["/admin/*".into(), "/ping".into()]);
        assert!(["/admin/x", "/ping", "/ping/", "/%zz"].iter().all(|path| paths.have(&Known::of(path))));
        assert!(!paths.have(&Known::of("/")));
        assert!(Paths::default().have(&Known::of("/")));
    }
}
