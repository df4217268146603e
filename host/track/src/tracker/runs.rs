//! Runs: their life, what is attached to them, their metrics, search.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tenon_store::{Digest, JsonTable, PendingCommit, Transaction};

use super::{RUNS, Tracker};
use crate::error::TrackError;
use crate::metrics::{Bucket, Point, StepRange};
use crate::run::{Artifact, NewRun, Progress, Reference, Run, RunStatus};
use crate::search::{self, Comparison, RunPage, RunQuery};

/// Runs on a page when the query names no number.
const PAGE: usize = 100;

impl Tracker {
    /// Creates a run, queued.
    ///
    /// # Errors
    /// [`TrackError::NotFound`] for an unknown parent; [`TrackError::Invalid`] for a bad experiment
    /// name.
    pub fn create_run(&self, new: NewRun) -> Result<Run, TrackError> {
        let experiment = match new.experiment.as_deref() {
            None => self.ensure_experiment(crate::DEFAULT_EXPERIMENT)?,
            Some(name) => match self.experiment(name) {
                Err(error) if error.is_not_found() => self.ensure_experiment(name)?,
                other => other?,
            },
        };
        if let Some(parent) = &new.parent {
            self.stored(parent)?;
        }
        let now = Timestamp::now();
        let id = self.inner.ids.next(now);
        let name = new
            .name
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| format!("{}-{}", new.kind.name(), &id[id.len() - 6..]));
        let run = Run {
            id: id.clone(),
            experiment: experiment.id,
            name,
            kind: new.kind,
            status: RunStatus::Queued,
            params: new.params,
            tags: new.tags,
            inputs: new.inputs,
            outputs: Vec::new(),
            seeds: new.seeds,
            parent: new.parent,
            created: now,
            started: None,
            ended: None,
            error: None,
            artifacts: BTreeMap::new(),
            metrics: BTreeMap::new(),
            progress: None,
            deleted: None,
        };
        let pending = {
            let _changes = self.inner.changes.lock();
            self.submit(run.clone())?
        };
        self.settle(&id, pending)?;
        Ok(run)
    }

    /// A run by its identifier, with its metrics up to this moment.
    ///
    /// # Errors
    /// [`TrackError::NotFound`].
    pub fn run(&self, id: &str) -> Result<Run, TrackError> {
        let run = self.stored(id)?;
        Ok(self.view(&run))
    }

    /// A run by identifier, by an unambiguous beginning or end of it, or by name (the newest of that
    /// name).
    ///
    /// # Errors
    /// [`TrackError::NotFound`]; [`TrackError::Invalid`] when several identifiers fit.
    pub fn find_run(&self, text: &str) -> Result<Run, TrackError> {
        let found = {
            let runs = self.inner.runs.read();
            let named = || runs.values().rev().find(|run| run.name == text);
            if let Some(run) = runs.get(text).or_else(named) {
                Some(run.clone())
            } else {
                let lower = text.to_lowercase();
                let mut fits = runs.values().filter(|run| {
                    lower.len() >= 4 && (run.id.starts_with(&lower) || run.id.ends_with(&lower))
                });
                let first = fits.next().cloned();
                if let (Some(first), Some(second)) = (&first, fits.next()) {
                    return Err(TrackError::Invalid(format!(
                        "`{text}` fits several runs, for example {} and {}; give more of the \
                         identifier",
                        first.id, second.id
                    )));
                }
                first
            }
        };
        let run = found.ok_or_else(|| {
            TrackError::not_found("run", text, "list runs to see names and identifiers")
        })?;
        Ok(self.view(&run))
    }

    /// Changes a run. Identifier, experiment, creation and metrics stay what they are.
    ///
    /// # Errors
    /// [`TrackError::NotFound`], what `change` returns, or what the store says.
    pub fn update_run(
        &self,
        id: &str,
        change: impl FnOnce(&mut Run) -> Result<(), TrackError>,
    ) -> Result<Run, TrackError> {
        let (run, pending) = {
            let _changes = self.inner.changes.lock();
            let old = self.stored(id)?;
            let mut run = (*old).clone();
            change(&mut run)?;
            run.id.clone_from(&old.id);
            run.experiment.clone_from(&old.experiment);
            run.created = old.created;
            run.metrics.clone_from(&old.metrics);
            // The order of submitting is the order on disk; waiting happens outside the lock.
            (run.clone(), self.submit(run)?)
        };
        self.settle(id, pending)?;
        Ok(self.view(&run))
    }

    /// Queued or ended → running.
    ///
    /// # Errors
    /// [`TrackError::Invalid`] when it is running already; [`TrackError::NotFound`].
    pub fn start_run(&self, id: &str) -> Result<Run, TrackError> {
        self.update_run(id, |run| {
            if run.status == RunStatus::Running {
                return Err(TrackError::Invalid(format!("run {id} is running already")));
            }
            run.status = RunStatus::Running;
            run.started.get_or_insert_with(Timestamp::now);
            run.ended = None;
            run.error = None;
            Ok(())
        })
    }

    /// Ends a run; its metric points are durable afterwards. `error` says why it did not finish.
    ///
    /// # Errors
    /// [`TrackError::Invalid`] for a status that is not an end; [`TrackError::NotFound`].
    pub fn end_run(
        &self,
        id: &str,
        status: RunStatus,
        error: Option<&str>,
    ) -> Result<Run, TrackError> {
        if !status.is_ended() {
            return Err(TrackError::Invalid(format!(
                "a run cannot end as {}: use finished, failed, cancelled or interrupted",
                status.name()
            )));
        }
        if let Some(summaries) = self.inner.metrics.flush(id)? {
            self.inner.remember_metrics(id, summaries);
        }
        self.update_run(id, |run| {
            run.status = status;
            run.ended = Some(Timestamp::now());
            run.error = error.map(str::to_owned);
            run.progress = None;
            Ok(())
        })
    }

    /// Adds or replaces parameters.
    ///
    /// # Errors
    /// [`TrackError::NotFound`].
    pub fn set_params(
        &self,
        id: &str,
        params: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<Run, TrackError> {
        self.update_run(id, |run| {
            run.params.extend(params);
            Ok(())
        })
    }

    /// Adds or replaces tags.
    ///
    /// # Errors
    /// [`TrackError::NotFound`].
    pub fn set_tags(
        &self,
        id: &str,
        tags: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Run, TrackError> {
        self.update_run(id, |run| {
            run.tags.extend(tags);
            Ok(())
        })
    }

    /// Notes that the run used something.
    ///
    /// # Errors
    /// [`TrackError::NotFound`].
    pub fn add_input(&self, id: &str, input: Reference) -> Result<Run, TrackError> {
        self.update_run(id, |run| {
            if !run.inputs.contains(&input) {
                run.inputs.push(input);
            }
            Ok(())
        })
    }

    /// Notes that the run made something.
    ///
    /// # Errors
    /// [`TrackError::NotFound`].
    pub fn add_output(&self, id: &str, output: Reference) -> Result<Run, TrackError> {
        self.update_run(id, |run| {
            if !run.outputs.contains(&output) {
                run.outputs.push(output);
            }
            Ok(())
        })
    }

    /// Attaches a blob as a file of the run, replacing an earlier one at the same path.
    ///
    /// # Errors
    /// [`TrackError::Invalid`] for a path that is not relative and clean, [`TrackError::NotFound`],
    /// an unknown blob.
    pub fn add_artifact(&self, id: &str, path: &str, digest: &str) -> Result<Artifact, TrackError> {
        let clean = !path.is_empty()
            && path.len() <= 500
            && !path.chars().any(char::is_control)
            && path
                .split('/')
                .all(|part| !part.is_empty() && part != "." && part != "..");
        if !clean {
            return Err(TrackError::Invalid(format!(
                "`{}` is not a path for an artifact: use relative names without `..`",
                path.escape_debug()
            )));
        }
        let blob: Digest = digest.parse()?;
        let artifact = Artifact {
            digest: blob.to_string(),
            size: self.inner.store.blobs().size(&blob)?,
            created: Timestamp::now(),
        };
        self.update_run(id, |run| {
            run.artifacts.insert(path.to_owned(), artifact.clone());
            Ok(())
        })?;
        Ok(artifact)
    }

    /// Stores bytes and attaches them as a file of the run.
    ///
    /// # Errors
    /// As [`Tracker::add_artifact`] and [`tenon_store::Blobs::put`].
    pub fn log_artifact(&self, id: &str, path: &str, bytes: &[u8]) -> Result<Artifact, TrackError> {
        self.stored(id)?;
        let digest = self.inner.store.blobs().put(bytes)?;
        self.add_artifact(id, path, &digest.to_string())
    }

    /// Tells how far a run is. Kept in memory, gone when the run ends.
    ///
    /// # Errors
    /// [`TrackError::NotFound`].
    pub fn set_progress(&self, id: &str, progress: Progress) -> Result<(), TrackError> {
        let mut runs = self.inner.runs.write();
        let run = runs.get_mut(id).ok_or_else(|| unknown(id))?;
        Arc::make_mut(run).progress = Some(progress);
        Ok(())
    }

    /// Logs values of several metrics at one step, now. Durable within about a second.
    ///
    /// # Errors
    /// [`TrackError::NotFound`], [`TrackError::Invalid`] for a bad metric name.
    pub fn log(&self, id: &str, step: i64, values: &[(&str, f64)]) -> Result<(), TrackError> {
        let time_ms = Timestamp::now().as_millisecond();
        let points: Vec<_> = values
            .iter()
            .map(|(metric, value)| {
                let point = Point {
                    step,
                    time_ms,
                    value: *value,
                };
                (*metric, [point])
            })
            .collect();
        self.known(id)?;
        let points = points.iter().map(|(metric, points)| (*metric, &points[..]));
        self.inner.metrics.append(id, points)
    }

    /// Logs many points of one metric. Durable within about a second.
    ///
    /// # Errors
    /// As [`Tracker::log`].
    pub fn log_points(&self, id: &str, metric: &str, points: &[Point]) -> Result<(), TrackError> {
        self.known(id)?;
        self.inner.metrics.append(id, [(metric, points)])
    }

    /// The points of a metric in the order in which they were logged; empty for an unknown metric.
    ///
    /// # Errors
    /// [`TrackError::NotFound`] for an unknown run, [`TrackError::DamagedMetric`].
    pub fn history(
        &self,
        id: &str,
        metric: &str,
        range: StepRange,
    ) -> Result<Vec<Point>, TrackError> {
        let run = self.stored(id)?;
        let expected = run.metrics.get(metric).map_or(0, |summary| summary.count);
        self.inner.metrics.points(id, metric, range, expected)
    }

    /// A metric as a curve of at most `max` buckets, whatever its length. At the ends of `range` a
    /// bucket of a very long curve may reach a little beyond it.
    ///
    /// # Errors
    /// As [`Tracker::history`].
    pub fn overview(
        &self,
        id: &str,
        metric: &str,
        range: StepRange,
        max: usize,
    ) -> Result<Vec<Bucket>, TrackError> {
        self.known(id)?;
        self.inner.metrics.overview(id, metric, range, max)
    }

    /// Drops all metric points after `step`, durably: a run that resumes from a checkpoint at `step`
    /// logs them again.
    ///
    /// # Errors
    /// [`TrackError::NotFound`].
    pub fn rewind(&self, id: &str, step: i64) -> Result<(), TrackError> {
        self.known(id)?;
        let summaries = self.inner.metrics.rewind(id, step)?;
        self.inner.remember_metrics(id, summaries);
        Ok(())
    }

    /// Puts a run in the bin (`true`) or takes it out again.
    ///
    /// # Errors
    /// [`TrackError::Invalid`] while it runs; [`TrackError::NotFound`].
    pub fn set_deleted(&self, id: &str, deleted: bool) -> Result<Run, TrackError> {
        self.update_run(id, |run| {
            if deleted && run.status == RunStatus::Running {
                return Err(still_running(id));
            }
            run.deleted = deleted.then(Timestamp::now);
            Ok(())
        })
    }

    /// Removes a run and its metrics for good. Its files are freed by the next blob sweep.
    ///
    /// # Errors
    /// [`TrackError::Invalid`] while it runs; [`TrackError::NotFound`].
    pub fn purge_run(&self, id: &str) -> Result<(), TrackError> {
        let _changes = self.inner.changes.lock();
        if self.stored(id)?.status == RunStatus::Running {
            return Err(still_running(id));
        }
        self.runs_table().delete(id)?;
        self.inner.runs.write().remove(id);
        self.inner.metrics.remove(id)
    }

    /// Finds runs.
    ///
    /// # Errors
    /// [`TrackError::NotFound`] for an unknown experiment; [`TrackError::Invalid`] for a page that
    /// no longer exists.
    pub fn search(&self, query: &RunQuery) -> Result<RunPage, TrackError> {
        let experiment = match &query.experiment {
            Some(name) => Some(self.experiment(name)?.id),
            None => None,
        };
        let all: Vec<Arc<Run>> = self.inner.runs.read().values().cloned().collect();
        let mut found: Vec<Arc<Run>> = all
            .into_iter()
            .filter(|run| query.matches(run, experiment.as_deref()))
            .collect();
        found.sort_by(|a, b| search::compare(&query.sort, a, b));
        let start = match &query.page {
            None => 0,
            Some(last) => {
                let place = found.iter().position(|run| run.id == *last);
                place.ok_or_else(|| {
                    TrackError::Invalid(format!(
                        "page `{last}` does not exist any more; start from the first page"
                    ))
                })? + 1
            }
        };
        let limit = query.limit.unwrap_or(PAGE).max(1);
        let page = &found[start..found.len().min(start.saturating_add(limit))];
        let more = start + page.len() < found.len();
        Ok(RunPage {
            next: page.last().filter(|_| more).map(|run| run.id.clone()),
            runs: page.iter().map(|run| self.view(run)).collect(),
            total: found.len(),
        })
    }

    /// Runs side by side.
    ///
    /// # Errors
    /// [`TrackError::NotFound`].
    pub fn compare(&self, ids: &[&str]) -> Result<Comparison, TrackError> {
        let runs: Result<Vec<Run>, _> = ids.iter().map(|id| self.find_run(id)).collect();
        Ok(Comparison::of(runs?))
    }

    pub(super) fn stored(&self, id: &str) -> Result<Arc<Run>, TrackError> {
        let run = self.inner.runs.read().get(id).cloned();
        run.ok_or_else(|| unknown(id))
    }

    /// Like `stored`, without touching the run.
    fn known(&self, id: &str) -> Result<(), TrackError> {
        if self.inner.runs.read().contains_key(id) {
            Ok(())
        } else {
            Err(unknown(id))
        }
    }

    /// The run as the outside sees it: with the points that are not flushed yet.
    fn view(&self, run: &Run) -> Run {
        let mut out = run.clone();
        if let Some(summaries) = self.inner.metrics.live_summaries(&run.id) {
            out.metrics = summaries;
        }
        out
    }

    fn runs_table(&self) -> JsonTable<Run> {
        self.inner.store.json(RUNS)
    }

    /// Sends a run to the disk and shows it in memory. Call with `changes` locked.
    fn submit(&self, run: Run) -> Result<PendingCommit, TrackError> {
        let mut transaction = Transaction::new();
        let stored = Run {
            // Kept elsewhere: they change every second while a run runs.
            metrics: BTreeMap::new(),
            progress: None,
            ..run.clone()
        };
        self.runs_table()
            .add_put(&mut transaction, &run.id, &stored)?;
        let pending = self.inner.store.submit(transaction)?;
        let mut runs = self.inner.runs.write();
        let mut run = run;
        // A flush may have brought newer metrics since the run was read.
        if let Some(shown) = runs.get(&run.id) {
            run.metrics.clone_from(&shown.metrics);
        }
        runs.insert(run.id.clone(), Arc::new(run));
        Ok(pending)
    }

    /// Waits for a change; when it was refused, memory goes back to what is on disk.
    fn settle(&self, id: &str, pending: PendingCommit) -> Result<(), TrackError> {
        let Err(error) = pending.wait() else {
            return Ok(());
        };
        let _changes = self.inner.changes.lock();
        match self.runs_table().get(id) {
            Ok(Some(mut run)) => {
                let mut runs = self.inner.runs.write();
                if let Some(shown) = runs.get(id) {
                    run.metrics.clone_from(&shown.metrics);
                    run.progress.clone_from(&shown.progress);
                }
                runs.insert(id.to_owned(), Arc::new(run));
            }
            Ok(None) => {
                self.inner.runs.write().remove(id);
            }
            Err(again) => tracing::error!(run = id, %again, "cannot read a run back"),
        }
        Err(error.into())
    }
}

fn unknown(id: &str) -> TrackError {
    TrackError::not_found("run", id, "list runs to see names and identifiers")
}

fn still_running(id: &str) -> TrackError {
    TrackError::Invalid(format!("run {id} is running; cancel it first"))
}
