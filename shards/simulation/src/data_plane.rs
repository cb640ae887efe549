//! The shards' own code, as a system under test: the same crates as in the binary, on simulated threads and a simulated disk.
//!
//! Blocks are cut, compacted and expired on a thread of their own, as in the binary. For that the senders' clocks run faster in some
//! seeds: what lies seconds apart for the workload lies minutes apart for the store, so that windows pass within a seed.
//!
//! Only what lies outside of the shards is played here: making a batch of a request, and reading sealed chunks from their files,
//! which in the binary happens on the control plane's threads.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    path::Path,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use blocks::{Block, Damage, Deletion, Retention, Service, Value, decode, service};
use codec::{decimal, gorilla};
use futures_channel::oneshot;
use model::{
    HistogramSample, IdentityKey, LabelSpan, Labels, Matcher, Sample, SeriesEntry, SeriesId, SeriesPlace, Timestamp,
    WriteBatch,
};
use runtime::{AlignedBuffer, Disk, File, OpenMode, Runtime};
use shard::{
    Handle, Mailbox, Shard, ShardConfig,
    names::{LogDirectories, ShardFolders},
    router,
    shared::Shared,
};
use tsdb::{
    chunk_file::{ENTRY_BYTES_MAX, SeriesTag, check_entry, entry_bytes},
    head::ChunkAddress,
    limits::BEHIND_MS_MAX,
    out_of_order::{self, Part},
    select::{self, SelectedChunk, TimeRange, Wanted},
};

use crate::{
    disk::{SimDisk, SimFile},
    histograms::{comes_as_histograms, histogram_of, sum_of},
    process::{Process, SimRuntime},
    random::Random,
    system::{Answer, Bounds, Client, Promises, ReadAnswer, Request, Selection, Started, System},
};

const DATA: &str = "/data";
/// More than any selection of the workload needs; refusing larger ones is tested where selections are made.
const SELECTION_BYTES_MAX: usize = 1 << 30;
const SERIES_MAX: u64 = 1 << 20;

/// Seeds live for seconds.
const LOOK: Duration = Duration::from_millis(20);

/// A process with so many shards and housekeeping small enough to happen within a seed.
#[derive(Clone)]
pub struct DataPlane {
    shards: usize,
    config: ShardConfig,
    key: IdentityKey,
    clock: FastClock,
    series_per_piece: usize,
    /// Of the store's times; 0: samples come in order or not at all.
    out_of_order_window_ms: i64,
    /// Where logs are, in the data directory or beside it.
    logs: LogDirectories,
}

/// Stretches the workload's times.
#[derive(Clone, Copy, Debug)]
struct FastClock {
    speed: i64,
}

/// A time before the workload begins, and where it lies for the store: long ago, so that no fast clock reaches the future.
const ORIGIN_MS: i64 = 1_767_000_000_000;
const STORED_ORIGIN_MS: i64 = 1_000_000_000_000;

impl FastClock {
    fn stored(self, time: i64) -> i64 {
        if self.speed == 1 {
            return time;
        }
        time.saturating_sub(ORIGIN_MS).saturating_mul(self.speed).saturating_add(STORED_ORIGIN_MS)
    }

    fn of_workload(self, time: i64) -> i64 {
        if self.speed == 1 { time } else { (time - STORED_ORIGIN_MS) / self.speed + ORIGIN_MS }
    }
}

impl DataPlane {
    /// Two or three shards; sizes of segments and checkpoints by the seed.
    pub fn for_seed(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed_0f5a_4d5e_ed00);
        let key: Vec<u8> = (0..IdentityKey::BYTES).map(|_| random.word() as u8).collect();
        Self {
            shards: 2 + random.index(2),
            config: ShardConfig {
                log_segment_bytes: *random.pick(&[32 << 10, 128 << 10, 1 << 20]),
                checkpoint_log_bytes_min: *random.pick(&[16 << 10, 64 << 10, 256 << 10, 1 << 30]),
                ..ShardConfig::default()
            },
            key: IdentityKey::from_bytes(key[..].try_into().expect("as many bytes as a key has")),
            clock: FastClock { speed: *random.pick(&[1, 60, 120]) },
            series_per_piece: *random.pick(&[1, 5, 30, service::SERIES_PER_PIECE]),
            logs: LogDirectories {
                first: random.percent(20).then(|| "/first".into()),
                second: random.percent(40).then(|| "/second".into()),
                former: Vec::new(),
            },
            out_of_order_window_ms: *random.pick(&[0, 0, 30, 6 * 60, 1_000_000]) * 60_000,
        }
    }
}

