//! `Tracker`: the one door to experiments, runs, metrics and models.

mod experiments;
mod lineage;
mod models;
mod runs;

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use tenon_store::{JsonTable, Store, StoreError, Transaction};

use crate::error::TrackError;
use crate::experiment::Experiment;
use crate::id::Ids;
use crate::metrics::{Buffers, MetricSummary, SUMMARIES};
use crate::run::{Run, RunStatus};

const EXPERIMENTS: &str = "experiments";
const RUNS: &str = "runs";
const MODELS: &str = "models";
const VERSIONS: &str = "model-versions";

/// How long a metric point may stay in memory only.
const FLUSH_EVERY: Duration = Duration::from_millis(900);

type Runs = BTreeMap<String, Arc<Run>>;

/// Experiments, runs, metrics, registered models and lineage of a data folder. Cheap to clone. One
/// for each open [`Store`]: it keeps runs in memory and takes every change itself.
#[derive(Clone)]
pub struct Tracker {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Tracker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracker")
            .field("root", &self.inner.store.root())
            .finish_non_exhaustive()
    }
}

struct Inner {
    store: Store,
    ids: Ids,
    /// Every run, as on disk or on its way there; metrics as of the last flush.
    runs: RwLock<Runs>,
    experiments: RwLock<BTreeMap<String, Arc<Experiment>>>,
    /// Changes of runs, experiments and models are decided one after the other.
    changes: Mutex<()>,
    metrics: Buffers,
    flusher: Mutex<Option<Flusher>>,
}

struct Flusher {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Tracker {
    /// Loads everything tracked in a data folder. Runs that were running when the last process died
    /// become interrupted.
    ///
    /// # Errors
    /// When records cannot be read or the interrupted runs cannot be written.
    pub fn open(store: &Store) -> Result<Self, TrackError> {
        let summaries: JsonTable<BTreeMap<String, MetricSummary>> = store.json(SUMMARIES);
        let mut metrics: BTreeMap<String, _> = summaries.list()?.into_iter().collect();
        let mut runs = Runs::new();
        let mut interrupted = Transaction::new();
        let table: JsonTable<Run> = store.json(RUNS);
        for (id, mut run) in table.list()? {
            if run.status == RunStatus::Running {
                run.status = RunStatus::Interrupted;
                run.ended = Some(Timestamp::now());
                run.error = Some("the process ended while the run was running".to_owned());
                table.add_put(&mut interrupted, &id, &run)?;
            }
            run.metrics = metrics.remove(&id).unwrap_or_default();
            runs.insert(id, Arc::new(run));
        }
        store.commit(interrupted)?;
        let experiments = store
            .json::<Experiment>(EXPERIMENTS)
            .list()?
            .into_iter()
            .map(|(id, experiment)| (id, Arc::new(experiment)))
            .collect();
        let inner = Arc::new(Inner {
            store: store.clone(),
            ids: Ids::default(),
            runs: RwLock::new(runs),
            experiments: RwLock::new(experiments),
            changes: Mutex::new(()),
            metrics: Buffers::new(store.clone()),
            flusher: Mutex::new(None),
        });
        *inner.flusher.lock() = Some(Flusher::start(Arc::downgrade(&inner), store)?);
        let tracker = Self { inner };
        tracker.ensure_experiment(crate::DEFAULT_EXPERIMENT)?;
        Ok(tracker)
    }

    /// The data folder.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Makes all metric points durable now.
    ///
    /// # Errors
    /// When they cannot be written; they stay in memory and are tried again.
    pub fn flush(&self) -> Result<(), TrackError> {
        self.inner.flush()
    }
}

impl Inner {
    fn flush(&self) -> Result<(), TrackError> {
        for (run, summaries) in self.metrics.flush_all()? {
            self.remember_metrics(&run, summaries);
        }
        Ok(())
    }

    /// Puts new summaries into the run in memory.
    fn remember_metrics(&self, run: &str, summaries: BTreeMap<String, MetricSummary>) {
        if let Some(run) = self.runs.write().get_mut(run) {
            Arc::make_mut(run).metrics = summaries;
        }
    }
}

impl Flusher {
    fn start(inner: Weak<Inner>, store: &Store) -> Result<Self, TrackError> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("tenon-metrics".to_owned())
            .spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(FLUSH_EVERY) {
                    let Some(inner) = inner.upgrade() else { break };
                    if let Err(error) = inner.flush() {
                        tracing::warn!(%error, "metrics stay in memory, trying again");
                    }
                }
            })
            .map_err(|error| {
                StoreError::InvalidArgument(format!(
                    "cannot start the metrics thread of {}: {error}",
                    store.root().display()
                ))
            })?;
        Ok(Self { stop, thread })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(Flusher { stop, thread }) = self.flusher.lock().take() {
            drop(stop);
            // The last owner may be the flusher itself, which cannot wait for itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
        if let Err(error) = self.flush() {
            tracing::error!(%error, "the last metric points are lost");
        }
    }
}

/// Names of experiments, models and aliases.
fn check_name(what: &str, name: &str) -> Result<(), TrackError> {
    let fine = (1..=200).contains(&name.len())
        && name.trim() == name
        && !name.chars().any(|c| c.is_control() || c == '@');
    if fine {
        Ok(())
    } else {
        Err(TrackError::Invalid(format!(
            "`{}` is not a name for {what}: 1 to 200 bytes without `@`, control characters or \
             spaces at the ends",
            name.escape_debug()
        )))
    }
}
