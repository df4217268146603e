//! From logits to the next token.

use tenon_plugin::processor::Allowed;
use tenon_tensor::rng;

use super::Settings;

/// Logits become log-probabilities over the allowed tokens; what is not allowed is −∞.
///
/// Nothing is left if no token is allowed. The error names a token outside the vocabulary.
pub(super) fn normalise(
    logits: &[f32],
    allowed: &Allowed,
    forbidden: &[u32],
) -> Result<Option<Vec<f32>>, String> {
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
    let mut scores = match allowed {
        Allowed::Any => logits.to_vec(),
        Allowed::End => return Ok(None),
        Allowed::Only(tokens) => {
            let mut scores = vec![f32::NEG_INFINITY; logits.len()];
            for &token in tokens {
                let at = inside(token)?;
                scores[at] = logits[at];
            }
            scores
        }
        Allowed::Except(tokens) => {
            let mut scores = logits.to_vec();
            for &token in tokens {
                scores[inside(token)?] = f32::NEG_INFINITY;
            }
            scores
        }
        Allowed::Bias(biases) => {
            let mut scores = logits.to_vec();
            for &(token, bias) in biases {
                scores[inside(token)?] += bias;
            }
            scores
        }
    };
    for &token in forbidden {
        if let Some(score) = scores.get_mut(token as usize) {
            *score = f32::NEG_INFINITY;
        }
    }
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return Ok(None);
    }
    let sum: f64 = scores
        .iter()
        .map(|score| f64::from(score - max).exp())
        .sum();
    let log_sum = max + sum.ln() as f32;
    scores.iter_mut().for_each(|score| *score -= log_sum);
    Ok(Some(scores))
}

/// The next token: the likeliest, or drawn. `draw` is the number of the draw; the same seed and number
/// give the same token.
pub(super) fn sample(log_probabilities: &[f32], settings: &Settings, key: u64, draw: u64) -> u32 {
    if settings.temperature == 0.0 {
        return argmax(log_probabilities);
    }
    // Likeliest first; of equals the smaller id, so that the order is the same everywhere.
    let mut order: Vec<u32> = (0..log_probabilities.len() as u32)
        .filter(|&at| log_probabilities[at as usize] > f32::NEG_INFINITY)
        .collect();
    let at = |token: &u32| log_probabilities[*token as usize];
    let by = |a: &u32, b: &u32| at(b).total_cmp(&at(a)).then(a.cmp(b));
    if let Some(k) = settings.top_k.filter(|&k| k < order.len()) {
        order.select_nth_unstable_by(k, by);
        order.truncate(k);
    }
    order.sort_unstable_by(by);
    let Some(&first) = order.first() else {
        return argmax(log_probabilities);
    };
    let highest = at(&first);
    let mut weights: Vec<f64> = order
        .iter()
        .map(|token| f64::from((at(token) - highest) / settings.temperature).exp())
        .collect();
    if let Some(p) = settings.top_p {
        let total: f64 = weights.iter().sum();
        let mut reached = 0.0;
        let kept = weights.iter().position(|weight| {
            reached += weight / total;
            reached >= f64::from(p)
        });
        weights.truncate(kept.map_or(weights.len(), |kept| kept + 1));
    }
    let total: f64 = weights.iter().sum();
    let mut left = f64::from(rng::uniform_at(key, draw)) * total;
    for (weight, token) in weights.iter().zip(&order) {
        left -= weight;
        if left < 0.0 {
            return *token;
        }
    }
    order[weights.len() - 1]
}

/// The `n` likeliest tokens, best first.
pub(super) fn best(log_probabilities: &[f32], n: usize) -> Vec<(u32, f32)> {
    let mut order: Vec<(u32, f32)> = (0..)
        .zip(log_probabilities.iter().copied())
        .filter(|(_, p)| *p > f32::NEG_INFINITY)
        .collect();
    let by = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if n < order.len() {
        order.select_nth_unstable_by(n, by);
        order.truncate(n);
    }
    order.sort_unstable_by(by);
    order
}

fn argmax(log_probabilities: &[f32]) -> u32 {
    let mut best = 0;
    for (at, p) in log_probabilities.iter().enumerate() {
        if *p > log_probabilities[best] {
            best = at;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_tokens_keep_their_own_probabilities_renormalised() {
        let logits = [0.0_f32, 1.0, 2.0, 3.0];
        let only = normalise(&logits, &Allowed::Only(vec![1, 3]), &[])
            .ok()
            .flatten();
        let only = only.unwrap_or_default();
        // e¹ / (e¹ + e³) = 1 / (1 + e²)
        let expected = -(1.0_f64 + 2.0_f64.exp()).ln();
        assert!((f64::from(only[1]) - expected).abs() < 1e-6);
        assert_eq!(only[0], f32::NEG_INFINITY);
        assert_eq!(only[2], f32::NEG_INFINITY);
        let except = normalise(&logits, &Allowed::Except(vec![0, 2]), &[])
            .ok()
            .flatten();
        assert_eq!(except, Some(only));
    }

    #[test]
    fn nothing_allowed_is_an_end_and_a_foreign_token_an_error() {
        let logits = [0.0_f32; 4];
        assert_eq!(normalise(&logits, &Allowed::End, &[]), Ok(None));
        assert_eq!(normalise(&logits, &Allowed::Only(vec![]), &[]), Ok(None));
        assert_eq!(normalise(&logits, &Allowed::Only(vec![2]), &[2]), Ok(None));
        let error = normalise(&logits, &Allowed::Bias(vec![(4, 1.0)]), &[])
            .err()
            .unwrap_or_default();
        assert!(
            error.contains("token 4") && error.contains("has 4"),
            "{error}"
        );
    }

    #[test]
    fn samples_follow_their_probabilities() {
        let logits: Vec<f32> = [0.5_f32, 0.3, 0.15, 0.05].iter().map(|p| p.ln()).collect();
        let settings = Settings {
            temperature: 1.0,
            ..Settings::default()
        };
        let count = |settings: &Settings| {
            let mut counts = [0_u32; 4];
            for draw in 0..20_000 {
                counts[sample(&logits, settings, 7, draw) as usize] += 1;
            }
            counts.map(|count| f64::from(count) / 20_000.0)
        };
        for (found, expected) in count(&settings).iter().zip([0.5, 0.3, 0.15, 0.05]) {
            assert!((found - expected).abs() < 0.012, "{found} for {expected}");
        }
        // The two likeliest reach 0.7 of the probability.
        let found = count(&Settings {
            top_p: Some(0.7),
            ..settings.clone()
        });
        assert!(
            (found[0] - 0.625).abs() < 0.012 && found[2] == 0.0,
            "{found:?}"
        );
        let found = count(&Settings {
            top_k: Some(3),
            temperature: 0.5,
            ..settings
        });
        // Squares: 0.25, 0.09, 0.0225.
        assert!(
            (found[0] - 0.25 / 0.3625).abs() < 0.012 && found[3] == 0.0,
            "{found:?}"
        );
    }
}
