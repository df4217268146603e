//! The encoder–decoder that the project ships, as a component: its names, its gradients, and that it
//! generates what it would score. (`gpt` is compared with the same model written natively elsewhere.)
#![allow(clippy::unwrap_used)]

#[path = "support/recipes.rs"]
mod recipes;
#[path = "support/shipped.rs"]
mod shipped;

use recipes::{ids, info, logits, named, padded, pass};
use serde_json::{Value as Json, json};
use shipped::component;
use tenon_plugin::{Grants, Recipe, recipe::Layout};
use tenon_tensor::{
    Device, Tape, Tensor,
    nn::{Scope, SequenceCache, SequenceInfo, SharedCache, Stage},
    optim::{AdamW, Optimizer, OptimizerConfig},
    params::Params,
};

const VOCABULARY: usize = 17;

/// A model that is as small as can be and has two of everything.
fn config() -> Json {
    json!({
        "width": 16, "encoder_layers": 2, "decoder_layers": 2, "heads": 2, "decoder_heads": 4,
        "feed_forward": 24, "source_length": 12, "target_length": 12, "dropout": 0.0,
    })
}

fn palm(change: Json) -> Recipe {
    let mut config = config();
    config
        .as_object_mut()
        .unwrap()
        .extend(change.as_object().unwrap().clone());
    let vocabulary = VOCABULARY as u32;
    Recipe::open(
        &component("recipe-palm"),
        &config,
        vocabulary,
        Grants::default(),
    )
    .unwrap()
}

/// Pairs of texts.
struct Pairs {
    sources: Vec<Vec<i64>>,
    targets: Vec<Vec<i64>>,
}

impl Pairs {
    fn random(lengths: &[(usize, usize)]) -> Self {
        let text = |at: usize, length: usize, side: u64| {
            ids(length, VOCABULARY as u64, 2 * at as u64 + side)
        };
        let rows = || lengths.iter().enumerate();
        Self {
            sources: rows()
                .map(|(at, (source, _))| text(at, *source, 0))
                .collect(),
            targets: rows()
                .map(|(at, (_, target))| text(at, *target, 1))
                .collect(),
        }
    }

    /// The inputs of scoring and training: every target but its last token, and the tokens after.
    fn inputs(&self) -> (Vec<SequenceInfo>, Vec<(String, Tensor)>) {
        let sources: Vec<&[i64]> = self.sources.iter().map(Vec::as_slice).collect();
        let targets: Vec<&[i64]> = self.targets.iter().map(|t| &t[..t.len() - 1]).collect();
        let labels: Vec<&[i64]> = self.targets.iter().map(|t| &t[1..]).collect();
        let infos = vec![info("source", &sources), info("target", &targets)];
        let inputs = vec![
            named("source", padded(&sources, 0)),
            named("target", padded(&targets, 0)),
            named("labels", padded(&labels, -100)),
        ];
        (infos, inputs)
    }
}

fn score(recipe: &mut Recipe, params: &Params, pairs: &Pairs) -> Tensor {
    let (infos, inputs) = pairs.inputs();
    let scope = Scope::root(params, None);
    logits(
        recipe
            .forward(&scope, &pass(Stage::Evaluate, infos), inputs)
            .unwrap(),
    )
}

/// One training pass; the loss, what it was taken over, and the gradients.
fn gradients(
    recipe: &mut Recipe,
    params: &Params,
    pairs: &Pairs,
) -> (f64, f64, Vec<(String, Tensor)>) {
    let (infos, inputs) = pairs.inputs();
    let tape = Tape::new();
    let scope = Scope::root(params, Some(&tape));
    let pass = pass(Stage::Train, infos);
    let outputs = recipe.forward(&scope, &pass, inputs.clone()).unwrap();
    let losses = recipe.loss(&pass, outputs, inputs).unwrap();
    let mut all = tape.backward(&losses.loss).unwrap();
    let all = scope.gradients(&mut all);
    let (loss, weight) = (losses.loss.item().unwrap(), losses.weight.item().unwrap());
    drop(losses);
    scope.release();
    tape.close();
    (loss, weight, all)
}

