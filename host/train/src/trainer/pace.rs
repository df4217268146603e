//! How long a training goes on, and the learning rate that follows from it.

use crate::TrainSpec;

/// The limits of a job. Whichever comes first ends it, and the schedule follows that one.
pub(super) struct Pace {
    /// The smaller of `steps` and `epochs`, in steps.
    steps: Option<u64>,
    seconds: Option<f64>,
    spec: TrainSpec,
}

impl Pace {
    /// `batches`: of one epoch.
    pub fn new(spec: &TrainSpec, batches: usize) -> Self {
        let of_epochs = spec.epochs.map(|epochs| {
            let steps = (epochs * batches as f64 / spec.accumulate as f64).ceil();
            (steps as u64).max(1)
        });
        let steps = match (spec.steps, of_epochs) {
            (Some(steps), Some(other)) => Some(steps.min(other)),
            (steps, other) => steps.or(other),
        };
        Self {
            steps,
            seconds: spec.minutes.map(|minutes| minutes * 60.0),
            spec: spec.clone(),
        }
    }

    /// Steps at most, where the number is known.
    pub fn steps(&self) -> Option<u64> {
        self.steps
    }

    /// Whether nothing is left to do.
    pub fn is_over(&self, step: u64, elapsed: f64) -> bool {
        self.steps.is_some_and(|steps| step >= steps)
            || self.seconds.is_some_and(|seconds| elapsed >= seconds)
    }

    /// Steps in all: known, or as many as the time will do for at the speed so far.
    pub fn total(&self, step: u64, elapsed: f64) -> Option<u64> {
        let of_time = self
            .seconds
            .filter(|_| step > 0 && elapsed > 0.0)
            .map(|seconds| ((step as f64 * seconds / elapsed).round() as u64).max(step));
        match (self.steps, of_time) {
            (Some(steps), Some(other)) => Some(steps.min(other)),
            (steps, other) => steps.or(other),
        }
    }

    /// Seconds that are left, at the speed so far.
    pub fn seconds_left(&self, step: u64, elapsed: f64) -> Option<f64> {
        let of_steps = self
            .steps
            .filter(|_| step > 0)
            .map(|steps| elapsed / step as f64 * steps.saturating_sub(step) as f64);
        let of_time = self.seconds.map(|seconds| (seconds - elapsed).max(0.0));
        match (of_steps, of_time) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The learning rate of the step after `step` others. Where the number of steps is known it is a
    /// function of that alone.
    pub fn learning_rate(&self, step: u64, elapsed: f64) -> f64 {
        // Unknown at the first step of a job that only the clock ends: that is its beginning, whatever
        // comes.
        let total = self.total(step, elapsed).unwrap_or(u64::MAX);
        self.spec.learning_rate * self.spec.schedule.over(total).factor(step)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tenon_tensor::optim::ScheduleKind;

    use super::*;
    use crate::ScheduleSpec;

    fn spec() -> TrainSpec {
        TrainSpec {
            learning_rate: 1.0,
            schedule: ScheduleSpec {
                kind: ScheduleKind::Linear,
                warmup_steps: 10,
                min_ratio: 0.0,
            },
            ..TrainSpec::default()
        }
    }

    #[test]
    fn the_smaller_limit_binds() {
        let both = TrainSpec {
            steps: Some(100),
            epochs: Some(2.5),
            accumulate: 2,
            ..spec()
        };
        // 2.5 epochs of 30 batches, 2 a step: 37.5 steps.
        assert_eq!(Pace::new(&both, 30).steps(), Some(38));
        assert_eq!(Pace::new(&both, 300).steps(), Some(100));
        let pace = Pace::new(&both, 30);
        assert!(!pace.is_over(37, 1e9) && pace.is_over(38, 0.0));
    }

    #[test]
    fn a_schedule_over_steps_does_not_know_the_clock() {
        let pace = Pace::new(
            &TrainSpec {
                steps: Some(110),
                ..spec()
            },
            1,
        );
        for elapsed in [0.0, 1.0, 1e6] {
            assert_eq!(pace.learning_rate(5, elapsed), 0.5);
            assert_eq!(pace.learning_rate(60, elapsed), 0.5);
            assert_eq!(pace.learning_rate(110, elapsed), 0.0);
        }
    }

    #[test]
    fn a_schedule_over_minutes_ends_with_them() {
        let timed = TrainSpec {
            minutes: Some(1.0),
            ..spec()
        };
        let pace = Pace::new(&timed, 1);
        assert_eq!(pace.steps(), None);
        // The warm-up counts steps.
        assert_eq!(pace.learning_rate(5, 1.0), 0.5);
        // 10 of 100 steps a minute are warm-up: half of the rest at 55 steps.
        assert!((pace.learning_rate(55, 33.0) - 0.5).abs() < 1e-9);
        assert!(pace.learning_rate(1000, 59.99) < 1e-3);
        assert_eq!(pace.total(50, 30.0), Some(100));
        assert_eq!(pace.seconds_left(50, 30.0), Some(30.0));
        assert!(pace.is_over(3, 60.0) && !pace.is_over(3, 59.0));
    }

    #[test]
    fn the_clock_takes_over_where_it_comes_first() {
        let both = TrainSpec {
            minutes: Some(1.0),
            steps: Some(1000),
            ..spec()
        };
        let pace = Pace::new(&both, 1);
        // A step a second: 60 steps will do, not 1000.
        assert_eq!(pace.total(30, 30.0), Some(60));
        assert!((pace.learning_rate(35, 35.0) - 0.5).abs() < 1e-9);
        // A hundred a second: 1000 come first.
        assert_eq!(pace.total(500, 5.0), Some(1000));
        assert_eq!(pace.seconds_left(500, 5.0), Some(5.0));
    }
}
