#![allow(clippy::unwrap_used)]

use super::*;
use crate::{Device, Tensor, params::Params, rng};

fn values(key: u64, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    rng::fill_normal(rng::derive(17, key), &mut values);
    values
}

fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_f32(shape, values, &Device::cpu()).unwrap()
}

/// Two parameters: a matrix that decays and a bias that does not.
const SHAPES: [(&str, &[usize]); 2] = [("l.bias", &[5]), ("l.weight", &[700, 5])];

fn start() -> Params {
    let params = Params::new(&Device::cpu(), 0);
    for (key, (name, shape)) in SHAPES.iter().enumerate() {
        let count = shape.iter().product();
        params
            .set(name, tensor(shape, &values(key as u64, count)))
            .unwrap();
        // A recipe asks for them.
        crate::nn::Scope::root(&params, None)
            .param(name, shape, crate::nn::Init::Zeros)
            .unwrap();
    }
    params
}

fn gradients(step: u64) -> Vec<(String, Tensor)> {
    SHAPES
        .iter()
        .enumerate()
        .map(|(key, (name, shape))| {
            let count = shape.iter().product();
            let values = values(100 + step * 10 + key as u64, count);
            ((*name).to_owned(), tensor(shape, &values))
        })
        .collect()
}

fn numbers(params: &Params, name: &str) -> Vec<f32> {
    params.get(name).unwrap().to_f32_vec().unwrap()
}

/// PyTorch's formulas, in double precision, one number at a time.
struct Naive {
    config: OptimizerConfig,
    value: f64,
    first: f64,
    second: f64,
    steps: i32,
}

impl Naive {
    fn step(&mut self, gradient: f64, lr: f64, decay: f64) {
        self.steps += 1;
        match self.config {
            OptimizerConfig::Adamw(c) => {
                self.value -= lr * decay * self.value;
                self.first = c.beta1 * self.first + (1.0 - c.beta1) * gradient;
                self.second = c.beta2 * self.second + (1.0 - c.beta2) * gradient * gradient;
                let mean = self.first / (1.0 - c.beta1.powi(self.steps));
                let square = self.second / (1.0 - c.beta2.powi(self.steps));
                self.value -= lr * mean / (square.sqrt() + c.eps);
            }
            OptimizerConfig::Sgd(c) => {
                let mut gradient = gradient + decay * self.value;
                if c.momentum != 0.0 {
                    self.first = if self.steps == 1 {
                        gradient
                    } else {
                        c.momentum * self.first + (1.0 - c.dampening) * gradient
                    };
                    gradient = if c.nesterov {
                        gradient + c.momentum * self.first
                    } else {
                        self.first
                    };
                }
                self.value -= lr * gradient;
            }
            OptimizerConfig::Lion(c) => {
                let direction = c.beta1 * self.first + (1.0 - c.beta1) * gradient;
                self.value -= lr * (direction.signum() + decay * self.value);
                self.first = c.beta2 * self.first + (1.0 - c.beta2) * gradient;
            }
            OptimizerConfig::Adafactor(_) => panic!("it is no function of one number"),
        }
    }
}

fn configs() -> Vec<OptimizerConfig> {
    let sgd = Sgd {
        momentum: 0.9,
        weight_decay: 0.1,
        ..Sgd::default()
    };
    vec![
        OptimizerConfig::default(),
        OptimizerConfig::Adamw(AdamW {
            beta1: 0.8,
            beta2: 0.95,
            eps: 1e-3,
            weight_decay: 0.5,
            decay_only_matrices: true,
        }),
        OptimizerConfig::Sgd(Sgd::default()),
        OptimizerConfig::Sgd(Sgd {
            dampening: 0.3,
            ..sgd
        }),
        OptimizerConfig::Sgd(Sgd {
            nesterov: true,
            ..sgd
        }),
        OptimizerConfig::Lion(Lion {
            weight_decay: 0.2,
            ..Lion::default()
        }),
    ]
}

fn rate(step: u64) -> f64 {
    0.01 * (1.0 + step as f64)
}

