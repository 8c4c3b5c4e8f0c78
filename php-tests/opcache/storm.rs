//! Many clients while OPcache restarts for every reason there is, files change, and caches are invalidated. Every answer is checked.
//!
//! `RR_STORM_SECONDS` says how long each of the ignored tests takes, 300 by default; `RR_APCU` names an `apcu.so` that is not
//! installed.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{MODES, Mode, call, put, restarts};
use crate::harness::{PATIENCE, Server, extension, is_sanitized, reference, wait_until};

/// Files that change, of which a page includes some, and files that do not.
const PARTS: usize = 60;
const INCLUDED: usize = 6;
const TINY: usize = 260;
/// What a part takes in the cache, besides its class.
const PADDING: usize = 150;

const APP: &str = r#"
abstract class Base { static function of($n, $v) { return static::NAME . ':' . $n . '-' . $v . ':' . implode(',', static::$list); } }
function answer(array $query): string {
    $n = (int) ($query['n'] ?? 0);
    switch ($query['do'] ?? '') {
        case 'page':
            $told = [];
            for ($i = 0; $i < 6; $i++) $told[] = include __DIR__ . '/parts/' . ($n + $i) % 60 . '.php';
            return implode("\n", $told);
        case 'tiny':
            $sum = 0;
            for ($i = 0; $i < 20; $i++) $sum += include __DIR__ . '/tiny/' . ($n + $i) % 260 . '.php';
            return (string) $sum;
        case 'invalidate':
            foreach (glob(__DIR__ . '/parts/*.php') as $file) opcache_invalidate($file, true);
            return 'invalidated';
        case 'reset':
            opcache_reset();
            return 'reset';
        case 'sleep':
            usleep(2000000);
            return 'slept';
        case 'apcu':
            $key = 'k' . $n % 200;
            $value = [$key, str_repeat("$key ", 200), new ArrayObject([$key => ['a' => 1]])];
            $got = apcu_fetch($key);
            $got === false ? apcu_store($key, $value, $n % 3) : ($n % 7 || apcu_delete($key));
            apcu_inc('count');
            return $got === false || $got == $value ? 'kept' : 'not what was stored';
    }
    return 'what?';
}
"#;

/// What the clients do for the most part.
#[derive(Clone, Copy, Debug)]
enum Weather {
    /// Invalidated files fill the memory.
    OutOfMemory,
    /// Many files fill the table.
    OutOfKeys,
    /// Scripts ask for resets.
    Resets,
}

const WEATHERS: [Weather; 3] = [Weather::OutOfMemory, Weather::OutOfKeys, Weather::Resets];

/// A storm to be.
struct Storm {
    mode: Mode,
    threads: usize,
    clients: usize,
    /// At least as long; it ends when OPcache has restarted for every reason.
    length: Duration,
    apcu: Option<PathBuf>,
}

/// What goes on.
struct Scene<'a> {
    server: &'a Server,
    has_apcu: bool,
    weather: AtomicUsize,
    over: AtomicBool,
    /// Of each part, the version that is about to be written, and the one that has been.
    announced: Vec<AtomicU64>,
    written: Vec<AtomicU64>,
    answered: AtomicU64,
    changes: AtomicU64,
}

/// The file of part `n`; classes of another version are other classes, for workers keep theirs.
fn part(n: usize, version: u64) -> String {
    let padding: Vec<_> = (0..PADDING).map(|k| format!("'k{k}' => 'part {n} {version} {k}'")).collect();
    format!(
        "<?php\nif (!class_exists('Part{n}v{version}', false)) {{ class Part{n}v{version} extends Base {{ const NAME = 'part{n}'; \
         public static $list = ['a{n}', 'v{version}']; static function padding() {{ return [{}]; }} static function told() {{ \
         static $calls = 0; return ++$calls > 0 ? self::of({n}, {version}) . ':' . count(self::padding()) : ''; }} }} }}\n\
         return Part{n}v{version}::told();\n",
        padding.join(", ")
    )
}

/// What it says, or another version of it; none if that is nothing that it ever says.
fn version_of(line: &str, n: usize) -> Option<u64> {
    let version = line.strip_prefix(&format!("part{n}:{n}-"))?.split(':').next()?.parse().ok()?;
    (line == format!("part{n}:{n}-{version}:a{n},v{version}:{PADDING}")).then_some(version)
}

