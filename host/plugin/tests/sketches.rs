//! The contract holds what comes next: Llama, BERT, T5 and a residual network, as components. Each
//! parameter's gradient is the loss's slope, and generation scores what scoring scores.
#![allow(clippy::unwrap_used)]

#[path = "support/recipes.rs"]
mod recipes;
#[path = "support/shipped.rs"]
mod shipped;

use recipes::{ids, info, logits, named, padded, pass};
use serde_json::{Value as Json, json};
use shipped::component;
use tenon_plugin::{Grants, Recipe};
use tenon_tensor::{
    DType, Device, Tape, Tensor,
    nn::{Scope, SequenceCache, SequenceInfo, SharedCache, Stage},
    params::Params,
};

const VOCABULARY: usize = 19;

/// A sketch and something to feed it.
struct Model {
    recipe: Recipe,
    infos: Vec<SequenceInfo>,
    inputs: Vec<(String, Tensor)>,
}

fn open(name: &str, config: &Json) -> Recipe {
    let component = component(&format!("sketch-{name}"));
    Recipe::open(&component, config, VOCABULARY as u32, Grants::default()).unwrap()
}

fn texts(lengths: &[usize], key: u64) -> Vec<Vec<i64>> {
    let rows = lengths.iter().enumerate();
    rows.map(|(at, length)| ids(*length, VOCABULARY as u64, key + at as u64))
        .collect()
}

fn slices(texts: &[Vec<i64>]) -> Vec<&[i64]> {
    texts.iter().map(Vec::as_slice).collect()
}

/// All but the last token, and all but the first.
fn shifted(texts: &[Vec<i64>]) -> (Vec<&[i64]>, Vec<&[i64]>) {
    let before = texts.iter().map(|text| &text[..text.len() - 1]).collect();
    (before, texts.iter().map(|text| &text[1..]).collect())
}

fn integers(shape: &[usize], values: &[i64]) -> Tensor {
    Tensor::from_i64(shape, values, &Device::cpu()).unwrap()
}

fn llama(tied: bool) -> Model {
    let config = json!({
        "layers": 2, "width": 16, "hidden": 24, "heads": 4, "kv_heads": 2, "context": 32,
        "rope_scaling": {
            "factor": 4.0, "low_frequency_factor": 1.0, "high_frequency_factor": 4.0,
            "original_context": 8.0,
        },
        "tied": tied,
    });
    let all = texts(&[7, 4, 10], 10);
    let (before, after) = shifted(&all);
    Model {
        recipe: open("llama", &config),
        infos: vec![info("ids", &before)],
        inputs: vec![
            named("ids", padded(&before, 0)),
            named("labels", padded(&after, -100)),
        ],
    }
}

fn bert(classes: bool) -> Model {
    let mut config = json!({
        "layers": 2, "width": 16, "hidden": 24, "heads": 2, "context": 12, "dropout": 0.0,
        "first": "question", "second": "answer",
    });
    if classes {
        config["classes"] = json!({"column": "class", "count": 3});
    }
    let all = texts(&[9, 6], 20);
    let rows = slices(&all);
    // [CLS] first [SEP] second [SEP], padded with the last.
    let pieces = integers(
        &[2, 9],
        &[0, 1, 1, 2, 3, 3, 3, 3, 4, 0, 1, 2, 3, 3, 4, 4, 4, 4],
    );
    let targets = if classes {
        named("class", integers(&[2], &[2, 0]))
    } else {
        let mut targets = vec![-100; 18];
        (targets[2], targets[4], targets[10]) = (3, 8, 1);
        named("targets", integers(&[2, 9], &targets))
    };
    Model {
        recipe: open("bert", &config),
        infos: vec![info("ids", &rows)],
        inputs: vec![
            named("ids", padded(&rows, 0)),
            named("pieces", pieces),
            targets,
        ],
    }
}

fn t5(gated: bool) -> Model {
    let config = json!({
        "layers": 2, "width": 16, "hidden": 24, "heads": 2, "head_width": 6, "buckets": 8,
        "farthest": 12, "dropout": 0.0, "context": 32, "gated": gated,
    });
    let (sources, targets) = (texts(&[9, 3, 6], 30), texts(&[5, 8, 3], 40));
    let (before, after) = shifted(&targets);
    let sources = slices(&sources);
    Model {
        recipe: open("t5", &config),
        infos: vec![info("source", &sources), info("target", &before)],
        inputs: vec![
            named("source", padded(&sources, 0)),
            named("target", padded(&before, 0)),
            named("labels", padded(&after, -100)),
        ],
    }
}

fn cnn(wide_stem: bool) -> Model {
    let config = json!({
        "shape": [2, 8, 8], "classes": 3, "widths": [4, 6], "blocks": 1, "wide_stem": wide_stem,
    });
    let (count, class) = (5, [0, 2, 1, 1, 0]);
    let pixels: Vec<u8> = ids(count * 2 * 64, 256, 50)
        .into_iter()
        .map(|value| value as u8)
        .collect();
    let image = Tensor::from_bytes(&[count, 2, 8, 8], DType::U8, &pixels, &Device::cpu()).unwrap();
    Model {
        recipe: open("cnn", &config),
        infos: vec![],
        inputs: vec![
            named("image", image),
            named("class", integers(&[count], &class)),
        ],
    }
}

impl Model {
    /// The loss of a training pass.
    fn loss(&mut self, params: &Params) -> f64 {
        let scope = Scope::root(params, None);
        let pass = pass(Stage::Train, self.infos.clone());
        let outputs = self
            .recipe
            .forward(&scope, &pass, self.inputs.clone())
            .unwrap();
        let losses = self.recipe.loss(&pass, outputs, self.inputs.clone());
        losses.unwrap().loss.item().unwrap()
    }

