//! Evaluations, with the project's own evaluators.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Place, place, spec};
use tenon_plugin::{Batch, Grants, batch::Column};
use tenon_track::{ReferenceKind, Run, RunStatus};
use tenon_train::{EvaluateSpec, EvaluatorSpec, REPORT, TrainSpec};

fn furnished() -> (Place, Run) {
    let place = place();
    for plugin in ["evaluator-perplexity", "evaluator-retrieval"] {
        support::install(place.platform(), plugin);
    }
    let run = place.finish(TrainSpec {
        register: Some("speller".into()),
        ..spec(40)
    });
    (place, run)
}

fn one(plugin: &str, config: Value) -> EvaluatorSpec {
    EvaluatorSpec {
        plugin: plugin.into(),
        config,
        ..EvaluatorSpec::default()
    }
}

fn evaluation() -> EvaluateSpec {
    EvaluateSpec {
        name: Some("how good".into()),
        model: "speller".into(),
        dataset: "letters".into(),
        evaluators: vec![
            one("tenon/perplexity", json!({"resamples": 200})),
            one("tenon/perplexity", json!({"resamples": 0, "max_rows": 4})),
            one(
                "tenon/retrieval",
                json!({"answer": "text", "candidates": 3}),
            ),
        ],
        batch_rows: 5,
        seed: 11,
        ..EvaluateSpec::default()
    }
}

fn evaluate(place: &Place, spec: EvaluateSpec) -> Run {
    let run = place.jobs.evaluate(spec).unwrap();
    place.jobs.wait(&run.id).unwrap()
}

fn report(place: &Place, run: &Run) -> Value {
    let digest = run.artifacts[REPORT].digest.parse().unwrap();
    serde_json::from_slice(&place.platform().store.blobs().read(&digest).unwrap()).unwrap()
}

#[test]
fn a_model_is_judged_and_everything_is_recorded() {
    let (place, trained) = furnished();
    let run = support::finished(evaluate(&place, evaluation()));
    assert_eq!(run.name, "how good");
    // The evaluator's perplexity leaves the end out; the training's own loss has it.
    let metric = |name: &str| run.metrics[name].last;
    let (loss, special) = (metric("perplexity/loss"), metric("perplexity/special_loss"));
    let own = trained.metrics["eval/loss"].last;
    assert!(
        ((loss * 12.0 + special) / 13.0 - own).abs() < 1e-4,
        "{loss}, {special}, {own}"
    );
    assert!((metric("perplexity/perplexity") - loss.exp()).abs() < 1e-6);
    assert!(metric("perplexity/perplexity/low") <= metric("perplexity/perplexity"));
    assert!(metric("perplexity/perplexity/high") >= metric("perplexity/perplexity"));
    assert_eq!(metric("perplexity/tokens"), 16.0 * 12.0);
    // The second of the same name, on its first rows.
    assert_eq!(metric("perplexity-2/tokens"), 4.0 * 12.0);
    assert!(!run.metrics.contains_key("perplexity-2/perplexity/low"));
    assert_eq!(metric("retrieval/chance"), 1.0 / 3.0);

    assert_eq!(run.params["model"], json!("speller@1"));
    assert_eq!(run.params["dataset"], json!("letters@1#dev"));
    assert_eq!(run.params["perplexity-2.config.max_rows"], json!(4));
    assert_eq!(
        run.params["retrieval.config.max_rows"],
        json!(500),
        "with defaults"
    );
    assert_eq!(run.seeds["evaluation"], 11);
    assert_eq!(run.seeds.len(), 4);
    let (_, manifest) = place.platform().manifest("speller").unwrap();
    for (kind, role, digest) in [
        (ReferenceKind::Model, "model", manifest.digest()),
        (ReferenceKind::Weights, "model", manifest.weights.clone()),
        (
            ReferenceKind::Plugin,
            "recipe",
            manifest.recipe.digest.clone(),
        ),
        (
            ReferenceKind::Plugin,
            "retrieval",
            place
                .platform()
                .registry
                .find("tenon/retrieval")
                .unwrap()
                .digest,
        ),
        (
            ReferenceKind::Dataset,
            "evaluation",
            place.platform().datasets.get("letters").unwrap().digest,
        ),
        (
            ReferenceKind::Tokenizer,
            "tokenizer",
            manifest.tokenizer.unwrap(),
        ),
    ] {
        assert!(
            run.inputs
                .iter()
                .any(|input| input.kind == kind && input.role == role && input.digest == digest),
            "{role}: {:?}",
            run.inputs
        );
    }
    let lineage = place
        .platform()
        .tracker
        .lineage(&run.inputs[0].digest)
        .unwrap();
    assert!(lineage.used_by.iter().any(|used| used.run == run.id));
    assert!(lineage.made_by.iter().any(|made| made.run == trained.id));

    let report = report(&place, &run);
    assert_eq!(report["model"], json!("speller@1"));
    assert_eq!(report["rows"], json!(16));
    let evaluators = report["evaluators"].as_array().unwrap();
    let labels: Vec<&str> = evaluators
        .iter()
        .map(|one| one["label"].as_str().unwrap())
        .collect();
    assert_eq!(labels, ["perplexity", "perplexity-2", "retrieval"]);
    let first = &evaluators[0]["metrics"][0];
    assert_eq!(first["name"], json!("perplexity"));
    assert_eq!(first["higher_is_better"], json!(false));
    assert!(first["low"].as_f64().unwrap() > 1.0);
    assert!(evaluators[0]["tables"].is_array() && evaluators[0]["plots"].is_array());
    assert_eq!(run.outputs[0].digest, run.artifacts[REPORT].digest);
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let (place, _) = furnished();
    let of = |seed| {
        let spec = EvaluateSpec {
            seed,
            ..evaluation()
        };
        let run = support::finished(evaluate(&place, spec));
        report(&place, &run)["evaluators"].clone()
    };
    let first = of(3);
    assert_eq!(first, of(3));
    let bound = |report: &Value| report[0]["metrics"][0]["low"].as_f64().unwrap();
    let others: Vec<f64> = (4..8).map(|seed| bound(&of(seed))).collect();
    assert!(
        others.iter().any(|other| *other != bound(&first)),
        "{others:?}"
    );
}

