//! Counts what a deployment does.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::{Counters, Latency};

/// Buckets of the distribution of latencies: each reaches √2 times as far as the one before it, the
/// first to 50 µs, the last to more than an hour.
const BUCKETS: usize = 54;
const FIRST: f64 = 50e-6;

/// Counters that many threads count with.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) requests: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) tokens: AtomicU64,
    pub(crate) prompt_tokens: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
    nanoseconds: AtomicU64,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            requests: AtomicU64::default(),
            errors: AtomicU64::default(),
            cancelled: AtomicU64::default(),
            refused: AtomicU64::default(),
            tokens: AtomicU64::default(),
            prompt_tokens: AtomicU64::default(),
            in_flight: AtomicU64::default(),
            buckets: std::array::from_fn(|_| AtomicU64::default()),
            nanoseconds: AtomicU64::default(),
        }
    }
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Where a bucket ends, in seconds.
fn end(bucket: usize) -> f64 {
    FIRST * std::f64::consts::SQRT_2.powi(bucket as i32)
}

impl Meter {
    /// An answer that took this long.
    pub(crate) fn took(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = (0..BUCKETS - 1).find(|&bucket| seconds <= end(bucket));
        count(&self.buckets[bucket.unwrap_or(BUCKETS - 1)]);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    /// As others see it.
    pub(crate) fn read(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        Counters {
            requests: read(&self.requests),
            errors: read(&self.errors),
            cancelled: read(&self.cancelled),
            refused: read(&self.refused),
            tokens: read(&self.tokens),
            prompt_tokens: read(&self.prompt_tokens),
            in_flight: read(&self.in_flight),
            latency: self.latency(),
        }
    }

    fn latency(&self) -> Latency {
        let counts: Vec<u64> = self.buckets.iter().map(|b| b.load(Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let quantile = |share: f64| {
            let wanted = share * total as f64;
            let mut below = 0.0;
            for (bucket, &count) in counts.iter().enumerate() {
                let count = count as f64;
                if count > 0.0 && below + count >= wanted {
                    let start = if bucket == 0 { 0.0 } else { end(bucket - 1) };
                    return start + (end(bucket) - start) * (wanted - below) / count;
                }
                below += count;
            }
            0.0
        };
        Latency {
            count: total,
            sum: self.nanoseconds.load(Relaxed) as f64 * 1e-9,
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_near_the_durations() {
        let meter = Meter::default();
        assert_eq!(meter.read().latency, Latency::default());
        for milliseconds in 1..=100 {
            meter.took(Duration::from_millis(milliseconds));
        }
        let found = meter.read().latency;
        assert_eq!(found.count, 100);
        assert!((found.sum - 5.05).abs() < 1e-6, "{found:?}");
        for (found, expected) in [(found.p50, 0.050), (found.p95, 0.095), (found.p99, 0.099)] {
            assert!(
                (found / expected - 1.0).abs() < 0.2,
                "{found} for {expected}"
            );
        }
        assert!(end(BUCKETS - 1) > 3600.0);
        meter.took(Duration::from_secs(1_000_000));
        meter.took(Duration::ZERO);
        assert_eq!(meter.read().latency.count, 102);
    }
}
