//! Importing pre-trained models: files that a client uploads, or a model on a hub.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use serde_json::json;
use tenon_model::Platform;
use tenon_model::import::{
    self, Chosen, ImportReport, ImportSpec, Prepared, Remote, SmallFiles, choose,
};
use tenon_model::platform::MANIFEST;
use tenon_track::{NewRun, Origin, PluginRef, Progress, Reference, ReferenceKind, Run, RunKind};
use tenon_train::{Job, TrainError};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::jobs::{self, REPORT};
use super::model_upload;
use crate::app::blocking;
use crate::error::{ApiError, Result};
use crate::extract::{parse, read};
use crate::router::Context;
use crate::types::{ErrorBody, ModelImportForm};

/// What a source on a hub begins with.
const HUB: &str = "hub:";
/// Between two reports of progress.
const REPORT_EVERY: Duration = Duration::from_millis(200);

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(import))
}

/// Imports a pre-trained model as a new version. The run's `report.json` (and the `end` of its events)
/// tells what became of every tensor.
///
/// As JSON: `ModelImportForm` with a `source` such as `hub:ORG/NAME`, which the server downloads. As a
/// multipart upload: a part `options` (JSON: `ModelImportForm`) and a part for each file of the model,
/// with its file name. Everything that can be checked is checked before the answer: of an upload all
/// that can be wrong with the model, of a hub's model what its small files tell.
#[utoipa::path(
    post, path = "/api/v1/models/import", tag = "models",
    request_body(content(
        (ModelImportForm = "application/json"),
        (UploadSchema = "multipart/form-data"),
    )),
    responses((status = 202, body = Run), (status = "default", body = ErrorBody))
)]
async fn import(
    State(context): State<Context>,
    request: Request,
) -> Result<(StatusCode, Json<Run>)> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let run = if kind.starts_with("multipart/form-data") {
        let upload = model_upload::receive(&context, request).await?;
        blocking(move || uploaded(&context, upload)).await?
    } else if kind.starts_with("application/json") {
        let bytes = read(request, context.limits.json, "a JSON body").await?;
        let form: ModelImportForm = parse(&bytes)?;
        blocking(move || on_hub(&context, &form)).await?
    } else {
        return Err(
            ApiError::unsupported_media("a model is imported by JSON or as an upload").with_hint(
                "send application/json with a `source` such as hub:ORG/NAME, or multipart/form-data \
                 with the files",
            ),
        );
    };
    Ok((StatusCode::ACCEPTED, Json(run)))
}

/// For the document: what an upload consists of.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)]
#[schema(as = ModelUpload)]
struct UploadSchema {
    /// What to import them as.
    options: ModelImportForm,
    /// The files: config.json, model.safetensors, tokenizer.json, …
    #[schema(value_type = Vec<String>, format = Binary)]
    file: Vec<Vec<u8>>,
}

fn spec(form: &ModelImportForm) -> ImportSpec {
    ImportSpec {
        name: form.name.clone(),
        recipe: form.recipe.clone(),
        recipe_config: form.recipe_config.clone(),
        tokenizer: form.tokenizer.clone(),
        allow_missing: form.allow_missing,
        description: form.description.clone(),
        tags: form.tags.clone(),
    }
}

fn uploaded(context: &Context, upload: model_upload::Upload) -> Result<Run> {
    let model_upload::Upload {
        form,
        small,
        weights,
        index,
    } = upload;
    if form.revision.is_some() {
        return Err(ApiError::invalid("`revision` is for a model on a hub"));
    }
    let spec = spec(&form);
    let source = form
        .source
        .clone()
        .unwrap_or_else(|| "the upload".to_owned());
    let chosen = choose(&context.platform, &source, &spec, &small)?;
    let new = new_run(&form, &source, &chosen);
    let prepared = import::prepare(spec, chosen, small, weights, index.as_ref())?;
    let origin = Origin {
        source,
        ..Origin::default()
    };
    Ok(context.jobs.spawn(new, move |job| {
        let total = prepared.to_copy();
        let mut meter = Meter::new(job, "import", Some(total).filter(|total| *total > 0));
        finish(job, prepared, origin, &mut meter)
    })?)
}

