//! The exponential moving average of a model's weights, which often generalises better than the last
//! weights (Polyak and Juditsky 1992).

use std::collections::BTreeMap;

use super::host;
use crate::{Tensor, TensorError, params::Params, raw};

/// Averages of the trained parameters: after each step, average = decay · average + (1 − decay) · value,
/// where the decay begins small: min(decay, (1 + t) / (10 + t)) in step t, so that the initial weights
/// are soon forgotten.
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    steps: u64,
    values: BTreeMap<String, Tensor>,
}

impl Ema {
    /// Averages that have seen nothing.
    ///
    /// # Errors
    /// `InvalidArgument` unless 0 ≤ decay < 1.
    pub fn new(decay: f64) -> Result<Self, TensorError> {
        Self::check(decay)?;
        Ok(Self {
            decay,
            steps: 0,
            values: BTreeMap::new(),
        })
    }

    /// Refuses a decay that is none.
    ///
    /// # Errors
    /// `InvalidArgument` unless 0 ≤ decay < 1.
    pub fn check(decay: f64) -> Result<(), TensorError> {
        match (0.0..1.0).contains(&decay) {
            true => Ok(()),
            false => Err(TensorError::InvalidArgument(format!(
                "ema: the decay is {decay}, but must be at least 0 and below 1"
            ))),
        }
    }

    /// Takes in the weights after a step. A parameter that is seen for the first time begins with its
    /// value.
    ///
    /// # Errors
    /// As operations on the device.
    pub fn update(&mut self, params: &Params) -> Result<(), TensorError> {
        let steps = self.steps as f64;
        let decay = self.decay.min((1.0 + steps) / (10.0 + steps));
        self.steps += 1;
        for (name, value) in params.entries() {
            if !params.trainable(&name) {
                continue;
            }
            let Some(average) = self.values.get_mut(&name) else {
                // Not the parameter's own memory: the optimiser works in place there.
                let copy = value.mul_scalar(1.0)?;
                self.values.insert(name, copy);
                continue;
            };
            if raw::is_host_f32(&value) {
                let new = raw::f32s(&value)?;
                let (keep, rest) = (decay as f32, (1.0 - decay) as f32);
                host::with_values(average, |average| {
                    for (average, new) in average.iter_mut().zip(new.iter()) {
                        *average = keep.mul_add(*average, rest * new);
                    }
                })?;
            } else {
                *average = average
                    .mul_scalar(decay)?
                    .add(&value.mul_scalar(1.0 - decay)?)?;
            }
        }
        Ok(())
    }

    /// Exchanges averages and weights: the model computes with the averages until the next exchange.
    ///
    /// # Errors
    /// As [`Params::set`]; what was exchanged before stays so.
    pub fn exchange(&mut self, params: &Params) -> Result<(), TensorError> {
        for (name, average) in &mut self.values {
            if let Some(value) = params.get(name) {
                params.set(name, average.clone())?;
                *average = value;
            }
        }
        Ok(())
    }

    /// Steps that were taken in.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The averages, sorted by name.
    pub fn entries(&self) -> Vec<(String, Tensor)> {
        let entries = self.values.iter();
        entries
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Goes on from saved averages of so many steps, on the device of the parameters.
    ///
    /// # Errors
    /// `InvalidArgument` for an average of no parameter, `ShapeMismatch` for one of another shape;
    /// nothing is changed then.
    pub fn load(
        &mut self,
        params: &Params,
        steps: u64,
        entries: &[(String, Tensor)],
    ) -> Result<(), TensorError> {
        let mut values = BTreeMap::new();
        for (name, average) in entries {
            let shape = params.get(name).map(|value| value.shape().to_vec());
            match shape {
                None => {
                    return Err(TensorError::InvalidArgument(format!(
                        "ema: there is an average of `{name}`, but no such parameter"
                    )));
                }
                Some(shape) if shape != average.shape() => {
                    return Err(TensorError::ShapeMismatch(format!(
                        "ema: the average of `{name}` is {:?}, the parameter {shape:?}",
                        average.shape()
                    )));
                }
                Some(shape) => {
                    let value = Tensor::from_f32(&shape, &average.to_f32_vec()?, params.device())?;
                    values.insert(name.clone(), value);
                }
            }
        }
        (self.values, self.steps) = (values, steps);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Device, nn::Init, nn::Scope};

    fn params(value: f32) -> Params {
        let params = Params::new(&Device::cpu(), 0);
        let scope = Scope::root(&params, None);
        scope.param("w", &[2], Init::Constant(value)).unwrap();
        scope.buffer("b", &[1], Init::Ones).unwrap();
        params
    }

    fn set(params: &Params, value: f32) {
        let value = Tensor::from_f32(&[2], &[value, -value], &Device::cpu()).unwrap();
        params.set("w", value).unwrap();
    }

    fn get(params: &Params) -> Vec<f32> {
        params.get("w").unwrap().to_f32_vec().unwrap()
    }

    #[test]
    fn it_is_the_mean_of_the_formula() {
        let params = params(0.0);
        let mut ema = Ema::new(0.3).unwrap();
        let mut expected = 0.0;
        for (step, value) in [1.0_f64, 5.0, -2.0, 0.5, 8.0].into_iter().enumerate() {
            set(&params, value as f32);
            ema.update(&params).unwrap();
            let decay = 0.3_f64.min((1.0 + step as f64) / (10.0 + step as f64));
            expected = match step {
                0 => value,
                _ => decay * expected + (1.0 - decay) * value,
            };
        }
        ema.exchange(&params).unwrap();
        let got = get(&params);
        assert!((f64::from(got[0]) - expected).abs() < 1e-6, "{got:?}");
        assert!((f64::from(got[1]) + expected).abs() < 1e-6, "{got:?}");
        ema.exchange(&params).unwrap();
        assert_eq!(get(&params), [8.0, -8.0]);
        assert_eq!(ema.entries().len(), 1, "buffers are no weights");
    }

    #[test]
    fn saved_averages_go_on_bit_for_bit() {
        let params = params(1.0);
        let mut whole = Ema::new(0.99).unwrap();
        let mut halves = Ema::new(0.99).unwrap();
        for step in 0..4 {
            set(&params, step as f32 * 0.7);
            whole.update(&params).unwrap();
            halves.update(&params).unwrap();
            let (steps, entries) = (halves.steps(), halves.entries());
            halves = Ema::new(0.99).unwrap();
            halves.load(&params, steps, &entries).unwrap();
        }
        let bits = |ema: &Ema| ema.entries()[0].1.to_f32_vec().unwrap();
        assert_eq!(bits(&whole), bits(&halves));
        let other = [(
            "v".to_owned(),
            Tensor::from_f32(&[1], &[0.0], &Device::cpu()).unwrap(),
        )];
        assert!(halves.load(&params, 1, &other).is_err());
        let shape = [("w".to_owned(), other[0].1.clone())];
        assert!(halves.load(&params, 1, &shape).is_err());
        assert_eq!(bits(&whole), bits(&halves));
        assert!(Ema::new(1.0).is_err());
    }
}
