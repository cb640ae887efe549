//! The rolling flush: images of open chunks, so that a replay reads only the log behind them.
//!
//! A checkpoint is made in slices while writes go on. Each slice is the state of its series at that moment, which is never older
//! than the log segment that began with the checkpoint; a replay of the log from that segment skips what an image holds already,
//! by time. A checkpoint counts only with its end record. Format: `docs/format/checkpoint.md`.

use std::ops::Range;

use codec::{
    gorilla::{SAMPLE_BITS_MAX, XorState},
    varint::{put_signed, put_unsigned, take_signed, take_unsigned},
};

use crate::{
    Head, SeriesRef,
    head::{ChunkAddress, SealedChunk},
    limits::{CHUNK_BITS_MAX, SAMPLES_PER_CHUNK, WINDOW_MS},
    wal::{
        Record, RecordError, Replayed, put_checkpoint_end, put_definitions_of, put_deletions, put_generation,
        put_images, put_open_histograms, take_u32,
    },
};

/// Payload bytes after which a slice ends.
pub const SLICE_BYTES: usize = 256 << 10;

/// How far a checkpoint's definitions have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefinitionsMark {
    pub next_pair: u32,
    pub next_series: u32,
}

/// What the end record of a checkpoint says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointEnd {
    /// First log segment that a replay has to read.
    pub first_segment: u64,
    /// Number of the first frame in that segment.
    pub first_frame: u64,
    /// How far the definitions in the series logs reach.
    pub definitions: DefinitionsMark,
    pub min_time: Option<i64>,
    pub max_time: Option<i64>,
    /// Times before it are in blocks.
    pub floor: i64,
}

impl Head {
    /// Where definitions stand now.
    pub fn definitions_mark(&self) -> DefinitionsMark {
        DefinitionsMark { next_pair: self.index.pairs.len() as u32, next_series: self.series_count() as u32 }
    }

    /// Appends definitions from one mark towards another to a payload; returns how far a slice's bound let it come.
    pub fn put_definitions(
        &self,
        from: DefinitionsMark,
        to: DefinitionsMark,
        payload: &mut Vec<u8>,
    ) -> DefinitionsMark {
        put_generation(payload, self.generation);
        let (next_pair, next_series) = put_definitions_of(
            payload,
            &self.index.pairs,
            from.next_pair..to.next_pair,
            from.next_series..to.next_series,
            SLICE_BYTES,
            |series| (self.lines.get(series.index()).id, self.index.labels.pairs(series)),
        );
        DefinitionsMark { next_pair, next_series }
    }

