//! What was found in a data directory, as tables, as JSON, and as a list of damage.

use std::{
    io::{self, Write},
    path::Path,
};

use serde::Serialize;
use shard::survey::{ChunkFile, Finding, FrameFile, ShardSurvey};

use super::Surveyed;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    path: String,
    shards: Vec<ShardReport>,
    findings: Vec<FindingReport>,
}

#[derive(Debug, Serialize)]
struct ShardReport {
    shard: usize,
    /// Number of the checkpoint that a start would use.
    checkpoint_in_use: Option<u64>,
    log_segments: Vec<FrameFileReport>,
    series_logs: Vec<FrameFileReport>,
    checkpoints: Vec<FrameFileReport>,
    chunk_files: Vec<ChunkFileReport>,
    /// Spare and superfluous files that nothing depends on.
    leftovers: Vec<LeftoverReport>,
}

#[derive(Debug, Serialize)]
struct FrameFileReport {
    file: String,
    bytes: u64,
    frames: u64,
    first_frame: Option<u64>,
    last_frame: Option<u64>,
    records: u64,
    label_pairs: u64,
    series: u64,
    samples: u64,
    series_images: u64,
    payload_bytes: u64,
    padding_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<EndReport>,
}

#[derive(Debug, Serialize)]
struct EndReport {
    first_segment: u64,
    first_frame: u64,
    label_pairs: u32,
    series: u32,
    min_time: Option<i64>,
    max_time: Option<i64>,
}

#[derive(Debug, Serialize)]
struct ChunkFileReport {
    file: String,
    bytes: u64,
    chunks: u64,
    chunks_in_checkpoint: u64,
    samples: u64,
    data_bytes: u64,
}

#[derive(Debug, Serialize)]
struct LeftoverReport {
    file: String,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct FindingReport {
    file: String,
    offset: u64,
    damage: bool,
    what: String,
}

impl Report {
    pub(super) fn of(read: &Surveyed) -> Self {
        let root = &read.directory.path;
        let key = read.key.as_ref().err().map(|error| FindingReport {
            file: "identity.key".to_owned(),
            offset: 0,
            damage: true,
            what: error.to_string(),
        });
        let findings = read.shards.iter().flat_map(|shard| &shard.findings);
        let shards = read.shards.iter().enumerate().map(|(number, shard)| ShardReport::of(root, number, shard));
        Self {
            path: root.display().to_string(),
            shards: shards.collect(),
            findings: key.into_iter().chain(findings.map(|finding| FindingReport::of(root, finding))).collect(),
        }
    }

    pub(super) fn damage_count(&self) -> usize {
        self.findings.iter().filter(|finding| finding.damage).count()
    }

    pub(super) fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }

    pub(super) fn write_tables(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}: {} shards", self.path, self.shards.len())?;
        for shard in &self.shards {
            shard.write_tables(out)?;
        }
        if !self.findings.is_empty() {
            writeln!(out)?;
        }
        self.findings.iter().try_for_each(|finding| finding.write(out))
    }

    fn frame_files(&self) -> impl Iterator<Item = &FrameFileReport> {
        self.shards.iter().flat_map(ShardReport::frame_files)
    }

    /// The findings, and a line that sums up.
    pub(super) fn write_findings(&self, out: &mut dyn Write) -> io::Result<()> {
        self.findings.iter().try_for_each(|finding| finding.write(out))?;
        let chunks: u64 = self.shards.iter().flat_map(|shard| &shard.chunk_files).map(|file| file.chunks).sum();
        writeln!(
            out,
            "{}: {} shards, {} files, {} frames, {} records, {chunks} chunks checked; {} damaged, {} harmless",
            self.path,
            self.shards.len(),
            self.frame_files().count() + self.shards.iter().map(|shard| shard.chunk_files.len()).sum::<usize>(),
            self.frame_files().map(|file| file.frames).sum::<u64>(),
            self.frame_files().map(|file| file.records).sum::<u64>(),
            self.damage_count(),
            self.findings.len() - self.damage_count(),
        )
    }
}

impl ShardReport {
    fn of(root: &Path, number: usize, shard: &ShardSurvey) -> Self {
        let frame_files = |files: &[FrameFile]| files.iter().map(|file| FrameFileReport::of(root, file)).collect();
        Self {
            shard: number,
            checkpoint_in_use: shard.checkpoint_in_use,
            log_segments: frame_files(&shard.segments),
            series_logs: frame_files(&shard.series_logs),
            checkpoints: frame_files(&shard.checkpoints),
            chunk_files: shard.chunk_files.iter().map(|file| ChunkFileReport::of(root, file)).collect(),
            leftovers: shard
                .leftovers
                .iter()
                .map(|leftover| LeftoverReport { file: relative(root, &leftover.path), bytes: leftover.bytes })
                .collect(),
        }
    }

