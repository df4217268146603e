//! Graphics processors: tensors of CUDA and WGPU behind one type, Burn's operations on them, and kernels of
//! our own for what a chain of these would do slowly.
//!
//! A crate of its own because what compiles kernels is large, and seldom changes.

mod blas;
pub mod kernels;
mod ops;
mod tensor;

/// A name for the state of the kernels' sources, ours and Burn's. A cache of what was compiled needs it:
/// CubeCL's keys know a kernel's name and not its body.
pub const KERNELS: &str = env!("TENON_KERNELS");

pub use burn::backend::{Cuda, Wgpu};
pub use burn_cuda::CudaDevice;
pub use burn_wgpu::WgpuDevice;
pub use ops::Gpu;
pub use tensor::{Device, Tensor};
