//! Kernels against plain loops in double precision, at sizes that leave tails, and on pools of
//! several sizes.
#![allow(clippy::unwrap_used)]

mod attention;
mod convolution;
mod elementwise;
mod gemm;
mod index;
mod loss;
mod norm;
mod optim;
mod reduce;
mod softmax;

use crate::rng;

/// Numbers in [-size, size).
fn values(key: u64, len: usize, size: f32) -> Vec<f32> {
    let key = rng::derive(11, key);
    (0..len as u64)
        .map(|i| (rng::uniform_at(key, i) * 2.0 - 1.0) * size)
        .collect()
}

/// Integers in 0..count.
fn indices(key: u64, len: usize, count: usize) -> Vec<i64> {
    let key = rng::derive(12, key);
    (0..len as u64)
        .map(|i| (rng::bits_at(key, i) % count as u64) as i64)
        .collect()
}

/// Asserts |actual − expected| ≤ relative · |expected| + absolute for each element.
#[track_caller]
fn close(actual: &[f32], expected: &[f64], relative: f64, absolute: f64) {
    assert_eq!(actual.len(), expected.len());
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        let a = f64::from(*a);
        if a.is_nan() && e.is_nan() || a == *e {
            continue;
        }
        let error = (a - e).abs();
        assert!(
            error <= relative * e.abs() + absolute,
            "element {i}: {a} instead of {e}"
        );
    }
}

/// The bits of the outputs of `run` on pools of 1, 2 and 5 threads, which must be equal; the output.
#[track_caller]
fn on_any_pool(run: impl Fn() -> Vec<f32> + Sync) -> Vec<f32> {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(&run)
    };
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let one = on(1);
    for threads in [2, 5] {
        assert!(
            bits(&on(threads)) == bits(&one),
            "{threads} threads give other bits than one"
        );
    }
    one
}

/// A new output, full of a number that must not survive.
fn output(len: usize) -> Vec<f32> {
    vec![f32::NAN; len]
}

/// Double precision.
fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// The error function by its series, or a continued fraction far out.
fn erf(x: f64) -> f64 {
    let t = x.abs();
    let value = if t < 3.0 {
        let (mut term, mut sum) = (t, t);
        for n in 1..200 {
            term *= -t * t / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        1.0 - erfc_far(t)
    };
    value.copysign(x)
}

/// 1 − erf(t) for t ≥ 2.
fn erfc_far(t: f64) -> f64 {
    let mut fraction = t;
    for n in (1..120).rev() {
        fraction = t + f64::from(n) / 2.0 / fraction;
    }
    (-t * t).exp() / fraction / std::f64::consts::PI.sqrt()
}

/// The normal distribution function.
fn normal_cdf(x: f64) -> f64 {
    let z = x / std::f64::consts::SQRT_2;
    if z < -3.0 {
        0.5 * erfc_far(-z)
    } else {
        0.5 * (1.0 + erf(z))
    }
}
