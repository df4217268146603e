//! What is known of an installed plugin, and how one is asked for.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};
use tenon_plugin::Kind;
use tenon_store::Digest;
use utoipa::ToSchema;

use crate::error::RegistryError;

/// An installed plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InstalledPlugin {
    /// `owner/name`.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// `transform`, `recipe`, `evaluator` or `processor`.
    #[schema(value_type = String)]
    pub kind: Kind,
    /// `sha256:…` of the component's bytes.
    pub digest: String,
    /// One sentence.
    pub summary: String,
    /// JSON Schema of its configuration.
    #[schema(value_type = Object)]
    pub config_schema: serde_json::Value,
    /// Capabilities that it asks for.
    pub capabilities: Vec<String>,
    /// Whether it carries a README.
    pub has_readme: bool,
    /// Length of the component in bytes.
    pub size: u64,
    /// The blob that holds the component (`blake3:…`).
    #[schema(value_type = String)]
    pub blob: Digest,
    /// When it was installed.
    #[schema(value_type = String, format = DateTime)]
    pub installed_at: Timestamp,
    /// True when another component took over its name and version: it is found by digest only.
    #[serde(default)]
    pub replaced: bool,
}

impl InstalledPlugin {
    /// `name@version`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// Order by version; a text that is no semantic version comes first.
    pub(crate) fn version_order(&self, other: &Self) -> Ordering {
        let version = |plugin: &Self| Version::parse(&plugin.version).ok();
        version(self).cmp(&version(other))
    }

    /// Whether the version is a pre-release (`1.0.0-beta.1`).
    pub(crate) fn is_prerelease(&self) -> bool {
        Version::parse(&self.version).is_ok_and(|version| !version.pre.is_empty())
    }
}

/// How a plugin is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginSpec {
    /// The highest version of this name; pre-releases only when there is nothing else.
    Name(String),
    /// This version.
    Version {
        /// Plugin name.
        name: String,
        /// Exact version.
        version: String,
    },
    /// This component; at least eight digits of its digest.
    Digest(String),
}

/// Digits of a digest that are enough to ask for it.
const SHORTEST: usize = 8;

impl FromStr for PluginSpec {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason: &str| RegistryError::InvalidSpec {
            spec: text.to_owned(),
            reason: reason.to_owned(),
        };
        if let Some(hex) = text.strip_prefix("sha256:") {
            let digits = hex
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            if !digits || !(SHORTEST..=64).contains(&hex.len()) {
                return Err(invalid(
                    "after `sha256:` come 8 to 64 hexadecimal digits in lower case",
                ));
            }
            return Ok(Self::Digest(text.to_owned()));
        }
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        if name.is_empty() || name.len() > 300 || name.chars().any(char::is_control) {
            return Err(invalid(
                "expected `owner/name`, `owner/name@version` or `sha256:…`",
            ));
        }
        match version {
            None => Ok(Self::Name(name.to_owned())),
            Some(version) if Version::parse(version).is_ok() => Ok(Self::Version {
                name: name.to_owned(),
                version: version.to_owned(),
            }),
            Some(_) => Err(invalid("after `@` comes a version such as `0.1.0`")),
        }
    }
}

impl fmt::Display for PluginSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(text) | Self::Digest(text) => f.write_str(text),
            Self::Version { name, version } => write!(f, "{name}@{version}"),
        }
    }
}
