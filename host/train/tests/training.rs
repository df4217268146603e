//! Trainings from beginning to end.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::{place, points, small, spec, until, weights};
use tenon_data::collate::BatchOptions;
use tenon_model::platform::MANIFEST;
use tenon_plugin::{
    Grants,
    batch::{Batch, Column},
};
use tenon_tensor::optim::{OptimizerConfig, Sgd};
use tenon_track::{ReferenceKind, RunStatus};
use tenon_train::{EarlyStopping, Precision, ScheduleSpec, TrainSpec};

#[test]
fn a_model_learns_and_everything_that_made_it_is_recorded() {
    let place = place();
    let run = place.finish(TrainSpec {
        name: Some("first".into()),
        experiment: Some("letters".into()),
        eval_every: Some(30),
        register: Some("speller".into()),
        tags: [("why".to_owned(), "test".to_owned())].into(),
        ..spec(80)
    });
    // 13 learnt tokens a row: the first letter is a guess among 8, all others follow from it.
    let uniform = 13f64.ln();
    let floor = 8f64.ln() / 13.0;
    let losses = place.points(&run.id, "train/loss");
    assert_eq!(losses.len(), 80);
    assert!((losses[0].1 - uniform).abs() < 0.3, "{}", losses[0].1);
    let last = run.metrics["eval/loss"].last;
    assert!(last < floor + 0.3 && last > floor - 0.05, "{last}, {floor}");
    let evaluated: Vec<i64> = place
        .points(&run.id, "eval/loss")
        .iter()
        .map(|point| point.0)
        .collect();
    assert_eq!(evaluated, [30, 60, 80]);
    let perplexity = run.metrics["eval/perplexity"].last;
    assert!((perplexity - last.exp()).abs() < 1e-9);
    assert!(run.metrics["eval/accuracy"].last > 0.8);
    let rates = place.points(&run.id, "train/lr");
    assert_eq!((rates[0].1, rates[1].1, rates[2].1), (0.0, 5e-3, 1e-2));
    assert!(rates[79].1 < 1e-4 && run.metrics["train/grad_norm"].count == 80);
    assert!(run.metrics["train/tokens_per_second"].last > 0.0);

    assert_eq!(
        (run.name.as_str(), run.tags["why"].as_str()),
        ("first", "test")
    );
    for (name, value) in [
        ("recipe", json!("tenon/gpt@0.1.0")),
        ("recipe_config.n_embd", json!(32)),
        ("recipe_config.packing", json!(true)),
        ("dataset", json!("letters@1#train")),
        ("eval_dataset", json!("letters@1#dev")),
        ("tokenizer", json!("chars@1")),
        ("batch.rows", json!(16)),
        ("optimizer.kind", json!("adamw")),
        ("learning_rate", json!(0.01)),
        ("schedule.warmup_steps", json!(2)),
        ("vocabulary", json!(13)),
        ("device", json!("cpu")),
        ("train_rows", json!(64)),
        ("train_tokens", json!(64 * 14)),
        ("total_steps", json!(80)),
    ] {
        assert_eq!(run.params[name], value, "{name}");
    }
    assert_eq!(run.seeds["job"], 7);
    let dataset = place.platform().datasets.get("letters").unwrap();
    let tokenizer = place.platform().tokenizers.get("chars").unwrap();
    let recipe = place.platform().registry.find("tenon/gpt").unwrap();
    for (kind, role, digest) in [
        (ReferenceKind::Plugin, "recipe", &recipe.digest),
        (ReferenceKind::Dataset, "train", &dataset.digest),
        (ReferenceKind::Dataset, "eval", &dataset.digest),
        (ReferenceKind::Tokenizer, "tokenizer", &tokenizer.digest),
    ] {
        assert!(
            run.inputs
                .iter()
                .any(|input| input.kind == kind && input.role == role && input.digest == *digest),
            "{role}: {:?}",
            run.inputs
        );
    }

    let version = place.platform().tracker.resolve_model("speller").unwrap();
    assert_eq!(version.manifest.run.as_deref(), Some(run.id.as_str()));
    assert_eq!(version.digest, run.artifacts[MANIFEST].digest);
    assert_eq!(version.manifest.weights, weights(&run));
    assert_eq!(version.manifest.metrics["eval/loss"], last);
    let made: Vec<_> = run.outputs.iter().map(|output| output.kind).collect();
    assert_eq!(made, [ReferenceKind::Model, ReferenceKind::Weights]);
    let left = std::fs::read_dir(place.folder.path().join("runs")).unwrap();
    assert_eq!(left.count(), 0, "checkpoints of a finished run are gone");

    // It is a model, by its registered name and by its run.
    for reference in ["speller@1".to_owned(), format!("run:{}", run.id)] {
        let (_, manifest) = place.platform().manifest(&reference).unwrap();
        let mut model = place.platform().load(&manifest, Grants::default()).unwrap();
        let rows = Batch {
            rows: 1,
            columns: vec![Column::from_utf8("text", ["cdefghabcdef"])],
        };
        let scored = model.score(&rows).unwrap()[0];
        let loss = -scored.log_likelihood / f64::from(scored.tokens);
        assert!(loss < 8f64.ln() / 12.0 + 0.3, "{loss}");
    }
}

