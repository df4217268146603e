//! From a row of logits to the next token.
//!
//! Nothing here allocates in proportion to the vocabulary: what has to be kept of a row is kept in
//! [`Scratch`], which the engine owns.

use tenon_plugin::processor::Allowed;
use tenon_tensor::rng;

use super::Settings;

/// Tokens that are sorted first when the likeliest ones are looked for; four times as many if those do
/// not reach far enough.
const FIRST_SORTED: usize = 64;

/// Memory that rows share, one after the other.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    logits: Vec<f32>,
    weights: Vec<f32>,
    order: Vec<u32>,
}

/// The next token's distribution: logits and the logarithm of their exponentials' sum. A token that is
/// not allowed has −∞.
#[derive(Debug)]
pub(super) struct Distribution<'a> {
    logits: &'a [f32],
    log_sum: f32,
    weights: &'a mut Vec<f32>,
    order: &'a mut Vec<u32>,
}

/// What is allowed of a row. Nothing if no token is.
///
/// The error names a token outside the vocabulary.
pub(super) fn restrict<'a>(
    logits: &'a [f32],
    log_sum: f32,
    allowed: &Allowed,
    forbidden: &[u32],
    scratch: &'a mut Scratch,
) -> Result<Option<Distribution<'a>>, String> {
    let inside = |token: u32| {
        ((token as usize) < logits.len())
            .then_some(token as usize)
            .ok_or_else(|| {
                format!(
                    "it names token {token}, but the vocabulary has {}",
                    logits.len()
                )
            })
    };
    let Scratch {
        logits: own,
        weights,
        order,
    } = scratch;
    own.clear();
    match allowed {
        Allowed::End => return Ok(None),
        Allowed::Any => {
            if forbidden.is_empty() {
                return Ok(Some(Distribution {
                    logits,
                    log_sum,
                    weights,
                    order,
                }));
            }
            own.extend_from_slice(logits);
        }
        Allowed::Only(tokens) => {
            own.resize(logits.len(), f32::NEG_INFINITY);
            for &token in tokens {
                let at = inside(token)?;
                own[at] = logits[at];
            }
        }
        Allowed::Except(tokens) => {
            own.extend_from_slice(logits);
            for &token in tokens {
                own[inside(token)?] = f32::NEG_INFINITY;
            }
        }
        Allowed::Bias(biases) => {
            own.extend_from_slice(logits);
            for &(token, bias) in biases {
                own[inside(token)?] += bias;
            }
        }
    }
    for &token in forbidden {
        if let Some(logit) = own.get_mut(token as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
    let log_sum = log_sum_exp(own);
    Ok((log_sum > f32::NEG_INFINITY).then_some(Distribution {
        logits: own,
        log_sum,
        weights,
        order,
    }))
}

/// log Σ eˣ; −∞ for nothing but −∞.
fn log_sum_exp(logits: &[f32]) -> f32 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return max;
    }
    let finite = logits.iter().filter(|&&logit| logit > f32::NEG_INFINITY);
    let sum: f64 = finite.map(|logit| f64::from(logit - max).exp()).sum();
    (f64::from(max) + sum.ln()) as f32
}

