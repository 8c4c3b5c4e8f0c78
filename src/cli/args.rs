//! The flags and sub-commands, RoadRunner's among them.

use std::{ffi::OsString, path::PathBuf, sync::LazyLock};

use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

/// What the command line says.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "rr",
    version = VERSION.as_str(),
    about = "RoadRunner's job done from inside PHP: one program that links libphp and serves any PHP application",
    propagate_version = true,
    disable_version_flag = true,
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
    },
    /// Check the configuration
    #[command(display_name = "rr")]
    Check,
    /// Print the configuration as it is understood
    #[command(display_name = "rr")]
    Config,
    /// Be PHP's command line
    #[command(display_name = "rr", disable_help_flag = true)]
    Php(Php),
    /// Print a script that completes these commands
    #[command(display_name = "rr")]
    Completion {
        /// The shell it is for
        shell: Shell,
    },
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
        // Taken off before clap sees them: -d, --version and -- are PHP's there.
        let theirs = php_arguments(&ours).map(|at| ours.split_off(at));
        let mut args = Self::try_parse_from(ours)?;
        if let (Command::Php(php), Some(theirs)) = (&mut args.command, theirs) {
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

/// Where the arguments after `php` begin, if that is the sub-command.
fn php_arguments(arguments: &[OsString]) -> Option<usize> {
    let command = Args::command();
    let mut at = 1;
    while let Some(argument) = arguments.get(at) {
        at += 1;
        let text = argument.to_string_lossy();
        if text == "php" {
            return Some(at);
        }
        if !text.starts_with('-') {
            return None;
        }
        at += usize::from(takes_next(&command, &text));
    }
    None
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
        option_env!("RR_BUILD_TIME").unwrap_or("unknown"),
        option_env!("RR_RUSTC").unwrap_or("rustc"),
        std::env::consts::OS,
    )
});
