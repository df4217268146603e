//! New models of the recipes that the project ships, as components: each parameter's gradient is the
//! loss's slope, and generation scores what scoring scores. (`parity.rs` compares them with
//! `transformers`; this needs no Python.)
#![allow(clippy::unwrap_used)]

#[path = "support/generation.rs"]
mod generation;
#[path = "support/recipes.rs"]
mod recipes;
#[path = "support/shipped.rs"]
mod shipped;

use recipes::{ids, info, named, padded, pass};
use serde_json::{Value as Json, json};
use shipped::component;
use tenon_plugin::{Grants, Recipe};
use tenon_tensor::{
    DType, Device, Tape, Tensor,
    nn::{Scope, SequenceInfo, Stage},
    params::Params,
};

const VOCABULARY: usize = 19;

/// A recipe and something to feed it.
struct Model {
    recipe: Recipe,
    infos: Vec<SequenceInfo>,
    inputs: Vec<(String, Tensor)>,
}

fn open(name: &str, config: &Json) -> Recipe {
    let component = component(&format!("recipe-{name}"));
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
        "num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 32,
        "rope_scaling": {
            "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8,
        },
        "tie_word_embeddings": tied, "vocab_size": VOCABULARY + 2,
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
        "num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2,
        "max_position_embeddings": 12, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        "text": "question", "text_pair": "answer",
    });
    if classes {
        config["architectures"] = json!(["BertForSequenceClassification"]);
        config["num_labels"] = json!(3);
    }
    let all = texts(&[9, 6], 20);
    let rows = slices(&all);
    // [CLS] first [SEP] second [SEP], padded with the last.
    let pieces = integers(
        &[2, 9],
        &[0, 1, 1, 2, 3, 3, 3, 3, 4, 0, 1, 2, 3, 3, 4, 4, 4, 4],
    );
    let targets = if classes {
        named("labels", integers(&[2], &[2, 0]))
    } else {
        let mut targets = vec![-100; 18];
        (targets[2], targets[4], targets[10]) = (3, 8, 1);
        named("labels", integers(&[2, 9], &targets))
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
        "num_layers": 2, "d_model": 16, "d_ff": 24, "num_heads": 2, "d_kv": 6,
        "relative_attention_num_buckets": 8, "relative_attention_max_distance": 12, "dropout_rate": 0.0,
        "feed_forward_proj": if gated { "gated-gelu" } else { "relu" }, "tie_word_embeddings": !gated,
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

fn resnet(stem: &str) -> Model {
    let config = json!({
        "num_channels": 2, "image_size": [8, 8], "num_labels": 3, "embedding_size": 4, "hidden_sizes": [4, 6],
        "depths": [1, 1], "stem": stem,
    });
    let (count, class) = (5, [0, 2, 1, 1, 0]);
    let pixels: Vec<u8> = ids(count * 2 * 64, 256, 50)
        .into_iter()
        .map(|value| value as u8)
        .collect();
    let image = Tensor::from_bytes(&[count, 2, 8, 8], DType::U8, &pixels, &Device::cpu()).unwrap();
    Model {
        recipe: open("resnet", &config),
        infos: vec![],
        inputs: vec![
            named("image", image),
            named("labels", integers(&[count], &class)),
        ],
    }
}

impl Model {
    /// The loss of a training pass. With a tape, since batches are normalised by themselves in training.
    fn loss(&mut self, params: &Params) -> f64 {
        let tape = Tape::new();
        let scope = Scope::root(params, Some(&tape));
        let pass = pass(Stage::Train, self.infos.clone());
        let outputs = self
            .recipe
            .forward(&scope, &pass, self.inputs.clone())
            .unwrap();
        let losses = self.recipe.loss(&pass, outputs, self.inputs.clone());
        let loss = losses.unwrap().loss.item().unwrap();
        scope.release();
        tape.close();
        loss
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
        // Steps of several sizes: large ones are off by the loss's curvature, small ones by rounding.
        let slopes = [1.0, 0.3, 3.0].map(|times| {
            let step = times * size;
            (at(step) - at(-step)) / (2.0 * step)
        });
        params.set(name, value).unwrap();
        assert!(
            slopes
                .iter()
                .any(|found| (found - norm).abs() < tolerance * norm + 1e-3),
            "{name}: slopes {slopes:?}, gradient {norm}"
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
    slopes(resnet("small"), 1e-3, 0.05);
    slopes(resnet("photograph"), 1e-3, 0.05);
}

fn generates_what_it_scores(mut model: Model, sequence: &str) {
    let params = Params::new(&Device::cpu(), 7);
    let Model {
        recipe,
        infos,
        inputs,
    } = &mut model;
    generation::generates_what_it_scores(recipe, &params, infos, inputs, sequence, 1e-5);
}

#[test]
fn llama_generates_what_it_scores() {
    generates_what_it_scores(llama(false), "ids");
}

#[test]
fn t5_generates_what_it_scores() {
    generates_what_it_scores(t5(true), "target");
}

/// What a configuration is refused for.
fn refused(name: &str, config: &Json) -> String {
    let component = component(&format!("recipe-{name}"));
    let grants = Grants::default();
    Recipe::open(&component, config, VOCABULARY as u32, grants)
        .map(drop)
        .unwrap_err()
        .to_string()
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (name, config, expected) in [
        (
            "llama",
            json!({"architectures": ["MixtralForCausalLM"]}),
            ["MixtralForCausalLM", "MistralForCausalLM"],
        ),
        (
            "llama",
            json!({"hidden_act": "relu2"}),
            ["`hidden_act` is \"relu2\"", "silu"],
        ),
        (
            "llama",
            json!({"rope_scaling": {"rope_type": "longrope"}}),
            ["longrope", "yarn"],
        ),
        (
            "llama",
            json!({"vocab_size": VOCABULARY - 1}),
            ["`vocab_size` is 18", "19 tokens"],
        ),
        (
            "gpt",
            json!({"architectures": ["GPTNeoForCausalLM"]}),
            ["GPTNeoForCausalLM", "GPT2LMHeadModel"],
        ),
        (
            "gpt",
            json!({"n_layer": 0}),
            ["`n_layer` is 0", "at least 1"],
        ),
        (
            "bert",
            json!({"position_embedding_type": "relative_key"}),
            ["relative_key", "absolute"],
        ),
        (
            "t5",
            json!({"feed_forward_proj": "gated-mish"}),
            ["mish", "gelu_new"],
        ),
        (
            "resnet",
            json!({"layer_type": "wide"}),
            ["`layer_type` is \"wide\"", "bottleneck"],
        ),
        (
            "mlp",
            json!({"numeric": ["a"], "hiden_sizes": [3]}),
            ["hiden_sizes", "hidden_sizes"],
        ),
    ] {
        let said = refused(name, &config);
        assert!(
            expected.iter().all(|part| said.contains(part)),
            "{name} {config}: {said}"
        );
    }
}

#[test]
fn the_schema_names_the_architectures_and_lets_other_fields_be() {
    for (name, first) in [
        ("llama", "LlamaForCausalLM"),
        ("gpt", "GPT2LMHeadModel"),
        ("bert", "BertForMaskedLM"),
        ("t5", "T5ForConditionalGeneration"),
        ("resnet", "ResNetForImageClassification"),
    ] {
        let component = component(&format!("recipe-{name}"));
        let schema = &component.description().config_schema;
        let architectures = &schema["properties"]["architectures"];
        assert_eq!(architectures["type"], "array", "{name}");
        assert_eq!(architectures["items"]["enum"][0], first, "{name}");
        open(
            name,
            &json!({"architectures": [first], "torch_dtype": "bfloat16", "use_cache": true}),
        );
    }
}

/// What the model predicts from is asked for, and what it learns is not.
#[test]
fn targets_are_not_asked_for_when_the_model_predicts() {
    for (architecture, more, given) in [
        ("BertForTokenClassification", json!({}), vec!["text"]),
        ("BertModel", json!({"positive": "other"}), vec!["text"]),
        (
            "BertForMaskedLM",
            json!({"text_pair": "second"}),
            vec!["text", "second"],
        ),
    ] {
        let mut config = json!({"architectures": [architecture]});
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let signature = open("bert", &config).signature().unwrap();
        assert_eq!(
            signature.without_targets().columns(),
            given,
            "{architecture}"
        );
    }
}
