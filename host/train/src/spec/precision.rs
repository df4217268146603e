//! In what precision a training computes.

use serde::{Deserialize, Serialize};
use tenon_tensor::DType;
use utoipa::ToSchema;

/// In what precision matrix products and convolutions are computed, in forward and backward. Weights,
/// gradients, the optimiser and all other operations are float32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// In single precision.
    #[default]
    Float32,
    /// With the range of float32 and three digits.
    Bfloat16,
    /// With a small range: the loss is scaled so that gradients stay within it.
    Float16,
}

impl Precision {
    /// The type that products are computed in, where it is not float32.
    pub(crate) fn reduced(self) -> Option<DType> {
        match self {
            Self::Float32 => None,
            Self::Bfloat16 => Some(DType::BF16),
            Self::Float16 => Some(DType::F16),
        }
    }
}
