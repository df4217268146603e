//! Runs that stop, are killed or lose files, and go on. The tests start themselves as the children that
//! are killed.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::json;
use support::{open, place, points, spec, until, weights};
use tenon_data::collate::BatchOptions;
use tenon_model::Platform;
use tenon_track::{Run, RunQuery, RunStatus};
use tenon_train::{Jobs, TrainError, TrainSpec};

const ROOT: &str = "TENON_TEST_TRAIN_ROOT";
const WHAT: &str = "TENON_TEST_TRAIN_WHAT";

/// Twenty steps of some milliseconds each, with everything that is random turned on.
fn twenty() -> TrainSpec {
    TrainSpec {
        recipe_config: json!({
            "n_layer": 2, "n_embd": 64, "n_head": 4, "n_positions": 64, "packing": true
        }),
        dataset: "long".into(),
        eval_dataset: Some("letters#dev".into()),
        eval_every: Some(4),
        batch: BatchOptions {
            rows: 32,
            pack_tokens: Some(64),
            ..BatchOptions::default()
        },
        accumulate: 2,
        ema: Some(0.9),
        checkpoint_every: 5,
        log_every: 3,
        ..spec(20)
    }
}

fn furnish(platform: &Platform) {
    support::furnish(platform);
    support::import(platform, "long", &[("train", support::alphabet(500, 30))]);
}

/// The child: does nothing when it is run as an ordinary test.
#[test]
fn child_trains_until_killed() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    let jobs = Jobs::open(open(root.as_ref()));
    match std::env::var(WHAT).unwrap().as_str() {
        "new" => {
            jobs.train(twenty()).unwrap();
            jobs.train(spec(3)).unwrap();
        }
        "register" => {
            let register = Some("m".to_owned());
            jobs.train(TrainSpec {
                register,
                ..spec(2)
            })
            .unwrap();
        }
        run => {
            jobs.resume(run).unwrap();
        }
    }
    // Until it is killed.
    std::thread::sleep(Duration::from_secs(120));
}

/// Ends the child however the test ends.
struct Killed(Child);

