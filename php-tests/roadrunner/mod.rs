//! Workers written for RoadRunner: on PHP threads, and as processes of their own.
//!
//! The worker is `fixtures/roadrunner/worker.php`, which speaks Goridge by hand, so that what is tested is the protocol and not
//! a version of RoadRunner's packages.

mod answers;
mod ends;
mod octane;
mod processes;
mod requests;
mod statics;
mod threads;

use std::{os::unix::fs::symlink, path::Path};

use crate::harness::{Server, Setup, server};

/// What runs the workers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Carrier {
    Threads,
    Processes,
}

/// The same behaviour on both carriers.
macro_rules! both_carriers {
    ($($(#[$attribute:meta])* fn $name:ident($carrier:ident: Carrier) $body:block)*) => {
        $(
            mod $name {
                #[test]
                fn on_threads() {
                    super::$name(crate::roadrunner::Carrier::Threads);
                }

                #[test]
                fn in_processes() {
                    super::$name(crate::roadrunner::Carrier::Processes);
                }
            }

            $(#[$attribute])*
            fn $name($carrier: crate::roadrunner::Carrier) {
                if crate::harness::reference().is_none() {
                    $body
                }
            }
        )*
    };
}
use both_carriers;

/// A server to be, with two workers.
fn setup(carrier: Carrier) -> Setup {
    let setup = with(carrier, "root/roadrunner/worker.php one two");
    match carrier {
        Carrier::Threads => setup,
        Carrier::Processes => setup.option("http.pool.carrier=process"),
    }
}

/// A server whose workers run `php` with these arguments.
fn with(carrier: Carrier, arguments: &str) -> Setup {
    let setup = server().option(&format!("server.command=php {arguments}"));
    match carrier {
        Carrier::Threads => setup,
        Carrier::Processes => with_php(setup),
    }
}

/// Puts a `php` in the server's path: the one that rr was built with.
pub(crate) fn with_php(setup: Setup) -> Setup {
    let bin = setup.scratch().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let rr = crate::harness::rr().get_program().to_owned();
    _ = symlink(std::fs::canonicalize(Path::new(&rr)).unwrap(), bin.join("php"));
    let path = std::env::var("PATH").unwrap_or_default();
    setup.env("PATH", &format!("{}:{path}", bin.display()))
}

/// What a worker knows of itself.
fn worker(server: &Server) -> serde_json::Value {
    server.get("/worker").send().json()
}
