//! A whole model through the public interface: it learns, it resumes, and it generates what it would
//! score.
#![allow(clippy::unwrap_used)]

#[path = "support/gpt.rs"]
mod gpt;

use gpt::Gpt;
use tenon_tensor::{
    Device, Tape, Tensor,
    nn::{Pass, Scope, SequenceCache, SequenceInfo, SharedCache, Stage},
    optim::{AdamW, Optimizer, OptimizerConfig, OptimizerState, clip_grad_norm},
    params::Params,
    rng,
};

const MODEL: Gpt = Gpt {
    vocabulary: 13,
    positions: 48,
    layers: 2,
    heads: 4,
    dim: 32,
    dropout: 0.1,
};

fn ids(batch: usize, tokens: usize, key: u64) -> Vec<i64> {
    (0..batch * tokens)
        .map(|i| (rng::bits_at(rng::derive(3, key), i as u64) % 13) as i64)
        .collect()
}

fn tensor(shape: &[usize], values: &[i64]) -> Tensor {
    Tensor::from_i64(shape, values, &Device::cpu()).unwrap()
}

fn optimizer() -> Optimizer {
    let config = AdamW {
        weight_decay: 0.1,
        ..AdamW::default()
    };
    Optimizer::new(OptimizerConfig::Adamw(config)).unwrap()
}

/// One step over a fixed batch; gives the loss.
fn train(params: &Params, optimizer: &mut Optimizer, model: &Gpt, step: u64, lr: f64) -> f64 {
    let (batch, tokens) = (4, 16);
    let text = ids(batch, tokens + 1, 0);
    let rows = |from: usize| -> Vec<i64> {
        text.chunks(tokens + 1)
            .flat_map(|row| row[from..from + tokens].to_vec())
            .collect()
    };
    let tape = Tape::new();
    let scope = Scope::root(params, Some(&tape));
    let inputs = vec![SequenceInfo::full("ids", batch, tokens)];
    let pass = Pass::new(Stage::Train, inputs, rng::derive(1, step), &Device::cpu()).unwrap();
    let logits = model
        .forward(&scope, &pass, &tensor(&[batch, tokens], &rows(0)))
        .unwrap();
    let loss = model
        .loss(&logits, &tensor(&[batch, tokens], &rows(1)))
        .unwrap();
    let mut gradients = tape.backward(&loss).unwrap();
    let mut gradients = scope.gradients(&mut gradients);
    clip_grad_norm(&mut gradients, 1.0).unwrap();
    let value = loss.item().unwrap();
    scope.release();
    tape.close();
    optimizer.step(params, &gradients, lr, &[]).unwrap();
    value
}

#[test]
fn a_small_gpt_learns_a_batch_by_heart() {
    let model = Gpt {
        dropout: 0.0,
        ..MODEL
    };
    let params = Params::new(&Device::cpu(), 11);
    let mut optimizer = optimizer();
    let first = train(&params, &mut optimizer, &model, 0, 3e-3);
    // Nothing learnt yet: close to a uniform guess.
    assert!((first - (13.0_f64).ln()).abs() < 0.2, "{first}");
    let mut last = first;
    for step in 1..200 {
        last = train(&params, &mut optimizer, &model, step, 3e-3);
    }
    assert!(last < 0.05, "{last}");
}

fn bits(params: &Params) -> Vec<(String, Vec<u32>)> {
    params
        .entries()
        .into_iter()
        .map(|(name, value)| {
            let values = value.to_f32_vec().unwrap();
            (name, values.into_iter().map(f32::to_bits).collect())
        })
        .collect()
}

#[test]
fn a_resumed_training_equals_one_that_never_stopped() {
    let whole = Params::new(&Device::cpu(), 11);
    let mut straight = optimizer();
    for step in 0..8 {
        train(&whole, &mut straight, &MODEL, step, 1e-3);
    }
    let folder = std::env::temp_dir().join(format!("tenon-resume-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (weights, moments) = (folder.join("w.safetensors"), folder.join("o.safetensors"));
    {
        let params = Params::new(&Device::cpu(), 11);
        let mut optimizer = optimizer();
        for step in 0..4 {
            train(&params, &mut optimizer, &MODEL, step, 1e-3);
        }
        let none = Default::default();
        params.save_safetensors(&weights, &none).unwrap();
        let state = optimizer.state().unwrap();
        tenon_tensor::params::save_safetensors(&moments, &state.tensors, &none).unwrap();
    }
    let params = Params::new(&Device::cpu(), 0);
    params.load_safetensors(&weights).unwrap();
    let file = tenon_tensor::params::SafetensorsFile::open(&moments).unwrap();
    let mut resumed = optimizer();
    let state = OptimizerState {
        steps: 4,
        tensors: file.tensors(&Device::cpu()).unwrap(),
    };
    resumed.load_state(&params, &state).unwrap();
    for step in 4..8 {
        train(&params, &mut resumed, &MODEL, step, 1e-3);
    }
    assert_eq!(bits(&params), bits(&whole));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn generation_scores_what_scoring_scores() {
    let params = Params::new(&Device::cpu(), 11);
    let mut optimizer = optimizer();
    for step in 0..5 {
        train(&params, &mut optimizer, &MODEL, step, 3e-3);
    }
    let scope = Scope::root(&params, None);
    let prompts = [5, 33, 1];
    let steps = 4;
    let texts: Vec<Vec<i64>> = prompts
        .iter()
        .enumerate()
        .map(|(row, prompt)| ids(1, prompt + steps, row as u64 + 1))
        .collect();
    let expected: Vec<Vec<f32>> = texts
        .iter()
        .map(|text| {
            let inputs = vec![SequenceInfo::full("ids", 1, text.len())];
            let pass = Pass::new(Stage::Evaluate, inputs, 0, &Device::cpu()).unwrap();
            let logits = MODEL
                .forward(&scope, &pass, &tensor(&[1, text.len()], text))
                .unwrap();
            logits.to_f32_vec().unwrap()
        })
        .collect();
    let caches: Vec<SharedCache> = prompts.iter().map(|_| SequenceCache::shared()).collect();
    for step in 0..=steps {
        let stage = if step == 0 {
            Stage::Prefill
        } else {
            Stage::Decode
        };
        let starts = prompts.map(|prompt| if step == 0 { 0 } else { prompt + step - 1 });
        let ends = prompts.map(|prompt| prompt + step);
        let lengths = [0, 1, 2].map(|row| ends[row] - starts[row]);
        let info = SequenceInfo::padded("ids", &lengths);
        let width = info.tokens;
        let mut batch = vec![12; 3 * width];
        for row in 0..3 {
            let part = &texts[row][starts[row]..ends[row]];
            batch[row * width..row * width + part.len()].copy_from_slice(part);
        }
        let pass = Pass::new(stage, vec![info], 0, &Device::cpu())
            .unwrap()
            .with_cache(caches.clone())
            .unwrap();
        let logits = MODEL
            .forward(&scope, &pass, &tensor(&[3, width], &batch))
            .unwrap();
        assert_eq!(logits.shape(), [3, 1, 13]);
        let logits = logits.to_f32_vec().unwrap();
        for row in 0..3 {
            let scored = &expected[row][(ends[row] - 1) * 13..ends[row] * 13];
            for (a, b) in logits[row * 13..].iter().zip(scored) {
                assert!(
                    (a - b).abs() < 1e-5,
                    "step {step}, row {row}: {a}, expected {b}"
                );
            }
        }
    }
}
