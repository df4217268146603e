//! Specifications that cannot be meant: each is refused at once, with a sentence of its own.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use support::{GPT, Place, place, small, spec};
use tenon_data::collate::BatchOptions;
use tenon_tensor::optim::{AdamW, OptimizerConfig};
use tenon_train::{EvaluateSpec, EvaluatorSpec, ScheduleSpec, TrainError, TrainSpec};

/// Refused before there is a run, with a sentence that has all these words in it.
fn refused(place: &Place, spec: TrainSpec, words: &[&str]) -> TrainError {
    let before = place
        .platform()
        .tracker
        .search(&Default::default())
        .unwrap()
        .total;
    let error = place.jobs.train(spec).unwrap_err();
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
    let after = place
        .platform()
        .tracker
        .search(&Default::default())
        .unwrap()
        .total;
    assert_eq!(before, after, "no run was made: {text}");
    assert!(error.is_callers_fault(), "{text}");
    error
}

#[test]
fn settings_out_of_their_range() {
    let place = place();
    let check = |spec: TrainSpec, words: &[&str]| {
        refused(&place, spec, words);
    };
    let of = || spec(1);
    check(
        TrainSpec {
            steps: None,
            ..of()
        },
        &["`steps`, `epochs` or `minutes`"],
    );
    check(
        TrainSpec {
            steps: Some(0),
            ..of()
        },
        &["`steps` is 0"],
    );
    check(
        TrainSpec {
            epochs: Some(0.0),
            ..of()
        },
        &["`epochs` is 0"],
    );
    check(
        TrainSpec {
            minutes: Some(-1.0),
            ..of()
        },
        &["`minutes` is -1"],
    );
    check(
        TrainSpec {
            minutes: Some(f64::NAN),
            ..of()
        },
        &["`minutes` is NaN"],
    );
    check(
        TrainSpec {
            learning_rate: 0.0,
            ..of()
        },
        &["`learning_rate` is 0"],
    );
    check(
        TrainSpec {
            clip_norm: Some(0.0),
            ..of()
        },
        &["`clip_norm` is 0"],
    );
    check(
        TrainSpec {
            accumulate: 0,
            ..of()
        },
        &["`accumulate` is 0"],
    );
    check(
        TrainSpec {
            log_every: 0,
            ..of()
        },
        &["`log_every` is 0"],
    );
    check(
        TrainSpec {
            eval_every: Some(0),
            ..of()
        },
        &["`eval_every` is 0"],
    );
    check(
        TrainSpec {
            checkpoint_every: 0,
            ..of()
        },
        &["`checkpoint_every` is 0"],
    );
    let rows = BatchOptions {
        rows: 0,
        ..BatchOptions::default()
    };
    check(
        TrainSpec {
            batch: rows,
            ..of()
        },
        &["`batch.rows` is 0"],
    );
    let optimizer = OptimizerConfig::Adamw(AdamW {
        beta1: 1.0,
        ..AdamW::default()
    });
    check(TrainSpec { optimizer, ..of() }, &["beta1 is 1", "below 1"]);
    let schedule = ScheduleSpec {
        warmup_steps: 2,
        ..ScheduleSpec::default()
    };
    check(
        TrainSpec { schedule, ..of() },
        &["warmup_steps (2) exceeds total_steps (1)"],
    );
    let schedule = ScheduleSpec {
        min_ratio: 2.0,
        ..ScheduleSpec::default()
    };
    check(TrainSpec { schedule, ..of() }, &["min_ratio is 2"]);
    check(
        TrainSpec {
            register: Some("a@b".into()),
            ..of()
        },
        &["`a@b`", "a model"],
    );
    check(
        TrainSpec {
            recipe_config: json!([]),
            ..of()
        },
        &["`recipe_config` must be a JSON object"],
    );
}

