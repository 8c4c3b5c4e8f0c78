//! What development mode is for: a change is seen at once, in PHP and in the browser; what grows is named; a debugger stops.

mod browser;
mod debugger;
mod leaks;
mod watch;

use std::path::Path;

use crate::harness::{Server, Setup, server};

/// How the script is run.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Classic,
    Worker,
}

/// The same test in classic and in worker mode.
macro_rules! both_modes {
    ($(fn $name:ident($mode:ident) $body:block)*) => {$(
        mod $name {
            use super::*;

            fn test($mode: crate::dev::Mode) $body

            #[test]
            fn classic() {
                if crate::harness::reference().is_none() {
                    test(crate::dev::Mode::Classic);
                }
            }

            #[test]
            fn worker() {
                if crate::harness::reference().is_none() {
                    test(crate::dev::Mode::Worker);
                }
            }
        }
    )*};
}
use both_modes;

/// A watched project: `public/index.php` answers with what `page()` of `src/page.php` prints.
fn project(mode: Mode, page: &str) -> Setup {
    unwatched(mode, page).argument("--watch").option("dev.debounce=50ms")
}

/// The same as it is in production.
fn unwatched(mode: Mode, page: &str) -> Setup {
    let call = match mode {
        Mode::Classic => "page();",
        Mode::Worker => "while (rr_handle_request(function () { page(); })) {}",
    };
    let setup = server()
        .bare()
        .preset("front-controller")
        .file("composer.json", "{}")
        .php("src/page.php", &function(page))
        .php("public/index.php", &format!("require __DIR__ . '/../src/page.php';\n{call}"));
    let public = setup.document_root().join("public");
    let setup = match mode {
        Mode::Classic => setup,
        Mode::Worker => setup.option(&format!("http.worker={}", public.join("index.php").display())),
    };
    setup.root(&public)
}

/// `page()` with that body.
fn function(body: &str) -> String {
    format!("function page() {{ {body} }}")
}

/// Makes `page()` do something else.
fn rewrite(server: &Server, body: &str) {
    write(&source(server), body);
}

fn write(path: &Path, body: &str) {
    std::fs::write(path, format!("<?php\n{}\n", function(body))).unwrap();
}

/// Where `page()` is.
fn source(server: &Server) -> std::path::PathBuf {
    server.root().parent().unwrap().join("src/page.php")
}
