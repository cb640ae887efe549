//! A server's storage under a script.

use std::sync::Arc;

use model::{Labels, OwnedBatch};
use promql::{histogram::FloatHistogram, source::Source, testscript::ScriptStore};

use crate::{
    local_storage::{LocalStorage, LocalStorageError, Scratch},
    query::source::StorageSource,
};

/// More than one, so that what is split between shards is put together again.
const SHARDS: usize = 2;

pub(super) struct HeadStore {
    /// `None` only while it is replaced.
    open: Option<Open>,
}

struct Open {
    source: StorageSource,
    storage: LocalStorage,
    _scratch: Scratch,
}

impl Open {
    fn new() -> Result<Self, LocalStorageError> {
        let scratch = Scratch::new("promql");
        let storage = LocalStorage::open(scratch.path(), SHARDS)?;
        Ok(Self { source: storage.source(), storage, _scratch: scratch })
    }
}

impl HeadStore {
    pub(super) fn new() -> Result<Self, LocalStorageError> {
        Ok(Self { open: Some(Open::new()?) })
    }

    fn open(&self) -> &Open {
        self.open.as_ref().expect("replaced in one step")
    }

    fn close(&mut self) {
        if let Some(Open { source, storage, _scratch }) = self.open.take() {
            drop(source);
            storage.stop();
        }
    }
}

impl Drop for HeadStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl ScriptStore for HeadStore {
    fn clear(&mut self) -> Result<(), String> {
        self.close();
        self.open = Some(Open::new().map_err(|error| error.to_string())?);
        Ok(())
    }

    fn load(
        &mut self,
        labels: &Labels,
        floats: Vec<(i64, f64)>,
        histograms: Vec<(i64, FloatHistogram)>,
    ) -> Result<(), String> {
        let storage = &self.open().storage;
        let key = storage.key();
        let pairs = || labels.iter().map(|label| (label.name.as_bytes(), label.value.as_bytes()));
        // One by one in order of time, as kinds may take turns in a series.
        let floats = floats.into_iter().map(|(time, value)| (time, Ok(value)));
        let histograms = histograms.into_iter().map(|(time, histogram)| (time, Err(histogram)));
        let mut all: Vec<(i64, Result<f64, FloatHistogram>)> = floats.chain(histograms).collect();
        all.sort_by_key(|sample| sample.0);
        let mut batch = OwnedBatch::default();
        for (time, value) in all {
            match value {
                Ok(value) => batch.push(&key, pairs(), [(time, value.to_bits())]),
                Err(histogram) => {
                    // A batch has its floats before its histograms.
                    append(storage, std::mem::take(&mut batch), labels)?;
                    batch.push_histograms(&key, pairs(), [(time, (&histogram).into())]);
                    append(storage, std::mem::take(&mut batch), labels)?;
                }
            }
        }
        append(storage, batch, labels)
    }

    fn load_start_times(&mut self, _labels: &Labels, _starts: Vec<(i64, i64)>) -> Result<(), String> {
        Ok(())
    }

    fn source(&self) -> &dyn Source {
        &self.open().source
    }
}

fn append(storage: &LocalStorage, batch: OwnedBatch, labels: &Labels) -> Result<(), String> {
    if model::WriteBatch::series(&batch).is_empty() {
        return Ok(());
    }
    let outcome = storage.block_on(storage.handle().append(Arc::new(batch))).map_err(|refusal| refusal.to_string())?;
    match outcome.first_offender {
        Some(offender) => Err(format!("{labels}: {}", offender.reason.message())),
        None => Ok(()),
    }
}
