//! The job of a sweep: it starts trials, waits for them, and keeps the best. Every trial is a run of
//! its own whose parent is the sweep's; a sweep that was cut off finds its trials again by their labels.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenon_model::Platform;
use tenon_plugin::LogLevel;
use tenon_track::{
    NewRun, Progress, Reference, ReferenceKind, Run, RunKind, RunQuery, RunStatus, Tracker,
};

use super::{
    SweepSpec,
    space::Trial,
    spec::{Rung, words},
};
use crate::{
    REPORT, Result, TrainError,
    jobs::{Job, Jobs, Record},
    prepare::flat,
};

/// How often a sweep looks whether it was asked to stop while a trial runs.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The labels of trials.
const TRIAL: &str = "sweep.trial";
const RUNG: &str = "sweep.rung";

/// What a sweep is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SweepPlan {
    spec: SweepSpec,
}

/// Checks a sweep: also that each of its trials could begin.
///
/// # Errors
/// The first thing that is wrong with it, with the trial that it is wrong with.
pub(crate) fn prepare(platform: &Platform, spec: SweepSpec) -> Result<(SweepPlan, NewRun)> {
    spec.check()?;
    if let Some(name) = &spec.register {
        Tracker::check_model_name(name)?;
    }
    let trials = spec.trials()?;
    for trial in &trials {
        let training = spec.training(trial, None)?;
        crate::prepare::train(platform, training).map_err(|error| match error {
            TrainError::Invalid(reason) => {
                TrainError::Invalid(format!("the trial {}: {reason}", words(trial)))
            }
            other => other,
        })?;
    }
    let mut params = flat(&spec)?;
    params.insert("trials".to_owned(), json!(trials.len()));
    let new = NewRun {
        experiment: spec.experiment.clone(),
        name: spec.name.clone(),
        params,
        seeds: BTreeMap::from([("job".to_owned(), spec.seed)]),
        ..NewRun::new(RunKind::Sweep)
    };
    Ok((SweepPlan { spec }, new))
}

/// A trial and what it came to.
struct Ended {
    trial: usize,
    run: String,
    /// Not a number when it failed or has no such metric.
    value: f64,
}

/// Runs a sweep to its end.
pub(crate) fn run(jobs: &Jobs, job: &Job) -> Result<()> {
    let Record::Sweep(plan) = job.record()? else {
        return Err(TrainError::Internal(
            "the record is not one of a sweep".into(),
        ));
    };
    let spec = &plan.spec;
    let trials = spec.trials()?;
    let rungs = spec.rungs(trials.len());
    let total: usize = rungs.iter().map(|rung| rung.trials).sum();
    let mut rows = Vec::new();
    let mut done = 0;
    let mut left: Vec<usize> = (0..trials.len()).collect();
    let mut last = Vec::new();
    for (number, rung) in rungs.iter().enumerate() {
        let mut ended: Vec<Ended> = Vec::new();
        for trial in left.iter().copied().take(rung.trials) {
            tell(job, done, total, &words(&trials[trial]))?;
            let run = one(jobs, job, spec, rung, (trial, number), &trials[trial])?;
            let value = value(spec, &run);
            if !value.is_nan() {
                job.log_metrics(done as i64, &[("sweep/value", value)])?;
            }
            rows.push(row(&trials[trial], (trial, number), rung, &run, value));
            ended.push(Ended {
                trial,
                run: run.id,
                value,
            });
            done += 1;
        }
        ended.sort_by(|a, b| match spec.goal.better(a.value, b.value) {
            true => std::cmp::Ordering::Less,
            false if spec.goal.better(b.value, a.value) => std::cmp::Ordering::Greater,
            false => a.trial.cmp(&b.trial),
        });
        left = ended.iter().map(|ended| ended.trial).collect();
        last = ended;
    }
    let best = last
        .first()
        .filter(|best| !best.value.is_nan())
        .ok_or_else(|| {
            TrainError::Invalid(format!(
                "no trial came to a value of `{}`: see why the runs under this one failed, or which \
                 metrics they have",
                spec.metric
            ))
        })?;
    finish(job, spec, best, &trials[best.trial], rows)
}