    /// Appends images of the series from `from` on to a payload, as many as a slice takes; returns the next one.
    pub fn put_slice(&self, from: SeriesRef, end: SeriesRef, payload: &mut Vec<u8>) -> SeriesRef {
        let mut next = from;
        put_generation(payload, self.generation);
        put_images(payload, |body| {
            put_unsigned(body, u64::from(from.0));
            let count_at = body.len();
            body.extend_from_slice(&[0; 4]);
            let mut count = 0u32;
            while next < end && body.len() < SLICE_BYTES {
                self.put_image(next, body);
                next = SeriesRef(next.0 + 1);
                count += 1;
            }
            body[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
        });
        if self.deleted.has_any(from.0..next.0) {
            put_deletions(payload, |body| self.deleted.put(from.0..next.0, body));
        }
        if self.histograms.has_any(from.0..next.0) {
            put_open_histograms(payload, |body| self.histograms.put(from.0..next.0, body));
        }
        next
    }

    /// Appends the record that makes a checkpoint count.
    pub fn put_end(&self, end: &CheckpointEnd, payload: &mut Vec<u8>) {
        put_generation(payload, self.generation);
        put_checkpoint_end(payload, |body| {
            put_unsigned(body, end.first_segment);
            put_unsigned(body, end.first_frame);
            put_unsigned(body, u64::from(end.definitions.next_pair));
            put_unsigned(body, u64::from(end.definitions.next_series));
            body.push(u8::from(end.min_time.is_some()));
            put_signed(body, end.min_time.unwrap_or_default());
            body.push(u8::from(end.max_time.is_some()));
            put_signed(body, end.max_time.unwrap_or_default());
            put_signed(body, end.floor);
        });
    }

    fn put_image(&self, series: SeriesRef, body: &mut Vec<u8>) {
        let line = self.lines.get(series.index());
        let sealed: Vec<SealedChunk> = self.sealed.newest_first(series).collect();
        put_unsigned(body, u64::from(line.has_samples) | (sealed.len() as u64) << 1);
        if !line.has_samples {
            return;
        }
        put_signed(body, line.time);
        body.extend_from_slice(&line.value.to_le_bytes());
        body.push(line.count);
        if line.count > 0 {
            put_unsigned(body, u64::from(line.delta));
            body.extend_from_slice(&[line.leading, line.trailing]);
            put_unsigned(body, u64::from(line.bit_length));
            self.bits.copy_bits(line, body);
        }
        // Oldest first, so that a restore can chain them as they come.
        for chunk in sealed.iter().rev() {
            put_signed(body, chunk.min_time - line.time);
            put_unsigned(body, (chunk.max_time - chunk.min_time) as u64);
            put_unsigned(body, u64::from(chunk.address.0));
        }
    }

    /// Puts images into the series that they belong to, which have no samples yet.
    pub(crate) fn restore_images(&mut self, mut body: &[u8]) -> Result<Replayed, RecordError> {
        const WHAT: RecordError = RecordError::Malformed("series images");
        let first = take_u32(&mut body).ok_or(WHAT)?;
        let (count, rest) = body.split_first_chunk().ok_or(WHAT)?;
        body = rest;
        let mut replayed = Replayed::default();
        let mut chunks = Vec::new();
        for number in 0..u32::from_le_bytes(*count) {
            let series = SeriesRef(first.checked_add(number).ok_or(WHAT)?);
            let Some(image) = Image::take(&mut body, &mut chunks).ok_or(WHAT)? else { continue };
            let known = series.index() < self.series_count() && !self.lines.get(series.index()).has_samples;
            if !known || self.index.labels.is_lost(series) {
                replayed.samples_lost += u64::from(image.open_samples());
            } else {
                replayed.samples += u64::from(image.open_samples());
                self.restore_image(series, &image, &chunks).ok_or(WHAT)?;
            }
        }
        Ok(replayed)
    }

    fn restore_image(&mut self, series: SeriesRef, image: &Image<'_>, chunks: &[SealedChunk]) -> Option<()> {
        let mut reached = chunks.iter().map(|chunk| chunk.min_time).chain([image.time]);
        reached.all(|time| self.sealed.reach(time)).then_some(())?;
        chunks.iter().for_each(|&chunk| self.sealed.add(series, chunk));
        let mut line = *self.lines.get(series.index());
        line.has_samples = true;
        line.time = image.time;
        line.value = image.value;
        if let Some(open) = &image.open {
            line.count = open.count;
            line.capacity = SAMPLES_PER_CHUNK as u8;
            line.delta = open.delta;
            line.leading = open.leading;
            line.trailing = open.trailing;
            self.bits.restore_bits(&mut line, open.bits, open.bit_length);
        }
        *self.lines.get_mut(series.index()) = line;
        let open_since = image.open.as_ref().map_or(image.time, |open| open.min_time);
        self.widen_times(chunks.first().map_or(open_since, |chunk| chunk.min_time), image.time);
        Some(())
    }
}

/// Image of a series with samples, as it stands in a checkpoint. What is taken is such that a head can go on from it.
struct Image<'a> {
    time: i64,
    value: u64,
    open: Option<OpenImage<'a>>,
}

/// The open chunk of an image.
struct OpenImage<'a> {
    min_time: i64,
    count: u8,
    delta: u32,
    leading: u8,
    trailing: u8,
    bit_length: u16,
    bits: &'a [u8],
}

