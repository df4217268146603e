//! Kernels over slices of host memory: no tensors, no device, no allocation of results.
//!
//! Conventions:
//! - Arrays are row-major. Outputs are overwritten unless the name says otherwise (`_assign`, or a
//!   `beta`), so their content on entry does not matter.
//! - Lengths are checked with assertions: a caller has checked shapes, indices and types before, and
//!   a wrong length is a bug there. Nothing else panics.
//! - Each kernel is compiled for AVX-512, AVX2 and the baseline, and picks at run time. All of them
//!   compute the same bits (fused multiply-adds are explicit, reductions have fixed lanes), except
//!   for matrix products, whose blocking depends on the instruction set.
//! - Work is shared over rayon's pool when there is enough of it. No result depends on the number
//!   of threads: what is reduced is cut at fixed places.

mod attention;
mod attention_backward;
mod batch_norm;
mod binary;
mod convert;
mod convolution;
mod cross_entropy;
mod decode;
mod dropout;
mod gemm;
mod group_norm;
mod index;
mod math;
mod norm;
mod optim;
mod par;
mod pool;
mod quantize;
mod reduce;
mod rotary;
mod simd;
mod softmax;
#[cfg(test)]
mod tests;
mod unary;

pub use attention::{
    AttentionBias, AttentionDropout, AttentionRule, AttentionShape, Heads, HeadsMut, attention,
};
pub use attention_backward::{AttentionGradients, attention_backward};
pub use batch_norm::{batch_norm, batch_norm_backward};
pub use binary::{
    BinaryOp, add_assign, axpy, binary, binary_columns, binary_rows, binary_scalar, scale_assign,
};
pub use convert::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16, i64_to_f32, u8_to_f32};
pub use convolution::{Conv2d, conv2d, conv2d_backward};
pub use cross_entropy::{
    CrossEntropy, bce_with_logits, bce_with_logits_backward, cross_entropy, cross_entropy_backward,
};
pub use decode::{DecodeRow, DecodeShape, attention_decode};
pub use dropout::{dropout, dropout_backward};
pub use gemm::{Matrix, matmul, matmul_batched, matmul_bias};
pub use group_norm::{group_norm, group_norm_backward};
pub use index::{
    embedding, embedding_backward, first_invalid, gather, index_add, index_select, scatter_add,
};
pub use norm::{layer_norm, layer_norm_backward, rms_norm, rms_norm_backward};
pub use optim::{adamw, lion, sgd, square_sum};
pub use pool::{Pool2d, avg_pool2d, avg_pool2d_backward, max_pool2d, max_pool2d_backward};
pub use quantize::{BLOCK as QUANTIZED_BLOCK, NF4, from_int8, from_nf4, to_int8, to_nf4};
pub use reduce::{argmax_last, max_last, mean_last, min_last, sum, sum_last, sum_rows};
pub use rotary::{RotaryShape, rotary, rotary_backward, rotary_table};
pub use softmax::{
    log_softmax, log_softmax_backward, logsumexp, logsumexp_backward, softmax, softmax_backward,
};
pub use unary::{
    abs, cos, erf, exp, gelu_erf, gelu_erf_backward, gelu_tanh, gelu_tanh_backward, log, neg, relu,
    relu_backward, rsqrt, sigmoid, sigmoid_backward, silu, silu_backward, silu_mul,
    silu_mul_backward, sin, sqrt, tanh, tanh_backward,
};
