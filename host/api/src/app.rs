//! A data folder with everything that works on it.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use tenon_model::{Platform, PlatformOptions};
use tenon_serve::Deployments;
use tenon_train::Jobs;
use tokio::sync::watch;

use crate::error::{ApiError, Result};
use crate::metrics::Metrics;

/// A data folder with everything that works on it: what is stored, the jobs, the deployments. Clones
/// share it; the folder is closed with the last of them.
#[derive(Clone)]
pub struct App {
    /// What is stored.
    pub platform: Platform,
    /// Whatever takes time.
    pub jobs: Jobs,
    /// Served models.
    pub deployments: Deployments,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) started: Timestamp,
    /// True once the process is about to end: streams that would go on for ever end.
    closing: watch::Sender<bool>,
}

impl App {
    /// Opens a data folder, or makes a new one where there is none. Returns at once: devices are looked
    /// for when they are needed, and deployments load in the background.
    ///
    /// # Errors
    /// A folder that another process has open, that is damaged or of a newer version.
    pub fn open(root: &Path, options: PlatformOptions) -> Result<Self> {
        let platform = Platform::open(root, options)?;
        let deployments = Deployments::open(platform.clone())?;
        Ok(Self::new(platform, deployments))
    }

    /// As [`App::open`], but a deployment is loaded by its first request: for a process that lives for
    /// one command.
    ///
    /// # Errors
    /// As [`App::open`].
    pub fn open_idle(root: &Path, options: PlatformOptions) -> Result<Self> {
        let platform = Platform::open(root, options)?;
        let deployments = Deployments::open_idle(platform.clone())?;
        Ok(Self::new(platform, deployments))
    }

    fn new(platform: Platform, deployments: Deployments) -> Self {
        Self {
            jobs: Jobs::open(platform.clone()),
            deployments,
            platform,
            metrics: Arc::default(),
            started: Timestamp::now(),
            closing: watch::Sender::new(false),
        }
    }

    /// Stops the jobs (training writes a checkpoint) and waits for them, ends the streams that follow
    /// runs, lets deployments finish what they have begun, and makes metrics durable. Blocks. The folder
    /// itself is closed when the last clone is dropped.
    ///
    /// # Errors
    /// When the last metric points cannot be written.
    pub fn close(&self) -> Result<()> {
        self.jobs.shutdown();
        self.closing.send_replace(true);
        self.deployments.shutdown();
        Ok(self.platform.tracker.flush()?)
    }

    /// Tells when the process is about to end.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("platform", &self.platform)
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}

/// Does what blocks on a thread for that.
///
/// # Errors
/// What the work returns; a panic of it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!(%error, "a request's work ended without an answer");
            Err(ApiError::internal(
                "the request failed inside the server; its log says more",
            ))
        }
    }
}
