//! What an engine has told of its crash, of which nothing is certain.

use std::fmt::{self, Display, Formatter};

use nix::sys::signal::Signal;

use super::super::report;

/// Read from the lines of [`crate::sys::crash::report`].
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Account {
    signal: i32,
    /// `si_code`; what a process has sent has none above zero.
    code: i32,
    address: u64,
    sender: u32,
    thread: u32,
    pub(super) name: String,
    /// Innermost first.
    pub(super) frames: Vec<Frame>,
    maps: Vec<Map>,
}

/// A call, or the place of the crash.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Frame(pub(super) u64);

/// A part of a file in memory.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Map {
    from: u64,
    to: u64,
    is_start: bool,
    /// Device and inode.
    pub(super) file: String,
    pub(super) path: String,
}

/// A place in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) map: &'a Map,
    /// From where the file begins in memory, which is how its symbols count.
    pub(super) offset: u64,
}

/// More is not read, of either.
const MAX_FRAMES: usize = 64;
const MAX_MAPS: usize = 1024;

// === impl Account ===

impl Account {
    /// None if it does not begin as it should. Lines that make no sense are passed over.
    pub(super) fn read(told: &[u8]) -> Option<Self> {
        let told = String::from_utf8_lossy(told);
        let mut lines = told.lines();
        let mut words = lines.next()?.strip_prefix("crash ")?.splitn(6, ' ');
        let mut number = || words.next().and_then(|word| u64::from_str_radix(word, 16).ok());
        let (signal, code, address, sender, thread) = (number()?, number()?, number()?, number()?, number()?);
        let (mut frames, mut maps) = (Vec::new(), Vec::new());
        for line in lines {
            match line.split_once(' ') {
                Some(("frame", address)) if frames.len() < MAX_FRAMES => {
                    frames.extend(u64::from_str_radix(address, 16).map(Frame));
                }
                Some(("map", map)) if maps.len() < MAX_MAPS => maps.extend(Map::read(map)),
                _ => {}
            }
        }
        Some(Self {
            signal: u32::try_from(signal).ok()?.cast_signed(),
            code: u32::try_from(code).ok()?.cast_signed(),
            address,
            sender: u32::try_from(sender).ok()?,
            thread: u32::try_from(thread).ok()?,
            name: printable(words.next().unwrap_or_default()),
            frames,
            maps,
        })
    }

    /// In which file an address is.
    pub(super) fn place(&self, address: u64) -> Option<Place<'_>> {
        place(&self.maps, address)
    }

    /// A line for each call, as far as it is known without looking into files.
    pub(super) fn raw(&self) -> String {
        let lines = self.frames.iter().enumerate().map(|(number, frame)| match self.place(frame.0) {
            Some(place) => line(number, &format!("{}+{:#x}", place.map.path, place.offset)),
            None => line(number, &format!("{:#x}", frame.0)),
        });
        lines.collect()
    }
}

impl Display for Account {
    /// `SIGSEGV at address 0x10 in thread php-1 (4711)`
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { signal, code, address, sender, thread, name, .. } = self;
        write!(out, "{} ", report::name_of(*signal))?;
        match (*code, Signal::try_from(*signal)) {
            (..=0, _) => write!(out, "sent by process {sender}")?,
            (_, Ok(Signal::SIGSEGV | Signal::SIGBUS)) => write!(out, "at address {address:#x}")?,
            _ => write!(out, "code {code}")?,
        }
        write!(out, " in thread {name} ({thread})")
    }
}

// === impl Map ===

impl Map {
    /// From a line of `/proc/self/maps`, proc_pid_maps(5).
    pub(super) fn read(line: &str) -> Option<Self> {
        let mut words = line.splitn(6, ' ');
        let (from, to) = words.next()?.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (from, to, _rights) = (number(from)?, number(to)?, words.next()?);
        let offset = number(words.next()?)?;
        let file = format!("{} {}", words.next()?, words.next()?);
        let path = printable(words.next()?.trim());
        path.starts_with('/').then_some(Self { from, to, is_start: offset == 0, file, path })
    }
}