#[test]
fn equals_the_formulas_of_pytorch() {
    for config in configs() {
        let params = start();
        let before: Vec<Vec<f32>> = SHAPES.iter().map(|(n, _)| numbers(&params, n)).collect();
        let mut optimizer = Optimizer::new(config).unwrap();
        for step in 0..5 {
            optimizer
                .step(&params, &gradients(step), rate(step), &[])
                .unwrap();
        }
        for (which, (name, shape)) in SHAPES.iter().enumerate() {
            let decay = match config {
                _ if shape.len() < 2 => 0.0,
                OptimizerConfig::Adamw(c) => c.weight_decay,
                OptimizerConfig::Sgd(c) => c.weight_decay,
                OptimizerConfig::Lion(c) => c.weight_decay,
                OptimizerConfig::Adafactor(c) => c.weight_decay,
            };
            let got = numbers(&params, name);
            let gradients: Vec<Vec<f32>> = (0..5)
                .map(|s| gradients(s)[which].1.to_f32_vec().unwrap())
                .collect();
            for index in 0..got.len() {
                let mut naive = Naive {
                    config,
                    value: f64::from(before[which][index]),
                    first: 0.0,
                    second: 0.0,
                    steps: 0,
                };
                for step in 0..5 {
                    let gradient = f64::from(gradients[step as usize][index]);
                    naive.step(gradient, rate(step), decay);
                }
                let error = (f64::from(got[index]) - naive.value).abs();
                assert!(
                    error < 2e-6 * (1.0 + naive.value.abs()),
                    "{config:?} {name} {index}"
                );
            }
        }
    }
}

/// `torch.optim.Adafactor`, in double precision.
#[test]
fn adafactor_equals_the_formulas_of_pytorch() {
    let config = Adafactor {
        weight_decay: 0.1,
        ..Adafactor::default()
    };
    let params = start();
    let mut optimizer = Optimizer::new(OptimizerConfig::Adafactor(config)).unwrap();
    let rates = [0.01, 0.5, 2.0, 0.02];
    for (step, lr) in rates.into_iter().enumerate() {
        optimizer
            .step(&params, &gradients(step as u64), lr, &[])
            .unwrap();
    }
    let rms = |x: &[f64]| (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt();
    for (which, (name, shape)) in SHAPES.iter().enumerate() {
        let (rows, columns, decay) = match shape {
            [rows, columns] => (*rows, *columns, 0.1),
            _ => (1, shape[0], 0.0),
        };
        let mut value: Vec<f64> = values(which as u64, rows * columns)
            .into_iter()
            .map(f64::from)
            .collect();
        let (mut by_row, mut by_column) = (vec![0.0; rows], vec![0.0; columns]);
        for (step, lr) in rates.into_iter().enumerate() {
            let gradient = gradients(step as u64)[which].1.to_f32_vec().unwrap();
            let g = |row: usize, column: usize| f64::from(gradient[row * columns + column]);
            let steps = (step + 1) as f64;
            let rest = steps.powf(-0.8);
            let alpha = rms(&value).max(1e-3) * lr.min(1.0 / steps.sqrt());
            for (row, kept) in by_row.iter_mut().enumerate() {
                let mean = (0..columns).map(|c| g(row, c).powi(2)).sum::<f64>() / columns as f64;
                *kept += rest * (mean - *kept);
            }
            for (column, kept) in by_column.iter_mut().enumerate() {
                let mean = (0..rows).map(|r| g(r, column).powi(2)).sum::<f64>() / rows as f64;
                *kept += rest * (mean - *kept);
            }
            let all = by_row.iter().sum::<f64>() / rows as f64;
            let update: Vec<f64> = (0..rows * columns)
                .map(|at| {
                    let (row, column) = (at / columns, at % columns);
                    let variance = match shape.len() {
                        1 => by_column[column],
                        _ => by_row[row] * by_column[column] / all,
                    };
                    g(row, column) / variance.sqrt()
                })
                .collect();
            let shorter = alpha / rms(&update).max(1.0);
            for (value, update) in value.iter_mut().zip(update) {
                *value -= lr * decay * *value + shorter * update;
            }
        }
        for (got, expected) in numbers(&params, name).into_iter().zip(value) {
            let error = (f64::from(got) - expected).abs();
            assert!(
                error < 1e-5 * (1.0 + expected.abs()),
                "{name}: {got}, not {expected}"
            );
        }
    }
    let state = optimizer.state().unwrap();
    let shapes: Vec<(&str, &[usize])> = state
        .tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor.shape()))
        .collect();
    assert!(
        shapes.contains(&("l.weight.row_var", &[700, 1])),
        "{shapes:?}"
    );
    assert!(
        shapes.contains(&("l.weight.col_var", &[1, 5])),
        "{shapes:?}"
    );
    assert!(shapes.contains(&("l.bias.variance", &[5])), "{shapes:?}");
}

