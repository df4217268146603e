//! Before a job is queued: everything that its specification names is found, checked and pinned by
//! digest, so that a job that waits or is resumed uses what was meant when it was asked for.

mod evaluation;
mod params;
mod recipe;
mod train;

use serde::{Deserialize, Serialize};
use tenon_data::{DatasetVersion, Datasets};
use tenon_plugin::{Component, Kind};
use tenon_registry::Registry;
use tenon_track::{PluginRef, Reference, ReferenceKind};

pub(crate) use evaluation::{EvaluationPlan, EvaluatorPlan, evaluation};
pub(crate) use params::{flat, scalars};
pub(crate) use recipe::readings;
pub(crate) use train::{TrainPlan, train};

use crate::{Result, TrainError};

/// A split of an exact version of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Split {
    /// `name@version`.
    pub dataset: String,
    /// The version's digest.
    pub digest: String,
    /// The split.
    pub split: String,
    /// Rows in it.
    pub rows: u64,
}

impl Split {
    /// The split that a reference means; `default` where it names none.
    fn find(datasets: &Datasets, reference: &str, default: &str) -> Result<(Self, DatasetVersion)> {
        let (version, split) = datasets.resolve(reference)?;
        let split = split.unwrap_or_else(|| default.to_owned());
        let Some(found) = version.split(&split) else {
            // Says which splits there are.
            datasets.resolve(&format!("{}#{split}", version.reference()))?;
            return Err(TrainError::Internal(format!(
                "{reference} has no `{split}`"
            )));
        };
        if found.rows == 0 {
            return Err(TrainError::Invalid(format!(
                "{}#{split} has no rows",
                version.reference()
            )));
        }
        Ok((Self::of(&version, &split, found.rows), version))
    }

    fn of(version: &DatasetVersion, split: &str, rows: u64) -> Self {
        Self {
            dataset: version.reference(),
            digest: version.digest.clone(),
            split: split.to_owned(),
            rows,
        }
    }

    /// `name@version#split`.
    pub(crate) fn reference(&self) -> String {
        format!("{}#{}", self.dataset, self.split)
    }

    /// The version, by its digest.
    pub(crate) fn version(&self, datasets: &Datasets) -> Result<DatasetVersion> {
        let name = self.dataset.split('@').next().unwrap_or_default();
        Ok(datasets.get(&format!("{name}@{}", self.digest))?)
    }

    fn input(&self, role: &str) -> Reference {
        Reference {
            kind: ReferenceKind::Dataset,
            role: role.to_owned(),
            name: self.reference(),
            digest: self.digest.clone(),
        }
    }
}

/// The component that a text means, if it is of this kind.
fn component(registry: &Registry, setting: &str, spec: &str, kind: Kind) -> Result<Component> {
    let found = registry.find(spec)?;
    if found.kind != kind {
        return Err(TrainError::setting(
            setting,
            format!(
                "names `{spec}`, which is {}; {} is needed here",
                some(found.kind),
                some(kind)
            ),
        ));
    }
    Ok(registry.resolve(&found.digest)?)
}

fn some(kind: Kind) -> String {
    match kind {
        Kind::Evaluator => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}

fn plugin_ref(component: &Component) -> PluginRef {
    let description = component.description();
    PluginRef {
        name: description.name.clone(),
        version: description.version.clone(),
        digest: component.digest().to_owned(),
    }
}

fn plugin_input(plugin: &PluginRef, role: &str) -> Reference {
    Reference {
        kind: ReferenceKind::Plugin,
        role: role.to_owned(),
        name: format!("{}@{}", plugin.name, plugin.version),
        digest: plugin.digest.clone(),
    }
}

fn tokenizer_input(digest: &str, name: &str) -> Reference {
    Reference {
        kind: ReferenceKind::Tokenizer,
        role: "tokenizer".to_owned(),
        name: name.to_owned(),
        digest: digest.to_owned(),
    }
}
