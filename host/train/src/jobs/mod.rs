//! Jobs: the queue and the life of a run.

mod job;
mod lines;
mod queue;
mod record;

use std::sync::Arc;

use tenon_model::Platform;
use tenon_track::{NewRun, Run, RunKind, RunStatus, TrackError};

pub use job::Job;
pub use lines::LogLine;
use queue::{Lane, Queue, Work};
pub(crate) use record::Record;
use record::Records;

use crate::{
    EvaluateSpec, Result, SweepSpec, TrainError, TrainSpec, evaluate, prepare, sweep, trainer,
};

/// The jobs of a data folder. Clones share them. One job at a time computes on the device; imports and
/// other work that does not need it run beside.
#[derive(Clone)]
pub struct Jobs {
    inner: Arc<Inner>,
}

struct Inner {
    platform: Platform,
    queue: Queue,
    records: Records,
}

impl Jobs {
    /// Takes over a data folder: jobs that were waiting when the last process ended become interrupted,
    /// as those that were running did, and can be resumed.
    #[must_use]
    pub fn open(platform: Platform) -> Self {
        let records = Records::new(&platform.store);
        if let Err(error) = records.clean(&platform) {
            tracing::error!(%error, "what earlier jobs left behind could not be looked through");
        }
        Self {
            inner: Arc::new(Inner {
                queue: Queue::new(&platform),
                platform,
                records,
            }),
        }
    }