#[test]
fn a_saved_state_goes_on_bit_for_bit() {
    let adafactor = OptimizerConfig::Adafactor(Adafactor::default());
    for config in configs().into_iter().chain([adafactor]) {
        let (params, other) = (start(), start());
        let mut whole = Optimizer::new(config).unwrap();
        let mut first = Optimizer::new(config).unwrap();
        for step in 0..3 {
            whole
                .step(&params, &gradients(step), rate(step), &[])
                .unwrap();
            first
                .step(&other, &gradients(step), rate(step), &[])
                .unwrap();
        }
        let state = first.state().unwrap();
        assert_eq!(state.steps, 3);
        let mut second = Optimizer::new(config).unwrap();
        second.load_state(&other, &state).unwrap();
        for step in 3..6 {
            whole
                .step(&params, &gradients(step), rate(step), &[])
                .unwrap();
            second
                .step(&other, &gradients(step), rate(step), &[])
                .unwrap();
        }
        for (name, _) in SHAPES {
            let bits = |p: &Params| -> Vec<u32> {
                numbers(p, name).into_iter().map(f32::to_bits).collect()
            };
            assert_eq!(bits(&params), bits(&other), "{config:?} {name}");
        }
        assert_eq!(second.steps(), whole.steps());
    }
}

#[test]
fn a_state_of_another_model_is_refused() {
    let params = start();
    let mut optimizer = Optimizer::new(OptimizerConfig::default()).unwrap();
    optimizer.step(&params, &gradients(0), 0.1, &[]).unwrap();
    let state = optimizer.state().unwrap();
    let names: Vec<&str> = state
        .tensors
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(names.contains(&"l.weight.exp_avg") && names.contains(&"l.bias.step"));
    let mut fresh = Optimizer::new(OptimizerConfig::default()).unwrap();
    let mut cut = state.clone();
    cut.tensors
        .retain(|(name, _)| name != "l.weight.exp_avg_sq");
    let text = fresh.load_state(&params, &cut).unwrap_err().to_string();
    assert!(text.contains("l.weight"), "{text}");
    let mut odd = state.clone();
    for (name, value) in &mut odd.tensors {
        if name == "l.bias.exp_avg" {
            *value = tensor(&[6], &[0.0; 6]);
        }
    }
    let text = fresh.load_state(&params, &odd).unwrap_err().to_string();
    assert!(text.contains("l.bias") && text.contains("[6]"), "{text}");
    let mut sgd = Optimizer::new(configs()[3]).unwrap();
    let text = sgd.load_state(&params, &state).unwrap_err().to_string();
    assert!(text.contains("momentum_buffer"), "{text}");
}

#[test]
fn groups_change_rate_and_decay_and_frozen_parameters_stay() {
    let group = |pattern: &str, learning_rate, weight_decay| ParameterGroup {
        pattern: pattern.into(),
        learning_rate,
        weight_decay,
    };
    let config = OptimizerConfig::Sgd(Sgd::default());
    let run = |groups: &[ParameterGroup], freeze: Option<&str>| {
        let params = start();
        if let Some(pattern) = freeze {
            params.freeze(pattern).unwrap();
        }
        let mut optimizer = Optimizer::new(config).unwrap();
        optimizer.step(&params, &gradients(0), 0.5, groups).unwrap();
        (numbers(&params, "l.weight"), numbers(&params, "l.bias"))
    };
    let (weight, bias) = (values(1, 3500), values(0, 5));
    let gradient = |which: usize| gradients(0)[which].1.to_f32_vec().unwrap();
    let (weights, biases) = run(&[group("bias", 0.1, Some(0.2))], Some("weight"));
    assert_eq!(weights, weight);
    for index in 0..5 {
        let expected = bias[index] - 0.05 * (gradient(0)[index] + 0.2 * bias[index]);
        assert!((biases[index] - expected).abs() < 1e-6);
    }
    let (weights, biases) = run(&[group("bias", 0.0, None)], None);
    assert_eq!(biases, bias);
    assert!((weights[7] - (weight[7] - 0.5 * gradient(1)[7])).abs() < 1e-6);
}

