//! `config.php` is evaluated in a child process, so that ini settings may come from it before PHP starts here.

use std::{
    io::{self, Read},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{env, error::Error, source::LoadOptions};

/// How a file is evaluated.
pub(super) struct Interpreter<'a> {
    /// The command and the variables.
    pub(super) options: &'a LoadOptions,
    /// Where it runs.
    pub(super) directory: &'a Path,
    /// How long it may take.
    pub(super) limit: Duration,
}

/// How long a configuration file may take.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// The array that the file at `path` returns.
pub(super) fn evaluate(path: &Path, interpreter: &Interpreter<'_>) -> Result<Value, Error> {
    let wrong = |message: String| Error::File { path: path.to_owned(), message };
    let Some((program, arguments)) = interpreter.options.php.split_first() else {
        return Err(wrong("no PHP to evaluate it with".into()));
    };
    let mut command = Command::new(program);
    command.args(arguments).args([
        "-d",
        "display_errors=stderr",
        "-d",
        "log_errors=0",
        "-d",
        "html_errors=0",
        "-r",
        SCRIPT,
        "--",
    ]);
    command.arg(std::path::absolute(path).map_err(|source| Error::Read { path: path.to_owned(), source })?);
    command.current_dir(interpreter.directory);
    command
        .envs(interpreter.options.dotenv.keys().filter_map(|name| Some((name, env::lookup(name, &interpreter.options.dotenv)?))));
    let output = run(command, interpreter.limit).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => wrong(format!("not evaluated within {} s", interpreter.limit.as_secs_f32())),
        _ => wrong(format!("{} cannot be run to evaluate it: {error}", program.display())),
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim();
        return Err(wrong(if said.is_empty() { format!("PHP ended with {}", output.status) } else { said.to_owned() }));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| wrong(format!("PHP printed no JSON: {error}")))
}

struct Output {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

fn run(mut command: Command, limit: Duration) -> io::Result<Output> {
    let deadline = Instant::now() + limit;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let result = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(POLL),
            Ok(None) => break Err(io::ErrorKind::TimedOut.into()),
            Err(error) => break Err(error),
        }
    };
    if result.is_err() {
        // Already gone, or about to be: only the wait matters.
        let _ = child.kill();
        let _ = child.wait();
    }
    // A process the script left behind may hold the pipes open; their reading ends with the deadline all the same.
    let left = || deadline.saturating_duration_since(Instant::now()).max(POLL);
    let status = result?;
    let stdout = stdout.recv_timeout(left()).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    let stderr = stderr.recv_timeout(left()).unwrap_or_default();
    Ok(Output { status, stdout, stderr })
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What was read before an error is still worth showing.
            let _ = pipe.take(LONGEST_OUTPUT).read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}

/// Prints what the file returns and nothing that it echoes.
const SCRIPT: &str = r#"
ob_start(static fn() => '');
$config = (static fn() => require $GLOBALS['argv'][1])();
while (ob_get_level()) ob_end_clean();
if (!is_array($config)) {
    fwrite(STDERR, 'expected the file to return an array, got ' . get_debug_type($config));
    exit(1);
}
echo json_encode($config, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
"#;
const POLL: Duration = Duration::from_millis(2);
const LONGEST_OUTPUT: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn evaluate_with(shell: &str, limit: Duration) -> Result<Value, String> {
        let options = LoadOptions {
            php: vec!["sh".into(), "-c".into(), shell.into()],
            dotenv: [("RR_TEST_ONLY".to_owned(), "from the file".to_owned())].into(),
            ..LoadOptions::default()
        };
        let interpreter = Interpreter { options: &options, directory: Path::new("/"), limit };
        evaluate(Path::new("/config.php"), &interpreter).map_err(|error| error.to_string())
    }

    #[test]
    fn the_array_is_what_the_interpreter_prints() {
        assert_eq!(evaluate_with(r#"echo '{"http": []}'"#, LIMIT), Ok(json!({"http": []})));
        assert_eq!(evaluate_with(r#"printf '{"a": "%s"}' "$RR_TEST_ONLY""#, LIMIT), Ok(json!({"a": "from the file"})));
    }

    #[test]
    fn a_fault_is_told_in_the_interpreters_words() {
        let wrong = evaluate_with("echo 'Parse error: line 3' >&2; exit 255", LIMIT);
        assert_eq!(wrong, Err("/config.php: Parse error: line 3".into()));
        assert_eq!(evaluate_with("exit 3", LIMIT), Err("/config.php: PHP ended with exit status: 3".into()));
        assert!(evaluate_with("echo hello", LIMIT).unwrap_err().starts_with("/config.php: PHP printed no JSON"));
    }

    #[test]
    fn it_ends_at_its_limit() {
        let began = Instant::now();
        let wrong = evaluate_with("sleep 30", Duration::from_millis(100)).unwrap_err();
        assert_eq!(wrong, "/config.php: not evaluated within 0.1 s");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn an_interpreter_that_is_missing_is_named() {
        let options = LoadOptions { php: vec!["/nonexistent/php".into()], ..LoadOptions::default() };
        let interpreter = Interpreter { options: &options, directory: Path::new("/"), limit: LIMIT };
        let wrong = evaluate(Path::new("/config.php"), &interpreter).unwrap_err().to_string();
        assert!(wrong.starts_with("/config.php: /nonexistent/php cannot be run to evaluate it: "), "{wrong}");
    }
}
