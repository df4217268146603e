//! Errors of the registry.

use tenon_plugin::PluginError;
use tenon_store::StoreError;

/// Why a plugin could not be installed, found or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No installed plugin fits.
    #[error("no plugin `{spec}` is installed; {hint}")]
    NotFound {
        /// What was asked for.
        spec: String,
        /// What is installed instead, and what to do.
        hint: String,
    },
    /// A beginning of a digest fits several plugins.
    #[error("`{spec}` fits several plugins ({plugins}); give more of the digest")]
    Ambiguous {
        /// What was asked for.
        spec: String,
        /// Those that fit.
        plugins: String,
    },
    /// Another component of the same name and version is installed.
    #[error(
        "{name}@{version} is installed already with other bytes ({installed}, now {offered}); raise \
         the plugin's version, or replace the installed one on purpose"
    )]
    Conflict {
        /// Plugin name.
        name: String,
        /// Plugin version.
        version: String,
        /// Digest of the installed component.
        installed: String,
        /// Digest of the one that was to be installed.
        offered: String,
    },
    /// Something still needs the plugin.
    #[error("{plugin} cannot be removed: {by} uses it; remove that first, or force the removal")]
    InUse {
        /// `name@version (digest)`.
        plugin: String,
        /// What uses it.
        by: String,
    },
    /// A text that names no plugin.
    #[error("`{spec}` does not name a plugin: {reason}")]
    InvalidSpec {
        /// The text.
        spec: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The component does not load.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The data folder failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RegistryError {
    /// True for [`RegistryError::NotFound`].
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
