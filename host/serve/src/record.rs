//! What is kept of a deployment: everything that is needed to load it again, exactly.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenon_model::Platform;
use tenon_plugin::Kind;
use tenon_store::{Digest, StoreError};
use tenon_track::{ModelManifest, PluginRef};

use crate::{DeploymentSpec, Result, ServeError};

/// Where records are kept, by the deployment's name.
pub(crate) const TABLE: &str = "deployments";

/// A deployment as it is kept: whatever happens to names, versions and aliases later, it stays this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) spec: DeploymentSpec,
    /// `name@version` or `run:ID`.
    pub(crate) model: String,
    pub(crate) manifest: ModelManifest,
    pub(crate) processor: Option<PluginRef>,
    /// The versions of the datasets that the processor may read: `name@version[#split]`.
    #[serde(default)]
    pub(crate) datasets: BTreeMap<String, String>,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

impl Record {
    /// What a specification means now.
    pub(crate) fn pin(platform: &Platform, spec: DeploymentSpec) -> Result<Self> {
        spec.check()?;
        let (model, manifest) = platform.manifest(&spec.model)?;
        let processor = match &spec.processor {
            None => None,
            Some(processor) => {
                let found = platform.registry.find(&processor.plugin)?;
                if found.kind != Kind::Processor {
                    return Err(ServeError::Invalid(format!(
                        "{} is a {}; a deployment takes a processor",
                        found.id(),
                        found.kind
                    )));
                }
                Some(PluginRef {
                    name: found.name,
                    version: found.version,
                    digest: found.digest,
                })
            }
        };
        let mut datasets = BTreeMap::new();
        for (name, reference) in spec.processor.iter().flat_map(|p| &p.datasets) {
            let (version, split) = platform.datasets.resolve(reference)?;
            let split = split.map(|split| format!("#{split}")).unwrap_or_default();
            let pinned = format!("{}@{}{split}", version.name, version.version);
            datasets.insert(name.clone(), pinned);
        }
        let now = Timestamp::now();
        Ok(Self {
            spec,
            model,
            manifest,
            processor,
            datasets,
            created: now,
            updated: now,
        })
    }

    /// The blobs that it needs.
    pub(crate) fn blobs(&self) -> std::result::Result<Vec<Digest>, StoreError> {
        let manifest = &self.manifest;
        std::iter::once(&manifest.weights)
            .chain(&manifest.tokenizer)
            .map(|blob| blob.parse())
            .collect()
    }

    /// Whether it needs the plugin of that digest.
    pub(crate) fn uses(&self, plugin: &str) -> bool {
        let processor = self.processor.as_ref().map(|plugin| &plugin.digest);
        self.manifest.recipe.digest == plugin || processor.is_some_and(|digest| digest == plugin)
    }
}
