//! A whole training step (forward, backward, clipping, AdamW) of a GPT and where its time goes.
//!
//!     cargo bench --workspace --bench train_step [-- --steps 10 --device cuda --preset gpt2-small]
//!
//! `--preset small` (the default): 4 layers, d 256, 4 heads, a vocabulary of 4096, 8×128 tokens.
//! `--preset gpt2-small`: 12 layers, d 768, 12 heads, 50257, 8×1024. `benches/torch_gpt.py` is the same
//! step in PyTorch. `--bf16`: products in bfloat16. `--preset launches`: `small` with next to nothing to
//! compute, for what launching the kernels costs. On a GPU the parts end when the work is handed over, only the whole step is waited
//! for.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/support/gpt.rs"]
mod gpt;

use std::time::{Duration, Instant};

use gpt::Gpt;
use tenon_tensor::{
    DType, Device, Tape, Tensor,
    nn::{Pass, Scope, SequenceInfo, Stage},
    optim::{Optimizer, OptimizerConfig, clip_factor, grad_norm},
    params::Params,
    rng,
};

const BATCH: usize = 8;

fn preset(name: &str) -> Gpt {
    let (vocabulary, positions, layers, heads, dim) = match name {
        "small" => (4096, 128, 4, 4, 256),
        "gpt2-small" => (50_257, 1024, 12, 12, 768),
        "launches" => (64, 8, 4, 4, 32),
        _ => panic!("--preset {name}: there are small, gpt2-small and launches"),
    };
    Gpt {
        vocabulary,
        positions,
        layers,
        heads,
        dim,
        dropout: 0.0,
    }
}

fn argument(name: &str, default: &str) -> String {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).unwrap_or_else(|| default.to_owned())
}

/// Milliseconds spent in each part of a step.
#[derive(Default, Clone, Copy)]
struct Parts {
    forward: Duration,
    backward: Duration,
    clip: Duration,
    optimizer: Duration,
}

fn random_ids(model: &Gpt, device: &Device, key: u64) -> Tensor {
    let ids: Vec<i64> = (0..BATCH * model.positions)
        .map(|i| (rng::bits_at(rng::derive(7, key), i as u64) % model.vocabulary as u64) as i64)
        .collect();
    Tensor::from_i64(&[BATCH, model.positions], &ids, device).unwrap()
}

fn main() {
    // As a training does.
    let _memory = tenon_tensor::memory::Retained::hold();
    let steps: usize = argument("--steps", "10").parse().unwrap();
    let device = Device::parse(&argument("--device", "cpu")).unwrap();
    let model = preset(&argument("--preset", "small"));
    let reduced = std::env::args()
        .any(|argument| argument == "--bf16")
        .then_some(DType::BF16);
    let tokens = model.positions;
    let params = Params::new(&device, 0);
    let mut optimizer = Optimizer::new(OptimizerConfig::default()).unwrap();
    let (ids, targets) = (
        random_ids(&model, &device, 0),
        random_ids(&model, &device, 1),
    );
    let mut step = |number: u64, parts: &mut Parts| -> f64 {
        let start = Instant::now();
        let tape = Tape::new();
        tape.autocast(reduced);
        let scope = Scope::root(&params, Some(&tape));
        let inputs = vec![SequenceInfo::full("ids", BATCH, tokens)];
        let pass = Pass::new(Stage::Train, inputs, rng::derive(0, number), &device).unwrap();
        let logits = model.forward(&scope, &pass, &ids).unwrap();
        let loss = model.loss(&logits, &targets).unwrap();
        drop(logits);
        let value = loss.item().unwrap();
        parts.forward += start.elapsed();
        let start = Instant::now();
        let mut gradients = tape.backward(&loss).unwrap();
        let gradients = scope.gradients(&mut gradients);
        scope.release();
        tape.close();
        parts.backward += start.elapsed();
        let start = Instant::now();
        let norm = grad_norm(&gradients).unwrap();
        let factor = clip_factor(norm, 1.0);
        parts.clip += start.elapsed();
        let start = Instant::now();
        optimizer
            .step_scaled(&params, &gradients, factor, 3e-4, &[])
            .unwrap();
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
        device.synchronize().unwrap();
        let elapsed = start.elapsed();
        if best.is_none_or(|(least, _, _)| elapsed < least) {
            best = Some((elapsed, parts, loss));
        }
    }
    let (elapsed, parts, loss) = best.unwrap();
    let ms = |d: Duration| (d.as_secs_f64() / steps as f64 * 1e5).round() / 1e2;
    println!(
        "{{\"bench\": \"tenon train_step\", \"device\": \"{device}\", \"threads\": {}, \"parameters\": {}, \
         \"ms_per_step\": {}, \"forward_ms\": {}, \"backward_ms\": {}, \"clip_ms\": {}, \
         \"optimizer_ms\": {}, \"tokens_per_second\": {}, \"loss\": {loss:.4}}}",
        std::thread::available_parallelism().map_or(0, |n| n.get()),
        params.total_elements(),
        ms(elapsed),
        ms(parts.forward),
        ms(parts.backward),
        ms(parts.clip),
        ms(parts.optimizer),
        (BATCH * tokens * steps) as u64 * 1_000_000 / elapsed.as_micros() as u64,
    );
}
