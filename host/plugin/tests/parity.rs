//! The recipes that the project ships compute what `transformers` computes: the checkpoint's
//! `config.json` and weights are taken as `save_pretrained` writes them, and what is trained here loads
//! back there. (`tenon/mlp` is compared with the same layers of PyTorch.)
#![allow(clippy::unwrap_used)]

#[path = "parity/case.rs"]
mod case;
#[path = "support/generation.rs"]
mod generation;
#[path = "parity/python.rs"]
mod python;
#[path = "support/recipes.rs"]
mod recipes;
#[path = "support/shipped.rs"]
mod shipped;

use case::Case;
use tenon_plugin::Recipe;
use tenon_tensor::{
    Tape, Tensor,
    nn::{Scope, Stage},
    optim::{AdamW, Optimizer, OptimizerConfig},
    params::Params,
};

/// Of an output's number.
const OUTPUT: f64 = 1e-4;
/// Of a gradient, by the norm: ‖found − expected‖ against ‖expected‖. Where a gradient is less than a
/// thousandth of all together (that of a bias of keys is 0, and rounding is all that is left), it
/// counts as that large.
const GRADIENT: f64 = 1e-4;
const SMALLEST_SHARE: f64 = 1e-3;
/// Of a loss.
const LOSS: f64 = 1e-3;

fn evaluate(case: &Case, recipe: &mut Recipe, params: &Params) -> Vec<(String, Tensor)> {
    let scope = Scope::root(params, None);
    let pass = recipes::pass(Stage::Evaluate, case.infos.clone());
    recipe.forward(&scope, &pass, case.inputs.clone()).unwrap()
}

/// The loss of a training pass, and all gradients.
fn gradients(case: &Case, recipe: &mut Recipe, params: &Params) -> (f64, Vec<(String, Tensor)>) {
    let tape = Tape::new();
    let scope = Scope::root(params, Some(&tape));
    let pass = recipes::pass(Stage::Train, case.infos.clone());
    let outputs = recipe.forward(&scope, &pass, case.inputs.clone()).unwrap();
    let losses = recipe.loss(&pass, outputs, case.inputs.clone()).unwrap();
    let mut all = tape.backward(&losses.loss).unwrap();
    let all = scope.gradients(&mut all);
    let loss = losses.loss.item().unwrap();
    scope.commit_buffers().unwrap();
    drop(losses);
    scope.release();
    tape.close();
    (loss, all)
}

fn outputs_are_equal(case: &Case, found: &[(String, Tensor)]) {
    let expected = case.expected("outputs.safetensors");
    assert_eq!(found.len(), expected.len());
    for (name, value) in found {
        let (shape, expected) = &expected[name];
        assert_eq!(value.shape(), shape, "{name}");
        let real = case.real(shape);
        let values = value.to_f32_vec().unwrap();
        let mut compared = 0;
        for ((found, expected), _) in values
            .iter()
            .zip(expected)
            .zip(&real)
            .filter(|(_, real)| **real)
        {
            let apart = f64::from((found - expected).abs());
            assert!(apart < OUTPUT, "{name}: {found}, not {expected}");
            compared += 1;
        }
        assert!(compared > 2, "{name}: {compared} numbers compared");
    }
}

fn gradients_are_equal(case: &Case, found: &[(String, Tensor)]) {
    let mut expected = case.expected("gradients.safetensors");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let all = norm(
        &mut expected
            .values()
            .flat_map(|(_, v)| v.iter().map(|v| f64::from(*v))),
    );
    for (name, gradient) in found {
        let (shape, expected) = expected.remove(name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(gradient.shape(), shape, "{name}");
        let found = gradient.to_f32_vec().unwrap();
        let pairs = found.iter().zip(&expected);
        let apart = norm(&mut pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)));
        let size = norm(&mut expected.iter().map(|v| f64::from(*v))).max(SMALLEST_SHARE * all);
        assert!(
            apart < GRADIENT * size,
            "{name}: {apart} apart, norm {size}"
        );
    }
    assert!(expected.is_empty(), "no gradient of {:?}", expected.keys());
}

fn parity(name: &str) {
    let case = Case::make(name);
    let (mut recipe, params) = (case.recipe(), case.params());
    outputs_are_equal(&case, &evaluate(&case, &mut recipe, &params));
    let unclaimed = params.drop_unclaimed();
    assert!(
        unclaimed.iter().all(|name| case.is_unused(name)),
        "{unclaimed:?}"
    );
    if let Some(sequence) = case.described["generates"].as_str() {
        let (infos, inputs) = (&case.infos, &case.inputs);
        let tolerance = OUTPUT as f32;
        generation::generates_what_it_scores(
            &mut recipe,
            &params,
            infos,
            inputs,
            sequence,
            tolerance,
        );
    }

    let decays_all = AdamW {
        decay_only_matrices: false,
        ..AdamW::default()
    };
    let mut optimizer = Optimizer::new(OptimizerConfig::Adamw(decays_all)).unwrap();
    let rate = case.described["learning_rate"].as_f64().unwrap();
    let losses = case.described["losses"].as_array().unwrap();
    assert_eq!(losses.len(), 10);
    for (step, expected) in losses.iter().enumerate() {
        let (loss, all) = gradients(&case, &mut recipe, &params);
        if step == 0 {
            gradients_are_equal(&case, &all);
        }
        let expected = expected.as_f64().unwrap();
        assert!(
            (loss - expected).abs() < LOSS,
            "step {step}: loss {loss}, not {expected}"
        );
        optimizer.step(&params, &all, rate, &[]).unwrap();
    }
    let outputs = evaluate(&case, &mut recipe, &params);
    let difference = case.load_back(&params, &outputs);
    assert!(difference < OUTPUT, "{difference} apart after training");
}

macro_rules! parity {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[test] fn $test() { parity($name); })*
    };
}

parity! {
    gpt2: "gpt2",
    gpt2_variants: "gpt2-variants",
    llama: "llama",
    llama_variants: "llama-variants",
    llama_linear: "llama-linear",
    llama_dynamic: "llama-dynamic",
    llama_llama3: "llama-llama3",
    llama_yarn: "llama-yarn",
    mistral: "mistral",
    qwen2: "qwen2",
    qwen2_window: "qwen2-window",
    qwen3: "qwen3",
    qwen3_window: "qwen3-window",
    t5: "t5",
    t5_gated: "t5-gated",
    bert_words: "bert-words",
    bert_class: "bert-class",
    bert_classes: "bert-classes",
    bert_number: "bert-number",
    bert_tokens: "bert-tokens",
    bert_sentences: "bert-sentences",
    resnet: "resnet",
    resnet_bottleneck: "resnet-bottleneck",
    resnet_bottleneck_first: "resnet-bottleneck-first",
    mlp_classification: "mlp-classification",
    mlp_regression: "mlp-regression",
}