/// Trains one trial, or finds that it was trained.
fn one(
    jobs: &Jobs,
    job: &Job,
    spec: &SweepSpec,
    rung: &Rung,
    (trial, number): (usize, usize),
    settings: &Trial,
) -> Result<Run> {
    let tags = BTreeMap::from([
        (TRIAL.to_owned(), trial.to_string()),
        (RUNG.to_owned(), number.to_string()),
    ]);
    let query = RunQuery {
        parent: Some(job.id().to_owned()),
        tags: tags.clone(),
        ..RunQuery::default()
    };
    let known = job
        .platform()
        .tracker
        .search(&query)?
        .runs
        .into_iter()
        .next();
    let run = match known {
        Some(run) if matches!(run.status, RunStatus::Finished | RunStatus::Failed) => {
            return Ok(run);
        }
        Some(run) => jobs.resume(&run.id)?,
        None => {
            let mut training = spec.training(settings, rung.steps)?;
            training.experiment = training.experiment.or_else(|| spec.experiment.clone());
            training
                .name
                .get_or_insert_with(|| format!("trial {trial}: {}", words(settings)));
            training.tags.extend(tags);
            jobs.train_under(training, job.id())?
        }
    };
    while !jobs.is_over(&run.id) {
        if job.should_stop() {
            // It may have ended meanwhile.
            if jobs.stop(&run.id).is_ok() {
                jobs.wait(&run.id)?;
            }
            return Err(TrainError::Stopped);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let run = jobs.wait(&run.id)?;
    match run.status {
        RunStatus::Finished => Ok(run),
        RunStatus::Failed => {
            let why = run.error.as_deref().unwrap_or_default();
            job.say(LogLevel::Warn, &format!("{} failed: {why}", run.name));
            Ok(run)
        }
        // Somebody stopped it, or the process ends.
        _ => Err(TrainError::Stopped),
    }
}

/// What a trial is judged by.
fn value(spec: &SweepSpec, run: &Run) -> f64 {
    let metric = run.metrics.get(&spec.metric);
    if run.status != RunStatus::Finished {
        return f64::NAN;
    }
    // The model that a trial keeps is then the one of its best evaluation.
    let best = spec.train.keep_best && spec.metric == "eval/loss";
    metric.map_or(
        f64::NAN,
        |metric| if best { metric.min } else { metric.last },
    )
}

fn row(
    settings: &Trial,
    (trial, number): (usize, usize),
    rung: &Rung,
    run: &Run,
    value: f64,
) -> Value {
    json!({
        "trial": trial,
        "rung": number,
        "steps": rung.steps,
        "settings": settings,
        "run": run.id,
        "status": run.status.name(),
        "value": if value.is_finite() { json!(value) } else { Value::Null },
    })
}

/// Keeps the table of the trials, and the model of the best.
fn finish(
    job: &Job,
    spec: &SweepSpec,
    best: &Ended,
    settings: &Trial,
    rows: Vec<Value>,
) -> Result<()> {
    let report = json!({
        "metric": spec.metric,
        "goal": spec.goal,
        "best": {
            "trial": best.trial, "run": best.run, "settings": settings, "value": best.value,
        },
        "trials": rows,
    });
    let bytes = serde_json::to_vec_pretty(&report)
        .map_err(|error| TrainError::Internal(error.to_string()))?;
    job.log_artifact(REPORT, &bytes)?;
    job.log_metrics(rows_len(&report), &[("sweep/best", best.value)])?;
    let platform = job.platform();
    let (_, manifest) = platform.manifest(&format!("run:{}", best.run))?;
    job.add_output(Reference {
        kind: ReferenceKind::Model,
        role: "best".to_owned(),
        name: platform.tracker.run(&best.run)?.name,
        digest: manifest.digest(),
    })?;
    job.say(
        LogLevel::Info,
        &format!(
            "the best: {} ({} {})",
            words(settings),
            spec.metric,
            best.value
        ),
    );
    if let Some(name) = &spec.register {
        let known = match platform.tracker.versions(name) {
            Err(error) if error.is_not_found() => Vec::new(),
            other => other?,
        };
        let run = Some(best.run.as_str());
        if !known
            .iter()
            .any(|version| version.manifest.run.as_deref() == run)
        {
            let version = platform
                .tracker
                .register_version(name, manifest, "", BTreeMap::new())?;
            let said = format!("registered as {}@{}", version.model, version.version);
            job.say(LogLevel::Info, &said);
        }
    }
    Ok(())
}

fn rows_len(report: &Value) -> i64 {
    report["trials"].as_array().map_or(0, Vec::len) as i64
}

fn tell(job: &Job, done: usize, total: usize, message: &str) -> Result<()> {
    job.set_progress(Progress {
        done: done as u64,
        total: Some(total as u64),
        unit: "trials".to_owned(),
        rate: 0.0,
        rate_unit: "trials/s".to_owned(),
        seconds_left: None,
        message: message.to_owned(),
    })
}
