//! # rr: the architecture page
//!
//! One program links libphp (ZTS) and runs PHP on dedicated threads that are fed through a pool. This page says how the parts
//! fit; each module says the rest.
//!
//! ## One HTTP request
//!
//! ```text
//! down  http::listen      sockets, bound once, shared by every io thread
//!       http::conn        protocol, strict heads, every time-out; hyper speaks the protocol
//!       http::h3          the same for HTTP/3, over quinn, which reads from UDP ports of its own
//!       http::service     THE path: route → file, or body received → Work
//!       worker::Pool      one bounded hand-off, to the worker that fell idle last; full → 503
//!       php (thread)      receive; one guarded verb of the shim
//!       php (sapi)        variables, body, headers, output: bytes move, verdicts return
//! up    worker::Reply     script end or first flush: head and first chunk, one wake-up
//!       http::response    Reply → hyper; later chunks stream through worker::OutputReader
//! ```
//!
//! [`http::fcgi`] feeds the same pool from FastCGI clients, by php-fpm's rules.
//! [`tcp`] has its own pool, whose works are no requests but tasks ([`worker::Tasks`]): a context and a body, both ways.
//! [`http::fileserver`] serves directories on a listener of its own, and runs no script.
//! [`rpc`] listens beside them for calls: of RoadRunner's PHP packages, such as for a [`lock`] or to count in [`metrics`], and of
//! our own `rr workers`.
//!
//! ## Processes
//!
//! `rr serve` is a [`supervisor`] that owns the listening sockets and starts an engine: this same program, which inherits them
//! and does all that is said below. A crash costs the requests that run; connections wait in the kernel until the next engine
//! accepts them. The log names what each thread was running ([`worker::scoreboard`]), and the native calls that the crash was in, which
//! another process finds out meanwhile. SIGHUP and SIGUSR2 start a new engine beside the old one, which then
//! finishes what it has begun; so does `rr reload`, which returns when what that served from may be deleted, and `rr rollback` brings
//! back what the engine before had. If the program's file has been replaced, the new program reads the configuration and runs the new engine, and then
//! takes the place of the old one in the supervisor's process too. It also answers health checks ([`health`]), takes over sockets
//! that systemd has opened, waits for orphans, and starts engines as another user (`server.user`). `engine.supervisor: false` does
//! without. TLS sessions are resumed by whichever engine a client finds, for the supervisor makes the keys of their tickets
//! ([`http::tls::tickets`]), and replaces them.
//!
//! Certificates that an authority issues ([`http::tls::acme`]) are in a directory that all engines look at; the one that has its
//! lock asks the authority, and lets go of it when it is succeeded.
//! Of several engines that serve side by side (`engine.processes`) any may get a call. One that concerns all is made at the others too,
//! over connections that the supervisor gives both ends of ([`rpc::Concerns`]), and so are the figures of all gathered.
//! What plugins keep in memory goes from each engine to the one that succeeds it, and has one owner all the time ([`state`]).
//! A UDP port of HTTP/3 has a socket for each of the two engines that there may be, and the kernel is told by which bit of a
//! connection's id to choose ([`http::h3`]): connections in progress stay with the older engine, new ones go to the newer. Of engines
//! side by side the first reads it.
//!
//! ## Sites and pools
//!
//! A request goes to a site by its host and to a route by its path ([`http::site`]). Each of these has a pool of its own, with its own
//! threads or processes, queue and ini values, so that a slow one keeps no other waiting. The default one is called `http`, the others
//! `http:shop.example` or `http/api/*`. A route without a worker does what its site does, in its own pool. All share one PHP, hence
//! one `PHP_SAPI`, one OPcache and one user.
//!
//! ## Carriers
//!
//! A pool's works are done by PHP threads, or by processes of any kind ([`worker::process`]). The latter are spoken to in
//! Goridge frames, and so are RoadRunner's PHP workers on threads: there the frames go through streams in memory. What the frames
//! mean for a client is the same for both, and stands in [`worker::roadrunner`].
//!
//! ## Threads
//!
//! - **io threads**, each with a tokio runtime of one thread, all accepting from the same sockets. One for every two CPUs: PHP
//!   needs the others. They never run PHP and never block on anything but local files.
//! - **PHP threads**, each with its own engine context and an 8 MiB stack. They never run tokio.
//! - **the main thread** starts the engine before any other thread exists, waits for signals, and shuts the engine down after
//!   every PHP thread has ended.
//! - **worker threads**, one for each worker's process, asleep in `poll` over its pipes.
//! - **the watchdog** ends scripts that run too long; **file threads** read large files; **the log writer** writes; in
//!   development **the watcher** ([`watch`]) looks at the project's files, has PHP start afresh when some have changed, and
//!   browsers load their pages anew ([`http::dev`]).
//!
//! While works are short, waking a thread costs as much as running one. So an io thread gathers the works of one turn before it wakes
//! a PHP thread, and while every core has something to run it wakes no further one: the running ones are about to take the work
//! themselves. It sees to it that no work is left waiting for that ([`worker::Pool::wake_if_waiting`]). On the way back, an answer
//! interrupts an io thread only if that sleeps.
//!
//! ## The fence
//!
//! PHP names stay in [`php`], `unsafe` there and in [`sys`] (other system calls go through safe crates). All `setjmp` is in C: Rust calls a verb
//! of `shim.h`, which is guarded and returns a status; C calls back into Rust, which moves bytes and returns a verdict, and
//! only then does C raise. So no longjmp crosses a Rust frame, and no panic crosses into C.
//!
//! libphp is linked to programs, never to the library: `rr.so` finds the engine in the `php` that loads it, and unit tests
//! outside [`php`] link without PHP.
//!
//! The C side has its own small module entry and uses no binding generator. The engine's macros (globals, `zend_try`, hash
//! loops) have to be C anyway, a generated binding would need libclang on every machine that builds, and what is left fits on
//! one page: `src/php/ffi.rs`.
//!
//! ## Who may name whom
//!
//! `main → cli → app → everything`; `http → worker`; `php → worker`; `rpc → worker`; `tcp → worker`, and the listening half of `http`;
//! `lock → state → sys`, and so [`metrics`], which are what applications count; `worker → nothing`; `watch → nothing`.
//! All may name [`telemetry`].
//! [`app`] is the only module that names both [`php`] and [`http`].
//!
//! ## Strangers' bytes
//!
//! What reads bytes from outside has a fuzz target (`./x fuzz`), in a file `fuzz.rs`
//! beside it; a unit test puts the inputs kept in `php-tests/fuzz/corpus` through all of them again.
//!
//! ## Bounds
//!
//! Every queue, buffer and wait has a key in the configuration ([`config`], listed in `config.php.dist`): works that wait
//! (`http.pool.max_queue_size`, `allocate_timeout`), request heads and bodies (`http.limits`), answers (`http.output`),
//! scripts (`http.request_timeout`, and PHP's own `max_execution_time` in CPU seconds), connections (`max_connections`), calls
//! (`rpc`), locks (`lock`), TCP messages and connections (`tcp`).

#[cfg(php_embed)]
pub mod app;
#[cfg(php_embed)]
pub mod cli;
pub mod config;
pub mod error;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod health;
pub mod http;
pub mod lock;
pub mod metrics;
pub mod net;
pub mod php;
pub mod rpc;
pub mod state;
pub mod supervisor;
pub mod sys;
pub mod tcp;
pub mod telemetry;
pub mod watch;
pub mod worker;
