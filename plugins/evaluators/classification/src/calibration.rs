//! Calibration: whether what is said with 80 % is so in 80 of 100 rows.

use tenon_sdk::stats;

use crate::config::Bands;

/// The rows whose confidence lies between two bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Band {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) rows: u64,
    /// The mean confidence.
    pub(crate) confidence: f64,
    /// The share of the rows in which it was so.
    pub(crate) share: f64,
}

/// Lays `count` bands over the confidences; those without rows are left out. A confidence on a border
/// belongs to the lower band.
pub(crate) fn bands(
    confidences: &[f64],
    so: impl Fn(usize) -> bool,
    count: usize,
    laid: Bands,
) -> Vec<Band> {
    let borders: Vec<f64> = match laid {
        Bands::Uniform => (0..=count).map(|at| at as f64 / count as f64).collect(),
        Bands::Quantile => {
            let mut sorted = confidences.to_vec();
            sorted.sort_unstable_by(f64::total_cmp);
            (0..=count)
                .map(|at| stats::quantile(&sorted, at as f64 / count as f64))
                .collect()
        }
    };
    let mut sums = vec![(0_u64, 0.0, 0_u64); count];
    let inner = borders.get(1..count).unwrap_or_default();
    for (row, confidence) in confidences.iter().enumerate() {
        let (rows, sum, right) = &mut sums[inner.partition_point(|border| border < confidence)];
        *rows += 1;
        *sum += confidence;
        *right += u64::from(so(row));
    }
    let filled = sums.iter().enumerate().filter(|(_, (rows, ..))| *rows > 0);
    filled
        .map(|(at, &(rows, sum, right))| Band {
            from: borders[at],
            to: borders[at + 1],
            rows,
            confidence: sum / rows as f64,
            share: right as f64 / rows as f64,
        })
        .collect()
}

/// The expected calibration error (Naeini et al. 2015), Σ rows/all · |share − confidence|, and the
/// greatest difference; both from 0 to 1. NaN where there are no rows.
pub(crate) fn errors(bands: &[Band]) -> (f64, f64) {
    let all: u64 = bands.iter().map(|band| band.rows).sum();
    let (mut expected, mut greatest) = (0.0, f64::NAN);
    for band in bands {
        let apart = (band.share - band.confidence).abs();
        expected += apart * band.rows as f64;
        greatest = apart.max(greatest);
    }
    (expected / all as f64, greatest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_hold_their_rows() {
        let confidences = [0.0, 0.25, 0.26, 0.9, 1.0];
        let found = bands(&confidences, |row| row > 2, 4, Bands::Uniform);
        let rows: Vec<_> = found.iter().map(|band| (band.from, band.rows)).collect();
        // 0.25 is the last of the first band.
        assert_eq!(rows, [(0.0, 2), (0.25, 1), (0.75, 2)]);
        assert_eq!((found[2].confidence, found[2].share), (0.95, 1.0));
        let (expected, greatest) = errors(&found);
        assert!((expected - (2.0 * 0.125 + 0.26 + 2.0 * 0.05) / 5.0).abs() < 1e-15);
        assert_eq!(greatest, 0.26);
    }

    #[test]
    fn quantiles_share_the_rows_evenly() {
        let confidences: Vec<f64> = (0..12).map(|at| 0.9 + f64::from(at) * 1e-3).collect();
        let found = bands(&confidences, |_| true, 4, Bands::Quantile);
        assert_eq!(
            found.iter().map(|band| band.rows).collect::<Vec<_>>(),
            [3; 4]
        );
        // All the same: one band.
        assert_eq!(bands(&[0.5; 7], |_| true, 4, Bands::Quantile).len(), 1);
        assert!(bands(&[], |_| true, 4, Bands::Quantile).is_empty());
        assert!(errors(&[]).0.is_nan());
    }
}
