use super::*;
use crate::cpu::{self, Matrix};

/// a · b for a [m, k] and b [k, n] given by their elements.
fn exact(
    (m, n, k): (usize, usize, usize),
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for p in 0..k {
            let a = f64::from(a(i, p));
            for (j, c) in c[i * n..][..n].iter_mut().enumerate() {
                *c += a * f64::from(b(p, j));
            }
        }
    }
    c
}

const SIZES: [(usize, usize, usize); 14] = [
    (1, 1, 1),
    (1, 33, 7),
    (2, 5, 300),
    (7, 9, 3),
    (8, 517, 65),
    (31, 1, 40),
    (64, 48, 16),
    (65, 47, 17),
    (100, 130, 257),
    (257, 65, 129),
    (12, 700, 513),
    (300, 310, 520),
    (129, 1100, 64),
    (1000, 70, 90),
];

#[test]
fn every_combination_of_layouts() {
    for size in SIZES {
        let (m, n, k) = size;
        let (a, b) = (values(1, m * k, 1.0), values(2, k * n, 1.0));
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let left = if ta {
                Matrix::rows(&a, m).t()
            } else {
                Matrix::rows(&a, k)
            };
            let right = if tb {
                Matrix::rows(&b, k).t()
            } else {
                Matrix::rows(&b, n)
            };
            let expected = exact(
                size,
                |i, p| if ta { a[p * m + i] } else { a[i * k + p] },
                |p, j| if tb { b[j * k + p] } else { b[p * n + j] },
            );
            let tolerance = 1e-6 * (k as f64).sqrt();
            let mut c = output(m * n);
            cpu::matmul(m, n, k, left, right, 0.0, &mut c);
            close(&c, &expected, 1e-5, tolerance);
            // Accumulate.
            let start = values(3, m * n, 1.0);
            let mut c = start.clone();
            cpu::matmul(m, n, k, left, right, 1.0, &mut c);
            let sum = expected.iter().zip(&start).map(|(e, s)| e + f64::from(*s));
            close(&c, &sum.collect::<Vec<_>>(), 1e-5, tolerance);
            // A bias for each column.
            let bias = values(4, n, 1.0);
            cpu::matmul_bias(m, n, k, left, right, &bias, &mut c);
            let sum = expected
                .iter()
                .enumerate()
                .map(|(i, e)| e + f64::from(bias[i % n]));
            close(&c, &sum.collect::<Vec<_>>(), 1e-5, tolerance);
        }
    }
}

#[test]
fn parts_of_larger_matrices() {
    let (m, n, k) = (37, 29, 41);
    let (a, b) = (values(5, 3 * m * k, 1.0), values(6, 2 * n * k, 1.0));
    let mut c = output(m * n);
    let (left, right) = (Matrix::new(&a[k..], 3 * k, 1), Matrix::new(&b, 2, 2 * n));
    cpu::matmul(m, n, k, left, right, 0.0, &mut c);
    let expected = exact(
        (m, n, k),
        |i, p| a[k + i * 3 * k + p],
        |p, j| b[2 * p + 2 * n * j],
    );
    close(&c, &expected, 1e-5, 1e-5);
}

#[test]
fn batches() {
    for (batch, m, n, k) in [(5, 4, 6, 3), (24, 64, 64, 32), (2, 200, 130, 150)] {
        let (a, b) = (values(7, batch * m * k, 1.0), values(8, batch * k * n, 1.0));
        for shared in [false, true] {
            let stride = if shared { 0 } else { k * n };
            let out = on_any_pool(|| {
                let mut c = output(batch * m * n);
                let (left, right) = (Matrix::rows(&a, k), Matrix::rows(&b, n));
                cpu::matmul_batched(batch, m, n, k, (left, m * k), (right, stride), 0.0, &mut c);
                c
            });
            let mut expected = Vec::new();
            for i in 0..batch {
                let (a, b) = (&a[i * m * k..], &b[i * stride..]);
                expected.extend(exact((m, n, k), |i, p| a[i * k + p], |p, j| b[p * n + j]));
            }
            close(&out, &expected, 1e-5, 1e-5);
        }
    }
}

#[test]
fn the_pool_does_not_matter() {
    for (m, n, k) in SIZES.into_iter().chain([(513, 270, 300), (40, 2100, 600)]) {
        let (a, b) = (values(9, m * k, 1.0), values(10, k * n, 1.0));
        on_any_pool(|| {
            let mut c = output(m * n);
            cpu::matmul(
                m,
                n,
                k,
                Matrix::rows(&a, k),
                Matrix::rows(&b, k).t(),
                0.0,
                &mut c,
            );
            c
        });
        on_any_pool(|| {
            let mut c = output(m * n);
            cpu::matmul(
                m,
                n,
                k,
                Matrix::rows(&a, m).t(),
                Matrix::rows(&b, n),
                0.0,
                &mut c,
            );
            c
        });
    }
}

#[test]
fn nothing_to_add_gives_zeros() {
    let mut c = output(6);
    cpu::matmul(
        2,
        3,
        0,
        Matrix::rows(&[], 0),
        Matrix::rows(&[], 3),
        0.0,
        &mut c,
    );
    assert_eq!(c, [0.0; 6]);
    cpu::matmul(
        0,
        3,
        4,
        Matrix::rows(&[], 4),
        Matrix::rows(&[1.0; 12], 3),
        0.0,
        &mut [],
    );
    // What was in c must not matter, not even NaN.
    let mut c = output(1);
    cpu::matmul(
        1,
        1,
        1,
        Matrix::rows(&[2.0], 1),
        Matrix::rows(&[3.0], 1),
        0.0,
        &mut c,
    );
    assert_eq!(c, [6.0]);
}