#[test]
fn names_that_lead_nowhere() {
    let place = place();
    let of = || spec(1);
    let missing = |spec: TrainSpec, words: &[&str]| {
        let error = refused(&place, spec, words);
        assert!(error.is_not_found(), "{error}");
    };
    missing(
        TrainSpec {
            recipe: Some("tenon/bert".into()),
            ..of()
        },
        &["tenon/bert", "tenon/gpt"],
    );
    missing(
        TrainSpec {
            dataset: "poems".into(),
            ..of()
        },
        &["`poems`", "`letters`"],
    );
    missing(
        TrainSpec {
            dataset: "letters@9".into(),
            ..of()
        },
        &["`letters@9`"],
    );
    missing(
        TrainSpec {
            dataset: "letters#test".into(),
            ..of()
        },
        &["`test`", "`dev`, `train`"],
    );
    missing(
        TrainSpec {
            eval_dataset: Some("letters#x".into()),
            ..of()
        },
        &["`x`"],
    );
    missing(
        TrainSpec {
            tokenizer: Some("words".into()),
            ..of()
        },
        &["`words`", "`chars`"],
    );
    let from = TrainSpec {
        recipe: None,
        tokenizer: None,
        from: Some("m".into()),
        ..of()
    };
    missing(from, &["model", "`m`"]);
    let from = TrainSpec {
        recipe: None,
        tokenizer: None,
        from: Some("run:xyzw".into()),
        ..of()
    };
    missing(from, &["run", "`xyzw`"]);
}

#[test]
fn parts_that_do_not_fit() {
    let place = place();
    support::install(place.platform(), "evaluator-perplexity");
    let of = || spec(1);
    let check = |spec: TrainSpec, words: &[&str]| {
        refused(&place, spec, words);
    };
    check(
        TrainSpec {
            recipe: None,
            ..of()
        },
        &["`recipe` is missing"],
    );
    check(
        TrainSpec {
            dataset: String::new(),
            ..of()
        },
        &["`dataset` is missing"],
    );
    check(
        TrainSpec {
            recipe: Some("tenon/perplexity".into()),
            ..of()
        },
        &[
            "`tenon/perplexity`",
            "is an evaluator",
            "a recipe is needed",
        ],
    );
    check(
        TrainSpec {
            recipe_config: json!({"n_layer": "many"}),
            ..of()
        },
        &["tenon/gpt", "n_layer"],
    );
    check(
        TrainSpec {
            recipe_config: json!({"n_embd": 100, "n_head": 3}),
            ..of()
        },
        &["tenon/gpt", "multiple of `n_head` (3)"],
    );
    check(
        TrainSpec {
            tokenizer: None,
            ..of()
        },
        &["tenon/gpt", "tokenizer"],
    );
    check(
        TrainSpec {
            columns: [("txt".to_owned(), "text".to_owned())].into(),
            ..of()
        },
        &["`columns`", "`txt`", "it reads `text`"],
    );
    check(
        TrainSpec {
            columns: [("text".to_owned(), "line".to_owned())].into(),
            ..of()
        },
        &["`line`", "letters@1", "`number`, `text`"],
    );
    check(
        TrainSpec {
            columns: [("text".to_owned(), "number".to_owned())].into(),
            ..of()
        },
        &["`number`", "it takes utf8"],
    );
    let special = json!({"sequence": [{"special": "<cls>"}, {"column": "text", "learnt": true}]});
    check(
        TrainSpec {
            recipe_config: special,
            ..of()
        },
        &["`<cls>`"],
    );
    support::import(
        place.platform(),
        "bare",
        &[("train", support::alphabet(4, 4))],
    );
    let bare = || TrainSpec {
        dataset: "bare".into(),
        ..of()
    };
    check(
        TrainSpec {
            eval_every: Some(5),
            ..bare()
        },
        &["`eval_every`", "`eval_dataset`"],
    );
    check(
        TrainSpec {
            keep_best: true,
            ..bare()
        },
        &["`keep_best`", "bare@1 has no split `dev`"],
    );

    let run = place.finish(TrainSpec {
        recipe_config: small(0.0),
        ..of()
    });
    let from = || TrainSpec {
        recipe: None,
        tokenizer: None,
        recipe_config: json!({}),
        from: Some(format!("run:{}", run.id)),
        ..of()
    };
    check(
        TrainSpec {
            tokenizer: Some("chars".into()),
            ..from()
        },
        &["`tokenizer`", "`from`"],
    );
    support::install(place.platform(), "recipe-palm");
    check(
        TrainSpec {
            recipe: Some("tenon/palm".into()),
            ..from()
        },
        &["`recipe` is `tenon/palm`", "is a model of `tenon/gpt`"],
    );
}

