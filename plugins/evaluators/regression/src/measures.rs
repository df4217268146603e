//! Measures of predicted numbers, for rows that count as often as weights say.

/// The true and predicted numbers of one target, with what does not change from draw to draw.
#[derive(Debug)]
pub(crate) struct Pairs {
    pub(crate) truth: Vec<f64>,
    pub(crate) predicted: Vec<f64>,
    /// The rows by rising absolute error.
    by_error: Vec<u32>,
    truth_order: Ascending,
    predicted_order: Ascending,
    /// Whether a true number is 0, so that no error is a share of it.
    has_zero: bool,
}

/// One number.
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    /// NaN: not defined for these rows.
    pub(crate) value: f64,
    pub(crate) higher_is_better: bool,
}

impl Pairs {
    pub(crate) fn new(truth: Vec<f64>, predicted: Vec<f64>) -> Self {
        let error = |row: &u32| (truth[*row as usize] - predicted[*row as usize]).abs();
        let mut by_error: Vec<u32> = (0..truth.len() as u32).collect();
        by_error.sort_unstable_by(|a, b| error(a).total_cmp(&error(b)));
        Self {
            truth_order: Ascending::new(&truth),
            predicted_order: Ascending::new(&predicted),
            has_zero: truth.contains(&0.0),
            by_error,
            truth,
            predicted,
        }
    }

    /// The row's error: predicted less true.
    pub(crate) fn error(&self, row: usize) -> f64 {
        self.predicted[row] - self.truth[row]
    }

    /// The rows with the greatest errors, those first.
    pub(crate) fn worst(&self, most: usize) -> impl Iterator<Item = usize> {
        self.by_error
            .iter()
            .rev()
            .take(most)
            .map(|row| *row as usize)
    }

    /// Every measure of rows that count as often as `weights` says; in a draw some are not computed.
    pub(crate) fn measure(&self, weights: &[f64], draw: bool) -> Vec<Measure> {
        let rows: f64 = weights.iter().sum();
        let (mut absolute, mut squared, mut relative) = (0.0, 0.0, 0.0);
        for (row, weight) in weights.iter().enumerate() {
            let error = self.error(row);
            absolute += weight * error.abs();
            squared += weight * error * error;
            relative += weight * (error / self.truth[row]).abs();
        }
        let truth = Moments::new(&self.truth, weights);
        let errors: Vec<f64> = (0..self.truth.len()).map(|row| self.error(row)).collect();
        let errors = Moments::new(&errors, weights);
        let lower = |name, value| Measure {
            name,
            value,
            higher_is_better: false,
        };
        let higher = |name, value| Measure {
            name,
            value,
            higher_is_better: true,
        };
        vec![
            lower("mae", absolute / rows),
            lower("rmse", (squared / rows).sqrt()),
            lower("mse", squared / rows),
            lower("median_absolute_error", self.median(weights)),
            // The greatest of a draw is never more than the greatest: the bootstrap has no interval.
            lower("max_error", if draw { f64::NAN } else { self.greatest() }),
            lower(
                "mape",
                if self.has_zero {
                    f64::NAN
                } else {
                    relative / rows
                },
            ),
            higher("r2", explained(squared, truth.squares, rows)),
            higher(
                "explained_variance",
                explained(errors.squares, truth.squares, rows),
            ),
            higher(
                "pearson",
                correlation(&self.truth, &self.predicted, weights),
            ),
            higher("spearman", self.spearman(weights)),
        ]
    }

    fn greatest(&self) -> f64 {
        let last = self.by_error.last();
        last.map_or(f64::NAN, |row| self.error(*row as usize).abs())
    }

    /// The middle of the absolute errors, or the mean of the two in the middle.
    fn median(&self, weights: &[f64]) -> f64 {
        let half = weights.iter().sum::<f64>() / 2.0;
        let mut before = 0.0;
        let mut lower = None;
        for &row in &self.by_error {
            let weight = weights[row as usize];
            if weight == 0.0 {
                continue;
            }
            let error = self.error(row as usize).abs();
            before += weight;
            match lower {
                Some(lower) => return f64::midpoint(lower, error),
                None if before > half => return error,
                None if before == half => lower = Some(error),
                None => {}
            }
        }
        f64::NAN
    }

