//! What is kept of a job beside its run, so that it can be resumed by another process.

use std::{fs, path::PathBuf};

use serde::{Deserialize, Serialize};
use tenon_model::Platform;
use tenon_store::{JsonTable, Store};
use tenon_track::RunStatus;

use crate::{
    Result, TrainError,
    prepare::{EvaluationPlan, TrainPlan},
    sweep::SweepPlan,
};

/// Key: the run. Value: [`Record`].
const TABLE: &str = "jobs";
/// The folder of the jobs' own folders.
const FOLDER: &str = "runs";

/// What a job is to do, with everything that it names pinned.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Record {
    Train(Box<TrainPlan>),
    Evaluate(Box<EvaluationPlan>),
    Sweep(Box<SweepPlan>),
}

/// The records of a store.
#[derive(Clone)]
pub(super) struct Records {
    table: JsonTable<Record>,
}

/// The folder of a job, for its checkpoints. Made when it is first asked for.
pub(super) fn folder(store: &Store, run: &str) -> Result<PathBuf> {
    Ok(store.dir(&format!("{FOLDER}/{run}"))?)
}

impl Records {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            table: store.json(TABLE),
        }
    }

    pub(super) fn put(&self, run: &str, record: &Record) -> Result<()> {
        Ok(self.table.put(run, record)?)
    }

    pub(super) fn get(&self, run: &str) -> Result<Option<Record>> {
        Ok(self.table.get(run)?)
    }

    /// The record as it was written. A job reads it here also when it runs for the first time: numbers
    /// that went through JSON are then the same ones as after a resume.
    pub(super) fn read(&self, run: &str) -> Result<Record> {
        self.get(run)?.ok_or_else(|| {
            TrainError::Internal(format!("nothing is recorded of what run {run} is to do"))
        })
    }

    /// Ends the runs that were waiting when the last process ended, and forgets what belonged to runs
    /// that are gone.
    pub(super) fn clean(&self, platform: &Platform) -> Result<()> {
        let tracker = &platform.tracker;
        let known = self.table.list()?;
        let query = tenon_track::RunQuery {
            include_deleted: true,
            limit: Some(usize::MAX),
            ..tenon_track::RunQuery::default()
        };
        for run in tracker.search(&query)?.runs {
            if run.status != RunStatus::Queued {
                continue;
            }
            let recorded = known.iter().any(|(id, _)| *id == run.id);
            let why = match recorded {
                true => "the process ended before the run began; resume it",
                false => "the process ended before the run began; start it again",
            };
            // External runs belong to their clients.
            if run.kind != tenon_track::RunKind::External {
                tracker.end_run(&run.id, RunStatus::Interrupted, Some(why))?;
            }
        }
        for (id, _) in known {
            if tracker.run(&id).is_err_and(|error| error.is_not_found()) {
                self.table.delete(&id)?;
            }
        }
        let folder = platform.store.dir(FOLDER)?;
        let entries = fs::read_dir(&folder)
            .map_err(|error| failed(&folder, "the folder cannot be read", &error))?;
        for entry in entries.flatten() {
            let gone = entry
                .file_name()
                .to_str()
                .is_some_and(|id| tracker.run(id).is_err_and(|error| error.is_not_found()));
            if gone && let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(%error, path = %entry.path().display(), "a purged run's folder stays");
            }
        }
        Ok(())
    }
}

fn failed(path: &std::path::Path, what: &str, error: &std::io::Error) -> TrainError {
    TrainError::Checkpoint {
        path: path.display().to_string(),
        reason: format!("{what}: {error}"),
    }
}