#[test]
fn rows_are_limited_and_columns_renamed() {
    let (place, _) = furnished();
    let rows = support::alphabet(9, 7).replace("text", "line");
    support::import(place.platform(), "lines", &[("dev", rows)]);
    let spec = EvaluateSpec {
        dataset: "lines".into(),
        columns: [("text".to_owned(), "line".to_owned())].into(),
        rows: Some(7),
        evaluators: vec![
            one("tenon/perplexity", json!({})),
            // It looks at a column by the dataset's name, the model at the same by its own.
            EvaluatorSpec {
                label: Some("by line".into()),
                ..one(
                    "tenon/retrieval",
                    json!({"answer": "text", "candidates": 2}),
                )
            },
        ],
        ..evaluation()
    };
    let run = support::finished(evaluate(&place, spec.clone()));
    assert_eq!(run.metrics["perplexity/tokens"].last, 7.0 * 7.0);
    assert!(run.metrics.contains_key("by line/accuracy"));

    // Without the names the model does not find its column: the run says so.
    let spec = EvaluateSpec {
        columns: Default::default(),
        ..spec
    };
    let run = evaluate(&place, spec);
    assert_eq!(run.status, RunStatus::Failed);
    let error = run.error.unwrap();
    assert!(
        error.contains("tenon/perplexity") && error.contains("`text`"),
        "{error}"
    );
    assert!(run.artifacts.is_empty() && run.outputs.is_empty());
    // It can be tried again, and fails again.
    place.jobs.resume(&run.id).unwrap();
    assert_eq!(place.jobs.wait(&run.id).unwrap().status, RunStatus::Failed);
}

/// Points in four dimensions, and the class whose number is that of the greatest of the first three.
fn points() -> Vec<([f32; 4], usize)> {
    (0..120_u64)
        .map(|row| {
            let at = |axis: u64| {
                let bits = tenon_tensor::rng::bits_at(31, row * 4 + axis);
                (bits % 2000) as f32 / 1000.0 - 1.0
            };
            let x = [at(0), at(1), at(2), at(3)];
            let class = (0..3).max_by(|a, b| x[*a].total_cmp(&x[*b])).unwrap();
            (x, class)
        })
        .collect()
}

