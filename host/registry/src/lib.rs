//! The installed plugins of a data folder.
//!
//! A component's bytes are a blob; a record says what it is. A plugin is asked for as `name` (its
//! highest version), `name@version` or `sha256:…` (also a beginning of it). What a digest means never
//! changes: a replaced component stays reachable by digest, for the models that were made with it,
//! until it is removed.

mod error;
mod installed;
mod registry;

pub use error::RegistryError;
pub use installed::{InstalledPlugin, PluginSpec};
pub use registry::{InstallOptions, Registry};
