//! No state crosses requests.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use crate::harness::{Server, is_sanitized, not_run, reference, server, wait_until};

/// `count` requests from `clients` at a time, each with a tag of its own that the script checks in all it can change.
fn mixed(server: &Server, clients: usize, count: usize) {
    let locale = server.text("/locale.php");
    let next = AtomicUsize::new(0);
    let failures: Vec<String> = thread::scope(|scope| {
        let run = || {
            let mut failures = Vec::new();
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= count {
                    return failures;
                }
                if let Err(failure) = one(server, number, &locale) {
                    failures.push(failure);
                }
            }
        };
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(run)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert!(
        failures.is_empty(),
        "{} of {count} failed, first:\n{}",
        failures.len(),
        failures[..failures.len().min(5)].join("\n")
    );
}

fn one(server: &Server, number: usize, locale: &str) -> Result<(), String> {
    let tag = format!("t{number}x");
    // Every seventh request ends badly, between the others.
    if number % 7 == 6 {
        let script =
            ["exception", "fatal", "exit-deep", "exit-in-shutdown", "memory", "fatal-in-buffer", "normal"][number / 7 % 7];
        server.get(&format!("/end/{script}.php")).try_send().map_err(|error| format!("{script}: {error}"))?;
        return Ok(());
    }
    let request = server
        .request("POST", &format!("/state.php?tag={tag}&locale={locale}"))
        .header("Cookie", &format!("tag={tag}"))
        .header("X-Tag", &tag)
        .form(&[("tag", &tag)]);
    let reply = request.try_send().map_err(|error| format!("{tag}: {error}"))?;
    let own = reply.header("x-tag") == Some(&tag) && (200..=202).contains(&reply.status) && reply.text() == format!("ok {tag}");
    if own { Ok(()) } else { Err(format!("{tag}: {} {}", reply.status, reply.text())) }
}

fn prepared(threads: usize) -> Server {
    let setup = server();
    let dir = setup.scratch().join("sessions");
    std::fs::create_dir(&dir).unwrap();
    setup
        .threads(threads)
        .ini("session.save_path", dir.to_str().unwrap())
        .ini("display_errors", "0")
        .ini("date.timezone", "UTC")
        .php("locale.php", "echo setlocale(LC_ALL, '0');")
        .start()
}

#[test]
fn hundreds_of_parallel_mixed_requests_keep_to_themselves() {
    mixed(&prepared(8), 16, 600);
}

#[test]
fn one_thread_serves_hundreds_without_a_trace() {
    mixed(&prepared(1), 4, 200);
}

#[test]
fn locale_of_one_thread_is_not_another_s() {
    let server = server()
        .threads(2)
        .php("set.php", "setlocale(LC_ALL, 'C.UTF-8'); for ($i = 0; $i < 40; $i++) { usleep(5000); if (setlocale(LC_CTYPE, '0') !== 'C.UTF-8') exit(\"changed in round $i\"); } echo 'kept';")
        .php("plain.php", "usleep(1000); echo setlocale(LC_CTYPE, '0');")
        .start();
    let plain = server.text("/plain.php");
    thread::scope(|scope| {
        let set = scope.spawn(|| server.text("/set.php"));
        while !set.is_finished() {
            assert_eq!(server.text("/plain.php"), plain);
        }
        assert_eq!(set.join().unwrap(), "kept");
    });
}

#[test]
fn ini_values_of_one_thread_are_not_another_s() {
    let server = server()
        .threads(2)
        .php("set.php", "ini_set('precision', '3'); ini_set('memory_limit', '33M'); date_default_timezone_set('Asia/Tokyo'); usleep(300000); echo 1 / 3, ini_get('memory_limit'), date_default_timezone_get();")
        .php("plain.php", "echo 1 / 3, ini_get('memory_limit'), date_default_timezone_get();")
        .start();
    thread::scope(|scope| {
        let set = scope.spawn(|| server.text("/set.php"));
        while !set.is_finished() {
            assert_eq!(server.text("/plain.php"), "0.33333333333333128MUTC");
        }
        assert_eq!(set.join().unwrap(), "0.33333MAsia/Tokyo");
    });
}

#[test]
fn opcache_restarts_under_load_change_no_output() {
    const INCLUDED: usize = 40;
    let mut setup = server()
        .threads(8)
        .ini("opcache.memory_consumption", "8")
        .ini("opcache.interned_strings_buffer", "1")
        .ini("opcache.max_accelerated_files", "200")
        .ini("opcache.max_wasted_percentage", "1")
        .php("main.php", "$sum = 0; for ($i = 0; $i < 40; $i++) { require __DIR__ . \"/inc/$i.php\"; $class = \"Included$i\"; $sum += $class::sum(); } echo $sum, ' ', Included7::NAME, ' ', end(Included9::$list);")
        .php("reset.php", "opcache_reset(); foreach (glob(__DIR__ . '/inc/*.php') as $file) opcache_invalidate($file, true); echo 'reset';");
    for number in 0..INCLUDED {
        let padding = format!(
            "function padding{number}() {{ return [{}]; }}",
            (0..400).map(|n| format!("'k{n}' => 'v{number}-{n}'")).collect::<Vec<_>>().join(", ")
        );
        setup = setup.php(
            &format!("inc/{number}.php"),
            &format!("class Included{number} {{ const NAME = 'n{number}'; static $list = ['a', 'z{number}']; static function sum() {{ static $calls = 0; return ++$calls * {number} + count(self::$list); }} }} {padding}"),
        );
    }
    let server = setup.start();
    let expected = format!("{} n7 z9", (0..INCLUDED).sum::<usize>() + 2 * INCLUDED);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                while next.fetch_add(1, Relaxed) < 1500 {
                    let number = next.load(Relaxed);
                    let (target, text) =
                        if number.is_multiple_of(25) { ("/reset.php", "reset") } else { ("/main.php", expected.as_str()) };
                    assert_eq!(server.text(target), text);
                }
            });
        }
    });
    server.stop();
}

