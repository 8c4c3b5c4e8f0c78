//! Finds PHP, compiles the C shim against its headers and links libphp to programs and tests, never to the library:
//! `rr.so` must take the engine from the `php` that loads it.

use std::{env, fmt, fs, path::PathBuf, process::Command};

/// The C files that every PHP gets, and those that only our own server needs.
const EVERYWHERE: &[&str] = &["src/php/module.c"];
const SERVER: &[&str] = &[
    "src/php/shim.c",
    "src/php/sapi.c",
    "src/php/input.c",
    "src/php/worker.c",
    "src/php/pull.c",
    "src/php/request.c",
    "src/php/response.c",
    "src/php/task.c",
    "src/php/reset.c",
    "src/php/leaks.c",
    "src/php/debugger.c",
    "src/php/stdio.c",
    "src/php/overrides.c",
    "src/php/libc.c",
    "src/php/blocking.c",
    "src/php/children.c",
    "src/php/resolve.c",
    "src/php/memory.c",
    "src/php/trace.c",
    "src/php/deadline.c",
    "src/php/opcache.c",
];

enum Libphp {
    Static(PathBuf),
    Shared(PathBuf),
    Missing(&'static str),
}

fn main() {
    println!("cargo::rerun-if-env-changed=PHP_CONFIG");
    println!("cargo::rerun-if-env-changed=PATH");
    println!("cargo::rerun-if-changed=src/php");
    println!("cargo::rustc-check-cfg=cfg(php_embed, address_sanitizer)");
    let php = Php::find();
    println!("cargo::rustc-env=RR_PHP_BINARY={}", php.query("--php-binary"));
    println!("cargo::rustc-env=RR_PHP_INI_PATH={}", php.query("--ini-path"));
    println!("cargo::rustc-env=RR_PHP_INI_DIR={}", php.query("--ini-dir"));
    println!("cargo::rustc-env=RR_PHP_VERSION={}", php.query("--version"));
    println!("cargo::rustc-env=RR_RUSTC={}", compiler());
    println!("cargo::rustc-env=RR_BUILD_TIME={}", build_time());

    let mut shim = cc::Build::new();
    // PHP's own headers do not stand up to -Wextra.
    shim.files(EVERYWHERE).extra_warnings(false);
    for flag in php.query("--includes").split_whitespace() {
        shim.flag(flag);
    }
    match php.libphp() {
        Libphp::Missing(why) => {
            // Only a program needs the engine; `rr.so` for this PHP can be built all the same.
            println!("cargo::rustc-env=RR_NO_EMBED={} {why}", php.config.display());
        }
        found => {
            println!("cargo::rustc-cfg=php_embed");
            // As PHP with threads is compiled: `-pthread` defines _REENTRANT, and on that the layout of PHP's own structs depends.
            shim.files(SERVER).define("ZEND_ENABLE_STATIC_TSRMLS_CACHE", "1").flag("-pthread");
            if matches!(found, Libphp::Shared(_)) {
                shim.define("RR_LIBPHP_SHARED", "1");
            }
            let symbols = found.symbols();
            if has_address_sanitizer(&symbols) {
                shim.flag("-fsanitize=address").flag("-fno-omit-frame-pointer");
            }
            link_programs(&php, &found, &symbols);
        }
    }
    shim.compile("rr_shim");
}

fn link_programs(php: &Php, libphp: &Libphp, symbols: &str) {
    let mut arguments = Vec::new();
    match libphp {
        Libphp::Static(archive) => {
            println!("cargo::rerun-if-changed={}", archive.display());
            // Whole: extensions loaded at run time (OPcache is one) use functions that nothing in the program calls.
            arguments.push("-Wl,--whole-archive".into());
            arguments.push(archive.display().to_string());
            arguments.push("-Wl,--no-whole-archive".into());
            arguments.push("-Wl,--wrap=zend_set_timeout,--wrap=dlopen".into());
            arguments.push(format!("-Wl,--dynamic-list={}", export_list(symbols).display()));
            arguments.extend(php.query("--ldflags").split_whitespace().map(str::to_owned));
            arguments.extend(php.query("--libs").split_whitespace().map(str::to_owned));
            arguments.push("-lresolv".into());
        }
        Libphp::Shared(directory) => {
            arguments.push(format!("-L{}", directory.display()));
            arguments.push("-lphp".into());
            arguments.push(format!("-Wl,-rpath,{}", directory.display()));
        }
        Libphp::Missing(_) => {}
    }
    if has_address_sanitizer(symbols) {
        println!("cargo::rustc-cfg=address_sanitizer");
        // What the compiler would add, had rustc not told it to add nothing: the sanitizer starts before any library's constructor,
        // and its library comes before the C library. Started later, by the first malloc, it may do so inside of p11-kit's call of
        // newlocale, and then leaves the C library's locale lock broken: every later setlocale would wait for ever.
        let compiler = cc::Build::new().get_compiler();
        arguments.push(run(compiler.to_command().arg("-print-file-name=libasan_preinit.o")).trim().to_owned());
        println!("cargo::rustc-link-lib=asan");
    }
    for argument in &arguments {
        println!("cargo::rustc-link-arg-bins={argument}");
        println!("cargo::rustc-link-arg-benches={argument}");
        // Tests use none of the shim and the linker drops it, unless the sanitizer has registered its variables.
        if has_address_sanitizer(symbols) {
            println!("cargo::rustc-link-arg-tests={argument}");
        }
    }
    // Link arguments do not reach dependents; a program built on this library repeats them from here (DEP_RR_LINK_ARGS).
    println!("cargo::metadata=LINK_ARGS={}", arguments.join("\u{1f}"));
}

fn has_address_sanitizer(symbols: &str) -> bool {
    symbols.contains(" UND __asan_init")
}

/// PHP's own exported symbols and no others: with all of them, the C libraries in the program would interpose on the system's.
fn export_list(symbols: &str) -> PathBuf {
    let mut list = String::from("{\n");
    for line in symbols.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        if let [_, _, _, "FUNC" | "OBJECT" | "TLS", "GLOBAL" | "WEAK", "DEFAULT", section, name] = fields[..]
            && section != "UND"
            // C++ symbols of intl stay its own.
            && !name.starts_with("_Z")
        {
            list.push_str(&format!("  {name};\n"));
        }
    }
    list.push_str("};\n");
    let path = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("php.list");
    fs::write(&path, list).expect("OUT_DIR is writable");
    path
}

