//! A training, prepared.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenon_data::{DatasetVersion, Tokenizer};
use tenon_model::Platform;
use tenon_plugin::Kind;
use tenon_tensor::rng;
use tenon_track::{ModelManifest, NewRun, PluginRef, Reference, ReferenceKind, RunKind, Tracker};

use super::{Split, component, params, plugin_input, plugin_ref, recipe, tokenizer_input};
use crate::{Result, TrainError, TrainSpec};

/// What a training is to do, with everything that it names pinned.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TrainPlan {
    pub spec: TrainSpec,
    pub recipe: PluginRef,
    /// As the recipe sees it: merged, checked, with defaults.
    pub recipe_config: Value,
    pub vocabulary: u32,
    /// The blob of `tokenizer.json`.
    pub tokenizer: Option<String>,
    pub train: Split,
    pub eval: Option<Split>,
    pub parent: Option<Parent>,
    pub seeds: Seeds,
}

/// The model that a training goes on from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Parent {
    /// `name@version` or `run:ID`.
    pub name: String,
    /// Of its manifest.
    pub digest: String,
    /// The blob of its weights.
    pub weights: String,
    /// The blobs of the files that belong to it beside.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// The seeds of everything random, all derived from the job's.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Seeds {
    /// Of new parameters, with their names.
    pub weights: u64,
    /// Of the order of rows and of hidden tokens.
    pub order: u64,
    /// Of each pass, with its number.
    pub passes: u64,
    /// Of the recipe's own random numbers.
    pub recipe: u64,
}

impl Seeds {
    fn of(spec: &TrainSpec) -> Self {
        let derived = |label| rng::derive_str(spec.seed, label);
        Self {
            weights: derived("weights"),
            order: rng::derive(derived("order"), spec.batch.seed),
            passes: derived("passes"),
            recipe: derived("recipe"),
        }
    }
}

/// Who computes, and on which tokens.
struct Chosen {
    component: tenon_plugin::Component,
    config: Value,
    tokenizer: Option<(Arc<Tokenizer>, String)>,
    parent: Option<(Parent, ModelManifest)>,
}

/// Finds, checks and pins everything that a specification names.
///
/// # Errors
/// The first thing that is wrong with it.
pub(crate) fn train(platform: &Platform, spec: TrainSpec) -> Result<(TrainPlan, NewRun)> {
    spec.check()?;
    if let Some(name) = &spec.register {
        Tracker::check_model_name(name)?;
    }
    let chosen = choose(platform, &spec)?;
    let name = chosen.component.description().name.clone();
    let tokenizer = chosen.tokenizer.as_ref().map(|(tokenizer, _)| tokenizer);
    let vocabulary = tokenizer.map_or(0, |tokenizer| tokenizer.vocabulary());
    recipe::capabilities(&chosen.component, tokenizer.is_some())?;
    let signature = recipe::signature(&chosen.component, &chosen.config, vocabulary)?;
    let readings = recipe::readings(&signature, &name, &spec)?;
    let (train, version) = Split::find(&platform.datasets, &spec.dataset, "train")?;
    let feed = |split: &Split, version: &DatasetVersion| {
        let tokenizer = tokenizer.map(Arc::as_ref);
        readings.iter().try_for_each(|signature| {
            recipe::feed(
                &platform.datasets,
                version,
                split,
                signature,
                &name,
                tokenizer,
            )
        })
    };
    feed(&train, &version)?;
    let eval = match &spec.eval_dataset {
        Some(reference) => Some(Split::find(&platform.datasets, reference, "dev")?),
        None => match version.split("dev") {
            Some(dev) if dev.rows > 0 && train.split != "dev" => {
                Some((Split::of(&version, "dev", dev.rows), version.clone()))
            }
            _ => None,
        },
    };
    if let Some((split, version)) = &eval {
        feed(split, version)?;
    }
    let eval = eval.map(|(split, _)| split);
    for (setting, set) in [
        ("eval_every", spec.eval_every.is_some()),
        ("keep_best", spec.keep_best),
    ] {
        if set && eval.is_none() {
            return Err(TrainError::setting(
                setting,
                format!(
                    "needs rows to evaluate on: {} has no split `dev`; set `eval_dataset`",
                    train.dataset
                ),
            ));
        }
    }
    let plan = TrainPlan {
        recipe: plugin_ref(&chosen.component),
        recipe_config: chosen.config,
        vocabulary,
        tokenizer: tokenizer.map(|tokenizer| tokenizer.digest()),
        train,
        eval,
        parent: chosen.parent.as_ref().map(|(parent, _)| parent.clone()),
        seeds: Seeds::of(&spec),
        spec,
    };
    let manifest = chosen.parent.map(|(_, manifest)| manifest);
    let tokenizer = chosen.tokenizer.map(|(_, name)| name);
    let run = new_run(platform, &plan, tokenizer.as_deref(), manifest.as_ref())?;
    Ok((plan, run))
}

