//! An evaluation, prepared.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenon_model::Platform;
use tenon_plugin::Kind;
use tenon_tensor::rng;
use tenon_track::{ModelManifest, NewRun, PluginRef, Reference, ReferenceKind, RunKind};

use super::{Split, component, params, plugin_input, plugin_ref, tokenizer_input};
use crate::{EvaluateSpec, EvaluatorSpec, Result, TrainError};

/// Bytes of a label: metrics are named `LABEL/METRIC/high`.
const LONGEST_LABEL: usize = 64;

/// What an evaluation is to do, with everything that it names pinned.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EvaluationPlan {
    pub spec: EvaluateSpec,
    /// `name@version` or `run:ID`.
    pub model: String,
    pub manifest: ModelManifest,
    pub split: Split,
    pub evaluators: Vec<EvaluatorPlan>,
}

/// One evaluator, pinned.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EvaluatorPlan {
    pub label: String,
    pub plugin: PluginRef,
    /// As the evaluator sees it: checked, with defaults.
    pub config: Value,
    /// The name that it uses → the dataset by digest, as `GrantedDatasets` takes it, and for people.
    pub datasets: BTreeMap<String, Granted>,
    pub seed: u64,
}

/// A dataset that an evaluator may read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Granted {
    /// `name@digest[#split]`.
    pub reference: String,
    /// `name@version[#split]`.
    pub name: String,
    pub digest: String,
}

/// Finds, checks and pins everything that a specification names.
///
/// # Errors
/// The first thing that is wrong with it.
pub(crate) fn evaluation(
    platform: &Platform,
    spec: EvaluateSpec,
) -> Result<(EvaluationPlan, NewRun)> {
    spec.check()?;
    let (model, manifest) = platform.manifest(&spec.model)?;
    let (split, version) = Split::find(&platform.datasets, &spec.dataset, "dev")?;
    for (column, from) in &spec.columns {
        if version.schema.kind_of(from).is_none() {
            return Err(TrainError::setting(
                "columns",
                format!(
                    "takes `{column}` from `{from}`, which {} does not have; it has `{}`",
                    version.reference(),
                    version.schema.names().join("`, `")
                ),
            ));
        }
    }
    let mut labels = BTreeSet::new();
    let evaluators: Vec<EvaluatorPlan> = spec
        .evaluators
        .iter()
        .map(|one| evaluator(platform, &spec, one, &manifest, &mut labels))
        .collect::<Result<_>>()?;
    let plan = EvaluationPlan {
        spec,
        model,
        manifest,
        split,
        evaluators,
    };
    let run = new_run(&plan)?;
    Ok((plan, run))
}

fn evaluator(
    platform: &Platform,
    spec: &EvaluateSpec,
    one: &EvaluatorSpec,
    manifest: &ModelManifest,
    labels: &mut BTreeSet<String>,
) -> Result<EvaluatorPlan> {
    let component = component(
        &platform.registry,
        "evaluators",
        &one.plugin,
        Kind::Evaluator,
    )?;
    let description = component.description();
    let label = label(one, &description.name, labels)?;
    let mut asked = BTreeSet::new();
    for capability in &description.capabilities {
        let refused = |reason: String| {
            Err(TrainError::Invalid(format!(
                "evaluator `{}` asks for the capability `{capability}`, {reason}",
                description.name
            )))
        };
        match capability.split_once(':') {
            None if capability == "model" => {}
            None if capability == "tokenizer" => {
                if manifest.tokenizer.is_none() {
                    return refused("but the model has no tokenizer".into());
                }
            }
            Some(("dataset", name)) => {
                if !one.datasets.contains_key(name) {
                    return refused(format!(
                        "which is not granted: name a dataset for `{name}` in its `datasets`"
                    ));
                }
                asked.insert(name);
            }
            _ => return refused("which an evaluation does not grant".into()),
        }
    }
    if let Some(name) = one
        .datasets
        .keys()
        .find(|name| !asked.contains(name.as_str()))
    {
        return Err(TrainError::setting(
            "datasets",
            format!(
                "grants `{name}` to evaluator `{}`, which does not ask for it",
                description.name
            ),
        ));
    }
    let datasets = one
        .datasets
        .iter()
        .map(|(name, reference)| Ok((name.clone(), granted(platform, reference)?)))
        .collect::<Result<_>>()?;
    Ok(EvaluatorPlan {
        config: component.complete_config(&one.config)?,
        plugin: plugin_ref(&component),
        datasets,
        seed: rng::derive_str(spec.seed, &label),
        label,
    })
}