    /// Spearman's correlation: Pearson's of the ranks, where equal numbers share the mean of theirs;
    /// from −1 to 1. NaN where either side has one number only.
    fn spearman(&self, weights: &[f64]) -> f64 {
        let truth = self.truth_order.ranks(weights);
        let predicted = self.predicted_order.ranks(weights);
        correlation(&truth, &predicted, weights)
    }
}

/// 1 − unexplained/all: how much of the variation about the mean is explained, up to 1. Where the true
/// numbers do not vary it is 1 if nothing is left unexplained and 0 if something is; NaN for fewer than
/// two rows.
fn explained(unexplained: f64, all: f64, rows: f64) -> f64 {
    if rows < 2.0 {
        f64::NAN
    } else if all > 0.0 {
        1.0 - unexplained / all
    } else {
        f64::from(u8::from(unexplained == 0.0))
    }
}

/// The mean, and the sum of the squared differences from it.
struct Moments {
    mean: f64,
    squares: f64,
}

impl Moments {
    fn new(values: &[f64], weights: &[f64]) -> Self {
        // Rounding would leave a little variance where there is none.
        if let Some(mean) = constant(values, weights) {
            return Self { mean, squares: 0.0 };
        }
        let rows: f64 = weights.iter().sum();
        let weighted = || values.iter().zip(weights);
        let rough = weighted()
            .map(|(value, weight)| value * weight)
            .sum::<f64>()
            / rows;
        // The second pass mends what rounding did to a mean far from 0.
        let rest = weighted().map(|(value, weight)| (value - rough) * weight);
        let mean = rough + rest.sum::<f64>() / rows;
        let squares = weighted().map(|(value, weight)| weight * (value - mean).powi(2));
        Self {
            mean,
            squares: squares.sum(),
        }
    }
}

/// Pearson's correlation, from −1 to 1; NaN where either side does not vary.
fn correlation(one: &[f64], other: &[f64], weights: &[f64]) -> f64 {
    let (first, second) = (Moments::new(one, weights), Moments::new(other, weights));
    if first.squares == 0.0 || second.squares == 0.0 {
        return f64::NAN;
    }
    let products = one.iter().zip(other).zip(weights);
    let together: f64 = products
        .map(|((a, b), weight)| weight * (a - first.mean) * (b - second.mean))
        .sum();
    (together / (first.squares.sqrt() * second.squares.sqrt())).clamp(-1.0, 1.0)
}

/// The value, where all that count are one.
fn constant(values: &[f64], weights: &[f64]) -> Option<f64> {
    let mut there = values
        .iter()
        .zip(weights)
        .filter(|(_, weight)| **weight > 0.0);
    let (first, _) = there.next()?;
    there.all(|(value, _)| value == first).then_some(*first)
}

/// The rows by rising value; equal values come together.
#[derive(Debug)]
struct Ascending {
    order: Vec<u32>,
    /// Where each group of equal values ends in `order`.
    ends: Vec<u32>,
}

impl Ascending {
    fn new(values: &[f64]) -> Self {
        // Adding 0 makes one zero of the two; there are no NaNs.
        let value = |row: &u32| values[*row as usize] + 0.0;
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        order.sort_unstable_by(|a, b| value(a).total_cmp(&value(b)));
        let mut ends = Vec::new();
        let mut at = 0;
        for group in order.chunk_by(|a, b| value(a) == value(b)) {
            at += group.len() as u32;
            ends.push(at);
        }
        Self { order, ends }
    }

