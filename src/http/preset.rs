//! What each kind of application wants of a web server, as its own documentation tells for nginx or Apache.

use std::{
    fs,
    path::{Path, PathBuf},
};

mod detect;

/// A kind of application.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Preset {
    /// Drupal, of any version that has a front controller.
    Drupal,
    /// Files and scripts; what exists as neither is not found.
    Files,
    /// Any application whose `/index.php` answers what is not a file.
    FrontController,
    /// Laravel.
    Laravel,
    /// Symfony.
    Symfony,
    /// WordPress.
    Wordpress,
    /// WordPress with a network of sites in sub-directories.
    WordpressSubdirectory,
    /// WordPress with a network of sites on hosts of their own.
    WordpressSubdomain,
}

// === impl Preset ===

impl Preset {
    /// Every preset with its name in the configuration.
    pub const ALL: [(&str, Self); 8] = [
        ("drupal", Self::Drupal),
        ("files", Self::Files),
        ("front-controller", Self::FrontController),
        ("laravel", Self::Laravel),
        ("symfony", Self::Symfony),
        ("wordpress", Self::Wordpress),
        ("wordpress-subdirectory", Self::WordpressSubdirectory),
        ("wordpress-subdomain", Self::WordpressSubdomain),
    ];

    /// The preset called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|&(_, preset)| preset)
    }

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|&&(_, preset)| preset == self).map(|&(name, _)| name).expect("the table has every preset")
    }

    /// The kind of application in `directory`, its document root there, and the sign it was known by, to tell the operator.
    pub fn detect(directory: &Path) -> (Self, PathBuf, String) {
        detect::detect(directory)
    }

    /// The script that answers what is not a file.
    pub fn front_controller(self) -> Option<&'static str> {
        (self != Self::Files).then_some("/index.php")
    }

    /// True if the file at `path` is never sent nor run, although its name alone would allow it. `path` is decoded and in lower
    /// case, for the sake of file systems that ignore case.
    pub(super) fn refuses(self, path: &str) -> bool {
        let is_script = path.ends_with(".php");
        match self {
            Self::Drupal => {
                if is_script {
                    !is_drupal_script(path)
                } else {
                    is_drupal_private(path)
                }
            }
            Self::Files | Self::FrontController => false,
            // `artisan storage:link`, and where assets:install puts other people's files.
            Self::Laravel => is_script && path.starts_with("/storage/"),
            // Its documentation's nginx rules run this script and answer 404 for every other.
            Self::Symfony => is_script && path != "/index.php",
            Self::Wordpress | Self::WordpressSubdirectory | Self::WordpressSubdomain => {
                is_script && WORDPRESS_UPLOADS.iter().any(|directory| path.contains(directory))
            }
        }
    }

    /// Where to look for `path` instead, once nothing was found under its own name.
    pub(super) fn relocate(self, path: &str) -> Option<&str> {
        match self {
            Self::WordpressSubdirectory => wordpress_without_site(path),
            _ => None,
        }
    }

    /// Directories outside the root whose files a symbolic link inside it may show, because the framework makes such links.
    pub(super) fn linked(self, root: &Path) -> Vec<PathBuf> {
        let directories: &[&str] = match self {
            Self::Laravel => &["../storage/app/public"],
            Self::Symfony => &["../vendor"],
            _ => &[],
        };
        // Resolved again, or a link in the place of the directory itself would widen what is shown.
        directories.iter().filter_map(|directory| fs::canonicalize(root.join(directory)).ok()).collect()
    }
}

/// `/site/wp-admin/x` is `/wp-admin/x` of the one installation, and so is any of its scripts: the rules of WordPress's own
/// `.htaccess` for networks.
fn wordpress_without_site(path: &str) -> Option<&str> {
    let (site, _) = path.strip_prefix('/')?.split_once('/')?;
    if site.is_empty() || !site.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
        return None;
    }
    let rest = &path[1 + site.len()..];
    let is_part = ["/wp-content", "/wp-admin", "/wp-includes"].iter().any(|part| rest.starts_with(part));
    (is_part || rest.ends_with(".php")).then_some(rest)
}

/// The scripts that Drupal's `.htaccess` lets run; every other is only ever included.
fn is_drupal_script(path: &str) -> bool {
    let name = path.trim_start_matches('/');
    match name.rsplit_once('/') {
        None => name != "autoload.php",
        Some(("core", _)) => true,
        Some(_) => matches!(
            name,
            "core/modules/statistics/statistics.php"
                | "modules/statistics/statistics.php"
                | "core/modules/system/tests/http.php"
                | "core/modules/system/tests/https.php"
        ),
    }
}

fn is_drupal_private(path: &str) -> bool {
    let extension = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, extension)| extension);
    DRUPAL_PRIVATE_EXTENSIONS.contains(&extension)
        || path.starts_with("/vendor/")
        || (path.starts_with("/sites/") && path.contains("/private/"))
}

/// Where visitors' files land, in WordPress itself, in old networks and in Bedrock.
const WORDPRESS_UPLOADS: &[&str] = &["/wp-content/uploads/", "/wp-content/blogs.dir/", "/app/uploads/"];

/// From the `FilesMatch` of Drupal's `.htaccess`.
const DRUPAL_PRIVATE_EXTENSIONS: &[&str] =
    &["engine", "inc", "install", "make", "module", "po", "profile", "sh", "theme", "twig", "xtmpl", "yml"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_has_a_name() {
        for (name, preset) in Preset::ALL {
            assert_eq!((preset.name(), Preset::from_name(name)), (name, Some(preset)));
        }
        assert_eq!(Preset::from_name("auto"), None);
    }

    #[test]
    fn a_network_in_subdirectories_shares_one_installation() {
        let to = |path| Preset::WordpressSubdirectory.relocate(path);
        assert_eq!(to("/site/wp-admin/"), Some("/wp-admin/"));
        assert_eq!(to("/site/wp-content/a.css"), Some("/wp-content/a.css"));
        assert_eq!(to("/my_site-2/wp-login.php"), Some("/wp-login.php"));
        for path in ["/site/page/", "/wp-login.php", "/a.b/wp-admin/", "/", "/a b/wp-admin/"] {
            assert_eq!(to(path), None, "{path}");
        }
        assert_eq!(Preset::Wordpress.relocate("/site/wp-admin/"), None);
    }

    #[test]
    fn drupal_runs_only_its_entry_points() {
        for path in
            ["/index.php", "/update.php", "/core/install.php", "/core/rebuild.php", "/core/modules/statistics/statistics.php"]
        {
            assert!(!Preset::Drupal.refuses(path), "{path}");
        }
        for path in ["/autoload.php", "/sites/default/files/x.php", "/vendor/a/b.php", "/modules/a/b.php", "/core/lib/drupal.php"]
        {
            assert!(Preset::Drupal.refuses(path), "{path}");
        }
        for path in ["/core/core.services.yml", "/a/a.module", "/vendor/a/README", "/sites/default/files/private/a.pdf"] {
            assert!(Preset::Drupal.refuses(path), "{path}");
        }
    }
}
