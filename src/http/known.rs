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
        self.readings().any(|path| matches(pattern, path))
    }

    /// The same, but a `/` at a path's end changes nothing: there are front controllers that do not see it.
    pub(super) fn is_guarded(&self, pattern: &str) -> bool {
        self.readings().any(|path| guards(pattern, path))
    }

    /// The first of `all` that is for the URL's own path, or else for any other. Whoever writes a URL could choose otherwise.
    pub(super) fn first<'a, T>(&self, all: &'a [(String, T)]) -> Option<&'a T> {
        let any = || all.iter().find(|(pattern, _)| self.matches(pattern)).map(|(_, value)| value);
        self.own(all).or_else(any)
    }

    /// The first of `all` that is for the URL's own path, for which no other has to be known.
    pub(super) fn own<'a, T>(&self, all: &'a [(String, T)]) -> Option<&'a T> {
        let own = self.0.first()?;
        all.iter().find(|(pattern, _)| matches(pattern, own)).map(|(_, value)| value)
    }

    /// The least of what each reading of the URL's own path gets, by the first of `all` that guards it, and of what others get by an
    /// earlier one. A later one is as a rule for whatever nobody has named, such as the front controller that answers.
    pub(super) fn least(&self, all: &[(String, u64)]) -> Option<u64> {
        let of = |path: &str| all.iter().position(|(pattern, _)| guards(pattern, path));
        let (own, others) = self.0.split_first()?;
        let last = readings(own).filter_map(of).max();
        let others = others.iter().flat_map(|path| readings(path)).filter_map(of);
        let earlier = others.filter(|at| last.is_none_or(|last| *at < last));
        readings(own).filter_map(of).chain(earlier).map(|at| all[at].1).min()
    }

    fn readings(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|path| readings(path))
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

fn guards(pattern: &str, path: &str) -> bool {
    matches(pattern, path) || matches(pattern, path.trim_end_matches('/'))
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

    #[test]
    fn a_slash_at_the_end_passes_no_guard() {
        for path in ["/login", "/login/", "/login//", "/index.php/login/"] {
            assert!(Known::of(path).is_guarded("/login"), "{path}");
        }
        assert!(!Known::of("/login/x").is_guarded("/login") && !Known::of("/").is_guarded("/login"));
        assert!(Known::of("/").is_guarded("/") && Known::of("/").is_guarded("/*"));
    }

    #[test]
    fn a_client_chooses_no_larger_bound_by_how_it_writes_the_path() {
        let limits = [("/upload/*".to_owned(), 100), ("/tiny".to_owned(), 1), ("/*".to_owned(), 10)];
        let least = |path: &str| Known::of(path).least(&limits);
        assert_eq!(
            (least("/upload/x"), least("/contact.php/upload/x"), least("/upload/a.php/b")),
            (Some(100), Some(10), Some(10))
        );
        assert_eq!((least("/tiny/"), least("/%zz")), (Some(1), None));
        let mut known = Known::of("/upload/x");
        known.add("/index.php");
        assert_eq!(known.least(&limits), Some(100));
        known = Known::of("/elsewhere");
        known.add("/tiny");
        assert_eq!((known.least(&limits[..2]), known.least(&limits)), (Some(1), Some(1)));
    }
}
