//! Datasets: importing, transforming, looking at them, deleting.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use tenon_data::dataset::{Reference as DatasetReference, Which};
use tenon_data::import::CsvOptions;
use tenon_data::{DatasetVersion, GrantedDatasets, ImportOptions, PipelineStep};
use tenon_plugin::{Kind, PluginError};
use tenon_track::{NewRun, Reference, ReferenceKind, Run, RunKind};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::jobs::{self, REPORT};
use super::upload;
use crate::app::blocking;
use crate::error::{ApiError, Result};
use crate::extract::{JsonBody, UrlPath, UrlQuery};
use crate::router::Context;
use crate::types::{
    CsvForm, DatasetList, DatasetPreview, DatasetVersions, Deleted, ErrorBody, ImportForm,
    PreviewQuery, TransformRequest, TransformStep,
};

/// Rows of one preview.
const MOST_ROWS: u64 = 1000;

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, remove))
        .routes(routes!(versions))
        .routes(routes!(preview))
        .routes(routes!(import))
        .routes(routes!(transform))
}

/// The datasets, each with its latest version.
#[utoipa::path(
    get, path = "/api/v1/datasets", tag = "datasets",
    responses((status = 200, body = DatasetList), (status = "default", body = ErrorBody))
)]
async fn list(State(context): State<Context>) -> Result<Json<DatasetList>> {
    let datasets = blocking(move || Ok(context.platform.datasets.list()?)).await?;
    Ok(Json(DatasetList { datasets }))
}

/// A version of a dataset.
#[utoipa::path(
    get, path = "/api/v1/datasets/{dataset}", tag = "datasets",
    params(("dataset" = String, Path, description = "`name`, `name@2` or `name@` and 8 digits of a digest")),
    responses((status = 200, body = DatasetVersion), (status = "default", body = ErrorBody))
)]
async fn show(
    State(context): State<Context>,
    UrlPath(dataset): UrlPath<String>,
) -> Result<Json<DatasetVersion>> {
    let version = blocking(move || Ok(context.platform.datasets.get(&dataset)?));
    Ok(Json(version.await?))
}

/// The versions of a dataset.
#[utoipa::path(
    get, path = "/api/v1/datasets/{dataset}/versions", tag = "datasets",
    params(("dataset" = String, Path, description = "Its name")),
    responses((status = 200, body = DatasetVersions), (status = "default", body = ErrorBody))
)]
async fn versions(
    State(context): State<Context>,
    UrlPath(dataset): UrlPath<String>,
) -> Result<Json<DatasetVersions>> {
    let versions = blocking(move || {
        let name = only_name(&dataset)?;
        // Says what there is instead, where there is none.
        context.platform.datasets.get(&name)?;
        Ok(context.platform.datasets.versions(&name)?)
    });
    Ok(Json(DatasetVersions {
        versions: versions.await?,
    }))
}

/// Some rows of a split.
#[utoipa::path(
    get, path = "/api/v1/datasets/{dataset}/preview", tag = "datasets",
    params(
        ("dataset" = String, Path, description = "`name`, `name@2` or `name@` and 8 digits of a digest"),
        PreviewQuery,
    ),
    responses((status = 200, body = DatasetPreview), (status = "default", body = ErrorBody))
)]
async fn preview(
    State(context): State<Context>,
    UrlPath(dataset): UrlPath<String>,
    UrlQuery(query): UrlQuery<PreviewQuery>,
) -> Result<Json<DatasetPreview>> {
    if query.rows > MOST_ROWS {
        return Err(ApiError::invalid(format!(
            "rows is {}; at most {MOST_ROWS} are shown at a time",
            query.rows
        )));
    }
    let preview = blocking(move || {
        let datasets = &context.platform.datasets;
        let dataset = datasets.resolve(&dataset)?.0.reference();
        let split = query.split.as_deref();
        let preview = datasets.preview(&dataset, split, query.offset, query.rows)?;
        Ok(DatasetPreview {
            dataset,
            schema: preview.schema,
            split: preview.split,
            offset: preview.offset,
            total: preview.total,
            rows: preview.rows,
        })
    });
    Ok(Json(preview.await?))
}

