//! `config.php.dist`, rendered from the table of keys.

use serde_json::Value;

use super::{
    edge::{Http3, Ssl},
    http::Fcgi,
    middleware::Cors,
    schema::{KEYS, Key},
    types::{Config, Rpc},
};

/// A PHP file that returns every key with its default.
pub fn render() -> String {
    let mut text = String::from(HEAD);
    level("", 1, &mut text);
    text.push_str("];\n");
    text
}

/// The default of `key` as a file would say it.
pub(super) fn default_of(key: &Key) -> Option<Value> {
    let mut config = Config::default();
    config.http.fcgi = Some(Fcgi::default());
    config.http.headers.cors = Some(Cors::default());
    config.http.ssl = Some(Ssl::default());
    config.http.http3 = Some(Http3::default());
    config.rpc = Some(Rpc::default());
    let value = key.setting?.show(&mut config);
    Some(if key.derived { Value::Null } else { value })
}

fn level(section: &str, depth: usize, text: &mut String) {
    let indent = "    ".repeat(depth);
    for key in KEYS.iter().filter(|key| parent(key.path) == section) {
        let name = key.path.rsplit('.').next().unwrap_or(key.path);
        text.push_str(&format!("{indent}// {}\n{indent}'{name}' => ", key.doc));
        match default_of(key) {
            Some(value) => php(&value, text),
            None => {
                text.push_str("[\n");
                level(key.path, depth + 1, text);
                text.push_str(&format!("{indent}]"));
            }
        }
        text.push_str(",\n");
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(section, _)| section)
}

fn php(value: &Value, text: &mut String) {
    match value {
        Value::String(one) => text.push_str(&format!("'{}'", one.replace('\\', "\\\\").replace('\'', "\\'"))),
        Value::Array(list) => {
            text.push('[');
            for (at, one) in list.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { ", " });
                php(one, text);
            }
            text.push(']');
        }
        // No key has a map for a default but an empty one.
        Value::Object(_) => text.push_str("[]"),
        other => text.push_str(&other.to_string()),
    }
}

const HEAD: &str = "<?php

// Every key of rr with its default. Copy what you change to config.php; the same keys work in .rr.yaml below version: \"3\".
// Durations: 500ms, 30s, 1m30s. Sizes: bytes, or 64K, 1M, 1G. null means the default. PHP runs this file, so getenv works.

return [
";
