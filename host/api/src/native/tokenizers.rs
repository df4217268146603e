//! Tokenizers: training, loading, applying.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;
use tenon_data::TokenizerRecord;
use tenon_data::dataset::{Reference as DataReference, Which};
use tenon_track::{NewRun, Reference, ReferenceKind, Run, RunKind};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::blob;
use super::jobs::{self, REPORT};
use crate::app::blocking;
use crate::error::{ApiError, Result};
use crate::extract::{JsonBody, UrlPath, read};
use crate::router::Context;
use crate::types::{
    DecodeRequest, DecodeResponse, Deleted, EncodeRequest, EncodeResponse, ErrorBody,
    TokenizerList, TrainTokenizerRequest,
};

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, put, remove))
        .routes(routes!(download))
        .routes(routes!(train))
        .routes(routes!(encode))
        .routes(routes!(decode))
}

/// All versions of all tokenizers.
#[utoipa::path(
    get, path = "/api/v1/tokenizers", tag = "tokenizers",
    responses((status = 200, body = TokenizerList), (status = "default", body = ErrorBody))
)]
async fn list(State(context): State<Context>) -> Result<Json<TokenizerList>> {
    let tokenizers = blocking(move || Ok(context.platform.tokenizers.list()?)).await?;
    Ok(Json(TokenizerList { tokenizers }))
}

/// A version of a tokenizer.
#[utoipa::path(
    get, path = "/api/v1/tokenizers/{tokenizer}", tag = "tokenizers",
    params(("tokenizer" = String, Path, description = "`name`, `name@2` or `name@` and 8 digits of a digest")),
    responses((status = 200, body = TokenizerRecord), (status = "default", body = ErrorBody))
)]
async fn show(
    State(context): State<Context>,
    UrlPath(tokenizer): UrlPath<String>,
) -> Result<Json<TokenizerRecord>> {
    let record = blocking(move || Ok(context.platform.tokenizers.get(&tokenizer)?));
    Ok(Json(record.await?))
}

/// The `tokenizer.json` of a version.
#[utoipa::path(
    get, path = "/api/v1/tokenizers/{tokenizer}/tokenizer.json", tag = "tokenizers",
    params(("tokenizer" = String, Path, description = "`name` or `name@2`")),
    responses((status = 200, body = Object, content_type = "application/json"), (status = "default", body = ErrorBody))
)]
async fn download(
    State(context): State<Context>,
    UrlPath(tokenizer): UrlPath<String>,
) -> Result<Response> {
    let platform = context.platform.clone();
    let record = blocking(move || Ok(platform.tokenizers.get(&tokenizer)?)).await?;
    blob::send(&context, &record.digest, "tokenizer.json").await
}

/// Stores a `tokenizer.json`, which is the body, as a new version. The same bytes again change nothing.
#[utoipa::path(
    put, path = "/api/v1/tokenizers/{tokenizer}", tag = "tokenizers",
    params(("tokenizer" = String, Path, description = "Its name")),
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, body = TokenizerRecord), (status = "default", body = ErrorBody))
)]
async fn put(
    State(context): State<Context>,
    UrlPath(tokenizer): UrlPath<String>,
    request: Request,
) -> Result<Json<TokenizerRecord>> {
    let bytes = read(request, context.limits.tokenizer, "a tokenizer.json").await?;
    let record = blocking(move || {
        let name = only_name(&tokenizer)?;
        Ok(context.platform.tokenizers.import(&name, &bytes)?.1)
    });
    Ok(Json(record.await?))
}

/// Deletes a version. With `name` alone, the newest.
#[utoipa::path(
    delete, path = "/api/v1/tokenizers/{tokenizer}", tag = "tokenizers",
    params(("tokenizer" = String, Path, description = "`name@2`; with `name` the newest version")),
    responses((status = 200, body = Deleted), (status = "default", body = ErrorBody))
)]
async fn remove(
    State(context): State<Context>,
    UrlPath(tokenizer): UrlPath<String>,
) -> Result<Json<Deleted>> {
    let deleted = blocking(move || {
        let record = context.platform.tokenizers.delete(&tokenizer)?;
        Ok(vec![format!("{}@{}", record.name, record.version)])
    });
    Ok(Json(Deleted {
        deleted: deleted.await?,
    }))
}

