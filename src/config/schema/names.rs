//! What the values of enums are called in a file.

use crate::config::{
    form::Named,
    http::{Context, Preset},
    types::{Encoding, Level, LogMode, Reset},
};

impl Named for Preset {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("wordpress", Self::Wordpress),
        ("wordpress-multisite-subdirectory", Self::WordpressMultisiteSubdirectory),
        ("wordpress-multisite-subdomain", Self::WordpressMultisiteSubdomain),
        ("drupal", Self::Drupal),
        ("laravel", Self::Laravel),
        ("symfony", Self::Symfony),
        ("front-controller", Self::FrontController),
        ("files", Self::Files),
    ];
}

impl Named for Context {
    const NAMES: &'static [(&'static str, Self)] = &[("json", Self::Json), ("proto", Self::Proto)];
}

impl Named for Reset {
    const NAMES: &'static [(&'static str, Self)] = &[("strict", Self::Strict), ("basic", Self::Basic)];
}

impl Named for LogMode {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("development", Self::Development),
        ("production", Self::Production),
        ("raw", Self::Raw),
        ("off", Self::Off),
        ("none", Self::Off),
    ];
}

impl Named for Level {
    const NAMES: &'static [(&'static str, Self)] =
        &[("debug", Self::Debug), ("info", Self::Info), ("warn", Self::Warn), ("error", Self::Error), ("panic", Self::Panic)];
}

impl Named for Encoding {
    const NAMES: &'static [(&'static str, Self)] = &[("console", Self::Console), ("json", Self::Json)];
}
