//! What can go wrong between a client and a deployment.

use std::sync::Arc;

use tenon_data::DataError;
use tenon_model::ModelError;
use tenon_plugin::{Failure, PluginError, Report};
use tenon_registry::RegistryError;
use tenon_store::StoreError;
use tenon_track::TrackError;

/// The result of this crate.
pub type Result<T> = std::result::Result<T, ServeError>;

/// Why a deployment could not be made or a request not be answered. Cheap to clone: requests that
/// share a step share its failure.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// No deployment of that name.
    #[error("there is no deployment `{name}`; {hint}")]
    NotFound {
        /// What was asked for.
        name: String,
        /// What there is, or what to do.
        hint: String,
    },
    /// A specification or request that cannot be served as it is.
    #[error("{0}")]
    Invalid(String),
    /// As many requests as the deployment takes are being served or are waiting.
    #[error(
        "deployment `{name}` is busy: it has {limit} requests, as many as it takes; try again later, or \
         deploy it with a longer `queue`"
    )]
    Busy {
        /// The deployment.
        name: String,
        /// Requests that it takes at a time.
        limit: usize,
    },
    /// The deployment's model or processor could not be loaded.
    #[error("deployment `{name}` is not loaded: {reason}")]
    NotLoaded {
        /// The deployment.
        name: String,
        /// Why.
        reason: Arc<ServeError>,
    },
    /// The platform is shutting down.
    #[error("deployment `{name}` takes no more requests: it is shutting down")]
    Closed {
        /// The deployment.
        name: String,
    },
    /// The processor failed, or refused the request.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The model failed, or the constraint in a step of it.
    #[error(transparent)]
    Model(Arc<ModelError>),
    /// The request's columns do not fit the recipe.
    #[error(transparent)]
    Data(Arc<DataError>),
    /// A plugin that is not installed.
    #[error(transparent)]
    Registry(Arc<RegistryError>),
    /// A model that is not registered.
    #[error(transparent)]
    Track(#[from] TrackError),
    /// The data folder failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something that the host itself got wrong.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<ModelError> for ServeError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Plugin(error) => Self::Plugin(error),
            ModelError::Data(error) => error.into(),
            ModelError::Store(error) => Self::Store(error),
            ModelError::Track(error) => Self::Track(error),
            ModelError::Registry(error) => error.into(),
            ModelError::Invalid(text) => Self::Invalid(text),
            other => Self::Model(Arc::new(other)),
        }
    }
}

impl From<DataError> for ServeError {
    fn from(error: DataError) -> Self {
        Self::Data(Arc::new(error))
    }
}

impl From<RegistryError> for ServeError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Plugin(error) => Self::Plugin(error),
            RegistryError::Store(error) => Self::Store(error),
            other => Self::Registry(Arc::new(other)),
        }
    }
}

impl ServeError {
    /// A stable word for the kind of failure, for logs and API answers.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not-found",
            Self::Invalid(_) => "invalid",
            Self::Busy { .. } => "busy",
            Self::NotLoaded { .. } => "not-loaded",
            Self::Closed { .. } => "closed",
            Self::Plugin(error) => error.kind(),
            Self::Model(_) => "model",
            Self::Data(error) if error.is_not_found() => "not-found",
            Self::Data(error) if error.is_callers_fault() => "invalid",
            Self::Data(_) => "data",
            Self::Registry(error) => match error.as_ref() {
                RegistryError::NotFound { .. } => "not-found",
                _ => "invalid",
            },
            Self::Track(error) if error.is_not_found() => "not-found",
            Self::Track(TrackError::Invalid(_)) => "invalid",
            Self::Track(_) => "tracking",
            Self::Store(_) => "store",
            Self::Internal(_) => "internal",
        }
    }

    /// The plugin's failure, where a plugin is what failed.
    pub fn plugin(&self) -> Option<&PluginError> {
        match self {
            Self::Plugin(error) => Some(error),
            Self::NotLoaded { reason, .. } => reason.plugin(),
            Self::Data(error) => match error.as_ref() {
                DataError::Plugin { source, .. } => Some(source),
                _ => None,
            },
            _ => None,
        }
    }

    /// Plugin, phase, message, hint and backtrace, where a plugin is what failed.
    pub fn report(&self) -> Option<&Report> {
        self.plugin().map(PluginError::report)
    }

    /// The remedy, where there is one apart from the sentence.
    pub fn hint(&self) -> Option<&str> {
        self.plugin().and_then(PluginError::hint)
    }

    /// Whether the client can correct this by asking differently: a processor that refuses a request
    /// as invalid speaks to the client.
    pub fn is_callers_fault(&self) -> bool {
        match self {
            Self::NotFound { .. } | Self::Invalid(_) => true,
            Self::Plugin(PluginError::Config(_) | PluginError::NotGranted(_)) => true,
            Self::Plugin(PluginError::Guest { failure, report }) => {
                matches!(
                    failure,
                    Failure::InvalidArgument(_) | Failure::NotGranted(_)
                ) && matches!(report.phase.as_str(), "preprocess" | "open")
            }
            Self::Data(error) => error.is_callers_fault(),
            Self::Registry(error) => !matches!(error.as_ref(), RegistryError::Store(_)),
            Self::Track(error) => error.is_not_found() || matches!(error, TrackError::Invalid(_)),
            _ => false,
        }
    }
}
