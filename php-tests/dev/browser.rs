//! A page loads itself anew when files have changed.

use std::time::{Duration, Instant};

use super::{both_modes, project, rewrite};
use crate::harness::{Connection, Reply, Request, Server, reference};

/// A request as a browser makes it for a tab.
fn navigate(server: &Server, target: &str) -> Request {
    server.get(target).header("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
}

/// The state that a page says it was made from, and the page without the script.
fn state_of(page: &Reply) -> (String, String) {
    let text = page.text();
    let (before, rest) =
        text.split_once("<script src=\"/.rr/reload.js\" data-page=\"").unwrap_or_else(|| panic!("no script: {text}"));
    let (state, rest) = rest.split_once('"').unwrap();
    let (_, after) = rest.split_once("</script>").unwrap();
    (state.to_owned(), format!("{before}{after}"))
}

/// A tab that listens.
struct Tab(Connection);

impl Tab {
    fn open(server: &Server) -> Self {
        let mut connection = server.connect();
        connection.write(server.get("/.rr/reload").bytes(true));
        let head = connection.read_head().unwrap();
        assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
        Self(connection)
    }

    /// The next state that it is told.
    fn next(&mut self) -> String {
        let chunk = self.0.read_chunk().unwrap().expect("the stream goes on");
        let text = String::from_utf8(chunk).unwrap();
        text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_else(|| panic!("{text:?}")).to_owned()
    }
}

both_modes! {
    fn a_page_hears_of_a_change(mode) {
        let server = project(mode, "echo '<html><body>one</body></html>';").start();
        let page = navigate(&server, "/").send();
        let (state, shown) = state_of(&page);
        assert_eq!(shown, "<html><body>one</body></html>");
        assert!(page.text().ends_with("</script></body></html>"), "{}", page.text());
        let mut tab = Tab::open(&server);
        assert_eq!(tab.next(), state);
        rewrite(&server, "echo '<html><body>two</body></html>';");
        let told = tab.next();
        assert_ne!(told, state);
        // Whoever comes because of it sees the change, and is not told again.
        let (state, shown) = state_of(&navigate(&server, "/").send());
        assert_eq!((shown.as_str(), &state), ("<html><body>two</body></html>", &told));
        assert_eq!(Tab::open(&server).next(), state);
    }

    fn a_body_s_length_is_right_whole_or_on_its_way(mode) {
        let page = "if (isset($_GET['length'])) header('Content-Length: 12');
            echo '<p>1</p>';
            if (isset($_GET['stream'])) { flush(); usleep(100000); }
            echo '<p>2';";
        let server = project(mode, page).start();
        let plain = server.get("/").send().text();
        for target in ["/", "/?length", "/?stream", "/?stream&length"] {
            let mut connection = server.connect();
            let reply = connection.send(&navigate(&server, target)).unwrap();
            assert_eq!(state_of(&reply).1, plain, "{target}");
            assert!(reply.text().ends_with("</script>"), "{target}: {}", reply.text());
            assert_eq!(reply.header("content-length").is_some(), target != "/?stream", "{target}");
            // The connection is still in step.
            assert_eq!(connection.send(&server.get("/")).unwrap().text(), plain, "{target}");
        }
    }

    fn what_is_no_page_is_left_alone(mode) {
        let page = "foreach ($_GET['h'] ?? [] as $line) header($line);
            http_response_code((int) ($_GET['status'] ?? 200));
            echo '<body>x</body>';";
        let server = project(mode, page).start();
        let untouched = |request: Request| {
            let reply = request.send();
            assert_eq!(reply.text(), "<body>x</body>", "{request:?}");
            assert_eq!(reply.header("etag"), request.bytes(false).windows(4).any(|part| part == b"ETag").then_some("\"e\""), "{request:?}");
        };
        untouched(server.get("/"));
        untouched(server.get("/").header("Accept", "*/*"));
        untouched(navigate(&server, "/").header("Sec-Fetch-Dest", "empty"));
        untouched(navigate(&server, "/").header("X-Requested-With", "XMLHttpRequest"));
        untouched(server.post("/", "text/plain", "x").header("Accept", "text/html"));
        for header in ["Content-Type:application/json", "Content-Type:text/plain", "Content-Encoding:x", "Content-Range:bytes", "Content-Disposition:attachment"] {
            untouched(navigate(&server, &format!("/?h[]={header}&h[]=ETag:%22e%22")));
        }
        untouched(navigate(&server, "/?status=206"));
        assert_eq!(server.request("HEAD", "/").header("Accept", "text/html").send().status, 200);
        // And what is one is not kept, or it would load itself anew for ever.
        let page = navigate(&server, "/?h[]=ETag:%22e%22&h[]=Cache-Control:max-age=60").header("Sec-Fetch-Dest", "document").send();
        state_of(&page);
        assert_eq!((page.header("etag"), page.header("cache-control")), (None, Some("no-store")));
        state_of(&navigate(&server, "/?status=404").send());
        state_of(&navigate(&server, "/?status=500").send());
    }

    fn a_policy_s_nonce_is_given(mode) {
        let policy = "header(\"Content-Security-Policy: default-src 'self'; script-src 'nonce-aB3+/=' 'strict-dynamic'\"); echo '<body></body>';";
        let server = project(mode, policy).start();
        let page = navigate(&server, "/").send();
        assert!(page.text().contains(" async nonce=\"aB3+/=\"></script></body>"), "{}", page.text());
    }

    fn a_restart_of_the_server_is_a_change(mode) {
        let first = project(mode, "echo 'x';").start();
        let address = first.address;
        let (state, _) = state_of(&navigate(&first, "/").send());
        first.stop();
        let second = project(mode, "echo 'x';").at(address).start();
        assert_ne!(Tab::open(&second).next(), state);
    }

    fn listeners_do_not_keep_a_server_alive(mode) {
        let server = project(mode, "echo 'x';").start();
        let mut tabs: Vec<_> = (0..20).map(|_| Tab::open(&server)).collect();
        tabs.iter_mut().for_each(|tab| drop(tab.next()));
        let begun = Instant::now();
        server.stop();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[test]
fn pages_without_php_load_themselves_anew_too() {
    if reference().is_some() {
        return;
    }
    let setup = project(super::Mode::Classic, "").file("a.html", "<body>a</body>").file("a.css", "a{}");
    let server = setup.start();
    let plain = server.get("/a.html").send();
    assert_eq!(plain.text(), "<body>a</body>");
    let tag = plain.header("etag").unwrap();
    let page = navigate(&server, "/a.html").header("If-None-Match", tag).header("Accept-Encoding", "gzip, br").send();
    assert_eq!((page.status, state_of(&page).1.as_str()), (200, "<body>a</body>"));
    // A style is for browsers alone, who see it at once.
    let mut tab = Tab::open(&server);
    tab.next();
    assert_eq!(server.text("/a.css"), "a{}");
    std::fs::write(server.root().join("a.css"), "b{}").unwrap();
    tab.next();
    assert_eq!(server.text("/a.css"), "b{}");
    assert!(server.logs("public/a.css changed: for browsers alone"), "{}", server.log.text());
}

#[test]
fn pages_can_be_left_as_they_are() {
    if reference().is_some() {
        return;
    }
    let server = project(super::Mode::Classic, "echo '<body>x</body>';").option("dev.reload=false").start();
    assert_eq!(navigate(&server, "/").send().text(), "<body>x</body>");
    assert_eq!(server.get("/.rr/reload.js").send().status, 404);
}