    /// The data folder.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.inner.platform
    }

    /// Checks everything that can be checked without computing, creates the run and puts it into the
    /// queue.
    ///
    /// # Errors
    /// What is wrong with the specification: a setting out of its range, a plugin, dataset, split,
    /// column, tokenizer or model that is not there or does not fit. No run is created then.
    pub fn train(&self, spec: TrainSpec) -> Result<Run> {
        self.begin(spec, None)
    }

    /// As [`Jobs::train`]; the run belongs to another.
    pub(crate) fn train_under(&self, spec: TrainSpec, parent: &str) -> Result<Run> {
        self.begin(spec, Some(parent))
    }

    fn begin(&self, spec: TrainSpec, parent: Option<&str>) -> Result<Run> {
        self.inner.queue.admits()?;
        let (plan, mut new) = prepare::train(self.platform(), spec)?;
        new.parent = parent.map(str::to_owned).or(new.parent);
        let run = self.create(new, &Record::Train(Box::new(plan)))?;
        self.enqueue(&run, Lane::Device, Box::new(trainer::run))?;
        self.get(&run.id)
    }

    /// Searches for the settings of a training: many trainings, each a run of its own under the sweep's.
    ///
    /// # Errors
    /// As [`Jobs::train`], for the first trial that could not begin.
    pub fn sweep(&self, spec: SweepSpec) -> Result<Run> {
        self.inner.queue.admits()?;
        let (plan, new) = sweep::prepare(self.platform(), spec)?;
        let run = self.create(new, &Record::Sweep(Box::new(plan)))?;
        self.enqueue(&run, Lane::Host, self.sweeping())?;
        self.get(&run.id)
    }

    /// A sweep only waits for its trials, which take their turns on the device.
    fn sweeping(&self) -> Work {
        let jobs = self.clone();
        Box::new(move |job| sweep::run(&jobs, job))
    }

    /// Whether a job has ended.
    pub(crate) fn is_over(&self, run: &str) -> bool {
        !self.inner.queue.has(run)
    }

    /// As [`Jobs::train`], for an evaluation.
    ///
    /// # Errors
    /// As [`Jobs::train`]; a capability that an evaluator asks for and that is not granted.
    pub fn evaluate(&self, spec: EvaluateSpec) -> Result<Run> {
        self.inner.queue.admits()?;
        let (plan, new) = prepare::evaluation(self.platform(), spec)?;
        let run = self.create(new, &Record::Evaluate(Box::new(plan)))?;
        self.enqueue(&run, Lane::Device, Box::new(evaluate::run))?;
        self.get(&run.id)
    }

    /// Goes on with a run that was interrupted, stopped or has failed, in the same run: a training from
    /// its last checkpoint, a sweep with the trials that are left, an evaluation from its beginning.
    ///
    /// # Errors
    /// [`TrainError::Conflict`] for a run that is still going on, has finished, or is of a kind that
    /// cannot be resumed.
    pub fn resume(&self, run: &str) -> Result<Run> {
        self.inner.queue.admits()?;
        let run = self.platform().tracker.find_run(run)?;
        let conflict = |reason: &str| {
            Err(TrainError::Conflict(format!(
                "run `{}` ({}) cannot be resumed: {reason}",
                run.name, run.id
            )))
        };
        if self.inner.queue.has(&run.id) || !run.status.is_ended() {
            return conflict(&format!("it is {}", run.status.name()));
        }
        if run.status == RunStatus::Finished {
            return conflict(
                "it has finished; to go on from its model, start a training `from` it",
            );
        }
        let (lane, work): (_, Work) = match self.inner.records.get(&run.id)? {
            Some(Record::Train(_)) => (Lane::Device, Box::new(trainer::run)),
            Some(Record::Evaluate(_)) => (Lane::Device, Box::new(evaluate::run)),
            Some(Record::Sweep(_)) => (Lane::Host, self.sweeping()),
            None => {
                return conflict("only trainings, evaluations and sweeps can be; start it again");
            }
        };
        self.platform().tracker.update_run(&run.id, |run| {
            if !run.status.is_ended() {
                return Err(TrackError::Invalid(format!(
                    "run {} is {}",
                    run.id,
                    run.status.name()
                )));
            }
            run.status = RunStatus::Queued;
            (run.ended, run.error) = (None, None);
            Ok(())
        })?;
        self.enqueue(&run, lane, work)?;
        self.get(&run.id)
    }

    /// Runs work of the caller's as a job that does not use the device: an import, a pipeline, the
    /// training of a tokenizer. An error that says that it was cancelled ends the run as cancelled, any
    /// other as failed.
    ///
    /// # Errors
    /// [`TrainError::ShuttingDown`]; what creating a run says.
    pub fn spawn(
        &self,
        new: NewRun,
        work: impl FnOnce(&Job) -> Result<()> + Send + 'static,
    ) -> Result<Run> {
        self.inner.queue.admits()?;
        let run = self.platform().tracker.create_run(new)?;
        self.enqueue(&run, Lane::Host, Box::new(work))?;
        self.get(&run.id)
    }

    /// Asks a job to stop, and returns at once. A training writes a checkpoint and ends as
    /// `interrupted`; others end as `cancelled`. One that is still waiting ends here.
    ///
    /// # Errors
    /// [`TrainError::Conflict`] for a run that has ended or is not a job of this process.
    pub fn stop(&self, run: &str) -> Result<Run> {
        let run = self.platform().tracker.find_run(run)?;
        if !self.inner.queue.stop(&run.id) {
            let reason = if run.status.is_ended() {
                format!("it has ended already, {}", run.status.name())
            } else {
                "it is not a job of this process".to_owned()
            };
            return Err(TrainError::Conflict(format!(
                "run `{}` ({}) cannot be stopped: {reason}",
                run.name, run.id
            )));
        }
        self.get(&run.id)
    }

    /// Waits until a job has ended, however it did.
    ///
    /// # Errors
    /// [`TrainError::Conflict`] for a run that goes on elsewhere; [`TrainError::Internal`] when its end
    /// could not be recorded.
    pub fn wait(&self, run: &str) -> Result<Run> {
        let run = self.platform().tracker.find_run(run)?;
        let ours = self.inner.queue.wait(&run.id);
        let run = self.get(&run.id)?;
        match (run.status.is_ended(), ours) {
            (true, _) => Ok(run),
            (false, true) => Err(TrainError::Internal(format!(
                "the end of run {} could not be recorded; it is interrupted when the data folder is \
                 opened the next time",
                run.id
            ))),
            (false, false) => Err(TrainError::Conflict(format!(
                "run `{}` ({}) is {}, but not by this process",
                run.name,
                run.id,
                run.status.name()
            ))),
        }
    }

    /// What a job and its plugins have said since `after` (0: from the beginning, as far as it is kept:
    /// the last few hundred lines, while this process lives).
    #[must_use]
    pub fn log_lines(&self, run: &str, after: u64) -> Vec<LogLine> {
        self.inner.queue.lines().since(run, after)
    }

    /// Takes no more jobs, stops all (trainings write a checkpoint) and waits for them.
    pub fn shutdown(&self) {
        self.inner.queue.close();
    }

    fn create(&self, new: NewRun, record: &Record) -> Result<Run> {
        let run = self.platform().tracker.create_run(new)?;
        if let Err(error) = self.inner.records.put(&run.id, record) {
            let tracker = &self.platform().tracker;
            tracker.end_run(&run.id, RunStatus::Failed, Some(&error.to_string()))?;
            return Err(error);
        }
        Ok(run)
    }

    fn enqueue(&self, run: &Run, lane: Lane, work: Work) -> Result<()> {
        self.inner.queue.push(&run.id, run.kind, lane, work)
    }

    fn get(&self, id: &str) -> Result<Run> {
        Ok(self.platform().tracker.run(id)?)
    }
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs")
            .field("platform", self.platform())
            .finish_non_exhaustive()
    }
}

/// How a run of this kind ends when it is asked to.
fn stopped(kind: RunKind) -> (RunStatus, &'static str) {
    match kind {
        RunKind::Train | RunKind::Sweep => (
            RunStatus::Interrupted,
            "stopped on request; it goes on from here when it is resumed",
        ),
        _ => (RunStatus::Cancelled, "stopped on request"),
    }
}
