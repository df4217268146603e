//! Functions of single elements, and their gradients.

use super::{math, par, simd::simd_fn};

/// Defines functions of one array: `name(x, out)`.
macro_rules! unary {
    ($($(#[$meta:meta])* $name:ident($cost:literal) = |$x:ident| $value:expr;)*) => {$(
        $(#[$meta])*
        pub fn $name(x: &[f32], out: &mut [f32]) {
            simd_fn! {
                fn kernel(x: &[f32], out: &mut [f32]) {
                    for (out, x) in out.iter_mut().zip(x) {
                        let $x = *x;
                        *out = $value;
                    }
                }
            }
            assert_eq!(x.len(), out.len());
            let grain = par::grain(x.len(), $cost);
            par::chunks(out, grain, |at, out| kernel(&x[at..at + out.len()], out));
        }
    )*};
}

/// Defines gradients: `name(a, dy, dx)`, where `a` is the function's input or its output.
macro_rules! gradient {
    ($($(#[$meta:meta])* $name:ident($cost:literal) = |$a:ident, $dy:ident| $value:expr;)*) => {$(
        $(#[$meta])*
        pub fn $name(a: &[f32], dy: &[f32], dx: &mut [f32]) {
            simd_fn! {
                fn kernel(a: &[f32], dy: &[f32], dx: &mut [f32]) {
                    for (dx, (a, dy)) in dx.iter_mut().zip(a.iter().zip(dy)) {
                        let ($a, $dy) = (*a, *dy);
                        *dx = $value;
                    }
                }
            }
            assert!(a.len() == dx.len() && dy.len() == dx.len());
            let grain = par::grain(dx.len(), $cost);
            par::chunks(dx, grain, |at, dx| {
                let range = at..at + dx.len();
                kernel(&a[range.clone()], &dy[range], dx);
            });
        }
    )*};
}

unary! {
    /// −x.
    neg(1) = |x| -x;
    /// |x|.
    abs(1) = |x| x.abs();
    /// √x.
    sqrt(2) = |x| x.sqrt();
    /// 1/√x.
    rsqrt(2) = |x| 1.0 / x.sqrt();
    /// eˣ, relative error below 2·10⁻⁷; results that would be denormal are 0.
    exp(4) = |x| math::exp(x);
    /// The natural logarithm.
    log(4) = |x| math::log(x);
    /// sin x.
    sin(6) = |x| math::sin_cos(f64::from(x)).0;
    /// cos x.
    cos(6) = |x| math::sin_cos(f64::from(x)).1;
    /// tanh x.
    tanh(4) = |x| math::tanh(x);
    /// 1/(1 + e⁻ˣ).
    sigmoid(4) = |x| math::sigmoid(x);
    /// The error function.
    erf(4) = |x| math::erf(x);
    /// max(x, 0); NaN stays.
    relu(1) = |x| if x < 0.0 { 0.0 } else { x };
    /// x · sigmoid(x).
    silu(4) = |x| x * math::sigmoid(x);
    /// GELU in its tanh form (GPT-2).
    gelu_tanh(4) = |x| math::gelu_tanh(x);
    /// GELU, exact (BERT).
    gelu_erf(4) = |x| math::gelu_erf(x);
}

gradient! {
    /// From the output y of tanh: dy · (1 − y²).
    tanh_backward(1) = |y, dy| dy * (1.0 - y * y);
    /// From the output y of sigmoid: dy · y(1 − y).
    sigmoid_backward(1) = |y, dy| dy * (y * (1.0 - y));
    /// From input or output of relu.
    relu_backward(1) = |x, dy| if x > 0.0 { dy } else { 0.0 };
    /// From the input of silu.
    silu_backward(4) = |x, dy| dy * math::silu_slope(x);
    /// From the input of [`gelu_tanh`].
    gelu_tanh_backward(4) = |x, dy| dy * math::gelu_tanh_slope(x);
    /// From the input of [`gelu_erf`].
    gelu_erf_backward(6) = |x, dy| dy * math::gelu_erf_slope(x);
    /// silu(gate) · up: the gate of SwiGLU. `silu_mul(gate, up, out)`.
    silu_mul(4) = |gate, up| gate * math::sigmoid(gate) * up;
}

/// The gradients of [`silu_mul`].
pub fn silu_mul_backward(gate: &[f32], up: &[f32], dy: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
    simd_fn! {
        fn kernel(gate: &[f32], up: &[f32], dy: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
            let inputs = gate.iter().zip(up).zip(dy);
            for ((dgate, dup), ((gate, up), dy)) in dgate.iter_mut().zip(dup).zip(inputs) {
                *dgate = dy * up * math::silu_slope(*gate);
                *dup = dy * (gate * math::sigmoid(*gate));
            }
        }
    }
    assert!([gate, up, dy, dup].iter().all(|x| x.len() == dgate.len()));
    let grain = par::grain(dgate.len(), 6);
    par::chunks2((dgate, grain), (dup, grain), |i, dgate, dup| {
        let range = i * grain..i * grain + dgate.len();
        kernel(
            &gate[range.clone()],
            &up[range.clone()],
            &dy[range],
            dgate,
            dup,
        );
    });
}
