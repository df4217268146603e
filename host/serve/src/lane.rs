//! One deployment: its state, who may enter, and the thread behind it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tenon_model::Platform;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::{
    Deployment, DeploymentState, Result, ServeError,
    load::{self, Loaded},
    meter::{Meter, count},
    record::Record,
    scheduler::{Command, Scheduler},
    service::Service,
};

/// One deployment.
pub(crate) struct Lane {
    pub(crate) record: Record,
    platform: Platform,
    threads: Arc<Threads>,
    phase: Arc<watch::Sender<Phase>>,
    /// Whether somebody loads it or has loaded it.
    claimed: AtomicBool,
    permits: Arc<Semaphore>,
    meter: Arc<Meter>,
}

#[derive(Clone)]
enum Phase {
    /// Not loaded; the first request loads it.
    Idle,
    Loading,
    Ready(Arc<Service>),
    Failed(Arc<ServeError>),
}

impl Lane {
    /// A deployment that is not loaded. `soon`: somebody is about to.
    pub(crate) fn new(
        record: Record,
        platform: &Platform,
        threads: &Arc<Threads>,
        soon: bool,
    ) -> Arc<Self> {
        let phase = if soon { Phase::Loading } else { Phase::Idle };
        let limit = record.spec.max_batch + record.spec.queue;
        Arc::new(Self {
            record,
            platform: platform.clone(),
            threads: threads.clone(),
            phase: Arc::new(watch::Sender::new(phase)),
            claimed: AtomicBool::new(false),
            permits: Arc::new(Semaphore::new(limit)),
            meter: Arc::default(),
        })
    }

    fn name(&self) -> &str {
        &self.record.spec.name
    }

    /// Loads it, unless somebody does or did.
    pub(crate) fn load(&self) {
        if self.claimed.swap(true, Relaxed) {
            return;
        }
        self.phase.send_replace(Phase::Loading);
        // A component or a file can do what nobody has thought of; the state must not stay `loading`.
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            load::load(&self.platform, &self.record)
        }))
        .unwrap_or_else(|panic| Err(ServeError::Internal(panicked(&*panic))));
        if let Err(error) = loaded.and_then(|loaded| self.serve(loaded)) {
            tracing::warn!(deployment = self.name(), %error, "not loaded");
            self.phase.send_replace(Phase::Failed(Arc::new(error)));
        }
    }

    /// Starts the thread of a model that is loaded.
    pub(crate) fn serve(&self, loaded: Loaded) -> Result<()> {
        self.claimed.store(true, Relaxed);
        let (commands, inbox) = mpsc::channel();
        let service = Arc::new(Service {
            name: self.name().to_owned(),
            commands,
            signature: loaded.model.signature().clone(),
            tokenizer: loaded.model.tokenizer().cloned(),
            processor: loaded.processor,
            settings: self.record.spec.settings(),
            has_seed: self.record.spec.generation.seed.is_some(),
            max_batch: self.record.spec.max_batch,
            random: std::hash::RandomState::new(),
            next: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        });
        let abort = Arc::new(AtomicBool::new(false));
        let scheduler = Scheduler {
            name: self.name().to_owned(),
            model: loaded.model,
            constraint: loaded.constraint,
            max_batch: self.record.spec.max_batch,
            inbox,
            meter: self.meter.clone(),
            abort: abort.clone(),
        };
        // Weak: a thread must not keep its own deployment alive.
        let phase = Arc::downgrade(&self.phase);
        let name = self.name().to_owned();
        let handle = std::thread::Builder::new()
            .name(format!("serve {name}"))
            .spawn(move || {
                let name = scheduler.name.clone();
                let ended = catch_unwind(AssertUnwindSafe(move || scheduler.run()));
                if let (Err(panic), Some(phase)) = (ended, phase.upgrade()) {
                    let error = ServeError::Internal(panicked(&*panic));
                    tracing::error!(deployment = name, %error, "its thread has ended");
                    phase.send_replace(Phase::Failed(Arc::new(error)));
                }
            })
            .map_err(|error| ServeError::Internal(format!("no thread can be started: {error}")))?;
        let thread = Thread {
            handle,
            service: Arc::downgrade(&service),
            abort,
        };
        if self.threads.add(thread).is_err() {
            // The thread ends when the service is dropped here.
            return Err(ServeError::Closed { name });
        }
        self.phase.send_replace(Phase::Ready(service));
        Ok(())
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// [`ServeError::Busy`].
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Arc<Ticket>> {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            count(&self.meter.refused);
            return Err(ServeError::Busy {
                name: self.name().to_owned(),
                limit: self.record.spec.max_batch + self.record.spec.queue,
            });
        };
        count(&self.meter.requests);
        count(&self.meter.in_flight);
        Ok(Arc::new(Ticket {
            meter: self.meter.clone(),
            _permit: permit,
            start: Instant::now(),
            outcome: AtomicU8::new(GONE),
        }))
    }

    /// The loaded deployment; waits while it is being loaded.
    ///
    /// # Errors
    /// [`ServeError::NotLoaded`].
    pub(crate) async fn service(self: &Arc<Self>) -> Result<Arc<Service>> {
        if !self.claimed.load(Relaxed) {
            let lane = self.clone();
            tokio::task::spawn_blocking(move || lane.load());
        }
        let mut phase = self.phase.subscribe();
        let settled = phase
            .wait_for(|phase| matches!(phase, Phase::Ready(_) | Phase::Failed(_)))
            .await;
        match settled.as_deref() {
            Ok(Phase::Ready(service)) => Ok(service.clone()),
            Ok(Phase::Failed(reason)) => Err(ServeError::NotLoaded {
                name: self.name().to_owned(),
                reason: reason.clone(),
            }),
            // The lane holds the sender.
            Ok(Phase::Idle | Phase::Loading) | Err(_) => {
                Err(ServeError::Internal("a deployment's state is lost".into()))
            }
        }
    }

    /// As others see it.
    pub(crate) fn describe(&self) -> Deployment {
        let record = &self.record;
        let (state, reason) = match &*self.phase.borrow() {
            Phase::Idle => (DeploymentState::Idle, None),
            Phase::Loading => (DeploymentState::Loading, None),
            Phase::Ready(_) => (DeploymentState::Ready, None),
            Phase::Failed(reason) => (DeploymentState::Failed, Some(reason.to_string())),
        };
        Deployment {
            name: self.name().to_owned(),
            model: record.model.clone(),
            model_digest: record.manifest.digest(),
            recipe: record.manifest.recipe.clone(),
            processor: record.processor.clone(),
            spec: record.spec.clone(),
            state,
            reason,
            created: record.created,
            updated: record.updated,
            counters: self.meter.read(),
        }
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a bug: {}", text.unwrap_or("it gave no message"))
}

