//! Waiting for what somebody else holds, and giving back what one holds oneself.

use std::{
    fs::{self, File},
    process::{Child, Command, Stdio},
};

use nix::fcntl::{Flock, FlockArg};

use super::{GIVEN_UP, ends, setup};
use crate::{
    apps::database::MariaDb,
    harness::{PATIENCE, wait_until},
};

fn lock(path: &std::path::Path, how: FlockArg) -> Option<Flock<File>> {
    let file = File::options().create(true).append(true).open(path).unwrap();
    Flock::lock(file, how).ok()
}

#[test]
fn a_wait_for_a_file_s_lock_ends_and_locks_held_meanwhile_are_free_again() {
    let Some(setup) = setup() else { return };
    let server = setup.ini("opcache.enable", "0").start();
    let (theirs, mine) = (server.dir().join("theirs"), server.dir().join("mine"));
    let held = lock(&theirs, FlockArg::LockExclusiveNonblock).unwrap();
    let script = format!(
        "flock($m = fopen('{}', 'c'), LOCK_EX); flock($t = fopen('{}', 'c'), LOCK_EX);",
        mine.display(),
        theirs.display()
    );
    ends(&server, &script);
    assert!(lock(&mine, FlockArg::LockExclusiveNonblock).is_some(), "its own lock is still held");
    drop(held);
}

#[test]
fn a_session_held_elsewhere_is_not_written_without_its_lock() {
    let Some(setup) = setup() else { return };
    let sessions = setup.scratch().join("sessions");
    fs::create_dir(&sessions).unwrap();
    let path = sessions.join("sess_heldelsewhere");
    // Written back, it would be spelled `i:1`.
    fs::write(&path, "count|i:01;").unwrap();
    let held = lock(&path, FlockArg::LockExclusiveNonblock).unwrap();
    let setup = setup.ini("session.save_path", &sessions.display().to_string()).ini("session.lazy_write", "0");
    let count = "session_id('heldelsewhere'); session_start(); echo ++$_SESSION['count'];";
    let server = setup.ini("opcache.enable", "0").php("count.php", count).start();
    ends(&server, count);
    assert_eq!(fs::read_to_string(&path).unwrap(), "count|i:01;");
    drop(held);
    assert_eq!(server.text("/count.php"), "2");
    assert_eq!(fs::read_to_string(&path).unwrap(), "count|i:2;");
}

#[test]
fn scripts_that_wait_for_each_other_s_session_end() {
    let Some(setup) = setup() else { return };
    let sessions = setup.scratch().join("sessions");
    fs::create_dir(&sessions).unwrap();
    let server = setup
        .threads(2)
        .ini("session.save_path", &sessions.display().to_string())
        .php("inner.php", "session_id('deadlock'); session_start(); echo 'inner';")
        .php(
            "outer.php",
            "session_id('deadlock'); session_start(); echo file_get_contents(\"http://{$_SERVER['HTTP_HOST']}/inner.php\");",
        )
        .start();
    for _ in 0..2 {
        assert_eq!(server.get("/outer.php").send().status, 504);
        assert_eq!(server.text("/inner.php"), "inner");
    }
    assert!(!server.log.text().contains(GIVEN_UP));
}

/// A client of the database that holds a lock until it is dropped.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn a_wait_in_the_database_ends_and_its_locks_are_free_again() {
    let Some(setup) = setup() else { return };
    let Some(database) = MariaDb::start() else { return };
    let socket = database.socket().display().to_string();
    let mut holder = Command::new("mariadb");
    holder
        .args(["--no-defaults", "--user=root", &format!("--socket={socket}"), "-e"])
        .arg("SELECT GET_LOCK('theirs', 0), SLEEP(600)");
    let holder = Holder(holder.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let free = format!(
        "echo (new mysqli('localhost', 'root', '', '', 0, '{socket}'))->query(\"SELECT IS_FREE_LOCK('$_GET[lock]')\")->fetch_row()[0];"
    );
    let server = setup.ini("opcache.enable", "0").php("free.php", &free).start();
    assert!(wait_until(PATIENCE, || server.text("/free.php?lock=theirs") == "0"));
    let queries = "SELECT GET_LOCK('mine', 0)', 'SELECT GET_LOCK(\\'theirs\\', 600)".replace("'mine'", "\\'mine\\'");
    let mysqli = |host: &str| {
        format!("$db = new mysqli('{host}', 'root', '', '', 0, '{socket}'); foreach (['{queries}'] as $sql) $db->query($sql);")
    };
    let pdo = |options: &str| {
        format!(
            "$db = new PDO('mysql:unix_socket={socket}', 'root', ''{options}); foreach (['{queries}'] as $sql) $db->query($sql)->fetchAll();"
        )
    };
    // Here the connection is not what it waits in.
    let asleep = format!(
        "$db = new mysqli('p:localhost', 'root', '', '', 0, '{socket}'); $db->query('{}'); sleep(600);",
        "SELECT GET_LOCK(\\'mine\\', 0)"
    );
    for script in [mysqli("localhost"), mysqli("p:localhost"), pdo(""), pdo(", [PDO::ATTR_PERSISTENT => true]"), asleep] {
        ends(&server, &script);
        assert!(wait_until(PATIENCE, || server.text("/free.php?lock=mine") == "1"), "the lock of {script} is still held");
    }
    drop(holder);
}
