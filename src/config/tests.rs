//! The configuration as an operator meets it.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::{
    absent::{NO_CACHE, NO_OTEL},
    dist,
    resolve::resolve,
    schema::KEYS,
    *,
};

/// A directory of files that goes away with the test.
struct Files(PathBuf);

impl Files {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let directory = std::env::temp_dir().join(format!("rr-config-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for (name, text) in files {
            fs::write(directory.join(name), text).unwrap();
        }
        Self(directory)
    }

    fn options(&self, overrides: &[&str]) -> LoadOptions {
        LoadOptions {
            directory: Some(self.0.clone()),
            overrides: overrides.iter().map(|one| (*one).to_owned()).collect(),
            ..LoadOptions::default()
        }
    }

    fn load(&self, overrides: &[&str]) -> Result<Config, String> {
        load(&self.options(overrides)).map_err(|error| error.to_string())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Loads one `.rr.yaml`, to which the version is added.
fn yaml(name: &str, text: &str, overrides: &[&str]) -> Result<Config, String> {
    Files::new(name, &[(".rr.yaml", &format!("version: \"3\"\n{text}"))]).load(overrides)
}

fn read(raw: Value) -> Result<Config, String> {
    resolve(&raw).map_err(|error| error.to_string())
}

fn tcp(address: &str) -> Address {
    Address::Tcp(address.into())
}

// === defaults and the .dist ===

#[test]
fn nothing_given_is_the_defaults() {
    assert_eq!(Files::new("nothing", &[]).load(&[]), Ok(Config::default()));
    assert_eq!(read(Value::Null), Ok(Config::default()));
    assert_eq!(read(json!([])), Ok(Config::default()), "an empty PHP array");
    assert_eq!(read(json!({"http": null, "php": [], "logs": {}})), Ok(Config::default()));
}

#[test]
fn the_committed_dist_is_the_rendering() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config.php.dist");
    if std::env::var_os("RR_BLESS").is_some() {
        fs::write(path, dist::render()).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap();
    assert!(committed == dist::render(), "config.php.dist is out of date: RR_BLESS=1 cargo test --lib config writes it anew");
}

#[test]
fn the_dist_means_the_defaults() {
    let text = dist::render();
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut rest = code.strip_prefix("<?phpreturn ").unwrap();
    let array = php_literal(&mut rest);
    assert_eq!(rest, ";");
    assert_eq!(read(array), Ok(Config::default()));
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let source = [
        include_str!("types.rs"),
        include_str!("http.rs"),
        include_str!("pool.rs"),
        include_str!("server.rs"),
        include_str!("dev.rs"),
        include_str!("edge.rs"),
        include_str!("acme.rs"),
        include_str!("middleware.rs"),
        include_str!("fileserver.rs"),
        include_str!("access.rs"),
        include_str!("answers.rs"),
        include_str!("guards.rs"),
        include_str!("metrics.rs"),
        include_str!("tcp.rs"),
        include_str!("lock.rs"),
    ]
    .concat();
    // Every pool's keys are documented once.
    let is_of = |path: &str, key: &str| path.strip_prefix('*').map_or(path == key, |end| key.ends_with(end));
    let documented: Vec<_> =
        source.lines().filter_map(|line| line.strip_prefix("/// - `")?.strip_suffix('`')?.split_once("`: `")).collect();
    for key in KEYS {
        let Some(default) = dist::default_of(key) else { continue };
        let shown = match &default {
            Value::Array(list) => format!("[{}]", list.iter().map(|one| one.as_str().unwrap()).collect::<Vec<_>>().join(", ")),
            other => other.as_str().map_or_else(|| other.to_string(), str::to_owned),
        };
        let found: Vec<_> = documented.iter().filter(|(path, _)| is_of(path, key.path)).map(|(_, value)| *value).collect();
        assert_eq!(found, [shown], "{}", key.path);
    }
    for (path, _) in documented {
        assert!(KEYS.iter().any(|key| is_of(path, key.path)), "{path} is documented and no key");
    }
}

#[test]
fn keys_are_unique_and_follow_their_section() {
    for (at, key) in KEYS.iter().enumerate() {
        let section = key.path.rsplit_once('.').map(|(section, _)| section);
        assert!(
            section.is_none_or(|section| KEYS[..at].iter().any(|key| key.path == section && key.setting.is_none())),
            "{}",
            key.path
        );
        assert!(KEYS[..at].iter().all(|other| other.path != key.path), "{} stands twice", key.path);
        assert!(absent::find(key.path).is_none(), "{} is both a key and refused", key.path);
    }
}

// === values ===

#[test]
fn every_kind_of_value_is_read_and_shown_back() {
    let raw = json!({
        "engine": {"io_threads": 2, "grace_period": "1m30s", "sapi": "cli"},
        "php": {"ini": {"memory_limit": "256M", "opcache": {"enable": true}}, "env": {"App_Env": "prod", "N": 5, "none": null}, "clear_env": "true"},
        "http": {
            "address": [":8080", "[::1]:80", "unix:///run/rr.sock", "tcp://localhost:81"],
            "root": "public", "preset": "laravel", "index": "index.php,home.html", "front_controller": "/index.php",
            "rewrite": [{"from": "/old/*", "to": "/new/$1", "status": 301}, {"from": "/a", "to": "/b"}],
            "error_pages": {"404": "/404.html"}, "follow_symlinks": true, "request_timeout": 5000000000_u64,
            "max_request_size": 64, "temp_dir": "/var/tmp", "access_logs": 1, "internal_error_code": 502,
            "pool": {"num_workers": "8", "max_queue_size": 0, "allocate_timeout": "5s", "max_jobs": 500},
            "limits": {"max_header_bytes": "64K", "body_memory": 0, "keepalive_timeout": "10s"},
            "output": {"memory": "64K", "first_chunk": "1M"},
            "files": {"cache_control": "public, max-age=60", "revalidate": "0s"},
            "http2": {"h2c": false, "max_concurrent_streams": 7},
            "fcgi": {"address": ":9000", "allowed_clients": ["127.0.0.1", "::1"], "mode": "0600", "limit_extensions": [], "status_path": "/status"},
        },
        "logs": {"mode": "production", "output": "stdout"},
        "dev": {"enabled": "yes", "watch": "src/**/*.{php,yaml}, *.env", "ignore": ["!/vendor/acme"], "poll": "2s", "leaks": false},
    });
    let config = read(raw).unwrap();
    assert_eq!(config.dev.watch, ["src/**/*.{php,yaml}", "*.env"]);
    assert_eq!((config.dev.enabled, config.dev.poll, config.dev.leaks), (true, Some(Duration::from_secs(2)), false));
    assert_eq!(config.engine.io_threads, Some(2));
    assert_eq!(config.engine.grace_period, Duration::from_secs(90));
    assert_eq!(config.php.ini, [("memory_limit".into(), "256M".into()), ("opcache.enable".into(), "1".into())]);
    assert_eq!(config.php.env, [("App_Env".into(), "prod".into()), ("N".into(), "5".into()), ("none".into(), String::new())]);
    assert!(config.php.clear_env);
    let http = &config.http;
    assert_eq!(http.address, [tcp(":8080"), tcp("[::1]:80"), Address::Unix("/run/rr.sock".into()), tcp("localhost:81")]);
    assert_eq!(http.index, ["index.php", "home.html"]);
    assert_eq!(http.rewrite[0], Rewrite { from: "/old/*".into(), is_regex: false, to: "/new/$1".into(), status: Some(301) });
    assert_eq!(http.error_pages, [(404, "/404.html".into())]);
    assert_eq!(http.request_timeout, Duration::from_secs(5), "a bare number is nanoseconds, as in Go");
    assert_eq!(http.limits.max_request_size, 64 << 20);
    assert_eq!((http.pool.num_workers, http.pool.max_queue_size), (Some(8), usize::MAX));
    assert_eq!(http.output.first_chunk, 64 << 10, "never more than the memory");
    let fcgi = http.fcgi.as_ref().unwrap();
    assert_eq!((fcgi.address.as_slice(), fcgi.mode), ([tcp("127.0.0.1:9000")].as_slice(), 0o600));
    assert_eq!((config.logs.level, config.logs.encoding), (Level::Info, Encoding::Json));
    assert_eq!(read(config.to_json()), Ok(config.clone()), "what is shown reads back");
    assert_eq!(read(Config::default().to_json()), Ok(Config::default()));
}

#[test]
fn only_fcgi_means_no_http() {
    let config = read(json!({"http": {"fcgi": {"address": "unix:/run/rr.sock"}}})).unwrap();
    assert_eq!(config.http.address, []);
    let both = read(json!({"http": {"address": ":80", "fcgi": {"address": "unix:/run/rr.sock"}}})).unwrap();
    assert_eq!(both.http.address, [tcp(":80")]);
}

#[test]
fn tls_is_on_with_a_certificate_and_its_keys_must_fit() {
    let ssl = |raw: Value| read(json!({"http": {"ssl": raw}}));
    let both = json!({"cert": "a.pem", "key": "a.key", "client_auth_type": "request_client_cert", "profile": "modern"});
    let config = ssl(both).unwrap();
    assert!(config.serves_http());
    assert_eq!(
        (config.http.address.len(), config.http.ssl.as_ref().unwrap().address.as_slice()),
        (0, [tcp("127.0.0.1:443")].as_slice())
    );
    assert_eq!(read(config.to_json()), Ok(config));
    assert_eq!(
        ssl(json!({"address": "127.0.0.1:443", "cert": [], "redirect": false})),
        Ok(Config::default()),
        "config.php.dist, copied"
    );
    let cases = [
        (json!({"redirect": true}), "http.ssl.cert: missing, while other keys of http.ssl are set"),
        (json!({"cert": "a,b", "key": "a"}), "http.ssl.key: expected a key for each of 2 certificates, got 1"),
        (json!({"cert": "a", "key": "a", "address": []}), "http.ssl.address: expected an address, got none"),
    ];
    for (raw, expected) in cases {
        assert_eq!(ssl(raw), Err(expected.into()));
    }
    let wrong = ssl(json!({"cert": "a", "key": "a", "client_auth_type": "verify"})).unwrap_err();
    assert!(wrong.starts_with("http.ssl.client_auth_type: expected one of no_client_cert, request_client_cert,"), "{wrong}");
}

#[test]
fn an_authority_needs_hosts_and_stands_in_for_certificates() {
    let acme = |raw: Value| read(json!({"http": {"ssl": {"acme": raw}}}));
    let config = acme(json!({
        "certs_dir": "certs", "email": "a@b.test", "alt_http_port": 0, "alt_tlsalpn_port": 8443, "challenge_type": "tlsalpn-01",
        "use_production_endpoint": true, "domains": ["a.test", "www.a.test"],
    }));
    let config = config.unwrap();
    let section = &config.http.ssl.as_ref().unwrap().acme;
    assert_eq!((section.cache_dir.to_str(), section.alt_http_port, section.alt_tlsalpn_port), (Some("certs"), 80, 8443));
    assert_eq!(section.challenge_type, AcmeChallenge::TlsAlpn01);
    assert_eq!(read(config.to_json()), Ok(config));
    let cases = [
        (json!({"email": "a@b.test"}), "http.ssl.acme.domains: missing, while other keys of http.ssl.acme are set"),
        (
            json!({"domains": "a.test", "eab_key_id": "x"}),
            "http.ssl.acme.eab_key_id: goes with http.ssl.acme.eab_hmac_key: give both or none",
        ),
        (
            json!({"domains": "a.test", "directory": "http://ca.test"}),
            "http.ssl.acme.directory: expected an https URL, got \"http://ca.test\"",
        ),
        (
            json!({"domains": "a.test", "cache_dir": "x", "certs_dir": "y"}),
            "http.ssl.acme.certs_dir: means the same as http.ssl.acme.cache_dir: give one of them",
        ),
    ];
    for (raw, expected) in cases {
        assert_eq!(acme(raw), Err(expected.into()));
    }
}

#[test]
fn http3_is_on_with_an_address_and_a_certificate_somewhere() {
    let http3 = |raw: Value| read(json!({"http": {"ssl": {"cert": "a", "key": "a"}, "http3": raw}}));
    let config = http3(json!({"address": ":443"})).unwrap();
    assert_eq!(config.http.http3.as_ref().unwrap().address, [tcp(":443")]);
    assert_eq!(read(config.to_json()), Ok(config));
    assert_eq!(http3(json!({"address": [], "alt_svc": "24h"})).unwrap().http.http3, None, "config.php.dist, copied");
    // As RoadRunner has it.
    let alone = read(json!({"http": {"address": ":80", "http3": {"address": ":443", "cert": "a", "key": "b"}}})).unwrap();
    assert_eq!(alone.http.http3.unwrap().key, [PathBuf::from("b")]);
    let cases = [
        (json!({"cert": "a", "key": "a"}), "http.http3.address: missing, while other keys of http.http3 are set"),
        (
            json!({"address": ":443", "cert": "a,b", "key": "a"}),
            "http.http3.key: expected a key for each of 2 certificates, got 1",
        ),
        (json!({"address": "unix:/a"}), "http.http3.address: expected a UDP address, got unix:///a"),
    ];
    for (raw, expected) in cases {
        assert_eq!(http3(raw), Err(expected.into()));
    }
    let bare = read(json!({"http": {"address": ":80", "http3": {"address": ":443"}}})).unwrap_err();
    assert_eq!(bare, "http.http3.cert: expected a certificate here or in http.ssl, got none");
}

#[test]
fn proxies_are_named_with_the_listeners_they_speak_to() {
    let proxied = |raw: Value| read(json!({"http": {"address": [":80", "unix:/a"], "proxy_protocol": raw}}));
    let config = proxied(json!({"address": ":80", "trusted": ["10.0.0.0/8", "::1"]})).unwrap();
    assert_eq!(config.http.proxy_protocol.trusted[0], Subnet { address: "10.0.0.0".parse().unwrap(), bits: 8 });
    assert_eq!(read(config.to_json()), Ok(config));
    assert!(proxied(json!({"address": "unix:/a"})).is_ok(), "whoever may connect there is trusted");
    let cases = [
        (
            json!({"address": ":81", "trusted": "::1"}),
            "http.proxy_protocol.address: :81 is not one of http.address or http.ssl.address",
        ),
        (json!({"address": ":80"}), "http.proxy_protocol.trusted: expected the proxies' addresses, got none"),
        (
            json!({"trusted": "10.0.0.0/33"}),
            "http.proxy_protocol.trusted: expected an address such as 10.0.0.1 or 10.0.0.0/8, got \"10.0.0.0/33\"",
        ),
    ];
    for (raw, expected) in cases {
        assert_eq!(proxied(raw), Err(expected.into()));
    }
}

#[test]
fn tcp_servers_have_names_and_need_no_http() {
    let config = read(json!({"tcp": {"servers": {"smtp": {"addr": "tcp://127.0.0.1:7777", "delimiter": "\r\n.\r\n"}, "x": {"addr": ":1", "delimiter": ""}}, "read_buf_size": 2, "pool": {"num_workers": 3}}})).unwrap();
    let server = |name: &str, address: &str, delimiter: &str| TcpServer {
        name: name.into(),
        address: tcp(address),
        delimiter: delimiter.into(),
    };
    assert_eq!(config.tcp.servers, [server("smtp", "127.0.0.1:7777", "\r\n.\r\n"), server("x", ":1", "\r\n")]);
    assert_eq!((config.tcp.read_buf_size, config.tcp.pool.num_workers, config.http.address.len()), (2 << 20, Some(3), 0));
    assert!(!config.serves_http());
    assert_eq!(read(config.to_json()), Ok(config));
    let both = read(json!({"http": {"root": "public"}, "tcp": {"servers": {"a": {"addr": ":1"}}}})).unwrap();
    assert!(both.serves_http(), "whoever says something of http wants it");
    let files = Files::new("tcp", &[(".rr.yaml", "version: '3'")]);
    let given = load(&files.options(&["tcp.servers.Echo.addr=127.0.0.1:1", "tcp.servers.Echo.delimiter=;"])).unwrap();
    assert_eq!(given.tcp.servers, [server("Echo", "127.0.0.1:1", ";")]);
    for (wrong, message) in [
        (json!({"a": {}}), "tcp.servers.a.addr: missing"),
        (json!({"a": {"addr": "nowhere"}}), "tcp.servers.a.addr: expected an address such as"),
        (json!({"a": {"adr": ":1"}}), "tcp.servers.a.adr: unknown key, did you mean addr?"),
        (json!({"a": {"addr": ":1"}, "b": {"addr": ":1"}}), "tcp.servers.b.addr: expected an address of its own, got that of a"),
        (json!(7), "tcp.servers: expected a map, got 7"),
    ] {
        let error = read(json!({"tcp": {"servers": wrong}})).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn rpc_is_on_when_its_section_asks_for_something() {
    let rpc = |raw: Value| read(json!({ "rpc": raw })).map(|config| config.rpc);
    assert_eq!(rpc(Value::Null), Ok(None));
    let listening = |address| Ok(Some(Rpc { listen: address, ..Rpc::default() }));
    assert_eq!(rpc(json!({})), listening(tcp("127.0.0.1:6001")));
    assert_eq!(rpc(json!({"listen": "tcp://:6001"})), listening(tcp(":6001")));
    assert_eq!(rpc(json!({"listen": "unix:///run/rr.sock"})), listening(Address::Unix("/run/rr.sock".into())));
    assert_eq!(rpc(json!({"max_calls": 7})), Ok(Some(Rpc { max_calls: 7, ..Rpc::default() })));
    assert_eq!(rpc(json!({"listen": null, "max_calls": 100})), Ok(None), "config.php.dist, copied");
    let config = read(json!({"rpc": {"listen": "localhost:1", "max_message": "1M"}})).unwrap();
    assert_eq!(read(config.to_json()), Ok(config));
    let wrong = rpc(json!({"listen": "6001"})).unwrap_err();
    assert!(wrong.starts_with("rpc.listen: expected an address such as"), "{wrong}");
}

#[test]
fn where_calls_are_heard_is_known_though_the_rest_is_wrong() {
    let address = |name: &str, text: &str, overrides: &[&str]| {
        let files = Files::new(name, &[(".rr.yaml", text)]);
        rpc_address(&files.options(overrides)).map_err(|error| error.to_string())
    };
    assert_eq!(address("rpc-1", "", &["rpc.listen=tcp://127.0.0.1:6002"]), Ok(Some(tcp("127.0.0.1:6002"))));
    assert_eq!(
        address("rpc-2", "rpc: { listen: tcp://127.0.0.1:6003 }\nhtpp: {}\njobs: {}", &[]),
        Ok(Some(tcp("127.0.0.1:6003")))
    );
    assert_eq!(address("rpc-3", "version: '3'\nhttp: {}", &[]), Ok(None));
    assert!(address("rpc-4", "rpc: { listen: nowhere }", &[]).unwrap_err().contains("rpc.listen"));
    assert!(address("rpc-5", "rpc: [", &[]).unwrap_err().contains(".rr.yaml"));
}

#[test]
fn zero_means_the_default_where_it_does_in_roadrunner() {
    let raw =
        json!({"http": {"max_request_size": 0, "internal_error_code": 0, "pool": {"num_workers": 0, "allocate_timeout": "0s"}}});
    assert_eq!(read(raw), Ok(Config::default()));
}

#[test]
fn pools_have_all_of_roadrunners_options() {
    let raw = json!({"http": {"pool": {
        "debug": true, "num_workers": 3, "max_jobs": "64", "destroy_timeout": "5s", "reset_timeout": "6s", "stream_timeout": "7s",
        "supervisor": {"watch_tick": "1s", "ttl": "1h", "idle_ttl": 10_000_000_000_u64, "exec_ttl": "1m", "max_worker_memory": 128},
        "dynamic_allocator": {"max_workers": 25, "idle_timeout": "10s"},
    }}});
    let config = read(raw).unwrap();
    let pool = &config.http.pool;
    assert!(pool.debug);
    assert_eq!((pool.destroy_timeout.as_secs(), pool.reset_timeout.as_secs(), pool.stream_timeout.as_secs()), (5, 6, 7));
    let expected = Supervisor {
        watch_tick: Duration::from_secs(1),
        ttl: Duration::from_secs(3600),
        idle_ttl: Duration::from_secs(10),
        exec_ttl: Duration::from_secs(60),
        max_worker_memory: 128 << 20,
    };
    assert_eq!(pool.supervisor, expected);
    let expected = DynamicAllocator { max_workers: 25, spawn_rate: 5, idle_timeout: Duration::from_secs(10) };
    assert_eq!(pool.dynamic_allocator, Some(expected));
    assert_eq!(read(config.to_json()), Ok(config.clone()));
    let zeros = json!({"http": {"pool": {
        "destroy_timeout": 0, "reset_timeout": "0s", "stream_timeout": 0, "supervisor": {"watch_tick": 0, "ttl": 0, "max_worker_memory": 0},
    }}});
    assert_eq!(read(zeros), Ok(Config::default()));
    let asked = read(json!({"http": {"pool": {"dynamic_allocator": {"max_workers": 0}}}})).unwrap();
    assert_eq!(asked.http.pool.dynamic_allocator, Some(DynamicAllocator::default()), "0 is the default, but it was asked for");
    let off = read(json!({"http": {"pool": {"dynamic_allocator": {"max_workers": null, "spawn_rate": null}}}}));
    assert_eq!(off, Ok(Config::default()));
}

#[test]
fn a_site_has_keys_of_its_own_and_shares_the_rest() {
    let config = yaml(
        "sites",
        "http: {root: /srv/main, max_request_size: 7, follow_symlinks: true, pool: {num_workers: 9}}\n\
         php: {ini: {memory_limit: 64M}, reset: basic}\n\
         server: {command: php main.php}\n\
         sites:\n\
         - {Hosts: [Shop.Example, '*.Shop.Example'], Root: /srv/shop, PHP: {INI: {Memory_Limit: 1G}}, pool: {Max_Jobs: 5}}\n\
         - {hosts: blog.example, worker: /srv/blog/worker.php, preset: files, php: {reset: strict}}\n",
        &[],
    )
    .unwrap();
    let [shop, blog] = &config.sites[..] else { panic!("two sites: {:?}", config.sites) };
    assert_eq!((shop.hosts.join(" "), blog.hosts.join(" ")), ("shop.example *.shop.example".into(), "blog.example".into()));
    assert_eq!(shop.own.ini, [("Memory_Limit".into(), "1G".into())], "ini names are kept as they are");
    let own = config.of_site(shop);
    assert_eq!((own.http.root, own.http.pool.max_jobs, own.http.pool.num_workers), (Some("/srv/shop".into()), 5, None));
    assert_eq!((own.http.limits.max_request_size, own.http.follow_symlinks, own.php.reset), (7 << 20, false, Reset::Basic));
    assert!(own.server.command.is_empty(), "that is the main pool's");
    assert_eq!((config.of_site(blog).php.reset, config.of_site(blog).http.preset), (Reset::Strict, Preset::Files));
    assert_eq!(read(config.to_json()), Ok(config));
}

#[test]
fn a_route_has_a_worker_and_a_pool() {
    let routes = json!([
        {"path": "/api/*", "worker": "api.php", "pool": {"num_workers": 2}, "php": {"ini": {"memory_limit": "1G"}}},
        {"path": "/ping", "worker": "ping.php"},
    ]);
    let config =
        read(json!({"http": {"root": "/srv", "routes": routes, "pool": {"num_workers": 7}, "request_timeout": "9s"}})).unwrap();
    let [api, ping] = &config.http.routes[..] else { panic!("two routes: {:?}", config.http.routes) };
    assert_eq!((api.path.as_str(), ping.path.as_str()), ("/api/*", "/ping"));
    let own = config.of_route(api);
    assert_eq!(
        (own.http.root, own.http.worker, own.http.pool.num_workers),
        (Some("/srv".into()), Some("api.php".into()), Some(2))
    );
    assert_eq!((own.http.routes, own.http.request_timeout), (Vec::new(), Duration::ZERO));
    assert_eq!(read(config.to_json()), Ok(config.clone()));
    let in_site = read(json!({"sites": [{"hosts": "a.example", "root": "/a", "routes": routes}]})).unwrap();
    assert_eq!(in_site.sites[0].own.http.routes, config.http.routes);
    assert_eq!(read(in_site.to_json()), Ok(in_site.clone()));
    let wrong = read(
        json!({"http": {"routes": [{"path": "api", "worker": "x"}, {"path": "/a*b", "worker": "x"}, {"worker": "x", "root": "/"}, {"path": "/"}]}}),
    );
    let expected = [
        r#"http.routes[0].path: expected a path such as /ping, or /api/* for all below /api/, got "api""#,
        r#"http.routes[1].path: expected a path such as /ping, or /api/* for all below /api/, got "/a*b""#,
        "http.routes[2].path: missing",
        "http.routes[2].root: all share it: set http.root",
        "http.routes[3].worker: missing",
    ];
    assert_eq!(wrong.unwrap_err().lines().collect::<Vec<_>>(), expected);
}

// === faults ===

#[test]
fn faults_of_a_site_are_told_with_its_number() {
    let wrong = read(json!({"sites": [
        5,
        {"root": "/a"},
        {"hosts": ["a.example:80", "*", "ok.example"], "root": "/a", "pool": {"num_worker": 1}, "php": {"ini": {"extension": "x"}, "env": {"A": "b"}}},
        {"hosts": "b.example", "address": ":81", "prset": "files", "server": {"command": "php w.php"}, "pool": {"num_workers": "many"}},
        {"hosts": ["c.example"], "root": "/c", "php": {"ini": {"opcache.memory_consumption": 1, "opcache.enable": 0}}},
        {"hosts": ["d.example"], "pool": {"num_workers": 1}},
    ]}));
    let expected = [
        "sites[0]: expected a map of hosts, root and other keys, got 5",
        "sites[1].hosts: missing",
        r#"sites[2].hosts[0]: expected a host without its port, such as shop.example, or *.shop.example for all below it, got "a.example:80""#,
        r#"sites[2].hosts[1]: expected a host without its port, such as shop.example, or *.shop.example for all below it, got "*""#,
        "sites[2].pool.num_worker: unknown key, did you mean num_workers?",
        "sites[2].php.env: all share it: set it for the server",
        "sites[3].address: all share it: set http.address",
        "sites[3].prset: unknown key, did you mean preset?",
        "sites[3].server: a command of its own is pool.command",
        r#"sites[3].pool.num_workers: expected a whole number from 1 to 1024, got "many""#,
        "sites[4].php.ini.opcache.memory_consumption: PHP reads it once, for all sites: set it in php.ini of the server",
        "sites[5].root: missing, as are worker, pool.command and routes",
    ];
    assert_eq!(wrong.unwrap_err().lines().collect::<Vec<_>>(), expected);
    let one = json!({"hosts": ["a.example"], "root": "/a"});
    let twice = read(json!({"sites": [one, {"hosts": ["b.example", "A.example"], "root": "/b"}]}));
    assert_eq!(twice, Err("sites[1].hosts: a.example is a host of sites[0] too".into()));
    let unheard = read(json!({"http": {"fcgi": {"address": "127.0.0.1:9000"}}, "sites": [one]}));
    assert_eq!(unheard, Err("sites: nothing listens for them: set http.address".into()));
}

#[test]
fn every_fault_is_told_on_a_line_of_its_own() {
    let wrong = read(json!({
        "htp": {},
        "num_workers": 4,
        "php": {"ini": {"a=b": 1}, "env": {"X": []}},
        "http": {
            "address": [":8080", "8080", ":http", "unix://"],
            "pool": {"num_workers": "many", "num_worker": 1, "allocate_timeout": "soon"},
            "preset": "wordpres",
            "front_controller": "index.php",
            "error_pages": {"200": "/x", "404": "x"},
            "rewrite": [{"from": "/a", "too": "/b"}, {"from": "/a", "to": "/$1"}, {"from": "/a", "to": "http://x/"}, {"from": "/a", "to": "/b", "status": 303}, 5],
            "limits": 5,
            "output": {"memory": "lots"},
            "fcgi": {"mode": 660},
        },
        "logs": {"mode": ["x"]},
    }));
    let expected = [
        r#"htp: unknown key, did you mean http?"#,
        r#"num_workers: unknown key, did you mean http.pool.num_workers?"#,
        r#"php.ini.a=b: expected a name without =, got "a=b""#,
        r#"php.env.X: expected a text, a number, true or false, got a list of 0"#,
        r#"http.address[1]: expected an address such as 127.0.0.1:8080, :8080, [::1]:8080 or unix:///run/rr.sock, got "8080""#,
        r#"http.address[2]: expected an address such as 127.0.0.1:8080, :8080, [::1]:8080 or unix:///run/rr.sock, got ":http""#,
        r#"http.address[3]: expected a path after unix://, got "unix://""#,
        r#"http.pool.num_workers: expected a whole number from 1 to 1024, got "many""#,
        r#"http.pool.num_worker: unknown key, did you mean num_workers?"#,
        r#"http.pool.allocate_timeout: expected a duration such as "30s", "1m30s" or "100ms", got "soon""#,
        r#"http.preset: expected one of auto, wordpress, wordpress-multisite-subdirectory, wordpress-multisite-subdomain, drupal, laravel, symfony, front-controller, files, got "wordpres"; did you mean wordpress?"#,
        r#"http.front_controller: expected a path that starts with /, got "index.php""#,
        r#"http.error_pages.200: expected a whole number from 400 to 599, got "200""#,
        r#"http.error_pages.404: expected a path that starts with /, got "x""#,
        r#"http.rewrite[0].too: unknown key, did you mean to?"#,
        r#"http.rewrite[0].to: missing"#,
        r#"http.rewrite[1].to: $1 names no * of from, which has 0"#,
        r#"http.rewrite[2].to: expected a path that starts with / (a URL needs a status), got "http://x/""#,
        r#"http.rewrite[3].status: expected 301, 302, 307, 308 or one of 4xx, got 303"#,
        r#"http.rewrite[4]: expected a map of from, or regex, to and, for a redirect, status, got 5"#,
        r#"http.limits: expected a section, got 5"#,
        r#"http.output.memory: expected a size from 4K up, such as 65536 or "64K", got "lots""#,
        r#"http.fcgi.mode: expected permissions in octal such as "0660", got 660"#,
        r#"logs.mode: expected one of development, production, raw, off, none, got a list of 1"#,
    ];
    assert_eq!(wrong.unwrap_err().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn what_roadrunner_has_and_rr_has_not_is_refused() {
    let wrong = read(json!({
        "server": {"command": "php worker.php", "relay": "pipes", "on_init": {"command": "true"}},
        "jobs": {},
        "otel": {"insecure": true},
        "http": {"middleware": ["gzip", "otel", "header", "cache"], "cache": {"max_size": 1}, "otel": {}, "ssl": {"acme": {"domains": ["*.a.test", "192.0.2.1"]}}, "pool": {}},
    }));
    let expected = [
        "server.on_init: not supported by this version of rr",
        "jobs: not supported by this version of rr",
        &format!("otel: {NO_OTEL}"),
        &format!("http.middleware[1]: \"otel\" is {NO_OTEL}"),
        "http.middleware[2]: no middleware is called \"header\", there are basic_auth, body_limit, circuit_breaker, circuitbreaker, compress, gzip, headers, http_metrics, ip_filter, maintenance, proxy_ip_parser, rate_limit, redirect, request_id, sendfile, sendremotefile, static; did you mean headers?",
        &format!("http.middleware[3]: \"cache\" is {NO_CACHE}"),
        &format!("http.cache: {NO_CACHE}"),
        &format!("http.otel: {NO_OTEL}"),
        "http.ssl.acme.domains[0]: expected a host's name such as www.example.com; a wildcard or an address cannot be had, got \"*.a.test\"",
        "http.ssl.acme.domains[1]: expected a host's name such as www.example.com; a wildcard or an address cannot be had, got \"192.0.2.1\"",
    ];
    assert_eq!(wrong.unwrap_err().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn what_asks_for_nothing_is_no_fault() {
    let raw = json!({
        "rpc": null,
        "server": {"relay": "pipes", "env": []},
        "endure": {"grace_period": "10s", "log_level": "error"},
        "http": {"middleware": [], "raw_body": false, "uploads": {"dir": "/tmp", "forbid": []}},
        "logs": {"line_ending": "\n", "channels": null},
    });
    let config = read(raw).unwrap();
    assert_eq!(config.engine.grace_period, Duration::from_secs(10));
    assert_eq!(config.http.temp_dir, Some("/tmp".into()));
}

#[test]
fn two_spellings_of_one_key_are_a_fault() {
    let wrong = read(json!({"engine": {"grace_period": "1s"}, "endure": {"grace_period": "2s"}}));
    assert_eq!(wrong, Err("endure.grace_period: means the same as engine.grace_period: give one of them".into()));
}

#[test]
fn a_server_without_an_address_is_a_fault() {
    assert_eq!(
        read(json!({"http": {"address": []}})),
        Err("http.address: expected an address here or in http.fcgi.address, got none".into())
    );
    let wrong = read(json!({"http": {"fcgi": {"ping_path": "/ping"}}}));
    assert_eq!(wrong, Err("http.fcgi.address: missing, while other keys of http.fcgi are set".into()));
}

// === files ===

#[test]
fn keys_are_read_in_any_case_and_values_are_kept() {
    let config = yaml("case", "HTTP:\n  Root: /Srv/App\n  Pool: {NUM_WORKERS: 3}\nphp: {Ini: {SMTP: Host}}\n", &[]).unwrap();
    assert_eq!(config.http.root, Some("/Srv/App".into()));
    assert_eq!(config.http.pool.num_workers, Some(3));
    assert_eq!(config.php.ini, [("SMTP".into(), "Host".into())]);
}

#[test]
fn yaml_is_read_as_go_reads_it() {
    let config =
        yaml("yaml", "logs: {mode: off}\nhttp:\n  error_pages: {404: /404.html}\n  fcgi: {address: ':9000', mode: 0640}\n", &[])
            .unwrap();
    assert_eq!(config.logs.mode, LogMode::Off);
    assert_eq!(config.http.error_pages, [(404, "/404.html".into())]);
    assert_eq!(config.http.fcgi.unwrap().mode, 0o640);
    let wrong = yaml("broken", "http: [\n", &[]).unwrap_err();
    assert!(wrong.contains(".rr.yaml: ") && wrong.contains("line"), "{wrong}");
}

#[test]
fn variables_come_from_the_environment_then_the_dotenv_file() {
    let files = Files::new(
        "env",
        &[(".rr.yaml", "version: '3'\nhttp: {root: '$RR_T_ROOT', address: '${RR_T_HOST:-[::1]}:81', temp_dir: $PATH}\n")],
    );
    let mut options = files.options(&["http.preset=$RR_T_ROOT"]);
    options.dotenv = [("RR_T_ROOT".to_owned(), "files".to_owned()), ("PATH".to_owned(), "hidden".to_owned())].into();
    let config = load(&options).unwrap();
    assert_eq!((config.http.root, config.http.address), (Some("files".into()), vec![tcp("[::1]:81")]));
    assert_eq!(config.http.preset, Preset::Files);
    assert_ne!(config.http.temp_dir, Some("hidden".into()));
}

#[test]
fn overrides_make_levels_and_are_weakly_typed() {
    let overrides = [
        "http.pool.num_workers=7",
        "HTTP.Access_Logs=true",
        "http.address=':81,:82'",
        "php.ini.opcache.JIT=off",
        "php.env.Mixed_Case=\"x=y\"",
        "http.error_pages.404=/a",
    ];
    let config = yaml("overrides", "http: {pool: {num_workers: 3, max_jobs: 4}}", &overrides).unwrap();
    assert_eq!((config.http.pool.num_workers, config.http.pool.max_jobs), (Some(7), 4));
    assert!(config.http.access_logs);
    assert_eq!(config.http.address, [tcp(":81"), tcp(":82")]);
    assert_eq!(config.php.ini, [("opcache.JIT".into(), "off".into())]);
    assert_eq!(config.php.env, [("Mixed_Case".into(), "x=y".into())]);
    assert_eq!(config.http.error_pages, [(404, "/a".into())]);
    let wrong = yaml("overrides-wrong", "", &["http.address"]).unwrap_err();
    assert_eq!(wrong, "-o http.address: expected key=value, such as http.address=127.0.0.1:8080");
}

#[test]
fn the_version_is_needed_as_a_text() {
    let file = |text: &str, overrides: &[&str]| Files::new("version", &[(".rr.yaml", text)]).load(overrides).map(|_| ());
    assert_eq!(file("version: '3'", &[]), Ok(()));
    assert_eq!(file("version: '2.7'", &[]), Ok(()));
    assert_eq!(file("", &["version=3"]), Ok(()), "as Octane starts it");
    assert_eq!(file("version: 3", &[]), Err("version: expected the text \"3\" in quotes, got 3".into()));
    assert_eq!(file("version: '4'", &[]), Err("version: expected \"3\", got \"4\"".into()));
    let missing = file("htp: {}", &[]).unwrap_err();
    assert!(missing.starts_with("version: missing from "), "{missing}");
    assert!(missing.ends_with("\nhtp: unknown key, did you mean http?"), "{missing}");
    assert_eq!(
        Files::new("no-version", &[]).load(&["http.root=x"]).map(|_| ()),
        Ok(()),
        "without a file there is nothing to version"
    );
}

#[test]
fn an_included_file_replaces_whole_keys_and_overrides() {
    let files = Files::new(
        "include",
        &[
            (".rr.yaml", "version: '3'\ninclude: [more.yaml]\nhttp: {root: a, access_logs: true}\nlogs: {mode: raw}\n"),
            ("more.yaml", "version: '3'\nHttp: {root: b}\n"),
            ("other.yaml", "version: '2.7'\n"),
        ],
    );
    let config = files.load(&["http.preset=files"]).unwrap();
    assert_eq!(config.http, Http { root: Some("b".into()), ..Http::default() });
    assert_eq!(config.logs.mode, LogMode::Raw);
    let wrong = files.load(&["include=other.yaml"]).unwrap_err();
    assert_eq!(wrong, "include: other.yaml has not the version of the file that includes it");
    assert!(files.load(&["include=gone.yaml"]).unwrap_err().contains("gone.yaml: No such file"));
}

#[test]
fn a_named_file_must_exist_and_the_yaml_file_is_looked_for_first() {
    let files = Files::new("find", &[("config.php", "<?php return [];")]);
    let mut options = files.options(&[]);
    assert_eq!(find(&options).unwrap(), Some(files.0.join("config.php")));
    fs::write(files.0.join(".rr.yaml"), "").unwrap();
    assert_eq!(find(&options).unwrap(), Some(files.0.join(".rr.yaml")));
    options.path = Some("gone.yaml".into());
    assert!(load(&options).unwrap_err().to_string().contains("gone.yaml: No such file"));
}

#[test]
fn a_php_file_is_evaluated_and_not_expanded() {
    let files = Files::new("php", &[("config.php", "<?php return […];")]);
    let mut options = files.options(&["http.access_logs=1"]);
    options.php = vec!["sh".into(), "-c".into(), r#"echo '{"http": {"root": "$HOME", "Address": [":90"]}, "php": []}'"#.into()];
    let config = load(&options).unwrap();
    assert_eq!((config.http.root, config.http.address), (Some("$HOME".into()), vec![tcp(":90")]));
    assert!(config.http.access_logs);
}

/// Reads the part of PHP that the rendering uses.
fn php_literal(rest: &mut &str) -> Value {
    *rest = rest.trim_start();
    if let Some(inside) = rest.strip_prefix('[') {
        *rest = inside;
        let (mut list, mut map) = (Vec::new(), serde_json::Map::new());
        loop {
            *rest = rest.trim_start_matches([' ', ',']);
            if let Some(after) = rest.strip_prefix(']') {
                *rest = after;
                return if map.is_empty() { list.into() } else { map.into() };
            }
            let one = php_literal(rest);
            match rest.trim_start().strip_prefix("=>") {
                Some(after) => {
                    *rest = after;
                    map.insert(one.as_str().unwrap().to_owned(), php_literal(rest));
                }
                None => list.push(one),
            }
        }
    }
    if let Some(text) = rest.strip_prefix('\'') {
        let end = text.find('\'').unwrap();
        *rest = &text[end + 1..];
        return text[..end].into();
    }
    let end = rest.find([',', ' ', ']', ';']).unwrap();
    let (word, after) = rest.split_at(end);
    *rest = after;
    serde_json::from_str(word).unwrap()
}