#[test]
fn random_numbers_differ_between_threads_and_requests() {
    let server = server()
        .threads(4)
        .php("r.php", "echo mt_rand(), '-', rand(), '-', uniqid('', true), '-', bin2hex(random_bytes(4));")
        .start();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..40 {
        for (place, number) in server.text("/r.php").split('-').enumerate() {
            assert!(seen.insert((place, number.to_owned())), "{place}: {number} came twice");
        }
    }
}

#[test]
fn seeding_one_request_does_not_seed_the_next() {
    let server = server().threads(1).php("r.php", "if (isset($_GET['seed'])) mt_srand(1); echo mt_rand();").start();
    let seeded = server.text("/r.php?seed");
    assert_eq!(server.text("/r.php?seed"), seeded);
    assert_ne!(server.text("/r.php"), server.text("/r.php"));
}

#[test]
fn memory_is_flat_over_thousands_of_requests() {
    if is_sanitized() {
        return not_run("memory_is_flat_over_thousands_of_requests", "AddressSanitizer holds on to what is freed");
    }
    let server = server().threads(2).php("m.php", "$a = range(1, 2000); echo count($a), class_exists('X') ? 1 : 0;").start();
    let run = |count: usize| {
        let mut connection = server.connect();
        for _ in 0..count {
            let target = ["/m.php", "/session.php", "/end/exception.php", "/server.php?a=1"][count % 4];
            if connection.send(&server.get(target)).is_err() {
                connection = server.connect();
            }
        }
    };
    for part in 0..4 {
        run(500 + part);
    }
    let (before, begun) = (resident(&server), Instant::now());
    for part in 0..4 {
        run(1000 + part);
    }
    let after = resident(&server);
    assert!(after < before + 4096, "{before} KiB, and {after} KiB after 4,000 more in {:?}", begun.elapsed());
}

#[test]
#[ignore = "takes minutes; run with --ignored"]
fn two_hundred_thousand_mixed_requests_leave_memory_flat() {
    let server = prepared(4);
    soak(&server, 20_000);
    let before = resident(&server);
    soak(&server, 180_000);
    let after = resident(&server);
    assert!(after < before + 16_384, "{before} KiB after 20,000, {after} KiB after 200,000");
    mixed(&server, 8, 200);
}

#[test]
fn an_idle_thread_gives_the_memory_of_its_last_requests_back() {
    if reference().is_some() {
        return;
    }
    if is_sanitized() {
        return not_run(
            "an_idle_thread_gives_the_memory_of_its_last_requests_back",
            "AddressSanitizer holds on to what is freed",
        );
    }
    let server = server().threads(1).php("much.php", "for ($i = 0; $i < 200000; $i++) $all[] = [$i]; echo count($all);").start();
    assert_eq!(server.text("/clean.php"), "clean ");
    let before = resident(&server);
    // PHP keeps what requests needed on average; several make it keep all.
    for _ in 0..6 {
        assert_eq!(server.text("/much.php"), "200000");
    }
    let given_back = wait_until(Duration::from_secs(20), || resident(&server) < before + 16_384);
    assert!(given_back, "{before} KiB before, {} KiB after", resident(&server));
    assert_eq!(server.text("/much.php"), "200000");
    assert_eq!(server.text("/clean.php"), "clean ");
}

/// `count` requests over kept connections; scripts that end badly are among them.
fn soak(server: &Server, count: usize) {
    const TARGETS: [&str; 8] = [
        "/server.php?a[]=1&b=2",
        "/end/exception.php",
        "/buffers.php",
        "/session.php",
        "/headers.php",
        "/end/exit-deep.php",
        "/end/fatal.php",
        "/shutdown.php",
    ];
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = server.connect();
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= count {
                        return;
                    }
                    if connection.send(&server.get(TARGETS[number % TARGETS.len()])).is_err() {
                        connection = server.connect();
                    }
                }
            });
        }
    });
}

/// Resident memory in KiB.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
