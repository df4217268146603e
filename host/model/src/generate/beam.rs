//! Beam search over one request's sequences.
//!
//! As in the usual practice (Wu et al. 2016, without coverage): hypotheses are compared by their
//! log-probability over their length; the search ends when as many are finished as there are beams and
//! none that runs can still be better.

use super::{Finish, choose};

/// A finished hypothesis.
pub(super) struct Hypothesis {
    pub(super) tokens: Vec<u32>,
    pub(super) log_probability: f64,
    pub(super) finish: Finish,
}

impl Hypothesis {
    /// What hypotheses are compared by.
    pub(super) fn score(&self) -> f64 {
        per_token(self.log_probability, self.tokens.len())
    }
}

/// A running beam's next state.
pub(super) struct Next {
    /// The beam it continues.
    pub(super) parent: usize,
    pub(super) token: u32,
    pub(super) log_probability: f64,
}

fn per_token(log_probability: f64, tokens: usize) -> f64 {
    log_probability / tokens.max(1) as f64
}

/// Extends all beams by one token. `beams`: each running beam's log-probability and the
/// log-probabilities of its next token; nothing where the constraint ended it. Ended ones go to
/// `finished`; the best others, at most `width`, come back, best first.
pub(super) fn extend(
    beams: &[(&[u32], f64, Option<&[f32]>)],
    stop: &[u32],
    width: usize,
    finished: &mut Vec<Hypothesis>,
) -> Vec<Next> {
    let mut all: Vec<Next> = Vec::new();
    for (parent, (tokens, log_probability, next)) in beams.iter().enumerate() {
        let Some(next) = next else {
            finished.push(Hypothesis {
                tokens: tokens.to_vec(),
                log_probability: *log_probability,
                finish: Finish::Constraint,
            });
            continue;
        };
        // Twice as many as beams: even if all ending tokens are among them, enough go on.
        for (token, p) in choose::best(next, 2 * width + stop.len()) {
            all.push(Next {
                parent,
                token,
                log_probability: log_probability + f64::from(p),
            });
        }
    }
    all.sort_by(|a, b| {
        b.log_probability
            .total_cmp(&a.log_probability)
            .then(a.parent.cmp(&b.parent))
            .then(a.token.cmp(&b.token))
    });
    let mut running = Vec::with_capacity(width);
    for (rank, next) in all.into_iter().enumerate() {
        if stop.contains(&next.token) {
            // An ending that is not among the best is no result.
            if rank < width {
                finished.push(Hypothesis {
                    tokens: beams[next.parent].0.to_vec(),
                    log_probability: next.log_probability,
                    finish: Finish::Stop,
                });
            }
        } else if running.len() < width {
            running.push(next);
        }
    }
    running
}

/// Keeps the best `width` finished hypotheses, and says whether the search is over.
pub(super) fn is_over(
    finished: &mut Vec<Hypothesis>,
    best_running: Option<(f64, usize)>,
    width: usize,
) -> bool {
    finished.sort_by(|a, b| b.score().total_cmp(&a.score()));
    finished.truncate(width);
    match (best_running, finished.last()) {
        (None, _) => true,
        (Some((log_probability, tokens)), Some(worst)) if finished.len() >= width => {
            per_token(log_probability, tokens) <= worst.score()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_continuations_run_on_and_endings_finish() {
        let a: Vec<f32> = [0.1_f32, 0.6, 0.3].iter().map(|p| p.ln()).collect();
        let b: Vec<f32> = [0.7_f32, 0.2, 0.1].iter().map(|p| p.ln()).collect();
        let beams: [(&[u32], f64, Option<&[f32]>); 2] = [
            (&[5], 0.5_f64.ln(), Some(&a)),
            (&[6], 0.4_f64.ln(), Some(&b)),
        ];
        let mut finished = Vec::new();
        // Token 0 ends. Products: a1 0.30, b0 0.28 (end), a2 0.15, b1 0.08, a0 0.05 (end), b2 0.04.
        let running = extend(&beams, &[0], 2, &mut finished);
        let found: Vec<(usize, u32)> = running
            .iter()
            .map(|next| (next.parent, next.token))
            .collect();
        assert_eq!(found, [(0, 1), (0, 2)]);
        assert!((running[0].log_probability - 0.3_f64.ln()).abs() < 1e-6);
        assert_eq!(finished.len(), 1);
        assert_eq!(finished[0].tokens, [6]);
        assert!((finished[0].log_probability - 0.28_f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn a_search_ends_when_no_running_beam_can_win() {
        let done = |p: f64, tokens: usize| Hypothesis {
            tokens: vec![1; tokens],
            log_probability: p,
            finish: Finish::Stop,
        };
        let mut finished = vec![done(-4.0, 2), done(-1.0, 1)];
        assert!(!is_over(&mut finished, Some((-3.0, 2)), 2));
        assert!(is_over(&mut finished, Some((-5.0, 2)), 2));
        assert!((finished[0].score() + 1.0).abs() < 1e-12);
        assert!(is_over(&mut Vec::new(), None, 2));
        assert!(!is_over(&mut vec![done(-1.0, 1)], Some((-9.0, 1)), 2));
    }
}
