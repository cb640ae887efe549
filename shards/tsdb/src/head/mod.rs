//! The head: every series of a shard with its newest samples, open chunks, and references to sealed chunks.

mod bit_chain;
mod deleted;
mod forwarding;
mod histograms;
mod hot_line;
mod renumber;
mod sealed;
mod truncate;

use codec::decimal::Transcoder;
use model::{IdentityKey, Label, Labels, SeriesId};

pub(crate) use bit_chain::{BitChain, ChainSink};
pub(crate) use deleted::{Deleted, put_deletion, take_deletions};
use forwarding::Forwarding;
pub(crate) use histograms::{HISTOGRAM_MARK, Histograms, check_histograms, put_histogram, take_histogram};
pub(crate) use hot_line::HotLine;
pub(crate) use renumber::Departures;
pub use renumber::Renumbering;
pub(crate) use sealed::SealedChains;
pub use sealed::{ChunkAddress, SealedChunk};
pub use truncate::Reclaim;

use crate::{
    SeriesRef,
    append::ChunkWindow,
    chunk_file::ExtentBuilder,
    exemplars::Exemplars,
    index::{IdentityTable, LabelsView, PairRef, Pairs, PostingsTable, SeriesLabels},
    limits::Limits,
    out_of_order::OutOfOrder,
    segmented::Pages,
    wal::SampleColumns,
};

/// Series whose chains are walked at once: their blocks and links fit in the first-level cache.
pub(crate) const TOGETHER: usize = 16;
/// Lines to a page: 64 KiB, so that a head of a few series stays small and one of millions never moves a line.
const LINES_PER_PAGE: usize = 1024;

/// All series of one shard.
pub struct Head {
    pub(crate) key: IdentityKey,
    pub(crate) limits: Limits,
    pub(crate) lines: Pages<HotLine, LINES_PER_PAGE>,
    pub(crate) table: IdentityTable,
    pub(crate) bits: BitChain,
    pub(crate) sealed: SealedChains,
    pub(crate) deleted: Deleted,
    pub(crate) histograms: Histograms,
    pub(crate) exemplars: Exemplars,
    pub(crate) out_of_order: OutOfOrder,
    pub(crate) extent: ExtentBuilder,
    pub(crate) index: Index,
    pub(crate) max_time: Option<i64>,
    pub(crate) min_time: Option<i64>,
    pub(crate) chunks_created: u64,
    pub(crate) chunk_window: ChunkWindow,
    /// Pairs and series whose definition damage took.
    pub(crate) lost_places: usize,
    /// Times before it are in blocks; the head has forgotten them.
    pub(crate) floor: i64,
    /// How often the series were numbered anew; positions mean something within one generation only.
    pub(crate) generation: u32,
    /// From the generation before.
    forwarding: Forwarding,
    /// Series that came back from the dead, in the order in which they did, while a renumbering is under way.
    pub(crate) revived: Option<Vec<SeriesRef>>,
    /// Reused while a chunk is sealed.
    pub(crate) seal_buffer: Vec<u8>,
    pub(crate) transcoder: Transcoder,
    /// Reused while a log is replayed.
    pub(crate) replay_columns: SampleColumns,
}

/// Labels and postings; changes only when a series is created.
pub(crate) struct Index {
    pub(crate) pairs: Pairs,
    pub(crate) postings: PostingsTable,
    pub(crate) labels: SeriesLabels,
    pub(crate) scratch: Vec<u32>,
    /// Pairs of the series that was created last.
    pub(crate) last_created: Vec<PairRef>,
}

impl Index {
    pub(crate) fn labels_of(&self, series: SeriesRef) -> Labels {
        let label = |pair| Label { name: self.pairs.name_of(pair), value: self.pairs.value_of(pair) };
        Labels::from_sorted(self.labels.pairs(series).map(label))
    }
}

/// Bytes of heap by part; what the operator's memory per series is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeapBytes {
    pub hot_lines: usize,
    pub identity_table: usize,
    pub open_chunks: usize,
    pub sealed_references: usize,
    pub pairs: usize,
    pub postings: usize,
    pub series_labels: usize,
    pub exemplars: usize,
    pub out_of_order: usize,
}

impl HeapBytes {
    pub fn total(&self) -> usize {
        self.hot_lines
            + self.identity_table
            + self.open_chunks
            + self.sealed_references
            + self.pairs
            + self.postings
            + self.series_labels
            + self.exemplars
            + self.out_of_order
    }
}