const LENGTHS: [(usize, usize); 3] = [(4, 6), (7, 3), (1, 8)];

#[test]
fn the_signature_says_what_is_read_and_what_is_generated() {
    let signature = palm(json!({})).signature().unwrap();
    assert_eq!(signature.columns(), ["src_txt", "tgt_txt"]);
    let names: Vec<&str> = signature
        .inputs
        .iter()
        .map(|input| input.name.as_str())
        .collect();
    assert_eq!(names, ["source", "target", "labels"]);
    assert!(signature.sequences().all(|(_, layout)| layout.packable));
    let Layout::Sequence(source) = &signature.inputs[0].layout else {
        panic!("{signature:?}")
    };
    assert!(source.pieces.iter().all(|piece| !piece.learnt));
    let generation = signature.generation.unwrap();
    assert_eq!(
        (generation.sequence.as_str(), generation.logits.as_str()),
        ("target", "logits")
    );
    assert_eq!(
        (generation.stop, generation.max_length),
        (vec!["<eos>".to_owned()], Some(12))
    );
    let other = json!({"packing": false, "source": [{"column": "question"}]});
    let signature = palm(other).signature().unwrap();
    assert_eq!(signature.columns(), ["question", "tgt_txt"]);
    assert!(signature.sequences().all(|(_, layout)| !layout.packable));
}

#[test]
fn parameters_have_the_names_of_the_public_model() {
    let mut recipe = palm(json!({
        "encoder_layers": 1, "decoder_layers": 1, "share_embeddings": false,
    }));
    let params = Params::new(&Device::cpu(), 1);
    score(&mut recipe, &params, &Pairs::random(&LENGTHS));
    let both = |name: &str| [format!("{name}.bias"), format!("{name}.weight")];
    let mut expected = vec![
        "palm.bert.embeddings.word_embeddings.weight".to_owned(),
        "palm.bert.embeddings.position_embeddings.weight".to_owned(),
        "palm.bert.embeddings.token_type_embeddings.weight".to_owned(),
        "palm.decoder.embeddings.weight".to_owned(),
        "palm.generator.dense.bias".to_owned(),
    ];
    expected.extend(both("palm.bert.embeddings.LayerNorm"));
    for name in [
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "attention.output.LayerNorm",
        "intermediate.dense",
        "output.dense",
        "output.LayerNorm",
    ] {
        expected.extend(both(&format!("palm.bert.encoder.layer.0.{name}")));
    }
    for attention in ["self_attn", "context_attn"] {
        for name in [
            "linear_query",
            "linear_keys",
            "linear_values",
            "final_linear",
        ] {
            let name = format!("palm.decoder.transformer_layers.0.{attention}.{name}");
            expected.extend(both(&name));
        }
    }
    for name in [
        "layer_norm_1",
        "layer_norm_2",
        "feed_forward.layer_norm",
        "feed_forward.w_1",
        "feed_forward.w_2",
    ] {
        expected.extend(both(&format!("palm.decoder.transformer_layers.0.{name}")));
    }
    expected.extend(both("palm.decoder.layer_norm"));
    expected.sort();
    let mut found = params.names();
    found.sort();
    assert_eq!(found, expected);
    let shape = |name: &str| params.get(name).unwrap().shape().to_vec();
    assert_eq!(
        shape("palm.bert.encoder.layer.0.intermediate.dense.weight"),
        [24, 16]
    );
    assert_eq!(
        shape("palm.decoder.transformer_layers.0.feed_forward.w_2.weight"),
        [16, 24]
    );
    assert_eq!(
        shape("palm.bert.embeddings.token_type_embeddings.weight"),
        [2, 16]
    );
}

