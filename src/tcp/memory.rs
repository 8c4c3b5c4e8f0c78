//! What the pieces of long messages take, of all connections together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// The memory that all connections share.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Semaphore>);

/// One connection's part of it.
#[derive(Debug, Default)]
pub(super) struct Share(Option<OwnedSemaphorePermit>);

/// What every connection may have without a share.
const SMALL: usize = 64 * 1024;
/// What a permit stands for.
const UNIT: usize = 1024;

// === impl Memory ===

impl Memory {
    /// So many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.div_ceil(UNIT).clamp(1, u32::MAX as usize))))
    }

    /// Bytes that are free.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.0.available_permits() * UNIT
    }
}

// === impl Share ===

impl Share {
    /// Takes more, or gives some back, so that it is enough for `bytes`. False if there is no room.
    pub(super) fn resize(&mut self, memory: &Memory, bytes: usize) -> bool {
        let wanted = if bytes > SMALL { bytes.div_ceil(UNIT) } else { 0 };
        let has = self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if wanted > has {
            return self.grow(memory, wanted - has).is_ok();
        }
        // Dropped, what is too much is free again.
        match &mut self.0 {
            Some(share) if wanted > 0 => drop(share.split(has - wanted)),
            share => *share = None,
        }
        true
    }

    fn grow(&mut self, memory: &Memory, units: usize) -> Result<(), TryAcquireError> {
        let units = u32::try_from(units).map_err(|_| TryAcquireError::NoPermits)?;
        let more = memory.0.clone().try_acquire_many_owned(units)?;
        match &mut self.0 {
            Some(share) => share.merge(more),
            share => *share = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_and_shrink_and_are_given_back() {
        let memory = Memory::new(200 << 10);
        let (mut one, mut two) = (Share::default(), Share::default());
        assert!(one.resize(&memory, SMALL) && two.resize(&memory, SMALL));
        assert_eq!(memory.free(), 200 << 10, "a little is free");
        assert!(one.resize(&memory, SMALL + 1));
        assert_eq!(memory.free(), 135 << 10);
        assert!(one.resize(&memory, 150 << 10));
        assert!(!two.resize(&memory, 70 << 10));
        assert_eq!(memory.free(), 50 << 10);
        assert!(one.resize(&memory, 100 << 10) && two.resize(&memory, 70 << 10));
        assert_eq!(memory.free(), 30 << 10);
        assert!(one.resize(&memory, 0));
        drop(two);
        assert_eq!(memory.free(), 200 << 10);
    }
}
