//! Which files and directories of a tree are looked at.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use super::glob::Glob;

/// A tree that is watched.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    watched: Vec<Glob>,
    /// In order: the last one that has something to say decides. True is "look at it all the same".
    ignored: Vec<(bool, Glob)>,
}

/// What no project wants watched: what tools and programs write, and the code of others, of which Composer's lists alone tell
/// when it changes.
const IGNORED: &[&str] = &[
    "/vendor",
    "/*/vendor",
    "!/vendor/autoload.php",
    "!/vendor/composer/*.php",
    "node_modules",
    "{.git,.hg,.svn,.idea,.vscode,.cache}",
    ".*.cache",
    // Symfony, Spiral, Laravel, Yii, Nette, WordPress, Drupal, MediaWiki, DokuWiki.
    "/{var,storage,runtime,temp,tmp,cache,log,logs}",
    "/bootstrap/cache",
    "/wp-content/{uploads,cache,upgrade}",
    "{/,/web/}sites/*/files",
    "/data/{cache,tmp}",
];

// === impl Root ===

impl Root {
    /// The trees that `watched` speaks of: the projects', and one for each pattern that leads out of them.
    pub(super) fn all(projects: &[PathBuf], watched: &[String], ignored: &[String]) -> Vec<Self> {
        let mut roots: Vec<Self> = Vec::new();
        // One that is inside another is watched with it.
        let outermost = projects.iter().filter(|inner| !projects.iter().any(|outer| *inner != outer && inner.starts_with(outer)));
        for (project, pattern) in outermost.flat_map(|project| watched.iter().map(move |pattern| (project, pattern))) {
            let (base, rest) = split_base(project, pattern);
            let known = roots.iter().position(|root| root.path == base).unwrap_or_else(|| {
                roots.push(Self::empty(base, ignored));
                roots.len() - 1
            });
            roots[known].watched.extend(Glob::parse(&rest));
        }
        roots
    }

    fn empty(path: PathBuf, ignored: &[String]) -> Self {
        let ignored = IGNORED.iter().copied().chain(ignored.iter().map(String::as_str)).flat_map(|pattern| {
            let (kept, pattern) = pattern.strip_prefix('!').map_or((false, pattern), |pattern| (true, pattern));
            Glob::parse(pattern).into_iter().map(move |glob| (kept, glob))
        });
        Self { path, watched: Vec::new(), ignored: ignored.collect() }
    }

    /// Whether a change of the file `path`, below this root, counts.
    pub(super) fn wants(&self, path: &Path) -> bool {
        let path = names(path);
        self.watched.iter().any(|glob| glob.covers(&path))
            && self.ignored.iter().rev().find(|(_, glob)| glob.covers(&path)).is_none_or(|(kept, _)| *kept)
    }

    /// Whether the directory `path`, below this root, may hold files that count.
    pub(super) fn enters(&self, path: &Path) -> bool {
        let path = names(path);
        if path.is_empty() {
            return true;
        }
        let decides = |(kept, glob): &&(bool, Glob)| if *kept { glob.reaches_below(&path) } else { glob.covers(&path) };
        self.watched.iter().any(|glob| glob.reaches_below(&path))
            && self.ignored.iter().rev().find(decides).is_none_or(|(kept, _)| *kept)
    }
}

/// The directory that a pattern starts from, and the pattern from there. One that leads nowhere else starts from the project.
fn split_base(project: &Path, pattern: &str) -> (PathBuf, String) {
    if !pattern.starts_with('/') && !pattern.starts_with("../") {
        return (project.to_owned(), pattern.to_owned());
    }
    let literal: Vec<&str> = pattern.split('/').take_while(|name| !name.contains(['*', '?', '[', '{'])).collect();
    let names = pattern.split('/').count();
    // A pattern without wildcards names a file or a directory; its own directory is watched for it.
    let base = &literal[..literal.len().min(names - 1)];
    let rest: Vec<&str> = pattern.split('/').skip(base.len()).collect();
    let base = base.join("/");
    let path = project.join(if base.is_empty() { "/" } else { &base });
    // `./` keeps a single name at the top.
    (path.canonicalize().unwrap_or(path), format!("./{}", rest.join("/")))
}

fn names(path: &Path) -> Vec<&[u8]> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.as_bytes()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(watched: &[&str], ignored: &[&str]) -> Root {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Root::all(&["/srv/app".into()], &own(watched), &own(ignored)).remove(0)
    }

    #[test]
    fn of_vendor_composers_lists_alone_are_watched() {
        let root = root(&["**/*.php"], &[]);
        for path in ["src/A.php", "vendor/autoload.php", "vendor/composer/autoload_classmap.php", "resources/views/vendor/x.php"]
        {
            assert!(root.wants(Path::new(path)), "{path}");
        }
        for path in ["vendor/acme/x/A.php", "node_modules/x/y.php", "var/cache/dev/App.php", "storage/framework/views/a.php"] {
            assert!(!root.wants(Path::new(path)), "{path}");
        }
        for path in ["", "src", "vendor", "vendor/composer", "public"] {
            assert!(root.enters(Path::new(path)), "{path}");
        }
        for path in ["vendor/acme", "vendor/composer/x", "app/vendor", "node_modules", "a/.git", "var", "bootstrap/cache"] {
            assert!(!root.enters(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn what_is_ignored_can_be_added_to_and_taken_back() {
        let root = root(&["*.php"], &["generated", "!/vendor/acme", "!/var"]);
        assert!(root.wants(Path::new("vendor/acme/A.php")) && root.enters(Path::new("vendor/acme/src")));
        assert!(!root.enters(Path::new("vendor/other")) && !root.wants(Path::new("vendor/other/A.php")));
        assert!(root.enters(Path::new("var")) && root.wants(Path::new("var/x.php")));
        assert!(!root.wants(Path::new("src/generated/A.php")));
    }

    #[test]
    fn only_directories_that_can_hold_such_files_are_entered() {
        let root = root(&["src/**/*.php", "config/*.yaml"], &[]);
        assert!(root.enters(Path::new("src/a/b")) && root.enters(Path::new("config")));
        assert!(!root.enters(Path::new("tests")) && !root.enters(Path::new("config/sub")));
    }

    #[test]
    fn a_pattern_that_leads_elsewhere_has_a_root_of_its_own() {
        let patterns = ["*.php", "/nonexistent/lib/**/*.php", "../nonexistent/one.php"].map(str::to_owned);
        let roots = Root::all(&["/srv/app".into(), "/srv/app/public".into()], &patterns, &[]);
        let paths: Vec<_> = roots.iter().map(|root| root.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/srv/app", "/nonexistent/lib", "/srv/app/../nonexistent"]);
        assert!(roots[1].wants(Path::new("a/b.php")) && !roots[1].wants(Path::new("a/b.txt")));
        assert!(roots[2].wants(Path::new("one.php")) && !roots[2].wants(Path::new("x/one.php")));
    }
}
