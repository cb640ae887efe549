//! Batches that are used again, as many as are under way at a time, not one for each target.

use std::sync::{Mutex, PoisonError};

use super::batch::ScrapeBatch;

/// Kept for the next scrapes.
const BATCHES_MAX: usize = 32;
/// One that is larger belongs to a target unlike others.
const BATCH_BYTES_MAX: usize = 4 << 20;

#[derive(Default)]
pub(super) struct Batches(Mutex<Vec<ScrapeBatch>>);

impl Batches {
    pub(super) fn take(&self) -> ScrapeBatch {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(super) fn give_back(&self, batch: ScrapeBatch) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < BATCHES_MAX && batch.heap_bytes() < BATCH_BYTES_MAX {
            kept.push(batch);
        }
    }
}
