use std::{fs, path::PathBuf};

use http::Request;

use super::*;

struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.0);
    }
}

fn auth(name: &str, max_waiting: usize) -> (BasicAuth, File) {
    let path = std::env::temp_dir().join(format!("rr-auth-{}-{name}", std::process::id()));
    fs::write(&path, format!("bob:{}\n", bcrypt::hash("secret: ü", 4).unwrap())).unwrap();
    let config = Config {
        users: Users::read(&path).unwrap(),
        realm: "a \"b\"".into(),
        paths: Paths::new(vec!["/admin/*".into()]),
        threads: 1,
        max_waiting,
        cache_size: 10,
        cache_ttl: Duration::from_secs(60),
    };
    (config.build().unwrap(), File(path))
}

async fn status(auth: &BasicAuth, path: &str, credentials: Option<&str>) -> Option<u16> {
    let coded = credentials.map(|text| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text)));
    let request = coded.into_iter().fold(Request::get(path), |request, value| request.header("authorization", value));
    match auth.before(&request.body(()).unwrap().into_parts().0, &Known::of(path)).await {
        Verdict::Pass(_) => None,
        Verdict::Answer(response) => Some(response.status().as_u16()),
    }
}

#[tokio::test]
async fn who_knows_the_password_passes() {
    let (auth, _file) = auth("passes", 8);
    for _ in 0..2 {
        assert_eq!(status(&auth, "/admin/x", Some("bob:secret: ü")).await, None);
    }
    assert_eq!(auth.right.len(), 1);
    assert_eq!(status(&auth, "/", None).await, None, "another path");
    for wrong in [None, Some("bob:secret"), Some("ann:secret: ü"), Some("bob"), Some("bob:")] {
        assert_eq!(status(&auth, "/admin/x", wrong).await, Some(401), "{wrong:?}");
    }
    assert_eq!(auth.challenge, "Basic realm=\"a b\", charset=\"UTF-8\"");
}

#[tokio::test]
async fn a_changed_file_counts_at_once_for_known_passwords_too() {
    let (auth, file) = auth("changed", 8);
    assert_eq!(status(&auth, "/admin/x", Some("bob:secret: ü")).await, None);
    fs::write(&file.0, format!("# changed\nbob:{}\n", bcrypt::hash("new", 4).unwrap())).unwrap();
    while status(&auth, "/admin/x", Some("bob:new")).await.is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&auth, "/admin/x", Some("bob:secret: ü")).await, Some(401));
}

#[tokio::test]
async fn no_more_wait_than_may() {
    let (auth, _file) = auth("waiting", 0);
    assert_eq!(status(&auth, "/admin/x", Some("bob:secret: ü")).await, Some(503));
}
