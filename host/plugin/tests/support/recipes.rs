//! What tests of recipes feed them, and what they get back.
#![allow(dead_code, clippy::unwrap_used)]

use tenon_tensor::{
    Device, Tensor,
    nn::{Pass, SequenceInfo, Stage},
    rng,
};

/// Tokens that look random.
pub fn ids(count: usize, vocabulary: u64, key: u64) -> Vec<i64> {
    let bits = |at| rng::bits_at(rng::derive(3, key), at as u64);
    (0..count)
        .map(|at| (bits(at) % vocabulary) as i64)
        .collect()
}

/// Rows side by side, filled up on the right.
pub fn padded(rows: &[&[i64]], fill: i64) -> Tensor {
    let width = rows.iter().map(|row| row.len()).max().unwrap();
    let mut values = vec![fill; rows.len() * width];
    for (at, row) in rows.iter().enumerate() {
        values[at * width..][..row.len()].copy_from_slice(row);
    }
    Tensor::from_i64(&[rows.len(), width], &values, &Device::cpu()).unwrap()
}

pub fn info(name: &str, rows: &[&[i64]]) -> SequenceInfo {
    let lengths: Vec<usize> = rows.iter().map(|row| row.len()).collect();
    SequenceInfo::padded(name, &lengths)
}

pub fn named(name: &str, value: Tensor) -> (String, Tensor) {
    (name.to_owned(), value)
}

pub fn pass(stage: Stage, infos: Vec<SequenceInfo>) -> Pass {
    Pass::new(stage, infos, 5, &Device::cpu()).unwrap()
}

/// The only output.
pub fn logits(outputs: Vec<(String, Tensor)>) -> Tensor {
    assert_eq!(outputs.len(), 1);
    let (name, logits) = outputs.into_iter().next().unwrap();
    assert_eq!(name, "logits");
    logits
}