#[test]
fn every_parameter_has_a_gradient() {
    for share in [true, false] {
        let mut recipe = palm(json!({"share_embeddings": share}));
        let params = Params::new(&Device::cpu(), 7);
        let pairs = Pairs::random(&LENGTHS);
        let (loss, weight, _) = gradients(&mut recipe, &params, &pairs);
        assert_eq!(weight, (5 + 2 + 7) as f64);
        // Nothing learnt yet: close to a uniform guess.
        assert!((loss - (VOCABULARY as f64).ln()).abs() < 0.5, "{loss}");
        // New weights are so small that attention is all but even, and the gradients of queries and
        // keys are all but rounding: larger ones tell them apart from nothing.
        for (name, value) in params.entries() {
            if value.shape().len() == 2 {
                params.set(&name, value.mul_scalar(10.0).unwrap()).unwrap();
            }
        }
        let (_, _, gradients) = gradients(&mut recipe, &params, &pairs);
        let mut names: Vec<&str> = gradients.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let mut all = params.names();
        all.sort();
        assert_eq!(names, all);
        for (name, gradient) in &gradients {
            let values = gradient.to_f32_vec().unwrap();
            let largest = values
                .iter()
                .fold(0.0_f32, |most, value| most.max(value.abs()));
            assert!(values.iter().all(|value| value.is_finite()), "{name}");
            if name.ends_with("key.bias") || name.ends_with("linear_keys.bias") {
                // A bias of the keys moves all scores of a query alike, which the softmax does not see.
                assert!(largest < 1e-5, "{name}: {largest}");
            } else {
                assert!(largest > 1e-7, "{name}: {largest}");
            }
        }
    }
}

#[test]
fn it_learns_to_answer_what_it_read() {
    // The answer begins with 1 and repeats the text backwards: nothing but the source says it.
    let pairs = {
        let mut pairs = Pairs::random(&[(3, 1), (4, 1), (2, 1), (4, 1), (3, 1), (4, 1)]);
        for (source, target) in pairs.sources.iter().zip(&mut pairs.targets) {
            *target = std::iter::once(1)
                .chain(source.iter().rev().copied())
                .collect();
        }
        pairs
    };
    let mut recipe = palm(json!({"width": 32}));
    let params = Params::new(&Device::cpu(), 7);
    let mut optimizer = Optimizer::new(OptimizerConfig::Adamw(AdamW::default())).unwrap();
    let mut last = f64::INFINITY;
    for _ in 0..150 {
        let (loss, _, gradients) = gradients(&mut recipe, &params, &pairs);
        optimizer.step(&params, &gradients, 3e-3, &[]).unwrap();
        last = loss;
    }
    assert!(last < 0.05, "{last}");
}

#[test]
fn packed_pairs_do_not_see_each_other() {
    let mut recipe = palm(json!({}));
    let params = Params::new(&Device::cpu(), 7);
    let pairs = Pairs::random(&[(4, 4), (2, 3)]);
    let alone = score(&mut recipe, &params, &pairs).to_f32_vec().unwrap();
    let join = |texts: &[Vec<i64>], cut: usize| -> Vec<i64> {
        texts
            .iter()
            .flat_map(|text| text[..text.len() - cut].to_vec())
            .collect()
    };
    let (source, target) = (join(&pairs.sources, 0), join(&pairs.targets, 1));
    let row = |name: &str, lengths: Vec<usize>| SequenceInfo {
        name: name.to_owned(),
        tokens: lengths.iter().sum(),
        rows: vec![lengths],
    };
    let infos = vec![row("source", vec![4, 2]), row("target", vec![3, 2])];
    let inputs = vec![
        named("source", padded(&[&source], 0)),
        named("target", padded(&[&target], 0)),
    ];
    let scope = Scope::root(&params, None);
    let packed = recipe
        .forward(&scope, &pass(Stage::Evaluate, infos), inputs)
        .unwrap();
    let packed = logits(packed).to_f32_vec().unwrap();
    // The first pair has three places of its row, the second two of the next.
    for (at, from) in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)] {
        let (a, b) = (&packed[at * VOCABULARY..], &alone[from * VOCABULARY..]);
        for (a, b) in a[..VOCABULARY].iter().zip(b) {
            assert!((a - b).abs() < 1e-5, "place {at}: {a}, alone {b}");
        }
    }
}

