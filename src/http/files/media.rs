//! The media type of a file, by its name.

use std::path::Path;

/// The value of `Content-Type`.
pub(super) fn content_type(name: &Path) -> &'static str {
    let extension = name.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    // Where the table's first choice is not what the web means by the name.
    match extension.to_ascii_lowercase().as_str() {
        "map" => return "application/json",
        "ts" => return "video/mp2t",
        _ => {}
    }
    let guess = mime_guess::from_ext(extension).first_raw().unwrap_or("application/octet-stream");
    // Said for text whose charset a browser would otherwise guess from the system's language; XML and SVG name their own.
    match guess {
        "text/html" => "text/html; charset=utf-8",
        "text/css" => "text/css; charset=utf-8",
        "text/plain" => "text/plain; charset=utf-8",
        "text/javascript" | "application/javascript" => "text/javascript; charset=utf-8",
        "text/markdown" => "text/markdown; charset=utf-8",
        "text/csv" => "text/csv; charset=utf-8",
        "text/vtt" => "text/vtt; charset=utf-8",
        guess => guess,
    }
}

/// True for types that tools precompress; others are not worth the look for siblings.
pub(super) fn is_compressible(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.starts_with("text/")
        || essence.ends_with("+xml")
        || essence.ends_with("+json")
        || matches!(
            essence,
            "application/json"
                | "application/xml"
                | "application/wasm"
                | "application/vnd.ms-fontobject"
                | "font/ttf"
                | "font/otf"
        )
        || matches!(essence, "application/x-font-ttf" | "image/x-icon" | "image/bmp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_type() {
        for (name, expected) in [
            ("a.html", "text/html; charset=utf-8"),
            ("a.CSS", "text/css; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.js.map", "application/json"),
            ("a.ts", "video/mp2t"),
            ("a.svg", "image/svg+xml"),
            ("a.woff2", "font/woff2"),
            ("a.webp", "image/webp"),
            ("a.wasm", "application/wasm"),
            ("a.webmanifest", "application/manifest+json"),
            ("a", "application/octet-stream"),
            ("a.unknown-type", "application/octet-stream"),
        ] {
            assert_eq!(content_type(Path::new(name)), expected, "{name}");
        }
        assert!(is_compressible("text/css; charset=utf-8") && is_compressible("image/svg+xml") && !is_compressible("image/png"));
    }
}
