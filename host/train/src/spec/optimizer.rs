//! The settings of optimisers, for the schema of the interface.

use serde::Serialize;
use utoipa::ToSchema;

/// For the schema: [`OptimizerConfig`](tenon_tensor::optim::OptimizerConfig).
#[derive(ToSchema)]
#[schema(as = OptimizerConfig)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[derive(Serialize)]
#[allow(dead_code)]
pub enum OptimizerSchema {
    /// Adam with decoupled weight decay.
    Adamw {
        /// Decay of the mean of the gradients; 0.9.
        beta1: Option<f64>,
        /// Decay of the mean of the squared gradients; 0.999.
        beta2: Option<f64>,
        /// Added to the denominator; 1e-8.
        eps: Option<f64>,
        /// Parameters shrink by `lr · weight_decay` in each step; 0.01.
        weight_decay: Option<f64>,
        /// Only parameters of two dimensions and more decay; true.
        decay_only_matrices: Option<bool>,
    },
    /// Stochastic gradient descent.
    Sgd {
        /// Of the velocity; 0.
        momentum: Option<f64>,
        /// How much of a new gradient is left out of the velocity; 0.
        dampening: Option<f64>,
        /// Nesterov's look-ahead; false.
        nesterov: Option<bool>,
        /// Added to the gradient, times the parameter; 0.
        weight_decay: Option<f64>,
        /// Only parameters of two dimensions and more decay; true.
        decay_only_matrices: Option<bool>,
    },
    /// The sign of a mean of gradients.
    Lion {
        /// The mean's share in the direction of a step; 0.9.
        beta1: Option<f64>,
        /// Decay of the mean of the gradients; 0.99.
        beta2: Option<f64>,
        /// Parameters shrink by `lr · weight_decay` in each step; 0.01.
        weight_decay: Option<f64>,
        /// Only parameters of two dimensions and more decay; true.
        decay_only_matrices: Option<bool>,
    },
    /// Second moments by rows and columns: nearly no memory.
    Adafactor {
        /// In step t the second moments keep 1 − t^`beta2_decay`; -0.8.
        beta2_decay: Option<f64>,
        /// The least second moment is this squared; 1.19e-7.
        eps1: Option<f64>,
        /// The least size of a parameter, by which its learning rate is scaled; 1e-3.
        eps2: Option<f64>,
        /// The root mean square that an update may have; 1.
        clip: Option<f64>,
        /// Parameters shrink by `lr · weight_decay` in each step; 0.
        weight_decay: Option<f64>,
        /// Only parameters of two dimensions and more decay; true.
        decay_only_matrices: Option<bool>,
    },
}
