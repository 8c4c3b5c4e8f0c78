//! A clock that is set while the server runs, as after a pause of its machine: dates follow it, and what takes time does not.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::sys::signal::Signal;

use crate::harness::{PATIENCE, Reply, Server, Setup, not_run, reference, server, wait_until};

const YEAR: i64 = 365 * 24 * 60 * 60;

/// The library through which a program sees the clock that a file tells.
fn library() -> Option<PathBuf> {
    let architectures = fs::read_dir("/usr/lib").unwrap().flatten();
    let library = architectures.map(|entry| entry.path().join("faketime/libfaketime.so.1")).find(|path| path.exists());
    if library.is_none() {
        not_run("a clock that jumps", "libfaketime is not installed");
    }
    library
}

/// A server whose clock is set by [`set`].
fn with_clock() -> Option<Setup> {
    if reference().is_some() || crate::harness::is_sanitized() {
        return None;
    }
    let library = library()?;
    let setup = server().bare().threads(2).option("http.request_timeout=60s");
    let clock = setup.scratch().join("clock");
    fs::write(&clock, "+0").unwrap();
    let code = "touch($_GET['began']); while (!file_exists($_GET['until'])) { usleep(1000); clearstatcache(); } echo 'done';";
    let setup = setup.php("time.php", "echo time(), ' ', getmypid();").php("wait.php", code);
    Some(
        setup
            .env("LD_PRELOAD", &library.display().to_string())
            .env("FAKETIME_TIMESTAMP_FILE", &clock.display().to_string())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    )
}

/// Whole file, or the one before: what is read is never half of it.
fn set(server: &Server, offset: &str) {
    let clock = server.dir().join("clock");
    fs::write(clock.with_extension("new"), offset).unwrap();
    fs::rename(clock.with_extension("new"), clock).unwrap();
}

/// The seconds of a `Date`.
fn date(reply: &Reply) -> u64 {
    let date = httpdate::parse_http_date(reply.header("date").unwrap()).unwrap();
    date.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_clock_that_is_set_changes_dates_and_nothing_else() {
    let Some(setup) = with_clock() else { return };
    let server = setup.start();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let time = |reply: &Reply| {
        let text = reply.text();
        let (time, pid) = text.split_once(' ').unwrap();
        (time.parse::<u64>().unwrap(), pid.to_owned())
    };
    let mut kept = server.connect();
    let (_, engine) = time(&kept.send(&server.get("/time.php")).unwrap());
    for (index, offset) in [9 * YEAR, -9 * YEAR, 0].into_iter().enumerate() {
        let (began, until) = (server.dir().join(format!("began{index}")), server.dir().join(format!("until{index}")));
        let target = format!("/wait.php?began={}&until={}", began.display(), until.display());
        let mut slow = server.get(&target).fire();
        assert!(wait_until(PATIENCE, || began.exists()));
        set(&server, &format!("{offset:+}"));
        let expected = |told: u64| told.abs_diff(now().saturating_add_signed(offset)) < 3600;
        let mut follows = || {
            let reply = kept.send(&server.get("/time.php")).unwrap();
            let (told, pid) = time(&reply);
            assert_eq!((reply.status, &pid), (200, &engine), "{}", server.log.text());
            expected(told) && expected(date(&reply))
        };
        assert!(wait_until(PATIENCE, &mut follows), "{offset}");
        // Long enough for whoever looks at deadlines and signs of life.
        let since = Instant::now();
        assert!(wait_until(PATIENCE, || follows() && since.elapsed() > Duration::from_millis(1500)));
        fs::write(&until, "").unwrap();
        let reply = slow.read().unwrap();
        assert_eq!((reply.status, reply.text()), (200, "done".into()), "begun before the clock was set\n{}", server.log.text());
    }
    drop(kept);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended_within(PATIENCE).and_then(|status| status.code()), Some(0), "{}", server.log.text());
}
