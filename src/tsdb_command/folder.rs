//! The blocks of a folder, opened for reading.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use blocks::{Block, BlocksError, Found};

use super::{TsdbError, on_a_thread};

pub(super) struct Looked(Found);

impl Looked {
    pub(super) fn is_empty(&self) -> bool {
        self.0.set.blocks.is_empty() && self.0.damaged.is_empty()
    }

    fn damaged(&self) -> &[(PathBuf, BlocksError)] {
        &self.0.damaged
    }
}

/// Opens what can be opened.
pub(super) fn look(path: &Path) -> Result<Looked, TsdbError> {
    let path = path.to_owned();
    Ok(Looked(on_a_thread(|runtime| async move { blocks::look(&runtime, &path).await })??))
}

/// The blocks that count, in order of time. Those that can't be opened are named on standard error.
pub(super) fn open(path: &Path) -> Result<Vec<Arc<Block>>, TsdbError> {
    let looked = look(path)?;
    for (block, error) in looked.damaged() {
        eprintln!("millrace: {} is left out: {error}", block.display());
    }
    Ok(looked.0.set.blocks)
}

/// Checks all blocks of a folder; returns how much is damaged.
pub(super) fn verify(path: &Path, out: &mut dyn Write) -> Result<usize, TsdbError> {
    let looked = look(path)?;
    let mut count = looked.damaged().len();
    for (block, error) in looked.damaged() {
        writeln!(out, "damaged: block {}: {error}", block.display()).map_err(TsdbError::Output)?;
    }
    let (mut chunks, mut samples) = (0, 0);
    for block in &looked.0.set.blocks {
        let verified = block.verify();
        for damage in &verified.damage {
            writeln!(out, "damaged: block {}: {damage}", block.ulid).map_err(TsdbError::Output)?;
        }
        count += verified.damage.len();
        chunks += verified.chunks;
        samples += verified.samples;
    }
    let blocks = looked.0.set.blocks.len() + looked.damaged().len();
    writeln!(out, "{}: {blocks} blocks, {chunks} chunks, {samples} samples checked; {count} damaged", path.display())
        .map_err(TsdbError::Output)?;
    Ok(count)
}
