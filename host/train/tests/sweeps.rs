//! Hyper-parameter search.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::{Place, finished, place, spec, until};
use tenon_track::{Run, RunQuery, RunStatus};
use tenon_train::{Choice, Goal, REPORT, Strategy, SweepSpec, TrainSpec};

fn space(json: Value) -> BTreeMap<String, Choice> {
    serde_json::from_value(json).unwrap()
}

fn sweep(space_of: Value, strategy: Strategy) -> SweepSpec {
    SweepSpec {
        name: Some("search".into()),
        experiment: Some("searches".into()),
        train: spec(8),
        space: space(space_of),
        strategy,
        metric: "eval/loss".into(),
        goal: Goal::Minimize,
        seed: 3,
        register: None,
    }
}

fn done(place: &Place, spec: SweepSpec) -> Run {
    let run = place.jobs.sweep(spec).unwrap();
    finished(place.jobs.wait(&run.id).unwrap())
}

fn trials(place: &Place, run: &Run) -> Vec<Run> {
    let query = RunQuery {
        parent: Some(run.id.clone()),
        limit: Some(1000),
        ..RunQuery::default()
    };
    let mut runs = place.platform().tracker.search(&query).unwrap().runs;
    runs.sort_by(|a, b| a.id.cmp(&b.id));
    runs
}

