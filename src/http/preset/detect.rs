//! Tells what is in a directory by the files that only one kind of application has.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use super::Preset;

pub(super) fn detect(directory: &Path) -> (Preset, PathBuf, String) {
    // Made absolute, so that it has a parent to look into.
    let directory = &fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    let has = |name: &str| directory.join(name).is_file();
    // `join("")` would leave a slash at the end.
    let root = |root: &str| if root.is_empty() { directory.clone() } else { directory.join(root) };
    // Bedrock and Radicle keep WordPress below `web` and `public`.
    for root in ["", "web", "public"].map(root) {
        if let Some((preset, reason)) = wordpress(&root) {
            return (preset, root, reason);
        }
    }
    if let Some(root) = ["", "web", "docroot"].map(root).into_iter().find(|root| root.join("core/lib/Drupal.php").is_file()) {
        return (Preset::Drupal, root, "core/lib/Drupal.php".to_owned());
    }
    let script = other_script(directory).map(|name| format!("index.php is not the only script: {}", name.display()));
    let (preset, below, reason) = match &script {
        _ if has("modules/system/system.module") && has("includes/bootstrap.inc") => {
            (Preset::Drupal, "", "modules/system/system.module")
        }
        _ if has("public/index.php") && has("artisan") => (Preset::Laravel, "public", "artisan and public/index.php"),
        _ if has("public/index.php") && has("bin/console") => (Preset::Symfony, "public", "bin/console and public/index.php"),
        _ if has("public/index.php") && has("symfony.lock") => (Preset::Symfony, "public", "symfony.lock and public/index.php"),
        _ if has("public/index.php") => (Preset::FrontController, "public", "public/index.php"),
        None if has("index.php") => (Preset::FrontController, "", "index.php is the only script"),
        Some(reason) if has("index.php") => (Preset::Files, "", reason.as_str()),
        _ => (Preset::Files, "", "no application that is known"),
    };
    (preset, root(below), reason.to_owned())
}

fn wordpress(root: &Path) -> Option<(Preset, String)> {
    let sign = ["wp-load.php", "wp-includes/version.php", "wp-config.php"].into_iter().find(|name| root.join(name).is_file())?;
    // As wp-load.php does: the file above counts unless it belongs to another installation there.
    let above = root.parent().filter(|above| !above.join("wp-settings.php").exists());
    let config = [Some(root), above].into_iter().flatten().find_map(|directory| fs::read(directory.join("wp-config.php")).ok());
    let config = String::from_utf8_lossy(&config.unwrap_or_default()).into_owned();
    if constant(&config, "MULTISITE") != Some(true) {
        return Some((Preset::Wordpress, sign.to_owned()));
    }
    Some(match constant(&config, "SUBDOMAIN_INSTALL") {
        Some(true) => (Preset::WordpressSubdomain, format!("{sign}, with MULTISITE and SUBDOMAIN_INSTALL")),
        _ => (Preset::WordpressSubdirectory, format!("{sign}, with MULTISITE")),
    })
}

/// The value of `define( 'NAME', true );` in a script's text, comments aside.
fn constant(text: &str, name: &str) -> Option<bool> {
    text.match_indices(name).find_map(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        let line = before.rsplit('\n').next().unwrap_or_default().trim_start();
        let in_block = before.rfind("/*").is_some_and(|open| !before[open..].contains("*/"));
        if in_block
            || line.starts_with("//")
            || line.starts_with('#')
            || !before.trim_end_matches(['\'', '"']).trim_end().ends_with('(')
        {
            return None;
        }
        let value = after.trim_start_matches(['\'', '"']).trim_start().strip_prefix(',')?.trim_start();
        let word: String = value.chars().take_while(char::is_ascii_alphanumeric).collect();
        match word.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    })
}

/// A script at the top of `directory` other than index.php.
fn other_script(directory: &Path) -> Option<PathBuf> {
    let names = fs::read_dir(directory).ok()?.flatten().map(|entry| PathBuf::from(entry.file_name()));
    names.filter(|name| name.extension() == Some(OsStr::new("php")) && name != Path::new("index.php")).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::route::testing::Tree;

    fn detected(files: &[(&str, &str)]) -> (Preset, String) {
        let tree = Tree::new(files);
        let (preset, root, _) = Preset::detect(tree.path());
        (preset, root.strip_prefix(tree.path()).expect("inside").to_str().expect("UTF-8").to_owned())
    }

    #[test]
    fn knows_each_application_by_its_files() {
        for (files, preset, root) in [
            (&["wp-load.php", "index.php"][..], Preset::Wordpress, ""),
            (&["wp-includes/version.php", "index.php"], Preset::Wordpress, ""),
            (&["web/wp-config.php", "web/index.php", "composer.json"], Preset::Wordpress, "web"),
            (&["core/lib/Drupal.php", "index.php"], Preset::Drupal, ""),
            (&["web/core/lib/Drupal.php", "web/index.php"], Preset::Drupal, "web"),
            (&["artisan", "public/index.php"], Preset::Laravel, "public"),
            (&["bin/console", "public/index.php"], Preset::Symfony, "public"),
            (&["symfony.lock", "public/index.php"], Preset::Symfony, "public"),
            (&["public/index.php", "index.php"], Preset::FrontController, "public"),
            (&["index.php", "src/a.php"], Preset::FrontController, ""),
            (&["index.php", "api.php"], Preset::Files, ""),
            (&["hello.php"], Preset::Files, ""),
            (&["index.html"], Preset::Files, ""),
        ] {
            let files: Vec<_> = files.iter().map(|name| (*name, "")).collect();
            assert_eq!(detected(&files), (preset, root.to_owned()), "{files:?}");
        }
    }

    #[test]
    fn knows_a_network_by_its_configuration() {
        for (config, preset) in [
            ("define( 'MULTISITE', true );\ndefine( 'SUBDOMAIN_INSTALL', false );", Preset::WordpressSubdirectory),
            ("define(\"MULTISITE\",TRUE);define('SUBDOMAIN_INSTALL',true);", Preset::WordpressSubdomain),
            ("Config::define('MULTISITE', true);", Preset::WordpressSubdirectory),
            ("// define( 'MULTISITE', true );", Preset::Wordpress),
            ("/* define( 'MULTISITE', true ); */", Preset::Wordpress),
            ("define( 'WP_ALLOW_MULTISITE', true );", Preset::Wordpress),
            ("define( 'MULTISITE', false );", Preset::Wordpress),
        ] {
            assert_eq!(detected(&[("wp-load.php", ""), ("wp-config.php", config)]).0, preset, "{config}");
        }
        let tree = Tree::new(&[("wp-config.php", "define('MULTISITE', true);"), ("site/wp-load.php", "")]);
        assert_eq!(Preset::detect(&tree.path().join("site")).0, Preset::WordpressSubdirectory);
    }
}
