//! What `server.command` means: a script for PHP threads, or a program to be started for each worker.

use std::{
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use crate::{
    config::{Carrier, Config, Relay},
    error::Error,
    php::IniFile,
    worker::Script,
};

/// How the workers of a pool are run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Workers {
    /// A script on PHP threads.
    Threads(PhpCommand),
    /// A process each.
    Processes(Vec<String>),
}

/// A command line of `php`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct PhpCommand {
    /// The script as the command calls it.
    script: String,
    /// The script and what follows it.
    pub(super) arguments: Vec<String>,
    /// What `-d` sets, for all of PHP in this process.
    pub(super) ini: Vec<(String, String)>,
    /// What `-c` or `-n` says.
    pub(super) ini_file: IniFile,
}

/// The workers that `config` asks for, if it does; they are of `plugin`, and `version` is that of our own PHP.
pub(super) fn workers(config: &Config, plugin: &str, version: &str) -> Result<Option<Workers>, Error> {
    let pool = &config.http.pool;
    let (key, command) = match &pool.command[..] {
        [] => ("server.command".to_owned(), &config.server.command),
        _ => (format!("{plugin}.pool.command"), &pool.command),
    };
    if command.is_empty() || config.http.worker.is_some() {
        return Ok(None);
    }
    let refused = |reason: String| Error::Config(format!("{key}: {reason}"));
    let by_socket = config.server.relay != Relay::Pipes;
    match pool.carrier {
        Carrier::Thread if by_socket => Err(Error::Config(format!(
            "server.relay: threads have no sockets to speak through; use pipes, or {plugin}.pool.carrier process"
        ))),
        Carrier::Thread if !is_our_php(&command[0], version) => {
            Err(refused(format!("{:?} is not PHP {version}, and nothing else runs on threads", command[0])))
        }
        Carrier::Auto | Carrier::Thread if !by_socket && is_our_php(&command[0], version) => {
            PhpCommand::parse(&command[1..]).map(Workers::Threads).map(Some).map_err(refused)
        }
        _ => Ok(Some(Workers::Processes(command.clone()))),
    }
}

/// `php`, `/usr/bin/php`, `php8.4`: but not another version of it.
fn is_our_php(program: &str, version: &str) -> bool {
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let suffix = name.strip_prefix("php").map(|suffix| suffix.trim_start_matches('-'));
    let is_beginning = |suffix: &str| version.strip_prefix(suffix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    suffix.is_some_and(|suffix| matches!(suffix, "" | "cli" | "zts") || is_beginning(suffix))
}

// === impl Workers ===

impl Workers {
    /// Where they run, in a word or two.
    pub(super) fn carrier(&self) -> &'static str {
        match self {
            Self::Threads(_) => "RoadRunner workers on PHP threads",
            Self::Processes(_) => "RoadRunner workers in processes",
        }
    }

    /// What they run, as it is shown.
    pub(super) fn script(&self) -> Result<Script, Error> {
        match self {
            Self::Threads(command) => command.script(),
            Self::Processes(command) => {
                let command = Bytes::from(command.join(" "));
                Ok(Script { name: command.clone(), filename: command, path_info: Bytes::new(), document_root: Bytes::new() })
            }
        }
    }
}

// === impl PhpCommand ===

impl PhpCommand {
    /// Reads the arguments of `php`.
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let (option, glued) = match argument.strip_prefix('-') {
                Some("-") => ("--", ""),
                Some(option) if option.starts_with('-') => (argument.as_str(), ""),
                Some(option) if option.is_char_boundary(1) => option.split_at(1.min(option.len())),
                Some(option) => (option, ""),
                None => {
                    parsed.set_script(argument, rest);
                    break;
                }
            };
            let mut value = |what: &str| match glued.strip_prefix('=').unwrap_or(glued) {
                "" => rest.next().cloned().ok_or_else(|| format!("option -{option} of php needs {what} after it")),
                glued => Ok(glued.to_owned()),
            };
            match option {
                "d" => parsed.ini.push(definition(&value("name=value")?)),
                "c" => parsed.ini_file = IniFile::At(PathBuf::from(value("a path")?)),
                "n" if glued.is_empty() => parsed.ini_file = IniFile::None,
                "q" if glued.is_empty() => {}
                "f" => {
                    let script = value("a script")?;
                    let rest = rest.as_slice();
                    parsed.set_script(&script, rest.strip_prefix(&["--".to_owned()]).unwrap_or(rest).iter());
                    break;
                }
                "--" => {
                    if let Some(script) = rest.next() {
                        parsed.set_script(script, rest);
                    }
                    break;
                }
                _ => {
                    return Err(format!(
                        "option {argument} of php is not supported on threads (-d, -c, -n and -f are); \
                         carrier process in the pool starts the command as it is"
                    ));
                }
            }
        }
        if parsed.script.is_empty() { Err("php is given no script".into()) } else { Ok(parsed) }
    }

    fn set_script<'a>(&mut self, script: &str, arguments: impl Iterator<Item = &'a String>) {
        self.script = script.to_owned();
        self.arguments = [script.to_owned()].into_iter().chain(arguments.cloned()).collect();
    }

    /// What the script sees in `$_SERVER`, `$_ENV` and `getenv()`.
    pub(super) fn variables(&self, config: &Config, mode: &str) -> Vec<(String, String)> {
        let mut variables = variables(config, mode);
        // As the command line has them: not resolved.
        variables.extend(["SCRIPT_FILENAME", "PATH_TRANSLATED"].map(|name| (name.to_owned(), self.script.clone())));
        variables
    }

    /// The script, found from the working directory.
    fn script(&self) -> Result<Script, Error> {
        let path = Path::new(&self.script).canonicalize().map_err(Error::named(format!("worker script {}", self.script)))?;
        if !path.is_file() {
            return Err(Error::Config(format!("worker script {} is not a file", path.display())));
        }
        Ok(Script {
            filename: Bytes::from(path.into_os_string().into_vec()),
            name: self.script.clone().into(),
            path_info: Bytes::new(),
            document_root: Bytes::new(),
        })
    }
}

