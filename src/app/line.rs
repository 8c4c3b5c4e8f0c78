//! The signals and the supervisor's line that end an engine.

use std::io;

use tokio::{
    io::AsyncWriteExt,
    net::UnixStream,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
};

use super::compiled;
use crate::{
    error::{ExitCode, Refusal},
    http::tls::tickets::{Keys, Tickets},
    supervisor::{Messages, Order, Report, Wish, encode},
    telemetry::logs,
};

/// Why an engine is to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asked {
    /// By the supervisor, or by a signal if there is none.
    Stop,
    /// By a signal, though there is a supervisor.
    Signal,
    /// The supervisor has died.
    Alone,
    /// A newer engine serves.
    HandOver,
    /// The supervisor was told twice to stop.
    Leave,
}

/// The signals that an engine listens to.
pub(super) struct Signals {
    /// Those that ask to stop, and the one to open log files anew.
    all: [Signal; 4],
    /// Those that ask for a reload; none if they are for the supervisor.
    reloads: Option<[Signal; 2]>,
}

/// What an engine listens to.
pub(super) struct Line {
    signals: Signals,
    supervisor: Option<UnixStream>,
    orders: Messages<Order>,
    wishes: mpsc::Receiver<Wished>,
    /// Those who wait for an outcome, by the number of their wish.
    waiting: Vec<(u32, oneshot::Sender<Result<String, Refusal>>)>,
    next_id: u32,
    tickets: Tickets,
    /// Tells the next engine what OPcache has.
    pub(super) scripts: Option<compiled::Writer>,
}

/// What somebody has called to ask of the supervisor.
pub(super) type Wished = (Wish, oneshot::Sender<Result<String, Refusal>>);

/// Callers who wait at once, of whom there is one as a rule.
const WISHES: usize = 16;

const ALONE: &str = "there is no supervisor (engine.supervisor is off): stop the server and start it again";

// === impl Signals ===

impl Signals {
    /// Inside a runtime. Until then a signal to stop ends the process.
    pub(super) fn new(is_supervised: bool) -> io::Result<Self> {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::user_defined1()];
        let all = [signal(kinds[0])?, signal(kinds[1])?, signal(kinds[2])?, signal(kinds[3])?];
        let reloads = match is_supervised {
            true => None,
            false => Some([signal(SignalKind::hangup())?, signal(SignalKind::user_defined2())?]),
        };
        Ok(Self { all, reloads })
    }
}

/// A line, and what takes wishes that go by it.
pub(super) struct Opened {
    pub(super) line: Line,
    pub(super) wishes: mpsc::Sender<Wished>,
}

// === impl Line ===

impl Line {
    /// Inside a runtime; the supervisor replaces the keys of `tickets`.
    pub(super) fn open(
        signals: Signals,
        supervisor: Option<std::os::unix::net::UnixStream>,
        tickets: Tickets,
    ) -> io::Result<Opened> {
        let supervisor = supervisor
            .map(|line| {
                line.set_nonblocking(true)?;
                UnixStream::from_std(line)
            })
            .transpose()?;
        let (sender, wishes) = mpsc::channel(WISHES);
        let orders = Messages::default();
        let waiting = Vec::new();
        let line = Self { signals, supervisor, orders, wishes, waiting, next_id: 0, tickets, scripts: None };
        Ok(Opened { line, wishes: sender })
    }

    /// Tells the supervisor that requests are answered.
    pub(super) async fn ready(&mut self) {
        self.tell(&Report::Ready).await;
    }

    /// Tells the supervisor why requests are not going to be answered.
    pub(super) async fn failed(&mut self, why: &str) {
        self.tell(&Report::failed(why)).await;
    }

    /// Whether a supervisor says what a second signal means. Service managers send each signal to all processes, so an engine gets
    /// most of them twice.
    pub(super) fn is_supervised(&self) -> bool {
        self.supervisor.is_some()
    }

    /// Tells the supervisor that this engine ends by itself.
    pub(super) async fn leaving(&mut self) {
        self.tell(&Report::Leaving).await;
    }

    async fn tell(&mut self, report: &Report) {
        if let Some(line) = &mut self.supervisor {
            // If it is gone, the next read says so.
            drop(line.write_all(&encode(report)).await);
        }
    }

    /// Asks the supervisor for another engine in the place of this one; false if there is no supervisor.
    pub(super) async fn ask_for_successor(&mut self) -> bool {
        self.tell(&Report::WornOut).await;
        self.supervisor.is_some()
    }

    pub(super) async fn asked(&mut self) -> Asked {
        loop {
            match self.hear().await {
                Heard::Asked(asked) => return asked,
                Heard::ReopenLogs => logs::reopen(),
                Heard::Reload => tracing::error!("not reloaded: {ALONE}"),
                Heard::TicketKeys(keys) => self.tickets.change_to(keys),
                Heard::TellScripts => self.scripts.iter().for_each(compiled::Writer::write),
                Heard::Wish((_, caller)) if self.supervisor.is_none() => {
                    drop(caller.send(Err(Refusal::new(ExitCode::Unavailable, ALONE))))
                }
                Heard::Wish((wish, caller)) => {
                    self.next_id = self.next_id.wrapping_add(1);
                    self.waiting.retain(|(_, caller)| !caller.is_closed());
                    self.waiting.push((self.next_id, caller));
                    self.tell(&Report::Ask { id: self.next_id, wish }).await;
                }
                Heard::Outcome(id, result) => {
                    if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == id) {
                        // The caller may have left.
                        drop(self.waiting.swap_remove(at).1.send(result));
                    }
                }
            }
        }
    }

    async fn hear(&mut self) -> Heard {
        let [term, int, quit, usr1] = &mut self.signals.all;
        let told = if self.supervisor.is_some() { Asked::Signal } else { Asked::Stop };
        let (supervisor, orders) = (&mut self.supervisor, &mut self.orders);
        let reload = async {
            match &mut self.signals.reloads {
                Some([hup, usr2]) => tokio::select! {
                    _ = hup.recv() => {}
                    _ = usr2.recv() => {}
                },
                None => std::future::pending().await,
            }
        };
        let heard = async {
            match supervisor {
                Some(line) => orders.next(line).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = term.recv() => Heard::Asked(told),
            _ = int.recv() => Heard::Asked(told),
            _ = quit.recv() => Heard::Asked(told),
            _ = usr1.recv() => Heard::ReopenLogs,
            () = reload => Heard::Reload,
            Some(wished) = self.wishes.recv() => Heard::Wish(wished),
            heard = heard => match heard {
                Ok(Some(Order::Stop)) => Heard::Asked(Asked::Stop),
                Ok(Some(Order::HandOver)) => Heard::Asked(Asked::HandOver),
                Ok(Some(Order::Leave)) => Heard::Asked(Asked::Leave),
                Ok(Some(Order::ReopenLogs)) => Heard::ReopenLogs,
                Ok(Some(Order::TellScripts)) => Heard::TellScripts,
                Ok(Some(Order::TicketKeys(keys))) => Heard::TicketKeys(keys),
                Ok(Some(Order::Outcome { id, result })) => Heard::Outcome(id, result),
                Ok(None) | Err(_) => {
                    self.supervisor = None;
                    // Nobody answers them.
                    self.waiting.clear();
                    tracing::error!("the supervisor has died: stopping");
                    Heard::Asked(Asked::Alone)
                }
            },
        }
    }
}

enum Heard {
    Asked(Asked),
    ReopenLogs,
    Reload,
    TicketKeys(Keys),
    TellScripts,
    Wish(Wished),
    Outcome(u32, Result<String, Refusal>),
}