impl Killed {
    fn start(root: &Path, what: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_trains_until_killed", "--nocapture"])
            .env(ROOT, root)
            .env(WHAT, what)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Checkpoints of the one run that has any.
fn checkpoints(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let runs = std::fs::read_dir(root.join("runs")).into_iter().flatten();
    for run in runs {
        for entry in std::fs::read_dir(run.unwrap().path()).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("step-")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn has_checkpoint(root: &Path, step: u64) -> bool {
    checkpoints(root)
        .iter()
        .any(|path| path.ends_with(format!("step-{step:012}")))
}

fn runs(platform: &Platform) -> Vec<Run> {
    let mut runs = platform.tracker.search(&RunQuery::default()).unwrap().runs;
    runs.sort_by(|a, b| a.id.cmp(&b.id));
    runs
}

/// Everything of a run that does not depend on the clock.
fn curves(platform: &Platform, run: &str) -> Vec<(&'static str, Vec<(i64, u64)>)> {
    [
        "train/loss",
        "train/lr",
        "train/grad_norm",
        "eval/loss",
        "eval/accuracy",
    ]
    .map(|metric| {
        let points = points(platform, run, metric);
        let bits = points
            .into_iter()
            .map(|(step, value)| (step, value.to_bits()));
        (metric, bits.collect())
    })
    .to_vec()
}

#[test]
fn a_training_that_was_killed_twice_equals_one_that_was_not() {
    let straight = tempfile::tempdir().unwrap();
    let platform = open(straight.path());
    furnish(&platform);
    let jobs = Jobs::open(platform);
    let whole = jobs.train(twenty()).unwrap();
    let whole = support::finished(jobs.wait(&whole.id).unwrap());
    let expected = curves(jobs.platform(), &whole.id);
    assert_eq!(expected[0].1.len(), 7, "3, 6, … 18 and 20");

    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    furnish(&open(root));
    {
        let _child = Killed::start(root, "new");
        until("the tenth step is saved", || has_checkpoint(root, 10));
    }
    let (id, waiting) = {
        let jobs = Jobs::open(open(root));
        let [killed, waiting] = &runs(jobs.platform())[..] else {
            panic!("two runs")
        };
        assert_eq!(killed.status, RunStatus::Interrupted, "{:?}", killed.error);
        assert_eq!(waiting.status, RunStatus::Interrupted);
        assert!(
            waiting
                .error
                .as_ref()
                .unwrap()
                .contains("before the run began")
        );
        assert!(killed.artifacts.is_empty() && killed.outputs.is_empty());
        assert!(checkpoints(root).len() <= 2, "{:?}", checkpoints(root));
        (killed.id.clone(), waiting.id.clone())
    };
    {
        let _child = Killed::start(root, &id);
        until("the fifteenth step is saved", || has_checkpoint(root, 15));
    }
    let jobs = Jobs::open(open(root));
    assert_eq!(
        jobs.platform().tracker.run(&id).unwrap().status,
        RunStatus::Interrupted
    );
    jobs.resume(&id).unwrap();
    let run = support::finished(jobs.wait(&id).unwrap());
    assert_eq!(weights(&run), weights(&whole), "bit for bit");
    assert_eq!(curves(jobs.platform(), &id), expected);
    // The one that never began goes its way too.
    jobs.resume(&waiting).unwrap();
    support::finished(jobs.wait(&waiting).unwrap());
}

#[test]
fn a_training_that_was_stopped_goes_on_where_it_was() {
    let place = place();
    support::import(
        place.platform(),
        "long",
        &[("train", support::alphabet(500, 30))],
    );
    let whole = place.finish(twenty());
    let run = place.jobs.train(twenty()).unwrap();
    let mut stops = 0;
    for wanted in [2, 9] {
        until("some steps are done", || {
            let run = place.platform().tracker.run(&run.id).unwrap();
            // Its progress begins with the rows that are read.
            let losses = run.metrics.get("train/loss");
            losses.is_some_and(|losses| losses.count >= wanted) || run.status.is_ended()
        });
        if place.jobs.stop(&run.id).is_err() {
            break;
        }
        let stopped = place.jobs.wait(&run.id).unwrap();
        if stopped.status == RunStatus::Finished {
            break;
        }
        stops += 1;
        assert_eq!(stopped.status, RunStatus::Interrupted);
        assert!(stopped.error.unwrap().contains("stopped on request"));
        let lines = place.jobs.log_lines(&run.id, 0);
        assert!(
            lines
                .iter()
                .any(|line| line.message.starts_with("stopped after step"))
        );
        assert_eq!(place.jobs.resume(&run.id).unwrap().id, run.id);
    }
    assert!(stops > 0, "it was too fast to be stopped");
    let run = support::finished(place.jobs.wait(&run.id).unwrap());
    assert_eq!(weights(&run), weights(&whole));
    assert_eq!(
        curves(place.platform(), &run.id),
        curves(place.platform(), &whole.id)
    );
    let again = place.jobs.resume(&run.id).unwrap_err();
    assert!(matches!(again, TrainError::Conflict(_)), "{again}");
    assert!(again.to_string().contains("it has finished"), "{again}");
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    furnish(&open(root));
    {
        let _child = Killed::start(root, "new");
        until("two checkpoints are there", || has_checkpoint(root, 10));
    }
    let newest = checkpoints(root).pop().unwrap().join("params.safetensors");
    let mut bytes = std::fs::read(&newest).unwrap();
    let at = bytes.len() - 5;
    bytes[at] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let jobs = Jobs::open(open(root));
    let run = runs(jobs.platform())[0].id.clone();
    jobs.resume(&run).unwrap();
    let run = support::finished(jobs.wait(&run).unwrap());
    let lines = jobs.log_lines(&run.id, 0);
    assert!(
        lines
            .iter()
            .any(|line| line.message == "resumed after step 5"
                || line.message == "resumed after step 10"),
        "{lines:?}"
    );
    let whole = jobs.train(twenty()).unwrap();
    let whole = support::finished(jobs.wait(&whole.id).unwrap());
    assert_eq!(weights(&run), weights(&whole));
}

#[test]
fn where_all_checkpoints_are_damaged_the_run_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    furnish(&open(root));
    {
        let _child = Killed::start(root, "new");
        until("a checkpoint is there", || has_checkpoint(root, 5));
    }
    for checkpoint in checkpoints(root) {
        std::fs::write(checkpoint.join("checkpoint.json"), "{").unwrap();
    }
    let jobs = Jobs::open(open(root));
    let run = runs(jobs.platform())[0].id.clone();
    jobs.resume(&run).unwrap();
    let run = jobs.wait(&run).unwrap();
    assert_eq!(run.status, RunStatus::Failed);
    assert!(run.error.unwrap().contains("is no checkpoint"));
}

#[test]
fn a_kill_at_the_end_leaves_one_whole_model_or_none() {
    for round in 0..10_u64 {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        support::furnish(&open(root));
        {
            let child = Killed::start(root, "register");
            until("it runs", || root.join("runs").is_dir());
            let begun = || std::fs::read_dir(root.join("runs")).unwrap().count() > 0;
            until("it has a folder", begun);
            std::thread::sleep(Duration::from_millis(8 * round));
            drop(child);
        }
        let jobs = Jobs::open(open(root));
        let tracker = jobs.platform().tracker.clone();
        let run = runs(jobs.platform()).remove(0);
        let versions = tracker.versions("m").map_or(0, |versions| versions.len());
        match run.status {
            RunStatus::Finished => assert_eq!(versions, 1),
            RunStatus::Interrupted => {
                assert!(versions <= 1);
                assert!(versions == 0 || run.artifacts.contains_key("model.json"));
                jobs.resume(&run.id).unwrap();
                support::finished(jobs.wait(&run.id).unwrap());
            }
            other => panic!("round {round}: {other:?}, {:?}", run.error),
        }
        let versions = tracker.versions("m").unwrap();
        assert_eq!(versions.len(), 1, "round {round}");
        let run = tracker.run(&run.id).unwrap();
        assert_eq!(versions[0].manifest.weights, weights(&run));
        let (_, manifest) = jobs.platform().manifest("m").unwrap();
        jobs.platform().load(&manifest, Default::default()).unwrap();
    }
}
