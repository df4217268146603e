//! Serving against scoring: the same model, asked both ways.
#![allow(dead_code, clippy::unwrap_used)]

use tenon_plugin::Recipe;
use tenon_tensor::{
    Tensor,
    nn::{Scope, SequenceCache, SequenceInfo, SharedCache, Stage},
    params::Params,
};

use crate::recipes::{info, logits, named, padded, pass};

/// Prefill with the first tokens of each row of `sequence`, then token by token, gives the logits of
/// scoring.
pub fn generates_what_it_scores(
    recipe: &mut Recipe,
    params: &Params,
    infos: &[SequenceInfo],
    inputs: &[(String, Tensor)],
    sequence: &str,
    tolerance: f32,
) {
    let scope = Scope::root(params, None);
    let whole = pass(Stage::Evaluate, infos.to_vec());
    let scored = logits(recipe.forward(&scope, &whole, inputs.to_vec()).unwrap());
    let (width, vocabulary) = (scored.shape()[1], scored.shape()[2]);
    let expected = scored.to_f32_vec().unwrap();

    let at = inputs.iter().position(|(name, _)| name == sequence);
    let tokens = inputs[at.unwrap()].1.to_i64_vec().unwrap();
    let grows = infos.iter().find(|info| info.name == sequence).unwrap();
    let lengths: Vec<usize> = grows.rows.iter().map(|row| row[0]).collect();
    // What else the model reads comes with the first pass only.
    let others: Vec<SequenceInfo> = infos
        .iter()
        .filter(|info| info.name != sequence)
        .cloned()
        .collect();
    let prompts: Vec<usize> = lengths
        .iter()
        .enumerate()
        .map(|(row, length)| 1 + (row + 1) % (length - 1))
        .collect();
    let steps = (0..lengths.len())
        .map(|row| lengths[row] - prompts[row])
        .min()
        .unwrap();
    assert!(steps >= 1, "{lengths:?} {prompts:?}");
    let caches: Vec<SharedCache> = lengths.iter().map(|_| SequenceCache::shared()).collect();
    for step in 0..=steps {
        let part = |row: usize| {
            let end = prompts[row] + step;
            let start = if step == 0 { 0 } else { end - 1 };
            &tokens[row * width..][start..end]
        };
        let rows: Vec<&[i64]> = (0..lengths.len()).map(part).collect();
        let mut infos = vec![info(sequence, &rows)];
        let mut given = vec![named(sequence, padded(&rows, 0))];
        let mut stage = Stage::Decode;
        if step == 0 {
            stage = Stage::Prefill;
            infos.extend(others.clone());
            for other in &others {
                let tensor = inputs.iter().find(|(name, _)| *name == other.name);
                given.push(tensor.unwrap().clone());
            }
        }
        let pass = pass(stage, infos).with_cache(caches.clone()).unwrap();
        let found = logits(recipe.forward(&scope, &pass, given).unwrap());
        assert_eq!(found.shape(), [lengths.len(), 1, vocabulary]);
        let found = found.to_f32_vec().unwrap();
        for row in 0..lengths.len() {
            let place = row * width + prompts[row] + step - 1;
            let scored = &expected[place * vocabulary..][..vocabulary];
            for (a, b) in found[row * vocabulary..].iter().zip(scored) {
                assert!(
                    (a - b).abs() < tolerance,
                    "step {step}, row {row}: {a}, not {b}"
                );
            }
        }
    }
}
