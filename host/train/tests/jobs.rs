//! The queue: turns, stopping, waiting, shutting down.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use support::{place, spec, until};
use tenon_data::{DataError, ImportInput, ImportOptions};
use tenon_track::{NewRun, Progress, Reference, ReferenceKind, RunKind, RunStatus};
use tenon_train::{Jobs, TrainError};

#[test]
fn trainings_take_turns_and_other_work_runs_beside_them() {
    let place = place();
    let runs: Vec<_> = (0..3)
        .map(|_| place.jobs.train(spec(150)).unwrap())
        .collect();
    let (asked, answer) = mpsc::channel::<()>();
    let beside = place
        .jobs
        .spawn(NewRun::new(RunKind::Import), move |job| {
            asked.send(()).unwrap();
            job.set_progress(Progress {
                done: 1,
                total: Some(2),
                unit: "rows".into(),
                rate: 1.0,
                rate_unit: "rows/s".into(),
                seconds_left: None,
                message: "half".into(),
            })?;
            Ok(())
        })
        .unwrap();
    answer.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(
        place.jobs.wait(&beside.id).unwrap().status,
        RunStatus::Finished
    );
    let runs: Vec<_> = runs
        .iter()
        .map(|run| support::finished(place.jobs.wait(&run.id).unwrap()))
        .collect();
    for pair in runs.windows(2) {
        assert!(
            pair[0].ended.unwrap() <= pair[1].started.unwrap(),
            "one after the other"
        );
    }
}

#[test]
fn work_of_the_callers_own_is_a_run() {
    let place = place();
    let rows = support::alphabet(5, 5);
    let run = place
        .jobs
        .spawn(NewRun::new(RunKind::Import), move |job| {
            let input = ImportInput::stream("a.jsonl", std::io::Cursor::new(rows.into_bytes()));
            let (datasets, options) = (&job.platform().datasets, ImportOptions::default());
            let report = datasets.import("mine", vec![input], &options, &job.control())?;
            job.log_artifact("report.txt", b"five rows")?;
            job.log_metrics(0, &[("rows", report.version.rows() as f64)])?;
            job.add_output(Reference {
                kind: ReferenceKind::Dataset,
                role: "dataset".into(),
                name: report.version.reference(),
                digest: report.version.digest,
            })
        })
        .unwrap();
    let run = support::finished(place.jobs.wait(&run.id).unwrap());
    assert_eq!(run.outputs[0].name, "mine@1");
    assert_eq!(run.metrics["rows"].last, 5.0);
    assert!(run.artifacts.contains_key("report.txt"));
    let error = place.jobs.resume(&run.id).unwrap_err();
    assert!(matches!(error, TrainError::Conflict(_)), "{error}");

    let run = place
        .jobs
        .spawn(NewRun::new(RunKind::Import), |_| {
            Err(TrainError::Invalid("the file is gone".into()))
        })
        .unwrap();
    let run = place.jobs.wait(&run.id).unwrap();
    assert_eq!(run.status, RunStatus::Failed);
    assert_eq!(run.error.as_deref(), Some("the file is gone"));
    let error = place.jobs.resume(&run.id).unwrap_err();
    assert!(error.to_string().contains("start it again"), "{error}");

    let run = place
        .jobs
        .spawn(NewRun::new(RunKind::Transform), |_| panic!("a bug"))
        .unwrap();
    let run = place.jobs.wait(&run.id).unwrap();
    assert!(run.error.unwrap().contains("the job panicked: a bug"));
    // The place of the one that panicked is free again.
    for _ in 0..8 {
        let run = place
            .jobs
            .spawn(NewRun::new(RunKind::Transform), |_| panic!("again"));
        place.jobs.wait(&run.unwrap().id).unwrap();
    }
}

