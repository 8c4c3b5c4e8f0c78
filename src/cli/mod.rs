//! The command line: one function per sub-command.

mod args;
mod opcache;
mod php;
mod reload;
mod remote;
mod reset;
mod stop;
mod table;
mod threads;
mod workers;

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

pub use args::{Args, Command, version_line};

use crate::{
    app,
    config::{self, Address, Config, LoadOptions},
    error::{Error, ExitCode},
    php::php_binary,
    supervisor::{self, Inherited, Left},
};

/// Does what `arguments` say, the program's name first.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    // A link named `php` stands in for PHP's own command line, for tools that run `php`.
    if arguments.first().is_some_and(|name| Path::new(name).file_name().is_some_and(|name| name == "php")) {
        return finish(php::run(&arguments[1..]).map(|()| ExitCode::Ok));
    }
    let args = match Args::parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            drop(error.print());
            return if error.use_stderr() { ExitCode::Usage } else { ExitCode::Ok };
        }
    };
    finish(dispatch(args))
}

fn dispatch(args: Args) -> Result<ExitCode, Error> {
    match &args.command {
        Command::Serve { dir, .. } => {
            if let Some(left) = Left::take().map_err(Error::system("what the program before has left"))? {
                return app::resume(left);
            }
            if let Some(inherited) = Inherited::take().map_err(Error::system("what the supervisor hands over"))? {
                return app::serve_inherited(inherited).map(|()| ExitCode::Ok);
            }
            // Resolved before -w or the configuration's folder become the working directory.
            let dir = dir.as_deref().map(absolute).transpose()?;
            let start = starting_directory();
            if let Some(version) = args.prepare.as_deref().filter(|version| *version != supervisor::VERSION) {
                return Err(Error::Config(supervisor::no_exchange(version, supervisor::VERSION)));
            }
            let Loaded { config, file } = load(&args)?;
            if args.prepare.is_some() {
                return say(&app::release(&config, dir, file)?.told()).map(|()| ExitCode::Ok);
            }
            let options = app::Options { dir, file, silent: args.silent, pid_file: args.pid };
            if !config.engine.supervisor {
                return app::serve(config, &options).map(|()| ExitCode::Ok);
            }
            return app::supervise(&config, options, start);
        }
        Command::Check => {
            app::check(&load(&args)?.config, None)?;
            say("the configuration is right\n")
        }
        Command::Config => {
            let json = serde_json::to_string_pretty(&load(&args)?.config.to_json()).unwrap_or_default();
            say(&format!("{json}\n"))
        }
        Command::Workers { words, interactive } => {
            let wanted = workers::Wanted::of(words, *interactive)?;
            workers::run(rpc_address(&args)?.as_ref(), &wanted, args.silent)
        }
        Command::Threads { plugins } => threads::run(rpc_address(&args)?.as_ref(), plugins),
        Command::Reset { plugins } => reset::run(rpc_address(&args)?.as_ref(), plugins, args.silent),
        Command::Reload { dry_run, no_wait } => {
            let (word, ends) = if *dry_run { ("Check", false) } else { ("Reload", !no_wait) };
            reload::run(rpc_address(&args)?.as_ref(), reload::Wanted { word, ends, silent: args.silent })
        }
        Command::Opcache { action, json } => {
            let reset = *action == Some(args::Opcache::Reset);
            opcache::run(rpc_address(&args)?.as_ref(), opcache::Wanted { reset, json: *json, silent: args.silent && reset })
        }
        Command::Rollback { no_wait } => {
            let wanted = reload::Wanted { word: "Rollback", ends: !no_wait, silent: args.silent };
            reload::run(rpc_address(&args)?.as_ref(), wanted)
        }
        Command::Stop => {
            settle(&args, config::find(&options(&args)?).map_err(refused)?.as_deref())?;
            stop::run(args.silent, args.force)
        }
        Command::Php(php) => php::run(&php.args),
        Command::NameCalls => supervisor::name_calls().map_err(Error::system("the account of a crash")),
        Command::Completion { shell } => {
            io::stdout().write_all(&Args::completion(*shell)).map_err(Error::system("standard output"))
        }
    }
    .map(|()| ExitCode::Ok)
}

/// Where we were started, by the name that it had: a release is deployed by changing what a symbolic link in it leads to.
fn starting_directory() -> PathBuf {
    let here = env::current_dir().unwrap_or_default();
    let named = env::var_os("PWD").map(PathBuf::from).filter(|path| path.canonicalize().ok() == here.canonicalize().ok());
    named.unwrap_or(here)
}

fn finish(result: Result<ExitCode, Error>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            // Nowhere to complain if standard error is gone.
            drop(writeln!(io::stderr(), "rr: {error}"));
            error.exit_code()
        }
    }
}

/// A configuration, and the file that it is from, if there is one.
struct Loaded {
    config: Config,
    file: Option<PathBuf>,
}

/// Reads the configuration, and moves to the folder that its relative paths start from.
fn load(args: &Args) -> Result<Loaded, Error> {
    let options = options(args)?;
    let file = config::find(&options).map_err(refused)?;
    let mut config = config::load(&options).map_err(refused)?;
    // Scripts see these too, as RoadRunner's workers inherit them; the process's own variables win, as they do in the file.
    for (name, value) in options.dotenv {
        if env::var_os(&name).is_none() && !config.php.env.iter().any(|(known, _)| *known == name) {
            config.php.env.push((name, value));
        }
    }
    config.dev.enabled |= matches!(args.command, Command::Serve { watch: true, .. });
    settle(args, file.as_deref())?;
    Ok(Loaded { config, file })
}

/// Where the server of this configuration listens for calls.
fn rpc_address(args: &Args) -> Result<Option<Address>, Error> {
    let options = options(args)?;
    let file = config::find(&options).map_err(refused)?;
    let address = config::rpc_address(&options).map_err(refused)?;
    settle(args, file.as_deref())?;
    Ok(address)
}

/// Moves to the working directory that was named, if one was, and says where the configuration is to come from.
fn options(args: &Args) -> Result<LoadOptions, Error> {
    if let Some(directory) = &args.workdir {
        env::set_current_dir(directory).map_err(Error::system(format!("working directory {}", directory.display())))?;
    }
    let dotenv = match args.dotenv_path(env::var_os("DOTENV_PATH")) {
        Some(path) => config::read_dotenv(&path).map_err(refused)?,
        None => config::Dotenv::default(),
    };
    Ok(LoadOptions {
        path: args.config.clone(),
        directory: None,
        overrides: args.overrides.clone(),
        dotenv,
        php: php_binary().map(|path| vec![path.into_os_string()]).unwrap_or_else(|| vec!["php".into()]),
    })
}

/// Moves to the configuration file's folder, unless another was named.
fn settle(args: &Args, file: Option<&Path>) -> Result<(), Error> {
    match file.and_then(Path::parent) {
        Some(directory) if args.workdir.is_none() && directory != Path::new("") => {
            env::set_current_dir(directory).map_err(Error::system(format!("working directory {}", directory.display())))
        }
        _ => Ok(()),
    }
}

fn refused(error: config::Error) -> Error {
    Error::Config(error.to_string())
}

/// Symbolic links in it are followed by each engine, so that a reload serves what they lead to by then.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    fs::metadata(path).map_err(Error::system(format!("cannot serve {}", path.display())))?;
    Ok(starting_directory().join(path))
}

fn say(text: &str) -> Result<(), Error> {
    io::stdout().write_all(text.as_bytes()).map_err(Error::system("standard output"))
}