#[test]
fn bad_steps_change_nothing() {
    let params = start();
    let before = numbers(&params, "l.weight");
    let mut optimizer = Optimizer::new(OptimizerConfig::default()).unwrap();
    let mut wrong = gradients(0);
    wrong.push(("other".into(), tensor(&[1], &[0.0])));
    let text = optimizer
        .step(&params, &wrong, 0.1, &[])
        .unwrap_err()
        .to_string();
    assert!(text.contains("`other`"), "{text}");
    let mut wrong = gradients(0);
    wrong[0].1 = tensor(&[4], &[0.0; 4]);
    let text = optimizer
        .step(&params, &wrong, 0.1, &[])
        .unwrap_err()
        .to_string();
    assert!(text.contains("l.bias") && text.contains("[4]"), "{text}");
    assert!(
        optimizer
            .step(&params, &gradients(0), f64::NAN, &[])
            .is_err()
    );
    assert_eq!(numbers(&params, "l.weight"), before);
    assert_eq!(optimizer.steps(), 0);
}

#[test]
fn a_value_that_others_hold_does_not_change_under_them() {
    let params = start();
    let held = params.get("l.weight").unwrap();
    let before = held.to_f32_vec().unwrap();
    let mut optimizer = Optimizer::new(OptimizerConfig::default()).unwrap();
    optimizer.step(&params, &gradients(0), 0.1, &[]).unwrap();
    assert_eq!(held.to_f32_vec().unwrap(), before);
    assert_ne!(numbers(&params, "l.weight"), before);
}

#[test]
fn clipping_scales_to_the_norm_as_pytorch_does() {
    let mut grads = gradients(0);
    let naive = |grads: &[(String, Tensor)]| -> f64 {
        let squares: f64 = grads
            .iter()
            .flat_map(|(_, g)| g.to_f32_vec().unwrap())
            .map(|v| f64::from(v).powi(2))
            .sum();
        squares.sqrt()
    };
    let before = naive(&grads);
    let first = grads[1].1.to_f32_vec().unwrap()[3];
    let norm = clip_grad_norm(&mut grads, 2.0).unwrap();
    assert!((norm - before).abs() < 1e-6 * before);
    let scaled = grads[1].1.to_f32_vec().unwrap()[3];
    let factor = 2.0 / (before + 1e-6);
    assert!((f64::from(scaled) - f64::from(first) * factor).abs() < 1e-8);
    assert!((naive(&grads) - 2.0).abs() < 1e-4);
    // Below the limit nothing is touched, not even by rounding.
    let kept = grads[0].1.to_f32_vec().unwrap();
    clip_grad_norm(&mut grads, 100.0).unwrap();
    assert_eq!(grads[0].1.to_f32_vec().unwrap(), kept);
    let mut bad = vec![("x".to_owned(), tensor(&[2], &[f32::NAN, 1.0]))];
    assert!(clip_grad_norm(&mut bad, 1.0).unwrap().is_nan());
    assert!(clip_grad_norm(&mut bad, 0.0).is_err());
}

#[test]
fn accumulation_weighs_batches_by_their_items() {
    let batch = |value: f32| vec![("w".to_owned(), tensor(&[1], &[value]))];
    let mut accumulator = Accumulator::new();
    accumulator.add(batch(2.0), 3.0).unwrap();
    accumulator.add(batch(f32::NAN), 0.0).unwrap();
    accumulator.add(batch(-1.0), 1.0).unwrap();
    accumulator.add(batch(0.5), 4.0).unwrap();
    assert_eq!((accumulator.batches(), accumulator.weight()), (4, 8.0));
    let (gradients, weight) = accumulator.finish();
    let got = gradients[0].1.to_f32_vec().unwrap()[0];
    assert!((got - (6.0 - 1.0 + 2.0) / 8.0).abs() < 1e-6, "{got}");
    assert_eq!(weight, 8.0);
    // One batch passes through untouched, and a name that only a later batch has counts.
    accumulator.add(batch(0.1), 7.0).unwrap();
    accumulator
        .add(vec![("v".into(), tensor(&[1], &[1.0]))], 7.0)
        .unwrap();
    let (gradients, _) = accumulator.finish();
    assert_eq!(gradients[0].0, "v");
    assert!((gradients[0].1.to_f32_vec().unwrap()[0] - 0.5).abs() < 1e-6);
    assert!((gradients[1].1.to_f32_vec().unwrap()[0] - 0.05).abs() < 1e-6);
    assert!(accumulator.add(batch(0.1), f64::NAN).is_err());
}