#[test]
fn what_a_model_predicts_is_judged() {
    const NAMES: [&str; 3] = ["ash", "birch", "cedar"];
    let place = place();
    let platform = place.platform();
    for plugin in [
        "testing-probe-recipe",
        "evaluator-classification",
        "evaluator-regression",
    ] {
        support::install(platform, plugin);
    }
    let rows: String = points()
        .iter()
        .map(|(x, class)| {
            let mut y = [-0.5; 3];
            y[*class] = 0.5;
            format!("{}\n", json!({"x": x, "y": y, "tree": NAMES[*class]}))
        })
        .collect();
    support::import(platform, "trees", &[("train", rows.clone()), ("dev", rows)]);
    support::finished(place.train(TrainSpec {
        recipe: Some("testing/probe-recipe".into()),
        recipe_config: json!({"kind": "linear"}),
        tokenizer: None,
        dataset: "trees".into(),
        register: Some("forester".into()),
        learning_rate: 5e-2,
        ..spec(300)
    }));

    // What the model says, asked without an evaluator between.
    let (_, manifest) = platform.manifest("forester").unwrap();
    let mut model = platform.load(&manifest, Grants::default()).unwrap();
    let points = points();
    let x = Column::from_f32_lists("x", points.iter().map(|(x, _)| &x[..]));
    let said = model.predict(&Batch::new(120, vec![x]).unwrap()).unwrap();
    let said: Vec<Vec<f32>> = (0..120)
        .map(|row| said.columns[0].f32_list(row).unwrap().into_owned())
        .collect();
    let winner = |logits: &[f32]| {
        (0..3)
            .max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
            .unwrap()
    };
    let right = said
        .iter()
        .zip(&points)
        .filter(|(y, (_, class))| winner(y) == *class)
        .count();
    let wrong: f64 = said
        .iter()
        .zip(&points)
        .flat_map(|(y, (_, class))| {
            (0..3).map(|at| f64::from(y[at]) - if at == *class { 0.5 } else { -0.5 })
        })
        .map(f64::abs)
        .sum();

    let evaluators = [
        one(
            "tenon/classification",
            json!({"label": "tree", "labels": NAMES, "output": "y", "top": [2]}),
        ),
        one("tenon/regression", json!({"target": "y"})),
        one(
            "tenon/classification",
            json!({"label": "tree", "labels": NAMES, "output": "z"}),
        ),
    ];
    let spec = EvaluateSpec {
        model: "forester".into(),
        dataset: "trees".into(),
        evaluators: evaluators[..2].to_vec(),
        batch_rows: 50,
        ..evaluation()
    };
    let run = support::finished(evaluate(&place, spec.clone()));
    let metric = |name: &str| run.metrics[name].last;
    assert_eq!(metric("classification/accuracy"), right as f64 / 120.0);
    assert!((metric("regression/mae") - wrong / 360.0).abs() < 1e-6);
    // It has learnt: by chance a third would be right, and half of the pairs in order.
    assert!(metric("classification/accuracy") > 0.7, "{right}");
    assert!(metric("classification/roc_auc_macro") > 0.85);
    assert!(metric("classification/top_2_accuracy") >= metric("classification/accuracy"));
    assert!(metric("classification/f1_macro/low") < metric("classification/f1_macro"));

    let report = report(&place, &run);
    let tables = &report["evaluators"][0]["tables"];
    assert_eq!(tables[0]["name"], "confusion_matrix");
    assert_eq!(
        tables[0]["columns"],
        json!(["actual \\ predicted", "ash", "birch", "cedar"])
    );
    let count = |actual: usize, predicted: usize| {
        tables[0]["rows"][actual][NAMES[predicted]]
            .as_u64()
            .unwrap()
    };
    assert_eq!((0..3).map(|at| count(at, at)).sum::<u64>(), right as u64);
    assert_eq!(report["evaluators"][1]["plots"][0]["name"], "residuals");

    // An output that the model does not have is told with those that it has.
    let spec = EvaluateSpec {
        evaluators: evaluators[2..].to_vec(),
        ..spec
    };
    let run = evaluate(&place, spec);
    assert_eq!(run.status, RunStatus::Failed);
    let error = run.error.unwrap();
    assert!(
        error.contains("\"z\"") && error.contains("[\"y\"]"),
        "{error}"
    );
}