/// `-d name` alone switches on, as in `php`.
fn definition(text: &str) -> (String, String) {
    match text.split_once('=') {
        Some((name, value)) => (name.trim().to_owned(), value.trim().to_owned()),
        None => (text.trim().to_owned(), "1".into()),
    }
}

/// What workers see in `$_SERVER`, `$_ENV` and `getenv()`, on top of the process's own environment.
pub(super) fn variables(config: &Config, mode: &str) -> Vec<(String, String)> {
    let relay = match &config.server.relay {
        Relay::Pipes => "pipes".into(),
        Relay::Tcp(address) => format!("tcp://{address}"),
        Relay::Unix(path) => format!("unix://{}", path.display()),
    };
    let mut variables = vec![("RR_RELAY".to_owned(), relay)];
    variables.extend(config.server.env.iter().cloned());
    variables.push(("RR_VERSION".into(), env!("CARGO_PKG_VERSION").into()));
    variables.push(("RR_MODE".into(), mode.into()));
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(command: &str, change: impl FnOnce(&mut Config)) -> Result<Option<Workers>, String> {
        let mut config = Config::default();
        config.server.command = command.split_whitespace().map(str::to_owned).collect();
        change(&mut config);
        super::workers(&config, "http", "8.4.24").map_err(|error| error.to_string())
    }

    fn php(command: &str) -> Result<PhpCommand, String> {
        match workers(command, |_| {})? {
            Some(Workers::Threads(php)) => Ok(php),
            other => Err(format!("{other:?}")),
        }
    }

    fn processes(command: &str) -> Option<Workers> {
        Some(Workers::Processes(command.split_whitespace().map(str::to_owned).collect()))
    }

    #[test]
    fn a_php_script_runs_on_threads_and_all_else_in_processes() {
        for command in ["php w.php", "/usr/bin/php w.php", "php8.4 w.php", "php8 w.php", "php-zts w.php", "php8.4.24 w.php"] {
            assert_eq!(php(command).unwrap().script, "w.php", "{command}");
        }
        for command in
            ["php8.2 w.php", "php84 w.php", "php8.4.2 w.php", "python3 w.py", "sh -c php", "phpunit w.php", "./php.sh w.php"]
        {
            assert_eq!(workers(command, |_| {}), Ok(processes(command)), "{command}");
        }
        assert_eq!(workers("", |_| {}), Ok(None));
    }

    #[test]
    fn the_carrier_may_be_named() {
        let carried = |command: &str, carrier: Carrier| workers(command, |config| config.http.pool.carrier = carrier);
        assert_eq!(carried("php w.php", Carrier::Process), Ok(processes("php w.php")));
        let refused = carried("node w.js", Carrier::Thread).unwrap_err();
        assert_eq!(refused, r#"server.command: "node" is not PHP 8.4.24, and nothing else runs on threads"#);
        let relay = |config: &mut Config| config.server.relay = Relay::Unix("rr.sock".into());
        assert_eq!(workers("php w.php", relay), Ok(processes("php w.php")));
        let refused = workers("php w.php", |config| {
            relay(config);
            config.http.pool.carrier = Carrier::Thread;
        });
        assert!(refused.unwrap_err().starts_with("server.relay: threads have no sockets"));
    }

    #[test]
    fn a_pool_and_a_worker_script_win_over_the_servers_command() {
        let pool = workers("php a.php", |config| config.http.pool.command = vec!["php".into(), "b.php".into()]);
        assert!(matches!(pool, Ok(Some(Workers::Threads(php))) if php.script == "b.php"));
        assert_eq!(workers("php a.php", |config| config.http.worker = Some("w.php".into())), Ok(None));
    }

    #[test]
    fn options_of_php_are_honoured_or_refused() {
        let parsed = php("php -d a=1 -db=2 -d c -c /etc/php.ini -q public/index.php -d x=1 --y").unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(parsed.ini, [pair("a", "1"), pair("b", "2"), pair("c", "1")]);
        assert_eq!(parsed.ini_file, IniFile::At("/etc/php.ini".into()));
        assert_eq!(parsed.arguments, ["public/index.php", "-d", "x=1", "--y"]);
        assert_eq!(php("php -n -f w.php -- a").unwrap().arguments, ["w.php", "a"]);
        assert_eq!(php("php -n w.php").unwrap().ini_file, IniFile::None);
        assert_eq!(php("php -- w.php b").unwrap().arguments, ["w.php", "b"]);
        for (command, reason) in [
            ("php", "server.command: php is given no script"),
            ("php --", "server.command: php is given no script"),
            ("php -d", "server.command: option -d of php needs name=value after it"),
            ("php -r echo", "server.command: option -r of php is not supported on threads"),
            ("php --ri x", "server.command: option --ri of php is not supported on threads"),
            ("php -nx w.php", "server.command: option -nx of php is not supported on threads"),
            ("php - w.php", "server.command: option - of php is not supported on threads"),
        ] {
            let refused = php(command).unwrap_err();
            assert!(refused.starts_with(reason), "{command}: {refused}");
        }
    }

    #[test]
    fn workers_know_how_to_reach_the_server() {
        let mut config = Config::default();
        config.server.env.push(("APP_ENV".into(), "test".into()));
        let shown = variables(&config, "http");
        let names: Vec<_> = shown.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["RR_RELAY", "APP_ENV", "RR_VERSION", "RR_MODE"]);
        assert_eq!(shown[0].1, "pipes");
    }
}
