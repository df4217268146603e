//! A whole training step (forward, backward, clipping, AdamW) of a GPT with 4 layers, d 256, 4 heads
//! and a vocabulary of 4096 on 8×128 tokens, and where its time goes.
//!
//!     cargo bench -p tenon-tensor --bench train_step [-- --steps 10]
//!
//! `benches/torch_gpt.py` is the same step in PyTorch.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/support/gpt.rs"]
mod gpt;

use std::time::{Duration, Instant};

use gpt::Gpt;
use tenon_tensor::{
    Device, Tape, Tensor,
    nn::{Pass, Scope, SequenceInfo, Stage},
    optim::{Optimizer, OptimizerConfig, clip_grad_norm},
    params::Params,
    rng,
};

const MODEL: Gpt = Gpt {
    vocabulary: 4096,
    positions: 128,
    layers: 4,
    heads: 4,
    dim: 256,
    dropout: 0.0,
};
const BATCH: usize = 8;
const TOKENS: usize = 128;

/// Milliseconds spent in each part of a step.
#[derive(Default, Clone, Copy)]
struct Parts {
    forward: Duration,
    backward: Duration,
    clip: Duration,
    optimizer: Duration,
}

fn random_ids(device: &Device, key: u64) -> Tensor {
    let ids: Vec<i64> = (0..BATCH * TOKENS)
        .map(|i| (rng::bits_at(rng::derive(7, key), i as u64) % MODEL.vocabulary as u64) as i64)
        .collect();
    Tensor::from_i64(&[BATCH, TOKENS], &ids, device).unwrap()
}

fn main() {
    let mut arguments = std::env::args();
    let steps = match arguments.find(|argument| argument == "--steps") {
        Some(_) => arguments.next().and_then(|n| n.parse().ok()).unwrap_or(10),
        None => 10,
    };
    let device = Device::cpu();
    let params = Params::new(&device, 0);
    let mut optimizer = Optimizer::new(OptimizerConfig::default()).unwrap();
    let (ids, targets) = (random_ids(&device, 0), random_ids(&device, 1));
    let mut step = |number: u64, parts: &mut Parts| -> f64 {
        let start = Instant::now();
        let tape = Tape::new();
        let scope = Scope::root(&params, Some(&tape));
        let inputs = vec![SequenceInfo::full("ids", BATCH, TOKENS)];
        let pass = Pass::new(Stage::Train, inputs, rng::derive(0, number), &device).unwrap();
        let logits = MODEL.forward(&scope, &pass, &ids).unwrap();
        let loss = MODEL.loss(&logits, &targets).unwrap();
        drop(logits);
        let value = loss.item().unwrap();
        parts.forward += start.elapsed();
        let start = Instant::now();
        let mut gradients = tape.backward(&loss).unwrap();
        let mut gradients = scope.gradients(&mut gradients);
        scope.release();
        tape.close();
        parts.backward += start.elapsed();
        let start = Instant::now();
        clip_grad_norm(&mut gradients, 1.0).unwrap();
        parts.clip += start.elapsed();
        let start = Instant::now();
        optimizer.step(&params, &gradients, 3e-4, &[]).unwrap();
        parts.optimizer += start.elapsed();
        value
    };
    let mut number = 0;
    for _ in 0..3 {
        step(number, &mut Parts::default());
        number += 1;
    }
    let mut best: Option<(Duration, Parts, f64)> = None;
    for _ in 0..3 {
        let mut parts = Parts::default();
        let mut loss = 0.0;
        let start = Instant::now();
        for _ in 0..steps {
            loss = step(number, &mut parts);
            number += 1;
        }
        let elapsed = start.elapsed();
        if best.is_none_or(|(least, _, _)| elapsed < least) {
            best = Some((elapsed, parts, loss));
        }
    }
    let (elapsed, parts, loss) = best.unwrap();
    let ms = |d: Duration| (d.as_secs_f64() / steps as f64 * 1e5).round() / 1e2;
    println!(
        "{{\"bench\": \"tenon train_step\", \"threads\": {}, \"parameters\": {}, \
         \"ms_per_step\": {}, \"forward_ms\": {}, \"backward_ms\": {}, \"clip_ms\": {}, \
         \"optimizer_ms\": {}, \"tokens_per_second\": {}, \"loss\": {loss:.4}}}",
        std::thread::available_parallelism().map_or(0, |n| n.get()),
        params.total_elements(),
        ms(elapsed),
        ms(parts.forward),
        ms(parts.backward),
        ms(parts.clip),
        ms(parts.optimizer),
        (BATCH * TOKENS * steps) as u64 * 1_000_000 / elapsed.as_micros() as u64,
    );
}
