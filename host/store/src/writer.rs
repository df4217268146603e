//! The one writer: takes the transactions that wait, applies them as one group, answers each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::error::StoreError;
use crate::options::State;
use crate::records::{Records, RecordsError};
use crate::space::Space;
use crate::transaction::Transaction;

/// A group is closed at this many transactions …
const GROUP: usize = 1024;
/// … or this many bytes, so that one fsync does not keep the first in line waiting too long.
const GROUP_BYTES: u64 = 32 << 20;
/// What a commit may write besides the values: the tree pages above them, both copies.
const OVERHEAD: u64 = 256 << 10;

type Outcome = Result<(), StoreError>;

struct Job {
    transaction: Transaction,
    reply: SyncSender<Outcome>,
}

/// A transaction on its way to the disk.
#[must_use = "a commit is durable only when `wait` returned Ok"]
pub struct PendingCommit {
    reply: Receiver<Outcome>,
}

impl PendingCommit {
    /// Blocks until the transaction is durable or refused.
    ///
    /// # Errors
    /// As [`crate::Store::commit`].
    pub fn wait(self) -> Result<(), StoreError> {
        self.reply.recv().unwrap_or_else(|_| Err(stopped()))
    }
}

fn stopped() -> StoreError {
    StoreError::ReadOnly {
        reason: "the writer has stopped".to_owned(),
    }
}

pub struct Writer {
    queue: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

pub struct Context {
    pub root: std::path::PathBuf,
    pub records: Arc<dyn Records>,
    pub space: Arc<Space>,
    pub state: Arc<Mutex<State>>,
    pub stats: Arc<Stats>,
}

/// Counts since the store was opened.
#[derive(Debug, Default)]
pub struct Stats {
    pub transactions: AtomicU64,
    pub groups: AtomicU64,
}

impl Writer {
    pub fn start(context: Context) -> Result<Self, StoreError> {
        let (queue, jobs) = channel();
        let root = context.root.clone();
        let thread = std::thread::Builder::new()
            .name("tenon-writer".to_owned())
            .spawn(move || run(&context, &jobs))
            .map_err(|e| StoreError::io("start the writer of", root, e))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    pub fn submit(&self, transaction: Transaction) -> Result<PendingCommit, StoreError> {
        let (reply, outcome) = sync_channel(1);
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue
            .send(Job { transaction, reply })
            .map_err(|_| stopped())?;
        Ok(PendingCommit { reply: outcome })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Closing the queue ends the thread after the jobs in it.
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(context: &Context, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut bytes = first.transaction.bytes();
        let mut group = vec![first];
        while group.len() < GROUP && bytes < GROUP_BYTES {
            let Ok(next) = jobs.try_recv() else { break };
            bytes += next.transaction.bytes();
            group.push(next);
        }
        commit(context, group);
    }
}

fn commit(context: &Context, group: Vec<Job>) {
    if let State::ReadOnly { reason } = &*context.state.lock() {
        for job in group {
            answer(
                &job,
                Err(StoreError::ReadOnly {
                    reason: reason.clone(),
                }),
            );
        }
        return;
    }
    let bytes: u64 = group.iter().map(|job| job.transaction.bytes()).sum();
    let room = context.space.admit(bytes.saturating_mul(2) + OVERHEAD);
    let mut accepted = Vec::with_capacity(group.len());
    match room {
        Ok(()) => {
            context.set_state(State::Writable);
            accepted = group;
        }
        Err(full) => {
            if let StoreError::DiskFull { free, needed, .. } = &full {
                context.set_state(State::DiskFull {
                    free: *free,
                    needed: *needed,
                });
            }
            for job in group {
                if job.transaction.only_deletes() {
                    accepted.push(job);
                } else {
                    answer(&job, Err(full.clone()));
                }
            }
            if accepted.is_empty() {
                return;
            }
            context.space.make_room();
        }
    }
    let transactions: Vec<&Transaction> = accepted.iter().map(|job| &job.transaction).collect();
    match context.records.apply(&transactions) {
        Ok(outcomes) => {
            let count = outcomes.len() as u64;
            context
                .stats
                .transactions
                .fetch_add(count, Ordering::Relaxed);
            context.stats.groups.fetch_add(1, Ordering::Relaxed);
            for (job, outcome) in accepted.iter().zip(outcomes) {
                answer(job, outcome.map_err(StoreError::from));
            }
        }
        Err(error) => {
            let error = fail(context, error);
            for job in &accepted {
                answer(job, Err(error.clone()));
            }
        }
    }
}

/// After a failed group: back to the last durable state. A full disk is survivable and said so;
/// after anything else nothing more is written, because what is on disk is not known.
fn fail(context: &Context, error: RecordsError) -> StoreError {
    let full = matches!(error, RecordsError::Full);
    if full {
        // Opening again may need a few bytes.
        context.space.release();
    }
    let reopened = context.records.reopen();
    let reason = match &reopened {
        Ok(()) => error.to_string(),
        Err(again) => format!("{error}; and opening the records again failed: {again}"),
    };
    if full && matches!(reopened, Ok(()) | Err(RecordsError::Full)) {
        let free = context.space.free();
        let needed = free.saturating_add(OVERHEAD);
        context.set_state(State::DiskFull { free, needed });
        return StoreError::DiskFull {
            root: context.root.clone(),
            free,
            needed,
        };
    }
    tracing::error!(root = %context.root.display(), %reason, "the store is read-only now");
    context.set_state(State::ReadOnly {
        reason: reason.clone(),
    });
    StoreError::ReadOnly { reason }
}

fn answer(job: &Job, outcome: Outcome) {
    // Nobody waits any more: fine.
    let _ = job.reply.send(outcome);
}

impl Context {
    fn set_state(&self, state: State) {
        let mut current = self.state.lock();
        if *current != state {
            *current = state;
        }
    }
}
