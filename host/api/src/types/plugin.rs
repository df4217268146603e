//! Plugins.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenon_registry::InstalledPlugin;
use utoipa::{IntoParams, ToSchema};

/// Which plugins to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListPluginsQuery {
    /// Only `transform`, `recipe`, `evaluator` or `processor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Also those that another component has replaced.
    pub all: bool,
}

/// Installed plugins, by name and version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PluginList {
    /// The plugins.
    pub plugins: Vec<InstalledPlugin>,
}

/// How to install.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InstallQuery {
    /// Take over a name and version that another component has. That one stays reachable by digest.
    pub replace: bool,
}

/// How to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RemoveQuery {
    /// Also when something still needs it.
    pub force: bool,
}

/// A plugin with what it says about itself and its other versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PluginDetail {
    /// The plugin.
    pub plugin: InstalledPlugin,
    /// Its README, Markdown.
    pub readme: Option<String>,
    /// All installed versions of the name, oldest first, replaced ones included.
    pub versions: Vec<InstalledPlugin>,
}

/// What a component is, next to the worlds of the contract. Nothing was installed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PluginCheck {
    /// `sha256:…` of the bytes.
    pub digest: String,
    /// The kind of plugin that it is; nothing if it fits no world.
    pub kind: Option<String>,
    /// The finding in words.
    pub summary: String,
    /// What it imports, with versions.
    pub imports: Vec<String>,
    /// What it exports, with versions.
    pub exports: Vec<String>,
    /// The description that it carries; nothing if it was built without one.
    pub description: Option<PluginDescription>,
    /// Whether it carries a README.
    pub has_readme: bool,
    /// Every world of the contract, the nearest first.
    pub worlds: Vec<WorldCheck>,
}

/// What a component says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PluginDescription {
    /// `owner/name`.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// `transform`, `recipe`, `evaluator` or `processor`.
    pub kind: String,
    /// One sentence.
    pub summary: String,
    /// JSON Schema of its configuration.
    #[schema(value_type = Object)]
    pub config_schema: Value,
    /// Capabilities that it asks for.
    pub capabilities: Vec<String>,
}

/// How a component stands to one world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorldCheck {
    /// The kind of plugin that the world is for.
    pub kind: String,
    /// The world's name and version.
    pub world: String,
    /// Whether the component can be used in it.
    pub fits: bool,
    /// What the world needs and the component does not export.
    pub missing_exports: Vec<String>,
    /// What the component imports and nobody in this world provides.
    pub unknown_imports: Vec<String>,
    /// What is there on both sides and differs.
    pub mismatches: Vec<String>,
}
