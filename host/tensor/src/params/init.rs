//! Initial values of parameters.

use crate::{TensorError, rng};

/// How a new parameter is filled. Values depend on the job's seed and the parameter's name only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// Normal with this standard deviation.
    Normal(f32),
    /// Uniform in ± this bound.
    Uniform(f32),
    /// Glorot, uniform: ±√(6 / (fan in + fan out)).
    Xavier,
    /// He, uniform, as PyTorch's default for linear and convolution layers (a = √5): ±1/√(fan in).
    Kaiming,
    /// All this value.
    Constant(f32),
}

/// How many inputs feed an output of a layer, and how many outputs an input feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fans {
    pub fan_in: usize,
    pub fan_out: usize,
}

impl Fans {
    /// PyTorch's reading of a shape [out, in, kernel...]; nothing below two dimensions.
    pub fn of(shape: &[usize]) -> Option<Self> {
        if shape.len() < 2 {
            return None;
        }
        let kernel: usize = shape[2..].iter().product();
        Some(Self {
            fan_in: shape[1] * kernel,
            fan_out: shape[0] * kernel,
        })
    }
}

impl Init {
    /// The values of parameter `name` of `shape`.
    pub(crate) fn values(
        self,
        seed: u64,
        name: &str,
        shape: &[usize],
        fans: Option<Fans>,
    ) -> Result<Vec<f32>, TensorError> {
        let numel = shape.iter().product();
        let fans = || {
            fans.filter(|fans| fans.fan_in > 0).ok_or_else(|| {
                TensorError::InvalidArgument(format!(
                    "parameter `{name}` of shape {shape:?}: {self:?} needs a shape [out, in, ...]; \
                     use normal, uniform or a constant"
                ))
            })
        };
        let key = rng::derive_str(rng::derive_str(seed, "init"), name);
        let uniform = |bound: f32| {
            let mut values = vec![0.0; numel];
            rng::fill_uniform(key, &mut values);
            for value in &mut values {
                *value = (*value * 2.0 - 1.0) * bound;
            }
            values
        };
        Ok(match self {
            Self::Zeros => vec![0.0; numel],
            Self::Ones => vec![1.0; numel],
            Self::Constant(value) => vec![value; numel],
            Self::Uniform(bound) => uniform(bound),
            Self::Normal(deviation) => {
                let mut values = vec![0.0; numel];
                rng::fill_normal(key, &mut values);
                for value in &mut values {
                    *value *= deviation;
                }
                values
            }
            Self::Xavier => {
                let fans = fans()?;
                uniform((6.0 / (fans.fan_in + fans.fan_out) as f32).sqrt())
            }
            Self::Kaiming => uniform(1.0 / (fans()?.fan_in as f32).sqrt()),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn moments(values: &[f32]) -> (f64, f64, f32) {
        let n = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let variance = values
            .iter()
            .map(|v| (f64::from(*v) - mean).powi(2))
            .sum::<f64>()
            / n;
        let bound = values.iter().fold(0.0_f32, |bound, v| bound.max(v.abs()));
        (mean, variance.sqrt(), bound)
    }

    #[test]
    fn the_spread_is_the_published_one() {
        let shape = [200, 300];
        let make = |init: Init| init.values(3, "w", &shape, Fans::of(&shape)).unwrap();
        let (mean, deviation, _) = moments(&make(Init::Normal(0.02)));
        assert!(mean.abs() < 5e-4 && (deviation - 0.02).abs() < 5e-4);
        for (init, bound) in [
            (Init::Uniform(0.1), 0.1),
            (Init::Xavier, (6.0_f64 / 500.0).sqrt()),
            (Init::Kaiming, 1.0 / 300.0_f64.sqrt()),
        ] {
            let (mean, deviation, largest) = moments(&make(init));
            assert!(mean.abs() < 5e-4, "{init:?}");
            assert!((deviation - bound / 3.0_f64.sqrt()).abs() < 0.01 * bound);
            assert!(f64::from(largest) <= bound && f64::from(largest) > 0.99 * bound);
        }
    }

    #[test]
    fn names_and_seeds_decide() {
        let make = |seed, name| Init::Normal(1.0).values(seed, name, &[8], None).unwrap();
        assert_eq!(make(1, "a"), make(1, "a"));
        assert_ne!(make(1, "a"), make(1, "b"));
        assert_ne!(make(1, "a"), make(2, "a"));
    }

    #[test]
    fn fans_need_two_dimensions() {
        let error = Init::Kaiming.values(0, "b", &[8], Fans::of(&[8]));
        assert!(error.unwrap_err().to_string().contains("`b`"));
        let fans = Fans::of(&[8, 4, 3, 3]).unwrap();
        assert_eq!((fans.fan_in, fans.fan_out), (36, 72));
    }
}
