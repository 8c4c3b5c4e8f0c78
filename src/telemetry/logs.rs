//! The server's log: lines for people, or the JSON of RoadRunner (`level`, `ts`, `logger`, `msg`, then the fields).

use std::{
    cell::Cell,
    fmt::{self, Write as _},
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    filter::Targets,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        writer::{BoxMakeWriter, MakeWriterExt},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
};

use super::{Lines, Seldom, Standard};
use crate::{
    config::{self, Encoding, LogMode},
    sys::signal,
};

/// Installs the log of this process. Later calls change nothing.
pub fn install(config: &config::Logs) -> io::Result<()> {
    signal::survive_file_size_limit()?;
    if config.mode == LogMode::Off {
        return Ok(());
    }
    let level = match config.level {
        config::Level::Debug => LevelFilter::DEBUG,
        config::Level::Info => LevelFilter::INFO,
        config::Level::Warn => LevelFilter::WARN,
        config::Level::Error | config::Level::Panic => LevelFilter::ERROR,
    };
    let mut writer: Option<BoxMakeWriter> = None;
    let mut terminal = true;
    for output in &config.output {
        let next = match output.as_str() {
            "stderr" => {
                terminal &= io::stderr().is_terminal();
                BoxMakeWriter::new(Stream::new(Standard::error(config.write_timeout)))
            }
            "stdout" => {
                terminal &= io::stdout().is_terminal();
                BoxMakeWriter::new(Stream::new(Standard::output(config.write_timeout)))
            }
            path => {
                terminal = false;
                BoxMakeWriter::new(LogFile::open(path)?)
            }
        };
        writer = Some(match writer {
            Some(before) => BoxMakeWriter::new(before.and(next)),
            None => next,
        });
    }
    let Some(writer) = writer else { return Ok(()) };
    let others = config.err_output.iter().filter(|output| !config.output.contains(output));
    let others = others.map(|output| place_of_complaints(output, config.write_timeout)).collect::<io::Result<Vec<_>>>()?;
    drop(COMPLAINTS.set(Mutex::new(others)));
    let style = match (config.mode, config.encoding) {
        (LogMode::Raw, _) => Style::Raw,
        (_, Encoding::Json) => Style::Json,
        (_, Encoding::Console) => Style::Console { coloured: terminal },
    };
    let subscriber = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_max_level(level)
        .with_writer(writer)
        .event_format(style)
        .finish()
        .with(quieted(level));
    // A second call comes from a test in the same process.
    drop(tracing::subscriber::set_global_default(subscriber));
    Ok(())
}

/// Has every log file of this process opened anew when it is next written to, for log rotation.
pub fn reopen() {
    TURN.fetch_add(1, Relaxed);
}

/// How often that was asked for.
pub fn turn() -> u64 {
    TURN.load(Relaxed)
}

/// Lines lost so far: nobody read them in time, or there was no room.
pub fn lost() -> u64 {
    LOST.load(Relaxed)
}

/// Logs how many lines were lost since that was last logged. To be called now and then.
pub fn tell_of_lost() {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    let (lost, told) = (lost(), TOLD.load(Relaxed));
    if lost == told {
        return;
    }
    TELLING.set(Telling::Tries);
    tracing::warn!(
        lost = lost - told,
        "lines of this log are lost: nobody read them in time (logs.write_timeout), or there was no room"
    );
    if TELLING.replace(Telling::Nothing) != Telling::Fails {
        TOLD.store(lost, Relaxed);
        return;
    }
    static SELDOM: Seldom = Seldom::new();
    if let Some(places) = COMPLAINTS.get()
        && SELDOM.say().is_some()
    {
        let line = format!("rr: process {}: the log loses lines, {lost} so far\n", std::process::id());
        // There is nobody to be told that this cannot be told.
        places.lock().iter_mut().for_each(|place| drop(place.write(line.as_bytes())));
    }
}

/// Where the log's own troubles go, but for where the log goes.
static COMPLAINTS: OnceLock<Mutex<Vec<Place>>> = OnceLock::new();

type Place = Lines<Box<dyn Write + Send>>;

fn place_of_complaints(output: &str, write_timeout: Duration) -> io::Result<Place> {
    Ok(Lines::new(match output {
        "stderr" => Box::new(Standard::error(write_timeout)),
        "stdout" => Box::new(Standard::output(write_timeout)),
        path => Box::new(append_to(path)?),
    }))
}

static LOST: AtomicU64 = AtomicU64::new(0);

/// What this thread says of lost lines, which counts as none itself.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Telling {
    Nothing,
    Tries,
    Fails,
    /// One output has taken it.
    Done,
}

