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

/// The percentile interval of a statistic of `items` things, by the bootstrap (Efron 1979): the
/// statistic is computed over `resamples` draws with replacement. It gets the indices of the things
/// drawn.
///
/// Draws in which the statistic has no finite value are left aside. Nothing where there are no things,
/// or where more than one draw in twenty is left aside: the ends of an interval of the rest would say
/// nothing about the statistic.
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
    let values = (0..resamples)
        .map(|_| {
            drawn.fill_with(|| random.below(items));
            statistic(&drawn)
        })
        .collect();
    percentile(values)
}

/// The intervals of several statistics of the same draws, as [`bootstrap`] of each. They get how often
/// each thing was drawn: what is computed as a weighted statistic once serves for the value (all
/// weights 1) and for its interval, and may sort the things once for all draws.
///
/// `statistics` answers the same number of values for every draw; NaN where one is not defined.
pub fn bootstrap_weights(
    items: usize,
    resamples: usize,
    random: &mut Random,
    mut statistics: impl FnMut(&[f64]) -> Vec<f64>,
) -> Vec<Option<Interval>> {
    let mut values: Vec<Vec<f64>> = Vec::new();
    let mut weights = vec![0.0; items];
    for _ in 0..if items == 0 { 0 } else { resamples } {
        weights.fill(0.0);
        for _ in 0..items {
            weights[random.below(items)] += 1.0;
        }
        let drawn = statistics(&weights);
        values.resize_with(drawn.len(), || Vec::with_capacity(resamples));
        for (of, value) in values.iter_mut().zip(drawn) {
            of.push(value);
        }
    }
    values.into_iter().map(percentile).collect()
}

/// The middle 95 % of the values that are finite.
fn percentile(mut values: Vec<f64>) -> Option<Interval> {
    let drawn = values.len();
    values.retain(|value| value.is_finite());
    if values.is_empty() || (drawn - values.len()) * 20 > drawn {
        return None;
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

/// Linear between the neighbours, as NumPy's default; NaN where there is nothing. `sorted` ascends, `q`
/// is from 0 to 1.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q.clamp(0.0, 1.0) * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    match (sorted.get(below), sorted.get(above)) {
        (Some(below), Some(above)) => below + (above - below) * at.fract(),
        _ => f64::NAN,
    }
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
    fn weights_draw_what_indices_draw() {
        let mut random = Random::new(4);
        let values: Vec<f64> = (0..300).map(|_| random.uniform()).collect();
        let by_index = bootstrap_mean(&values, 500, &mut Random::new(9));
        let by_weight = bootstrap_weights(300, 500, &mut Random::new(9), |weights| {
            assert_eq!(weights.iter().sum::<f64>(), 300.0);
            let sum: f64 = weights.iter().zip(&values).map(|(w, v)| w * v).sum();
            vec![sum / 300.0, f64::NAN]
        });
        let (one, other) = (by_index.unwrap(), by_weight[0].unwrap());
        assert!((one.low - other.low).abs() < 1e-12 && (one.high - other.high).abs() < 1e-12);
        assert_eq!(by_weight[1], None);
    }

    #[test]
    fn few_draws_without_a_value_are_left_aside_and_many_are_not() {
        let every = |nth: usize| {
            let mut draw = 0;
            bootstrap(5, 100, &mut Random::new(1), |drawn| {
                draw += 1;
                if draw % nth == 0 {
                    f64::NAN
                } else {
                    drawn[0] as f64
                }
            })
        };
        assert!(every(20).is_some());
        assert_eq!(every(10), None);
    }

    #[test]
    fn nothing_has_no_interval() {
        assert_eq!(bootstrap_mean(&[], 100, &mut Random::new(1)), None);
        assert_eq!(
            bootstrap_ratio(&[1.0], &[0.0], 100, &mut Random::new(1)),
            None
        );
        assert!(bootstrap_weights(0, 100, &mut Random::new(1), |_| vec![1.0]).is_empty());
        assert!(quantile(&[], 0.5).is_nan());
    }
}