fn compiler() -> String {
    let compiler = run(Command::new(env::var("RUSTC").expect("cargo sets RUSTC")).arg("--version"));
    compiler.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// The same for every build of the same commit: `SOURCE_DATE_EPOCH`, else the commit's date; the present time is left for sources
/// without either.
fn build_time() -> String {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let seconds = env::var("SOURCE_DATE_EPOCH").ok().or_else(commit_time).unwrap_or_else(|| "now".to_owned());
    let at = if seconds == "now" { seconds } else { format!("@{}", seconds.trim()) };
    run(Command::new("date").args(["--utc", "--date", &at, "+%Y-%m-%dT%H:%M:%S+0000"])).trim().to_owned()
}

fn commit_time() -> Option<String> {
    // A crate unpacked inside someone else's repository has not the date of that.
    let git = |arguments: &[&str]| {
        let output = fs::exists(".git").ok()?.then(|| Command::new("git").args(arguments).output())?.ok()?;
        let text = String::from_utf8(output.stdout).ok().filter(|text| output.status.success() && !text.trim().is_empty())?;
        Some(text.trim().to_owned())
    };
    // Grows with each commit, pull and checkout. A file that is not there would have this script run at every build.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| fs::exists(log).unwrap_or(false)) {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["log", "-1", "--no-show-signature", "--format=%ct"])
}

struct Php {
    config: PathBuf,
}

// === impl Libphp ===

impl Libphp {
    fn symbols(&self) -> String {
        let file = match self {
            Self::Static(archive) => archive.clone(),
            Self::Shared(directory) => directory.join("libphp.so"),
            Self::Missing(_) => return String::new(),
        };
        run(Command::new("readelf").args(["--syms", "--wide"]).arg(file))
    }
}

// === impl Php ===

impl Php {
    fn find() -> Self {
        let config = env::var_os("PHP_CONFIG").map_or_else(|| PathBuf::from("php-config"), PathBuf::from);
        if Command::new(&config).arg("--version").output().is_err() {
            fail(format_args!(
                "{} cannot be run. rr is built against a PHP: set PHP_CONFIG to its php-config, or use ./x build, which makes one",
                config.display()
            ));
        }
        Self { config }
    }

    fn query(&self, option: &str) -> String {
        run(Command::new(&self.config).arg(option)).trim().to_owned()
    }

    fn libphp(&self) -> Libphp {
        let headers = PathBuf::from(self.query("--include-dir")).join("main/php_config.h");
        let headers = fs::read_to_string(&headers).unwrap_or_else(|error| {
            fail(format_args!("{} of this PHP: {error}; install its development files", headers.display()))
        });
        if !headers.lines().any(|line| line.trim() == "#define ZTS 1") {
            return Libphp::Missing("belongs to a PHP without thread safety (NTS)");
        }
        let directory = PathBuf::from(self.query("--prefix")).join("lib");
        let archive = directory.join("libphp.a");
        if archive.is_file() {
            println!("cargo::rerun-if-changed={}", archive.display());
            return Libphp::Static(archive);
        }
        if directory.join("libphp.so").is_file() {
            return Libphp::Shared(directory);
        }
        Libphp::Missing("belongs to a PHP without the embed library")
    }
}

fn run(command: &mut Command) -> String {
    match command.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => fail(format_args!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => fail(format_args!("{command:?}: {error}")),
    }
}

fn fail(message: fmt::Arguments<'_>) -> ! {
    println!("cargo::error={message}");
    std::process::exit(1)
}
