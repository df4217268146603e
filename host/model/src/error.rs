//! What can go wrong with a model.

use tenon_data::DataError;
use tenon_hub::HubError;
use tenon_plugin::PluginError;
use tenon_registry::RegistryError;
use tenon_store::StoreError;
use tenon_tensor::TensorError;
use tenon_track::TrackError;

/// The result of this crate.
pub type Result<T> = std::result::Result<T, ModelError>;

/// Why a model could not be opened or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The recipe or a constraint failed.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A tensor operation of the host failed.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Rows or text do not fit the recipe.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A blob could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A run or registered model is not there.
    #[error(transparent)]
    Track(#[from] TrackError),
    /// The recipe is not installed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A pre-trained model could not be read, does not fit, or could not be downloaded.
    #[error(transparent)]
    Hub(Box<HubError>),
    /// The recipe's outputs are not what its signature promises.
    #[error("recipe `{plugin}`: {message}")]
    Contract {
        /// The recipe.
        plugin: String,
        /// What is missing or wrong.
        message: String,
    },
    /// The constraint's answer cannot be used.
    #[error("constraint: {0}")]
    Constraint(String),
    /// A request that cannot be served by this model.
    #[error("{0}")]
    Invalid(String),
}

impl ModelError {
    /// Whether this is the answer to a request to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Data(error) => matches!(error, DataError::Cancelled),
            Self::Hub(error) => matches!(**error, HubError::Cancelled),
            _ => false,
        }
    }
}
