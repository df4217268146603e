//! Low-rank adapters in a training's specification.

use serde::{Deserialize, Serialize};
use tenon_tensor::params::{Lora, Quantization};
use utoipa::ToSchema;

/// Low-rank adapters (LoRA, Hu et al. 2021) on linear layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoraSpec {
    /// Columns of the first factor and rows of the second; 8.
    pub rank: usize,
    /// The product of the factors counts α / rank times; 16.
    pub alpha: f64,
    /// Dropout of what the adapters read, in training; 0.
    pub dropout: f32,
    /// Regular expressions of the layers' names, such as `(q|v)_proj$`. None: all linear layers but an
    /// output layer that shares its weight with the embedding.
    pub targets: Vec<String>,
    /// Regular expressions of parameters that are trained in full beside the adapters, such as those
    /// of a new head.
    pub trained: Vec<String>,
    /// Keeps the weights under the adapters in 8 or 4 bits a number while they are trained (QLoRA):
    /// `int8` or `nf4`; nothing: in float32. The model of the run is float32: what the rounded weights
    /// and the adapters are together.
    pub quantize: Option<QuantizationSpec>,
}

/// How weights that are not trained are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum QuantizationSpec {
    /// 8 bits: even steps.
    Int8,
    /// 4 bits: quantiles of the normal distribution.
    Nf4,
}

impl From<QuantizationSpec> for Quantization {
    fn from(spec: QuantizationSpec) -> Self {
        match spec {
            QuantizationSpec::Int8 => Self::Int8,
            QuantizationSpec::Nf4 => Self::Nf4,
        }
    }
}

impl Default for LoraSpec {
    fn default() -> Self {
        let Lora {
            rank,
            alpha,
            dropout,
            targets,
            trained,
        } = Lora::default();
        Self {
            rank,
            alpha,
            dropout,
            targets,
            trained,
            quantize: None,
        }
    }
}

impl From<&LoraSpec> for Lora {
    fn from(spec: &LoraSpec) -> Self {
        Self {
            rank: spec.rank,
            alpha: spec.alpha,
            dropout: spec.dropout,
            targets: spec.targets.clone(),
            trained: spec.trained.clone(),
        }
    }
}