#[test]
fn stopping_ends_what_runs_and_what_waits() {
    let place = place();
    let work = place
        .jobs
        .spawn(NewRun::new(RunKind::Import), |job| {
            let control = job.control();
            loop {
                control.check()?;
                std::thread::sleep(Duration::from_millis(1));
            }
        })
        .unwrap();
    let first = place.jobs.train(spec(1_000_000)).unwrap();
    let second = place.jobs.train(spec(5)).unwrap();
    until("the first trains", || {
        let run = place.platform().tracker.run(&first.id).unwrap();
        run.progress
            .is_some_and(|progress| progress.unit == "steps" && progress.done > 0)
    });
    let progress = place
        .platform()
        .tracker
        .run(&first.id)
        .unwrap()
        .progress
        .unwrap();
    assert_eq!(
        (progress.total, progress.unit.as_str()),
        (Some(1_000_000), "steps")
    );
    assert_eq!(progress.rate_unit, "tokens/s");

    // The one that waits never begins.
    let stopped = place.jobs.stop(&second.id).unwrap();
    assert_eq!(
        (stopped.status, stopped.started),
        (RunStatus::Interrupted, None)
    );
    place.jobs.stop(&first.id).unwrap();
    assert_eq!(
        place.jobs.wait(&first.id).unwrap().status,
        RunStatus::Interrupted
    );
    place.jobs.stop(&work.id).unwrap();
    assert_eq!(
        place.jobs.wait(&work.id).unwrap().status,
        RunStatus::Cancelled
    );
    let error = place.jobs.stop(&work.id).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("it has ended already, cancelled"),
        "{error}"
    );
    // And can be resumed all the same.
    place.jobs.resume(&second.id).unwrap();
    support::finished(place.jobs.wait(&second.id).unwrap());
}

#[test]
fn shutting_down_stops_everything_and_another_process_goes_on() {
    let place = place();
    let [first, second] = [spec(1_000_000), spec(6)].map(|spec| place.jobs.train(spec).unwrap());
    let begun = Arc::new(AtomicUsize::new(0));
    let beside: Vec<_> = (0..6)
        .map(|_| {
            let begun = begun.clone();
            let work = move |job: &tenon_train::Job| {
                begun.fetch_add(1, Ordering::SeqCst);
                while !job.should_stop() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(DataError::Cancelled.into())
            };
            place
                .jobs
                .spawn(NewRun::new(RunKind::Import), work)
                .unwrap()
        })
        .collect();
    until("four run at a time", || begun.load(Ordering::SeqCst) == 4);
    until("the first trains", || {
        !place.points(&first.id, "train/loss").is_empty()
    });
    place.jobs.shutdown();
    assert_eq!(
        begun.load(Ordering::SeqCst),
        4,
        "those that waited did not begin"
    );
    for run in &beside {
        let run = place.platform().tracker.run(&run.id).unwrap();
        assert_eq!(run.status, RunStatus::Cancelled);
    }
    for run in [&first, &second] {
        let run = place.platform().tracker.run(&run.id).unwrap();
        assert_eq!(run.status, RunStatus::Interrupted);
    }
    let refused = [
        place.jobs.train(spec(1)).unwrap_err(),
        place.jobs.resume(&second.id).unwrap_err(),
        place
            .jobs
            .spawn(NewRun::new(RunKind::Import), |_| Ok(()))
            .unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, TrainError::ShuttingDown), "{error}");
    }

    let support::Place { folder, jobs } = place;
    drop(jobs);
    let jobs = Jobs::open(support::open(folder.path()));
    jobs.resume(&second.id).unwrap();
    support::finished(jobs.wait(&second.id).unwrap());
    // What belonged to a run that was purged goes with the next start.
    assert!(folder.path().join("runs").join(&first.id).is_dir());
    jobs.platform().tracker.purge_run(&first.id).unwrap();
    drop(jobs);
    let _jobs = Jobs::open(support::open(folder.path()));
    assert!(!folder.path().join("runs").join(&first.id).exists());
}

#[test]
fn runs_of_others_are_left_alone() {
    let place = place();
    let run = place
        .platform()
        .tracker
        .create_run(NewRun::new(RunKind::External))
        .unwrap();
    for error in [
        place.jobs.stop(&run.id).unwrap_err(),
        place.jobs.wait(&run.id).unwrap_err(),
        place.jobs.resume(&run.id).unwrap_err(),
    ] {
        assert!(matches!(error, TrainError::Conflict(_)), "{error}");
    }
    assert!(place.jobs.wait("none").unwrap_err().is_not_found());
    let support::Place { folder, jobs } = place;
    drop(jobs);
    let jobs = Jobs::open(support::open(folder.path()));
    let run = jobs.platform().tracker.run(&run.id).unwrap();
    assert_eq!(run.status, RunStatus::Queued);
}
