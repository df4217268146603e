//! Who runs when: lanes of a few places each, first come, first served.

use std::{
    any::Any,
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use parking_lot::{Condvar, Mutex};
use tenon_model::Platform;
use tenon_track::{RunKind, RunStatus};

use super::{job::Job, lines::Lines, stopped};
use crate::{Result, TrainError};

/// What a job does.
pub(super) type Work = Box<dyn FnOnce(&Job) -> Result<()> + Send>;

/// Jobs that take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Those that compute on the device, of which there is one.
    Device,
    /// All others. They read and write the disk and use the processor.
    Host,
}

impl Lane {
    fn places(self) -> usize {
        match self {
            Self::Device => 1,
            Self::Host => 4,
        }
    }
}

struct Waiting {
    run: String,
    work: Work,
}

struct Entry {
    kind: RunKind,
    lane: Lane,
    stop: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// Every job that has not ended.
    jobs: HashMap<String, Entry>,
    /// The jobs that have a thread.
    running: Vec<String>,
    closed: bool,
}

impl State {
    fn busy(&self, lane: Lane) -> usize {
        let lanes = self.running.iter().filter_map(|run| self.jobs.get(run));
        lanes.filter(|entry| entry.lane == lane).count()
    }

    /// The next job that has a place.
    fn next(&mut self) -> Option<(Waiting, Entry)> {
        let lane = |waiting: &Waiting| self.jobs.get(&waiting.run).map(|entry| entry.lane);
        let at = self
            .waiting
            .iter()
            .position(|waiting| lane(waiting).is_none_or(|lane| self.busy(lane) < lane.places()))?;
        let waiting = self.waiting.remove(at)?;
        let entry = self.jobs.get(&waiting.run)?;
        let entry = Entry {
            kind: entry.kind,
            lane: entry.lane,
            stop: entry.stop.clone(),
        };
        self.running.push(waiting.run.clone());
        Some((waiting, entry))
    }
}

struct Shared {
    platform: Platform,
    state: Mutex<State>,
    ended: Condvar,
    lines: Arc<Lines>,
}

/// The queue. Clones share it.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

impl Queue {
    pub(super) fn new(platform: &Platform) -> Self {
        Self(Arc::new(Shared {
            platform: platform.clone(),
            state: Mutex::default(),
            ended: Condvar::new(),
            lines: Arc::default(),
        }))
    }

    pub(super) fn lines(&self) -> &Lines {
        &self.0.lines
    }

    /// Refuses when the queue is closed.
    pub(super) fn admits(&self) -> Result<()> {
        match self.0.state.lock().closed {
            true => Err(TrainError::ShuttingDown),
            false => Ok(()),
        }
    }

    pub(super) fn has(&self, run: &str) -> bool {
        self.0.state.lock().jobs.contains_key(run)
    }

    /// Adds a job whose run is queued.
    pub(super) fn push(&self, run: &str, kind: RunKind, lane: Lane, work: Work) -> Result<()> {
        {
            let mut state = self.0.state.lock();
            if state.closed {
                drop(state);
                self.0.end(run, kind, Err(TrainError::Stopped));
                return Err(TrainError::ShuttingDown);
            }
            if state.jobs.contains_key(run) {
                return Err(TrainError::Conflict(format!("run {run} is queued already")));
            }
            let stop = Arc::default();
            state
                .jobs
                .insert(run.to_owned(), Entry { kind, lane, stop });
            state.waiting.push_back(Waiting {
                run: run.to_owned(),
                work,
            });
        }
        self.pump();
        Ok(())
    }

    /// Starts whatever has a place.
    fn pump(&self) {
        loop {
            let Some((waiting, entry)) = self.0.state.lock().next() else {
                return;
            };
            let (queue, run, kind) = (self.clone(), waiting.run.clone(), entry.kind);
            let name = format!("tenon-{}", kind.name());
            let started = thread::Builder::new().name(name).spawn(move || {
                let result = queue.0.perform(&waiting.run, &entry.stop, waiting.work);
                queue.0.end(&waiting.run, entry.kind, result);
                queue.left(&waiting.run);
            });
            if let Err(error) = started {
                let error =
                    TrainError::Internal(format!("a thread for it cannot be started: {error}"));
                self.0.end(&run, kind, Err(error));
                self.0.forget(&run);
            }
        }
    }

    /// A job has ended: its place is free.
    fn left(&self, run: &str) {
        self.0.forget(run);
        self.pump();
    }

    /// Asks a job to stop; false when there is no such job.
    pub(super) fn stop(&self, run: &str) -> bool {
        let mut state = self.0.state.lock();
        let Some(entry) = state.jobs.get(run) else {
            return false;
        };
        entry.stop.store(true, Ordering::Relaxed);
        let kind = entry.kind;
        let Some(at) = state.waiting.iter().position(|waiting| waiting.run == run) else {
            return true;
        };
        state.waiting.remove(at);
        drop(state);
        self.0.end(run, kind, Err(TrainError::Stopped));
        self.left(run);
        true
    }

    /// Waits for a job to end; false when there was none.
    pub(super) fn wait(&self, run: &str) -> bool {
        let mut state = self.0.state.lock();
        let found = state.jobs.contains_key(run);
        while state.jobs.contains_key(run) {
            self.0.ended.wait(&mut state);
        }
        found
    }

    /// Takes nothing more, stops everything and waits for it.
    pub(super) fn close(&self) {
        let runs: Vec<String> = {
            let mut state = self.0.state.lock();
            state.closed = true;
            // Before any of them makes room for another.
            for entry in state.jobs.values() {
                entry.stop.store(true, Ordering::Relaxed);
            }
            state.jobs.keys().cloned().collect()
        };
        for run in &runs {
            self.stop(run);
        }
        let mut state = self.0.state.lock();
        while !state.jobs.is_empty() {
            self.0.ended.wait(&mut state);
        }
    }
}

impl Shared {
    /// Does the work, whatever it does.
    fn perform(&self, run: &str, stop: &Arc<AtomicBool>, work: Work) -> Result<()> {
        let job = Job::new(run, &self.platform, stop, &self.lines);
        job.check()?;
        self.platform.tracker.start_run(run)?;
        catch_unwind(AssertUnwindSafe(|| work(&job))).unwrap_or_else(|panic| {
            Err(TrainError::Internal(format!(
                "the job panicked: {}; this is a bug in the host: report it",
                panic_text(&*panic)
            )))
        })
    }

    /// Records how a run has ended.
    fn end(&self, run: &str, kind: RunKind, result: Result<()>) {
        let (status, error) = match &result {
            Ok(()) => (RunStatus::Finished, None),
            Err(error) if error.is_stop() => {
                let (status, why) = stopped(kind);
                (status, Some(why.to_owned()))
            }
            Err(error) => (RunStatus::Failed, Some(error.to_string())),
        };
        if let (RunStatus::Failed, Some(error)) = (status, &error) {
            tracing::warn!(run, "{error}");
        }
        let ended = self.platform.tracker.end_run(run, status, error.as_deref());
        if let Err(error) = ended {
            tracing::error!(run, %error, "the end of a run could not be recorded");
        }
    }

    fn forget(&self, run: &str) {
        let mut state = self.state.lock();
        state.jobs.remove(run);
        state.running.retain(|running| running != run);
        drop(state);
        self.ended.notify_all();
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it gave no message")
}
