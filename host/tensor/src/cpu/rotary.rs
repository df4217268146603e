//! Rotary position embeddings.

use super::{Heads, math::sin_cos, par, simd::simd_fn};

/// The sizes of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotaryShape {
    /// Sequences.
    pub batch: usize,
    /// Tokens of a sequence.
    pub tokens: usize,
    /// Heads of a token.
    pub heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// How many of them are rotated (even, at most `head_dim`); the others pass through.
    pub rotated: usize,
    /// Pairs (2i, 2i + 1) instead of (i, i + rotated/2).
    pub interleaved: bool,
}

/// Cosines and sines of position · frequency: positions [n], frequencies [rotated/2] → each
/// [n, rotated/2]. One table serves all layers of a pass.
pub fn rotary_table(positions: &[i64], frequencies: &[f32], cos: &mut [f32], sin: &mut [f32]) {
    simd_fn! {
        fn row(position: f64, frequencies: &[f32], cos: &mut [f32], sin: &mut [f32]) {
            for ((cos, sin), f) in cos.iter_mut().zip(sin).zip(frequencies) {
                // The product is rounded as PyTorch's is: models were trained with it.
                (*sin, *cos) = sin_cos(f64::from(position as f32 * f));
            }
        }
    }
    let half = frequencies.len().max(1);
    assert!(cos.len() == positions.len() * frequencies.len() && sin.len() == cos.len());
    let rows = par::rows_grain(positions.len(), half, 8);
    par::chunks2((cos, rows * half), (sin, rows * half), |i, cos, sin| {
        let chunks = cos.chunks_exact_mut(half).zip(sin.chunks_exact_mut(half));
        for ((cos, sin), position) in chunks.zip(&positions[i * rows..]) {
            row(*position as f64, frequencies, cos, sin);
        }
    });
}

/// Rotates x [batch, tokens, heads, head_dim] by the tables [batch, tokens, rotated/2]; out is
/// contiguous.
pub fn rotary(shape: &RotaryShape, x: Heads, cos: &[f32], sin: &[f32], out: &mut [f32]) {
    rotate(shape, x, cos, sin, 1.0, out);
}

/// The gradient of [`rotary`]: the rotation back.
pub fn rotary_backward(shape: &RotaryShape, dy: Heads, cos: &[f32], sin: &[f32], dx: &mut [f32]) {
    rotate(shape, dy, cos, sin, -1.0, dx);
}

fn rotate(shape: &RotaryShape, x: Heads, cos: &[f32], sin: &[f32], sign: f32, out: &mut [f32]) {
    simd_fn! {
        fn halves(x: &[f32], cos: &[f32], sin: &[f32], sign: f32, out: &mut [f32]) {
            let half = cos.len();
            let (x1, x2) = x.split_at(half);
            let (y1, y2) = out.split_at_mut(half);
            for i in 0..half {
                let (c, s) = (cos[i], sin[i] * sign);
                let (a, b) = (x1[i], x2[i]);
                y1[i] = a * c - b * s;
                y2[i] = b * c + a * s;
            }
        }
    }
    simd_fn! {
        fn pairs(x: &[f32], cos: &[f32], sin: &[f32], sign: f32, out: &mut [f32]) {
            let (x, _) = x.as_chunks::<2>();
            let (out, _) = out.as_chunks_mut::<2>();
            for ((x, out), (c, s)) in x.iter().zip(out).zip(cos.iter().zip(sin)) {
                let s = s * sign;
                *out = [x[0] * c - x[1] * s, x[1] * c + x[0] * s];
            }
        }
    }
    let (dim, rotated) = (shape.head_dim, shape.rotated);
    let half = rotated / 2;
    let width = shape.heads * dim;
    let rows = shape.batch * shape.tokens;
    assert!(rotated % 2 == 0 && rotated <= dim && out.len() == rows * width);
    assert!(cos.len() == rows * half && sin.len() == cos.len());
    let grain = par::rows_grain(rows, width, 2);
    par::chunks(out, grain * width, |at, out| {
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            let row = at / width + row;
            let (cos, sin) = (&cos[row * half..][..half], &sin[row * half..][..half]);
            let (sequence, token) = (row / shape.tokens, row % shape.tokens);
            for (head, out) in out.chunks_exact_mut(dim).enumerate() {
                let x = &x.row(sequence, token, head)[..dim];
                let (turned, rest) = out.split_at_mut(rotated);
                if shape.interleaved {
                    pairs(&x[..rotated], cos, sin, sign, turned);
                } else {
                    halves(&x[..rotated], cos, sin, sign, turned);
                }
                rest.copy_from_slice(&x[rotated..]);
            }
        }
    });
}
