//! The flags and sub-commands, RoadRunner's among them.

use std::{ffi::OsString, path::PathBuf, sync::LazyLock};

use clap::{ArgAction, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// [`ExitCode`](crate::error::ExitCode), for people.
const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  failed for another reason
   2  the command line makes no sense
  69  there is no server, or none that can do this
  70  what was to serve did not start, or not in time
  71  the system gave no socket, file or thread
  75  not possible now: try again later
  78  the configuration was refused";

/// What the command line says.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "rr",
    version = VERSION.as_str(),
    about = "RoadRunner's job done from inside PHP: one program that links libphp and serves any PHP application",
    propagate_version = true,
    disable_version_flag = true,
    after_help = EXIT_CODES,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Args {
    /// Configuration file [default: .rr.yaml, else config.php]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Working directory [default: the configuration file's]
    #[arg(short, long, alias = "WorkDir", global = true, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// Set a configuration key, such as http.address=:8080 (may be repeated)
    #[arg(short = 'o', long = "override", global = true, value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// File of environment variables; the variable DOTENV_PATH wins over this
    #[arg(long, global = true, value_name = "FILE")]
    pub dotenv: Option<PathBuf>,
    /// Say more
    #[arg(short, long, global = true)]
    pub debug: bool,
    /// No banner
    #[arg(short, long, global = true)]
    pub silent: bool,
    /// Write a file .pid in the working directory
    #[arg(short, long, global = true)]
    pub pid: bool,
    /// Do not wait
    #[arg(short, long, global = true)]
    pub force: bool,
    /// Taken for RoadRunner's sake
    #[arg(short, long, global = true)]
    pub enable_experimental: bool,
    /// Print what a supervisor has to know of the configuration, if it speaks this version
    #[arg(long, global = true, hide = true, value_name = "VERSION")]
    pub prepare: Option<String>,
    /// Print the version
    #[arg(short = 'v', long, global = true, action = ArgAction::Version)]
    version: Option<bool>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Serve
    #[command(display_name = "rr")]
    Serve {
        /// Directory to serve; wins over http.root
        dir: Option<PathBuf>,
        /// Development: reload what has changed, in PHP and in the browser; see the keys of dev
        #[arg(long)]
        watch: bool,
    },
    /// Show the workers of a running server, or change their number
    #[command(display_name = "rr", override_usage = "rr workers [PLUGIN]... [-i]\n       rr workers add|remove [PLUGIN]")]
    Workers {
        /// Plugins whose workers are shown [default: all]; after add or remove, the one whose pool is changed [default: http]
        #[arg(value_name = "PLUGIN")]
        words: Vec<String>,
        /// Show them again every second, until Ctrl-C
        #[arg(short, long)]
        interactive: bool,
    },
    /// Show what every PHP thread of a running server is in the middle of
    #[command(display_name = "rr")]
    Threads {
        /// Plugins whose threads are shown [default: all]
        #[arg(value_name = "PLUGIN")]
        plugins: Vec<String>,
    },
    /// Show how the OPcache of a running server is, or reset it
    #[command(display_name = "rr")]
    Opcache {
        /// What to do rather than show it
        action: Option<Opcache>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Let the workers of a running server boot again
    #[command(display_name = "rr")]
    Reset {
        /// Plugins whose workers are meant [default: all]
        #[arg(value_name = "PLUGIN")]
        plugins: Vec<String>,
    },
    /// Let a running server start a new engine with its configuration and code as they are now, and wait until that serves and the
    /// one before has ended, so that what it served from may be deleted
    #[command(display_name = "rr", after_help = EXIT_CODES)]
    Reload {
        /// Only say whether the configuration would be taken
        #[arg(long)]
        dry_run: bool,
        /// Return as soon as the new engine serves: the one before still finishes what it has begun, with the files that it began with
        #[arg(long)]
        no_wait: bool,
    },
    /// Let a running server go back to the configuration and the folders that it had before the last reload, and wait as reload does
    #[command(display_name = "rr", after_help = EXIT_CODES)]
    Rollback {
        /// Return as soon as the new engine serves
        #[arg(long)]
        no_wait: bool,
    },
    /// Stop the server that was started here with -p; with -f, a second later, at once
    #[command(display_name = "rr")]
    Stop,
    /// Check the configuration
    #[command(display_name = "rr")]
    Check,
    /// Print the configuration as it is understood
    #[command(display_name = "rr")]
    Config,
    /// Be PHP's command line
    #[command(display_name = "rr", disable_help_flag = true)]
    Php(Php),
    /// Name the calls of a crashed engine, of which its supervisor gives an account
    #[command(hide = true)]
    NameCalls,
    /// Print a script that completes these commands
    #[command(display_name = "rr")]
    Completion {
        /// The shell it is for
        shell: Shell,
    },
}

/// What can be done to OPcache.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Opcache {
    /// Let it forget all it has, in a moment when no script runs
    Reset,
}

/// The arguments of `rr php`, none of them ours.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Php {
    /// Arguments for PHP
    #[arg(value_name = "ARGS")]
    pub args: Vec<OsString>,
}

/// The line that `rr --version` prints; tools look for `version (\d+.\d+.\d+)` in it.
pub fn version_line() -> String {
    format!("rr {}", *VERSION)
}

// === impl Args ===

