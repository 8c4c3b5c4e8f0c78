//! How PHP scales from one thread to two without HTTP: works go straight into a pool's queue, all of them at once, and the time counts
//! until the last is answered. Usage: `scaling SCRIPT REQUESTS ROUNDS`, where REQUESTS is how many make one measurement.
//!
//! Prints lines of `threads round microseconds cpu-microseconds`.

#[cfg(not(php_embed))]
fn main() {}

#[cfg(php_embed)]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(php_embed)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    bench::run()
}

#[cfg(php_embed)]
mod bench {
    use std::{
        env,
        error::Error,
        fs,
        io::{self, Write},
        os::unix::ffi::OsStrExt,
        path::Path,
        time::{Duration, Instant, SystemTime},
    };

    use bytes::Bytes;
    use http::{HeaderMap, Method, StatusCode, Version};
    use nix::sys::resource::{UsageWho, getrusage};
    use rr::{
        php::{Config, Engine, IniFile, PoolConfig, ScriptKind},
        worker::{
            self, Answer, Body, HttpHead, OutputBudget, OutputLimits, Pool, ReplyBody, Request, Responder, Rules, Script, Source,
            Wake, Work,
        },
    };
    use tokio::runtime::{Builder, Runtime};

    const A_WHILE: Duration = Duration::from_secs(60);

    pub(super) fn run() -> Result<(), Box<dyn Error>> {
        let arguments: Vec<_> = env::args().collect();
        let [_, script, requests, rounds, ..] = &arguments[..] else {
            return Err("usage: scaling SCRIPT REQUESTS ROUNDS".into());
        };
        let (script, requests, rounds) = (script_at(&fs::canonicalize(script)?)?, requests.parse()?, rounds.parse::<u32>()?);
        let runtime = Builder::new_current_thread().build()?;
        let pools = [1, 2].map(|threads| pool(threads, requests));
        let engine = Engine::start(engine(), pools.iter().cloned().map(threads_of).collect(), None)?;
        if !engine.has_opcache() {
            return Err("OPcache is off; set PHPRC to the folder of a php.ini that loads it".into());
        }
        for round in 0..=rounds {
            // Each round in the other direction.
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for at in order {
                let (wall, cpu) = measure(&pools[at], &script, requests, &runtime)?;
                // The first one fills caches.
                if round > 0 {
                    writeln!(
                        io::stdout(),
                        "{} {round} {} {}",
                        pools[at].config().num_workers,
                        wall.as_micros(),
                        cpu.as_micros()
                    )?;
                }
            }
        }
        engine.stop(A_WHILE);
        Ok(())
    }

    /// How long `pool` takes for so many requests, and how much of the cores' time that is.
    fn measure(pool: &Pool, script: &Script, requests: usize, runtime: &Runtime) -> Result<(Duration, Duration), Box<dyn Error>> {
        let (works, answers): (Vec<_>, Vec<_>) = (0..requests).map(|_| work(script)).unzip();
        let (began, cpu_before) = (Instant::now(), cpu()?);
        for mut work in works {
            work.submitted = Instant::now();
            pool.submit(work, Wake::Now).map_err(|_| "the pool refused a request")?;
        }
        // The last one first: this thread sleeps once, not once for each.
        let replies: Vec<_> = runtime.block_on(async {
            let mut replies = Vec::with_capacity(requests);
            for answer in answers.into_iter().rev() {
                replies.push(answer.await);
            }
            replies
        });
        let (wall, cpu) = (began.elapsed(), cpu()? - cpu_before);
        for reply in replies {
            let reply = reply?;
            if reply.head.status != StatusCode::OK || !matches!(&reply.body, ReplyBody::Whole(body) if !body.is_empty()) {
                return Err(format!("a wrong answer: {reply:?}").into());
            }
        }
        Ok((wall, cpu))
    }

    fn cpu() -> Result<Duration, Box<dyn Error>> {
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let of = |time: nix::sys::time::TimeVal| {
            Ok::<_, Box<dyn Error>>(Duration::new(time.tv_sec().try_into()?, (time.tv_usec() * 1000).try_into()?))
        };
        Ok(of(usage.user_time())? + of(usage.system_time())?)
    }

    fn work(script: &Script) -> (Work, Answer) {
        let (responder, answer) = Responder::new();
        let head = HttpHead {
            method: Method::GET,
            target: "/hello.php".into(),
            query: String::new(),
            version: Version::HTTP_11,
            headers: HeaderMap::new(),
            remote: None,
            local: None,
            port: None,
            name: None,
            secure: None,
            server_name: "localhost".into(),
        };
        let request = Request {
            id: 1,
            received: SystemTime::now(),
            script: script.clone(),
            source: Source::Http(head),
            body: Body::Empty,
            ini: Vec::new(),
            interim: None,
            phases: None,
        };
        (Work { request: Box::new(request), responder, submitted: Instant::now() }, answer)
    }

    fn script_at(path: &Path) -> Result<Script, Box<dyn Error>> {
        let bytes = |path: &Path| Bytes::copy_from_slice(path.as_os_str().as_bytes());
        let name = path.file_name().ok_or("the script has no name")?;
        Ok(Script {
            filename: bytes(path),
            name: bytes(&Path::new("/").join(name)),
            path_info: Bytes::new(),
            document_root: bytes(path.parent().ok_or("the script is in no folder")?),
        })
    }

    fn pool(threads: usize, requests: usize) -> Pool {
        Pool::new(worker::Config { num_workers: threads, max_queue_size: requests, allocate_timeout: A_WHILE })
    }

    fn threads_of(pool: Pool) -> PoolConfig {
        PoolConfig {
            name: format!("of-{}", pool.config().num_workers),
            pool,
            script: ScriptKind::Classic,
            variables: Vec::new(),
            ini: Vec::new(),
            debug: false,
            boot_timeout: A_WHILE,
            reset_timeout: A_WHILE,
            destroy_timeout: A_WHILE,
            request_timeout: Duration::ZERO,
            is_exec_ttl: false,
            slow_after: Duration::ZERO,
            stream_timeout: A_WHILE,
            max_jobs: 0,
            rules: Rules { watch_tick: A_WHILE, ttl: Duration::ZERO, idle_ttl: Duration::ZERO, max_memory: 0 },
            growth: None,
        }
    }

    fn engine() -> Config {
        Config {
            sapi: "fpm-fcgi".into(),
            ini: Vec::new(),
            ini_file: IniFile::Usual,
            env: Vec::new(),
            clear_env: true,
            first_chunk: 128 << 10,
            output: OutputLimits {
                memory: 1 << 20,
                file: 1 << 30,
                write_timeout: A_WHILE,
                directory: env::temp_dir(),
                budget: OutputBudget::unlimited(),
            },
            tolerant: false,
            leaks: false,
            compile: rr::php::Compile::default(),
        }
    }
}