// === impl Storm ===

impl Storm {
    /// Goes through it; what happened is printed.
    fn run(self) {
        let (setup, rpc) = self.mode.app(APP);
        let mut setup = setup
            .threads(self.threads)
            .option("http.pool.max_queue_size=10000")
            .ini("opcache.memory_consumption", "8")
            .ini("opcache.interned_strings_buffer", "1")
            .ini("opcache.max_accelerated_files", "200")
            .ini("opcache.max_wasted_percentage", "1")
            .ini("opcache.revalidate_freq", "0");
        if let Some(apcu) = &self.apcu {
            setup = setup.ini("extension", apcu.to_str().unwrap()).ini("apc.shm_size", "1M");
        }
        for n in 0..TINY {
            setup = setup.php(&format!("tiny/{n}.php"), &format!("return {n};"));
        }
        std::fs::create_dir(setup.document_root().join("parts")).unwrap();
        for n in 0..PARTS {
            put(&setup.document_root().join(format!("parts/{n}.php")), &part(n, 1), 1);
        }
        let server = setup.start();
        let versions = || (0..PARTS).map(|_| AtomicU64::new(1)).collect::<Vec<_>>();
        let scene = Scene {
            server: &server,
            has_apcu: self.apcu.is_some(),
            weather: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            announced: versions(),
            written: versions(),
            answered: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        };
        let began = Instant::now();
        let last = thread::scope(|scope| {
            let scene = &scene;
            let parts = (0..self.clients).map(|number| scope.spawn(move || scene.guarded(|| scene.client(number))));
            let others = [
                scope.spawn(move || scene.guarded(|| scene.writer())),
                scope.spawn(move || scene.guarded(|| scene.sleeper(rpc))),
            ];
            let threads: Vec<_> = parts.chain(others).collect();
            let last = scene.guarded(|| scene.watch(rpc, self.length));
            scene.over.store(true, SeqCst);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            last
        });
        let state = call(rpc, "opcache.Status").unwrap();
        eprintln!(
            "{:?}{}: {} s, {} answers, {} files changed, restarts (memory, keys, asked) {:?}, {}",
            self.mode,
            if self.apcu.is_some() { " with APCu" } else { "" },
            began.elapsed().as_secs(),
            scene.answered.load(SeqCst),
            scene.changes.load(SeqCst),
            last,
            state["restart"],
        );
        // All is well afterwards: what is written is what is served, and nobody died.
        for n in 0..PARTS {
            scene.page(n);
        }
        assert!(!server.log.text().contains("the engine died"), "{}", server.log.text());
        server.stop();
    }
}

// === impl Scene ===

