//! The seam between those who want a script run and those who run it. It knows nothing of PHP.
//!
//! `http` and the plugins describe what they want as [`Work`] and hand it to a [`Pool`]; a carrier takes seats in that
//! pool, runs the work and answers with a [`Reply`]. Nothing here names an engine, so the pool is tested with an echo.

mod budget;
mod control;
pub(crate) mod doorbell;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
pub mod goridge;
mod guard;
mod lifeline;
mod output;
mod params;
mod pool;
pub mod process;
mod reply;
mod request;
pub mod roadrunner;
pub mod scoreboard;
mod standing;
mod supervise;
mod task;

pub use budget::{Bounds as OutputBounds, Budget as OutputBudget};
pub(crate) use control::date_of;
pub use control::{Control, Controls, CurrentWork, Done, NotDone, Relief, ThreadRow, Told, WorkerRow, WorkerStatus};
pub use guard::{Guard, Pressure, Reading, Replace, Thresholds};
pub use lifeline::Lifeline;
pub(crate) use output::temporary_file;
pub use output::{Connection as OutputConnection, Limits as OutputLimits, OutputCutter, OutputReader, OutputWriter, Written};
pub use params::{HttpHead, Secure, Variables};
pub use pool::{Config, Next, Place, Pool, Refused, Rest, Seat, Snapshot, Submitted, Wake};
pub use reply::{Answer, Failure, Head, Reply, ReplyBody, Responder};
pub use request::{Body, BodyReader, IniValue, Interim, Phases, Request, Script, Source, Used, Work};
pub(crate) use standing::{Jobs, Permit, Standing};
pub(crate) use supervise::Load;
pub use supervise::{Growth, Rules};
pub use task::{NO_STREAMS, Task, TaskAnswer, TaskError, Tasks};
