use tenon_gpu::kernels::{AdamW, Sgd};

use super::*;
use crate::cpu;

const LEN: usize = 50_021;

#[test]
fn adamw_follows_its_definition() {
    let (p0, g) = (values(1, LEN, 1.0), values(2, LEN, 1.0));
    let (lr, beta1, beta2, eps, decay) = (1e-2_f64, 0.9_f64, 0.999_f64, 1e-8_f64, 0.1_f64);
    let steps = 5;
    let out = on_any_pool(|| {
        let (mut p, mut m, mut v) = (p0.clone(), vec![0.0; LEN], vec![0.0; LEN]);
        for t in 1..=steps {
            let step = AdamW {
                beta1: beta1 as f32,
                beta2: beta2 as f32,
                rest1: (1.0 - beta1) as f32,
                rest2: (1.0 - beta2) as f32,
                eps: eps as f32,
                keep: (1.0 - lr * decay) as f32,
                size: (lr / (1.0 - beta1.powi(t))) as f32,
                unroot: (1.0 / (1.0 - beta2.powi(t)).sqrt()) as f32,
                gradient_scale: 0.5,
            };
            cpu::adamw(&step, &mut p, &g, &mut m, &mut v);
        }
        p
    });
    let expected: Vec<f64> = p0
        .iter()
        .zip(&g)
        .map(|(p, g)| {
            let (mut p, g) = (f64::from(*p), f64::from(*g) * 0.5);
            let (mut m, mut v) = (0.0, 0.0);
            for t in 1..=steps {
                m = beta1 * m + (1.0 - beta1) * g;
                v = beta2 * v + (1.0 - beta2) * g * g;
                let root = (v / (1.0 - beta2.powi(t))).sqrt();
                p = p * (1.0 - lr * decay) - lr * (m / (1.0 - beta1.powi(t))) / (root + eps);
            }
            p
        })
        .collect();
    close(&out, &expected, 1e-6, 1e-6);
}

#[test]
fn sgd_follows_its_definition() {
    let (p0, g) = (values(3, LEN, 1.0), values(4, LEN, 1.0));
    let base = Sgd {
        lr: 0.1,
        weight_decay: 0.01,
        momentum: 0.9,
        rest: 0.8,
        ahead: None,
        gradient_scale: 2.0,
        has_velocity: true,
    };
    for (with_velocity, ahead) in [(false, None), (true, None), (true, Some(0.9))] {
        let step = Sgd {
            ahead,
            has_velocity: with_velocity,
            ..base
        };
        let out = on_any_pool(|| {
            let (mut p, mut v) = (p0.clone(), g.clone());
            for _ in 0..3 {
                cpu::sgd(&step, &mut p, &g, with_velocity.then_some(&mut v));
            }
            p
        });
        let expected: Vec<f64> = p0
            .iter()
            .zip(&g)
            .map(|(p, g0)| {
                let (mut p, mut v) = (f64::from(*p), f64::from(*g0));
                for _ in 0..3 {
                    let g = f64::from(*g0) * 2.0 + 0.01 * p;
                    v = 0.9 * v + 0.8 * g;
                    p -= 0.1
                        * match (with_velocity, ahead) {
                            (false, _) => g,
                            (true, None) => v,
                            (true, Some(ahead)) => g + f64::from(ahead) * v,
                        };
                }
                p
            })
            .collect();
        close(&out, &expected, 2e-6, 2e-6);
    }
}

#[test]
fn the_square_sum_is_exact_enough_and_repeats() {
    let x = values(5, 200_003, 3.0);
    let exact: f64 = wide(&x).iter().map(|x| x * x).sum();
    assert!((cpu::square_sum(&x) / exact - 1.0).abs() < 1e-12);
    on_any_pool(|| {
        let bits = cpu::square_sum(&x).to_bits();
        vec![
            f32::from_bits((bits >> 32) as u32),
            f32::from_bits(bits as u32),
        ]
    });
    assert_eq!(cpu::square_sum(&[]), 0.0);
}
