use std::time::Duration;

use super::*;

fn status() -> FpmStatus {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let process = ProcessStatus {
        pid: 7,
        state: ProcessState::Idle,
        start_time: start,
        requests: 3,
        request_duration: Duration::from_micros(1234),
        request_method: "GET".to_owned(),
        request_uri: "/<script>alert(\"é\")</script>?a&b".to_owned(),
        content_length: 0,
        user: String::new(),
        script: "/r/x.php".to_owned(),
        last_request_cpu: 12.345,
        last_request_memory: 2_097_152,
    };
    let running = ProcessStatus { pid: 8, state: ProcessState::Running, request_uri: String::new(), ..process.clone() };
    FpmStatus {
        pool: "www".to_owned(),
        process_manager: "static",
        start_time: start,
        accepted_conn: 12,
        listen_queue: 1,
        max_listen_queue: 2,
        listen_queue_len: 511,
        idle_processes: 1,
        active_processes: 1,
        max_active_processes: 2,
        max_children_reached: 0,
        slow_requests: 0,
        memory_peak: 4096,
        processes: vec![process, running],
    }
}

fn page(query: &str) -> String {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_060);
    render(&status(), Format::from_query(query.as_bytes()), now).1.replace(&log_date(status().start_time), "DATE")
}

const TEXT: &str = "\
pool:                 www
process manager:      static
start time:           DATE
start since:          60
accepted conn:        12
listen queue:         1
max listen queue:     2
listen queue len:     511
idle processes:       1
active processes:     1
total processes:      2
max active processes: 2
max children reached: 0
slow requests:        0
memory peak:          4096
";

#[test]
fn text_is_the_default() {
    assert_eq!(page(""), TEXT);
    assert_eq!(page("jsonx=1&other"), TEXT);
    let full = page("full");
    let first = full.strip_prefix(TEXT).expect("the pool first");
    assert!(first.starts_with("\n************************\npid:                  7\nstate:                Idle\n"), "{first}");
    assert!(first.contains("request URI:          /<script>alert(\"é\")</script>?a&b\n"));
    assert!(first.contains("user:                 -\n"));
    assert!(first.contains("last request cpu:     12.35\nlast request memory:  2097152\n\n****"), "{first}");
    assert!(first.ends_with("last request cpu:     0.00\nlast request memory:  0\n"));
}

#[test]
fn json_is_as_php_writes_it() {
    assert_eq!(
        page("json"),
        r#"{"pool":"www","process manager":"static","start time":1700000000,"start since":60,"accepted conn":12,"listen queue":1,"max listen queue":2,"listen queue len":511,"idle processes":1,"active processes":1,"total processes":2,"max active processes":2,"max children reached":0,"slow requests":0,"memory peak":4096}"#
    );
    let full = page("full&json");
    let parsed: serde_json::Value = serde_json::from_str(&full).expect("json");
    assert_eq!(parsed["processes"][0]["request uri"], "/<script>alert(\"é\")</script>?a&b");
    assert_eq!(parsed["processes"][0]["request duration"], 1234);
    assert_eq!(parsed["processes"][1]["request uri"], "-");
    assert!(full.contains(r#""\/<script>alert(\"\u00e9\")<\/script>?a&b""#), "{full}");
}

#[test]
fn markup_from_a_request_is_never_markup_of_the_page() {
    for (query, element) in [("full&html", "td"), ("xml&full", "request-uri")] {
        let page = page(query);
        assert!(!page.contains("<script>a"), "{page}");
        let escaped = "/&lt;script&gt;alert(&quot;é&quot;)&lt;/script&gt;?a&amp;b";
        assert!(page.contains(&format!("<{element}>{escaped}</{element}>")), "{page}");
    }
}

#[test]
fn html_and_xml_are_closed() {
    assert!(page("html").ends_with("<tr><th>memory peak</th><td>4096</td></tr>\n</table>\n</body></html>"));
    assert!(page("html&full").ends_with("</tr>\n</table></body></html>"));
    assert!(page("html").contains("<tr><th>start time</th><td>DATE</td></tr>"));
    assert!(page("xml").ends_with("<memory-peak>4096</memory-peak>\n</status>"));
    assert!(page("xml=&full=1").ends_with("</process>\n</processes>\n</status>"));
    assert!(page("xml").contains("<start-time>1700000000</start-time>"));
}

#[test]
fn openmetrics_ends_with_its_mark() {
    let page = page("openmetrics&full");
    assert!(page.starts_with(
        "# HELP phpfpm_up Could pool www using a static PM on PHP-FPM be reached?\n# TYPE phpfpm_up gauge\nphpfpm_up 1\n"
    ));
    assert!(page.contains("\nphpfpm_accepted_connections 12\n"));
    assert!(page.ends_with("phpfpm_memory_peak 4096\n# EOF\n"));
}