#[test]
fn two_half_batches_are_one_whole() {
    let place = place();
    let of = |rows, accumulate, clip_norm| TrainSpec {
        accumulate,
        clip_norm,
        batch: BatchOptions {
            rows,
            shuffle: false,
            ..BatchOptions::default()
        },
        ..spec(6)
    };
    for clip in [Some(0.3), None] {
        let runs = [of(16, 1, clip), of(8, 2, clip), of(4, 4, clip)].map(|spec| place.finish(spec));
        let losses = runs.map(|run| place.points(&run.id, "train/loss"));
        assert_eq!(losses[0].len(), 6);
        for other in &losses[1..] {
            for (a, b) in losses[0].iter().zip(other) {
                assert!((a.1 - b.1).abs() < 1e-3, "{losses:?}");
            }
        }
    }
}

#[test]
fn fine_tuning_goes_on_from_a_model() {
    let place = place();
    let base = place.finish(TrainSpec {
        register: Some("base".into()),
        ..spec(60)
    });
    let untaught = place.points(&base.id, "train/loss")[0].1;
    for from in ["base@1".to_owned(), format!("run:{}", base.id)] {
        let run = place.finish(TrainSpec {
            recipe: None,
            tokenizer: None,
            from: Some(from.clone()),
            recipe_config: json!({"resid_pdrop": 0.25}),
            ..spec(3)
        });
        let first = place.points(&run.id, "train/loss")[0].1;
        assert!(first < untaught / 2.0, "{first} is like {untaught}");
        // The model's configuration, with the change.
        assert_eq!(run.params["recipe_config.n_embd"], json!(32));
        assert_eq!(run.params["recipe_config.resid_pdrop"], json!(0.25));
        assert_eq!(run.params["from"], json!(from));
        assert_eq!(run.parent.as_deref(), Some(base.id.as_str()));
        let (_, parent) = place.platform().manifest("base").unwrap();
        let (_, child) = place
            .platform()
            .manifest(&format!("run:{}", run.id))
            .unwrap();
        assert_eq!(child.parent, Some(parent.digest()));
        assert_eq!(child.tokenizer, parent.tokenizer);
        assert!(run.inputs.iter().any(|input| input.role == "parent"
            && input.kind == ReferenceKind::Model
            && input.digest == parent.digest()));
    }
    // Weights of another shape are refused, by name.
    let run = place.train(TrainSpec {
        recipe: None,
        tokenizer: None,
        from: Some("base".into()),
        recipe_config: json!({"n_embd": 64}),
        ..spec(3)
    });
    let error = run.error.unwrap();
    assert!(
        error.contains("`wte.weight`") && error.contains("[13, 32]"),
        "{error}"
    );
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_at_its_step() {
    let place = place();
    let run = place.train(TrainSpec {
        optimizer: OptimizerConfig::Sgd(Sgd::default()),
        learning_rate: 1e30,
        clip_norm: None,
        schedule: ScheduleSpec::default(),
        log_every: 100,
        register: Some("broken".into()),
        ..spec(50)
    });
    assert_eq!(run.status, RunStatus::Failed);
    let error = run.error.unwrap();
    assert!(error.starts_with("step 2: the loss is "), "{error}");
    assert!(error.contains("was the first to give one"), "{error}");
    assert!(error.contains("hint: lower the learning rate"), "{error}");
    assert!(run.outputs.is_empty() && run.artifacts.is_empty());
    assert!(place.platform().tracker.model("broken").is_err());
}

#[test]
fn the_best_weights_are_kept_where_that_is_asked_for() {
    let place = place();
    // A learning rate that destroys what was learnt before.
    let wild = |keep_best| TrainSpec {
        keep_best,
        eval_every: Some(5),
        checkpoint_every: 7,
        learning_rate: 0.3,
        schedule: ScheduleSpec {
            warmup_steps: 60,
            ..ScheduleSpec::default()
        },
        clip_norm: None,
        ..spec(60)
    };
    let runs = [true, false].map(|keep| place.finish(wild(keep)));
    let losses = place.points(&runs[0].id, "eval/loss");
    let best = losses.iter().map(|point| point.1).fold(f64::MAX, f64::min);
    let last = losses.last().unwrap().1;
    assert!(best < last, "the last is not the best: {losses:?}");
    let manifest = |run: &tenon_track::Run| {
        place
            .platform()
            .manifest(&format!("run:{}", run.id))
            .unwrap()
            .1
    };
    assert_eq!(manifest(&runs[0]).metrics["eval/loss"], best);
    assert_eq!(manifest(&runs[1]).metrics["eval/loss"], last);
    // And it is what the weights give.
    let again = place.finish(TrainSpec {
        recipe: None,
        tokenizer: None,
        recipe_config: json!({}),
        from: Some(format!("run:{}", runs[0].id)),
        learning_rate: 1e-30,
        ..spec(1)
    });
    assert!((again.metrics["eval/loss"].last - best).abs() < 1e-6);
}

#[test]
fn a_training_without_progress_ends_early() {
    let place = place();
    let run = place.finish(TrainSpec {
        eval_every: Some(2),
        keep_best: true,
        learning_rate: 0.3,
        clip_norm: None,
        schedule: ScheduleSpec {
            warmup_steps: 200,
            ..ScheduleSpec::default()
        },
        early_stopping: Some(EarlyStopping {
            patience: 3,
            min_delta: 0.0,
        }),
        ..spec(2000)
    });
    let losses = place.points(&run.id, "eval/loss");
    let least = losses.iter().map(|point| point.1).fold(f64::MAX, f64::min);
    let best = losses.iter().position(|point| point.1 == least).unwrap();
    assert_eq!(losses.len(), best + 1 + 3, "{losses:?}");
    assert!(losses.last().unwrap().0 < 2000);
    let lines = place.jobs.log_lines(&run.id, 0);
    assert!(
        lines
            .iter()
            .any(|line| line.message.contains("stopped early")),
        "{lines:?}"
    );
}

#[test]
fn averaged_weights_are_what_is_measured_and_kept() {
    let place = place();
    let averaged = |decay| TrainSpec {
        ema: Some(decay),
        eval_every: Some(10),
        ..spec(30)
    };
    let plain = place.finish(TrainSpec {
        ema: None,
        ..averaged(0.0)
    });
    // A decay of 0 averages nothing.
    let none = place.finish(averaged(0.0));
    assert_eq!(weights(&none), weights(&plain));
    let slow = place.finish(averaged(0.9));
    assert_ne!(weights(&slow), weights(&plain));
    // Averages do not change what is learnt, only what is measured.
    for metric in ["train/loss", "train/grad_norm"] {
        let points = |run: &tenon_track::Run| place.points(&run.id, metric);
        assert_eq!(points(&slow), points(&plain), "{metric}");
    }
    let losses = place.points(&slow.id, "eval/loss");
    assert_ne!(losses, place.points(&plain.id, "eval/loss"));
    let again = place.finish(TrainSpec {
        recipe: None,
        tokenizer: None,
        recipe_config: json!({}),
        from: Some(format!("run:{}", slow.id)),
        learning_rate: 1e-30,
        ..spec(1)
    });
    let (found, expected) = (again.metrics["eval/loss"].last, losses.last().unwrap().1);
    assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
}

#[test]
fn epochs_end_a_training_and_columns_are_renamed() {
    let place = place();
    let rows = support::alphabet(10, 9).replace("text", "line");
    let splits = [("all", rows.clone()), ("held", rows)];
    support::import(place.platform(), "lines", &splits);
    // 3 batches an epoch.
    let run = place.finish(TrainSpec {
        dataset: "lines#all".into(),
        eval_dataset: Some("lines#held".into()),
        columns: [("text".to_owned(), "line".to_owned())].into(),
        steps: None,
        epochs: Some(2.5),
        batch: BatchOptions {
            rows: 4,
            ..BatchOptions::default()
        },
        ..spec(1)
    });
    assert_eq!(place.points(&run.id, "train/loss").len(), 8);
    assert_eq!(run.params["columns.text"], json!("line"));
}

#[test]
fn minutes_that_were_used_before_a_resume_count() {
    let place = place();
    let run = place
        .jobs
        .train(TrainSpec {
            steps: None,
            minutes: Some(0.1),
            log_every: 50,
            ..spec(1)
        })
        .unwrap();
    let platform = place.platform();
    until("it trains", || {
        !points(platform, &run.id, "train/loss").is_empty()
    });
    std::thread::sleep(Duration::from_secs(4));
    place.jobs.stop(&run.id).unwrap();
    let stopped = place.jobs.wait(&run.id).unwrap();
    assert_eq!(
        stopped.status,
        RunStatus::Interrupted,
        "{:?}",
        stopped.error
    );
    let before = points(platform, &run.id, "train/loss").last().unwrap().0;
    let start = Instant::now();
    place.jobs.resume(&run.id).unwrap();
    let run = support::finished(place.jobs.wait(&run.id).unwrap());
    let took = start.elapsed().as_secs_f64();
    assert!(took > 0.5 && took < 5.0, "2 s were left, it took {took}");
    let rates = points(platform, &run.id, "train/lr");
    assert!(rates.last().unwrap().0 > before);
    assert!(
        rates.last().unwrap().1 < 1e-3,
        "the schedule ends with the time"
    );
    assert!(rates.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

#[test]
fn the_seed_decides_and_nothing_else() {
    let place = place();
    let of = |seed| TrainSpec {
        recipe_config: small(0.2),
        seed,
        ..spec(4)
    };
    let [a, b, c] = [1, 1, 2].map(|seed| weights(&place.finish(of(seed))));
    assert_eq!(a, b);
    assert_ne!(a, c);
}

#[test]
fn statistics_say_where_a_model_is_large() {
    let place = place();
    let run = place.finish(TrainSpec {
        statistics_every: Some(5),
        clip_norm: None,
        ..spec(10)
    });
    let at = |metric: &str| place.points(&run.id, metric);
    // The gradients' root mean squares are those of the norm that is logged anyway.
    let norm = at("train/grad_norm")[9].1;
    let (_, manifest) = place
        .platform()
        .manifest(&format!("run:{}", run.id))
        .unwrap();
    let params = place
        .platform()
        .load(&manifest, Grants::default())
        .unwrap()
        .params()
        .clone();
    let mut squares = 0.0;
    for name in params.names() {
        let points = at(&format!("gradients/{name}"));
        assert_eq!(
            points.iter().map(|point| point.0).collect::<Vec<_>>(),
            [5, 10]
        );
        let count = params.get(&name).unwrap().numel() as f64;
        squares += points[1].1.powi(2) * count;
        assert!(at(&format!("weights/{name}")).len() == 2, "{name}");
    }
    assert!(
        (squares.sqrt() / norm - 1.0).abs() < 1e-5,
        "{} and {norm}",
        squares.sqrt()
    );
    // What a norm gives has about the size of its weight, and never more than the root of its width.
    let normed = at("activations/h.0.ln_1");
    let scale = at("weights/h.0.ln_1.weight")[1].1;
    assert!(
        (normed[1].1 / scale - 1.0).abs() < 0.2,
        "{normed:?} {scale}"
    );
    let largest = at("activations_max/h.0.ln_1")[1].1;
    assert!(
        largest >= normed[1].1 && largest < 2.0 * 32f64.sqrt(),
        "{largest}"
    );
    for layer in ["wte", "h.0.attn.c_attn", "h.0.mlp.c_proj", "ln_f"] {
        assert!(at(&format!("activations/{layer}"))[0].1 > 0.0, "{layer}");
    }
    assert!(run.metrics["memory/saved_bytes"].last > 0.0);
    assert!(run.metrics["memory/process_peak_bytes"].last > 1e6);
}

#[test]
fn layers_that_are_computed_again_give_the_same_model_in_less_memory() {
    let place = place();
    let mut recipe_config = small(0.1);
    recipe_config["n_layer"] = json!(6);
    let run = |gradient_checkpointing| {
        place.finish(TrainSpec {
            gradient_checkpointing,
            recipe_config: recipe_config.clone(),
            batch: BatchOptions {
                rows: 128,
                ..BatchOptions::default()
            },
            ..spec(4)
        })
    };
    let (kept, again) = (run(false), run(true));
    let losses = |run: &tenon_track::Run| place.points(&run.id, "train/loss");
    assert_eq!(losses(&kept), losses(&again));
    let norms = |run: &tenon_track::Run| place.points(&run.id, "train/grad_norm");
    assert_eq!(norms(&kept), norms(&again));
    let saved = |run: &tenon_track::Run| run.metrics["memory/saved_bytes"].last;
    assert!(
        saved(&again) < 0.5 * saved(&kept),
        "{} of {}",
        saved(&again),
        saved(&kept)
    );
}

#[test]
fn reduced_precision_learns_what_single_precision_learns() {
    let place = place();
    let run = |precision| {
        place.finish(TrainSpec {
            precision,
            ..spec(60)
        })
    };
    let single = run(Precision::Float32);
    let loss = |run: &tenon_track::Run| run.metrics["eval/loss"].last;
    assert!(!single.metrics.contains_key("train/loss_scale"));
    for precision in [Precision::Bfloat16, Precision::Float16] {
        let reduced = run(precision);
        let (a, b) = (loss(&single), loss(&reduced));
        assert!(a != b && (a - b).abs() < 0.1, "{precision:?}: {a} and {b}");
        // The first gradient is the same but for rounding, whatever the loss was multiplied by.
        let norm = |run: &tenon_track::Run| place.points(&run.id, "train/grad_norm")[0].1;
        let ratio = norm(&reduced) / norm(&single);
        assert!((ratio - 1.0).abs() < 0.05, "{precision:?}: {ratio}");
        let scale = reduced.metrics.get("train/loss_scale");
        assert_eq!(scale.is_some(), precision == Precision::Float16);
        if let Some(scale) = scale {
            assert!(scale.last >= 1.0 && scale.last <= 65_536.0, "{scale:?}");
        }
    }
}

#[test]
fn a_step_that_overflows_in_float16_is_left_out() {
    let place = place();
    let platform = place.platform();
    support::install(platform, "recipe-mlp");
    // y = 900 a − 600 b: the first gradients of the squared error are some thousand, times the scale of
    // the loss more than the largest float16, 65504.
    let rows: String = (0..64)
        .map(|row| {
            let at = |axis| {
                (tenon_tensor::rng::bits_at(5, 2u64 * row + axis) % 2001) as f32 / 1000.0 - 1.0
            };
            let (a, b) = (at(0), at(1));
            format!("{}\n", json!({"a": a, "b": b, "y": 900.0 * a - 600.0 * b}))
        })
        .collect();
    support::import(platform, "plane", &[("train", rows.clone()), ("dev", rows)]);
    let run = place.finish(TrainSpec {
        recipe: Some("tenon/mlp".into()),
        recipe_config: json!({
            "numeric": ["a", "b"], "label": "y", "task": "regression", "hidden_sizes": [],
            "normalise": false,
        }),
        tokenizer: None,
        dataset: "plane".into(),
        batch: BatchOptions {
            rows: 64,
            ..BatchOptions::default()
        },
        precision: Precision::Float16,
        learning_rate: 20.0,
        optimizer: serde_json::from_value(json!({"kind": "adamw", "weight_decay": 0.0})).unwrap(),
        schedule: ScheduleSpec::default(),
        ..spec(120)
    });
    let scales = place.points(&run.id, "train/loss_scale");
    assert!(scales[0].1 < 65_536.0, "{:?}", scales[0]);
    let settled = scales.last().unwrap().1;
    assert!(settled < 4096.0, "{settled}");
    let losses = place.points(&run.id, "train/loss");
    let left_out = scales
        .iter()
        .take_while(|(_, scale)| *scale > settled)
        .count();
    assert!(left_out >= 4, "{scales:?}");
    // Every step has all rows: while gradients overflow nothing changes.
    for (_, loss) in &losses[..left_out] {
        assert!((loss / losses[0].1 - 1.0).abs() < 1e-4, "{losses:?}");
    }
    let norms = place.points(&run.id, "train/grad_norm");
    assert!(
        norms[0].0 > 1 && norms.iter().all(|(_, norm)| norm.is_finite()),
        "{norms:?}"
    );
    assert!(
        losses.iter().all(|(_, loss)| loss.is_finite()),
        "{losses:?}"
    );
    let (first, last) = (losses[0].1, run.metrics["eval/loss"].last);
    assert!(last < 0.01 * first, "{first} {last}");
}
