//! Kernels of our own, in CubeCL: one launch for what a chain of Burn's operations would need many for, over
//! and over through memory. All compute in float32; those that take other types say so.
//!
//! A kernel that works by rows gives each row (all but the last dimension taken together) to one team of units
//! (a cube, or a plane where rows are short), which walk over it side by side. Tensors may have gaps between their rows, as CUDA likes them.

mod column_sum;
mod convert;
mod cross_entropy;
mod dropout;
mod embedding;
mod norm;
mod optim;
mod pointwise;
mod rotary;
pub(crate) mod row;
mod softmax;
mod square_sum;
mod team;

use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::client::ComputeClient;

pub use column_sum::ColumnSum;
pub use convert::Convert;
pub use cross_entropy::{CrossEntropy, CrossEntropyBackward};
pub use dropout::Dropout;
pub use embedding::EmbeddingBackward;
pub use norm::{Norm, NormBackward};
pub use optim::{AdamW, Lion, Sgd, Step};
pub use pointwise::{Pointwise, PointwiseBackward, SiluMulBackward};
pub use rotary::Rotary;
pub use softmax::{Scores, Softmax, SoftmaxBackward};
pub use square_sum::SquareSum;

use crate::{Tensor, tensor::mixed};

/// What computes tensors from tensors on a GPU.
pub trait Kernel {
    /// Launches it. What it takes and gives stands at each kernel.
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>>;
}

/// Runs a kernel on the device of its inputs, of which there is at least one.
///
/// # Panics
/// When they are on different devices, or not what the kernel takes.
pub fn run(inputs: Vec<Tensor>, kernel: impl Kernel) -> Vec<Tensor> {
    let (mut cuda, mut wgpu) = (Vec::new(), Vec::new());
    for input in inputs {
        match input {
            Tensor::Cuda(tensor) => cuda.push(tensor),
            Tensor::Wgpu(tensor) => wgpu.push(tensor),
        }
    }
    if !cuda.iter().all(|tensor| tensor.device == cuda[0].device)
        || !wgpu.iter().all(|tensor| tensor.device == wgpu[0].device)
    {
        mixed();
    }
    match (cuda.is_empty(), wgpu.is_empty()) {
        (false, true) => kernel.launch(cuda).into_iter().map(Tensor::Cuda).collect(),
        (true, false) => kernel.launch(wgpu).into_iter().map(Tensor::Wgpu).collect(),
        _ => mixed(),
    }
}

/// Sets of tensors that one launch takes at most.
const MOST_SETS: usize = 16;

/// How many of so many sets, of so many tensors each, every launch takes besides one tensor more. Powers of
/// two, so that few kernels are compiled, and as many as the device can be given at a time.
fn several<R: CubeRuntime>(
    sets: usize,
    tensors: usize,
    client: &ComputeClient<R>,
) -> impl Iterator<Item = usize> + use<R> {
    let most = (client.properties().hardware.max_bindings as usize - 1) / tensors;
    let most = most.clamp(1, MOST_SETS);
    let mut left = sets;
    std::iter::from_fn(move || {
        let now = 1 << left.min(most).checked_ilog2()?;
        left -= now;
        Some(now)
    })
}

/// The inputs of a kernel that takes N.
fn exactly<const N: usize, R: CubeRuntime>(inputs: Vec<CubeTensor<R>>) -> [CubeTensor<R>; N] {
    let count = inputs.len();
    inputs
        .try_into()
        .unwrap_or_else(|_| panic!("the kernel takes {N} tensors and got {count}"))
}
