//! Statistics for evaluators: means with bootstrap intervals.

use crate::host::Random;

/// A confidence interval at 95 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The mean; not a number where there is nothing to take it of.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The percentile interval of a statistic of `items` things, by the bootstrap: the statistic is
/// computed over `resamples` draws with replacement. It gets the indices of the things drawn.
///
/// Nothing where there are no things, or where a draw has no finite value.
pub fn bootstrap(
    items: usize,
    resamples: usize,
    random: &mut Random,
    mut statistic: impl FnMut(&[usize]) -> f64,
) -> Option<Interval> {
    if items == 0 || resamples == 0 {
        return None;
    }
    let mut drawn = vec![0; items];
    let mut values = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        drawn.fill_with(|| random.below(items));
        let value = statistic(&drawn);
        if !value.is_finite() {
            return None;
        }
        values.push(value);
    }
    values.sort_unstable_by(f64::total_cmp);
    Some(Interval {
        low: quantile(&values, 0.025),
        high: quantile(&values, 0.975),
    })
}

/// The interval of a mean.
pub fn bootstrap_mean(values: &[f64], resamples: usize, random: &mut Random) -> Option<Interval> {
    bootstrap(values.len(), resamples, random, |drawn| {
        drawn.iter().map(|&i| values[i]).sum::<f64>() / drawn.len() as f64
    })
}

/// The interval of a ratio of sums: tokens right of tokens, likelihood over characters, …
pub fn bootstrap_ratio(
    numerators: &[f64],
    denominators: &[f64],
    resamples: usize,
    random: &mut Random,
) -> Option<Interval> {
    bootstrap(
        numerators.len().min(denominators.len()),
        resamples,
        random,
        |drawn| {
            let (above, below) = drawn.iter().fold((0.0, 0.0), |(above, below), &i| {
                (above + numerators[i], below + denominators[i])
            });
            above / below
        },
    )
}

/// Linear between the neighbours, as NumPy's default. `sorted` is not empty.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * at.fract()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quantiles_are_numpys() {
        // numpy.quantile([1, 2, 4, 8], [0.025, 0.5, 0.975])
        let sorted = [1.0, 2.0, 4.0, 8.0];
        for (q, expected) in [(0.025, 1.075), (0.5, 3.0), (0.975, 7.7)] {
            assert!((quantile(&sorted, q) - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn the_interval_of_a_mean_is_near_the_normal_one() {
        let mut random = Random::new(1);
        let values: Vec<f64> = (0..400).map(|_| random.uniform()).collect();
        let interval = bootstrap_mean(&values, 2000, &mut random).unwrap();
        // The standard error of a mean of 400 uniform numbers is sqrt(1/12/400) = 0.01443.
        let half = (interval.high - interval.low) / 2.0;
        assert!((half - 1.96 * 0.01443).abs() < 0.003, "{half}");
        assert!((f64::midpoint(interval.low, interval.high) - mean(&values)).abs() < 0.002);
    }

    #[test]
    fn nothing_has_no_interval() {
        assert_eq!(bootstrap_mean(&[], 100, &mut Random::new(1)), None);
        assert_eq!(
            bootstrap_ratio(&[1.0], &[0.0], 100, &mut Random::new(1)),
            None
        );
    }
}