impl Scene<'_> {
    /// A failure ends the others too.
    fn guarded<T>(&self, act: impl FnOnce() -> T) -> T {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        result.unwrap_or_else(|panic| {
            self.over.store(true, SeqCst);
            std::panic::resume_unwind(panic)
        })
    }

    fn client(&self, number: usize) {
        let mut random = number as u64 * 7919 + 1;
        while !self.over.load(SeqCst) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (n, dice) = ((random >> 33) as usize % 1000, (random >> 20) % 100);
            match WEATHERS[self.weather.load(SeqCst) % WEATHERS.len()] {
                _ if self.has_apcu && dice >= 80 => self.expect(&format!("apcu&n={n}"), "kept"),
                Weather::OutOfMemory if dice < 3 => self.expect("invalidate", "invalidated"),
                Weather::Resets if dice < 3 => self.expect("reset", "reset"),
                Weather::OutOfKeys if dice < 40 => {
                    let sum: usize = (0..20).map(|i| (n + i) % TINY).sum();
                    self.expect(&format!("tiny&n={n}"), &sum.to_string());
                }
                Weather::OutOfKeys if dice < 42 => self.expect("invalidate", "invalidated"),
                _ => self.page(n),
            }
        }
    }

    fn ask(&self, query: &str) -> String {
        let reply = self.server.get(&format!("/?do={query}")).send();
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        self.answered.fetch_add(1, SeqCst);
        reply.text()
    }

    fn expect(&self, query: &str, text: &str) {
        assert_eq!(self.ask(query), text, "{query}");
    }

    /// Each part is one that was there at some moment of the request.
    fn page(&self, n: usize) {
        let numbers: Vec<_> = (0..INCLUDED).map(|i| (n + i) % PARTS).collect();
        let before: Vec<_> = numbers.iter().map(|n| self.written[*n].load(SeqCst)).collect();
        let text = self.ask(&format!("page&n={n}"));
        assert_eq!(text.lines().count(), INCLUDED, "{text}");
        for ((line, n), before) in text.lines().zip(numbers).zip(before) {
            let version = version_of(line, n).unwrap_or_else(|| panic!("part {n} does not say {line:?}"));
            let after = self.announced[n].load(SeqCst);
            assert!((before..=after).contains(&version), "part {n}: {version} is not from {before} to {after}");
        }
    }

    /// Changes files.
    fn writer(&self) {
        let mut n = 0;
        while !self.over.load(SeqCst) {
            n = (n + 7) % PARTS;
            let version = self.announced[n].fetch_add(1, SeqCst) + 1;
            put(&self.server.root().join(format!("parts/{n}.php")), &part(n, version), version);
            self.written[n].store(version, SeqCst);
            self.changes.fetch_add(1, SeqCst);
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Sleeps in a script, for two seconds; then OPcache may restart, and it sleeps again.
    fn sleeper(&self, rpc: SocketAddr) {
        while !self.over.load(SeqCst) {
            self.expect("sleep", "slept");
            let before = restarts(&call(rpc, "opcache.Status").unwrap());
            wait_until(Duration::from_secs(5), || {
                thread::sleep(Duration::from_millis(50));
                self.over.load(SeqCst) || restarts(&call(rpc, "opcache.Status").unwrap()) != before
            });
        }
    }

    /// Changes the weather whenever OPcache has restarted for the reason that it brings about; for as long as `length`, and until
    /// there was every reason. Returns how often there was each.
    fn watch(&self, rpc: SocketAddr, length: Duration) -> [u64; 3] {
        let began = Instant::now();
        let mut last = [0; 3];
        loop {
            let weather = self.weather.load(SeqCst) % WEATHERS.len();
            let mut state = Value::Null;
            let has_restarted = wait_until(PATIENCE * 2, || {
                thread::sleep(Duration::from_millis(20));
                state = call(rpc, "opcache.Status").unwrap();
                self.over.load(SeqCst) || restarts(&state)[weather] > last[weather]
            });
            assert!(has_restarted, "no restart while {:?}: {state}", WEATHERS[weather]);
            last = restarts(&state);
            self.weather.fetch_add(1, SeqCst);
            if self.over.load(SeqCst) || began.elapsed() >= length && last.iter().all(|count| *count > 0) {
                return last;
            }
        }
    }
}

/// `apcu.so` for the PHP that `rr` is built with.
fn apcu() -> Option<PathBuf> {
    extension("apcu", "RR_APCU")
}

fn short(mode: Mode) -> Storm {
    let (threads, clients) = if is_sanitized() { (16, 24) } else { (64, 100) };
    Storm { mode, threads, clients, length: Duration::from_secs(10), apcu: None }
}

fn long(mode: Mode) -> Storm {
    let seconds = std::env::var("RR_STORM_SECONDS").map_or(300, |seconds| seconds.parse().unwrap());
    Storm { clients: 200, length: Duration::from_secs(seconds), ..short(mode) }
}

#[test]
fn no_answer_is_wrong_while_opcache_restarts() {
    if reference().is_some() {
        return;
    }
    for mode in MODES {
        short(mode).run();
    }
}

#[test]
fn apcu_keeps_what_it_is_given_while_opcache_restarts() {
    if reference().is_some() {
        return;
    }
    let Some(apcu) = apcu() else { return };
    for mode in MODES {
        Storm { apcu: Some(apcu.clone()), length: Duration::from_secs(5), ..short(mode) }.run();
    }
}

#[test]
#[ignore = "takes ten minutes, or as long as RR_STORM_SECONDS says for each of its two modes; with APCu if RR_APCU names it"]
fn no_answer_is_wrong_in_a_long_storm() {
    if reference().is_some() {
        return;
    }
    for mode in MODES {
        Storm { apcu: std::env::var_os("RR_APCU").map(PathBuf::from), ..long(mode) }.run();
    }
}
