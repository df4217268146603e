//! What the boundary costs: a whole training step (forward, loss, backward, clipping, AdamW) of a GPT
//! with 4 layers, d 256, 4 heads and a vocabulary of 4096 on 8×128 tokens, through the component
//! `recipe-gpt` and written natively against the tensor crate, in turns.
//!
//!     cargo bench -p tenon-train --bench boundary [-- --rounds 15]
//!
//! Both do the same operations in the same order: the losses must be equal to the last bit. The last
//! line is the same model as a job, with everything that a job does between steps.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../tensor/tests/support/gpt.rs"]
mod gpt;
#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use gpt::Gpt;
use serde_json::json;
use tenon_plugin::{Engine, EngineOptions, Grants, Recipe};
use tenon_tensor::{
    DType, Device, Tape, Tensor,
    nn::{Pass, Scope, SequenceInfo, Stage},
    optim::{Optimizer, OptimizerConfig, ParameterGroup, clip_factor, grad_norm},
    params::Params,
    rng,
};
use tenon_train::{Jobs, ScheduleSpec, TrainSpec};

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
const STEPS: u32 = 2;

fn config() -> serde_json::Value {
    json!({
        "n_layer": MODEL.layers, "n_embd": MODEL.dim, "n_head": MODEL.heads,
        "n_positions": MODEL.positions,
        "embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0,
    })
}

/// Who computes the loss.
enum Way {
    Native,
    Component(Box<Recipe>),
}

/// A model that is being trained.
struct Training {
    way: Way,
    params: Params,
    optimizer: Optimizer,
    groups: Vec<ParameterGroup>,
    steps: u64,
}

impl Training {
    fn new(way: Way, groups: Vec<ParameterGroup>) -> Self {
        Self {
            way,
            params: Params::new(&Device::cpu(), 0),
            optimizer: Optimizer::new(OptimizerConfig::default()).unwrap(),
            groups,
            steps: 0,
        }
    }

    fn step(&mut self, ids: &Tensor, labels: &Tensor) -> f64 {
        let device = Device::cpu();
        self.steps += 1;
        let tape = Tape::new();
        let scope = Scope::root(&self.params, Some(&tape));
        let infos = vec![SequenceInfo::full("ids", BATCH, TOKENS)];
        let pass = Pass::new(Stage::Train, infos, rng::derive(0, self.steps), &device).unwrap();
        let (loss, weight) = match &mut self.way {
            Way::Native => {
                let logits = MODEL.forward(&scope, &pass, ids).unwrap();
                let loss = MODEL.loss(&logits, labels).unwrap();
                // What the losses of a recipe count by.
                let counts = labels.eq_scalar(-100.0).unwrap().logical_not().unwrap();
                let weight = counts.cast(DType::F32).unwrap().sum(&[], false).unwrap();
                (loss, weight)
            }
            Way::Component(recipe) => {
                let inputs = || {
                    vec![
                        ("ids".to_owned(), ids.clone()),
                        ("labels".to_owned(), labels.clone()),
                    ]
                };
                let outputs = recipe.forward(&scope, &pass, inputs()).unwrap();
                let losses = recipe.loss(&pass, outputs, inputs()).unwrap();
                (losses.loss, losses.weight)
            }
        };
        let value = loss.item().unwrap();
        assert_eq!(weight.item().unwrap(), (BATCH * TOKENS) as f64);
        let mut gradients = tape.backward(&loss).unwrap();
        let gradients = scope.gradients(&mut gradients);
        scope.release();
        tape.close();
        let factor = clip_factor(grad_norm(&gradients).unwrap(), 1.0);
        self.optimizer
            .step_scaled(&self.params, &gradients, factor, 3e-4, &self.groups)
            .unwrap();
        value
    }
}

fn random_ids(key: u64) -> Tensor {
    let ids: Vec<i64> = (0..BATCH * TOKENS)
        .map(|i| (rng::bits_at(rng::derive(7, key), i as u64) % MODEL.vocabulary as u64) as i64)
        .collect();
    Tensor::from_i64(&[BATCH, TOKENS], &ids, &Device::cpu()).unwrap()
}