/// Trains a tokenizer on columns of a dataset. The run's `report.json` is a `TokenizerRecord`.
#[utoipa::path(
    post, path = "/api/v1/tokenizers/{tokenizer}/train", tag = "tokenizers",
    params(("tokenizer" = String, Path, description = "Its name")),
    request_body = TrainTokenizerRequest,
    responses((status = 202, body = Run), (status = "default", body = ErrorBody))
)]
async fn train(
    State(context): State<Context>,
    UrlPath(tokenizer): UrlPath<String>,
    JsonBody(request): JsonBody<TrainTokenizerRequest>,
) -> Result<(StatusCode, Json<Run>)> {
    let run = blocking(move || {
        let name = only_name(&tokenizer)?;
        let (version, split) = context.platform.datasets.resolve(&request.dataset)?;
        // A version that is imported meanwhile is not the one that was asked for.
        let dataset = match split {
            Some(split) => format!("{}#{split}", version.reference()),
            None => version.reference(),
        };
        let missing = |column: &&String| version.schema.index_of(column).is_none();
        if let Some(column) = request.columns.iter().find(missing) {
            return Err(ApiError::not_found(format!(
                "{} has no column `{column}`",
                version.reference()
            ))
            .with_hint(format!("it has `{}`", version.schema.names().join("`, `"))));
        }
        let options = request.options();
        let mut new = NewRun::new(RunKind::Tokenize);
        new.name = Some(format!("tokenizer-{name}"));
        new.experiment.clone_from(&request.experiment);
        new.tags.clone_from(&request.tags);
        new.params.insert("tokenizer".into(), name.clone().into());
        if let Ok(Value::Object(options)) = serde_json::to_value(&options) {
            new.params.extend(options);
        }
        new.params
            .insert("columns".into(), request.columns.clone().into());
        new.inputs.push(Reference {
            kind: ReferenceKind::Dataset,
            role: "dataset".to_owned(),
            name: dataset.clone(),
            digest: version.digest,
        });
        let columns = request.columns;
        Ok(context.jobs.spawn(new, move |job| {
            let tokenizers = &job.platform().tokenizers;
            let (_, record) =
                tokenizers.train(&name, &dataset, &columns, &options, &job.control())?;
            job.add_output(Reference {
                kind: ReferenceKind::Tokenizer,
                role: "tokenizer".to_owned(),
                name: format!("{}@{}", record.name, record.version),
                digest: record.digest.clone(),
            })?;
            job.log_artifact(REPORT, &jobs::report(&record)?)?;
            Ok(())
        })?)
    });
    Ok((StatusCode::ACCEPTED, Json(run.await?)))
}

/// A tokenizer's name, without version.
fn only_name(text: &str) -> Result<String> {
    let reference = DataReference::parse("tokenizer", text)?;
    if reference.which != Which::Latest || reference.split.is_some() || text.contains('@') {
        return Err(ApiError::invalid(format!(
            "`{text}`: the name of a tokenizer is needed here, without version"
        )));
    }
    Ok(reference.name)
}

/// Texts to ids, without special tokens.
#[utoipa::path(
    post, path = "/api/v1/tokenizers/{tokenizer}/encode", tag = "tokenizers",
    params(("tokenizer" = String, Path, description = "`name` or `name@2`")),
    request_body = EncodeRequest,
    responses((status = 200, body = EncodeResponse), (status = "default", body = ErrorBody))
)]
async fn encode(
    State(context): State<Context>,
    UrlPath(tokenizer): UrlPath<String>,
    JsonBody(request): JsonBody<EncodeRequest>,
) -> Result<Json<EncodeResponse>> {
    let ids = blocking(move || {
        let tokenizer = context.platform.tokenizers.load(&tokenizer)?;
        Ok(tokenizer.encode_batch(&request.texts)?)
    });
    Ok(Json(EncodeResponse { ids: ids.await? }))
}

/// Ids to texts.
#[utoipa::path(
    post, path = "/api/v1/tokenizers/{tokenizer}/decode", tag = "tokenizers",
    params(("tokenizer" = String, Path, description = "`name` or `name@2`")),
    request_body = DecodeRequest,
    responses((status = 200, body = DecodeResponse), (status = "default", body = ErrorBody))
)]
async fn decode(
    State(context): State<Context>,
    UrlPath(tokenizer): UrlPath<String>,
    JsonBody(request): JsonBody<DecodeRequest>,
) -> Result<Json<DecodeResponse>> {
    let texts = blocking(move || {
        let tokenizer = context.platform.tokenizers.load(&tokenizer)?;
        let texts = request.ids.iter().map(|ids| {
            if request.with_special {
                tokenizer.decode_with_special(ids)
            } else {
                tokenizer.decode(ids)
            }
        });
        Ok(texts.collect::<std::result::Result<_, _>>()?)
    });
    Ok(Json(DecodeResponse {
        texts: texts.await?,
    }))
}