impl System for DataPlane {
    type Client = Connection;

    fn promises(&self) -> Promises {
        Promises {
            retry_is_success: false,
            in_order_only: self.out_of_order_window_ms == 0,
            contradictions_are_rejected: self.out_of_order_window_ms == 0,
            parts_are_atomic: true,
            visible_is_durable: true,
            past_bound_ms: BEHIND_MS_MAX / self.clock.speed,
            bounds: Bounds {
                tasks: 80,
                disk_operations_in_flight: 18,
                // What comes out of order makes a block of each window that it reaches into.
                files: if self.out_of_order_window_ms == 0 { 600 } else { 1200 },
                disk_bytes: 256 << 20,
                answer_ms: 60_000,
            },
        }
    }

    async fn start(&self, process: &Process) -> Result<Started<Connection>, String> {
        let shared = Arc::new(Shared::new(self.key, self.shards, SERIES_MAX, 0));
        shared.set_out_of_order_window(self.out_of_order_window_ms);
        shared.hold_back();
        let (handle, mailboxes) = Handle::connect(shared);
        for path in self.logs.all() {
            // As whoever opens the data directory does.
            process.disk.create_directory(path).await.map_err(|error| format!("create {}: {error}", path.display()))?;
            process.disk.sync_directory(Path::new("/")).await.map_err(|error| format!("sync /: {error}"))?;
        }
        let mut opening = Vec::new();
        for (number, mailbox) in mailboxes.into_iter().enumerate() {
            let (sender, opened) = oneshot::channel();
            let runtime = process.new_thread();
            let shared = handle.shared().clone();
            let folders = ShardFolders::with_logs(Path::new(DATA), number, &self.logs);
            runtime.spawn(run_shard(number, runtime.clone(), folders, shared, self.config.clone(), mailbox, sender));
            opening.push(opened);
        }
        let (service, inbox) = Service::new(Retention::default());
        let (sender, blocks_opened) = oneshot::channel();
        let runtime = process.new_thread();
        let config = service::Config {
            data: DATA.into(),
            key: self.key,
            retention: service.retention(),
            look: LOOK,
            series_per_piece: self.series_per_piece,
        };
        runtime.spawn(run_blocks(runtime.clone(), config, handle.clone(), service.clone(), inbox, sender));
        let mut repairs = blocks_opened.await.map_err(|_| "the thread of the blocks is gone".to_owned())??;
        for opened in opening {
            repairs.extend(opened.await.map_err(|_| "a shard's thread is gone".to_owned())??);
        }
        let runtime = process.new_thread();
        let takes_out_of_order = self.out_of_order_window_ms > 0;
        let (disk, clock) = (process.disk.clone(), self.clock);
        let places = Rc::new(RefCell::new(KnownPlaces::new(self.shards)));
        let client = Connection { handle, service, runtime, disk, clock, takes_out_of_order, places };
        Ok(Started { client, repairs })
    }

    fn shard_of(&self, labels: &Labels) -> usize {
        router::shard_of(self.key.labels(labels), self.shards)
    }
}

/// A shard's thread: recover, tell, serve.
async fn run_shard(
    number: usize,
    runtime: SimRuntime,
    folders: ShardFolders,
    shared: Arc<Shared>,
    config: ShardConfig,
    mailbox: Mailbox,
    opened: oneshot::Sender<Result<Vec<String>, String>>,
) {
    match Shard::open(number, runtime, folders, shared, config).await {
        Ok((shard, damage)) => {
            let repairs =
                damage.iter().map(|damage| format!("{} at {}: {}", damage.path.display(), damage.offset, damage.what));
            // Whoever started this may be gone; then so is the process, before the next step.
            drop(opened.send(Ok(repairs.collect())));
            shard.serve(mailbox).await;
        }
        Err(error) => drop(opened.send(Err(error.to_string()))),
    }
}