/// What became of a request: its client went away, it was answered, it failed.
const GONE: u8 = 0;
const ANSWERED: u8 = 1;
const FAILED: u8 = 2;

/// A request that is being served. It counts until its client and the thread have let go of it.
pub(crate) struct Ticket {
    meter: Arc<Meter>,
    _permit: OwnedSemaphorePermit,
    start: Instant,
    outcome: AtomicU8,
}

impl Ticket {
    /// The client has its whole answer.
    pub(crate) fn answered(&self) {
        if self.outcome.swap(ANSWERED, Relaxed) == GONE {
            self.meter.took(self.start.elapsed());
        }
    }

    /// The client has an error.
    pub(crate) fn failed(&self) {
        self.outcome.store(FAILED, Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        match *self.outcome.get_mut() {
            GONE => count(&self.meter.cancelled),
            FAILED => count(&self.meter.errors),
            _ => {}
        }
        self.meter.in_flight.fetch_sub(1, Relaxed);
    }
}

/// The threads of all deployments, those that were replaced included.
#[derive(Default)]
pub(crate) struct Threads(Mutex<State>);

#[derive(Default)]
struct State {
    running: Vec<Thread>,
    /// No more threads are started.
    closed: bool,
}

struct Thread {
    handle: JoinHandle<()>,
    /// Weak: a thread ends when its clients are gone.
    service: Weak<Service>,
    abort: Arc<AtomicBool>,
}

impl Threads {
    /// Whether the platform shuts down.
    pub(crate) fn are_closed(&self) -> bool {
        self.0.lock().closed
    }

    /// Takes a thread in; hands it back when the platform shuts down.
    fn add(&self, thread: Thread) -> std::result::Result<(), Thread> {
        let mut state = self.0.lock();
        if state.closed {
            return Err(thread);
        }
        state.running.retain(|thread| !thread.handle.is_finished());
        state.running.push(thread);
        Ok(())
    }

    /// Lets all threads finish what they have begun, at most for `grace`; then they drop it.
    pub(crate) fn finish(&self, grace: Duration) {
        let threads = {
            let mut state = self.0.lock();
            state.closed = true;
            std::mem::take(&mut state.running)
        };
        for thread in &threads {
            if let Some(service) = thread.service.upgrade() {
                service.closing.store(true, Relaxed);
                // One that has ended needs no word.
                let _ = service.send(Command::Finish);
            }
        }
        let deadline = Instant::now() + grace;
        let running = |threads: &[Thread]| threads.iter().any(|t| !t.handle.is_finished());
        while running(&threads) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        for thread in threads {
            thread.abort.store(true, Relaxed);
            let _ = thread.handle.join();
        }
    }
}
