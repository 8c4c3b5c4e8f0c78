//! Worker scripts: each behaviour is asked of every kind of script it applies to, by many clients at once where they could
//! get in each other's way. `app/` is the one application that they all run.

mod boot;
mod drop_in;
mod ends;
mod input;
mod load;
mod output;
mod pull;
mod reset;
mod state;

use std::{path::Path, sync::Mutex, thread};

use crate::harness::{Reply, Request, Server, Setup, reference, server};

/// What a script is to the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Executed once per request.
    Classic,
    /// `rr_handle_request()`.
    Callback,
    /// `frankenphp_handle_request()`.
    FrankenPhp,
    /// `RR\Worker`.
    Pull,
}

const KINDS: [Kind; 4] = [Kind::Classic, Kind::Callback, Kind::FrankenPhp, Kind::Pull];
const WORKERS: [Kind; 3] = [Kind::Callback, Kind::FrankenPhp, Kind::Pull];
/// Those whose output is the answer.
const PRINTING: [Kind; 3] = [Kind::Classic, Kind::Callback, Kind::FrankenPhp];

/// Clients at once.
const CROWD: usize = 60;

// === impl Kind ===

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Callback => "callback",
            Self::FrankenPhp => "frankenphp",
            Self::Pull => "pull",
        }
    }

    /// The application as this kind of script, on two threads.
    fn app(self) -> Setup {
        let setup = plain();
        let app = setup.scratch().join("app");
        crate::harness::copy_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("php-tests/worker/app"), &app);
        let setup = setup.root(&app.join("public")).env("RR_TEST_KIND", self.name());
        match self {
            Self::Classic => setup.preset("front-controller"),
            _ => setup.option(&format!("http.worker={}", app.join("public/index.php").display())),
        }
    }

    fn start(self) -> Server {
        self.app().start()
    }

    fn is_worker(self) -> bool {
        self != Self::Classic
    }
}

/// A server whose errors go to the log alone.
fn plain() -> Setup {
    server().bare().ini("display_errors", "0").ini("log_errors", "1").ini("html_errors", "0")
}

/// A worker script of a test's own; `code` comes without its opening tag.
fn script(code: &str) -> Setup {
    let setup = plain().php("worker.php", code);
    let path = setup.document_root().join("worker.php");
    setup.option(&format!("http.worker={}", path.display()))
}

/// True where `rr` is not what is tested: nginx and php-fpm have no worker scripts.
fn elsewhere() -> bool {
    reference().is_some()
}

/// [`CROWD`] requests at once; each answer is checked against its own number.
fn crowd(request: impl Fn(usize) -> Request + Sync, check: impl Fn(usize, Reply) + Sync) {
    let failed = Mutex::new(None);
    thread::scope(|scope| {
        for number in 0..CROWD {
            let (request, check, failed) = (&request, &check, &failed);
            scope.spawn(move || {
                let run = std::panic::AssertUnwindSafe(|| check(number, request(number).send()));
                if let Err(panic) = std::panic::catch_unwind(run) {
                    failed.lock().unwrap().get_or_insert(panic);
                }
            });
        }
    });
    if let Some(panic) = failed.into_inner().unwrap() {
        std::panic::resume_unwind(panic);
    }
}

/// The boot that answers now, and the requests it has served.
fn boot_of(server: &Server) -> (String, u32) {
    let text = server.text("/boot");
    let (boot, served) = text.split_once(' ').unwrap();
    (boot.to_owned(), served.parse().unwrap())
}