#[test]
fn evaluations_that_cannot_be_meant() {
    let place = place();
    for plugin in ["evaluator-perplexity", "evaluator-retrieval"] {
        support::install(place.platform(), plugin);
    }
    let run = place.finish(spec(1));
    let of = || EvaluateSpec {
        model: format!("run:{}", run.id),
        dataset: "letters".into(),
        evaluators: vec![EvaluatorSpec {
            plugin: "tenon/perplexity".into(),
            ..EvaluatorSpec::default()
        }],
        ..EvaluateSpec::default()
    };
    let check = |spec: EvaluateSpec, words: &[&str]| {
        let error = place.jobs.evaluate(spec).unwrap_err();
        for word in words {
            assert!(
                error.to_string().contains(word),
                "`{word}` is not in: {error}"
            );
        }
        assert!(error.is_callers_fault());
    };
    let one = |plugin: &str| EvaluatorSpec {
        plugin: plugin.into(),
        ..EvaluatorSpec::default()
    };
    check(
        EvaluateSpec {
            model: String::new(),
            ..of()
        },
        &["`model` is missing"],
    );
    check(
        EvaluateSpec {
            model: "m".into(),
            ..of()
        },
        &["`m`"],
    );
    check(
        EvaluateSpec {
            dataset: String::new(),
            ..of()
        },
        &["`dataset` is missing"],
    );
    check(
        EvaluateSpec {
            dataset: "letters#x".into(),
            ..of()
        },
        &["`x`"],
    );
    check(
        EvaluateSpec {
            evaluators: vec![],
            ..of()
        },
        &["`evaluators` is empty"],
    );
    check(
        EvaluateSpec {
            rows: Some(0),
            ..of()
        },
        &["`rows` is 0"],
    );
    check(
        EvaluateSpec {
            evaluators: vec![one("a/b")],
            ..of()
        },
        &["a/b"],
    );
    check(
        EvaluateSpec {
            evaluators: vec![one(GPT)],
            ..of()
        },
        &["is a recipe", "an evaluator is needed"],
    );
    // Its answer's column has no default.
    check(
        EvaluateSpec {
            evaluators: vec![one("tenon/retrieval")],
            ..of()
        },
        &["tenon/retrieval", "answer"],
    );
    let granted = EvaluatorSpec {
        datasets: [("train".to_owned(), "letters".to_owned())].into(),
        ..one("tenon/perplexity")
    };
    check(
        EvaluateSpec {
            evaluators: vec![granted],
            ..of()
        },
        &["`train`", "does not ask for it"],
    );
    let labelled = || EvaluatorSpec {
        label: Some("x".into()),
        ..one("tenon/perplexity")
    };
    check(
        EvaluateSpec {
            evaluators: vec![labelled(), labelled()],
            ..of()
        },
        &["`x` is used by two evaluators"],
    );
    check(
        EvaluateSpec {
            columns: [("text".to_owned(), "line".to_owned())].into(),
            ..of()
        },
        &["`columns`", "`line`"],
    );
}

#[test]
fn unknown_settings_are_refused_by_name() {
    let parse = |value| {
        serde_json::from_value::<TrainSpec>(value)
            .unwrap_err()
            .to_string()
    };
    assert!(parse(json!({"dataset": "a", "step": 3})).contains("`step`"));
    assert!(parse(json!({"dataset": "a", "batch": {"row": 3}})).contains("`row`"));
    assert!(parse(json!({"optimizer": {"kind": "adam"}})).contains("`adam`"));
    let spec: TrainSpec = serde_json::from_value(json!({
        "dataset": "a", "steps": 5, "optimizer": {"kind": "sgd", "momentum": 0.9}, "clip_norm": null,
        "schedule": {"kind": "linear"}, "batch": {"rows": 3}
    }))
    .unwrap();
    assert_eq!(
        (spec.clip_norm, spec.batch.rows, spec.accumulate),
        (None, 3, 1)
    );
    let again: TrainSpec = serde_json::from_value(serde_json::to_value(&spec).unwrap()).unwrap();
    assert_eq!(again, spec);
}
