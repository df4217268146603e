//! A job, as its own work sees it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tenon_data::Control;
use tenon_model::Platform;
use tenon_plugin::{LogLevel, LogSink, TracingSink};
use tenon_track::{Artifact, Progress, Reference};

use super::{
    lines::Lines,
    record::{Record, Records, folder},
};
use crate::{Result, TrainError};

/// A job that is running, for the work that it does.
pub struct Job {
    run: String,
    platform: Platform,
    stop: Arc<AtomicBool>,
    lines: Arc<Lines>,
}

impl Job {
    pub(super) fn new(
        run: &str,
        platform: &Platform,
        stop: &Arc<AtomicBool>,
        lines: &Arc<Lines>,
    ) -> Self {
        Self {
            run: run.to_owned(),
            platform: platform.clone(),
            stop: stop.clone(),
            lines: lines.clone(),
        }
    }

    /// The run.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.run
    }

    /// The data folder.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// For work on data: stopping the job cancels it, and its progress is the run's.
    #[must_use]
    pub fn control(&self) -> Control {
        let (tracker, run) = (self.platform.tracker.clone(), self.run.clone());
        Control::new()
            .with_cancel(self.stop.clone())
            .with_progress(move |progress| {
                let left = progress.total.map(|total| {
                    total.saturating_sub(progress.rows) as f64 / progress.rows_per_second.max(1e-9)
                });
                let progress = Progress {
                    done: progress.rows,
                    total: progress.total,
                    unit: "rows".to_owned(),
                    rate: progress.rows_per_second,
                    rate_unit: "rows/s".to_owned(),
                    seconds_left: left,
                    message: progress.phase.clone(),
                };
                // Only a purged run refuses it, and then nobody looks.
                let _ = tracker.set_progress(&run, progress);
            })
    }

    /// Whether the job was asked to stop: return [`TrainError::Stopped`] soon.
    #[must_use]
    pub fn should_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// An error once the job was asked to stop.
    ///
    /// # Errors
    /// [`TrainError::Stopped`].
    pub fn check(&self) -> Result<()> {
        match self.should_stop() {
            true => Err(TrainError::Stopped),
            false => Ok(()),
        }
    }

    /// Tells how far it is.
    ///
    /// # Errors
    /// A run that is gone.
    pub fn set_progress(&self, progress: Progress) -> Result<()> {
        Ok(self.platform.tracker.set_progress(&self.run, progress)?)
    }

    /// Logs metrics at a step.
    ///
    /// # Errors
    /// A metric's name that cannot be one.
    pub fn log_metrics(&self, step: i64, values: &[(&str, f64)]) -> Result<()> {
        Ok(self.platform.tracker.log(&self.run, step, values)?)
    }

    /// Notes that the job used something.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_input(&self, input: Reference) -> Result<()> {
        self.platform.tracker.add_input(&self.run, input)?;
        Ok(())
    }

    /// Notes that the job made something.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_output(&self, output: Reference) -> Result<()> {
        self.platform.tracker.add_output(&self.run, output)?;
        Ok(())
    }

    /// Keeps bytes as a file of the run.
    ///
    /// # Errors
    /// A path that is not relative; when it cannot be written.
    pub fn log_artifact(&self, path: &str, bytes: &[u8]) -> Result<Artifact> {
        Ok(self.platform.tracker.log_artifact(&self.run, path, bytes)?)
    }

    /// Says something to those who watch the job.
    pub fn say(&self, level: LogLevel, message: &str) {
        tracing::debug!(run = self.run, "{message}");
        self.lines.add(&self.run, level, "tenon", message);
    }

    /// Where the log lines of the job's plugins go.
    #[must_use]
    pub fn log_sink(&self) -> Arc<dyn LogSink> {
        Arc::new(Sink {
            run: self.run.clone(),
            lines: self.lines.clone(),
        })
    }

    /// Whether it was asked to stop, for what outlives a borrow of the job.
    pub(crate) fn switch(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// What the job is to do.
    pub(crate) fn record(&self) -> Result<Record> {
        Records::new(&self.platform.store).read(&self.run)
    }

    /// The job's own folder.
    pub(crate) fn folder(&self) -> Result<PathBuf> {
        folder(&self.platform.store, &self.run)
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("run", &self.run)
            .field("should_stop", &self.should_stop())
            .finish_non_exhaustive()
    }
}

/// The log of a job's plugins.
struct Sink {
    run: String,
    lines: Arc<Lines>,
}

impl LogSink for Sink {
    fn log(&self, plugin: &str, level: LogLevel, message: &str) {
        TracingSink.log(plugin, level, message);
        self.lines.add(&self.run, level, plugin, message);
    }
}
