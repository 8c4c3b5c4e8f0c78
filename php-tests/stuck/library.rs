//! Waits inside of libraries that start again what a signal has broken off.

use std::net::UdpSocket;

use super::{ends, setup};

/// A name server that never says a word, and an address of this machine that is its own.
fn silent_name_server() -> Option<(UdpSocket, String)> {
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    let address = format!("127.53.{high}.{low}");
    match UdpSocket::bind((address.as_str(), 53)) {
        Ok(socket) => Some((socket, address)),
        Err(error) => {
            eprintln!("not run: {address}:53 cannot be listened on: {error}");
            None
        }
    }
}

#[test]
fn a_look_up_that_no_name_server_answers_ends() {
    let (Some(setup), Some((_socket, address))) = (setup(), silent_name_server()) else { return };
    let own = setup.scratch().join("resolv.conf");
    std::fs::write(&own, format!("nameserver {address}\noptions timeout:30 attempts:5\n")).unwrap();
    let Some(setup) = setup.mounts(&format!("mount --bind '{}' /etc/resolv.conf", own.display())) else { return };
    let server = setup.ini("opcache.enable", "0").start();
    for script in [
        "gethostbyname('nobody.example');",
        "gethostbyaddr('192.0.2.1');",
        "@stream_socket_client('tcp://nobody.example:80', timeout: 600);",
        "@file_get_contents('http://nobody.example/');",
        "dns_get_record('nobody.example', DNS_A);",
        "checkdnsrr('nobody.example', 'MX');",
        "curl_exec(curl_init('http://nobody.example/'));",
        "@pg_connect('host=nobody.example user=x');",
    ] {
        ends(&server, script);
    }
}

#[test]
fn names_are_looked_up_as_ever() {
    let Some(setup) = setup() else { return };
    let server = setup
        .php("names.php", "echo gethostbyname('localhost'), ' ', gethostbyaddr('127.0.0.1'), ' ', gethostbyname('127.0.0.9'), ' ', implode(',', gethostbynamel('localhost'));")
        .start();
    assert_eq!(server.text("/names.php"), "127.0.0.1 localhost 127.0.0.9 127.0.0.1");
}

#[test]
fn a_wait_for_somebody_else_s_lock_in_sqlite_ends() {
    let Some(setup) = setup() else { return };
    let file = setup.scratch().join("data.sqlite");
    let open = format!("$db = new SQLite3('{}'); $db->busyTimeout(600_000);", file.display());
    // One that is about to write keeps all others from it.
    let hold = format!(
        "{open} $db->exec('PRAGMA journal_mode = ' . $_GET['mode']); $db->exec('CREATE TABLE IF NOT EXISTS t (a)'); $db->exec('BEGIN IMMEDIATE'); touch(dirname(__DIR__) . '/held'); while (!file_exists(dirname(__DIR__) . '/go')) {{ usleep(1_000); clearstatcache(); }} echo 'held';"
    );
    let server = setup.ini("opcache.enable", "0").php("hold.php", &hold).start();
    let holder = crate::harness::server().bare().threads(1).option("http.request_timeout=1h").root(server.root()).start();
    for mode in ["delete", "wal"] {
        let holding = holder.get(&format!("/hold.php?mode={mode}")).fire();
        assert!(
            crate::harness::wait_until(crate::harness::PATIENCE, || server.dir().join("held").exists()),
            "{}",
            holder.log.text()
        );
        ends(&server, &format!("{open} @$db->exec('INSERT INTO t VALUES (1)');"));
        let pdo = format!(
            "$db = new PDO('sqlite:{}', options: [PDO::ATTR_TIMEOUT => 600]); $db->exec('INSERT INTO t VALUES (1)');",
            file.display()
        );
        ends(&server, &pdo);
        std::fs::write(server.dir().join("go"), "").unwrap();
        let mut holding = holding;
        assert_eq!(holding.read().unwrap().text(), "held");
        std::fs::remove_file(server.dir().join("go")).unwrap();
        std::fs::remove_file(server.dir().join("held")).unwrap();
    }
}
