//! Request heads that others refuse.

use crate::harness::{reference, server};

#[test]
fn targets_with_bytes_that_no_url_has_reach_scripts() {
    if reference().is_some() {
        return;
    }
    let tell = "echo bin2hex(rawurldecode($_SERVER['REQUEST_URI'])), ' ', file_get_contents('php://input');";
    let server = server().bare().preset("front-controller").php("index.php", tell).start();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let bytes: Vec<u8> = (0x21..0x7f).chain(0x80..=0xff).filter(|byte| !b"%#".contains(byte)).collect();
    let mut connection = server.connect();
    for byte in bytes {
        for target in [[b"/x", &[byte][..]].concat(), [b"/?a=", &[byte][..]].concat()] {
            let head = [b"POST ", &target[..], b" HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"].concat();
            connection.write(&head);
            let reply = connection.read().unwrap();
            assert_eq!((reply.status, reply.text()), (200, format!("{} body", hex(&target))), "{byte:#x}");
        }
    }
    // As it comes, two at once, and longer than what is read at once.
    let long = [b"/<", &[b'a'; 8000][..], b">\xff"].concat();
    let head = [b"POST ", &long[..], b" HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"].concat();
    for piece in [&head[..3], &head[3..7], &head[7..5000], &head[5000..], b"bo", b"dyGET /<next> HTTP/1.1\r\nHost: x\r\n\r\n"] {
        connection.write(piece);
    }
    assert_eq!(connection.read().unwrap().text(), format!("{} body", hex(&long)));
    assert_eq!(connection.read().unwrap().text(), format!("{} ", hex(b"/<next>")));
}