    fn gradients(&mut self, params: &Params) -> Vec<(String, Tensor)> {
        let tape = Tape::new();
        let scope = Scope::root(params, Some(&tape));
        let pass = pass(Stage::Train, self.infos.clone());
        let outputs = self
            .recipe
            .forward(&scope, &pass, self.inputs.clone())
            .unwrap();
        let losses = self.recipe.loss(&pass, outputs, self.inputs.clone());
        let losses = losses.unwrap();
        let mut all = tape.backward(&losses.loss).unwrap();
        let all = scope.gradients(&mut all);
        drop(losses);
        scope.release();
        tape.close();
        all
    }
}

/// A step of `size` along a parameter's gradient changes the loss by what the gradient says.
fn slopes(mut model: Model, size: f64, tolerance: f64) {
    let params = Params::new(&Device::cpu(), 7);
    model.loss(&params);
    // New weights are so small that much of a model is all but linear, and its attention even.
    for (name, value) in params.entries() {
        if value.shape().len() >= 2 {
            params.set(&name, value.mul_scalar(8.0).unwrap()).unwrap();
        }
    }
    let gradients = model.gradients(&params);
    let mut named: Vec<&str> = gradients.iter().map(|(name, _)| name.as_str()).collect();
    named.sort_unstable();
    let mut trained: Vec<String> = params.names();
    trained.retain(|name| params.trainable(name));
    trained.sort_unstable();
    assert_eq!(named, trained);
    let mut moved = 0;
    for (name, gradient) in &gradients {
        let values = gradient.to_f32_vec().unwrap();
        let norm = values
            .iter()
            .map(|value| f64::from(*value).powi(2))
            .sum::<f64>()
            .sqrt();
        if norm < 1e-3 {
            // A bias of keys adds the same to all scores of a query: the softmax does not see it.
            assert!(name.ends_with("key.bias"), "{name}: {norm}");
            continue;
        }
        let value = params.get(name).unwrap();
        let mut at = |step: f64| {
            let change = gradient.mul_scalar(step / norm).unwrap();
            params.set(name, value.add(&change).unwrap()).unwrap();
            model.loss(&params)
        };
        let found = (at(size) - at(-size)) / (2.0 * size);
        params.set(name, value).unwrap();
        assert!(
            (found - norm).abs() < tolerance * norm + 1e-3,
            "{name}: slope {found}, gradient {norm}"
        );
        moved += 1;
    }
    assert!(moved > 8, "{moved}");
}

#[test]
fn gradients_of_llama_are_slopes() {
    slopes(llama(false), 1e-2, 0.02);
    slopes(llama(true), 1e-2, 0.02);
}

#[test]
fn gradients_of_bert_are_slopes() {
    slopes(bert(false), 1e-2, 0.02);
    slopes(bert(true), 1e-2, 0.02);
}

#[test]
fn gradients_of_t5_are_slopes() {
    slopes(t5(false), 1e-2, 0.03);
    slopes(t5(true), 1e-2, 0.03);
}

#[test]
fn gradients_of_a_residual_network_are_slopes() {
    slopes(cnn(false), 1e-3, 0.05);
    slopes(cnn(true), 1e-3, 0.05);
}

/// Prefill with the first tokens of each row, then token by token, gives the logits of scoring.
fn generates_what_it_scores(mut model: Model, sequence: &str) {
    let params = Params::new(&Device::cpu(), 7);
    let scope = Scope::root(&params, None);
    let whole = pass(Stage::Evaluate, model.infos.clone());
    let scored = model.recipe.forward(&scope, &whole, model.inputs.clone());
    let scored = logits(scored.unwrap());
    let width = scored.shape()[1];
    let expected = scored.to_f32_vec().unwrap();

    let at = model.inputs.iter().position(|(name, _)| name == sequence);
    let tokens = model.inputs[at.unwrap()].1.to_i64_vec().unwrap();
    let lengths: Vec<usize> = model
        .infos
        .iter()
        .find(|info| info.name == sequence)
        .unwrap()
        .rows
        .iter()
        .map(|row| row[0])
        .collect();
    // What else the model reads comes with the first pass only.
    let others: Vec<SequenceInfo> = model
        .infos
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
        let mut inputs = vec![named(sequence, padded(&rows, 0))];
        let mut stage = Stage::Decode;
        if step == 0 {
            stage = Stage::Prefill;
            infos.extend(others.clone());
            for other in &others {
                let tensor = model.inputs.iter().find(|(name, _)| *name == other.name);
                inputs.push(tensor.unwrap().clone());
            }
        }
        let pass = pass(stage, infos).with_cache(caches.clone()).unwrap();
        let found = logits(model.recipe.forward(&scope, &pass, inputs).unwrap());
        assert_eq!(found.shape(), [lengths.len(), 1, VOCABULARY]);
        let found = found.to_f32_vec().unwrap();
        for row in 0..lengths.len() {
            let place = row * width + prompts[row] + step - 1;
            let scored = &expected[place * VOCABULARY..][..VOCABULARY];
            for (a, b) in found[row * VOCABULARY..].iter().zip(scored) {
                assert!((a - b).abs() < 1e-5, "step {step}, row {row}: {a}, not {b}");
            }
        }
    }
}

#[test]
fn llama_generates_what_it_scores() {
    generates_what_it_scores(llama(false), "ids");
}

#[test]
fn t5_generates_what_it_scores() {
    generates_what_it_scores(t5(true), "target");
}
