//! Which names are never sent to a client, whatever is in the file.

/// True if a segment of `path` begins with a dot, other than a leading `/.well-known/` (RFC 8615).
pub(super) fn is_hidden(path: &str) -> bool {
    path.strip_prefix("/.well-known").filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(path).contains("/.")
}

/// True if a file of this name is never sent: source code, or a file that is left lying about rather than published.
pub(super) fn is_private(name: &str) -> bool {
    // Dots and spaces at the end are dropped by other systems' file shares, which would make `x.php.` the source of `x.php`.
    let name = name.trim_end_matches(['.', ' ']).to_ascii_lowercase();
    if name.ends_with(['~', '#']) || PRIVATE_NAMES.contains(&name.as_str()) {
        return true;
    }
    let Some((_, extensions)) = name.split_once('.') else { return false };
    let (inner, last) = extensions.rsplit_once('.').unwrap_or(("", extensions));
    if PRIVATE_EXTENSIONS.contains(&last) || is_source(last) || last.starts_with("sqlite") {
        return true;
    }
    // `php-bak`, `php_old`, `php::$data`: a copy of a script.
    if last.strip_prefix("php").is_some_and(|rest| rest.starts_with(|char: char| !char.is_ascii_alphanumeric())) {
        return true;
    }
    inner.split('.').any(|part| part == "sql" || (is_source(part) && !PUBLISHED_EXTENSIONS.contains(&last)))
}

fn is_source(extension: &str) -> bool {
    matches!(extension, "inc" | "pht" | "phtm" | "phtml" | "phar" | "phps")
        || extension.strip_prefix("php").is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Files that list an application's parts or settings for its developers.
const PRIVATE_NAMES: &[&str] = &[
    "auth.json", // Composer's credentials
    "composer.json",
    "composer.lock", // the versions to attack
    "docker-compose.yaml",
    "docker-compose.yml", // passwords, often
    "dockerfile",
    "error_log", // PHP's own, on shared hosting
    "package-lock.json",
    "package.json",
    "pnpm-lock.yaml",
    "web.config", // IIS's .htaccess
    "yarn.lock",
];

/// What lies about: copies that editors, people and tools leave, data, settings, logs.
const PRIVATE_EXTENSIONS: &[&str] = &[
    // Copies of files that would have been run, not sent.
    "bak",
    "backup",
    "dist",
    "old",
    "orig",
    "rej",
    "save",
    "swn",
    "swo",
    "swp",
    "swx",
    "tmp",
    // Data.
    "db",
    "db3",
    "db-journal",
    "db-shm",
    "db-wal",
    "mdb",
    "sql",
    // Settings, keys and logs; `wp-content/debug.log` and `php.ini` are the well-known ones.
    "conf",
    "ini",
    "log",
    "pem",
];

/// Under these a `.php` within the name belongs to a generated page (`User.php.html` of a coverage report), not to source.
const PUBLISHED_EXTENSIONS: &[&str] = &[
    "avif", "css", "gif", "htm", "html", "ico", "jpeg", "jpg", "js", "map", "mjs", "pdf", "png", "svg", "webp", "woff", "woff2",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_and_leftovers_are_private() {
        for name in [
            "x.php",
            "x.PHP",
            "x.Php.",
            "x.php ",
            "x.php. .",
            "x.phtml",
            "x.phps",
            "x.phar",
            "x.php5",
            "x.php8",
            "x.inc",
            "x.pht",
            "x.php.bak",
            "x.php~",
            "x.php.txt",
            "x.php_old",
            "x.php-bak",
            "x.php::$DATA",
            "x.tpl.php",
            "x.tar.phar",
            "x.phar.gz",
            "composer.json",
            "Composer.LOCK",
            "package.json",
            "web.config",
            "dump.sql",
            "dump.sql.gz",
            "a.SQL.zip",
            "a.bak",
            "a~",
            "#a#",
            "a.swp",
            "data.sqlite",
            "data.sqlite3",
            "a.sqlite-wal",
            "a.db",
            "php.ini",
            "debug.log",
            "a.orig",
            "phpunit.xml.dist",
        ] {
            assert!(is_private(name), "{name}");
        }
    }

    #[test]
    fn published_files_are_not() {
        for name in [
            "a.css",
            "a.min.js",
            "jquery.inc.js",
            "php",
            "php.png",
            "php-logo.svg",
            "User.php.html",
            "x.json",
            "robots.txt",
            "sql",
            "a.zip",
            "logo",
            "a.map",
            "manifest.json",
            "php-8.2.tar.gz",
            "x.php-8.2.tar.gz",
            "graphql.js",
            "openapi.yaml",
            "index.phpx",
        ] {
            assert!(!is_private(name), "{name}");
        }
    }

    #[test]
    fn only_well_known_may_begin_with_a_dot() {
        for path in ["/.git/HEAD", "/.env", "/a/.htaccess", "/.well-knownx/a", "/a/.well-known/b", "/.well-known/.env", "/.."] {
            assert!(is_hidden(path), "{path}");
        }
        for path in ["/", "/a.b/c.d", "/.well-known/acme-challenge/x", "/.well-known", "/.well-known/"] {
            assert!(!is_hidden(path), "{path}");
        }
    }
}
