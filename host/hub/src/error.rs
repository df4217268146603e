//! What can go wrong with a pre-trained model and with a hub.

use std::io;
use std::path::{Path, PathBuf};

/// The result of this crate.
pub type Result<T, E = HubError> = std::result::Result<T, E>;

/// Why a model could not be read, written or downloaded. Every message names the thing and the reason;
/// a remedy follows after `\nhint: `.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A file is not what its name says, or says what cannot be.
    #[error("{file}: {reason}{}", hint(remedy.as_deref()))]
    File {
        /// Its name.
        file: String,
        /// What is wrong with it.
        reason: String,
        /// What can be done.
        remedy: Option<String>,
    },
    /// The files are no model.
    #[error("{reason}{}", hint(Some(remedy)))]
    NotAModel {
        /// What is missing.
        reason: String,
        /// What can be done.
        remedy: String,
    },
    /// Tensors and recipe do not fit.
    #[error("{reason}{}", hint(Some(remedy)))]
    Fit {
        /// Which tensors, and how.
        reason: String,
        /// What can be done.
        remedy: String,
    },
    /// A request that cannot be meant.
    #[error("{reason}{}", hint(Some(remedy)))]
    Invalid {
        /// What is wrong with it.
        reason: String,
        /// What can be done.
        remedy: String,
    },
    /// A file could not be read.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// What was read could not be written on.
    #[error("cannot write the weights: {0}")]
    Sink(#[source] io::Error),
    /// The hub has no such model, revision or file.
    #[error("{hub} has no {what}{}", hint(Some(remedy)))]
    NotFound {
        /// The hub's address.
        hub: String,
        /// Model, revision or file.
        what: String,
        /// What can be done.
        remedy: String,
    },
    /// The hub does not let us.
    #[error("{hub} refuses {what} (status {status}){}", hint(Some(remedy)))]
    Denied {
        /// The hub's address.
        hub: String,
        /// What was asked for.
        what: String,
        /// 401 or 403.
        status: u16,
        /// What can be done.
        remedy: String,
    },
    /// The hub cannot be reached, or its answer is not one of a hub.
    #[error("{hub}: {reason}{}", hint(Some(remedy)))]
    Hub {
        /// The hub's address.
        hub: String,
        /// What went wrong.
        reason: String,
        /// What can be done.
        remedy: String,
    },
    /// What arrived is not what the hub announced.
    #[error(
        "{file}: the bytes that {hub} sent have the {kind} {found}, but it announced {expected}{}",
        hint(Some(
            "try again; if it happens again, the file on the hub or a cache on the way is damaged"
        ))
    )]
    Checksum {
        /// The hub's address.
        hub: String,
        /// The file.
        file: String,
        /// `sha256` or `git blob sha1`.
        kind: &'static str,
        /// As announced.
        expected: String,
        /// Of the bytes.
        found: String,
    },
    /// The caller wants no more of it.
    #[error("cancelled")]
    Cancelled,
}

fn hint(remedy: Option<&str>) -> String {
    remedy.map_or_else(String::new, |remedy| format!("\nhint: {remedy}"))
}

impl HubError {
    /// A file and what is wrong with it.
    pub fn file(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::File {
            file: file.into(),
            reason: reason.into(),
            remedy: None,
        }
    }

    /// The same with what can be done about it.
    #[must_use]
    pub fn or(self, advice: impl Into<String>) -> Self {
        match self {
            Self::File { file, reason, .. } => Self::File {
                file,
                reason,
                remedy: Some(advice.into()),
            },
            other => other,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    }

    /// Whether something that was named does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the disk that was written to is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Sink(error) if error.kind() == io::ErrorKind::StorageFull)
    }
}
