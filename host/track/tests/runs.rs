//! Runs: life, crash rule, search, comparison, experiments.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{open, reference, running, tracker};
use serde_json::json;
use tenon_track::{
    NewRun, Progress, ReferenceKind, Run, RunKind, RunQuery, RunSort, RunStatus, SortKey,
    TrackError, Tracker,
};

#[test]
fn a_run_keeps_everything_that_was_said_about_it() {
    let (folder, tracker) = tracker();
    let plugin = reference(
        ReferenceKind::Plugin,
        "recipe",
        "tenon/gpt@0.1.0",
        "sha256:aa",
    );
    let run = tracker
        .create_run(NewRun {
            experiment: Some("couplets".to_owned()),
            params: BTreeMap::from([("lr".to_owned(), json!(0.001))]),
            inputs: vec![plugin.clone()],
            seeds: BTreeMap::from([("init".to_owned(), u64::MAX)]),
            ..NewRun::new(RunKind::Train)
        })
        .unwrap();
    assert_eq!(run.status, RunStatus::Queued);
    assert!(run.name.starts_with("train-"));
    let id = run.id.as_str();
    tracker.start_run(id).unwrap();
    assert!(tracker.start_run(id).is_err(), "it is running already");
    tracker
        .set_params(id, [("depth".to_owned(), json!([1, "x"]))])
        .unwrap();
    tracker
        .set_tags(id, [("mood".to_owned(), "good".to_owned())])
        .unwrap();
    tracker.add_input(id, plugin).unwrap();
    let output = reference(ReferenceKind::Weights, "weights", "last", "blake3:bb");
    tracker.add_output(id, output).unwrap();
    let artifact = tracker.log_artifact(id, "plots/loss.json", b"{}").unwrap();
    for bad in ["", "/a", "a/../b", "a//b", "../a"] {
        assert!(tracker.log_artifact(id, bad, b"x").is_err(), "{bad}");
    }
    let unknown = format!("blake3:{}", "0".repeat(64));
    assert!(tracker.add_artifact(id, "a", &unknown).is_err());
    tracker.log(id, 1, &[("loss", 4.0), ("acc", 0.5)]).unwrap();
    let progress = Progress {
        done: 1,
        total: Some(10),
        unit: "steps".to_owned(),
        rate: 5.0,
        rate_unit: "tokens/s".to_owned(),
        seconds_left: Some(2.0),
        message: String::new(),
    };
    tracker.set_progress(id, progress.clone()).unwrap();
    assert_eq!(tracker.run(id).unwrap().progress, Some(progress));
    let ended = tracker.end_run(id, RunStatus::Finished, None).unwrap();
    assert_eq!(ended.progress, None);
    assert_eq!(ended.inputs.len(), 1, "the same input is noted once");
    assert_eq!(ended.metrics["loss"].last, 4.0);
    assert!(tracker.end_run(id, RunStatus::Running, None).is_err());

    drop(tracker);
    let tracker = open(folder.path());
    let again = tracker.run(id).unwrap();
    assert_eq!(again, ended);
    assert_eq!(again.seeds["init"], u64::MAX);
    let blob = again.artifacts["plots/loss.json"].digest.parse().unwrap();
    assert_eq!(again.artifacts["plots/loss.json"], artifact);
    assert_eq!(tracker.store().blobs().read(&blob).unwrap(), b"{}");
    assert!(tracker.live_blobs().unwrap().contains(&blob));
    let json = serde_json::to_value(&again).unwrap();
    assert_eq!(json["status"], "finished");
    assert_eq!(serde_json::from_value::<Run>(json).unwrap(), again);
}

#[test]
fn a_run_that_was_running_when_the_process_died_is_interrupted() {
    let (folder, tracker) = tracker();
    let dead = running(&tracker, "dead").id;
    let done = running(&tracker, "done").id;
    tracker
        .end_run(&done, RunStatus::Failed, Some("out of memory"))
        .unwrap();
    let queued = tracker
        .create_run(NewRun::new(RunKind::Evaluate))
        .unwrap()
        .id;
    tracker.log(&dead, 1, &[("loss", 2.0)]).unwrap();
    tracker.flush().unwrap();
    // The folder as a killed process leaves it: nobody ended the run.
    drop(tracker);
    let tracker = open(folder.path());
    let run = tracker.run(&dead).unwrap();
    assert_eq!(run.status, RunStatus::Interrupted);
    assert!(run.ended.is_some() && run.error.is_some());
    assert_eq!(run.metrics["loss"].count, 1);
    assert_eq!(tracker.run(&done).unwrap().status, RunStatus::Failed);
    assert_eq!(tracker.run(&done).unwrap().error.unwrap(), "out of memory");
    assert_eq!(tracker.run(&queued).unwrap().status, RunStatus::Queued);
    // It can go on.
    let started = tracker.run(&dead).unwrap().started;
    let resumed = tracker.start_run(&dead).unwrap();
    assert_eq!((resumed.status, resumed.error), (RunStatus::Running, None));
    assert_eq!(resumed.started, started, "the first start is kept");
}

