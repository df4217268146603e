//! What can go wrong with data.

use crate::import::BadRows;

/// A failure of this crate. The sentence names the thing, the reason and, where there is one, the
/// remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// No dataset, version, split, column or tokenizer of that name.
    #[error("{0}")]
    NotFound(String),
    /// An argument outside what is documented (a name, an option, a layout that cannot be filled).
    #[error("{0}")]
    Invalid(String),
    /// Rows that do not fit the schema; nothing was stored.
    #[error("{0}")]
    BadRows(Box<BadRows>),
    /// The values of a dataset do not fit what was asked of them.
    #[error("{0}")]
    Values(String),
    /// A plugin failed; the sentence names the step and the rows.
    #[error("{context}: {source}")]
    Plugin {
        /// The step, the plugin and the rows that it was given.
        context: String,
        /// What the plugin host says.
        #[source]
        source: Box<tenon_plugin::PluginError>,
    },
    /// A plugin broke the contract of its interface.
    #[error("{0}")]
    Contract(String),
    /// A tokenizer could not be read, trained or applied.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] tenon_store::StoreError),
    /// A file or a stream could not be read or written.
    #[error("{context}: {source}")]
    Io {
        /// What was being read or written.
        context: String,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// Arrow or Parquet refused.
    #[error("{context}: {message}")]
    Table {
        /// What was being read or written.
        context: String,
        /// The library's words.
        message: String,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// Something that the host itself got wrong.
    #[error("internal error: {0}")]
    Internal(String),
}

/// The result of this crate's functions.
pub type Result<T, E = DataError> = std::result::Result<T, E>;

impl DataError {
    pub(crate) fn io(context: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let context = context.into();
        move |source| Self::Io { context, source }
    }

    pub(crate) fn table<E: std::fmt::Display>(
        context: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let context = context.into();
        move |error| Self::Table {
            context,
            message: error.to_string(),
        }
    }

    /// Whether the caller named something that does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }

    /// Whether the caller can correct this by asking differently.
    pub fn is_callers_fault(&self) -> bool {
        matches!(
            self,
            Self::NotFound(_)
                | Self::Invalid(_)
                | Self::BadRows(_)
                | Self::Values(_)
                | Self::Tokenizer(_)
        )
    }
}
