//! Points that wait for the disk, by run and metric.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tenon_store::{JsonTable, ScanRange, Store, Transaction};

use super::chunk::{self, Rollup};
use super::{
    CHUNK_POINTS, CHUNKS, MetricSummary, Point, ROLLUPS, SUMMARIES, chunk_of, key, run_prefix,
};
use crate::error::TrackError;

/// Above this many waiting points the one who logs flushes.
const MAX_WAITING: u64 = 4_000_000;
/// A flush is split into transactions of about this many bytes.
const TRANSACTION_BYTES: u64 = 8 << 20;
/// Series that nobody logged to for this long leave memory.
const IDLE: Duration = Duration::from_secs(60);

pub(super) type Summaries = BTreeMap<String, MetricSummary>;

/// All runs that were logged to lately.
pub(crate) struct Buffers {
    pub(super) store: Store,
    runs: Mutex<HashMap<String, Arc<Mutex<RunSeries>>>>,
    waiting: AtomicU64,
    /// One flush at a time, so that an older tail never overwrites a newer one.
    flushing: Mutex<()>,
}

pub(super) struct RunSeries {
    pub series: BTreeMap<String, Series>,
    /// Metrics of earlier sessions that were not logged to in this one.
    stored: Summaries,
    touched: Instant,
}

/// The points of one metric that are not (all) on disk.
pub(super) struct Series {
    /// Full chunks that are not committed yet, in order.
    pub full: Vec<Full>,
    /// Number of the chunk that `tail` becomes.
    pub chunk: u64,
    /// Fewer than `CHUNK_POINTS`.
    pub tail: Vec<Point>,
    pub summary: MetricSummary,
    /// Points since the last flush.
    unflushed: u64,
}

pub(super) struct Full {
    pub number: u64,
    pub bytes: Vec<u8>,
    pub rollup: Rollup,
}

impl Series {
    fn new() -> Self {
        Self {
            full: Vec::new(),
            chunk: 0,
            tail: Vec::new(),
            summary: MetricSummary::start(),
            unflushed: 0,
        }
    }

    /// The first chunk that is in memory; those before are on disk only.
    pub fn first_chunk(&self) -> u64 {
        self.full.first().map_or(self.chunk, |full| full.number)
    }

    fn push(&mut self, point: Point) {
        self.summary.add(&point);
        self.tail.push(point);
        if self.tail.len() == CHUNK_POINTS
            && let Some(rollup) = Rollup::of(&self.tail)
        {
            self.full.push(Full {
                number: self.chunk,
                bytes: chunk::encode(&self.tail),
                rollup,
            });
            self.chunk += 1;
            self.tail.clear();
        }
    }
}

impl RunSeries {
    pub fn summaries(&self) -> Summaries {
        let mut all = self.stored.clone();
        all.extend(
            self.series
                .iter()
                .map(|(name, series)| (name.clone(), series.summary)),
        );
        all
    }
}

impl Buffers {
    pub fn new(store: Store) -> Self {
        Self {
            store,
            runs: Mutex::default(),
            waiting: AtomicU64::new(0),
            flushing: Mutex::new(()),
        }
    }

    pub fn table(&self) -> JsonTable<Summaries> {
        self.store.json(SUMMARIES)
    }