#[test]
fn generation_scores_what_scoring_scores() {
    for share in [true, false] {
        let mut recipe = palm(json!({"share_embeddings": share}));
        let params = Params::new(&Device::cpu(), 7);
        // Prompts of 1, 3 and 2 tokens, and four that are generated.
        let (prompts, steps) = ([1, 3, 2], 4);
        let pairs = Pairs::random(&[(4, 1 + 5), (7, 3 + 5), (1, 2 + 5)]);
        let scored = score(&mut recipe, &params, &pairs);
        let width = scored.shape()[1];
        let expected = scored.to_f32_vec().unwrap();
        let caches: Vec<SharedCache> = prompts.iter().map(|_| SequenceCache::shared()).collect();
        for step in 0..=steps {
            let part = |row: usize| {
                let end = prompts[row] + step;
                let start = if step == 0 { 0 } else { end - 1 };
                &pairs.targets[row][start..end]
            };
            let targets = [part(0), part(1), part(2)];
            let mut infos = vec![info("target", &targets)];
            let mut inputs = vec![named("target", padded(&targets, 0))];
            let stage = if step == 0 {
                let sources: Vec<&[i64]> = pairs.sources.iter().map(Vec::as_slice).collect();
                infos.push(info("source", &sources));
                inputs.push(named("source", padded(&sources, 0)));
                Stage::Prefill
            } else {
                Stage::Decode
            };
            let pass = pass(stage, infos).with_cache(caches.clone()).unwrap();
            let scope = Scope::root(&params, None);
            let found = logits(recipe.forward(&scope, &pass, inputs).unwrap());
            assert_eq!(found.shape(), [3, 1, VOCABULARY]);
            let found = found.to_f32_vec().unwrap();
            for row in 0..3 {
                let at = row * width + prompts[row] + step - 1;
                let scored = &expected[at * VOCABULARY..][..VOCABULARY];
                for (a, b) in found[row * VOCABULARY..].iter().zip(scored) {
                    assert!(
                        (a - b).abs() < 1e-5,
                        "step {step}, row {row}: {a}, expected {b}"
                    );
                }
            }
        }
    }
}

#[test]
fn evaluation_reports_the_likelihood_and_the_accuracy() {
    let mut recipe = palm(json!({"label_smoothing": 0.3}));
    let params = Params::new(&Device::cpu(), 7);
    let (infos, inputs) = Pairs::random(&LENGTHS).inputs();
    let scope = Scope::root(&params, None);
    let pass = pass(Stage::Evaluate, infos);
    let outputs = recipe.forward(&scope, &pass, inputs.clone()).unwrap();
    let values = outputs[0].1.to_f32_vec().unwrap();
    let labels = &inputs[2].1;
    let (mut total, mut right, mut count) = (0.0, 0.0, 0.0);
    for (at, label) in labels.to_i64_vec().unwrap().into_iter().enumerate() {
        let row: Vec<f64> = values[at * VOCABULARY..][..VOCABULARY]
            .iter()
            .map(|v| f64::from(*v))
            .collect();
        if let Ok(label) = usize::try_from(label) {
            let sum: f64 = row.iter().map(|value| value.exp()).sum();
            total += sum.ln() - row[label];
            right += f64::from(u8::from(row.iter().all(|value| *value <= row[label])));
            count += 1.0;
        }
    }
    let losses = recipe.loss(&pass, outputs, inputs.clone()).unwrap();
    assert!((losses.loss.item().unwrap() - total / count).abs() < 1e-5);
    assert_eq!(losses.weight.item().unwrap(), count);
    let (name, accuracy) = &losses.metrics[0];
    assert_eq!(name, "accuracy");
    assert!((accuracy.item().unwrap() - right / count).abs() < 1e-6);
}