fn names(tracker: &Tracker, query: &RunQuery) -> Vec<String> {
    let page = tracker.search(query).unwrap();
    page.runs.into_iter().map(|run| run.name).collect()
}

#[test]
fn search_filters_sorts_and_pages() {
    let (_folder, tracker) = tracker();
    for (index, (name, loss)) in [
        ("a", 3.0),
        ("b", 1.0),
        ("c", f64::NAN),
        ("d", 2.0),
        ("e", 1.0),
    ]
    .into_iter()
    .enumerate()
    {
        let id = running(&tracker, name).id;
        tracker.log(&id, 0, &[("loss", loss)]).unwrap();
        let tags = [("parity".to_owned(), (index % 2).to_string())];
        tracker.set_tags(&id, tags).unwrap();
        let params = [
            ("depth".to_owned(), json!(10 - index)),
            ("text".to_owned(), json!("Ünïcode")),
        ];
        tracker.set_params(&id, params).unwrap();
        tracker.end_run(&id, RunStatus::Finished, None).unwrap();
    }
    let other = tracker
        .create_run(NewRun {
            experiment: Some("other".to_owned()),
            name: Some("f".to_owned()),
            ..NewRun::new(RunKind::Evaluate)
        })
        .unwrap();
    let all = RunQuery::default;
    assert_eq!(names(&tracker, &all()), ["f", "e", "d", "c", "b", "a"]);
    let by = |key, descending| RunQuery {
        sort: RunSort { key, descending },
        ..all()
    };
    let loss = || SortKey::Metric("loss".to_owned());
    // Runs without a number come last in both directions.
    assert_eq!(
        names(&tracker, &by(loss(), false)),
        ["b", "e", "d", "a", "c", "f"]
    );
    assert_eq!(
        names(&tracker, &by(loss(), true)),
        ["a", "d", "e", "b", "f", "c"]
    );
    let depth = SortKey::Param("depth".to_owned());
    assert_eq!(
        names(&tracker, &by(depth, false)),
        ["e", "d", "c", "b", "a", "f"]
    );
    assert_eq!(names(&tracker, &by(SortKey::Name, false))[..2], ["a", "b"]);

    let only = RunQuery {
        tags: BTreeMap::from([("parity".to_owned(), "1".to_owned())]),
        ..all()
    };
    assert_eq!(names(&tracker, &only), ["d", "b"]);
    let text = |text: &str| RunQuery {
        text: Some(text.to_owned()),
        ..all()
    };
    assert_eq!(names(&tracker, &text("ünï DEPTH")).len(), 5);
    assert_eq!(names(&tracker, &text("ünï nowhere")).len(), 0);
    let status = RunQuery {
        status: vec![RunStatus::Queued, RunStatus::Failed],
        ..all()
    };
    assert_eq!(names(&tracker, &status), ["f"]);
    let kind = RunQuery {
        kind: vec![RunKind::Train],
        experiment: Some("default".to_owned()),
        ..all()
    };
    assert_eq!(names(&tracker, &kind).len(), 5);
    let missing = RunQuery {
        experiment: Some("nope".to_owned()),
        ..all()
    };
    let error = tracker.search(&missing).unwrap_err().to_string();
    assert!(error.contains("default, other"), "{error}");

    // Pages do not overlap even when runs are created in between.
    let mut query = RunQuery {
        limit: Some(2),
        ..by(loss(), false)
    };
    let mut seen = Vec::new();
    loop {
        let page = tracker.search(&query).unwrap();
        assert!(page.total >= 6);
        seen.extend(page.runs.into_iter().map(|run| run.name));
        tracker.create_run(NewRun::new(RunKind::Train)).unwrap();
        let Some(next) = page.next.filter(|_| seen.len() < 6) else {
            break;
        };
        query.page = Some(next);
    }
    assert_eq!(
        seen,
        ["b", "e", "d", "a", "c", "f"].map(str::to_owned)[..seen.len()]
    );
    query.page = Some("gone".to_owned());
    assert!(tracker.search(&query).is_err());

    tracker.set_deleted(&other.id, true).unwrap();
    assert!(!names(&tracker, &all()).contains(&"f".to_owned()));
    tracker.set_deleted(&other.id, false).unwrap();
    tracker.purge_run(&other.id).unwrap();
    assert!(tracker.run(&other.id).unwrap_err().is_not_found());
}

