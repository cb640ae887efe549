//! What a record holds, found out without a head: for tools that look at files.

use std::ops::Range;

use codec::columns;

use super::record::{DefinitionRange, LoggedPair, Record, RecordError, take_series_definition};
use crate::{
    SeriesRef,
    checkpoint::{CheckpointEnd, check_images},
    exemplars::check_exemplars,
    head::{Departures, SealedChunk, check_histograms, take_deletions},
    out_of_order::check_out_of_order,
};

/// What stands in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    Definitions { pairs: Range<u32>, series: Range<u32> },
    Samples { samples: u64 },
    Images { series: Range<u32>, open_samples: u64 },
    CheckpointEnd(CheckpointEnd),
    Truncation { floor: i64 },
    Renumbering { generation: u32, series_gone: u64 },
    Generation(u32),
    Deletions { intervals: u64 },
    Histograms { histograms: u64 },
    OpenHistograms { histograms: u64 },
    Exemplars { exemplars: u64 },
    OutOfOrder { samples: u64 },
}

impl Record<'_> {
    /// Decodes the record to its end. `chunk_of` is told of every sealed chunk that an image refers to.
    ///
    /// # Errors
    /// If it does not decode. A record that does may still not fit the head that it is replayed into.
    pub fn contents(&self, chunk_of: &mut dyn FnMut(SeriesRef, SealedChunk)) -> Result<Contents, RecordError> {
        match *self {
            Self::Definitions(body) => definitions(body).ok_or(RecordError::Malformed("definitions")),
            Self::Samples(body) => samples(body),
            Self::SeriesImages(body) => check_images(body, chunk_of)
                .map(|(series, open_samples)| Contents::Images { series, open_samples })
                .ok_or(RecordError::Malformed("series images")),
            Self::CheckpointEnd(_) => CheckpointEnd::decode(*self)
                .map(Contents::CheckpointEnd)
                .ok_or(RecordError::Malformed("values of the checkpoint's end")),
            Self::Truncation(_) => self
                .floor()
                .map(|floor| Contents::Truncation { floor })
                .ok_or(RecordError::Malformed("values of a truncation")),
            Self::Renumbering(body) => {
                Departures::decode(body).map(|departures| departures.contents()).ok_or(RecordError::Renumbering)
            }
            Self::Generation(_) => {
                self.generation().map(Contents::Generation).ok_or(RecordError::Malformed("number of a generation"))
            }
            Self::Deletions(body) => take_deletions(body)
                .map(|deletions| Contents::Deletions { intervals: deletions.len() as u64 })
                .ok_or(RecordError::Malformed("deletions")),
            Self::Histograms(body) => check_histograms(body)
                .map(|histograms| Contents::Histograms { histograms })
                .ok_or(RecordError::Malformed("histograms")),
            Self::OpenHistograms(body) => check_histograms(body)
                .map(|histograms| Contents::OpenHistograms { histograms })
                .ok_or(RecordError::Malformed("open chunks of histograms")),
            Self::Exemplars(body) => check_exemplars(body)
                .map(|exemplars| Contents::Exemplars { exemplars })
                .ok_or(RecordError::Malformed("exemplars")),
            Self::OutOfOrder(body) => check_out_of_order(body)
                .map(|samples| Contents::OutOfOrder { samples })
                .ok_or(RecordError::Malformed("samples out of order")),
        }
    }
}

impl Departures {
    fn contents(&self) -> Contents {
        let series_gone = self.dead.len() - self.last_series.len() as u64;
        Contents::Renumbering { generation: self.generation, series_gone }
    }
}

fn definitions(mut body: &[u8]) -> Option<Contents> {
    let range = DefinitionRange::take(&mut body)?;
    let (pairs, series) = (range.pairs(), range.series());
    for _ in pairs.clone() {
        LoggedPair::take(&mut body)?;
    }
    let mut scratch = Vec::new();
    for _ in series.clone() {
        take_series_definition(&mut body, &mut scratch)?;
    }
    Some(Contents::Definitions { pairs, series })
}

fn samples(body: &[u8]) -> Result<Contents, RecordError> {
    let (mut series, mut times, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let decoded = columns::decode(body, &mut series, &mut times, &mut values);
    let decoded = decoded.map_err(|_| RecordError::Malformed("samples"))?;
    Ok(Contents::Samples { samples: decoded.samples as u64 })
}