    fn frame_files(&self) -> impl Iterator<Item = &FrameFileReport> {
        self.log_segments.iter().chain(&self.series_logs).chain(&self.checkpoints)
    }

    fn write_tables(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\nshard {}", self.shard)?;
        let columns =
            ["file", "bytes", "frames", "first", "last", "records", "pairs", "series", "samples", "images", "padding"];
        write_table(out, &columns, self.frame_files().map(FrameFileReport::cells).collect())?;
        for checkpoint in &self.checkpoints {
            checkpoint.write_end(out, self.checkpoint_in_use)?;
        }
        let columns = ["file", "bytes", "chunks", "in checkpoint", "samples", "data bytes"];
        write_table(out, &columns, self.chunk_files.iter().map(ChunkFileReport::cells).collect())?;
        for LeftoverReport { file, bytes } in &self.leftovers {
            writeln!(out, "  {file}: {bytes} bytes that nothing depends on")?;
        }
        Ok(())
    }
}

impl FrameFileReport {
    fn of(root: &Path, file: &FrameFile) -> Self {
        let has_frames = file.frame_count > 0;
        Self {
            file: relative(root, &file.path),
            bytes: file.bytes,
            frames: file.frame_count,
            first_frame: has_frames.then_some(file.frames.start),
            last_frame: has_frames.then(|| file.frames.end - 1),
            records: file.records,
            label_pairs: file.pairs,
            series: file.series,
            samples: file.samples,
            series_images: file.images,
            payload_bytes: file.payload_bytes,
            padding_bytes: file.padding_bytes,
            end: file.end.map(|end| EndReport {
                first_segment: end.first_segment,
                first_frame: end.first_frame,
                label_pairs: end.definitions.next_pair,
                series: end.definitions.next_series,
                min_time: end.min_time,
                max_time: end.max_time,
            }),
        }
    }

    fn cells(&self) -> Vec<String> {
        let or_dash = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let numbers =
            [self.records, self.label_pairs, self.series, self.samples, self.series_images, self.padding_bytes];
        let front = [
            self.file.clone(),
            self.bytes.to_string(),
            self.frames.to_string(),
            or_dash(self.first_frame),
            or_dash(self.last_frame),
        ];
        front.into_iter().chain(numbers.map(|number| number.to_string())).collect()
    }

    fn write_end(&self, out: &mut dyn Write, in_use: Option<u64>) -> io::Result<()> {
        let Some(EndReport { first_segment, first_frame, label_pairs, series, min_time, max_time }) = &self.end else {
            return writeln!(out, "  {}: no end record, it does not count", self.file);
        };
        let is_in_use = in_use.is_some_and(|number| self.file.ends_with(&format!("{number:08}")));
        let remark = if is_in_use { "a start uses it" } else { "replaced by a newer one" };
        let time = |time: &Option<i64>| time.map_or_else(|| "-".to_owned(), |time| time.to_string());
        writeln!(
            out,
            "  {}: {remark}; replay from segment {first_segment}, frame {first_frame}; {label_pairs} pairs, {series} \
             series; times {} to {}",
            self.file,
            time(min_time),
            time(max_time),
        )
    }
}

impl ChunkFileReport {
    fn of(root: &Path, file: &ChunkFile) -> Self {
        Self {
            file: relative(root, &file.path),
            bytes: file.bytes,
            chunks: file.chunks,
            chunks_in_checkpoint: file.chunks_referenced,
            samples: file.samples,
            data_bytes: file.data_bytes,
        }
    }

    fn cells(&self) -> Vec<String> {
        let numbers = [self.bytes, self.chunks, self.chunks_in_checkpoint, self.samples, self.data_bytes];
        [self.file.clone()].into_iter().chain(numbers.map(|number| number.to_string())).collect()
    }
}

impl FindingReport {
    fn of(root: &Path, finding: &Finding) -> Self {
        Self {
            file: relative(root, &finding.path),
            offset: finding.offset,
            damage: finding.is_damage(),
            what: finding.what.to_string(),
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let kind = if self.damage { "damage" } else { "harmless" };
        writeln!(out, "{kind}: {} at byte {}: {}", self.file, self.offset, self.what)
    }
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// Writes a table with the first column to the left and numbers to the right; nothing without rows.
fn write_table(out: &mut dyn Write, columns: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let heads: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| rows.iter().chain([&heads]).map(|row| row[at].len()).max().unwrap_or_default())
        .collect();
    for row in [&heads].into_iter().chain(&rows) {
        write!(out, "  {:<width$}", row[0], width = widths[0])?;
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            write!(out, "  {cell:>width$}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