    /// Adds points to metrics of a run. Durable after the next flush.
    pub fn append<'a>(
        &self,
        run: &str,
        points: impl IntoIterator<Item = (&'a str, &'a [Point])>,
    ) -> Result<(), TrackError> {
        let entry = self.entry(run)?;
        let mut added = 0;
        {
            let mut entry = entry.lock();
            entry.touched = Instant::now();
            for (metric, points) in points {
                if !entry.series.contains_key(metric) {
                    check_metric(metric)?;
                    let series = self.load(run, metric, entry.stored.get(metric))?;
                    entry.series.insert(metric.to_owned(), series);
                }
                let Some(series) = entry.series.get_mut(metric) else {
                    continue;
                };
                for point in points {
                    series.push(*point);
                }
                series.unflushed += points.len() as u64;
                added += points.len() as u64;
            }
        }
        if self.waiting.fetch_add(added, Ordering::Relaxed) + added > MAX_WAITING {
            self.flush_all()?;
        }
        Ok(())
    }

    /// The series in memory of a run, if there are any.
    pub(super) fn loaded(&self, run: &str) -> Option<Arc<Mutex<RunSeries>>> {
        self.runs.lock().get(run).cloned()
    }

    /// The current summaries of a run that is in memory.
    pub fn live_summaries(&self, run: &str) -> Option<Summaries> {
        Some(self.loaded(run)?.lock().summaries())
    }

    fn entry(&self, run: &str) -> Result<Arc<Mutex<RunSeries>>, TrackError> {
        if let Some(entry) = self.loaded(run) {
            return Ok(entry);
        }
        let stored = self.table().get(run)?.unwrap_or_default();
        let mut runs = self.runs.lock();
        let entry = runs.entry(run.to_owned()).or_insert_with(|| {
            Arc::new(Mutex::new(RunSeries {
                series: BTreeMap::new(),
                stored,
                touched: Instant::now(),
            }))
        });
        Ok(entry.clone())
    }

    /// Continues a metric where its last chunk ended.
    fn load(
        &self,
        run: &str,
        metric: &str,
        stored: Option<&MetricSummary>,
    ) -> Result<Series, TrackError> {
        let mut series = Series::new();
        let Some(summary) = stored else {
            return Ok(series);
        };
        series.summary = *summary;
        let last = ScanRange::prefix(key(run, metric, None))
            .reversed()
            .limit(1);
        if let Some((key, bytes)) = self.store.scan(CHUNKS, last)?.pop() {
            let number = chunk_of(&key);
            let decoded = chunk::decode(&bytes, &mut series.tail);
            let (Some(number), Some(())) = (number, decoded) else {
                return Err(damaged(run, metric));
            };
            series.chunk = number;
            if series.tail.len() >= CHUNK_POINTS {
                series.tail.clear();
                series.chunk += 1;
            }
        }
        Ok(series)
    }

    /// Makes the points of one run durable and returns its summaries (none: nothing in memory).
    pub fn flush(&self, run: &str) -> Result<Option<Summaries>, TrackError> {
        let _one = self.flushing.lock();
        match self.loaded(run) {
            Some(entry) => self.flush_entry(run, &entry).map(Some),
            None => Ok(None),
        }
    }

    /// Makes all points durable and returns the summaries of the runs that had new ones.
    pub fn flush_all(&self) -> Result<Vec<(String, Summaries)>, TrackError> {
        let _one = self.flushing.lock();
        let runs: Vec<_> = self
            .runs
            .lock()
            .iter()
            .map(|(run, entry)| (run.clone(), entry.clone()))
            .collect();
        let mut flushed = Vec::new();
        for (run, entry) in runs {
            if entry.lock().series.values().any(|s| s.unflushed > 0) {
                let summaries = self.flush_entry(&run, &entry)?;
                flushed.push((run, summaries));
            }
        }
        self.runs.lock().retain(|_, entry| {
            // Held by somebody: about to be logged to.
            if Arc::strong_count(entry) > 1 {
                return true;
            }
            let entry = entry.lock();
            entry.touched.elapsed() < IDLE || entry.series.values().any(|s| s.unflushed > 0)
        });
        Ok(flushed)
    }

    fn flush_entry(&self, run: &str, entry: &Mutex<RunSeries>) -> Result<Summaries, TrackError> {
        let mut commits = Vec::new();
        let mut done: Vec<(String, u64, u64)> = Vec::new();
        let summaries = {
            let entry = entry.lock();
            let mut transaction = Transaction::new();
            for (metric, series) in &entry.series {
                if series.unflushed == 0 {
                    continue;
                }
                for full in &series.full {
                    let key = key(run, metric, Some(full.number));
                    transaction.add_put(CHUNKS, &key, &full.bytes);
                    transaction.add_put(ROLLUPS, &key, full.rollup.encode());
                    if transaction.bytes() > TRANSACTION_BYTES {
                        commits.push(self.store.submit(std::mem::take(&mut transaction))?);
                    }
                }
                if let Some(rollup) = Rollup::of(&series.tail) {
                    let key = key(run, metric, Some(series.chunk));
                    transaction.add_put(CHUNKS, &key, chunk::encode(&series.tail));
                    transaction.add_put(ROLLUPS, &key, rollup.encode());
                }
                done.push((metric.clone(), series.chunk, series.unflushed));
            }
            let summaries = entry.summaries();
            if !done.is_empty() {
                // In the last transaction: a summary never counts points that are not there.
                self.table().add_put(&mut transaction, run, &summaries)?;
                commits.push(self.store.submit(transaction)?);
            }
            summaries
        };
        for commit in commits {
            commit.wait()?;
        }
        // Points logged while we waited stay unflushed.
        let mut entry = entry.lock();
        for (metric, chunk, flushed) in done {
            if let Some(series) = entry.series.get_mut(&metric) {
                series.full.retain(|full| full.number >= chunk);
                series.unflushed = series.unflushed.saturating_sub(flushed);
            }
            self.settle(flushed);
        }
        Ok(summaries)
    }

    /// Fewer points wait now.
    fn settle(&self, points: u64) {
        let _ = self
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                Some(waiting.saturating_sub(points))
            });
    }

    /// Drops all points after `step` (a run that resumes from a checkpoint logs them again).
    pub fn rewind(&self, run: &str, step: i64) -> Result<Summaries, TrackError> {
        let _one = self.flushing.lock();
        let entry = self.entry(run)?;
        self.flush_entry(run, &entry)?;
        let mut entry = entry.lock();
        let mut transaction = Transaction::new();
        let mut kept = BTreeMap::new();
        for metric in entry.summaries().keys() {
            let mut points = Vec::new();
            let chunks = ScanRange::prefix(key(run, metric, None));
            for (key, bytes) in self.store.scan(CHUNKS, chunks)? {
                chunk::decode(&bytes, &mut points).ok_or_else(|| damaged(run, metric))?;
                transaction.add_delete(CHUNKS, &key);
                transaction.add_delete(ROLLUPS, &key);
            }
            let mut series = Series::new();
            for point in points.iter().filter(|point| point.step <= step) {
                series.push(*point);
            }
            for full in series.full.drain(..) {
                let key = key(run, metric, Some(full.number));
                transaction.add_put(CHUNKS, &key, &full.bytes);
                transaction.add_put(ROLLUPS, &key, full.rollup.encode());
            }
            if let Some(rollup) = Rollup::of(&series.tail) {
                let key = key(run, metric, Some(series.chunk));
                transaction.add_put(CHUNKS, &key, chunk::encode(&series.tail));
                transaction.add_put(ROLLUPS, &key, rollup.encode());
            }
            if series.summary.count > 0 {
                kept.insert(metric.clone(), series);
            }
        }
        let summaries: Summaries = kept
            .iter()
            .map(|(metric, series)| (metric.clone(), series.summary))
            .collect();
        self.table().add_put(&mut transaction, run, &summaries)?;
        self.store.commit(transaction)?;
        entry.series = kept;
        entry.stored = Summaries::new();
        Ok(summaries)
    }

    /// Removes everything of a run.
    pub fn remove(&self, run: &str) -> Result<(), TrackError> {
        let _one = self.flushing.lock();
        if let Some(entry) = self.runs.lock().remove(run) {
            let mut entry = entry.lock();
            let unflushed = entry.series.values().map(|s| s.unflushed).sum();
            entry.series.clear();
            self.settle(unflushed);
        }
        for table in [CHUNKS, ROLLUPS] {
            let mut transaction = Transaction::new();
            self.store
                .for_each(table, &ScanRange::prefix(run_prefix(run)), |key, _| {
                    transaction.add_delete(table, key);
                    Ok(std::ops::ControlFlow::Continue(()))
                })?;
            self.store.commit(transaction)?;
        }
        self.table().delete(run)?;
        Ok(())
    }
}

pub(super) fn damaged(run: &str, metric: &str) -> TrackError {
    TrackError::DamagedMetric {
        run: run.to_owned(),
        metric: metric.to_owned(),
        reason: "a chunk does not decode; it may be from a newer tenon".to_owned(),
    }
}

fn check_metric(name: &str) -> Result<(), TrackError> {
    if name.is_empty() || name.len() > 250 || name.chars().any(char::is_control) {
        return Err(TrackError::Invalid(format!(
            "`{}` is not a metric name: 1 to 250 bytes without control characters",
            name.escape_debug()
        )));
    }
    Ok(())
}