/// The thread of the blocks: open them, let requests to the shards in, serve.
async fn run_blocks(
    runtime: SimRuntime,
    config: service::Config,
    handle: Handle,
    service: Service,
    inbox: service::Inbox,
    opened: oneshot::Sender<Result<Vec<String>, String>>,
) {
    match service::open(&runtime, Path::new(DATA), &service).await {
        Ok(damaged) => {
            handle.shared().admit(service.blocks.current().cut_before);
            let damaged = damaged.iter().map(|(path, error)| format!("{} at 0: {error}", path.display()));
            drop(opened.send(Ok(damaged.collect())));
            service::run(runtime, config, handle, service, inbox).await;
        }
        Err(error) => drop(opened.send(Err(error.to_string()))),
    }
}

/// A request in the form in which a decoder hands it on. Labels come in another order for each entry, as the wire has none.
struct Batch {
    series: Vec<SeriesEntry>,
    times: Vec<i64>,
    values: Vec<u64>,
    histograms: Vec<HistogramSample>,
    labels: Vec<Labels>,
    /// As the sender knows them, if it sends by places.
    places: Vec<Option<SeriesPlace>>,
    generations: Vec<u32>,
}

impl Batch {
    fn new(request: &Request, key: &IdentityKey, clock: FastClock) -> Self {
        let mut batch = Self {
            series: Vec::new(),
            times: Vec::new(),
            values: Vec::new(),
            histograms: Vec::new(),
            labels: Vec::new(),
            places: Vec::new(),
            generations: Vec::new(),
        };
        for series in &request.series {
            let (start, at) = (batch.times.len() as u32, batch.labels.len() as u32);
            let samples = series.samples.iter().map(|sample| (clock.stored(sample.time.0), sample.value.to_bits()));
            if comes_as_histograms(series.index) {
                batch.histograms.extend(samples.map(|(time, bits)| HistogramSample {
                    entry: at,
                    time,
                    start_time: 0,
                    histogram: histogram_of(bits),
                }));
            } else {
                for (time, bits) in samples {
                    batch.times.push(time);
                    batch.values.push(bits);
                }
            }
            batch.labels.push(series.labels.clone());
            batch.series.push(SeriesEntry {
                id: key.labels(&series.labels),
                samples_start: start,
                samples_end: batch.times.len() as u32,
                labels: LabelSpan { start: at, end: at + 1 },
            });
        }
        batch
    }
}

impl WriteBatch for Batch {
    fn series(&self) -> &[SeriesEntry] {
        &self.series
    }

    fn times(&self) -> &[i64] {
        &self.times
    }

    fn values(&self) -> &[u64] {
        &self.values
    }

    fn histograms(&self) -> &[HistogramSample] {
        &self.histograms
    }

    fn places(&self) -> &[Option<SeriesPlace>] {
        &self.places
    }

    fn generation(&self, shard: u16) -> u32 {
        self.generations.get(usize::from(shard)).copied().unwrap_or(0)
    }

    fn asks_places(&self) -> usize {
        self.places.len()
    }

    fn visit_labels<'a>(&'a self, span: LabelSpan, visit: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        let labels = &self.labels[span.start as usize];
        for at in 0..labels.len() {
            let label = labels.at((at + span.start as usize) % labels.len());
            visit(label.name.as_bytes(), label.value.as_bytes());
        }
    }
}

/// What senders were told of places since the process started, as scrapes of targets are: every other request goes by them.
struct KnownPlaces {
    /// By shard: the generation, and numbers of it.
    shards: Vec<(u32, BTreeMap<Labels, u32>)>,
    requests: usize,
}

impl KnownPlaces {
    fn new(shards: usize) -> Self {
        Self { shards: vec![Default::default(); shards], requests: 0 }
    }

    fn put_into(&mut self, batch: &mut Batch) {
        self.requests += 1;
        if self.requests.is_multiple_of(2) {
            return;
        }
        batch.generations = self.shards.iter().map(|(generation, _)| *generation).collect();
        for (entry, labels) in batch.series.iter_mut().zip(&batch.labels) {
            let shard = router::shard_of(entry.id, self.shards.len());
            let number = self.shards[shard].1.get(labels);
            let place = number.map(|&number| SeriesPlace { shard: shard as u16, number });
            if place.is_some() {
                entry.id = SeriesId::default();
            }
            batch.places.push(place);
        }
    }

