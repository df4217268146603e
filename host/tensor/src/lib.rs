//! Tensors on the host's devices, their operations and gradients, and what models are trained with.
//!
//! [`Tensor`] has the operations of the contract's `tensors` interface, defined as in PyTorch. They
//! are eager and pure. Gradients come from a [`Tape`]: operations on its leaves are recorded, and
//! [`Tape::backward`] runs them backwards. Every argument is checked before the backend sees it, so
//! wrong ones are errors and never crashes.
//!
//! Only this crate and `tenon-gpu` name Burn.

pub mod cpu;
mod device;
mod dims;
mod dtype;
mod error;
mod gpu;
pub mod memory;
pub mod nn;
mod ops;
pub mod optim;
pub mod params;
mod raw;
mod recycled;
pub mod rng;
mod tape;
mod tensor;
mod value;

pub use device::{Device, DeviceInfo};
pub use dtype::DType;
pub use error::TensorError;
pub use ops::{ConvOptions, PoolOptions, Reduction, RotaryStyle};
pub use tape::{Gradients, NonFinite, Tape};
pub use tensor::Tensor;