#[test]
fn runs_are_found_by_name_and_by_parts_of_their_identifier() {
    let (_folder, tracker) = tracker();
    let first = running(&tracker, "twin").id;
    let second = running(&tracker, "twin").id;
    assert_eq!(tracker.find_run("twin").unwrap().id, second, "the newest");
    assert_eq!(tracker.find_run(&first).unwrap().id, first);
    assert_eq!(tracker.find_run(&first[16..]).unwrap().id, first);
    assert_eq!(
        tracker.find_run(&first[16..].to_uppercase()).unwrap().id,
        first
    );
    let error = tracker.find_run(&first[..5]).unwrap_err().to_string();
    assert!(error.contains(&first) && error.contains(&second), "{error}");
    assert!(tracker.find_run("zz").unwrap_err().is_not_found());
}

#[test]
fn a_comparison_shows_what_differs() {
    let (_folder, tracker) = tracker();
    let (a, b) = (running(&tracker, "a").id, running(&tracker, "b").id);
    for (id, lr, loss) in [(&a, 0.1, 1.0), (&b, 0.2, f64::INFINITY)] {
        let params = [("lr".to_owned(), json!(lr)), ("seed".to_owned(), json!(1))];
        tracker.set_params(id, params).unwrap();
        tracker.log(id, 5, &[("loss", loss)]).unwrap();
    }
    tracker
        .set_params(&b, [("extra".to_owned(), json!(true))])
        .unwrap();
    let table = tracker.compare(&["a", &b]).unwrap();
    let params: Vec<_> = table
        .params
        .iter()
        .map(|row| (row.name.as_str(), row.values.clone(), row.differs))
        .collect();
    assert_eq!(
        params,
        [
            ("extra", vec![json!(null), json!(true)], true),
            ("lr", vec![json!(0.1), json!(0.2)], true),
            ("seed", vec![json!(1), json!(1)], false),
        ]
    );
    assert_eq!(table.metrics[0].values, [json!(1.0), json!("inf")]);
}

#[test]
fn experiments_have_unique_names_and_outlive_their_runs() {
    let (folder, tracker) = tracker();
    let made = tracker
        .create_experiment("poems", "about poems", BTreeMap::new())
        .unwrap();
    let taken = tracker.create_experiment("poems", "", BTreeMap::new());
    assert!(matches!(taken, Err(TrackError::AlreadyExists { .. })));
    assert!(
        tracker
            .create_experiment(" x", "", BTreeMap::new())
            .is_err()
    );
    let run = tracker
        .create_run(NewRun {
            experiment: Some(made.id.clone()),
            ..NewRun::new(RunKind::Train)
        })
        .unwrap();
    assert_eq!(run.experiment, made.id);
    let error = tracker.delete_experiment("poems").unwrap_err().to_string();
    assert!(error.contains("1 runs"), "{error}");
    tracker
        .update_experiment("poems", |e| e.name = "verses".to_owned())
        .unwrap();
    assert!(tracker.experiment("poems").unwrap_err().is_not_found());
    assert!(
        tracker
            .update_experiment("verses", |e| e.name = "default".to_owned())
            .is_err()
    );
    tracker.purge_run(&run.id).unwrap();
    drop(tracker);
    let tracker = open(folder.path());
    assert_eq!(
        tracker.experiment("verses").unwrap().description,
        "about poems"
    );
    tracker.delete_experiment("verses").unwrap();
    assert!(tracker.delete_experiment("default").is_err());
    assert_eq!(tracker.experiments().len(), 1);
}

#[test]
fn changes_from_many_threads_are_all_kept() {
    let (folder, tracker) = tracker();
    let id = running(&tracker, "busy").id;
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (tracker, id) = (&tracker, &id);
            scope.spawn(move || {
                for i in 0..20 {
                    let tags = [(format!("{thread}-{i}"), String::new())];
                    tracker.set_tags(id, tags).unwrap();
                }
            });
        }
    });
    assert_eq!(tracker.run(&id).unwrap().tags.len(), 160);
    drop(tracker);
    assert_eq!(open(folder.path()).run(&id).unwrap().tags.len(), 160);
}