impl Args {
    /// Reads the arguments, the program's name first. An error knows its exit code and where it is printed.
    pub fn parse_from(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self, clap::Error> {
        let mut ours: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let mut theirs = Vec::new();
        if let Some(at) = command_at(&ours) {
            if ours[at] == "php" {
                // Taken off before clap sees them: -d, --version and -- are PHP's there.
                theirs = ours.split_off(at + 1);
            }
            // The flags go behind the sub-command: of -o on both sides of it, clap would forget those in front.
            ours[1..=at].rotate_right(1);
        }
        let mut args = Self::try_parse_from(ours)?;
        if let Command::Php(php) = &mut args.command {
            php.args = theirs;
        }
        Ok(args)
    }

    /// The file of environment variables, given the variable that wins over the flag.
    pub fn dotenv_path(&self, dotenv_path: Option<OsString>) -> Option<PathBuf> {
        dotenv_path.filter(|path| !path.is_empty()).map(PathBuf::from).or_else(|| self.dotenv.clone())
    }

    /// The completion script for `shell`.
    pub fn completion(shell: Shell) -> Vec<u8> {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Self::command(), "rr", &mut script);
        script
    }
}

/// Where the sub-command stands.
fn command_at(arguments: &[OsString]) -> Option<usize> {
    let command = Args::command();
    let mut at = 1;
    loop {
        let argument = arguments.get(at)?.to_string_lossy();
        if !argument.starts_with('-') {
            return Some(at);
        }
        at += 1 + usize::from(takes_next(&command, &argument));
    }
}

/// Whether a flag's value is the next argument.
fn takes_next(command: &clap::Command, flag: &str) -> bool {
    let mut valued = command.get_arguments().filter(|argument| argument.get_action().takes_values());
    if let Some(long) = flag.strip_prefix("--") {
        return valued.any(|argument| {
            argument.get_long() == Some(long) || argument.get_all_aliases().is_some_and(|names| names.contains(&long))
        });
    }
    // In `-sc`, c's value is the next argument; in `-cfile` it is the rest of this one.
    let valued: Vec<char> = valued.filter_map(clap::Arg::get_short).collect();
    flag.chars().skip(1).position(|short| valued.contains(&short)) == Some(flag.chars().count().saturating_sub(2))
}

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!(
        "version {} (build time: {}, {}), OS: {}, arch: {arch}",
        env!("CARGO_PKG_VERSION"),
        env!("RR_BUILD_TIME"),
        env!("RR_RUSTC"),
        std::env::consts::OS,
    )
});

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::parse_from(line.split(' '))
    }

    #[test]
    fn flags_stand_before_or_after_the_sub_command() {
        for line in [
            "rr -c .rr.yaml -o version=3 -o http.address=:1 -s serve",
            "rr serve -c .rr.yaml -so version=3 --override http.address=:1",
        ] {
            let args = parse(line).unwrap();
            assert_eq!(args.config, Some(".rr.yaml".into()), "{line}");
            assert_eq!(args.overrides, ["version=3", "http.address=:1"], "{line}");
            assert!(args.silent && matches!(args.command, Command::Serve { dir: None, watch: false }), "{line}");
        }
        let args = parse("rr -o a=1 --config=x serve -o b=2 public").unwrap();
        assert_eq!(args.overrides, ["a=1", "b=2"]);
        assert!(matches!(args.command, Command::Serve { dir: Some(dir), .. } if dir == std::path::Path::new("public")));
        assert!(matches!(parse("rr serve --watch").unwrap().command, Command::Serve { dir: None, watch: true }));
    }

    #[test]
    fn the_working_directory_has_roadrunners_spelling_too() {
        for line in ["rr -w app check", "rr --WorkDir app check", "rr check --workdir=app"] {
            assert_eq!(parse(line).unwrap().workdir, Some("app".into()), "{line}");
        }
    }

    #[test]
    fn names_of_calls_are_asked_for_as_the_supervisor_does() {
        let args = parse(&format!("rr {}", crate::supervisor::NAME_CALLS)).unwrap();
        assert!(matches!(args.command, Command::NameCalls));
        assert!(!Args::command().render_long_help().to_string().contains(crate::supervisor::NAME_CALLS));
    }

    #[test]
    fn what_follows_php_is_phps() {
        for (line, expected) in [
            ("rr php -v --version -d a=b -r echo(1); -- -c x", "-v --version -d a=b -r echo(1); -- -c x"),
            ("rr -sc php php serve php", "serve php"),
            ("rr -o a=b php --help", "--help"),
        ] {
            let Command::Php(php) = parse(line).unwrap().command else { panic!("{line}: not php") };
            assert_eq!(php.args, expected.split(' ').collect::<Vec<_>>(), "{line}");
        }
        assert!(matches!(parse("rr php").unwrap().command, Command::Php(php) if php.args.is_empty()));
    }

    #[test]
    fn the_version_line_is_one_that_roadrunners_tools_read() {
        let line = version_line();
        assert!(line.starts_with(concat!("rr version ", env!("CARGO_PKG_VERSION"), " (build time: ")), "{line}");
        assert!(line.contains("), OS: linux, arch: "), "{line}");
        for given in ["rr -v", "rr --version", "rr serve --version"] {
            let shown = parse(given).unwrap_err();
            assert_eq!((shown.kind(), shown.exit_code()), (ErrorKind::DisplayVersion, 0), "{given}");
            assert_eq!(shown.to_string(), format!("{line}\n"), "{given}");
        }
    }

    #[test]
    fn a_usage_error_exits_with_2() {
        for line in ["rr", "rr nonsense", "rr serve --nonsense", "rr -c"] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn the_variable_names_the_dotenv_file_before_the_flag_does() {
        let args = parse("rr --dotenv a serve").unwrap();
        assert_eq!(args.dotenv_path(None), Some("a".into()));
        assert_eq!(args.dotenv_path(Some("b".into())), Some("b".into()));
    }

    #[test]
    fn every_shell_gets_a_completion_script() {
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            assert!(String::from_utf8(Args::completion(shell)).unwrap().contains("completion"), "{shell}");
        }
        Args::command().debug_assert();
    }
}
