//! Scores of classes: which one wins, and what the probabilities are worth.

use crate::config::Scale;

/// The scores of all rows, with what follows from each row alone.
#[derive(Debug)]
pub(crate) struct Scores {
    width: usize,
    /// Row after row; probabilities where `judged`, else whatever the scores are.
    values: Vec<f64>,
    /// The class that wins in each row; of several, the first.
    pub(crate) winners: Vec<u32>,
    /// How many other classes score as much as the true one or more, for each row.
    pub(crate) above: Vec<u32>,
    /// What the probabilities are worth, where there are any.
    pub(crate) judged: Option<Judged>,
}

/// Proper scores of each row.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// −ln p of the true class, from 0 up.
    pub(crate) losses: Vec<f64>,
    /// Brier (1950): Σ (p − y)² over the classes, from 0 to 2; with two classes half of it, which is the
    /// square of one difference, from 0 to 1.
    pub(crate) briers: Vec<f64>,
}

impl Scores {
    /// Of rows of `width` scores and the true classes.
    pub(crate) fn new(mut values: Vec<f64>, width: usize, truth: &[u32], scale: Scale) -> Self {
        let mut winners = Vec::with_capacity(truth.len());
        let mut above = Vec::with_capacity(truth.len());
        let mut judged = (scale != Scale::Scores).then(Judged::default);
        for (scores, &class) in values.chunks_exact_mut(width.max(1)).zip(truth) {
            let own = scores[class as usize];
            winners.push(winner(scores));
            above.push(scores.iter().filter(|score| **score >= own).count() as u32 - 1);
            let Some(judged) = &mut judged else { continue };
            judged.losses.push(match scale {
                Scale::Logits => normalise(scores, own),
                // As scikit-learn does it: no single certain mistake makes everything infinite.
                _ => -own.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln(),
            });
            judged.briers.push(brier(scores, class));
        }
        Self {
            width,
            values,
            winners,
            above,
            judged,
        }
    }

    /// The score of a class in a row.
    pub(crate) fn get(&self, row: usize, class: u32) -> f64 {
        self.values[row * self.width + class as usize]
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }
}

/// The class with the greatest score; of several, the first.
fn winner(scores: &[f64]) -> u32 {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = class;
        }
    }
    best as u32
}

/// Makes probabilities of logits; −ln of the probability of the class with the logit `own`.
fn normalise(logits: &mut [f64], own: f64) -> f64 {
    let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for logit in logits.iter_mut() {
        *logit = (*logit - greatest).exp();
        sum += *logit;
    }
    for exponential in logits {
        *exponential /= sum;
    }
    greatest - own + sum.ln()
}

fn brier(probabilities: &[f64], class: u32) -> f64 {
    let terms = probabilities.iter().zip(0..).map(|(p, at)| {
        let truth = f64::from(u8::from(at == class));
        (p - truth).powi(2)
    });
    let sum: f64 = terms.sum();
    match probabilities.len() {
        2 => sum / 2.0,
        _ => sum,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn logits_become_probabilities_however_large_they_are() {
        let logits = vec![1000.0, 1000.0, -1e308, 0.0, 3.0_f64.ln(), f64::NEG_INFINITY];
        let scores = Scores::new(logits, 3, &[1, 0], Scale::Logits);
        assert_eq!([0, 1, 2].map(|class| scores.get(0, class)), [0.5, 0.5, 0.0]);
        assert!((scores.get(1, 1) - 0.75).abs() < 1e-15);
        assert_eq!(scores.winners, [0, 1]);
        // The first ties with its equal; ties count against it.
        assert_eq!(scores.above, [1, 1]);
        let judged = scores.judged.unwrap();
        assert!((judged.losses[0] - 2.0_f64.ln()).abs() < 1e-12);
        assert!((judged.losses[1] - 4.0_f64.ln()).abs() < 1e-12);
        assert!((judged.briers[0] - 0.5).abs() < 1e-12);
        assert!((judged.briers[1] - 2.0 * 0.75 * 0.75).abs() < 1e-12);
    }

    #[test]
    fn a_certain_mistake_costs_much_but_not_everything() {
        let scores = Scores::new(vec![1.0, 0.0], 2, &[1], Scale::Probabilities);
        let judged = scores.judged.unwrap();
        assert_eq!(judged.losses, [-f64::EPSILON.ln()]);
        assert_eq!(judged.briers, [1.0]);
        let scores = Scores::new(vec![7.0, -7.0], 2, &[1], Scale::Scores);
        assert!(scores.judged.is_none());
        assert_eq!((scores.get(0, 0), scores.width()), (7.0, 2));
    }
}
