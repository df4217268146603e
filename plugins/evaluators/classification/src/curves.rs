//! The curves of one class against all others: what is found, at what price, as the bar for its score
//! falls.

use crate::scores::Scores;

/// The rows by falling score of a class. Rows of one score come together: no bar parts them.
#[derive(Debug)]
pub(crate) struct Ranking {
    class: u32,
    order: Vec<u32>,
    /// Where each group of equal scores ends in `order`.
    ends: Vec<u32>,
}

/// The areas under the curves; NaN where they are not defined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Areas {
    /// Under the ROC curve by trapezoids: how likely a row of the class scores above another (ties count
    /// half), from 0 to 1. Needs both kinds of rows.
    pub(crate) roc: f64,
    /// Average precision, Σ (Rₙ − Rₙ₋₁) Pₙ, from 0 to 1. Needs rows of the class.
    pub(crate) precision: f64,
}

/// The curves themselves.
#[derive(Debug, PartialEq)]
pub(crate) struct Curves {
    /// False positive rate and true positive rate, from (0, 0) to (1, 1).
    pub(crate) roc: Vec<[f64; 2]>,
    /// Recall and precision.
    pub(crate) precision: Vec<[f64; 2]>,
}

impl Ranking {
    pub(crate) fn new(scores: &Scores, class: u32, rows: usize) -> Self {
        let score = |row: &u32| scores.get(*row as usize, class);
        let mut order: Vec<u32> = (0..rows as u32).collect();
        // Adding 0 makes one zero of the two; there are no NaNs.
        order.sort_unstable_by(|a, b| (score(b) + 0.0).total_cmp(&(score(a) + 0.0)));
        let mut ends = Vec::new();
        let mut at = 0;
        for group in order.chunk_by(|a, b| score(a) == score(b)) {
            at += group.len() as u32;
            ends.push(at);
        }
        Self { class, order, ends }
    }

    /// The counts of the class's rows and of others, above each bar.
    fn walk(&self, truth: &[u32], weights: &[f64], mut each: impl FnMut(f64, f64)) {
        let (mut hits, mut others) = (0.0, 0.0);
        let mut from = 0;
        for &end in &self.ends {
            for &row in &self.order[from..end as usize] {
                let weight = weights[row as usize];
                if truth[row as usize] == self.class {
                    hits += weight;
                } else {
                    others += weight;
                }
            }
            from = end as usize;
            each(hits, others);
        }
    }

    /// The areas for rows that count as often as `weights` says.
    pub(crate) fn areas(&self, truth: &[u32], weights: &[f64]) -> Areas {
        let (mut roc, mut precision) = (0.0, 0.0);
        let (mut hits, mut others) = (0.0, 0.0);
        self.walk(truth, weights, |more_hits, more_others| {
            roc += (more_others - others) * (hits + more_hits) / 2.0;
            if more_hits > hits {
                precision += (more_hits - hits) * more_hits / (more_hits + more_others);
            }
            (hits, others) = (more_hits, more_others);
        });
        let defined = |is: bool, value: f64| if is { value } else { f64::NAN };
        Areas {
            roc: defined(hits > 0.0 && others > 0.0, roc / (hits * others)),
            precision: defined(hits > 0.0, precision / hits),
        }
    }

    /// The points of the curves, without those in the middle of a straight line.
    pub(crate) fn curves(&self, truth: &[u32]) -> Curves {
        let ones = vec![1.0; self.order.len()];
        let mut counts = Vec::with_capacity(self.ends.len());
        self.walk(truth, &ones, |hits, others| counts.push([hits, others]));
        let [all, rest] = counts.last().copied().unwrap_or_default();
        let mut corners = vec![[0.0, 0.0]];
        corners.extend(&counts);
        let bends = |at: usize| match corners.get(at.wrapping_sub(1)..at + 2) {
            Some([last, here, next]) => {
                (next[0] - here[0]) * (here[1] - last[1])
                    != (here[0] - last[0]) * (next[1] - here[1])
            }
            _ => true,
        };
        let roc = (0..corners.len())
            .filter(|at| bends(*at))
            .map(|at| [corners[at][1] / rest, corners[at][0] / all])
            .collect();
        let precision = counts
            .iter()
            .map(|[hits, others]| [hits / all, hits / (hits + others)])
            .collect();
        Curves { roc, precision }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Scale;

    fn ranking(positive: &[f64], truth: &[u32]) -> Ranking {
        let values = positive.iter().flat_map(|score| [-score, *score]).collect();
        let scores = Scores::new(values, 2, truth, Scale::Scores);
        Ranking::new(&scores, 1, truth.len())
    }

    #[test]
    fn areas_are_the_shares_of_ordered_pairs() {
        let truth = [0, 0, 1, 1];
        let ones = [1.0; 4];
        // Of four pairs three are in order. Found at 1/1 and 2/3.
        let areas = ranking(&[0.1, 0.4, 0.35, 0.8], &truth).areas(&truth, &ones);
        assert_eq!(areas.roc, 0.75);
        assert!((areas.precision - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-15);
        // One score for all: half of the pairs, and the share of the class.
        let areas = ranking(&[0.5; 4], &truth).areas(&truth, &ones);
        assert_eq!((areas.roc, areas.precision), (0.5, 0.5));
        // The zeros are equal.
        let areas = ranking(&[0.0, -0.0, -0.0, 0.0], &truth).areas(&truth, &ones);
        assert_eq!(areas.roc, 0.5);
        let areas = ranking(&[0.1, 0.2], &[1, 1]).areas(&[1, 1], &ones);
        assert!(areas.roc.is_nan());
        assert_eq!(areas.precision, 1.0);
        assert!(ranking(&[0.1], &[0]).areas(&[0], &ones).precision.is_nan());
    }

    #[test]
    fn weights_are_copies() {
        let copied = [0, 0, 0, 1, 1, 1];
        let many = ranking(&[0.1, 0.1, 0.7, 0.5, 0.5, 0.9], &copied).areas(&copied, &[1.0; 6]);
        let truth = [0, 0, 1, 1, 0];
        let few = ranking(&[0.1, 0.7, 0.5, 0.9, 0.3], &truth);
        assert_eq!(few.areas(&truth, &[2.0, 1.0, 2.0, 1.0, 0.0]), many);
    }

    #[test]
    fn curves_bend_where_they_must() {
        let truth = [1, 1, 1, 0, 0, 1];
        let curves = ranking(&[0.9, 0.8, 0.7, 0.6, 0.5, 0.1], &truth).curves(&truth);
        assert_eq!(
            curves.roc,
            [[0.0, 0.0], [0.0, 0.75], [1.0, 0.75], [1.0, 1.0]]
        );
        assert_eq!(curves.precision[2], [0.75, 1.0]);
        assert_eq!(curves.precision[5], [1.0, 4.0 / 6.0]);
    }
}
