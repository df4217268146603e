//! The end of a training: its model becomes an artifact of the run, then a version of a registered
//! model. Each of the two happens whole or not at all, and a run that was cut off between them is
//! completed when it is resumed.

use std::{collections::BTreeMap, fs, path::PathBuf};

use jiff::Timestamp;
use tenon_model::{Model, platform::MANIFEST};
use tenon_plugin::LogLevel;
use tenon_store::Digest;
use tenon_track::{Artifact, ModelManifest, PluginRef, Reference, ReferenceKind};

use super::{adapter, state::State};
use crate::{ADAPTER, Result, TrainError, WEIGHTS, jobs::Job, prepare::TrainPlan};

/// Metadata of the weights' file. Readers of the hub's files ask for the format.
pub(super) fn metadata(recipe: &PluginRef) -> BTreeMap<String, String> {
    let recipe = format!("{}@{}", recipe.name, recipe.version);
    [("format", "pt".to_owned()), ("recipe", recipe)]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
}

/// Whether the run has its model already.
pub(super) fn is_made(job: &Job) -> Result<bool> {
    let run = job.platform().tracker.run(job.id())?;
    Ok(run.artifacts.contains_key(MANIFEST))
}

/// Stores the weights and gives the run its model.
pub(super) fn make(
    job: &Job,
    plan: &TrainPlan,
    model: &mut Model,
    state: &State,
    best: Option<PathBuf>,
) -> Result<()> {
    let params = model.params();
    let unused = params.drop_unclaimed();
    if !unused.is_empty() {
        job.say(
            LogLevel::Warn,
            &format!(
                "weights that the recipe did not use are left out: {}",
                unused.join(", ")
            ),
        );
    }
    let blobs = job.platform().store.blobs();
    let (adapter, best) = match &plan.spec.lora {
        Some(lora) => {
            // The best weights have their adapters beside them: they are merged like the last.
            if let Some(best) = best {
                let mut report = params.load_safetensors(&best)?;
                report.missing.retain(|name| params.trainable(name));
                report.require_exact()?;
            }
            let component = job.platform().registry.resolve(&plan.recipe.digest)?;
            let files = adapter::files(lora, params, &component.description().config_schema)?;
            params.merge_adapters()?;
            (Some(files), None)
        }
        None => (None, best),
    };
    let weights = match best {
        Some(path) => blobs.import_file(&path)?,
        None => {
            let mut writer = blobs.writer()?;
            params.write_safetensors(&mut writer, &metadata(&plan.recipe))?;
            writer.finish()?
        }
    };
    let _lease = blobs.lease(&weights);
    let manifest = manifest(job, plan, state, &weights);
    let bytes =
        serde_json::to_vec(&manifest).map_err(|error| TrainError::Internal(error.to_string()))?;
    let document = blobs.put(&bytes)?;
    let _lease = blobs.lease(&document);
    let mut files = vec![(MANIFEST, document), (WEIGHTS, weights)];
    let mut leases = Vec::new();
    for (name, bytes) in ADAPTER.into_iter().zip(adapter.into_iter().flatten()) {
        let digest = blobs.put(&bytes)?;
        leases.push(blobs.lease(&digest));
        files.push((name, digest));
    }
    let files = files
        .into_iter()
        .map(|(path, digest)| {
            let artifact = Artifact {
                digest: digest.to_string(),
                size: blobs.size(&digest)?,
                created: Timestamp::now(),
            };
            Ok((path.to_owned(), artifact))
        })
        .collect::<Result<Vec<_>>>()?;
    job.platform().tracker.update_run(job.id(), |run| {
        run.artifacts.extend(files);
        let output = |kind, role: &str, digest: String| Reference {
            kind,
            role: role.to_owned(),
            name: run.name.clone(),
            digest,
        };
        let outputs = [
            output(ReferenceKind::Model, "model", manifest.digest()),
            output(ReferenceKind::Weights, "weights", weights.to_string()),
        ];
        run.outputs.extend(outputs);
        Ok(())
    })?;
    Ok(())
}

fn manifest(job: &Job, plan: &TrainPlan, state: &State, weights: &Digest) -> ModelManifest {
    let best = state.best.as_ref().filter(|_| plan.spec.keep_best);
    let mut metrics = best.map_or(&state.values, |best| &best.values).clone();
    metrics.extend(state.loss.map(|loss| ("train/loss".to_owned(), loss)));
    ModelManifest {
        recipe: plan.recipe.clone(),
        recipe_config: plan.recipe_config.clone(),
        vocabulary: plan.vocabulary,
        tokenizer: plan.tokenizer.clone(),
        weights: weights.to_string(),
        run: Some(job.id().to_owned()),
        parent: plan.parent.as_ref().map(|parent| parent.digest.clone()),
        origin: None,
        // What it was imported with goes on to belong to it.
        files: plan
            .parent
            .as_ref()
            .map(|parent| parent.files.clone())
            .unwrap_or_default(),
        metrics,
    }
}

/// Registers the model where that was asked for, and removes the checkpoints.
pub(super) fn complete(job: &Job, plan: &TrainPlan) -> Result<()> {
    let platform = job.platform();
    if let Some(name) = &plan.spec.register {
        let (_, manifest) = platform.manifest(&format!("run:{}", job.id()))?;
        let versions = match platform.tracker.versions(name) {
            Err(error) if error.is_not_found() => Vec::new(),
            other => other?,
        };
        let known = versions
            .iter()
            .any(|version| version.manifest.run.as_deref() == Some(job.id()));
        if !known {
            let tags = plan.spec.tags.clone();
            let version = platform
                .tracker
                .register_version(name, manifest, "", tags)?;
            let said = format!("registered as {}@{}", version.model, version.version);
            job.say(LogLevel::Info, &said);
        }
    }
    let folder = job.folder()?;
    if let Err(error) = fs::remove_dir_all(&folder) {
        tracing::warn!(%error, path = %folder.display(), "checkpoints of a finished run stay");
    }
    Ok(())
}
