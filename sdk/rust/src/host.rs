//! What every plugin may call: log lines, progress and random numbers.
//!
//! Natively, lines go to standard error and random numbers follow from
//! [`testkit::set_seed`](crate::testkit::set_seed).

#[cfg(target_arch = "wasm32")]
use crate::bindings::host;
pub use crate::bindings::host::Level;

/// A line in the host's log, attributed to the plugin. The host limits the rate.
pub fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    host::log(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {message}");
}

/// A line for whoever debugs the plugin.
pub fn debug(message: &str) {
    log(Level::Debug, message);
}

/// A line for whoever watches.
pub fn info(message: &str) {
    log(Level::Info, message);
}

/// A line about something that should be looked at.
pub fn warn(message: &str) {
    log(Level::Warn, message);
}

/// A line about something that went wrong.
pub fn error(message: &str) {
    log(Level::Error, message);
}

/// How far the current call is.
pub fn progress(done: u64, total: Option<u64>, message: &str) {
    #[cfg(target_arch = "wasm32")]
    host::progress(done, total, message);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (done, total, message);
}

/// 64 random bits from the job's seed: the same job gives the same numbers.
pub fn random() -> u64 {
    #[cfg(target_arch = "wasm32")]
    return host::random();
    #[cfg(not(target_arch = "wasm32"))]
    return crate::testkit::random();
}

/// A generator of the plugin's own, cheaper than a call for each number (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Seeded by the host, so by the job.
    pub fn from_host() -> Self {
        Self(random())
    }

    /// Seeded by the caller.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    #[allow(
        clippy::should_implement_trait,
        reason = "an endless generator is no iterator"
    )]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// Uniform in `0..bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Puts the items in random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_gives_the_published_numbers() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn below_covers_its_range_evenly_and_nothing_else() {
        let mut random = Random::new(7);
        let mut seen = [0usize; 5];
        for _ in 0..10_000 {
            seen[random.below(5)] += 1;
        }
        assert!(seen.iter().all(|&n| (1800..2200).contains(&n)), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn a_shuffle_loses_nothing() {
        let mut items: Vec<u32> = (0..100).collect();
        Random::new(3).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
