use super::*;

/// A request: its parameters, and what becomes of them. `ROOT/x.php` is the one file, `ROOT/dir` the one directory.
struct Case {
    sent: &'static [(&'static str, &'static str)],
    fix_pathinfo: bool,
    script: Option<(&'static str, Entry)>,
    name: Option<&'static str>,
    /// Parameters afterwards; an empty string means none or empty.
    after: &'static [(&'static str, &'static str)],
}

const FILE: Option<(&str, Entry)> = Some(("/r/x.php", Entry::File));

fn entry(path: &[u8]) -> Entry {
    match path {
        b"/r/x.php" | b"/r/dir/y.php" => Entry::File,
        b"/r" | b"/r/dir" => Entry::Other,
        _ => Entry::Missing,
    }
}

fn check(number: usize, case: &Case) {
    let mut params = Params::default();
    for (name, value) in case.sent {
        params.set(name, Bytes::from_static(value.as_bytes()));
    }
    let resolved = resolve(&mut params, case.fix_pathinfo, entry);
    let expected = Resolved {
        script: case.script.map(|(path, found)| (Bytes::from_static(path.as_bytes()), found)),
        name: case.name.map(|name| Bytes::from_static(name.as_bytes())),
    };
    assert_eq!(resolved, expected, "case {number}");
    for (name, value) in case.after {
        let got = params.get(name).map(|value| String::from_utf8_lossy(value)).unwrap_or_default();
        assert_eq!(got, *value, "case {number}: {name}");
    }
}

#[test]
fn nginx_sends_what_is_meant() {
    let cases = [
        Case {
            sent: &[("SCRIPT_FILENAME", "/r/x.php"), ("SCRIPT_NAME", "/x.php"), ("DOCUMENT_ROOT", "/r")],
            fix_pathinfo: true,
            script: FILE,
            name: Some("/x.php"),
            after: &[("SCRIPT_FILENAME", "/r/x.php"), ("ORIG_SCRIPT_FILENAME", ""), ("PATH_TRANSLATED", "")],
        },
        // With fastcgi_split_path_info.
        Case {
            sent: &[("SCRIPT_FILENAME", "/r/x.php"), ("SCRIPT_NAME", "/x.php"), ("PATH_INFO", "/pi")],
            fix_pathinfo: true,
            script: FILE,
            name: Some("/x.php"),
            after: &[("PATH_INFO", "/pi"), ("ORIG_PATH_INFO", "")],
        },
        // Without it.
        Case {
            sent: &[
                ("SCRIPT_FILENAME", "/r/x.php/pi"),
                ("SCRIPT_NAME", "/x.php/pi"),
                ("PATH_INFO", "/x.php/pi"),
                ("DOCUMENT_ROOT", "/r/"),
            ],
            fix_pathinfo: true,
            script: FILE,
            name: Some("/x.php"),
            after: &[
                ("SCRIPT_NAME", "/x.php"),
                ("ORIG_SCRIPT_NAME", "/x.php/pi"),
                ("PATH_INFO", "/pi"),
                ("ORIG_PATH_INFO", "/x.php/pi"),
                ("SCRIPT_FILENAME", "/r/x.php"),
                ("ORIG_SCRIPT_FILENAME", "/r/x.php/pi"),
                ("PATH_TRANSLATED", "/r/pi"),
            ],
        },
        // Nothing to take PATH_INFO from: the script is found all the same.
        Case {
            sent: &[("SCRIPT_FILENAME", "/r/x.php/pi"), ("SCRIPT_NAME", "/x.php")],
            fix_pathinfo: true,
            script: FILE,
            name: Some("/x.php"),
            after: &[("PATH_INFO", ""), ("SCRIPT_NAME", "/x.php"), ("PATH_TRANSLATED", "/r")],
        },
        // CVE-2019-11043: an empty or short PATH_INFO with a long remainder.
        Case {
            sent: &[("SCRIPT_FILENAME", "/r/x.php/AAAAAAAAAAAAAAAA"), ("SCRIPT_NAME", "/x.php"), ("PATH_INFO", "")],
            fix_pathinfo: true,
            script: FILE,
            name: Some("/x.php"),
            after: &[("PATH_INFO", ""), ("ORIG_PATH_INFO", "")],
        },
        Case {
            sent: &[("SCRIPT_FILENAME", "/r/x.php/AAAA"), ("SCRIPT_NAME", "/x.php"), ("PATH_INFO", "/AAAA")],
            fix_pathinfo: true,
            script: FILE,
            name: Some("/x.php"),
            after: &[("PATH_INFO", "/AAAA"), ("ORIG_PATH_INFO", "")],
        },
        Case {
            sent: &[("SCRIPT_FILENAME", "/r/x.php/"), ("SCRIPT_NAME", "/x.php")],
            fix_pathinfo: true,
            script: FILE,
            name: Some("/x.php"),
            after: &[("SCRIPT_FILENAME", "/r/x.php")],
        },
    ];
    cases.iter().enumerate().for_each(|(number, case)| check(number, case));
}

#[test]
fn what_leads_nowhere_is_not_found() {
    let cases = [
        Case { sent: &[], fix_pathinfo: true, script: None, name: None, after: &[] },
        Case { sent: &[("SCRIPT_NAME", "/x.php")], fix_pathinfo: true, script: None, name: None, after: &[] },
        Case {
            sent: &[("SCRIPT_FILENAME", "/r/status"), ("SCRIPT_NAME", "/status")],
            fix_pathinfo: true,
            script: None,
            name: Some("/status"),
            after: &[("SCRIPT_FILENAME", ""), ("ORIG_SCRIPT_FILENAME", "/r/status")],
        },
        // A directory without a slash exists, and is refused later by its extension.
        Case {
            sent: &[("SCRIPT_FILENAME", "/r/dir")],
            fix_pathinfo: true,
            script: Some(("/r/dir", Entry::Other)),
            name: None,
            after: &[],
        },
        Case {
            sent: &[("SCRIPT_FILENAME", "/r/dir/../x.php"), ("SCRIPT_NAME", "/x.php")],
            fix_pathinfo: false,
            script: None,
            name: Some("/x.php"),
            after: &[],
        },
        Case { sent: &[("SCRIPT_FILENAME", "")], fix_pathinfo: true, script: Some(("", Entry::Missing)), name: None, after: &[] },
    ];
    cases.iter().enumerate().for_each(|(number, case)| check(number, case));
}

#[test]
fn apache_prefixes_are_taken_off() {
    let cases = [
        // SetHandler.
        Case {
            sent: &[
                ("SCRIPT_FILENAME", "proxy:fcgi://localhost:9000/r/x.php?q=1"),
                ("SCRIPT_NAME", "/x.php"),
                ("PATH_INFO", "/pi"),
                ("PATH_TRANSLATED", "/r/pi"),
                ("REDIRECT_URL", "/x.php/pi"),
            ],
            fix_pathinfo: true,
            script: FILE,
            name: Some("/x.php"),
            after: &[("SCRIPT_FILENAME", "/r/x.php"), ("PATH_INFO", "/pi"), ("PATH_TRANSLATED", "/r/pi"), ("ORIG_PATH_INFO", "")],
        },
        // ProxyPass: the path info is in SCRIPT_NAME too.
        Case {
            sent: &[("SCRIPT_FILENAME", "Proxy:Balancer://b/r/x.php/pi"), ("SCRIPT_NAME", "/x.php/pi")],
            fix_pathinfo: true,
            script: FILE,
            name: Some("/x.php"),
            after: &[
                ("SCRIPT_NAME", "/x.php"),
                ("ORIG_SCRIPT_NAME", "/x.php/pi"),
                ("PATH_INFO", "/pi"),
                ("PATH_TRANSLATED", "/r/pi"),
            ],
        },
        Case {
            sent: &[("SCRIPT_FILENAME", "proxy:fcgi://h/r/x.php/1%20+2"), ("SCRIPT_NAME", "/x.php/1 +2")],
            fix_pathinfo: true,
            script: FILE,
            name: Some("/x.php"),
            after: &[("ORIG_SCRIPT_NAME", "/x.php/1 +2"), ("PATH_INFO", "/1 +2")],
        },
        Case {
            sent: &[("SCRIPT_FILENAME", "proxy:fcgi://h/r/x.php/piy"), ("SCRIPT_NAME", "/x.php/pix")],
            fix_pathinfo: true,
            script: FILE,
            name: Some("/x.php/pix"),
            after: &[("ORIG_SCRIPT_NAME", ""), ("PATH_INFO", "/piy")],
        },
        // A balancer with real paths.
        Case {
            sent: &[
                ("SCRIPT_FILENAME", "/r/x.php/pi"),
                ("SCRIPT_NAME", ""),
                ("PATH_INFO", "/r/x.php/pi"),
                ("PATH_TRANSLATED", "proxy:balancer://b/r/x.php/pi"),
            ],
            fix_pathinfo: true,
            script: FILE,
            name: Some("/r/x.php"),
            after: &[("SCRIPT_FILENAME", "/r/x.php"), ("PATH_INFO", "/pi")],
        },
        Case {
            sent: &[("SCRIPT_FILENAME", "proxy:fcgi://nowhere"), ("SCRIPT_NAME", "/")],
            fix_pathinfo: true,
            script: None,
            name: Some("/"),
            after: &[("ORIG_SCRIPT_FILENAME", "proxy:fcgi://nowhere")],
        },
    ];
    cases.iter().enumerate().for_each(|(number, case)| check(number, case));
}

#[test]
fn an_action_points_at_the_php_executable() {
    let sent: &[_] = &[
        ("SCRIPT_FILENAME", "/usr/bin/php-cgi"),
        ("SCRIPT_NAME", "/cgi-bin/php"),
        ("PATH_INFO", "/x.php"),
        ("PATH_TRANSLATED", "/r/x.php"),
        ("REDIRECT_URL", "/x.php"),
    ];
    let after: &[_] = &[
        ("SCRIPT_FILENAME", "/r/x.php"),
        ("ORIG_SCRIPT_FILENAME", "/usr/bin/php-cgi"),
        ("ORIG_SCRIPT_NAME", "/cgi-bin/php"),
        ("SCRIPT_NAME", "/x.php"),
        ("PATH_INFO", ""),
        ("ORIG_PATH_INFO", "/x.php"),
        ("PATH_TRANSLATED", ""),
        ("ORIG_PATH_TRANSLATED", "/r/x.php"),
    ];
    check(0, &Case { sent, fix_pathinfo: true, script: FILE, name: Some("/x.php"), after });
}

#[test]
fn iis_repeats_the_script_name() {
    let sent: &[_] = &[
        ("SERVER_SOFTWARE", "Microsoft-IIS/10.0"),
        ("SCRIPT_FILENAME", "/r/x.php"),
        ("SCRIPT_NAME", "/x.php"),
        ("PATH_INFO", "/x.php/pi"),
    ];
    let after: &[_] = &[("PATH_INFO", "/pi"), ("ORIG_PATH_INFO", "/x.php/pi")];
    check(0, &Case { sent, fix_pathinfo: true, script: FILE, name: Some("/x.php"), after });
}

#[test]
fn without_fix_pathinfo_path_translated_is_the_script() {
    let cases = [
        Case {
            sent: &[
                ("SCRIPT_FILENAME", "/r/x.php/pi"),
                ("PATH_TRANSLATED", "/r/x.php"),
                ("SCRIPT_NAME", "/x.php"),
                ("PATH_INFO", "/pi"),
            ],
            fix_pathinfo: false,
            script: FILE,
            name: Some("/pi"),
            after: &[("SCRIPT_FILENAME", "/r/x.php/pi"), ("PATH_INFO", "/pi")],
        },
        Case {
            sent: &[("PATH_TRANSLATED", "/r/x.php"), ("SCRIPT_NAME", "/x.php")],
            fix_pathinfo: false,
            script: FILE,
            name: Some("/x.php"),
            after: &[("SCRIPT_FILENAME", "")],
        },
        Case {
            sent: &[("SCRIPT_FILENAME", "/r/x.php/pi"), ("SCRIPT_NAME", "/x.php")],
            fix_pathinfo: false,
            script: Some(("/r/x.php/pi", Entry::Missing)),
            name: Some("/x.php"),
            after: &[],
        },
    ];
    cases.iter().enumerate().for_each(|(number, case)| check(number, case));
}
