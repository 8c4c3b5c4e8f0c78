//! What an engine inherits: the configuration, the listening sockets, the scoreboard and a line to its supervisor.

use std::{
    env, io,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    process::Command,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::sockets::{Kind, Lent};
use crate::{
    http::{h3::Terms, tls::tickets::Keys},
    state::Kin,
    sys::{memory, spawn},
};

/// As it is written for the engine; the numbers are descriptors.
#[derive(Debug, Deserialize, Serialize)]
struct Letter {
    config: Value,
    dir: Option<PathBuf>,
    silent: bool,
    generation: u64,
    place: usize,
    sockets: Vec<(Kind, RawFd)>,
    terms: Terms,
    ticket_keys: Keys,
    scoreboard: RawFd,
    crash: RawFd,
    line: RawFd,
    heir: RawFd,
    predecessor: Option<RawFd>,
    scripts: RawFd,
    succeeds: bool,
    letter_box: RawFd,
}

/// What is handed over.
#[derive(Debug)]
pub(super) struct Handover<'a> {
    /// The resolved configuration, as `rr config` prints it.
    pub(super) config: Value,
    /// The directory named on the command line.
    pub(super) dir: Option<PathBuf>,
    /// No banner: it has been shown.
    pub(super) silent: bool,
    /// 1 for the first engine, one more for each further one.
    pub(super) generation: u64,
    /// Which of the release's engines it is, from 0.
    pub(super) place: usize,
    /// Sockets that listen, in the order of the configuration.
    pub(super) sockets: Lent<'a>,
    /// What TLS's tickets are sealed with.
    pub(super) ticket_keys: &'a Keys,
    /// The shared page.
    pub(super) scoreboard: BorrowedFd<'a>,
    /// Where it tells of its crash.
    pub(super) crash: BorrowedFd<'a>,
    /// The engine's end of the line.
    pub(super) line: BorrowedFd<'a>,
    /// The engine's end of the way by which the next one introduces itself.
    pub(super) heir: BorrowedFd<'a>,
    /// The other end of that of the engine that is to be succeeded.
    pub(super) predecessor: Option<BorrowedFd<'a>>,
    /// Where one engine writes for the next what OPcache has.
    pub(super) scripts: BorrowedFd<'a>,
    /// Another engine serves until this one does.
    pub(super) succeeds: bool,
    /// The engine's end of the way by which it gets parcels.
    pub(super) letter_box: BorrowedFd<'a>,
}

/// What an engine has got.
#[derive(Debug)]
pub struct Inherited {
    /// The resolved configuration.
    pub config: Value,
    /// The directory named on the command line.
    pub dir: Option<PathBuf>,
    /// No banner.
    pub silent: bool,
    /// Which engine this is.
    pub generation: u64,
    /// Which of the release's engines it is, from 0.
    pub place: usize,
    /// Sockets that listen, in the order of the configuration.
    pub sockets: Vec<(Kind, OwnedFd)>,
    /// How those of HTTP/3 are shared.
    pub terms: Terms,
    /// What TLS's tickets are sealed with.
    pub ticket_keys: Keys,
    /// The shared page.
    pub scoreboard: OwnedFd,
    /// Where to tell of a crash.
    pub crash: OwnedFd,
    /// The line to the supervisor: its end of file means that the supervisor has died.
    pub line: UnixStream,
    /// What ties it to the engines before and after it.
    pub kin: Kin,
    /// Where one engine writes for the next what OPcache has.
    pub scripts: OwnedFd,
    /// Another engine serves until this one does.
    pub succeeds: bool,
    /// Where parcels come.
    pub letter_box: OwnedFd,
}

// === impl Handover ===

impl Handover<'_> {
    /// Lets `command` inherit all of it. What is returned must be kept until the command has been spawned.
    pub(super) fn give(&self, command: &mut Command) -> io::Result<OwnedFd> {
        let letter = Letter {
            config: self.config.clone(),
            dir: self.dir.clone(),
            silent: self.silent,
            generation: self.generation,
            place: self.place,
            sockets: self.sockets.sockets.iter().map(|(kind, socket)| (*kind, socket.as_raw_fd())).collect(),
            terms: self.sockets.terms.clone(),
            ticket_keys: self.ticket_keys.clone(),
            scoreboard: self.scoreboard.as_raw_fd(),
            crash: self.crash.as_raw_fd(),
            line: self.line.as_raw_fd(),
            heir: self.heir.as_raw_fd(),
            predecessor: self.predecessor.map(|socket| socket.as_raw_fd()),
            scripts: self.scripts.as_raw_fd(),
            succeeds: self.succeeds,
            letter_box: self.letter_box.as_raw_fd(),
        };
        let file = memory::file_of(c"rr handover", &serde_json::to_vec(&letter)?)?;
        let mut descriptors: Vec<_> = letter.sockets.iter().map(|(_, socket)| *socket).collect();
        descriptors.extend([letter.scoreboard, letter.crash, letter.line, letter.heir, letter.scripts, letter.letter_box]);
        descriptors.extend(letter.predecessor);
        descriptors.push(file.as_raw_fd());
        command.env(spawn::HANDOVER, file.as_raw_fd().to_string());
        spawn::inherit(command, descriptors);
        Ok(file)
    }
}

// === impl Inherited ===

impl Inherited {
    /// What this process has inherited; none if no supervisor started it.
    pub fn take() -> io::Result<Option<Self>> {
        let Some(letter) = letter::<Letter>(spawn::HANDOVER)? else { return Ok(None) };
        let adopt = |(kind, number)| Ok((kind, spawn::adopt(number)?));
        Ok(Some(Self {
            config: letter.config,
            dir: letter.dir,
            silent: letter.silent,
            generation: letter.generation,
            place: letter.place,
            terms: letter.terms,
            ticket_keys: letter.ticket_keys,
            sockets: letter.sockets.into_iter().map(adopt).collect::<io::Result<_>>()?,
            scoreboard: spawn::adopt(letter.scoreboard)?,
            crash: spawn::adopt(letter.crash)?,
            line: UnixStream::from(spawn::adopt(letter.line)?),
            scripts: spawn::adopt(letter.scripts)?,
            succeeds: letter.succeeds,
            kin: Kin {
                predecessor: letter.predecessor.map(spawn::adopt).transpose()?,
                heir: Some(spawn::adopt(letter.heir)?),
                is_later: letter.generation > 1,
            },
            letter_box: spawn::adopt(letter.letter_box)?,
        }))
    }
}

/// What lies in the file whose descriptor the variable `name` tells; none if there is no such variable.
pub(super) fn letter<T: DeserializeOwned>(name: &str) -> io::Result<Option<T>> {
    let Some(number) = env::var_os(name) else { return Ok(None) };
    let number = number.to_str().and_then(|text| text.parse().ok());
    let number = number.ok_or_else(|| io::Error::other(format!("{name} is not a descriptor")))?;
    Ok(Some(serde_json::from_slice(&memory::content_of(spawn::adopt(number)?)?)?))
}
