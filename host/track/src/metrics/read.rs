//! Reading curves: chunks from disk, then what is still in memory.

use std::ops::ControlFlow;

use tenon_store::{ScanRange, StoreError};

use super::buffer::damaged;
use super::chunk::{self, Rollup};
use super::{Bucket, Buffers, CHUNKS, Point, ROLLUPS, StepRange, chunk_of, key};
use crate::error::TrackError;

/// What memory holds of a metric.
struct Memory {
    /// Chunks from this number on are here and not to be read from disk.
    from: u64,
    points: Vec<Point>,
    rollups: Vec<Rollup>,
}

impl Buffers {
    /// The points of a metric in the order in which they were logged; about `expected` of them.
    pub fn points(
        &self,
        run: &str,
        metric: &str,
        range: StepRange,
        expected: u64,
    ) -> Result<Vec<Point>, TrackError> {
        let memory = self.memory(run, metric, true)?;
        let from = memory.as_ref().map(|memory| memory.from);
        let expected = usize::try_from(expected).unwrap_or(0).min(10_000_000);
        let mut points = Vec::with_capacity(if range.is_all() { expected } else { 0 });
        let mut chunks = self.chunk_range(run, metric, from);
        if !range.is_all() {
            // The roll-ups tell which chunks are worth reading.
            let mut wanted: Option<(Vec<u8>, Vec<u8>)> = None;
            self.each_rollup(run, metric, from, |key, rollup| {
                if range.overlaps(rollup.min_step, rollup.max_step) {
                    let first = wanted
                        .take()
                        .map_or_else(|| key.to_vec(), |(first, _)| first);
                    wanted = Some((first, key.to_vec()));
                }
            })?;
            match wanted {
                None => chunks = chunks.limit(0),
                Some((first, mut last)) => {
                    // `to` is excluded: the smallest key after the last one.
                    last.push(0);
                    chunks = chunks.from(first).to(last);
                }
            }
        }
        let mut broken = false;
        self.store.for_each(CHUNKS, &chunks, |_, bytes| {
            if chunk::decode(bytes, &mut points).is_none() {
                broken = true;
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if broken {
            return Err(damaged(run, metric));
        }
        if let Some(memory) = memory {
            points.extend_from_slice(&memory.points);
        }
        if !range.is_all() {
            points.retain(|point| range.contains(point.step));
        }
        Ok(points)
    }

    /// A curve of at most `max` buckets. Where there are many points they come from the roll-ups,
    /// and a bucket at an end of `range` may then reach beyond it by up to a chunk.
    pub fn overview(
        &self,
        run: &str,
        metric: &str,
        range: StepRange,
        max: usize,
    ) -> Result<Vec<Bucket>, TrackError> {
        let max = max.max(1);
        let memory = self.memory(run, metric, false)?;
        let mut rollups = Vec::new();
        let from = memory.as_ref().map(|memory| memory.from);
        self.each_rollup(run, metric, from, |_, rollup| rollups.push(rollup))?;
        if let Some(memory) = memory {
            rollups.extend(memory.rollups);
        }
        rollups.retain(|rollup| range.overlaps(rollup.min_step, rollup.max_step));
        // Few chunks: their points make finer buckets, and reading them is fast.
        if rollups.len() < max {
            let expected = rollups.iter().map(|rollup| rollup.count).sum();
            rollups = self
                .points(run, metric, range, expected)?
                .iter()
                .filter_map(|point| Rollup::of(std::slice::from_ref(point)))
                .collect();
        }
        Ok(merge(&rollups, max))
    }

    fn chunk_range(&self, run: &str, metric: &str, before: Option<u64>) -> ScanRange {
        let all = ScanRange::prefix(key(run, metric, None));
        match before {
            Some(chunk) => all.to(key(run, metric, Some(chunk))),
            None => all,
        }
    }

    fn each_rollup(
        &self,
        run: &str,
        metric: &str,
        before: Option<u64>,
        mut visit: impl FnMut(&[u8], Rollup),
    ) -> Result<(), TrackError> {
        let mut broken = false;
        let range = self.chunk_range(run, metric, before);
        self.store
            .for_each(ROLLUPS, &range, |key, bytes| -> Result<_, StoreError> {
                match Rollup::decode(bytes) {
                    Some(rollup) if chunk_of(key).is_some() => {
                        visit(key, rollup);
                        Ok(ControlFlow::Continue(()))
                    }
                    _ => {
                        broken = true;
                        Ok(ControlFlow::Break(()))
                    }
                }
            })?;
        if broken {
            Err(damaged(run, metric))
        } else {
            Ok(())
        }
    }

    fn memory(
        &self,
        run: &str,
        metric: &str,
        with_points: bool,
    ) -> Result<Option<Memory>, TrackError> {
        let Some(entry) = self.loaded(run) else {
            return Ok(None);
        };
        let entry = entry.lock();
        let Some(series) = entry.series.get(metric) else {
            return Ok(None);
        };
        let mut memory = Memory {
            from: series.first_chunk(),
            points: Vec::new(),
            rollups: series.full.iter().map(|full| full.rollup).collect(),
        };
        memory.rollups.extend(Rollup::of(&series.tail));
        if with_points {
            for full in &series.full {
                chunk::decode(&full.bytes, &mut memory.points)
                    .ok_or_else(|| damaged(run, metric))?;
            }
            memory.points.extend_from_slice(&series.tail);
        }
        Ok(Some(memory))
    }
}

/// Joins neighbours so that at most `max` are left, of equal size as far as possible.
fn merge(rollups: &[Rollup], max: usize) -> Vec<Bucket> {
    let size = rollups.len().div_ceil(max).max(1);
    rollups
        .chunks(size)
        .filter_map(|group| {
            let (first, rest) = group.split_first()?;
            let mut joined = *first;
            for next in rest {
                joined.join(next);
            }
            Some(joined.bucket())
        })
        .collect()
}