    /// The rank of every row among rows that count as often as `weights` says.
    fn ranks(&self, weights: &[f64]) -> Vec<f64> {
        let mut ranks = vec![0.0; self.order.len()];
        let (mut from, mut before) = (0, 0.0);
        for &end in &self.ends {
            let group = &self.order[from..end as usize];
            let equal: f64 = group.iter().map(|row| weights[*row as usize]).sum();
            for row in group {
                ranks[*row as usize] = before + f64::midpoint(1.0, equal);
            }
            before += equal;
            from = end as usize;
        }
        ranks
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn value(measures: &[Measure], name: &str) -> f64 {
        measures.iter().find(|m| m.name == name).unwrap().value
    }

    #[track_caller]
    fn is(measures: &[Measure], name: &str, expected: f64) {
        let found = value(measures, name);
        assert!(
            (found - expected).abs() < 1e-12,
            "{name}: {found}, expected {expected}"
        );
    }

    #[test]
    fn measures_are_the_textbooks() {
        let pairs = Pairs::new(vec![3.0, -0.5, 2.0, 7.0], vec![2.5, 0.0, 2.0, 8.0]);
        let found = pairs.measure(&[1.0; 4], false);
        is(&found, "mae", 0.5);
        is(&found, "mse", 0.375);
        is(&found, "rmse", 0.375_f64.sqrt());
        is(&found, "median_absolute_error", 0.5);
        is(&found, "max_error", 1.0);
        is(&found, "mape", (0.5 / 3.0 + 1.0 + 0.0 + 1.0 / 7.0) / 4.0);
        is(&found, "r2", 1.0 - 1.5 / 29.1875);
        is(&found, "explained_variance", 1.0 - (1.5 - 0.25) / 29.1875);
        is(&found, "spearman", 1.0);
        assert_eq!(pairs.worst(2).next(), Some(3));
    }

    #[test]
    fn weights_are_copies() {
        let copied = Pairs::new(
            vec![1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 5.0],
            vec![2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 4.0],
        );
        let few = Pairs::new(vec![3.0, 9.0, 1.0, 5.0, 2.0], vec![1.0, 0.0, 2.0, 4.0, 2.0]);
        let weights = [3.0, 0.0, 2.0, 1.0, 1.0];
        let one = copied.measure(&[1.0; 7], true);
        for (one, other) in one.iter().zip(few.measure(&weights, true)) {
            let same = (one.value - other.value).abs() < 1e-12;
            assert!(same || one.name == "max_error", "{}", one.name);
        }
    }

    #[test]
    fn what_is_not_defined_has_no_number() {
        let constant = Pairs::new(vec![0.1; 3], vec![0.1, 0.2, 0.3]).measure(&[1.0; 3], false);
        is(&constant, "r2", 0.0);
        is(&constant, "explained_variance", 0.0);
        let shifted = Pairs::new(vec![0.1; 20], vec![0.3; 20]).measure(&[1.0; 20], false);
        is(&shifted, "r2", 0.0);
        is(&shifted, "explained_variance", 1.0);
        for name in ["pearson", "spearman"] {
            assert!(value(&constant, name).is_nan(), "{name}");
        }
        let perfect = Pairs::new(vec![0.1; 3], vec![0.1; 3]).measure(&[1.0; 3], false);
        is(&perfect, "r2", 1.0);
        is(&perfect, "explained_variance", 1.0);
        let one = Pairs::new(vec![2.0], vec![3.0]).measure(&[1.0], false);
        assert!(value(&one, "r2").is_nan());
        is(&one, "median_absolute_error", 1.0);
        let zero = Pairs::new(vec![0.0, 1.0], vec![1.0, 1.0]).measure(&[1.0; 2], false);
        assert!(value(&zero, "mape").is_nan());
    }

    #[test]
    fn a_mean_far_from_zero_costs_no_digits() {
        let near: Vec<f64> = (0..1000).map(|at| f64::from(at % 17)).collect();
        let guess: Vec<f64> = near.iter().map(|value| value * 0.5 + 1.0).collect();
        let far = |values: &[f64]| values.iter().map(|value| value + 1e9).collect::<Vec<_>>();
        let weights = vec![1.0; 1000];
        let one = Pairs::new(far(&near), far(&guess)).measure(&weights, false);
        let other = Pairs::new(near, guess).measure(&weights, false);
        for name in ["r2", "pearson", "explained_variance"] {
            let apart = (value(&one, name) - value(&other, name)).abs();
            assert!(apart < 1e-9, "{name}: {apart}");
        }
    }
}