/// Deletes a version (`name@2`), or with `name` alone the dataset with all its versions. Their files
/// go with the next sweep.
#[utoipa::path(
    delete, path = "/api/v1/datasets/{dataset}", tag = "datasets",
    params(("dataset" = String, Path, description = "`name` for all versions, `name@2` for one")),
    responses((status = 200, body = Deleted), (status = "default", body = ErrorBody))
)]
async fn remove(
    State(context): State<Context>,
    UrlPath(dataset): UrlPath<String>,
) -> Result<Json<Deleted>> {
    let deleted = blocking(move || {
        let datasets = &context.platform.datasets;
        if dataset.contains('@') {
            return Ok(vec![datasets.delete(&dataset)?.reference()]);
        }
        let versions = datasets.versions(&only_name(&dataset)?)?;
        datasets.delete_all(&dataset)?;
        Ok(versions.iter().map(DatasetVersion::reference).collect())
    });
    Ok(Json(Deleted {
        deleted: deleted.await?,
    }))
}

/// A dataset's name, without version or split.
fn only_name(text: &str) -> Result<String> {
    let reference = DatasetReference::parse("dataset", text)?;
    if reference.which != Which::Latest || reference.split.is_some() || text.contains('@') {
        return Err(ApiError::invalid(format!(
            "`{text}`: the name of a dataset is needed here, without version or split"
        )));
    }
    Ok(reference.name)
}

/// Imports files as a new version. Answers when the upload is complete; the run's `report.json` (and
/// the `end` of its events) tells what became of it.
///
/// A multipart upload: a part `options` (JSON: `ImportForm`), which may be left out, and a part for
/// each file: the part's name is the split, the file name's ending tells the format.
#[utoipa::path(
    post, path = "/api/v1/datasets/{dataset}/import", tag = "datasets",
    params(("dataset" = String, Path, description = "Its name")),
    request_body(content = UploadSchema, content_type = "multipart/form-data"),
    responses((status = 202, body = Run), (status = "default", body = ErrorBody))
)]
async fn import(
    State(context): State<Context>,
    UrlPath(dataset): UrlPath<String>,
    request: Request,
) -> Result<(StatusCode, Json<Run>)> {
    let name = only_name(&dataset)?;
    let upload = upload::receive(&context, request).await?;
    let run = blocking(move || {
        let form = &upload.form;
        let options = import_options(form)?;
        let inputs = upload
            .files
            .iter()
            .map(|file| file.input(form.format))
            .collect::<Result<Vec<_>>>()?;
        let files: Vec<Value> = upload
            .files
            .iter()
            .map(|file| json!({"file": file.name, "split": file.split, "bytes": file.bytes}))
            .collect();
        let mut new = NewRun::new(RunKind::Import);
        new.name = Some(format!("import-{name}"));
        new.experiment.clone_from(&form.experiment);
        new.tags.clone_from(&form.tags);
        new.params.insert("dataset".into(), name.clone().into());
        new.params.insert("files".into(), files.into());
        let options_text = serde_json::to_value(form).unwrap_or_default();
        new.params.insert("options".into(), options_text);
        Ok(context.jobs.spawn(new, move |job| {
            let datasets = &job.platform().datasets;
            let report = datasets.import(&name, inputs, &options, &job.control())?;
            // Kept until here: the inputs are read from its files.
            drop(upload);
            job.add_output(made(&report.version))?;
            job.log_artifact(REPORT, &jobs::report(&report)?)?;
            Ok(())
        })?)
    });
    Ok((StatusCode::ACCEPTED, Json(run.await?)))
}

/// For the document: what an upload consists of.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)]
#[schema(as = ImportUpload)]
struct UploadSchema {
    /// How to import.
    options: Option<ImportForm>,
    /// A file for the split `train`; other splits by their names.
    #[schema(value_type = Vec<String>, format = Binary)]
    train: Vec<Vec<u8>>,
}

fn made(version: &DatasetVersion) -> Reference {
    Reference {
        kind: ReferenceKind::Dataset,
        role: "dataset".to_owned(),
        name: version.reference(),
        digest: version.digest.clone(),
    }
}

fn import_options(form: &ImportForm) -> Result<ImportOptions> {
    let default = ImportOptions::default();
    Ok(ImportOptions {
        on_bad_row: form.on_bad_row,
        schema: form.schema.clone(),
        infer_rows: form.infer_rows.unwrap_or(default.infer_rows),
        csv: match &form.csv {
            Some(csv) => csv_options(csv)?,
            None => default.csv,
        },
        text_column: form.text_column.clone().unwrap_or(default.text_column),
        source: form.source.clone(),
    })
}

fn csv_options(csv: &CsvForm) -> Result<CsvOptions> {
    let delimiter = match csv.delimiter.as_bytes() {
        [byte] if byte.is_ascii() => *byte,
        _ => {
            return Err(ApiError::invalid(format!(
                "csv.delimiter is `{}`; one ASCII character is needed",
                csv.delimiter.escape_debug()
            )));
        }
    };
    Ok(CsvOptions {
        delimiter,
        header: csv.header,
    })
}