    fn learn(&mut self, batch: &Batch, told: &[model::Places]) {
        for model::Places { shard, generation, numbers } in told {
            let known = &mut self.shards[usize::from(*shard)];
            if known.0 != *generation {
                *known = (*generation, BTreeMap::new());
            }
            known.1.extend(numbers.iter().map(|&(entry, number)| (batch.labels[entry as usize].clone(), number)));
        }
    }
}

#[derive(Clone)]
pub struct Connection {
    places: Rc<RefCell<KnownPlaces>>,
    handle: Handle,
    service: Service,
    runtime: SimRuntime,
    disk: SimDisk,
    clock: FastClock,
    takes_out_of_order: bool,
}

impl Connection {
    fn matchers(selection: &Selection) -> Arc<[Matcher]> {
        selection.label.iter().map(|(name, value)| Matcher::equal(name.clone(), value.clone())).collect()
    }

    fn range(&self, selection: &Selection) -> TimeRange {
        TimeRange { min_time: self.clock.stored(selection.from), max_time: self.clock.stored(selection.to) }
    }

    /// Of equal times the first counts, where places may overlap.
    fn in_order(&self, found: &mut Found) {
        if self.takes_out_of_order {
            for samples in found.values_mut() {
                samples.sort_by_key(|(time, _)| *time);
                samples.dedup_by_key(|(time, _)| *time);
            }
        }
    }

    fn answer(&self, mut found: Found, damage: Vec<String>, provisional: bool) -> ReadAnswer {
        self.in_order(&mut found);
        let sample =
            |(time, bits)| Sample { time: Timestamp(self.clock.of_workload(time)), value: f64::from_bits(bits) };
        let series = found.into_iter().map(|(labels, samples)| (labels, samples.into_iter().map(sample).collect()));
        ReadAnswer { series: series.collect(), damage, provisional }
    }

    /// Reads a snapshot as one would that was started on it.
    async fn read_snapshot(&self, path: &Path) -> Result<(Found, Vec<String>), String> {
        let (restored, _) = Service::new(Retention::default());
        let damaged = service::open(&self.runtime, path, &restored).await.map_err(|error| error.to_string())?;
        let mut damage: Vec<String> =
            damaged.iter().map(|(path, error)| format!("{}: {error}", path.display())).collect();
        let range = TimeRange { min_time: i64::MIN, max_time: i64::MAX };
        let mut found = Found::new();
        for block in &restored.blocks.current().blocks {
            let mut tell = |error: Damage| damage.push(error.to_string());
            if let Err(error) = read_block(block, &[], range, &mut found, &mut tell) {
                tell(error);
            }
        }
        Ok((found, damage))
    }
}

impl Client for Connection {
    async fn write(&self, request: Rc<Request>) -> Answer {
        let mut batch = Batch::new(&request, self.handle.identity_key(), self.clock);
        self.places.borrow_mut().put_into(&mut batch);
        let batch = Arc::new(batch);
        match self.handle.append(batch.clone()).await {
            Ok(outcome) => {
                self.places.borrow_mut().learn(&batch, &outcome.places);
                Answer::Written {
                    accepted: (outcome.stored
                        + outcome.repeated
                        + outcome.histograms_stored
                        + outcome.histograms_repeated) as usize,
                    rejected: outcome.rejected_total() as usize,
                }
            }
            Err(refusal) => Answer::Refused(refusal.to_string()),
        }
    }

