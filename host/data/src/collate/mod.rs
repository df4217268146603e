//! Collation: rows of a dataset become the arrays that a recipe's signature asks for.
//!
//! [`EncodedRows`] holds every row's tokens, encoded once. A [`Loader`] walks over them in an order
//! that is a function of seed and epoch alone, so that a [`Position`] is all that a resumed job
//! needs. [`Prompt`] is the serving side: what stands before the first token to generate.
//!
//! The rules are those of the recipe contract: label t is token t + 1, and −100 where that token is
//! not learnt, is padding or starts another document; hidden tokens of a masked input are drawn
//! among the learnt ones, by seed, epoch and row; inputs that the model is not given when it predicts
//! (labels, hidden tokens, learnt columns of a fixed shape) are not asked of a request.

mod batch;
mod encode;
mod fixed;
mod loader;
mod plan;
mod prompt;
#[cfg(test)]
mod tests;
mod token;

use tenon_tensor::DType;
use tenon_tensor::nn::SequenceInfo;

pub use encode::{EncodeOptions, EncodedRows};
pub use loader::{BatchOptions, Loader, Position};
pub use plan::EpochPlan;
pub use prompt::{Given, Prompt, PromptSequence, collate_prompts};
pub use token::Token;

/// The label of what does not count.
pub const IGNORED: i64 = -100;

/// An array on its way to a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The input's name.
    pub name: String,
    /// The type of its numbers.
    pub dtype: DType,
    /// The batch first.
    pub shape: Vec<usize>,
    /// Little-endian, row-major.
    pub bytes: Vec<u8>,
}

impl Array {
    pub(crate) fn int64(name: &str, shape: [usize; 2], values: &[i64]) -> Self {
        Self {
            name: name.to_owned(),
            dtype: DType::I64,
            shape: shape.to_vec(),
            bytes: values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        }
    }

    pub(crate) fn float32(name: &str, shape: [usize; 2], values: &[f32]) -> Self {
        Self {
            name: name.to_owned(),
            dtype: DType::F32,
            shape: shape.to_vec(),
            bytes: values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        }
    }

    /// The numbers of an int64 array; nothing for another type.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        let numbers = self.bytes.as_chunks::<8>().0.iter();
        (self.dtype == DType::I64)
            .then(|| numbers.map(|bytes| i64::from_le_bytes(*bytes)).collect())
    }

    /// The numbers of a float32 array; nothing for another type.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        let numbers = self.bytes.as_chunks::<4>().0.iter();
        (self.dtype == DType::F32)
            .then(|| numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }
}

/// Where a document stands in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Its number in the [`EncodedRows`].
    pub document: u32,
    /// The row of the batch.
    pub row: usize,
    /// Its first token in that row, for each sequence input in the signature's order.
    pub starts: Vec<usize>,
}

/// The inputs of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct CollatedBatch {
    /// In the signature's order; a masked input is followed by its `NAME.mask`.
    pub arrays: Vec<Array>,
    /// The documents in each row of each sequence input, in the signature's order.
    pub infos: Vec<SequenceInfo>,
    /// The documents, row by row.
    pub placements: Vec<Placement>,
    /// Rows of the batch.
    pub rows: usize,
    /// Real tokens of all sequence inputs.
    pub tokens: usize,
    /// Labels that count.
    pub learnt_tokens: usize,
}

impl CollatedBatch {
    /// The array of that name.
    pub fn array(&self, name: &str) -> Option<&Array> {
        self.arrays.iter().find(|array| array.name == name)
    }
}
