//! The paths that a request is known by, for whatever holds for some paths: guards, and pools of their own.
//!
//! A script has as many URLs as somebody cares to write: with a path behind its name, below a site of a network, by a rule of the
//! operator's. What holds for a path holds for all of them.

use std::iter;

use super::route::decode;

/// The paths of one request, decoded: that of its URL, and those of what answers it.
#[derive(Debug, Default)]
pub(crate) struct Known(Vec<String>);

// === impl Known ===

impl Known {
    /// Those that the path of a URL, undecoded, tells by itself; none if it is no path at all.
    pub(super) fn of(path: &str) -> Self {
        Self(decode(path).into_iter().map(String::from).collect())
    }

    /// Another one, decoded.
    pub(super) fn add(&mut self, path: &str) {
        self.0.push(path.to_owned());
    }

    /// Whether no path is asked for.
    pub(super) fn is_malformed(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them is `pattern`, or with a `*` at its end begins so.
    pub(super) fn matches(&self, pattern: &str) -> bool {
        self.0.iter().any(|path| readings(path).any(|path| matches(pattern, path)))
    }
}

/// `path`, each script that it may name, and the path that such a script is told.
fn readings(path: &str) -> impl Iterator<Item = &str> {
    let splits = path.match_indices(".php/").map(|(at, _)| path.split_at(at + ".php".len()));
    iter::once(path).chain(splits.flat_map(|(script, info)| [script, info]))
}

fn matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix) || prefix.strip_suffix('/') == Some(path),
        None => path == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_disguise_is_the_same_path() {
        let has = |path: &str| ["/admin/*", "/ping", "/login.php"].iter().any(|pattern| Known::of(path).matches(pattern));
        for known in ["/admin/", "/admin", "/admin/x", "/%61dmin/x", "//admin//x", "/x/../admin/y", "/ping", "/login.php"] {
            assert!(has(known), "{known}");
        }
        for known in ["/login.php/", "/login.php/x", "/login%2ephp%2fx.php/y", "/index.php/admin/x", "/a/b.php/index.php//admin"]
        {
            assert!(has(known), "{known}: by the script, or by what it is told");
        }
        for other in ["/", "/administrator", "/ping/x", "/x/admin/", "/login.phpx/", "/x.php5/admin/y", "/%zz"] {
            assert!(!has(other), "{other}");
        }
        assert!(Known::of("/%zz").is_malformed() && Known::of("*").is_malformed() && !Known::of("/").is_malformed());
        let mut known = Known::of("/x");
        known.add("/login.php/y");
        assert!(known.matches("/x") && known.matches("/login.php") && known.matches("/y") && !known.matches("/admin/*"));
    }
}