fn on_hub(context: &Context, form: &ModelImportForm) -> Result<Run> {
    let source = form.source.clone().unwrap_or_default();
    if !source.starts_with(HUB) {
        return Err(ApiError::invalid(format!(
            "`source` is `{source}`; a server reads no files of its machine for a request"
        ))
        .with_hint(
            "name a model on a hub, hub:ORG/NAME, or upload the files as multipart/form-data",
        ));
    }
    let spec = spec(form);
    let remote = Remote::open(&source, form.revision.as_deref(), spec.tokenizer.is_none())?;
    let chosen = choose(&context.platform, &source, &spec, &remote.small)?;
    let mut new = new_run(form, &source, &chosen);
    let origin = remote.origin();
    if let Some(commit) = &origin.revision {
        new.params.insert("revision".into(), commit.clone().into());
    }
    Ok(context.jobs.spawn(new, move |job| {
        let mut meter = Meter::new(job, "download", remote.bytes());
        let weights = remote.fetch(job.platform(), &mut |bytes| meter.add(bytes))?;
        let small: SmallFiles = remote.small.clone();
        let prepared = import::prepare(spec, chosen, small, weights, remote.index())?;
        let total = prepared.to_copy();
        let mut meter = Meter::new(job, "import", Some(total).filter(|total| *total > 0));
        finish(job, prepared, origin, &mut meter)
    })?)
}

fn new_run(form: &ModelImportForm, source: &str, chosen: &Chosen) -> NewRun {
    let mut new = NewRun::new(RunKind::Import);
    new.name = Some(format!("import-{}", form.name));
    new.experiment.clone_from(&form.experiment);
    new.tags.clone_from(&form.tags);
    let recipe = format!("{}@{}", chosen.recipe.name, chosen.recipe.version);
    for (name, value) in [
        ("model", json!(form.name)),
        ("source", json!(source)),
        ("recipe", json!(recipe)),
        ("recipe_config", chosen.config.clone()),
        ("allow_missing", json!(form.allow_missing)),
    ] {
        new.params.insert(name.to_owned(), value);
    }
    new.inputs.push(input(&chosen.recipe, &recipe));
    new
}

fn input(recipe: &PluginRef, name: &str) -> Reference {
    Reference {
        kind: ReferenceKind::Plugin,
        role: "recipe".to_owned(),
        name: name.to_owned(),
        digest: recipe.digest.clone(),
    }
}

/// Stores and registers, and gives the run its answer.
fn finish(
    job: &Job,
    prepared: Prepared,
    origin: Origin,
    meter: &mut Meter<'_>,
) -> Result<(), TrainError> {
    let platform: &Platform = job.platform();
    let report: ImportReport = prepared.finish(platform, origin, Some(job.id()), &mut |bytes| {
        meter.add(bytes)
    })?;
    if let Some(version) = &report.version {
        let name = format!("{}@{}", version.model, version.version);
        for (kind, role, digest) in [
            (ReferenceKind::Model, "model", &version.digest),
            (ReferenceKind::Weights, "weights", &version.manifest.weights),
        ] {
            job.add_output(Reference {
                kind,
                role: role.to_owned(),
                name: name.clone(),
                digest: digest.clone(),
            })?;
        }
        job.log_artifact(MANIFEST, &jobs::report(&version.manifest)?)?;
    }
    job.log_artifact(REPORT, &jobs::report(&report)?)?;
    Ok(())
}

/// Tells how far a job is, and whether it shall go on.
struct Meter<'a> {
    job: &'a Job,
    what: &'static str,
    done: u64,
    total: Option<u64>,
    started: Instant,
    told: Instant,
}

impl<'a> Meter<'a> {
    fn new(job: &'a Job, what: &'static str, total: Option<u64>) -> Self {
        Self {
            job,
            what,
            done: 0,
            total,
            started: Instant::now(),
            told: Instant::now(),
        }
    }

    fn add(&mut self, bytes: u64) -> bool {
        const MEGABYTE: f64 = 1e6;
        self.done += bytes;
        if self.told.elapsed() >= REPORT_EVERY {
            self.told = Instant::now();
            let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
            let rate = self.done as f64 / MEGABYTE / seconds;
            let whole = |bytes: u64| (bytes as f64 / MEGABYTE).round() as u64;
            let left = self.total.map(|total| total.saturating_sub(self.done));
            // Only a purged run refuses it, and then nobody looks.
            let _ = self.job.set_progress(Progress {
                done: whole(self.done),
                total: self.total.map(whole),
                unit: "MB".to_owned(),
                rate,
                rate_unit: "MB/s".to_owned(),
                seconds_left: left.map(|left| left as f64 / MEGABYTE / rate.max(1e-9)),
                message: self.what.to_owned(),
            });
        }
        !self.job.should_stop()
    }
}
