//! Which optimiser, with which settings.

use serde::{Deserialize, Serialize};

use crate::TensorError;

/// Which optimiser, with which settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OptimizerConfig {
    /// Adam with decoupled weight decay, as `torch.optim.AdamW`.
    Adamw(AdamW),
    /// Stochastic gradient descent, as `torch.optim.SGD`.
    Sgd(Sgd),
    /// The sign of a mean of gradients: half of AdamW's memory (Chen et al. 2023, "Symbolic Discovery
    /// of Optimization Algorithms").
    Lion(Lion),
    /// Second moments by rows and columns, nearly no memory, as `torch.optim.Adafactor` (Shazeer and
    /// Stern 2018).
    Adafactor(Adafactor),
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Adamw(AdamW::default())
    }
}

/// Settings of AdamW; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of the squared gradients.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Decoupled: parameters shrink by `lr · weight_decay` in each step.
    pub weight_decay: f64,
    /// Only parameters of two dimensions and more decay: not biases, nor the weights of norms. A
    /// parameter group with a weight decay of its own overrides this.
    pub decay_only_matrices: bool,
}

impl Default for AdamW {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
            decay_only_matrices: true,
        }
    }
}

/// Settings of stochastic gradient descent; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// Of the velocity; 0 for none.
    pub momentum: f64,
    /// How much of a new gradient is left out of the velocity.
    pub dampening: f64,
    /// Nesterov's look-ahead.
    pub nesterov: bool,
    /// Added to the gradient, times the parameter.
    pub weight_decay: f64,
    /// As in [`AdamW`].
    pub decay_only_matrices: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Self {
            momentum: 0.0,
            dampening: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            decay_only_matrices: true,
        }
    }
}

/// Settings of Lion; the defaults are the paper's. Its learning rate is three to ten times smaller
/// than AdamW's, its decay as much larger.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lion {
    /// The mean's share in the direction of a step.
    pub beta1: f64,
    /// Decay of the mean of the gradients.
    pub beta2: f64,
    /// Decoupled, as in [`AdamW`].
    pub weight_decay: f64,
    /// As in [`AdamW`].
    pub decay_only_matrices: bool,
}

impl Default for Lion {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.99,
            weight_decay: 0.01,
            decay_only_matrices: true,
        }
    }
}

/// Settings of Adafactor; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adafactor {
    /// In step t the second moments keep 1 − t^`beta2_decay`.
    pub beta2_decay: f64,
    /// The least second moment is this squared.
    pub eps1: f64,
    /// The least size of a parameter, by which its learning rate is scaled.
    pub eps2: f64,
    /// The root mean square that an update may have.
    pub clip: f64,
    /// Decoupled, as in [`AdamW`].
    pub weight_decay: f64,
    /// As in [`AdamW`].
    pub decay_only_matrices: bool,
}

impl Default for Adafactor {
    fn default() -> Self {
        Self {
            beta2_decay: -0.8,
            eps1: f64::from(f32::EPSILON),
            eps2: 1e-3,
            clip: 1.0,
            weight_decay: 0.0,
            decay_only_matrices: true,
        }
    }
}

impl OptimizerConfig {
    /// Refuses settings that no optimiser can work with.
    ///
    /// # Errors
    /// `InvalidArgument` naming the setting and its range.
    pub fn check(&self) -> Result<(), TensorError> {
        let within = |name: &str, value: f64, upper: f64| {
            if value >= 0.0 && value < upper {
                return Ok(());
            }
            Err(TensorError::InvalidArgument(format!(
                "optimizer: {name} is {value}, but must be at least 0 and below {upper}"
            )))
        };
        match self {
            Self::Adamw(config) => {
                within("beta1", config.beta1, 1.0)?;
                within("beta2", config.beta2, 1.0)?;
                within("eps", config.eps, f64::INFINITY)?;
                within("weight_decay", config.weight_decay, f64::INFINITY)
            }
            Self::Sgd(config) => {
                within("momentum", config.momentum, 1.0)?;
                within("dampening", config.dampening, 1.0)?;
                within("weight_decay", config.weight_decay, f64::INFINITY)?;
                if config.nesterov && (config.momentum == 0.0 || config.dampening != 0.0) {
                    return Err(TensorError::InvalidArgument(
                        "optimizer: nesterov needs a momentum and no dampening".into(),
                    ));
                }
                Ok(())
            }
            Self::Lion(config) => {
                within("beta1", config.beta1, 1.0)?;
                within("beta2", config.beta2, 1.0)?;
                within("weight_decay", config.weight_decay, f64::INFINITY)
            }
            Self::Adafactor(config) => {
                within("beta2_decay", -config.beta2_decay, f64::INFINITY)?;
                within("eps1", config.eps1, f64::INFINITY)?;
                within("eps2", config.eps2, f64::INFINITY)?;
                within("weight_decay", config.weight_decay, f64::INFINITY)?;
                match config.clip > 0.0 {
                    true => Ok(()),
                    false => Err(TensorError::InvalidArgument(format!(
                        "optimizer: clip is {}, but must be above 0",
                        config.clip
                    ))),
                }
            }
        }
    }

    pub(super) fn decay(&self, dims: usize, group: Option<f64>) -> f64 {
        let (decay, only_matrices) = match self {
            Self::Adamw(config) => (config.weight_decay, config.decay_only_matrices),
            Self::Sgd(config) => (config.weight_decay, config.decay_only_matrices),
            Self::Lion(config) => (config.weight_decay, config.decay_only_matrices),
            Self::Adafactor(config) => (config.weight_decay, config.decay_only_matrices),
        };
        match group {
            Some(decay) => decay,
            None if only_matrices && dims < 2 => 0.0,
            None => decay,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn settings_are_read_and_checked() {
        let config: OptimizerConfig =
            serde_json::from_str(r#"{"kind": "adamw", "beta2": 0.95}"#).unwrap();
        let OptimizerConfig::Adamw(adamw) = config else {
            panic!("adamw was asked for")
        };
        assert_eq!((adamw.beta1, adamw.beta2), (0.9, 0.95));
        assert!(config.check().is_ok());
        let bad: OptimizerConfig =
            serde_json::from_str(r#"{"kind": "sgd", "nesterov": true}"#).unwrap();
        assert!(bad.check().unwrap_err().to_string().contains("nesterov"));
        let bad: OptimizerConfig =
            serde_json::from_str(r#"{"kind": "adamw", "beta1": 1}"#).unwrap();
        assert!(bad.check().unwrap_err().to_string().contains("beta1"));
        assert!(serde_json::from_str::<OptimizerConfig>(r#"{"kind":"sgd","lr":1}"#).is_err());
    }

    #[test]
    fn vectors_do_not_decay_unless_a_group_says_so() {
        let config = OptimizerConfig::default();
        assert_eq!(config.decay(2, None), 0.01);
        assert_eq!(config.decay(1, None), 0.0);
        assert_eq!(config.decay(1, Some(0.5)), 0.5);
    }
}
