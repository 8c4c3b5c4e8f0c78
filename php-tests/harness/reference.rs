//! nginx and php-fpm, configured as their documentation recommends: what `rr` is compared with.

use std::{
    fmt::Write as _,
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    Log, PATIENCE, Request, TempDir, free_port, not_run,
    server::{Server, Setup},
    wait_until,
};

/// The prefix of the PHP whose php-fpm stands in for `rr`, if `RR_REFERENCE` is set.
pub(crate) fn reference() -> Option<&'static str> {
    static PREFIX: OnceLock<Option<String>> = OnceLock::new();
    PREFIX.get_or_init(|| std::env::var("RR_REFERENCE").ok().filter(|prefix| !prefix.is_empty())).as_deref()
}

/// Starts both, with those options of `rr` that have a counterpart.
pub(super) fn start(prefix: &Path, setup: Setup) -> Server {
    let (address, fcgi) = (free_port(), free_port());
    let log = Log::default();
    let children = vec![fpm(prefix, &setup, fcgi, &log), nginx(&setup, address, fcgi, &log)];
    for address in [address, fcgi] {
        assert!(wait_until(PATIENCE, || TcpStream::connect(address).is_ok()), "{address}: {}", log.text());
    }
    let fcgi = setup.wants_fcgi().then_some(fcgi);
    setup.running(address, fcgi, log, children)
}

fn fpm(prefix: &Path, setup: &Setup, listen: SocketAddr, log: &Log) -> Child {
    let value = |key: &str| setup.options().iter().find_map(|option| option.strip_prefix(&format!("{key}=")));
    let workers = value("http.pool.num_workers").unwrap_or("2");
    let mut ini = String::new();
    for (key, value) in setup.options().iter().filter_map(|option| option.strip_prefix("php.ini.")?.split_once('=')) {
        writeln!(ini, "{key} = \"{value}\"").unwrap();
    }
    let mut conf = format!(
        "[global]\nerror_log = /dev/stderr\ndaemonize = no\n[www]\nuser = root\ngroup = root\nlisten = {listen}\npm = static\n\
         pm.max_children = {workers}\nclear_env = no\ncatch_workers_output = yes\ndecorate_workers_output = no\n"
    );
    for (key, option) in [("pm.status_path", "http.fcgi.status_path"), ("ping.path", "http.fcgi.ping_path")] {
        if let Some(value) = value(option) {
            writeln!(conf, "{key} = {value}").unwrap();
        }
    }
    let dir = setup.scratch();
    fs::write(dir.join("php.ini"), ini).unwrap();
    fs::write(dir.join("fpm.conf"), conf).unwrap();
    let mut command = Command::new(prefix.join("sbin/php-fpm"));
    command.args(["-R", "-F", "-O", "-c"]).arg(dir.join("php.ini")).arg("-y").arg(dir.join("fpm.conf"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(setup.environment().iter().map(|(name, value)| (name, value)));
    spawn(command, dir, log)
}

fn nginx(setup: &Setup, listen: SocketAddr, fcgi: SocketAddr, log: &Log) -> Child {
    let value = |key: &str| setup.options().iter().find_map(|option| option.strip_prefix(&format!("{key}=")));
    let fallback = match value("http.preset") {
        None | Some("files") => "=404",
        Some(_) => "/index.php?$args",
    };
    let body = value("http.max_request_size").unwrap_or("1000");
    run_nginx(setup.scratch(), &server_block(setup.document_root(), listen, fcgi, fallback, body), log)
}

/// An nginx that passes PHP to a FastCGI server; gone when dropped.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    child: Child,
    _dir: TempDir,
}

impl Front {
    /// Puts nginx before the FastCGI listener of `server`; none where there is no nginx.
    pub(crate) fn before(server: &Server, fallback: &str) -> Option<Self> {
        if !Path::new(NGINX).exists() {
            not_run("nginx", "not installed (nginx-light)");
            return None;
        }
        let (address, dir, log) = (free_port(), TempDir::new(), Log::default());
        let block = server_block(server.root(), address, server.fcgi.unwrap(), fallback, "1000");
        let child = run_nginx(dir.path(), &block, &log);
        let front = Self { address, child, _dir: dir };
        assert!(wait_until(PATIENCE, || TcpStream::connect(address).is_ok()), "{address}: {}", log.text());
        Some(front)
    }

    pub(crate) fn get(&self, target: &str) -> Request {
        Request::new(self.address, "GET", target)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // TERM, since a killed master leaves its workers behind.
        _ = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM);
        _ = self.child.wait();
    }
}

fn server_block(root: &Path, listen: SocketAddr, fcgi: SocketAddr, fallback: &str, body: &str) -> String {
    format!(
        "server {{\nlisten {listen};\nserver_name _;\nroot {root};\nindex index.php index.html;\nclient_max_body_size {body}m;\n\
         location / {{ try_files $uri $uri/ {fallback}; }}\n\
         location ~ /\\.(?!well-known) {{ deny all; }}\n\
         location ~ [^/]\\.php(/|$) {{\n\
         fastcgi_split_path_info ^(.+?\\.php)(/.*)$;\nset $path_info $fastcgi_path_info;\n\
         try_files $fastcgi_script_name =404;\n\
         include /etc/nginx/fastcgi_params;\n\
         fastcgi_param HTTP_HOST $http_host;\n\
         fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;\n\
         fastcgi_param PATH_INFO $path_info;\n\
         fastcgi_pass {fcgi};\n}}\n}}\n",
        root = root.display(),
    )
}

fn run_nginx(dir: &Path, server: &str, log: &Log) -> Child {
    let at = dir.display();
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {at}/{name};")).join("\n");
    let user = if nix::unistd::geteuid().is_root() { "user root;\n" } else { "" };
    let conf = format!(
        "{user}worker_processes 1;\npid {at}/nginx.pid;\nerror_log stderr;\ndaemon off;\nevents {{ }}\nhttp {{\n\
         include /etc/nginx/mime.types;\naccess_log off;\n{temp}\n{server}}}\n"
    );
    fs::write(dir.join("nginx.conf"), conf).unwrap();
    let mut command = Command::new(NGINX);
    command.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf")).args(["-e", "stderr"]);
    spawn(command, dir, log)
}

const NGINX: &str = "/usr/sbin/nginx";

fn spawn(mut command: Command, dir: &Path, log: &Log) -> Child {
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    log.follow(child.stderr.take().unwrap());
    log.follow(child.stdout.take().unwrap());
    child
}