/// The recipe with its configuration and tokenizer: named by the specification, or those of a model.
fn choose(platform: &Platform, spec: &TrainSpec) -> Result<Chosen> {
    let registry = &platform.registry;
    let Some(from) = &spec.from else {
        let named = spec.recipe.as_deref().unwrap_or_default();
        let component = component(registry, "recipe", named, Kind::Recipe)?;
        let tokenizer = match &spec.tokenizer {
            Some(reference) => {
                let record = platform.tokenizers.get(reference)?;
                let tokenizer = platform.tokenizers.load_blob(&record.digest)?;
                Some((
                    Arc::new(tokenizer),
                    format!("{}@{}", record.name, record.version),
                ))
            }
            None => None,
        };
        return Ok(Chosen {
            config: component.complete_config(&spec.recipe_config)?,
            component,
            tokenizer,
            parent: None,
        });
    };
    let (name, manifest) = platform.manifest(from)?;
    let component = match &spec.recipe {
        None => registry.resolve(&manifest.recipe.digest)?,
        // Another version of the same recipe is an upgrade.
        Some(named) => {
            let component = component(registry, "recipe", named, Kind::Recipe)?;
            let own = &component.description().name;
            if *own != manifest.recipe.name {
                return Err(TrainError::setting(
                    "recipe",
                    format!(
                        "is `{own}`, but {name} is a model of `{}`",
                        manifest.recipe.name
                    ),
                ));
            }
            component
        }
    };
    let mut config = manifest.recipe_config.clone();
    params::merge(&mut config, &spec.recipe_config);
    let tokenizer = match &manifest.tokenizer {
        Some(digest) => Some((
            Arc::new(platform.tokenizers.load_blob(digest)?),
            format!("of {name}"),
        )),
        None => None,
    };
    let parent = Parent {
        digest: manifest.digest(),
        weights: manifest.weights.clone(),
        files: manifest.files.clone(),
        name,
    };
    Ok(Chosen {
        config: component.complete_config(&config)?,
        component,
        tokenizer,
        parent: Some((parent, manifest)),
    })
}

/// The run of a plan: its parameters, inputs and seeds.
fn new_run(
    platform: &Platform,
    plan: &TrainPlan,
    tokenizer: Option<&str>,
    parent: Option<&ModelManifest>,
) -> Result<NewRun> {
    let spec = &plan.spec;
    let mut params = params::flat(&TrainSpec {
        name: None,
        experiment: None,
        tags: Default::default(),
        recipe: Some(format!("{}@{}", plan.recipe.name, plan.recipe.version)),
        recipe_config: plan.recipe_config.clone(),
        dataset: plan.train.reference(),
        eval_dataset: plan.eval.as_ref().map(Split::reference),
        from: plan.parent.as_ref().map(|parent| parent.name.clone()),
        tokenizer: tokenizer.map(str::to_owned),
        ..spec.clone()
    })?;
    params.insert("vocabulary".to_owned(), json!(plan.vocabulary));
    let mut inputs = vec![
        plugin_input(&plan.recipe, "recipe"),
        plan.train.input("train"),
    ];
    inputs.extend(plan.eval.as_ref().map(|eval| eval.input("eval")));
    if let (Some(digest), Some(name)) = (&plan.tokenizer, tokenizer) {
        inputs.push(tokenizer_input(digest, name));
    }
    if let Some(parent) = &plan.parent {
        let reference = |kind, role: &str, digest: &str| Reference {
            kind,
            role: role.to_owned(),
            name: parent.name.clone(),
            digest: digest.to_owned(),
        };
        inputs.push(reference(ReferenceKind::Model, "parent", &parent.digest));
        // Named here, so that no sweep takes them while the job waits.
        inputs.push(reference(ReferenceKind::Weights, "parent", &parent.weights));
        for blob in parent.files.values() {
            inputs.push(reference(ReferenceKind::File, "parent", blob));
        }
    }
    // The run that made the parent may have been purged.
    let continues = parent
        .and_then(|manifest| manifest.run.clone())
        .filter(|run| platform.tracker.run(run).is_ok());
    Ok(NewRun {
        experiment: spec.experiment.clone(),
        name: spec.name.clone(),
        params,
        tags: spec.tags.clone(),
        inputs,
        seeds: [
            ("job", spec.seed),
            ("weights", plan.seeds.weights),
            ("order", plan.seeds.order),
            ("passes", plan.seeds.passes),
            ("recipe", plan.seeds.recipe),
        ]
        .map(|(name, seed)| (name.to_owned(), seed))
        .into(),
        parent: continues,
        ..NewRun::new(RunKind::Train)
    })
}