fn report(place: &Place, run: &Run) -> Value {
    let digest = run.artifacts[REPORT].digest.parse().unwrap();
    let bytes = place.platform().store.blobs().read(&digest).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn a_grid_trains_every_combination_and_keeps_the_best() {
    let place = place();
    let run = done(
        &place,
        SweepSpec {
            register: Some("found".into()),
            ..sweep(
                json!({
                    "learning_rate": {"values": [1e-6, 1e-2]},
                    "recipe_config.n_embd": {"values": [16, 32]},
                }),
                Strategy::Grid,
            )
        },
    );
    let runs = trials(&place, &run);
    assert_eq!(runs.len(), 4);
    let settings: Vec<_> = runs
        .iter()
        .map(|run| {
            (
                run.params["learning_rate"].as_f64().unwrap(),
                run.params["recipe_config.n_embd"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(settings, [(1e-6, 16), (1e-6, 32), (1e-2, 16), (1e-2, 32)]);
    let best = runs
        .iter()
        .min_by(|a, b| {
            a.metrics["eval/loss"]
                .last
                .total_cmp(&b.metrics["eval/loss"].last)
        })
        .unwrap();
    assert_eq!(
        best.params["learning_rate"],
        json!(1e-2),
        "it has learnt something"
    );
    let report = report(&place, &run);
    assert_eq!(report["best"]["run"], json!(best.id));
    assert_eq!(
        report["best"]["value"],
        json!(best.metrics["eval/loss"].last)
    );
    assert_eq!(report["trials"].as_array().unwrap().len(), 4);
    let versions = place.platform().tracker.versions("found").unwrap();
    assert_eq!(versions.len(), 1);
    assert_eq!(versions[0].manifest.run.as_deref(), Some(best.id.as_str()));
    // One experiment holds them all.
    assert!(runs.iter().all(|trial| trial.experiment == run.experiment));
}

#[test]
fn halving_trains_fewer_for_longer() {
    let place = place();
    let spec = SweepSpec {
        train: spec(20),
        ..sweep(
            json!({"learning_rate": {"min": 1e-6, "max": 1e-1, "log": true}}),
            Strategy::Halving {
                trials: 7,
                factor: 3,
                min_steps: 2,
            },
        )
    };
    let run = done(&place, spec);
    let runs = trials(&place, &run);
    let steps: Vec<_> = runs
        .iter()
        .map(|run| run.params["steps"].as_i64().unwrap())
        .collect();
    // 7 for 2 steps, 3 for 6, 1 for 18, and the last to its full length.
    assert_eq!(steps, [2, 2, 2, 2, 2, 2, 2, 6, 6, 6, 18, 20]);
    let mut first: Vec<&Run> = runs[..7].iter().collect();
    first.sort_by(|a, b| {
        a.metrics["eval/loss"]
            .last
            .total_cmp(&b.metrics["eval/loss"].last)
    });
    let rate = |run: &Run| run.params["learning_rate"].as_f64().unwrap();
    let best: Vec<f64> = first[..3].iter().map(|run| rate(run)).collect();
    assert_eq!(runs[7..10].iter().map(rate).collect::<Vec<_>>(), best);
}

#[test]
fn a_trial_that_fails_loses() {
    let place = place();
    let run = done(
        &place,
        SweepSpec {
            train: TrainSpec {
                clip_norm: None,
                schedule: tenon_train::ScheduleSpec::default(),
                optimizer: serde_json::from_value(json!({"kind": "sgd"})).unwrap(),
                ..spec(6)
            },
            ..sweep(
                json!({"learning_rate": {"values": [1e30, 1e-2]}}),
                Strategy::Grid,
            )
        },
    );
    let report = report(&place, &run);
    let statuses: Vec<_> = report["trials"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["status"].clone())
        .collect();
    assert_eq!(statuses, ["failed", "finished"]);
    assert_eq!(report["trials"][0]["value"], Value::Null);
    assert_eq!(report["best"]["trial"], 1);
}

#[test]
fn a_sweep_that_was_stopped_goes_on_with_what_is_left() {
    let place = place();
    let strategy = Strategy::Random { trials: 3 };
    let varied = json!({"learning_rate": {"min": 1e-4, "max": 1e-2, "log": true}});
    let spec = SweepSpec {
        train: spec(300),
        ..sweep(varied, strategy)
    };
    let run = place.jobs.sweep(spec.clone()).unwrap();
    until("the second trial runs", || {
        trials(&place, &run)
            .iter()
            .filter(|trial| trial.status != RunStatus::Queued)
            .count()
            == 2
    });
    place.jobs.stop(&run.id).unwrap();
    let stopped = place.jobs.wait(&run.id).unwrap();
    assert_eq!(
        stopped.status,
        RunStatus::Interrupted,
        "{:?}",
        stopped.error
    );
    let before = trials(&place, &run);
    assert!(before.iter().all(|trial| trial.status.is_ended()));
    place.jobs.resume(&run.id).unwrap();
    finished(place.jobs.wait(&run.id).unwrap());
    let after = trials(&place, &run);
    assert_eq!(after.len(), 3, "no trial was started twice");
    assert_eq!(
        after[0].ended, before[0].ended,
        "what had finished was left alone"
    );
    // It came to what it would have come to in one go.
    let whole = done(&place, spec);
    let values = |run: &Run| -> Vec<Value> {
        let report = report(&place, run);
        report["trials"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["value"].clone())
            .collect()
    };
    let run = place.platform().tracker.run(&run.id).unwrap();
    assert_eq!(values(&run), values(&whole));
}

#[test]
fn sweeps_that_cannot_be_meant() {
    let place = place();
    let refused = |spec: SweepSpec, words: &[&str]| {
        let text = place.jobs.sweep(spec).unwrap_err().to_string();
        for word in words {
            assert!(text.contains(word), "`{word}` is not in {text}");
        }
    };
    let rates = || json!({"learning_rate": {"values": [0.1]}});
    refused(sweep(json!({}), Strategy::Grid), &["`space`"]);
    refused(
        sweep(json!({"learning_rte": {"values": [0.1]}}), Strategy::Grid),
        &["space", "learning_rte"],
    );
    refused(
        sweep(
            json!({"recipe_config.n_embd": {"values": ["wide"]}}),
            Strategy::Grid,
        ),
        &["n_embd"],
    );
    refused(
        sweep(
            json!({"learning_rate": {"values": [0.1, -1.0]}}),
            Strategy::Grid,
        ),
        &["learning_rate -1", "above 0"],
    );
    refused(
        sweep(rates(), Strategy::Random { trials: 0 }),
        &["strategy.trials"],
    );
    let halving = |min_steps, factor| {
        sweep(
            rates(),
            Strategy::Halving {
                trials: 3,
                factor,
                min_steps,
            },
        )
    };
    refused(halving(9, 3), &["train.steps"]);
    refused(halving(2, 1), &["strategy.factor"]);
    refused(
        SweepSpec {
            train: TrainSpec {
                register: Some("x".into()),
                ..spec(8)
            },
            ..sweep(rates(), Strategy::Grid)
        },
        &["train.register"],
    );
    // A metric that no trial has.
    let run = place
        .jobs
        .sweep(SweepSpec {
            metric: "eval/beauty".into(),
            ..sweep(rates(), Strategy::Grid)
        })
        .unwrap();
    let ended = place.jobs.wait(&run.id).unwrap();
    assert_eq!(ended.status, RunStatus::Failed);
    assert!(ended.error.unwrap().contains("eval/beauty"));
}