/// What the evaluator's metrics begin with: told, or the last part of its name, numbered if there are
/// several.
fn label(one: &EvaluatorSpec, plugin: &str, labels: &mut BTreeSet<String>) -> Result<String> {
    let base = match &one.label {
        Some(label) => {
            if label.is_empty()
                || label.len() > LONGEST_LABEL
                || label.contains('/')
                || label.chars().any(char::is_control)
            {
                return Err(TrainError::setting(
                    "label",
                    format!(
                        "is {label:?}; a label has 1 to {LONGEST_LABEL} bytes, no `/` and no control \
                         characters"
                    ),
                ));
            }
            label.as_str()
        }
        None => plugin.rsplit('/').next().unwrap_or(plugin),
    };
    let mut found = base.to_owned();
    let mut number = 2;
    while !labels.insert(found.clone()) {
        if one.label.is_some() {
            return Err(TrainError::setting(
                "label",
                format!("`{base}` is used by two evaluators"),
            ));
        }
        found = format!("{base}-{number}");
        number += 1;
    }
    Ok(found)
}

fn granted(platform: &Platform, reference: &str) -> Result<Granted> {
    let (version, split) = platform.datasets.resolve(reference)?;
    let split = split.map(|split| format!("#{split}")).unwrap_or_default();
    Ok(Granted {
        reference: format!("{}@{}{split}", version.name, version.digest),
        name: format!("{}{split}", version.reference()),
        digest: version.digest,
    })
}

fn new_run(plan: &EvaluationPlan) -> Result<NewRun> {
    let spec = &plan.spec;
    let mut params = BTreeMap::from([
        ("model".to_owned(), json!(plan.model)),
        ("dataset".to_owned(), json!(plan.split.reference())),
        ("batch_rows".to_owned(), json!(spec.batch_rows)),
        ("seed".to_owned(), json!(spec.seed)),
    ]);
    params.extend(spec.rows.map(|rows| ("rows".to_owned(), json!(rows))));
    for (column, from) in &spec.columns {
        params.insert(format!("columns.{column}"), json!(from));
    }
    let mut inputs = vec![
        Reference {
            kind: ReferenceKind::Model,
            role: "model".to_owned(),
            name: plan.model.clone(),
            digest: plan.manifest.digest(),
        },
        Reference {
            kind: ReferenceKind::Weights,
            role: "model".to_owned(),
            name: plan.model.clone(),
            digest: plan.manifest.weights.clone(),
        },
        plugin_input(&plan.manifest.recipe, "recipe"),
        plan.split.input("evaluation"),
    ];
    if let Some(digest) = &plan.manifest.tokenizer {
        inputs.push(tokenizer_input(digest, &format!("of {}", plan.model)));
    }
    let mut seeds = BTreeMap::from([("evaluation".to_owned(), spec.seed)]);
    for one in &plan.evaluators {
        let label = &one.label;
        params.insert(
            format!("{label}.plugin"),
            json!(format!("{}@{}", one.plugin.name, one.plugin.version)),
        );
        for (name, value) in params::flat(&one.config)? {
            params.insert(format!("{label}.config.{name}"), value);
        }
        inputs.push(plugin_input(&one.plugin, label));
        seeds.insert(label.clone(), one.seed);
        for (name, granted) in &one.datasets {
            params.insert(format!("{label}.datasets.{name}"), json!(granted.name));
            inputs.push(Reference {
                kind: ReferenceKind::Dataset,
                role: format!("{label}:{name}"),
                name: granted.name.clone(),
                digest: granted.digest.clone(),
            });
        }
    }
    Ok(NewRun {
        experiment: spec.experiment.clone(),
        name: spec.name.clone(),
        params,
        tags: spec.tags.clone(),
        inputs,
        seeds,
        ..NewRun::new(RunKind::Evaluate)
    })
}
