//! Measures of predicted classes: all follow from how often each class is true, predicted and both.

/// How often each class comes up.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counts {
    /// As the true class.
    pub(crate) truth: Vec<f64>,
    /// As the predicted one.
    pub(crate) predicted: Vec<f64>,
    /// As both.
    pub(crate) hits: Vec<f64>,
}

/// Precision, recall and their harmonic mean, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scored {
    pub(crate) precision: f64,
    pub(crate) recall: f64,
    pub(crate) f1: f64,
}

impl Counts {
    /// Of rows that count as often as `weights` says.
    pub(crate) fn new(classes: usize, truth: &[u32], predicted: &[u32], weights: &[f64]) -> Self {
        let mut counts = Self {
            truth: vec![0.0; classes],
            predicted: vec![0.0; classes],
            hits: vec![0.0; classes],
        };
        for ((&truth, &predicted), weight) in truth.iter().zip(predicted).zip(weights) {
            counts.truth[truth as usize] += weight;
            counts.predicted[predicted as usize] += weight;
            if truth == predicted {
                counts.hits[truth as usize] += weight;
            }
        }
        counts
    }

    /// Of one class; 0 where there is nothing to take a share of.
    pub(crate) fn class(&self, class: usize) -> Scored {
        scored(self.hits[class], self.predicted[class], self.truth[class])
    }

    fn rows(&self) -> f64 {
        self.truth.iter().sum()
    }

    pub(crate) fn accuracy(&self) -> f64 {
        self.hits.iter().sum::<f64>() / self.rows()
    }

    /// The mean recall of the classes that are true somewhere.
    pub(crate) fn balanced(&self) -> f64 {
        let there = (0..self.truth.len()).filter(|class| self.truth[*class] > 0.0);
        let (sum, classes) = there.fold((0.0, 0.0), |(sum, classes), class| {
            (sum + self.class(class).recall, classes + 1.0)
        });
        sum / classes
    }

    /// The plain mean over the classes that are true or predicted somewhere.
    pub(crate) fn macro_mean(&self) -> Scored {
        self.mean(|class| f64::from(u8::from(self.truth[class] + self.predicted[class] > 0.0)))
    }

    /// The mean over the classes by how often they are true.
    pub(crate) fn weighted_mean(&self) -> Scored {
        self.mean(|class| self.truth[class])
    }

    /// Of all rows together. Where every row has one class and one prediction, all three are the
    /// accuracy.
    pub(crate) fn micro(&self) -> Scored {
        let sum = |of: &[f64]| of.iter().sum();
        scored(sum(&self.hits), sum(&self.predicted), sum(&self.truth))
    }

    fn mean(&self, weight: impl Fn(usize) -> f64) -> Scored {
        let mut sum = Scored {
            precision: 0.0,
            recall: 0.0,
            f1: 0.0,
        };
        let mut all = 0.0;
        for class in 0..self.truth.len() {
            let (weight, of) = (weight(class), self.class(class));
            sum.precision += weight * of.precision;
            sum.recall += weight * of.recall;
            sum.f1 += weight * of.f1;
            all += weight;
        }
        Scored {
            precision: sum.precision / all,
            recall: sum.recall / all,
            f1: sum.f1 / all,
        }
    }

    /// The correlation of truth and prediction (Matthews 1975; for more than two classes Gorodkin 2004),
    /// from −1 to 1; 0 where all rows have one class or one prediction.
    pub(crate) fn matthews(&self) -> f64 {
        let rows = self.rows();
        let products = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let hits: f64 = self.hits.iter().sum();
        let together = hits * rows - products(&self.truth, &self.predicted);
        let truth = rows * rows - products(&self.truth, &self.truth);
        let predicted = rows * rows - products(&self.predicted, &self.predicted);
        if truth == 0.0 || predicted == 0.0 {
            return 0.0;
        }
        together / (truth.sqrt() * predicted.sqrt())
    }

    /// The agreement beyond chance (Cohen 1960), up to 1; NaN where chance alone agrees always.
    pub(crate) fn kappa(&self) -> f64 {
        let rows = self.rows();
        let products = self.truth.iter().zip(&self.predicted).map(|(a, b)| a * b);
        let chance = products.sum::<f64>() / (rows * rows);
        if chance == 1.0 {
            return f64::NAN;
        }
        (self.accuracy() - chance) / (1.0 - chance)
    }
}

fn scored(hits: f64, predicted: f64, truth: f64) -> Scored {
    let share = |of: f64, all: f64| if all > 0.0 { of / all } else { 0.0 };
    Scored {
        precision: share(hits, predicted),
        recall: share(hits, truth),
        f1: share(2.0 * hits, predicted + truth),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 1e-12,
            "{found}, expected {expected}"
        );
    }

    #[test]
    fn measures_are_the_textbooks() {
        // Three classes and a fourth that never comes up.
        let (truth, predicted) = ([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]);
        let counts = Counts::new(4, &truth, &predicted, &[1.0; 6]);
        near(counts.accuracy(), 4.0 / 6.0);
        near(counts.balanced(), (2.0 / 3.0 + 0.5 + 1.0) / 3.0);
        near(counts.class(1).precision, 0.5);
        near(counts.class(0).f1, 0.8);
        assert_eq!(counts.class(3).f1, 0.0);
        near(counts.macro_mean().f1, (0.8 + 0.5 + 2.0 / 3.0) / 3.0);
        near(
            counts.weighted_mean().f1,
            (3.0 * 0.8 + 2.0 * 0.5 + 2.0 / 3.0) / 6.0,
        );
        near(counts.micro().f1, counts.accuracy());
        // Σ t p = 3·2 + 2·2 + 1·2.
        near(
            counts.matthews(),
            12.0 / (22.0_f64.sqrt() * 24.0_f64.sqrt()),
        );
        near(
            counts.kappa(),
            (4.0 / 6.0 - 12.0 / 36.0) / (1.0 - 12.0 / 36.0),
        );
    }

    #[test]
    fn one_class_only_has_values_or_none() {
        let counts = Counts::new(2, &[1, 1], &[1, 1], &[1.0; 2]);
        assert_eq!((counts.accuracy(), counts.balanced()), (1.0, 1.0));
        assert_eq!(counts.matthews(), 0.0);
        assert!(counts.kappa().is_nan());
        // Everything wrong.
        let counts = Counts::new(2, &[0, 0], &[1, 1], &[1.0; 2]);
        assert_eq!((counts.macro_mean().f1, counts.kappa()), (0.0, 0.0));
    }

    #[test]
    fn weights_are_copies() {
        let twice = Counts::new(2, &[0, 0, 1], &[0, 0, 0], &[1.0; 3]);
        assert_eq!(
            Counts::new(2, &[0, 1, 1], &[0, 0, 1], &[2.0, 1.0, 0.0]),
            twice
        );
    }
}
