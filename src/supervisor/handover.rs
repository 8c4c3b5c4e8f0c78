//! What an engine inherits: the configuration, the listening sockets, the scoreboard and a line to its supervisor.

use std::{
    env, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    process::Command,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::sys::{memory, spawn};

/// As it is written for the engine; the numbers are descriptors.
#[derive(Debug, Deserialize, Serialize)]
struct Letter {
    config: Value,
    dir: Option<PathBuf>,
    silent: bool,
    generation: u64,
    http: Vec<RawFd>,
    ssl: Vec<RawFd>,
    fcgi: Vec<RawFd>,
    tcp: Vec<RawFd>,
    rpc: Vec<RawFd>,
    scoreboard: RawFd,
    line: RawFd,
}

/// What is handed over.
#[derive(Debug)]
pub struct Handover<'a> {
    /// The resolved configuration, as `rr config` prints it.
    pub config: Value,
    /// The directory named on the command line.
    pub dir: Option<PathBuf>,
    /// No banner: it has been shown.
    pub silent: bool,
    /// 1 for the first engine, one more for each further one.
    pub generation: u64,
    /// Sockets that listen for HTTP.
    pub http: Vec<BorrowedFd<'a>>,
    /// Sockets that listen for HTTP over TLS.
    pub ssl: Vec<BorrowedFd<'a>>,
    /// Sockets that listen for FastCGI.
    pub fcgi: Vec<BorrowedFd<'a>>,
    /// Sockets of the TCP servers, in their order.
    pub tcp: Vec<BorrowedFd<'a>>,
    /// Sockets that listen for remote procedure calls.
    pub rpc: Vec<BorrowedFd<'a>>,
    /// The shared page.
    pub scoreboard: BorrowedFd<'a>,
    /// The engine's end of the line.
    pub line: BorrowedFd<'a>,
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
    /// Sockets that listen for HTTP.
    pub http: Vec<OwnedFd>,
    /// Sockets that listen for HTTP over TLS.
    pub ssl: Vec<OwnedFd>,
    /// Sockets that listen for FastCGI.
    pub fcgi: Vec<OwnedFd>,
    /// Sockets of the TCP servers, in their order.
    pub tcp: Vec<OwnedFd>,
    /// Sockets that listen for remote procedure calls.
    pub rpc: Vec<OwnedFd>,
    /// The shared page.
    pub scoreboard: OwnedFd,
    /// The line to the supervisor: its end of file means that the supervisor has died.
    pub line: UnixStream,
}

// === impl Handover ===

impl Handover<'_> {
    /// Lets `command` inherit all of it. What is returned must be kept until the command has been spawned.
    pub fn give(&self, command: &mut Command) -> io::Result<OwnedFd> {
        let numbers = |list: &[BorrowedFd<'_>]| list.iter().map(AsRawFd::as_raw_fd).collect::<Vec<_>>();
        let letter = Letter {
            config: self.config.clone(),
            dir: self.dir.clone(),
            silent: self.silent,
            generation: self.generation,
            http: numbers(&self.http),
            ssl: numbers(&self.ssl),
            fcgi: numbers(&self.fcgi),
            tcp: numbers(&self.tcp),
            rpc: numbers(&self.rpc),
            scoreboard: self.scoreboard.as_raw_fd(),
            line: self.line.as_raw_fd(),
        };
        let file = memory::file_of(c"rr handover", &serde_json::to_vec(&letter)?)?;
        let mut descriptors = [letter.http, letter.ssl, letter.fcgi, letter.tcp, letter.rpc].concat();
        descriptors.extend([letter.scoreboard, letter.line, file.as_fd().as_raw_fd()]);
        command.env(spawn::HANDOVER, file.as_raw_fd().to_string());
        spawn::inherit(command, descriptors);
        Ok(file)
    }
}

// === impl Inherited ===

impl Inherited {
    /// What this process has inherited; none if no supervisor started it.
    pub fn take() -> io::Result<Option<Self>> {
        let Some(number) = env::var_os(spawn::HANDOVER) else { return Ok(None) };
        let number = number.to_str().and_then(|text| text.parse().ok());
        let number = number.ok_or_else(|| io::Error::other(format!("{} is not a descriptor", spawn::HANDOVER)))?;
        let letter: Letter = serde_json::from_slice(&memory::content_of(spawn::adopt(number)?)?)?;
        let adopt = |numbers: Vec<RawFd>| numbers.into_iter().map(spawn::adopt).collect::<io::Result<Vec<_>>>();
        Ok(Some(Self {
            config: letter.config,
            dir: letter.dir,
            silent: letter.silent,
            generation: letter.generation,
            http: adopt(letter.http)?,
            ssl: adopt(letter.ssl)?,
            fcgi: adopt(letter.fcgi)?,
            tcp: adopt(letter.tcp)?,
            rpc: adopt(letter.rpc)?,
            scoreboard: spawn::adopt(letter.scoreboard)?,
            line: UnixStream::from(spawn::adopt(letter.line)?),
        }))
    }
}
