//! The signals and the supervisor's line that end an engine.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::supervisor::{HAND_OVER, READY};

/// Why an engine is to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asked {
    /// By a signal, or because the supervisor has died.
    Stop,
    /// A newer engine serves.
    HandOver,
}

/// What an engine listens to.
pub(super) struct Line {
    signals: [Signal; 3],
    supervisor: Option<UnixStream>,
}

// === impl Line ===

impl Line {
    /// Inside a runtime.
    pub(super) fn new(supervisor: Option<std::os::unix::net::UnixStream>) -> io::Result<Self> {
        let supervisor = supervisor
            .map(|line| {
                line.set_nonblocking(true)?;
                UnixStream::from_std(line)
            })
            .transpose()?;
        let signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::quit())?];
        Ok(Self { signals, supervisor })
    }

    /// Tells the supervisor that requests are answered.
    pub(super) async fn ready(&mut self) {
        if let Some(line) = &mut self.supervisor {
            // If it is gone, the next read says so.
            drop(line.write_all(&[READY]).await);
        }
    }

    pub(super) async fn asked(&mut self) -> Asked {
        let [term, int, quit] = &mut self.signals;
        let supervisor = &mut self.supervisor;
        let heard = async {
            let mut byte = [0];
            match supervisor {
                Some(line) => line.read(&mut byte).await.map(|count| (count, byte[0])),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = term.recv() => Asked::Stop,
            _ = int.recv() => Asked::Stop,
            _ = quit.recv() => Asked::Stop,
            heard = heard => match heard {
                Ok((1, HAND_OVER)) => Asked::HandOver,
                Ok((1, _)) => Asked::Stop,
                _ => {
                    self.supervisor = None;
                    tracing::error!("the supervisor has died: stopping");
                    Asked::Stop
                }
            },
        }
    }
}
