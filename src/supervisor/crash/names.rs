//! What the addresses of a crash are called: by the symbols of the files that they are in, and by their line tables.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read, Write},
    path::Path,
};

use addr2line::{
    Context, demangle_auto,
    gimli::{Dwarf, EndianSlice, RunTimeEndian},
};
use object::{Object, ObjectSection, SymbolMap, SymbolMapName};

use super::{
    MAX_ACCOUNT,
    account::{Account, Map, Place, line, place},
};
use crate::sys::memory;

/// Lines of a backtrace: calls that were compiled into others have some of their own.
const MAX_LINES: usize = 256;
/// A longer name is cut.
const MAX_NAME: usize = 300;

type Slice = EndianSlice<'static, RunTimeEndian>;

/// What a file says of its code.
struct File {
    symbols: SymbolMap<SymbolMapName<'static>>,
    lines: Option<Context<Slice>>,
}

/// Reads from standard input what an engine of this same program has told, and writes a line for each call to standard output.
///
/// This process is started for it and ends with it, for files may be anything: they are those of whom the engine ran as.
pub fn name() -> io::Result<()> {
    // Where memory is short, this goes first.
    drop(fs::write("/proc/self/oom_score_adj", "1000"));
    let mut told = Vec::new();
    io::stdin().lock().take(MAX_ACCOUNT as u64).read_to_end(&mut told)?;
    let account = Account::read(&told).ok_or(io::ErrorKind::InvalidData)?;
    let own = own_file();
    let mut files = HashMap::new();
    let mut lines = Vec::new();
    for (number, frame) in account.frames.iter().enumerate() {
        // All but the first are where a call returns to, which may be another line.
        let back = u64::from(number > 0);
        match account.place(frame.0.saturating_sub(back)) {
            Some(place) => {
                let is_own = own.as_ref() == Some(&place.map.file);
                let path = if is_own { Path::new("/proc/self/exe") } else { Path::new(&place.map.path) };
                let file = files.entry(&place.map.file).or_insert_with(|| File::open(path));
                lines.extend(names(file.as_ref(), place, back));
            }
            None => lines.push(format!("{:#x}", frame.0)),
        }
    }
    let text: String = lines.iter().take(MAX_LINES).enumerate().map(|(number, what)| line(number, what)).collect();
    io::stdout().lock().write_all(text.as_bytes())
}

/// The file of this program, as the kernel knows it: its path may lead to another by now.
fn own_file() -> Option<String> {
    let maps: Vec<_> = fs::read_to_string("/proc/self/maps").ok()?.lines().filter_map(Map::read).collect();
    place(&maps, (name as fn() -> io::Result<()>) as usize as u64).map(|place| place.map.file.clone())
}

/// What is called there, innermost first; the address is so far behind it.
fn names(file: Option<&File>, place: Place<'_>, back: u64) -> Vec<String> {
    let named = Path::new(&place.map.path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let symbol = file.and_then(|file| file.symbol(place.offset));
    let mut names = file.map(|file| file.calls(place.offset, symbol.as_deref())).unwrap_or_default();
    if names.is_empty() {
        let address = format!("{named}+{:#x}", place.offset + back);
        names.push(symbol.map_or_else(|| address.clone(), |symbol| format!("{symbol}  {address}")));
    }
    names
}

// === impl File ===

impl File {
    fn open(path: &Path) -> Option<Self> {
        let bytes = memory::view(&fs::File::open(path).ok()?).ok()?;
        let object = object::File::parse(bytes).ok()?;
        let endian = if object.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
        let section = |name: &str| object.section_by_name(name).and_then(|section| section.data().ok()).unwrap_or_default();
        let dwarf = Dwarf::load(|id| Ok::<_, addr2line::gimli::Error>(EndianSlice::new(section(id.name()), endian)));
        Some(Self { symbols: object.symbol_map(), lines: dwarf.and_then(Context::from_dwarf).ok() })
    }

    fn symbol(&self, offset: u64) -> Option<String> {
        self.symbols.containing(offset).map(|symbol| short(&demangle_auto(symbol.name().into(), None)))
    }

    /// From the line tables, with what was compiled into what; `symbol` is how the outermost is called if they do not say.
    fn calls(&self, offset: u64, symbol: Option<&str>) -> Vec<String> {
        let found = self.lines.as_ref().and_then(|lines| lines.find_frames(offset).skip_all_loads().ok());
        let Some(mut found) = found else { return Vec::new() };
        let mut calls = Vec::new();
        while let Ok(Some(call)) = found.next() {
            let Some((file, line)) = call.location.as_ref().and_then(|at| Some((source(at.file?), at.line?))) else { continue };
            let name = call.function.as_ref().and_then(|function| Some(short(without_types(&function.demangle().ok()?))));
            calls.push((name, file, line));
        }
        // Line tables have the names without the modules.
        if let (Some((name, ..)), Some(symbol)) = (calls.last_mut(), symbol) {
            *name = Some(symbol.to_owned());
        }
        // Of what was compiled into others, that of Rust's own library would be most.
        let outermost = calls.len().saturating_sub(1);
        let calls = calls.into_iter().enumerate().filter(|(at, (_, file, _))| *at == outermost || !file.starts_with("library/"));
        calls.map(|(_, (name, file, line))| format!("{}  {file}:{line}", name.unwrap_or_default())).collect()
    }
}

fn short(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

/// What a function is of may be named at a length that hides its name.
fn without_types(name: &str) -> &str {
    name.split_once('<').map(|(name, _)| name).filter(|name| !name.is_empty()).unwrap_or(name)
}

/// Without the folders of the machine that compiled it.
fn source(path: &str) -> &str {
    if let Some(own) = path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/")) {
        return own;
    }
    let after = |folder: &str| path.split_once(folder)?.1.split_once('/').map(|(_, rest)| rest);
    after("/registry/src/").or_else(|| after("/rustc/")).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_code_is_named() {
        let maps: Vec<_> = fs::read_to_string("/proc/self/maps").unwrap().lines().filter_map(Map::read).collect();
        let place = place(&maps, (name as fn() -> io::Result<()>) as usize as u64).unwrap();
        assert_eq!(own_file().as_ref(), Some(&place.map.file));
        let names = names(File::open(Path::new("/proc/self/exe")).as_ref(), place, 0);
        assert!(names[0].contains("supervisor::crash::names::name  src/supervisor/crash/names.rs:"), "{names:?}");
    }

    #[test]
    fn a_file_without_code_names_nothing() {
        for path in ["/dev/null", "/no-such-file", file!()] {
            assert!(File::open(Path::new(path)).is_none(), "{path}");
        }
    }

    #[test]
    fn names_are_short() {
        let names = ["enter<(), {closure_env#0}>", "{closure#0}<a>", "<a as b>::c", "plain"];
        assert_eq!(names.map(without_types), ["enter", "{closure#0}", "<a as b>::c", "plain"]);
        assert_eq!(short(&"ä".repeat(1000)).chars().count(), MAX_NAME);
    }

    #[test]
    fn sources_are_named_without_the_folders_of_one_machine() {
        let paths = ["/a/registry/src/index-1/tokio-1.0/src/lib.rs", "/rustc/5980/library/std/src/rt.rs", "/usr/src/a.c"];
        assert_eq!(paths.map(source), ["tokio-1.0/src/lib.rs", "library/std/src/rt.rs", "/usr/src/a.c"]);
        assert_eq!(source(concat!(env!("CARGO_MANIFEST_DIR"), "/src/main.rs")), "src/main.rs");
    }
}