/// Runs transforms over a dataset and keeps the result as a version of the dataset in the path. The
/// same steps over the same rows are not computed again. The run's `report.json` tells.
#[utoipa::path(
    post, path = "/api/v1/datasets/{dataset}/transform", tag = "datasets",
    params(("dataset" = String, Path, description = "The dataset to make")),
    request_body = TransformRequest,
    responses((status = 202, body = Run), (status = "default", body = ErrorBody))
)]
async fn transform(
    State(context): State<Context>,
    UrlPath(dataset): UrlPath<String>,
    JsonBody(request): JsonBody<TransformRequest>,
) -> Result<(StatusCode, Json<Run>)> {
    let run = blocking(move || {
        let output = only_name(&dataset)?;
        let (input, split) = context.platform.datasets.resolve(&request.input)?;
        if split.is_some() {
            return Err(ApiError::invalid(format!(
                "`{}` names a split; a pipeline transforms all of them",
                request.input
            )));
        }
        if request.steps.is_empty() {
            return Err(ApiError::invalid(
                "`steps` is empty: name at least one transform",
            ));
        }
        let mut new = NewRun::new(RunKind::Transform);
        new.name = Some(format!("transform-{output}"));
        new.experiment.clone_from(&request.experiment);
        new.tags.clone_from(&request.tags);
        new.params.insert("input".into(), input.reference().into());
        new.params.insert("output".into(), output.clone().into());
        new.inputs.push(Reference {
            role: "input".to_owned(),
            ..made(&input)
        });
        let mut steps = Vec::with_capacity(request.steps.len());
        for (index, step) in request.steps.iter().enumerate() {
            let opened = open_step(&context, index, step, &mut new)?;
            steps.push(opened);
        }
        let recorded = serde_json::to_value(&request.steps).unwrap_or_default();
        new.params.insert("steps".into(), recorded);
        Ok(context.jobs.spawn(new, move |job| {
            let log = job.log_sink();
            for step in &mut steps {
                step.log = Some(log.clone());
            }
            let datasets = &job.platform().datasets;
            let report = datasets.transform(&input, &output, &steps, &job.control())?;
            job.add_output(made(&report.version))?;
            job.log_artifact(REPORT, &jobs::report(&report)?)?;
            Ok(())
        })?)
    });
    Ok((StatusCode::ACCEPTED, Json(run.await?)))
}

/// Finds and checks everything that a step names.
fn open_step(
    context: &Context,
    index: usize,
    step: &TransformStep,
    new: &mut NewRun,
) -> Result<PipelineStep> {
    let platform = &context.platform;
    let at = |error: ApiError| {
        let mut error = error;
        error.info.message = format!(
            "step {} ({}): {}",
            index + 1,
            step.plugin,
            error.info.message
        );
        error
    };
    let plugin = |error: PluginError| at(error.into());
    let component = platform
        .registry
        .resolve(&step.plugin)
        .map_err(|error| at(error.into()))?;
    if component.kind() != Kind::Transform {
        return Err(at(ApiError::invalid(format!(
            "it is a {}, but a transform is needed here",
            component.kind()
        ))));
    }
    let config = Value::Object(step.config.clone());
    component.complete_config(&config).map_err(plugin)?;
    let description = component.description();
    let role = format!("step-{}", index + 1);
    new.inputs.push(Reference {
        kind: ReferenceKind::Plugin,
        role: role.clone(),
        name: format!("{}@{}", description.name, description.version),
        digest: component.digest().to_owned(),
    });
    let mut opened = PipelineStep::new(component, config);
    opened.seed = step.seed;
    if !step.datasets.is_empty() {
        let granted = step
            .datasets
            .iter()
            .map(|(name, reference)| (name.as_str(), reference.as_str()));
        let granted =
            GrantedDatasets::new(&platform.datasets, granted).map_err(|error| at(error.into()))?;
        for (name, reference) in &step.datasets {
            let version = platform.datasets.get(reference)?;
            new.inputs.push(Reference {
                role: format!("{role}/{name}"),
                ..made(&version)
            });
        }
        opened.datasets = Some(granted);
    }
    if let Some(tokenizer) = &step.tokenizer {
        let record = platform
            .tokenizers
            .get(tokenizer)
            .map_err(|error| at(error.into()))?;
        new.inputs.push(Reference {
            kind: ReferenceKind::Tokenizer,
            role: format!("{role}/tokenizer"),
            name: format!("{}@{}", record.name, record.version),
            digest: record.digest.clone(),
        });
        opened.tokenizer = Some(platform.tokenizers.load_blob(&record.digest)?.into());
    }
    Ok(opened)
}