fn main() {
    // As in a training job.
    let _memory = tenon_tensor::memory::Retained::hold();
    let mut arguments = std::env::args();
    let rounds = match arguments.find(|argument| argument == "--rounds") {
        Some(_) => arguments.next().and_then(|n| n.parse().ok()).unwrap_or(15),
        None => 15,
    };
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let component = engine.load(&support::component("recipe-gpt")).unwrap();
    let vocabulary = MODEL.vocabulary as u32;
    let mut recipe = Recipe::open(&component, &config(), vocabulary, Grants::default()).unwrap();
    let groups = recipe.parameter_groups().unwrap();
    let mut native = Training::new(Way::Native, groups.clone());
    let mut wasm = Training::new(Way::Component(Box::new(recipe)), groups);
    let (ids, labels) = (random_ids(0), random_ids(1));
    for _ in 0..3 {
        let losses =
            [&mut native, &mut wasm].map(|training| training.step(&ids, &labels).to_bits());
        assert_eq!(
            losses[0], losses[1],
            "the same operations give the same loss"
        );
    }
    let mut times: [Vec<Duration>; 2] = Default::default();
    for round in 0..rounds {
        let mut time = |way: usize, training: &mut Training| {
            let start = Instant::now();
            for _ in 0..STEPS {
                training.step(&ids, &labels);
            }
            times[way].push(start.elapsed() / STEPS);
        };
        // Neither is always the first after the other has warmed the caches.
        if round % 2 == 0 {
            time(0, &mut native);
            time(1, &mut wasm);
        } else {
            time(1, &mut wasm);
            time(0, &mut native);
        }
    }
    let mut ratios: Vec<f64> = times[0]
        .iter()
        .zip(&times[1])
        .map(|(native, wasm)| native.as_secs_f64() / wasm.as_secs_f64())
        .collect();
    let ratio = median(&mut ratios);
    let [native, wasm] = times.map(|times| {
        let mut seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
        median(&mut seconds)
    });
    let line = |name: &str, seconds: f64| {
        println!(
            "{name:<24} {:>8.2} ms/step {:>8.2} steps/s {:>8.0} tokens/s",
            seconds * 1e3,
            1.0 / seconds,
            (BATCH * TOKENS) as f64 / seconds
        );
    };
    line("native", native);
    line("recipe-gpt (component)", wasm);
    println!("component / native: {ratio:.4} of the speed (goal: at least 0.97)");
    println!(
        "as a training job:  {:.0} tokens/s (best of its points)",
        job()
    );
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The same model as a job: rows of 128 tokens with a vocabulary of 4096.
fn job() -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let platform = support::open(folder.path());
    support::install(&platform, "recipe-gpt");
    // 5 special tokens and 4091 characters, each of which appears.
    let characters: Vec<char> = (0..4091)
        .filter_map(|at| char::from_u32(0x4E00 + at))
        .collect();
    let rows: String = (0..64)
        .map(|row| {
            let text: String = (0..TOKENS - 2)
                .map(|at| characters[(row * (TOKENS - 2) + at) % characters.len()])
                .collect();
            format!("{}\n", json!({"text": text}))
        })
        .collect();
    support::import(&platform, "rows", &[("train", rows)]);
    let columns = ["text".to_owned()];
    let control = tenon_data::Control::new();
    let options = tenon_data::TrainOptions::default();
    platform
        .tokenizers
        .train("characters", "rows", &columns, &options, &control)
        .unwrap();
    let jobs = Jobs::open(platform);
    let run = jobs
        .train(TrainSpec {
            recipe: Some("tenon/gpt".into()),
            recipe_config: config(),
            tokenizer: Some("characters".into()),
            dataset: "rows".into(),
            steps: Some(30),
            batch: tenon_data::collate::BatchOptions {
                rows: BATCH,
                ..Default::default()
            },
            schedule: ScheduleSpec::default(),
            log_every: 5,
            ..TrainSpec::default()
        })
        .unwrap();
    let run = support::finished(jobs.wait(&run.id).unwrap());
    assert_eq!(run.params["vocabulary"], json!(MODEL.vocabulary));
    run.metrics["train/tokens_per_second"].max
}
