//! Scaling the loss of a training in float16, so that small gradients do not become 0: twice as much after
//! many steps that went well, half as much after one whose gradients were too large, which is left out.
//! The numbers are those of PyTorch's `GradScaler`.

use serde::{Deserialize, Serialize};

/// The factor of the first step.
const FIRST: f64 = 65_536.0;
/// Steps that must go well before the factor grows.
const INTERVAL: u32 = 2000;
/// Below this it is not the factor's fault that gradients are not finite.
const LEAST: f64 = 1.0 / 16.0;

/// What the loss is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Scaler {
    factor: f64,
    good: u32,
}

impl Default for Scaler {
    fn default() -> Self {
        Self {
            factor: FIRST,
            good: 0,
        }
    }
}

impl Scaler {
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// A step's gradients were finite.
    pub fn went_well(&mut self) {
        self.good += 1;
        if self.good >= INTERVAL {
            (self.factor, self.good) = (2.0 * self.factor, 0);
        }
    }

    /// A step's gradients were not finite; whether another factor may help.
    pub fn overflowed(&mut self) -> bool {
        (self.factor, self.good) = (0.5 * self.factor, 0);
        self.factor >= LEAST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_slowly_and_shrinks_at_once() {
        let mut scaler = Scaler::default();
        for _ in 0..INTERVAL - 1 {
            scaler.went_well();
        }
        assert_eq!(scaler.factor(), FIRST);
        scaler.went_well();
        assert_eq!(scaler.factor(), 2.0 * FIRST);
        assert!(scaler.overflowed() && scaler.overflowed());
        assert_eq!(scaler.factor(), 0.5 * FIRST);
        let mut halvings = 0;
        while scaler.overflowed() {
            halvings += 1;
        }
        assert_eq!(halvings, 19, "from 2¹⁵ to 2⁻⁴");
    }
}
