//! The process that keeps the sockets: engines die and are replaced, and clients hardly notice.

mod crash;
mod health;
mod operator;
mod reload;

use std::time::Duration;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::harness::{Server, Setup, server, wait_until};

fn site() -> Setup {
    server()
        .php("pid.php", "echo getmypid();")
        .php("echo.php", "echo $_GET['tag'] ?? '', file_get_contents('php://input');")
        .php("slow.php", "file_put_contents($_GET['began'], '1'); usleep((int) $_GET['ms'] * 1000); echo 'finished';")
}

/// The engine that answers now.
fn engine(server: &Server) -> Pid {
    Pid::from_raw(server.text("/pid.php").parse().unwrap())
}

fn is_gone(process: Pid) -> bool {
    wait_until(Duration::from_secs(10), || kill(process, None::<Signal>).is_err())
}