impl Distribution<'_> {
    /// A token's natural-log probability.
    pub(super) fn log_probability(&self, token: u32) -> f32 {
        self.logits[token as usize] - self.log_sum
    }

    /// The next token: the likeliest, or drawn. `draw` is the number of the draw; the same seed and
    /// number give the same token.
    pub(super) fn sample(&mut self, settings: &Settings, key: u64, draw: u64) -> u32 {
        if settings.temperature == 0.0 {
            return self.likeliest();
        }
        let random = rng::uniform_at(key, draw);
        let top_k = settings.top_k.filter(|&k| k < self.logits.len());
        let top_p = settings.top_p.filter(|&p| p < 1.0);
        if top_k.is_none() && top_p.is_none() {
            return self.draw_of_all(settings.temperature, random);
        }
        self.draw_of_likeliest(settings.temperature, top_k, top_p, random)
    }

    /// Of equals the smaller id.
    fn likeliest(&self) -> u32 {
        let mut best = 0;
        for (at, logit) in self.logits.iter().enumerate() {
            if *logit > self.logits[best] {
                best = at;
            }
        }
        best as u32
    }

    /// e^((x − max) / temperature) of every token, and their sum.
    fn weigh(&mut self, temperature: f32) -> f64 {
        let max = self
            .logits
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, f32::max);
        self.weights.clear();
        self.weights.extend(self.logits.iter().map(|&logit| {
            if logit == f32::NEG_INFINITY {
                0.0
            } else {
                ((logit - max) / temperature).exp()
            }
        }));
        self.weights.iter().copied().map(f64::from).sum()
    }

    fn draw_of_all(&mut self, temperature: f32, random: f32) -> u32 {
        let total = self.weigh(temperature);
        let mut left = f64::from(random) * total;
        let mut last = 0;
        for (at, &weight) in self.weights.iter().enumerate() {
            if weight > 0.0 {
                left -= f64::from(weight);
                last = at as u32;
                if left < 0.0 {
                    break;
                }
            }
        }
        last
    }

    /// Draws among the `k` likeliest, and of these among those that reach `p`.
    fn draw_of_likeliest(
        &mut self,
        temperature: f32,
        top_k: Option<usize>,
        top_p: Option<f32>,
        random: f32,
    ) -> u32 {
        let all = self.weigh(temperature);
        let weights = &*self.weights;
        let order = &mut *self.order;
        let weight = |token: &u32| f64::from(weights[*token as usize]);
        // Of equals the smaller id first, so that the order is the same everywhere.
        let by = |a: &u32, b: &u32| {
            weights[*b as usize]
                .total_cmp(&weights[*a as usize])
                .then(a.cmp(b))
        };
        order.clear();
        order.extend((0..weights.len() as u32).filter(|&at| weights[at as usize] > 0.0));
        let most = top_k.unwrap_or(order.len()).min(order.len());
        let mut sorted = top_k.unwrap_or(FIRST_SORTED).min(most);
        let kept = loop {
            if sorted < order.len() {
                order.select_nth_unstable_by(sorted, by);
            }
            order[..sorted].sort_unstable_by(by);
            let Some(p) = top_p else { break sorted };
            let total = match top_k {
                Some(_) => order[..sorted].iter().map(weight).sum(),
                None => all,
            };
            let mut reached = 0.0;
            let enough = order[..sorted].iter().position(|token| {
                reached += weight(token);
                reached >= f64::from(p) * total
            });
            match enough {
                Some(at) => break at + 1,
                None if sorted == most => break most,
                None => sorted = (4 * sorted).min(most),
            }
        };
        let kept = &order[..kept];
        let total: f64 = kept.iter().map(weight).sum();
        let mut left = f64::from(random) * total;
        for token in kept {
            left -= weight(token);
            if left < 0.0 {
                return *token;
            }
        }
        kept.last().copied().unwrap_or_default()
    }

    /// The `n` likeliest tokens and their natural-log probabilities, best first; of equals the smaller id
    /// first. Tokens that are not allowed are not among them.
    pub(super) fn best(&self, n: usize) -> Vec<(u32, f32)> {
        let mut best: Vec<(u32, f32)> = Vec::with_capacity(n + 1);
        let mut worst = f32::NEG_INFINITY;
        for (token, &logit) in (0_u32..).zip(self.logits) {
            if logit > worst {
                let at = best.partition_point(|(_, other)| *other >= logit);
                best.insert(at, (token, logit));
                if best.len() > n {
                    best.pop();
                }
                if best.len() == n {
                    worst = best.last().map_or(f32::INFINITY, |(_, logit)| *logit);
                }
            }
        }
        best.iter_mut()
            .for_each(|(_, logit)| *logit -= self.log_sum);
        best
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What is left of `logits`, as log-probabilities.
    fn rest(logits: &[f32], allowed: &Allowed, forbidden: &[u32]) -> Option<Vec<f32>> {
        let mut scratch = Scratch::default();
        let found = restrict(
            logits,
            log_sum_exp(logits),
            allowed,
            forbidden,
            &mut scratch,
        );
        let found = found.unwrap()?;
        Some(
            (0..logits.len() as u32)
                .map(|token| found.log_probability(token))
                .collect(),
        )
    }

    #[test]
    fn allowed_tokens_keep_their_own_probabilities_renormalised() {
        let logits = [0.0_f32, 1.0, 2.0, 3.0];
        let only = rest(&logits, &Allowed::Only(vec![1, 3, 3]), &[]).unwrap();
        // e¹ / (e¹ + e³) = 1 / (1 + e²)
        let expected = -(1.0_f64 + 2.0_f64.exp()).ln();
        assert!((f64::from(only[1]) - expected).abs() < 1e-6);
        assert_eq!(only[0], f32::NEG_INFINITY);
        assert_eq!(only[2], f32::NEG_INFINITY);
        let except = rest(&logits, &Allowed::Except(vec![0, 2]), &[]).unwrap();
        assert_eq!(except, only);
        let forbidden = rest(&logits, &Allowed::Any, &[0, 2, 99]).unwrap();
        assert_eq!(forbidden, only);
        let biased = Allowed::Bias(vec![(0, f32::NEG_INFINITY), (2, f32::NEG_INFINITY)]);
        assert_eq!(rest(&logits, &biased, &[]).unwrap(), only);
    }

    #[test]
    fn nothing_allowed_is_an_end_and_a_foreign_token_an_error() {
        let logits = [0.0_f32; 4];
        assert_eq!(rest(&logits, &Allowed::End, &[]), None);
        assert_eq!(rest(&logits, &Allowed::Only(vec![]), &[]), None);
        assert_eq!(rest(&logits, &Allowed::Only(vec![2]), &[2]), None);
        let mut scratch = Scratch::default();
        for allowed in [
            Allowed::Bias(vec![(4, 1.0)]),
            Allowed::Only(vec![4]),
            Allowed::Except(vec![4]),
        ] {
            let error = restrict(&logits, 0.0, &allowed, &[], &mut scratch).unwrap_err();
            assert!(
                error.contains("token 4") && error.contains("has 4"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_best_are_the_best_of_a_sorted_row() {
        let logits: Vec<f32> = (0..500)
            .map(|at| (rng::uniform_at(3, at) * 50.0).floor())
            .collect();
        let mut scratch = Scratch::default();
        let log_sum = log_sum_exp(&logits);
        let found = restrict(&logits, log_sum, &Allowed::Any, &[], &mut scratch);
        let mut sorted: Vec<(u32, f32)> = (0..).zip(logits.iter().map(|x| x - log_sum)).collect();
        sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let found = found.unwrap().unwrap();
        for n in [0, 1, 7, 130, 499, 500, 501] {
            assert_eq!(found.best(n), sorted[..n.min(500)], "{n}");
        }
    }

    /// How often each token is drawn.
    fn frequencies(logits: &[f32], settings: &Settings) -> Vec<f64> {
        const DRAWS: u64 = 40_000;
        let mut counts = vec![0_u32; logits.len()];
        let mut scratch = Scratch::default();
        let log_sum = log_sum_exp(logits);
        for draw in 0..DRAWS {
            let mut row = restrict(logits, log_sum, &Allowed::Any, &[], &mut scratch)
                .unwrap()
                .unwrap();
            counts[row.sample(settings, 7, draw) as usize] += 1;
        }
        counts
            .into_iter()
            .map(|count| f64::from(count) / DRAWS as f64)
            .collect()
    }

    fn near(found: &[f64], expected: &[f64]) {
        for (found, expected) in found.iter().zip(expected) {
            // Four standard deviations of a frequency.
            let room = 4.0 * (expected * (1.0 - expected) / 40_000.0).sqrt();
            assert!((found - expected).abs() <= room, "{found} for {expected}");
        }
    }

    #[test]
    fn samples_follow_their_probabilities() {
        let logits: Vec<f32> = [0.15_f32, 0.5, 0.05, 0.3].iter().map(|p| p.ln()).collect();
        let settings = Settings {
            temperature: 1.0,
            ..Settings::default()
        };
        near(&frequencies(&logits, &settings), &[0.15, 0.5, 0.05, 0.3]);
        // The two likeliest reach 0.7 of the probability.
        let p = Settings {
            top_p: Some(0.7),
            ..settings.clone()
        };
        near(&frequencies(&logits, &p), &[0.0, 0.625, 0.0, 0.375]);
        let k = Settings {
            top_k: Some(3),
            temperature: 0.5,
            ..settings.clone()
        };
        // Squares: 0.25, 0.09, 0.0225.
        let expected = [0.0225, 0.25, 0.0, 0.09].map(|square| square / 0.3625);
        near(&frequencies(&logits, &k), &expected);
        // Of the three likeliest (0.95 in all), the two likeliest reach 0.8.
        let both = Settings {
            top_k: Some(3),
            top_p: Some(0.8),
            ..settings.clone()
        };
        near(&frequencies(&logits, &both), &[0.0, 0.625, 0.0, 0.375]);
        // Everything.
        let all = Settings {
            top_k: Some(4),
            top_p: Some(1.0),
            ..settings
        };
        near(&frequencies(&logits, &all), &[0.15, 0.5, 0.05, 0.3]);
    }

    #[test]
    fn a_flat_row_is_followed_as_far_as_p_asks() {
        // More tokens than are sorted at first.
        let logits = vec![0.0_f32; 1000];
        let settings = Settings {
            temperature: 1.0,
            top_p: Some(0.3),
            ..Settings::default()
        };
        let found = frequencies(&logits, &settings);
        assert!(found[301..].iter().all(|&f| f == 0.0));
        let total: f64 = found[..301].iter().sum();
        assert!((total - 1.0).abs() < 1e-9);
        assert!(
            found[..299].iter().all(|&f| f > 0.001),
            "{:?}",
            &found[..10]
        );
    }
}
