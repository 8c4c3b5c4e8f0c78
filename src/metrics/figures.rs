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

/// All that have a value.
#[derive(Debug)]
pub struct Shown {
    /// By their full names.
    pub families: Vec<MetricFamily>,
    /// How many series there are.
    pub series: usize,
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

    /// All that have a value, wherever they are.
    pub async fn gather(&self) -> Result<Shown, String> {
        if self.state.is_here() {
            let shown = Shown::of(&self.here);
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
                None => return Ok(Shown::of(&copy)),
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

// === impl Shown ===

impl Shown {
    fn of(all: &Collectors) -> Self {
        Self { families: all.gather(), series: all.len() }
    }
}
