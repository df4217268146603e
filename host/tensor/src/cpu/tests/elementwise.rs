use half::{bf16, f16};

use super::*;
use crate::cpu::{self, BinaryOp};

type Unary = fn(&[f32], &mut [f32]);

/// Enough for several tasks, and a tail.
const LEN: usize = 70_003;

/// Inputs dense in [-size, size], with zeros and tiny numbers.
fn inputs(size: f32) -> Vec<f32> {
    let mut x = values(1, LEN, size);
    let small = values(2, 1000, 1e-3);
    x[..1000].copy_from_slice(&small);
    x[1000..1003].copy_from_slice(&[0.0, -0.0, 1e-30]);
    x
}

#[track_caller]
fn check(f: Unary, exact: impl Fn(f64) -> f64, x: &[f32], relative: f64, absolute: f64) {
    let out = on_any_pool(|| {
        let mut out = output(x.len());
        f(x, &mut out);
        out
    });
    let expected: Vec<f64> = x.iter().map(|x| exact(f64::from(*x))).collect();
    close(&out, &expected, relative, absolute);
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn gelu_tanh(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    x * sigmoid(2.0 * inner)
}

#[test]
fn elementary_functions_are_accurate() {
    check(cpu::exp, f64::exp, &inputs(87.0), 2e-7, 0.0);
    let positive: Vec<f32> = inputs(20.0).iter().map(|x| x.abs().powi(3)).collect();
    let positive: Vec<f32> = positive
        .into_iter()
        .filter(|x| *x == 0.0 || *x > 1e-37)
        .collect();
    check(cpu::log, f64::ln, &positive, 2e-7, 1e-9);
    let near_one: Vec<f32> = values(3, 5000, 0.01).iter().map(|x| 1.0 + x).collect();
    check(cpu::log, f64::ln, &near_one, 3e-7, 0.0);
    check(cpu::tanh, f64::tanh, &inputs(12.0), 5e-7, 0.0);
    check(cpu::sigmoid, sigmoid, &inputs(80.0), 4e-7, 1e-38);
    check(cpu::erf, erf, &inputs(5.0), 2e-7, 0.0);
    check(cpu::sin, f64::sin, &inputs(100.0), 2e-7, 6e-8);
    check(cpu::cos, f64::cos, &inputs(1e5), 2e-7, 6e-8);
    check(cpu::sqrt, f64::sqrt, &positive, 1e-7, 0.0);
    let not_zero: Vec<f32> = positive.iter().map(|x| x + 0.1).collect();
    check(cpu::rsqrt, |x| 1.0 / x.sqrt(), &not_zero, 2e-7, 0.0);
    check(cpu::neg, |x| -x, &inputs(3.0), 0.0, 0.0);
    check(cpu::abs, f64::abs, &inputs(3.0), 0.0, 0.0);
}

#[test]
fn activations_are_accurate() {
    let x = inputs(14.0);
    check(cpu::relu, |x| x.max(0.0), &x, 0.0, 0.0);
    check(cpu::silu, |x| x * sigmoid(x), &x, 5e-7, 1e-38);
    // Far out on the left the exponent's rounding is magnified by its size.
    check(cpu::gelu_tanh, gelu_tanh, &inputs(5.0), 6e-6, 1e-9);
    check(cpu::gelu_tanh, gelu_tanh, &x, 1e-6, 1e-7);
    check(
        cpu::gelu_erf,
        |x| x * normal_cdf(x),
        &inputs(5.0),
        1e-6,
        // On the left 1 + erf cancels.
        5e-8,
    );
    check(cpu::gelu_erf, |x| x * normal_cdf(x), &x, 1e-6, 1e-7);
}

#[test]
fn edges_are_those_of_ieee() {
    let edges = [
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1e38,
        -1e38,
        200.0,
        -200.0,
    ];
    let cases: [(Unary, [f32; 7]); 8] = [
        (
            cpu::exp,
            [
                f32::INFINITY,
                0.0,
                f32::NAN,
                f32::INFINITY,
                0.0,
                f32::INFINITY,
                0.0,
            ],
        ),
        (
            cpu::log,
            [
                f32::INFINITY,
                f32::NAN,
                f32::NAN,
                87.49824,
                f32::NAN,
                5.2983174,
                f32::NAN,
            ],
        ),
        (cpu::tanh, [1.0, -1.0, f32::NAN, 1.0, -1.0, 1.0, -1.0]),
        (cpu::sigmoid, [1.0, 0.0, f32::NAN, 1.0, 0.0, 1.0, 0.0]),
        (cpu::erf, [1.0, -1.0, f32::NAN, 1.0, -1.0, 1.0, -1.0]),
        (
            cpu::relu,
            [f32::INFINITY, 0.0, f32::NAN, 1e38, 0.0, 200.0, 0.0],
        ),
        (
            cpu::gelu_tanh,
            [f32::INFINITY, f32::NAN, f32::NAN, 1e38, 0.0, 200.0, 0.0],
        ),
        (
            cpu::gelu_erf,
            [f32::INFINITY, f32::NAN, f32::NAN, 1e38, 0.0, 200.0, 0.0],
        ),
    ];
    for (number, (f, expected)) in cases.into_iter().enumerate() {
        let mut out = output(edges.len());
        f(&edges, &mut out);
        for (i, (out, expected)) in out.iter().zip(expected).enumerate() {
            let same = (out - expected).abs() <= 1e-6 * expected.abs()
                || *out == expected
                || out.is_nan() && expected.is_nan();
            assert!(
                same,
                "function {number} of {}: {out} instead of {expected}",
                edges[i]
            );
        }
    }
    let mut out = output(1);
    cpu::log(&[0.0], &mut out);
    assert_eq!(out[0], f32::NEG_INFINITY);
}

/// The derivative by differences of fourth order.
fn slope(f: impl Fn(f64) -> f64, x: f64) -> f64 {
    let h = 1e-3;
    (8.0 * (f(x + h) - f(x - h)) - (f(x + 2.0 * h) - f(x - 2.0 * h))) / (12.0 * h)
}

#[test]
fn gradients_are_the_slopes() {
    let x = inputs(9.0);
    let dy = values(4, x.len(), 2.0);
    type Gradient = fn(&[f32], &[f32], &mut [f32]);
    type Exact = fn(f64) -> f64;
    let cases: [(Gradient, Exact); 3] = [
        (cpu::silu_backward, |x| x * sigmoid(x)),
        (cpu::gelu_tanh_backward, gelu_tanh),
        (cpu::gelu_erf_backward, |x| x * normal_cdf(x)),
    ];
    for (gradient, exact) in cases {
        let out = on_any_pool(|| {
            let mut dx = output(x.len());
            gradient(&x, &dy, &mut dx);
            dx
        });
        let pairs = x.iter().zip(&dy);
        let expected: Vec<f64> = pairs
            .map(|(x, dy)| f64::from(*dy) * slope(exact, f64::from(*x)))
            .collect();
        close(&out, &expected, 1e-6, 1e-6);
    }
    // From outputs.
    let outputs: [(Unary, Gradient, Exact); 2] = [
        (cpu::tanh, cpu::tanh_backward, f64::tanh),
        (cpu::sigmoid, cpu::sigmoid_backward, sigmoid),
    ];
    for (f, gradient, exact) in outputs {
        let (mut y, mut dx) = (output(x.len()), output(x.len()));
        f(&x, &mut y);
        gradient(&y, &dy, &mut dx);
        let pairs = x.iter().zip(&dy);
        let expected: Vec<f64> = pairs
            .map(|(x, dy)| f64::from(*dy) * slope(exact, f64::from(*x)))
            .collect();
        // 1 − y² keeps only the bits that y has.
        close(&dx, &expected, 1e-5, 4e-6);
    }
    let mut dx = output(3);
    cpu::relu_backward(&[-1.0, 0.0, 2.0], &[5.0, 6.0, 7.0], &mut dx);
    assert_eq!(dx, [0.0, 0.0, 7.0]);
}

#[test]
fn slopes_far_out_are_limits() {
    let x = [f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 60.0, -60.0];
    let dy = [1.0; 6];
    for gradient in [
        cpu::silu_backward,
        cpu::gelu_tanh_backward,
        cpu::gelu_erf_backward,
    ] {
        let mut dx = output(6);
        gradient(&x[2..], &dy[2..], &mut dx[2..]);
        close(&dx[2..], &[1.0, 0.0, 1.0, 0.0], 0.0, 1e-12);
    }
}

#[test]
fn silu_mul_and_its_gradients() {
    let (gate, up, dy) = (
        values(5, LEN, 6.0),
        values(6, LEN, 2.0),
        values(7, LEN, 2.0),
    );
    let mut out = output(LEN);
    cpu::silu_mul(&gate, &up, &mut out);
    let both = on_any_pool(|| {
        let (mut dgate, mut dup) = (output(LEN), output(LEN));
        cpu::silu_mul_backward(&gate, &up, &dy, &mut dgate, &mut dup);
        [dgate, dup].concat()
    });
    let (gate, up, dy) = (wide(&gate), wide(&up), wide(&dy));
    let silu = |x: f64| x * sigmoid(x);
    let expected: Vec<f64> = gate.iter().zip(&up).map(|(g, u)| silu(*g) * u).collect();
    close(&out, &expected, 1e-6, 1e-12);
    let mut expected = Vec::new();
    expected.extend((0..LEN).map(|i| dy[i] * up[i] * slope(silu, gate[i])));
    expected.extend((0..LEN).map(|i| dy[i] * silu(gate[i])));
    close(&both, &expected, 2e-6, 1e-6);
}

#[test]
fn arithmetic_of_all_shapes() {
    let (rows, cols) = (301, 107);
    let (a, b) = (values(8, rows * cols, 3.0), values(9, rows * cols, 3.0));
    let (row, column) = (&b[..cols], &b[..rows]);
    type Pair = fn(f64, f64) -> f64;
    let ops: [(BinaryOp, Pair); 6] = [
        (BinaryOp::Add, |a, b| a + b),
        (BinaryOp::Sub, |a, b| a - b),
        (BinaryOp::Mul, |a, b| a * b),
        (BinaryOp::Div, |a, b| a / b),
        (BinaryOp::Max, f64::max),
        (BinaryOp::Min, f64::min),
    ];
    for (op, exact) in ops {
        let expect = |other: &dyn Fn(usize) -> f32| -> Vec<f64> {
            let pair = |(i, a): (usize, &f32)| exact(f64::from(*a), f64::from(other(i)));
            a.iter().enumerate().map(pair).collect()
        };
        let mut out = output(a.len());
        cpu::binary(op, &a, &b, &mut out);
        close(&out, &expect(&|i| b[i]), 1e-7, 0.0);
        cpu::binary_scalar(op, &a, 1.5, &mut out);
        close(&out, &expect(&|_| 1.5), 1e-7, 0.0);
        cpu::binary_rows(op, &a, row, &mut out);
        close(&out, &expect(&|i| row[i % cols]), 1e-7, 0.0);
        cpu::binary_columns(op, &a, column, &mut out);
        close(&out, &expect(&|i| column[i / cols]), 1e-7, 0.0);
    }
    let mut out = output(2);
    for op in [BinaryOp::Max, BinaryOp::Min] {
        cpu::binary(op, &[f32::NAN, 1.0], &[1.0, f32::NAN], &mut out);
        assert!(out.iter().all(|x| x.is_nan()), "{op:?} loses NaN");
    }
    let mut y = a.clone();
    cpu::add_assign(&mut y, &b);
    cpu::axpy(&mut y, -0.5, &b);
    cpu::scale_assign(&mut y, 2.0);
    let expected: Vec<f64> = wide(&a)
        .iter()
        .zip(wide(&b))
        .map(|(a, b)| 2.0 * a + b)
        .collect();
    close(&y, &expected, 1e-6, 1e-6);
}

#[test]
fn dropout_keeps_the_mean_and_repeats() {
    let x = vec![1.0; 100_003];
    let out = on_any_pool(|| {
        let mut out = output(x.len());
        cpu::dropout(&x, 0.3, 42, &mut out);
        out
    });
    let kept = out.iter().filter(|x| **x != 0.0).count() as f64 / x.len() as f64;
    assert!((kept - 0.7).abs() < 0.01, "{kept}");
    assert!(
        out.iter()
            .all(|x| *x == 0.0 || (*x - 1.0 / 0.7).abs() < 1e-6)
    );
    let mut again = output(x.len());
    cpu::dropout_backward(&x, 0.3, 42, &mut again);
    assert_eq!(out, again);
    cpu::dropout(&x, 0.3, 43, &mut again);
    assert_ne!(out, again);
    cpu::dropout(&x, 1.0, 42, &mut again);
    assert!(again.iter().all(|x| *x == 0.0));
    cpu::dropout(&x, 0.0, 42, &mut again);
    assert_eq!(x, again);
}

#[test]
fn conversions_round_as_the_half_crate() {
    let mut x: Vec<f32> = (0..60_001_u32)
        .map(|i| f32::from_bits(i.wrapping_mul(71_583) ^ 0x3F80_0000))
        .collect();
    x.extend([
        0.0,
        -0.0,
        65_504.0,
        65_519.9,
        65_520.0,
        5.9e-8,
        2.9e-8,
        3.0e-8,
        6.1e-5,
        f32::MAX,
    ]);
    x.extend([
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::from_bits(0x7F80_0001),
    ]);
    let same = |a: u16, b: u16, nan: bool| a == b || nan;
    let mut b = vec![bf16::ZERO; x.len()];
    cpu::f32_to_bf16(&x, &mut b);
    let mut h = vec![f16::ZERO; x.len()];
    cpu::f32_to_f16(&x, &mut h);
    for (i, x) in x.iter().enumerate() {
        assert_eq!(b[i].is_nan(), x.is_nan());
        assert_eq!(h[i].is_nan(), x.is_nan());
        assert!(
            same(b[i].to_bits(), bf16::from_f32(*x).to_bits(), x.is_nan()),
            "bf16 of {x:e}"
        );
        assert!(
            same(h[i].to_bits(), f16::from_f32(*x).to_bits(), x.is_nan()),
            "f16 of {x:e}"
        );
    }
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let mut out = output(all.len());
    let halves: Vec<f16> = all.iter().map(|bits| f16::from_bits(*bits)).collect();
    cpu::f16_to_f32(&halves, &mut out);
    for (half, out) in halves.iter().zip(&out) {
        assert!(half.to_f32().to_bits() == out.to_bits() || half.is_nan() && out.is_nan());
    }
    let brains: Vec<bf16> = all.iter().map(|bits| bf16::from_bits(*bits)).collect();
    cpu::bf16_to_f32(&brains, &mut out);
    for (brain, out) in brains.iter().zip(&out) {
        assert!(brain.to_f32().to_bits() == out.to_bits() || brain.is_nan() && out.is_nan());
    }
    let mut out = output(3);
    cpu::u8_to_f32(&[0, 7, 255], &mut out);
    assert_eq!(out, [0.0, 7.0, 255.0]);
    cpu::i64_to_f32(&[-3, 1 << 40, 16_777_217], &mut out);
    assert_eq!(out, [-3.0, 1_099_511_627_776.0, 16_777_216.0]);
}
