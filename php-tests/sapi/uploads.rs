//! `multipart/form-data` and its limits.

use std::path::Path;

use crate::harness::{Server, multipart, server, wait_until};

fn send(server: &Server, target: &str, parts: &[(&str, &str, &[u8])]) -> serde_json::Value {
    let (content_type, body) = multipart(parts);
    server.post(target, &content_type, body).send().json()
}

#[test]
fn uploads_arrive_whole_and_beside_fields() {
    let server = server().start();
    let big: Vec<u8> = (0..1_500_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let seen = send(&server, "/upload.php", &[("note", "", b"hi"), ("one", "dir/a.bin", &big), ("list[]", "b", b"bb"), ("list[]", "c", b"")]);
    assert_eq!(seen["post"]["note"], "hi");
    assert_eq!(seen["input"], 0, "php://input is empty for multipart");
    let files = seen["files"].as_array().unwrap();
    assert_eq!((files[0]["name"].as_str(), files[0]["full_path"].as_str()), (Some("a.bin"), Some("dir/a.bin")));
    assert_eq!((files[0]["size"].as_u64(), files[0]["error"].as_u64()), (Some(1_500_000), Some(0)));
    assert_eq!(files[0]["type"], "application/octet-stream");
    assert_eq!((files[1]["name"].as_str(), files[2]["size"].as_u64()), (Some("b"), Some(0)));
    assert!(files.iter().all(|file| file["uploaded"] == true));
}

#[test]
fn temporary_files_are_removed_after_the_request() {
    let server = server().start();
    let seen = send(&server, "/upload.php", &[("one", "a", b"content")]);
    let tmp = seen["files"][0]["tmp"].as_str().unwrap().to_owned();
    assert!(wait_until(crate::harness::PATIENCE, || !Path::new(&tmp).exists()), "{tmp}");
}

#[test]
fn temporary_files_are_removed_after_a_fatal_error() {
    let server = server().php("die.php", "echo $_FILES['one']['tmp_name']; flush(); nowhere();").ini("display_errors", "0").start();
    let (content_type, body) = multipart(&[("one", "a", b"content")]);
    let tmp = server.post("/die.php", &content_type, body).send().text();
    assert!(tmp.contains("/php"), "{tmp}");
    assert!(wait_until(crate::harness::PATIENCE, || !Path::new(&tmp).exists()), "{tmp}");
}

#[test]
fn an_upload_can_be_moved_to_stay() {
    let server = server().start();
    let target = server.dir().join("moved");
    let seen = send(&server, &format!("/upload.php?keep={}", target.display()), &[("one", "a", b"content")]);
    assert_eq!(seen["files"][0]["moved"], true);
    assert_eq!(std::fs::read(&target).unwrap(), b"content");
}

#[test]
fn upload_limits_are_php_s_own() {
    let server = server().ini("upload_max_filesize", "1000").ini("max_file_uploads", "2").ini("display_errors", "0").start();
    let long = vec![b'x'; 1001];
    let seen = send(&server, "/upload.php", &[("a", "a", &long), ("b", "b", b"1"), ("c", "c", b"2"), ("d", "d", b"3")]);
    let files = seen["files"].as_array().unwrap();
    assert_eq!(files[0]["error"], 1, "UPLOAD_ERR_INI_SIZE: {seen}");
    assert_eq!((files.len(), &files[1]["error"]), (2, &0.into()), "the refused one counts: {seen}");
}

#[test]
fn a_form_s_own_limit_is_kept() {
    let server = server().start();
    let seen = send(&server, "/upload.php", &[("MAX_FILE_SIZE", "", b"3"), ("a", "a", b"1234"), ("b", "b", b"123")]);
    assert_eq!((&seen["files"][0]["error"], &seen["files"][1]["error"]), (&2.into(), &0.into()));
}

#[test]
fn post_max_size_empties_the_form_and_says_so() {
    let server = server().ini("post_max_size", "1000").ini("display_errors", "0").ini("log_errors", "1").start();
    let long = vec![b'x'; 2000];
    let seen = send(&server, "/upload.php", &[("a", "a", &long), ("b", "", b"1")]);
    assert_eq!((seen["files"].as_array().unwrap().len(), &seen["post"]), (0, &serde_json::json!([])));
    assert!(server.logs("exceeds the limit of 1000 bytes"));
}

#[test]
fn too_many_parts_are_refused_with_a_warning() {
    let server = server().ini("max_multipart_body_parts", "5").ini("display_errors", "0").ini("log_errors", "1").start();
    let names: Vec<_> = (0..20).map(|n| format!("f{n}")).collect();
    let parts: Vec<(&str, &str, &[u8])> = names.iter().map(|name| (name.as_str(), "", b"1".as_slice())).collect();
    let seen = send(&server, "/upload.php", &parts);
    assert_eq!(seen["post"].as_object().unwrap().len(), 5, "{seen}");
    assert!(server.logs("Multipart body parts limit exceeded 5"));
}

#[test]
fn malformed_multipart_does_no_harm() {
    let server = server().threads(1).ini("display_errors", "0").start();
    let cases: [(&str, &str); 5] = [
        ("multipart/form-data", "--x\r\n"),
        ("multipart/form-data; boundary=", "--\r\n"),
        ("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"b\"\r\n\r\nnever ended"),
        ("multipart/form-data; boundary=x", "--y\r\n\r\n--y--"),
        ("multipart/form-data; boundary=\"x", "--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--"),
    ];
    for (content_type, body) in cases {
        let reply = server.post("/upload.php", content_type, body).send();
        assert_eq!(reply.status, 200, "{content_type}: {}", reply.text());
        assert_eq!(server.text("/clean.php"), "clean ");
    }
    let boundary = format!("multipart/form-data; boundary={}", "b".repeat(8000));
    assert_eq!(server.post("/upload.php", &boundary, "--b\r\n").send().status, 200);
}

#[test]
fn upload_progress_is_kept_in_the_session() {
    let server = server()
        .threads(2)
        .ini("session.upload_progress.cleanup", "0")
        .ini("session.save_path", "/tmp")
        .php("p.php", "session_start(); echo json_encode($_SESSION['upload_progress_tag'] ?? null);")
        .start();
    let first = server.get("/p.php").send();
    let (content_type, body) = multipart(&[("PHP_SESSION_UPLOAD_PROGRESS", "", b"tag"), ("a", "a.bin", &[b'x'; 20_000])]);
    let seen = server.post("/p.php", &content_type, body).cookies(&first.cookies()).send().json();
    assert_eq!(seen["done"], true, "{seen}");
    assert_eq!(seen["files"][0]["bytes_processed"], 20_000, "{seen}");
}
