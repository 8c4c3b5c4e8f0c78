//! The figures wherever they are: in this engine, or in the one before or after it.

use prometheus::proto::MetricFamily;

use super::{Act, Collectors, NAME, act::decode_answer, moving::Cursor};
use crate::state::State;

/// What applications keep. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Figures {
    here: Collectors,
    state: State,
}

// === impl Figures ===

impl Figures {
    /// Those that are `here` while this engine owns the state.
    pub fn new(here: Collectors, state: State) -> Self {
        Self { here, state }
    }

    /// Those of this engine, wherever the state is.
    pub fn here(&self) -> &Collectors {
        &self.here
    }

    /// Does what is asked, where they are.
    pub async fn act(&self, act: &Act) -> Result<(), String> {
        self.ask(act).await.map(drop)
    }

    /// All that have a value, by their full names, and how many series there are.
    pub async fn gather(&self) -> Result<(Vec<MetricFamily>, usize), String> {
        if self.state.is_here() {
            let shown = (self.here.gather(), self.here.len());
            if self.state.is_here() {
                return Ok(shown);
            }
        }
        let (copy, mut cursor) = (Collectors::new(usize::MAX), Cursor::default());
        loop {
            let Some((chunk, next)) = self.ask(&Act::Read(cursor.clone())).await? else {
                return Err("nothing was told of the figures".into());
            };
            copy.take_chunk(&chunk)?;
            match next {
                None => return Ok((copy.gather(), copy.len())),
                // Each time further, so that it ends.
                Some(next) if next > cursor => cursor = next,
                Some(_) => return Err("the same figures were told twice".into()),
            }
        }
    }

    async fn ask(&self, act: &Act) -> super::act::Answer {
        let answer = self.state.call(NAME, act.encode()).await.map_err(|error| error.to_string())?;
        decode_answer(&answer)
    }
}
