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

/// The blocks of a folder, and what of them a command has to do without. It does what it can and says so at its end.
pub(super) struct Opened {
    path: PathBuf,
    /// Those that count, in order of time.
    pub(super) blocks: Vec<Arc<Block>>,
    damaged: usize,
}

pub(super) fn open(path: &Path) -> Result<Opened, TsdbError> {
    let looked = look(path)?;
    let mut opened = Opened { path: path.to_owned(), blocks: Vec::new(), damaged: 0 };
    for (block, error) in looked.damaged() {
        opened.leave_out(&block.display().to_string(), error);
    }
    opened.blocks = looked.0.set.blocks;
    Ok(opened)
}

impl Opened {
    /// Names on standard error what is not among a command's results.
    pub(super) fn leave_out(&mut self, what: &str, error: &dyn std::fmt::Display) {
        eprintln!("millrace: {what} is left out: {error}");
        self.damaged += 1;
    }

    /// An error if anything was left out.
    pub(super) fn finish(self) -> Result<(), TsdbError> {
        match self.damaged {
            0 => Ok(()),
            count => Err(TsdbError::LeftOut { path: self.path, count }),
        }
    }
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