/// In which of `maps` an address is.
pub(super) fn place(maps: &[Map], address: u64) -> Option<Place<'_>> {
    let map = maps.iter().find(|map| (map.from..map.to).contains(&address))?;
    // The nearest below it: the same file may be there twice.
    let starts = maps.iter().filter(|start| start.is_start && start.file == map.file && start.from <= map.from);
    let start = starts.map(|start| start.from).max()?;
    Some(Place { map, offset: address - start })
}

/// One of a backtrace.
pub(super) fn line(number: usize, what: &str) -> String {
    format!("{number:>4}  {what}\n")
}

/// Nothing in it moves a cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() && char != '\n' { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "crash b 1 10 0 1267 php-1\nframe 556000001040\nframe 7f0000002010\nframe 5\n\
        map 556000000000-556000001000 r--p 00000000 fe:00 12    /opt/rr\n\
        map 556000001000-556000003000 r-xp 00000800 fe:00 12    /opt/rr\n\
        map 7f0000000000-7f0000002000 r--p 00000000 fe:00 13    /lib/libc.so.6\n\
        map 7f0000002000-7f0000003000 r-xp 00002000 fe:00 13    /lib/libc.so.6 (deleted)\n";

    #[test]
    fn what_was_told_is_read() {
        let account = Account::read(TOLD.as_bytes()).unwrap();
        assert_eq!(account.to_string(), "SIGSEGV at address 0x10 in thread php-1 (4711)");
        assert_eq!(account.raw(), "   0  /opt/rr+0x1040\n   1  /lib/libc.so.6 (deleted)+0x2010\n   2  0x5\n");
        let sent = Account::read(b"crash 6 fffffffa 9 1267 9 main").unwrap();
        assert_eq!((sent.to_string().as_str(), sent.raw().as_str()), ("SIGABRT sent by process 4711 in thread main (9)", ""));
    }

    #[test]
    fn any_part_of_it_is_read() {
        for length in 0..TOLD.len() {
            let read = Account::read(&TOLD.as_bytes()[..length]);
            assert_eq!(read.is_some(), length >= "crash b 1 10 0 1".len(), "{length}");
            read.map(|account| account.raw());
        }
    }

    #[test]
    fn garbage_is_none_or_passed_over() {
        for garbage in [
            &b""[..],
            b"\0\0\0\0",
            b"crash",
            b"crash x 1 10 0 1 a\n",
            b"crash b 1 10 0 fffffffff a",
            b"frame 5\ncrash b 1 10 0 1 a",
        ] {
            assert_eq!(Account::read(garbage), None);
        }
        let rest = "frame\nframe \nframe -1\nframe fffffffffffffffff\nmap\nmap 5-1 r-xp 0 a b /c\nmap ffffffffffffffff-0 r-xp 0 a b /c\n\
            map 0-ffffffffffffffff r-xp 1 a b /x\x1b[1m\nframe 7\n\u{fffd}\nframe 8 9\n";
        let account = Account::read(format!("crash ffffffff 7fffffff 0 0 1 \x1b]a\n{rest}").as_bytes()).unwrap();
        assert_eq!(account.to_string(), "signal -1 code 2147483647 in thread \u{fffd}]a (1)");
        assert_eq!(account.frames, [Frame(7)]);
        assert_eq!(
            (account.maps.last().map(|map| map.path.as_str()), account.raw().as_str()),
            (Some("/x\u{fffd}[1m"), "   0  0x7\n")
        );
    }

    #[test]
    fn no_more_is_read_than_can_be_meant() {
        let told = format!("crash b 1 10 0 1 a\n{}{}", "frame 1\n".repeat(1000), "map 1-2 r-xp 0 a b /c\n".repeat(9000));
        let account = Account::read(told.as_bytes()).unwrap();
        assert_eq!((account.frames.len(), account.maps.len()), (MAX_FRAMES, MAX_MAPS));
    }
}