impl<'a> Image<'a> {
    /// Takes the next image; the inner `None` is a series without samples. Its sealed chunks replace what is in `chunks`.
    fn take(body: &mut &'a [u8], chunks: &mut Vec<SealedChunk>) -> Option<Option<Self>> {
        chunks.clear();
        let flags = take_unsigned(body).ok()?;
        if flags & 1 == 0 {
            return Some(None);
        }
        let time = take_signed(body).ok()?;
        let value = u64::from_le_bytes(take_array(body)?);
        let [count] = take_array(body)?;
        let open = if count == 0 { None } else { Some(OpenImage::take(count, time, body)?) };
        for _ in 0..flags >> 1 {
            let min_time = time.checked_add(take_signed(body).ok()?)?;
            let max_time = min_time.checked_add_unsigned(take_unsigned(body).ok()?)?;
            (window_of(min_time) == window_of(max_time)).then_some(())?;
            chunks.push(SealedChunk { min_time, max_time, address: ChunkAddress(take_u32(body)?) });
        }
        Some(Some(Self { time, value, open }))
    }

    fn open_samples(&self) -> u8 {
        self.open.as_ref().map_or(0, |open| open.count)
    }
}

impl<'a> OpenImage<'a> {
    fn take(count: u8, max_time: i64, body: &mut &'a [u8]) -> Option<Self> {
        let delta = take_u32(body)?;
        let [leading, trailing] = take_array(body)?;
        let bit_length = u16::try_from(take_unsigned(body).ok()?).ok()?;
        let (bits, rest) = body.split_at_checked(usize::from(bit_length).div_ceil(8))?;
        *body = rest;
        let mut behind_time = bits;
        let min_time = take_signed(&mut behind_time).ok()?;
        let time_bits = 8 * (bits.len() - behind_time.len());
        let has_window = leading <= 31 && trailing < 64 - leading;
        let fits = u16::from(count) <= SAMPLES_PER_CHUNK
            && u32::from(bit_length) < u32::from(CHUNK_BITS_MAX) + SAMPLE_BITS_MAX as u32
            && usize::from(bit_length) >= time_bits
            && (has_window || leading == XorState::NO_WINDOW)
            && min_time <= max_time
            && window_of(min_time) == window_of(max_time);
        fits.then_some(Self { min_time, count, delta, leading, trailing, bit_length, bits })
    }
}

/// Number of the window that a time lies in.
pub(crate) fn window_of(time: i64) -> i64 {
    time.div_euclid(WINDOW_MS)
}

/// Walks the images of a record without a head.
pub(crate) fn check_images(
    mut body: &[u8],
    chunk_of: &mut dyn FnMut(SeriesRef, SealedChunk),
) -> Option<(Range<u32>, u64)> {
    let first = take_u32(&mut body)?;
    let count = u32::from_le_bytes(take_array(&mut body)?);
    let end = first.checked_add(count)?;
    let (mut samples, mut chunks) = (0, Vec::new());
    for series in first..end {
        if let Some(image) = Image::take(&mut body, &mut chunks)? {
            samples += u64::from(image.open_samples());
            chunks.iter().for_each(|&chunk| chunk_of(SeriesRef(series), chunk));
        }
    }
    Some((first..end, samples))
}

impl CheckpointEnd {
    /// Reads the end record of a checkpoint.
    pub fn decode(record: Record<'_>) -> Option<Self> {
        let Record::CheckpointEnd(mut body) = record else { return None };
        let body = &mut body;
        let first_segment = take_unsigned(body).ok()?;
        let first_frame = take_unsigned(body).ok()?;
        let definitions = DefinitionsMark { next_pair: take_u32(body)?, next_series: take_u32(body)? };
        let mut take_time = || {
            let [is_some] = take_array(body)?;
            let time = take_signed(body).ok()?;
            Some((is_some != 0).then_some(time))
        };
        let (min_time, max_time) = (take_time()?, take_time()?);
        // Checkpoints of before there were blocks end here.
        let floor = if body.is_empty() { i64::MIN } else { take_signed(body).ok()? };
        Some(Self { first_segment, first_frame, definitions, min_time, max_time, floor })
    }
}

fn take_array<const N: usize>(body: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = body.split_first_chunk()?;
    *body = rest;
    Some(*array)
}
