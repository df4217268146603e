//! Beam search over one request's sequences.
//!
//! As in the usual practice (Wu et al. 2016, without coverage): hypotheses are compared by their
//! log-probability over their length; the search ends when as many are finished as there are beams and
//! the best that runs is no better, so far, than the worst of them.

use super::Finish;

/// A finished hypothesis.
pub(super) struct Hypothesis {
    pub(super) tokens: Vec<u32>,
    pub(super) log_probability: f64,
    pub(super) finish: Finish,
}

impl Hypothesis {
    /// What hypotheses are compared by. The token that ended it was chosen too.
    pub(super) fn score(&self) -> f64 {
        let chosen = self.tokens.len() + usize::from(self.finish == Finish::Stop);
        per_token(self.log_probability, chosen)
    }
}

/// A running beam.
pub(super) struct Beam<'a> {
    pub(super) tokens: &'a [u32],
    pub(super) log_probability: f64,
    /// The likeliest next tokens with their log-probabilities, best first, at least [`wanted`] of them
    /// where there are as many; nothing where the constraint ended it.
    pub(super) next: Option<Vec<(u32, f32)>>,
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

/// Next tokens that each beam is asked for. Twice as many as beams: even if all ending tokens are among
/// them, enough go on.
pub(super) fn wanted(width: usize, stop: &[u32]) -> usize {
    2 * width + stop.len()
}

/// Extends all beams by one token. Ended ones go to `finished`; the best others, at most `width`, come
/// back, best first.
pub(super) fn extend(
    beams: &[Beam],
    stop: &[u32],
    width: usize,
    finished: &mut Vec<Hypothesis>,
) -> Vec<Next> {
    let mut all: Vec<Next> = Vec::new();
    for (parent, beam) in beams.iter().enumerate() {
        let Some(next) = &beam.next else {
            finished.push(Hypothesis {
                tokens: beam.tokens.to_vec(),
                log_probability: beam.log_probability,
                finish: Finish::Constraint,
            });
            continue;
        };
        all.extend(next.iter().map(|&(token, p)| Next {
            parent,
            token,
            log_probability: beam.log_probability + f64::from(p),
        }));
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
                    tokens: beams[next.parent].tokens.to_vec(),
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

    fn next(probabilities: [f32; 3]) -> Option<Vec<(u32, f32)>> {
        let mut next: Vec<(u32, f32)> = (0..).zip(probabilities.map(f32::ln)).collect();
        next.sort_by(|a, b| b.1.total_cmp(&a.1));
        Some(next)
    }

    #[test]
    fn the_best_continuations_run_on_and_endings_finish() {
        let beams = [
            Beam {
                tokens: &[5],
                log_probability: 0.5_f64.ln(),
                next: next([0.1, 0.6, 0.3]),
            },
            Beam {
                tokens: &[6],
                log_probability: 0.4_f64.ln(),
                next: next([0.7, 0.2, 0.1]),
            },
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
        // Two tokens were chosen: the 6 and the end.
        assert!((finished[0].score() - 0.28_f64.ln() / 2.0).abs() < 1e-6);
    }

    #[test]
    fn a_beam_that_the_constraint_ended_is_a_result() {
        let beams = [Beam {
            tokens: &[5, 6],
            log_probability: -3.0,
            next: None,
        }];
        let mut finished = Vec::new();
        assert!(extend(&beams, &[0], 2, &mut finished).is_empty());
        assert_eq!(finished[0].finish, Finish::Constraint);
        assert!((finished[0].score() + 1.5).abs() < 1e-12);
    }

    #[test]
    fn a_search_ends_when_no_running_beam_is_better() {
        let done = |p: f64, tokens: usize| Hypothesis {
            tokens: vec![1; tokens],
            log_probability: p,
            finish: Finish::Length,
        };
        let mut finished = vec![done(-4.0, 2), done(-1.0, 1)];
        assert!(!is_over(&mut finished, Some((-3.0, 2)), 2));
        assert!(is_over(&mut finished, Some((-5.0, 2)), 2));
        assert!((finished[0].score() + 1.0).abs() < 1e-12);
        assert!(is_over(&mut Vec::new(), None, 2));
        assert!(!is_over(&mut vec![done(-1.0, 1)], Some((-9.0, 1)), 2));
    }
}
