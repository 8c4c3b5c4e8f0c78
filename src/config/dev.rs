//! Development (`dev`).

use std::time::Duration;

/// What `rr serve --watch` turns on.
///
/// # Defaults
/// - `dev.enabled`: `false`
/// - `dev.watch`: `[*.{php,phtml,inc,module,theme,install,twig,latte,tpl,html}, *.{yaml,yml,json,xml,neon,toml,ini,mo}, *.{css,js,mjs,svg}, .env*]`
/// - `dev.ignore`: `[]`
/// - `dev.debounce`: `150ms`
/// - `dev.poll`: `auto`
/// - `dev.reload`: `true`
/// - `dev.leaks`: `true`
#[derive(Clone, Debug, PartialEq)]
pub struct Dev {
    /// Whether any of this is done.
    pub enabled: bool,
    /// Globs of the files whose changes count.
    pub watch: Vec<String>,
    /// Globs of what is not watched, beside what never is.
    pub ignore: Vec<String>,
    /// How long files must be left alone before workers boot anew.
    pub debounce: Duration,
    /// Look at the files this often; none means only where inotify does not work.
    pub poll: Option<Duration>,
    /// Whether HTML pages load themselves anew.
    pub reload: bool,
    /// Whether what grows from request to request of a worker is named.
    pub leaks: bool,
}

// === impl Dev ===

impl Default for Dev {
    fn default() -> Self {
        Self {
            enabled: false,
            watch: WATCHED.iter().map(|glob| (*glob).to_owned()).collect(),
            ignore: Vec::new(),
            debounce: Duration::from_millis(150),
            poll: None,
            reload: true,
            leaks: true,
        }
    }
}

const WATCHED: &[&str] = &[
    "*.{php,phtml,inc,module,theme,install,twig,latte,tpl,html}",
    "*.{yaml,yml,json,xml,neon,toml,ini,mo}",
    "*.{css,js,mjs,svg}",
    ".env*",
];
