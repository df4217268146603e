//! The operations, one file for each family, forward and backward side by side.
//!
//! Each checks its arguments, computes (by a kernel of ours for float32 in main memory, else by the
//! backend's primitives) and ends with `record`, which notes its backward if an argument is tracked.
//! Backwards are written with the operations themselves: they get untracked tensors, so nothing is
//! recorded twice.

mod activation;
mod arithmetic;
mod attention;
mod batch_norm;
mod cast;
mod choose;
mod common;
mod compare;
mod conv;
mod dropout;
mod host_attention;
mod host_conv;
mod host_matmul;
mod host_rotary;
mod index;
mod loss;
mod matmul;
mod norm;
mod options;
mod pool;
mod reduce;
mod rotary;
mod shape;
mod softmax;
mod topk;
mod triangle;
mod unary;

pub(crate) use attention::{Rule as AttentionRule, composed as attention, has_ranges};
pub use options::{ConvOptions, PoolOptions, Reduction, RotaryStyle};
pub(crate) use shape::among_zeros;