    /// First the shards, then the set of blocks: what is cut in between is in both, and left out of the shards' part.
    async fn read(&self, selection: &Selection) -> Result<ReadAnswer, String> {
        assert_eq!(self.service.counters().panics.load(Ordering::Relaxed), 0, "a job on blocks panicked");
        let (matchers, range) = (Self::matchers(selection), self.range(selection));
        let selected = self.handle.select(matchers.clone(), range, Wanted::Samples, SELECTION_BYTES_MAX);
        let selected = selected.await.map_err(|refusal| refusal.to_string())?;
        let match_sets: Arc<[Vec<Matcher>]> = [matchers.to_vec()].into();
        let out_of_order = self.handle.select_out_of_order(match_sets, range, Part::All, SELECTION_BYTES_MAX);
        let out_of_order = out_of_order.await.map_err(|refusal| refusal.to_string())?;
        let stats = self.handle.stats().await.map_err(|refusal| refusal.to_string())?;
        let set = self.service.blocks.current();
        let mut found = BTreeMap::new();
        let mut damage: Vec<String> = self.service.lost_chunks().iter().map(ToString::to_string).collect();
        for block in set.blocks.iter().filter(|block| block.overlaps(range)) {
            let mut tell = |error: Damage| damage.push(error.to_string());
            if let Err(error) = read_block(block, &matchers, range, &mut found, &mut tell) {
                tell(error);
            }
        }
        let of_head = TimeRange { min_time: range.min_time.max(set.cut_before.unwrap_or(i64::MIN)), ..range };
        let mut reader = ChunkReader { disk: &self.disk, open: BTreeMap::new(), damage };
        for (shard, selected) in selected.iter().enumerate() {
            for position in 0..selected.series.len() {
                if let Some((labels, samples)) = reader.series(shard, selected, position, of_head).await? {
                    found.entry(labels).or_default().extend(samples);
                }
            }
        }
        for late in out_of_order {
            found.entry(late.labels).or_default().extend(late.samples.into_iter().map(late_bits));
        }
        // A shard that can't write shows what it could not make durable, and says that it is in trouble.
        let provisional = stats.iter().any(|stats| stats.fenced || stats.stalled);
        Ok(self.answer(found, reader.damage, provisional))
    }

    async fn delete(&self, selection: &Selection) -> Result<(), String> {
        let deletion = Deletion { match_sets: vec![Self::matchers(selection)], range: self.range(selection) };
        self.service.delete(deletion).await.map_err(|error| error.to_string())
    }

    async fn clean(&self) -> Result<(), String> {
        self.service.clean_tombstones().await.map_err(|error| error.to_string())
    }

    async fn snapshot(&self) -> Result<ReadAnswer, String> {
        let text = |error: io::Error| error.to_string();
        let name =
            self.service.snapshot("20260101T000000Z".to_owned(), false).await.map_err(|error| error.to_string())?;
        let path = Path::new(DATA).join("snapshots").join(name);
        let read = self.read_snapshot(&path).await;
        remove_all(&self.disk, &path).await.map_err(text)?;
        let (found, damage) = read?;
        Ok(self.answer(found, damage, false))
    }

    async fn stop(&self) {
        self.service.stop();
        // A shard that can't make its last writes durable says so; the process ends either way.
        drop(self.handle.shutdown().await);
    }
}

/// Removes a folder with what is in it.
async fn remove_all(disk: &SimDisk, path: &Path) -> io::Result<()> {
    for name in disk.list(path).await? {
        let path = path.join(name);
        if disk.list(&path).await.is_ok() {
            Box::pin(remove_all(disk, &path)).await?;
        } else {
            disk.remove(&path).await?;
        }
    }
    disk.remove_directory(path).await
}

type Found = BTreeMap<Labels, Vec<(i64, u64)>>;

/// Adds the samples of a block, without what is damaged. Blocks are read in order of time.
fn read_block(
    block: &Block,
    matchers: &[Matcher],
    range: TimeRange,
    found: &mut Found,
    damaged: &mut dyn FnMut(Damage),
) -> Result<(), Damage> {
    let mut entry = tsdb::block::index::SeriesEntry::default();
    for reference in block.select(matchers)? {
        if let Err(damage) = block.series(reference, &mut entry) {
            damaged(damage);
            continue;
        }
        let deleted = block.deleted(reference);
        let mut samples = Vec::new();
        for chunk in
            entry.chunks.iter().filter(|chunk| chunk.max_time >= range.min_time && chunk.min_time <= range.max_time)
        {
            match block.samples(chunk) {
                Ok(decoded) => samples.extend(decoded.into_iter().map(bits_of)),
                Err(damage) => damaged(damage),
            }
        }
        samples.retain(|(time, _)| (range.min_time..=range.max_time).contains(time));
        samples.retain(|(time, _)| deleted.is_none_or(|deleted| !deleted.contains(*time)));
        if !samples.is_empty() {
            found.entry(block.labels(&entry.labels)?).or_default().extend(samples);
        }
    }
    Ok(())
}

