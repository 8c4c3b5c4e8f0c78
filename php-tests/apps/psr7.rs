//! PSR-7 messages in a worker: the bridge that the README shows, with two implementations.

use std::{fs, path::Path};

use serde_json::json;

use super::app;
use crate::harness::{Server, multipart, reference, server};

/// What answers: it says what it was asked, in the words of PSR-7.
const APP: &str = r#"
final class App
{
    public function handle(Psr\Http\Message\ServerRequestInterface $request): Psr\Http\Message\ResponseInterface
    {
        $seen = [
            'method' => $request->getMethod(), 'uri' => (string) $request->getUri(), 'host' => $request->getUri()->getHost(),
            'version' => $request->getProtocolVersion(), 'own' => $request->getHeader('x-own'), 'query' => $request->getQueryParams(),
            'cookies' => $request->getCookieParams(), 'parsed' => $request->getParsedBody(), 'body' => (string) $request->getBody(),
            'script' => basename($request->getServerParams()['SCRIPT_NAME']),
            'files' => array_map(fn ($file) => [$file->getClientFilename(), $file->getSize(), (string) $file->getStream()], $request->getUploadedFiles()),
        ];
        return $this->response(202, ['Content-Type' => 'application/json', 'X-Many' => ['a', 'b']], json_encode($seen));
    }

    private function response(...$arguments): Psr\Http\Message\ResponseInterface
    {
        return new RESPONSE(...$arguments);
    }
}
"#;

/// The PHP block of the README that has `needle` in it.
fn recipe(needle: &str) -> String {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let block =
        readme.split("```php\n").skip(1).map(|rest| rest.split("```").next().unwrap()).find(|block| block.contains(needle));
    block.unwrap_or_else(|| panic!("no PHP with {needle} in the README")).to_owned()
}

fn start(source: &Path, bridge: &str, response: &str) -> Server {
    let php = source.join("root/usr/share/php");
    let code = format!(
        "set_include_path('{php}'); require '{php}/Nyholm/Psr7/autoload.php'; require '{php}/GuzzleHttp/Psr7/autoload.php';\n{}\n$app = new App();\n{bridge}",
        APP.replace("RESPONSE", response),
        php = php.display(),
    );
    let setup = server().bare().php("worker.php", &code);
    let worker = setup.document_root().join("worker.php");
    setup.option(&format!("http.worker={}", worker.display())).start()
}

fn speaks_psr7(server: &Server) {
    for round in 0..3 {
        let request = server.request("POST", &format!("/a/b?c[]={round}")).form(&[("d", "e")]).header("X-Own", "1");
        let reply = request.header("X-Own", "2").header("Cookie", "f=g").send();
        assert_eq!((reply.status, reply.header("content-type")), (202, Some("application/json")), "{}", server.log.text());
        assert_eq!(reply.all("x-many").collect::<Vec<_>>(), ["a", "b"]);
        let expected = json!({
            "method": "POST", "uri": format!("http://{}/a/b?c%5B%5D={round}", server.address), "host": "127.0.0.1", "version": "1.1",
            "own": ["1", "2"], "query": {"c": [round.to_string()]}, "cookies": {"f": "g"}, "parsed": {"d": "e"}, "body": "d=e",
            "script": "worker.php", "files": [],
        });
        assert_eq!(reply.json(), expected);
    }
    let (kind, body) = multipart(&[("field", "", b"1"), ("file", "a.txt", b"content")]);
    let seen = server.post("/", &kind, body).send().json();
    assert_eq!((&seen["files"], &seen["parsed"]), (&json!({"file": ["a.txt", 7, "content"]}), &json!({"field": "1"})));
    let large = vec![b'x'; 3_000_000];
    let seen = server.request("PUT", "/").body("text/plain", large.clone()).send().json();
    assert_eq!(seen["body"].as_str().unwrap().len(), large.len());
}

#[test]
fn the_bridge_of_the_readme_works_with_nyholm() {
    let Some(source) = app("psr7") else { return };
    if reference().is_some() {
        return;
    }
    speaks_psr7(&start(&source, &recipe("Nyholm"), "Nyholm\\Psr7\\Response"));
}

#[test]
fn and_with_guzzle() {
    let Some(source) = app("psr7") else { return };
    if reference().is_some() {
        return;
    }
    // The same classes under another name.
    let bridge = recipe("Nyholm").replace("Nyholm", "GuzzleHttp");
    speaks_psr7(&start(&source, &bridge, "GuzzleHttp\\Psr7\\Response"));
}

#[test]
fn the_other_recipe_works_too() {
    if reference().is_some() {
        return;
    }
    let app =
        "final class App { public int $n = 0; public function run(array $query): string { return ++$this->n . $query['x']; } }\n";
    let setup = server().bare().threads(1).php("worker.php", &format!("{app}{}", recipe("rr_handle_request")));
    let worker = setup.document_root().join("worker.php");
    let server = setup.option(&format!("http.worker={}", worker.display())).start();
    assert_eq!([server.text("/?x=a"), server.text("/?x=b")], ["1a", "2b"]);
}
