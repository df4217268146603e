#![allow(clippy::unwrap_used)]

mod attention;
mod lora;
mod pass;
mod recompute;
mod scope;
mod serving;

use super::*;
use crate::{Device, Tensor, rng};

/// Random numbers of a fixed key.
fn values(key: u64, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    rng::fill_normal(rng::derive(99, key), &mut values);
    values
}

fn random(key: u64, shape: &[usize]) -> Tensor {
    let values = values(key, shape.iter().product());
    Tensor::from_f32(shape, &values, &Device::cpu()).unwrap()
}

fn pass(stage: Stage, inputs: Vec<SequenceInfo>) -> Pass {
    Pass::new(stage, inputs, 5, &Device::cpu()).unwrap()
}

fn sequence(name: &str, tokens: usize, rows: &[&[usize]]) -> SequenceInfo {
    SequenceInfo {
        name: name.into(),
        tokens,
        rows: rows.iter().map(|row| row.to_vec()).collect(),
    }
}

#[track_caller]
fn close(got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len());
    for (index, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * (1.0 + b.abs()),
            "element {index}: {a}, expected {b}"
        );
    }
}

#[track_caller]
fn fails(result: Result<Tensor, crate::TensorError>, parts: &[&str]) {
    let text = result.map(|_| ()).unwrap_err().to_string();
    for part in parts {
        assert!(text.contains(part), "`{text}` lacks `{part}`");
    }
}
