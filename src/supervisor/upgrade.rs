//! Another program in the place of this one: the process stays, with its number, its children and all that it keeps open.

use std::{
    env, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    Supervisor,
    askers::{Asker, Patient},
    engine,
    engine::Engine,
    handover,
    load::Origin,
    probation::{self, Probation},
    release::{Installed, Release, VERSION},
    sockets::{self, Table},
    tickets::{self, TicketKeys},
};
use crate::sys::{
    memory,
    pid::PidFile,
    spawn::{self, Program, Replacement},
};

/// What one program leaves to the next; the numbers are descriptors.
#[derive(Debug, Deserialize, Serialize)]
pub struct Left {
    version: String,
    /// The process that it is for.
    pid: u32,
    start: PathBuf,
    path: PathBuf,
    silent: bool,
    release: Release,
    previous: Option<(Release, RawFd)>,
    probation: probation::Left,
    sockets: sockets::Left,
    ticket_keys: tickets::Left,
    generation: u64,
    boots_in: Duration,
    active: Vec<engine::Left>,
    draining: Vec<engine::Left>,
    reload_again: Option<Vec<Asker>>,
    patient: Vec<Patient>,
    pid_file: Option<(PathBuf, RawFd)>,
    scripts: RawFd,
}

// === impl Left ===

impl Left {
    /// What the program before this one has left in this process; none if there was none.
    pub fn take() -> io::Result<Option<Self>> {
        let Some(left) = handover::letter::<Self>(spawn::TAKEOVER)? else { return Ok(None) };
        if left.version != VERSION || left.pid != std::process::id() {
            return Err(io::Error::other(format!("{} is for process {} and {}", spawn::TAKEOVER, left.pid, left.version)));
        }
        Ok(Some(left))
    }

    /// The release that is served.
    pub fn release(&self) -> &Release {
        &self.release
    }
}

// === impl Supervisor ===

impl Supervisor {
    /// Whether what serves is of another program than this process.
    pub(super) fn is_of_another_program(&self) -> bool {
        !self.installed.program.is(&self.own)
    }

    /// Whether this process is to become that program, and nothing would be lost by it.
    pub(super) fn is_to_be_replaced(&self) -> bool {
        !self.stopping && self.is_of_another_program() && self.loads.is_empty() && self.next.is_none() && self.crash.is_none()
    }

    /// Becomes the program that serves. Returns only if that cannot be.
    pub(super) fn replace(&mut self) {
        tracing::info!("the new program takes the place of the old one in this process");
        let error = self.try_to_replace().err();
        // What serves is not affected, and what it says is understood.
        tracing::error!(
            "the supervisor goes on as the old program: {}",
            error.map_or_else(String::new, |error| error.to_string())
        );
        self.own = self.installed.program.clone();
        self.reload_if_asked_meanwhile();
    }

    fn try_to_replace(&self) -> io::Result<()> {
        let (left, keep) = self.left();
        let file: OwnedFd = memory::file_of(c"rr takeover", &serde_json::to_vec(&left)?)?;
        let others = env::vars_os().filter(|(name, _)| !spawn::TAKEN.iter().any(|own| name == own));
        let takeover = (spawn::TAKEOVER.into(), file.as_raw_fd().to_string().into());
        Err(Replacement {
            program: &self.installed.program,
            arguments: env::args_os().collect(),
            environment: others.chain([takeover]).collect(),
            keep: keep.into_iter().chain([file.as_fd()]).collect(),
        }
        .run())
    }

    /// All that the next program needs, and the descriptors it names.
    fn left(&self) -> (Left, Vec<BorrowedFd<'_>>) {
        let (sockets, mut keep) = self.table.left();
        keep.extend(self.engines().flat_map(Engine::descriptors));
        let previous = self.previous.as_ref().map(|previous| {
            keep.push(previous.program.as_fd());
            (previous.release.clone(), previous.program.as_fd().as_raw_fd())
        });
        let pid_file = self.pid_file.as_ref().map(|file| {
            keep.push(file.as_fd());
            (file.path().to_owned(), file.as_fd().as_raw_fd())
        });
        keep.push(self.scripts.as_fd());
        let left = Left {
            version: VERSION.into(),
            pid: std::process::id(),
            start: self.origin.start.clone(),
            path: self.origin.path.clone(),
            silent: self.silent,
            release: self.installed.release.clone(),
            previous,
            probation: self.probation.left(Instant::now()),
            sockets,
            ticket_keys: self.ticket_keys.left(),
            generation: self.generation,
            boots_in: self.boots_in,
            active: self.active.iter().map(Engine::left).collect(),
            draining: self.draining.iter().map(Engine::left).collect(),
            reload_again: self.reload_again.clone(),
            patient: self.patient.clone(),
            pid_file,
            scripts: self.scripts.as_raw_fd(),
        };
        (left, keep)
    }

    /// Goes on with what another program has left.
    pub(super) fn adopt(left: Left) -> io::Result<Self> {
        let own = Program::own()?;
        let origin = Origin { start: left.start, path: left.path };
        let table = Table::adopt(left.sockets, left.release.leaves_within)?;
        let installed = Installed { release: left.release, program: own.clone() };
        let previous = left.previous.map(|(release, program)| {
            let program = Program::adopt(spawn::adopt(program)?);
            // Of one file there is one program, so that it is known by it.
            let program = if program.is(&own) { own.clone() } else { program };
            io::Result::Ok(Installed { release, program })
        });
        let pid_file = left.pid_file.map(|(path, file)| io::Result::Ok(PidFile::adopt(path, spawn::adopt(file)?)));
        let active = left.active.into_iter().map(Engine::adopt).collect::<io::Result<Vec<_>>>()?;
        let restart_at = (active.len() < installed.release.processes).then(Instant::now);
        Ok(Self {
            silent: left.silent,
            previous: previous.transpose()?,
            probation: Probation::adopt(&left.probation, Instant::now()),
            pid_file: pid_file.transpose()?,
            ticket_keys: TicketKeys::adopt(left.ticket_keys),
            generation: left.generation,
            boots_in: left.boots_in,
            active,
            draining: left.draining.into_iter().map(Engine::adopt).collect::<io::Result<_>>()?,
            reload_again: left.reload_again,
            patient: left.patient,
            restart_at,
            has_served: true,
            ..Self::new(own, origin, installed, table, spawn::adopt(left.scripts)?)
        })
    }
}
