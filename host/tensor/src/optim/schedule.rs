//! Learning-rate schedules: the factor that the job's learning rate is multiplied by at each step.

use serde::{Deserialize, Serialize};

use crate::TensorError;

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// It stays.
    Constant,
    /// Half a cosine wave, down to `min_ratio`.
    #[default]
    Cosine,
    /// A straight line, down to `min_ratio`.
    Linear,
}

/// A schedule with linear warm-up, as `get_{constant,cosine,linear}_schedule_with_warmup` of
/// Hugging Face's transformers define it. It has no state: the factor is a function of the step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// The shape after the warm-up.
    pub kind: ScheduleKind,
    /// Steps during which the factor rises from 0 to 1.
    pub warmup_steps: u64,
    /// Steps of the whole job, warm-up included. Unused by `constant`.
    pub total_steps: u64,
    /// Where the factor ends, as a part of the full learning rate.
    pub min_ratio: f64,
}

impl Schedule {
    /// Refuses schedules that cannot be meant.
    ///
    /// # Errors
    /// `InvalidArgument` when `min_ratio` is outside [0, 1], or the warm-up is longer than the job.
    pub fn check(&self) -> Result<(), TensorError> {
        if !(0.0..=1.0).contains(&self.min_ratio) {
            return Err(TensorError::InvalidArgument(format!(
                "schedule: min_ratio is {}, but must lie between 0 and 1",
                self.min_ratio
            )));
        }
        if self.kind != ScheduleKind::Constant && self.warmup_steps > self.total_steps {
            return Err(TensorError::InvalidArgument(format!(
                "schedule: warmup_steps ({}) exceeds total_steps ({}); shorten the warm-up",
                self.warmup_steps, self.total_steps
            )));
        }
        Ok(())
    }

    /// The factor for step 0, 1, 2, … Past `total_steps` it stays at `min_ratio`.
    pub fn factor(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return step as f64 / self.warmup_steps as f64;
        }
        let rest = self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let progress = ((step - self.warmup_steps) as f64 / rest).min(1.0);
        let left = match self.kind {
            ScheduleKind::Constant => return 1.0,
            ScheduleKind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            ScheduleKind::Linear => 1.0 - progress,
        };
        self.min_ratio + (1.0 - self.min_ratio) * left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: ScheduleKind, warmup_steps: u64, total_steps: u64, min: f64) -> Schedule {
        Schedule {
            kind,
            warmup_steps,
            total_steps,
            min_ratio: min,
        }
    }

    fn check(schedule: Schedule, expected: &[(u64, f64)]) {
        for (step, factor) in expected {
            let got = schedule.factor(*step);
            assert!(
                (got - factor).abs() < 1e-12,
                "{schedule:?} at {step}: {got}, expected {factor}"
            );
        }
    }

    /// Printed by transformers: `[get_linear_schedule_with_warmup(opt, 4, 10)]` and so on, with a
    /// learning rate of 1.
    #[test]
    fn equals_transformers() {
        check(
            schedule(ScheduleKind::Linear, 4, 10, 0.0),
            &[
                (0, 0.0),
                (1, 0.25),
                (3, 0.75),
                (4, 1.0),
                (5, 5.0 / 6.0),
                (9, 1.0 / 6.0),
                (10, 0.0),
                (11, 0.0),
            ],
        );
        check(
            schedule(ScheduleKind::Cosine, 2, 10, 0.0),
            &[
                (0, 0.0),
                (1, 0.5),
                (2, 1.0),
                (3, 0.961_939_766_255_643_4),
                (4, 0.853_553_390_593_273_7),
                (6, 0.5),
                (9, 0.038_060_233_744_356_6),
                (10, 0.0),
            ],
        );
        check(
            schedule(ScheduleKind::Constant, 5, 0, 0.0),
            &[(0, 0.0), (4, 0.8), (5, 1.0), (1000, 1.0)],
        );
        // get_cosine_with_min_lr_schedule_with_warmup(min_lr_rate=0.1)
        check(
            schedule(ScheduleKind::Cosine, 0, 4, 0.1),
            &[
                (0, 1.0),
                (1, 0.868_198_051_533_946_4),
                (2, 0.55),
                (4, 0.1),
                (9, 0.1),
            ],
        );
    }

    #[test]
    fn refuses_what_cannot_be_meant() {
        assert!(schedule(ScheduleKind::Linear, 5, 4, 0.0).check().is_err());
        assert!(schedule(ScheduleKind::Cosine, 1, 4, 1.5).check().is_err());
        assert!(schedule(ScheduleKind::Constant, 5, 0, 0.0).check().is_ok());
    }
}