thread_local! {
    static TELLING: Cell<Telling> = const { Cell::new(Telling::Nothing) };
}

/// Counts a line that was not `written`.
fn account(bytes: &[u8], written: io::Result<()>) -> io::Result<usize> {
    match (TELLING.get(), written.is_ok()) {
        (Telling::Nothing, false) => _ = LOST.fetch_add(1, Relaxed),
        (Telling::Tries, false) => TELLING.set(Telling::Fails),
        (Telling::Tries | Telling::Fails, true) => TELLING.set(Telling::Done),
        (Telling::Nothing, true) | (Telling::Fails | Telling::Done, _) => {}
    }
    written.map(|()| bytes.len())
}

static TURN: AtomicU64 = AtomicU64::new(0);

/// Libraries that would tell of every frame and buffer are heard when something is wrong.
fn quieted(level: LevelFilter) -> Targets {
    let told = LIBRARIES.iter().map(|library| (*library, level.min(LevelFilter::WARN)));
    Targets::new().with_default(level).with_targets(told)
}

/// How their targets begin.
const LIBRARIES: [&str; 4] = ["h2", "hyper", "quinn", "rustls"];

/// A file that several threads append whole lines to.
#[derive(Clone, Debug)]
struct LogFile {
    path: Arc<str>,
    /// With the turn in which it was opened.
    opened: Arc<Mutex<(Lines<File>, u64)>>,
}

/// Standard error or output, where several threads write whole lines.
#[derive(Clone, Debug)]
struct Stream(Arc<Mutex<Lines<Standard>>>);

#[derive(Clone, Copy, Debug)]
enum Style {
    Json,
    Console { coloured: bool },
    Raw,
}

// === impl LogFile ===

impl LogFile {
    fn open(path: &str) -> io::Result<Self> {
        let file = append_to(path).map_err(|error| io::Error::new(error.kind(), format!("log file {path}: {error}")))?;
        Ok(Self { path: path.into(), opened: Arc::new(Mutex::new((Lines::new(file), turn()))) })
    }
}

fn append_to(path: &str) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut opened = self.opened.lock();
        if opened.1 != turn() {
            opened.1 = turn();
            // If there can be none, the old one goes on.
            if let Ok(file) = append_to(&self.path) {
                opened.0 = Lines::new(file);
            }
        }
        // A record comes in one piece.
        account(bytes, opened.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for LogFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

// === impl Stream ===

impl Stream {
    fn new(standard: Standard) -> Self {
        Self(Arc::new(Mutex::new(Lines::new(standard))))
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        account(bytes, self.0.lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Stream {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

// === impl Style ===

impl<S, N> FormatEvent<S, N> for Style
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut record = Record::default();
        event.record(&mut record);
        let meta = event.metadata();
        // Our own modules are one logger; `php` and others name themselves.
        let logger = if meta.target().starts_with("rr::") || meta.target() == "rr" { "server" } else { meta.target() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match self {
            Self::Raw => writeln!(writer, "{}", record.message),
            Self::Json => {
                let time = now.as_nanos();
                write!(
                    writer,
                    r#"{{"level":"{}","ts":{time},"logger":"{logger}","msg":{}"#,
                    level_name(meta.level()),
                    quote(&record.message)
                )?;
                for (name, value) in &record.fields {
                    write!(writer, ",{}:{value}", quote(name))?;
                }
                writeln!(writer, "}}")
            }
            Self::Console { coloured } => {
                let time = httpdate::fmt_http_date(SystemTime::now());
                let (on, off) = if *coloured { (colour(meta.level()), "\x1b[0m") } else { ("", "") };
                write!(writer, "{time} {on}{:5}{off} {logger}: {}", level_name(meta.level()).to_uppercase(), record.message)?;
                for (name, value) in &record.fields {
                    write!(writer, " {name}={value}")?;
                }
                writeln!(writer)
            }
        }
    }
}

fn level_name(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        _ => "debug",
    }
}

fn colour(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[2m",
    }
}

fn quote(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".into())
}

/// An event's message and fields; a field's value is JSON.
#[derive(Default)]
struct Record {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        if write!(text, "{value:?}").is_err() {
            return;
        }
        self.add(field, text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), value.to_string()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), value.to_string()));
    }
}

// === impl Record ===

impl Record {
    fn add(&mut self, field: &Field, text: String) {
        if field.name() == "message" {
            self.message = text;
        } else {
            self.fields.push((field.name(), quote(&text)));
        }
    }
}