impl Head {
    /// An empty head. Its sealed chunks go to chunk files from `first_chunk_file` on.
    pub fn new(key: IdentityKey, limits: Limits, first_chunk_file: u32) -> Self {
        Self {
            key,
            limits,
            lines: Pages::default(),
            table: IdentityTable::default(),
            bits: BitChain::default(),
            sealed: SealedChains::default(),
            deleted: Deleted::default(),
            histograms: Histograms::default(),
            exemplars: Exemplars::default(),
            out_of_order: OutOfOrder::default(),
            extent: ExtentBuilder::new(first_chunk_file),
            index: Index {
                pairs: Pairs::new(key),
                postings: PostingsTable::default(),
                labels: SeriesLabels::default(),
                scratch: Vec::new(),
                last_created: Vec::new(),
            },
            max_time: None,
            min_time: None,
            chunks_created: 0,
            chunk_window: ChunkWindow::default(),
            lost_places: 0,
            floor: i64::MIN,
            generation: 0,
            forwarding: Forwarding::default(),
            revived: None,
            seal_buffer: Vec::new(),
            transcoder: Transcoder::default(),
            replay_columns: SampleColumns::default(),
        }
    }

    /// Series, those included whose definition was lost to damage.
    pub fn series_count(&self) -> usize {
        self.lines.len()
    }

    pub fn max_time(&self) -> Option<i64> {
        self.max_time
    }

    pub fn min_time(&self) -> Option<i64> {
        self.min_time
    }

    /// Chunks begun since the head was made.
    pub fn chunks_created(&self) -> u64 {
        self.chunks_created
    }

    pub fn labels_view(&self) -> LabelsView {
        self.index.labels.view(&self.index.pairs)
    }

    pub fn label_pair_count(&self) -> usize {
        self.index.pairs.len()
    }

    pub fn heap_bytes(&self) -> HeapBytes {
        HeapBytes {
            hot_lines: self.lines.heap_bytes(),
            identity_table: self.table.heap_bytes() + self.forwarding.heap_bytes(),
            open_chunks: self.bits.heap_bytes() + self.histograms.heap_bytes(),
            sealed_references: self.sealed.heap_bytes(),
            pairs: self.index.pairs.heap_bytes(),
            postings: self.index.postings.heap_bytes(),
            series_labels: self.index.labels.heap_bytes(),
            exemplars: self.exemplars.heap_bytes(),
            out_of_order: self.out_of_order.heap_bytes(),
        }
    }

    /// Times before it are in blocks.
    pub fn floor(&self) -> i64 {
        self.floor
    }

    /// How often the series were numbered anew.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether a chunk file has a chunk that the head refers to.
    pub fn refers_to_chunk_file(&self, file: u32) -> bool {
        self.sealed.refers_to(file)
    }

    /// A chunk file that the head does not refer to is gone.
    pub fn chunk_file_removed(&mut self, file: u32) {
        self.sealed.forget_file(file);
        self.extent.release(file);
    }

    /// The part of the next extent that is waiting to be written, and what is known of it.
    pub fn extent(&mut self) -> &mut ExtentBuilder {
        &mut self.extent
    }

    #[inline]
    pub(crate) fn find(&self, id: SeriesId) -> Option<SeriesRef> {
        self.table.find(id, |series| self.lines.get(series.index()).id == id)
    }

    /// The series at a place that somebody was told in a generation. `None`: it went, or that is too long ago to be known.
    #[inline]
    pub(crate) fn at_place(&self, generation: u32, number: u32) -> Option<SeriesRef> {
        if generation == self.generation {
            return ((number as usize) < self.lines.len()).then_some(SeriesRef(number));
        }
        self.forwarded(generation, number)
    }

    #[cold]
    fn forwarded(&self, generation: u32, number: u32) -> Option<SeriesRef> {
        (generation.wrapping_add(1) == self.generation).then(|| self.forwarding.follow(number)).flatten()
    }

    /// Adds a series under the next position. Its pairs stand in name order and are interned already.
    pub(crate) fn add_series(&mut self, id: SeriesId, pairs: &[PairRef]) -> SeriesRef {
        let series = SeriesRef(self.lines.len() as u32);
        self.lines.push(HotLine::new(id));
        self.sealed.add_series();
        self.index.labels.push(pairs, &mut self.index.scratch);
        for &pair in pairs {
            self.index.postings.add(pair, series);
        }
        let lines = &self.lines;
        self.table.insert(id, series, |series| lines.get(series.index()).id);
        series
    }

    /// Keeps a position whose definition a damaged log could not give back, so that it never gets another meaning.
    pub(crate) fn add_lost_series(&mut self) {
        self.lost_places += 1;
        self.lines.push(HotLine::new(SeriesId::default()));
        self.sealed.add_series();
        self.index.labels.push_lost();
    }

    pub(crate) fn widen_times(&mut self, first: i64, last: i64) {
        self.min_time = Some(self.min_time.map_or(first, |time| time.min(first)));
        self.max_time = Some(self.max_time.map_or(last, |time| time.max(last)));
    }
}
