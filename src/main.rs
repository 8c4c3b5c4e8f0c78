//! The life of the process.

use std::{sync::{Arc, atomic::{AtomicU64, Ordering::Relaxed}}, time::{Duration, Instant, SystemTime}, net::SocketAddr};
use rr::{php, worker::{self, *}, http::{Body, request::Limits}};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let root: Arc<str> = std::fs::canonicalize(std::env::args().nth(1).unwrap()).unwrap().to_str().unwrap().into();
    let workers: usize = std::env::var("WORKERS").ok().and_then(|w| w.parse().ok()).unwrap_or(4);
    let pool = Pool::new(worker::Config { num_workers: workers, max_queue_size: 1000, allocate_timeout: Duration::from_secs(30) });
    let out = OutputLimits { memory: 1<<20, file: 1<<30, write_timeout: Duration::from_secs(60), directory: "/tmp".into() };
    let engine = php::Engine::start(php::Config { sapi: "fpm-fcgi".into(), ini: vec![], env: vec![], clear_env: false, first_chunk: 128<<10, output: out, request_timeout: Duration::ZERO, max_jobs: 0 }, &pool).unwrap();
    eprintln!("php {} opcache {}", engine.version(), engine.has_opcache());
    let limits = Arc::new(Limits { max_size: 1<<30, memory: 64<<10, idle_timeout: Duration::from_secs(60), directory: "/tmp".into() });
    let ids = Arc::new(AtomicU64::new(0));
    let p2 = pool.clone();
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().on_thread_park(move || p2.wake_if_waiting()).build().unwrap();
    rt.block_on(async move {
        let l = tokio::net::TcpListener::bind("127.0.0.1:8080").await.unwrap();
        loop {
            let (s, remote) = l.accept().await.unwrap();
            s.set_nodelay(true).unwrap();
            let local = s.local_addr().unwrap();
            let (pool, root, limits, ids) = (pool.clone(), root.clone(), limits.clone(), ids.clone());
            tokio::spawn(async move {
                let svc = hyper::service::service_fn(move |req| { let (pool, root, limits, ids) = (pool.clone(), root.clone(), limits.clone(), ids.clone()); async move { handle(req, pool, root, limits, ids, remote, local).await } });
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(hyper_util::rt::TokioIo::new(s), svc).await;
            });
        }
    });
}

async fn handle(req: hyper::Request<hyper::body::Incoming>, pool: Pool, root: Arc<str>, limits: Arc<Limits>, ids: Arc<AtomicU64>, remote: SocketAddr, local: SocketAddr) -> Result<hyper::Response<Body>, std::convert::Infallible> {
    let (parts, body) = req.into_parts();
    let body = limits.receive(body).await.unwrap();
    let (responder, rx) = Responder::new();
    let mut path = parts.uri.path().to_string();
    if path.ends_with('/') { path.push_str("index.php"); }
    let query = parts.uri.query().unwrap_or("").to_string();
    let mut filename = format!("{root}{path}");
    if !path.ends_with(".php") {
        match std::fs::read(&filename) { Ok(b) => return Ok(hyper::Response::new(Body::from(bytes::Bytes::from(b)))), Err(_) => { path = "/index.php".into(); filename = format!("{root}/index.php"); } }
    }
    let request = Request { id: ids.fetch_add(1, Relaxed), received: SystemTime::now(), script: Script { filename, name: path.clone(), path_info: String::new(), document_root: root },
        source: Source::Http(HttpHead { method: parts.method, target: parts.uri.to_string(), document_uri: path, query, version: parts.version, server_name: parts.headers.get("host").and_then(|h| h.to_str().ok()).unwrap_or("").split(':').next().unwrap().into(), headers: parts.headers, remote: Some(remote), local: Some(local), secure: false }),
        body, ini: vec![], interim: None };
    let _ = pool.submit(Work { request, responder, submitted: Instant::now() }, Wake::WhenParked);
    let reply = rx.await;
    Ok(match reply {
        Ok(Ok(Reply { head, body })) => {
            let mut r = hyper::Response::new(match body { ReplyBody::Whole(b) => Body::from(b), ReplyBody::Stream(s) => Body::Output(s) });
            *r.status_mut() = head.status; *r.headers_mut() = head.headers; r
        }
        other => { let mut r = hyper::Response::new(Body::from(bytes::Bytes::from(format!("{other:?}")))); *r.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR; r }
    })
}