fn late_bits((time, value): (i64, out_of_order::Value)) -> (i64, u64) {
    match value {
        out_of_order::Value::Float(bits) => (time, bits),
        out_of_order::Value::Histogram(histogram) => bits_of((time, Value::Histogram(histogram))),
    }
}

/// A sample as the oracle knows it.
fn bits_of((time, value): (i64, Value)) -> (i64, u64) {
    match value {
        Value::Float(bits) => (time, bits),
        Value::Histogram(histogram) => (time, sum_of(&histogram).expect("a chunk has a checksum")),
    }
}

/// Reads chunks as the control plane does.
struct ChunkReader<'a> {
    disk: &'a SimDisk,
    open: BTreeMap<(usize, u32), SimFile>,
    damage: Vec<String>,
}

/// The samples of a chunk of the head, which has a kind beside those of blocks.
fn samples_of(encoding: u8, data: &[u8]) -> Result<Vec<blocks::Sample>, String> {
    if encoding == decimal::ENCODING {
        let xor = decimal::to_xor(data).map_err(|error| error.to_string())?;
        return samples_of(gorilla::ENCODING, &xor);
    }
    decode(encoding, data).map_err(|error| error.to_string())
}

impl ChunkReader<'_> {
    /// The samples of one selected series; `None` if none of them is wanted.
    async fn series(
        &mut self,
        shard: usize,
        selected: &select::Selection,
        position: usize,
        wanted: TimeRange,
    ) -> Result<Option<(Labels, Vec<(i64, u64)>)>, String> {
        let series = selected.series[position];
        let mut samples = Vec::new();
        for chunk in selected.chunks_of(position) {
            let decoded = match *chunk {
                SelectedChunk::Copied { encoding, start, length } => {
                    let chunk = selected.copied(encoding, start, length);
                    samples_of(chunk.encoding, chunk.data)
                }
                SelectedChunk::Sealed(chunk) => match self.sealed(shard, selected.tags[position], chunk.address).await?
                {
                    Ok((encoding, data)) => samples_of(encoding, &data),
                    Err(damage) => Err(damage),
                },
            };
            match decoded {
                Ok(decoded) => samples.extend(decoded.into_iter().map(bits_of)),
                Err(damage) => self.damage.push(damage),
            }
        }
        let samples = samples.into_iter();
        let deleted = selected.deleted_of(position);
        let samples: Vec<_> = samples
            .filter(|(time, _)| (wanted.min_time..=wanted.max_time).contains(time))
            .filter(|(time, _)| deleted.is_none_or(|deleted| !deleted.contains(*time)))
            .collect();
        Ok((!samples.is_empty()).then(|| (selected.labels.labels(series), samples)))
    }

    /// A chunk's encoding and data; the outer error is a disk that can't be read, the inner one damage.
    async fn sealed(
        &mut self,
        shard: usize,
        tag: SeriesTag,
        address: ChunkAddress,
    ) -> Result<Result<(u8, Vec<u8>), String>, String> {
        let path = ShardFolders::new(Path::new(DATA), shard).chunk_file(address.file());
        let place = format!("{} at {}", path.display(), address.offset());
        let key = (shard, address.file());
        if !self.open.contains_key(&key) {
            match self.disk.open(&path, OpenMode::Read).await {
                Ok(file) => drop(self.open.insert(key, file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(format!("{place}: {error}"))),
                Err(error) => return Err(format!("open {place}: {error}")),
            }
        }
        let mut length = ENTRY_BYTES_MAX;
        loop {
            let read = self.open[&key].read_at(AlignedBuffer::zeroed(length), address.offset()).await;
            let (count, buffer) = read;
            let count = count.map_err(|error| format!("read {place}: {error}"))?;
            // A chunk of histograms can be longer.
            if let Some(longer) = entry_bytes(&buffer[..count]).filter(|&longer| longer > length) {
                length = longer;
                continue;
            }
            let chunk = check_entry(&buffer[..count], tag);
            let owned = chunk.map(|chunk| (chunk.encoding, chunk.data.to_vec()));
            return Ok(owned.map_err(|error| format!("{place}: {error}")));
        }
    }
}
