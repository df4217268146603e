//! Progress and cancellation of long work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{DataError, Result};

/// How often a callback is called at most.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// How far an import, a pipeline or a training of a tokenizer is.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Progress {
    /// What is being done, for people: "import", "tenon/filter", "encode".
    pub phase: String,
    /// Rows done.
    pub rows: u64,
    /// Rows in all, where that is known.
    pub total: Option<u64>,
    /// Rows a second since the phase began.
    pub rows_per_second: f64,
}

/// Called with the progress, at most five times a second and once at the end.
pub type OnProgress = Arc<dyn Fn(&Progress) + Send + Sync>;

/// The caller's side of long work: a switch that stops it and a callback that follows it. Clones
/// share the switch.
#[derive(Clone, Default)]
pub struct Control {
    cancelled: Arc<AtomicBool>,
    progress: Option<OnProgress>,
}

impl Control {
    /// Neither callback nor cancellation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `callback` as the work goes on.
    pub fn with_progress(mut self, callback: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(callback));
        self
    }

    /// Uses a switch that the caller already has: storing `true` cancels.
    pub fn with_cancel(mut self, switch: Arc<AtomicBool>) -> Self {
        self.cancelled = switch;
        self
    }

    /// Stops the work at its next batch; it then ends with [`DataError::Cancelled`].
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// An error once the work was cancelled.
    pub fn check(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(DataError::Cancelled);
        }
        Ok(())
    }

    /// A counter that reports through this control.
    pub(crate) fn meter(&self, phase: impl Into<String>, total: Option<u64>) -> Meter {
        Meter {
            control: self.clone(),
            phase: phase.into(),
            total,
            rows: AtomicU64::new(0),
            started: Instant::now(),
            reported: Mutex::new(Instant::now()),
        }
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("cancelled", &self.cancelled.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

/// Counts rows and reports them.
pub(crate) struct Meter {
    control: Control,
    phase: String,
    total: Option<u64>,
    rows: AtomicU64,
    started: Instant,
    reported: Mutex<Instant>,
}

impl Meter {
    /// Counts `rows` more, reports if it is time to, and fails once the work was cancelled.
    pub(crate) fn add(&self, rows: u64) -> Result<()> {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.control.check()?;
        if self.control.progress.is_some() {
            let mut reported = self.reported.lock();
            if reported.elapsed() >= REPORT_EVERY {
                *reported = Instant::now();
                drop(reported);
                self.report();
            }
        }
        Ok(())
    }

    /// Reports the final count.
    pub(crate) fn finish(&self) {
        self.report();
    }

    fn report(&self) {
        let Some(callback) = &self.control.progress else {
            return;
        };
        let rows = self.rows.load(Ordering::Relaxed);
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        callback(&Progress {
            phase: self.phase.clone(),
            rows,
            total: self.total,
            rows_per_second: rows as f64 / seconds,
        });
    }
}
