//! What can go wrong with a job.

use tenon_data::DataError;
use tenon_model::ModelError;
use tenon_plugin::PluginError;
use tenon_registry::RegistryError;
use tenon_store::StoreError;
use tenon_tensor::TensorError;
use tenon_track::TrackError;

/// The result of this crate.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;

/// Why a job could not be started, or did not finish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A specification that cannot be meant; the sentence names the setting.
    #[error("{0}")]
    Invalid(String),
    /// The run is not in a state in which this can be done.
    #[error("{0}")]
    Conflict(String),
    /// The process is about to end.
    #[error("no new jobs are taken: the process is shutting down")]
    ShuttingDown,
    /// The recipe or the host failed in the middle of training.
    #[error("step {step}: {source}")]
    Step {
        /// The step that was being computed, from 1.
        step: u64,
        /// What failed.
        source: Box<TrainError>,
    },
    /// A number that is none. The parameters were not changed by it.
    #[error("{what} is {value}{}{HINT}", named(operation))]
    NonFinite {
        /// `the loss`, `the gradient's norm`.
        what: &'static str,
        /// NaN or an infinity.
        value: f64,
        /// The first operation that gave one, where it could be found.
        operation: Option<String>,
    },
    /// The job was asked to stop.
    #[error("stopped")]
    Stopped,
    /// A plugin failed.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A tensor operation of the host failed.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A dataset or tokenizer is not there or does not fit.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The data folder failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A run or registered model is not there, or could not be written.
    #[error(transparent)]
    Track(#[from] TrackError),
    /// A plugin is not installed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A model does not load.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A checkpoint could not be written or read.
    #[error("{path}: {reason}")]
    Checkpoint {
        /// The file or folder.
        path: String,
        /// The reason, and what can be done.
        reason: String,
    },
    /// The host itself failed.
    #[error("internal error: {0}")]
    Internal(String),
}

const HINT: &str =
    "\nhint: lower the learning rate, lengthen the warm-up, or clip gradients (`clip_norm`)";

fn named(operation: &Option<String>) -> String {
    match operation {
        Some(operation) => format!("; {operation} was the first to give one"),
        None => String::new(),
    }
}

impl TrainError {
    /// A setting and what is wrong with it.
    pub(crate) fn setting(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::Invalid(format!("`{name}` {reason}"))
    }

    /// The same error at a step of a training.
    pub(crate) fn at_step(self, step: u64) -> Self {
        match self {
            Self::Step { .. } | Self::Stopped => self,
            other => Self::Step {
                step,
                source: Box::new(other),
            },
        }
    }

    /// The plugin's error, where a plugin failed: its phase, hint and backtrace.
    #[must_use]
    pub fn plugin(&self) -> Option<&PluginError> {
        match self {
            Self::Plugin(error)
            | Self::Registry(RegistryError::Plugin(error))
            | Self::Model(
                ModelError::Plugin(error) | ModelError::Registry(RegistryError::Plugin(error)),
            ) => Some(error),
            Self::Data(DataError::Plugin { source, .. })
            | Self::Model(ModelError::Data(DataError::Plugin { source, .. })) => Some(source),
            Self::Step { source, .. } => source.plugin(),
            _ => None,
        }
    }

    /// Whether something that was named does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Data(error) | Self::Model(ModelError::Data(error)) => error.is_not_found(),
            Self::Track(error) | Self::Model(ModelError::Track(error)) => error.is_not_found(),
            Self::Registry(error) | Self::Model(ModelError::Registry(error)) => {
                error.is_not_found()
            }
            _ => false,
        }
    }

    /// Whether the caller can correct this by asking differently.
    #[must_use]
    pub fn is_callers_fault(&self) -> bool {
        if self.is_not_found() {
            return true;
        }
        match self {
            Self::Invalid(_) | Self::Conflict(_) => true,
            Self::Data(error) | Self::Model(ModelError::Data(error)) => error.is_callers_fault(),
            Self::Track(error) | Self::Model(ModelError::Track(error)) => matches!(
                error,
                TrackError::Invalid(_) | TrackError::AlreadyExists { .. }
            ),
            Self::Registry(error) | Self::Model(ModelError::Registry(error)) => matches!(
                error,
                RegistryError::Ambiguous { .. } | RegistryError::InvalidSpec { .. }
            ),
            Self::Model(ModelError::Invalid(_)) => true,
            Self::Plugin(error) | Self::Model(ModelError::Plugin(error)) => matches!(
                error,
                PluginError::Config(_)
                    | PluginError::WrongWorld(_)
                    | PluginError::NotGranted(_)
                    | PluginError::Guest { .. }
            ),
            Self::Tensor(error) => matches!(error, TensorError::InvalidArgument(_)),
            _ => false,
        }
    }

    /// Whether this is the answer to a request to stop.
    pub(crate) fn is_stop(&self) -> bool {
        match self {
            Self::Stopped | Self::Data(DataError::Cancelled) => true,
            Self::Model(error) => error.is_cancelled(),
            Self::Step { source, .. } => source.is_stop(),
            _ => false,
        }
    }
}
