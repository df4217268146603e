//! Runs: finding, comparing, following, stopping them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::de::DeserializeOwned;
use tenon_track::{Comparison, LineageGraph, Run, RunPage, RunQuery, RunSort, SortKey, StepRange};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{blob, events};
use crate::app::blocking;
use crate::error::{ApiError, Result};
use crate::extract::{UrlPath, UrlQuery};
use crate::router::Context;
use crate::types::{CompareQuery, ErrorBody, MetricHistory, MetricQuery, PurgeQuery, RunsQuery};

/// Runs of one page.
const MOST_RUNS: usize = 1000;
/// Buckets of one curve.
const MOST_BUCKETS: usize = 100_000;
/// Runs that are compared.
const MOST_COMPARED: usize = 100;

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(compare))
        .routes(routes!(show, remove))
        .routes(routes!(metric))
        .routes(routes!(artifact))
        .routes(routes!(lineage))
        .routes(routes!(stop))
        .routes(routes!(resume))
        .merge(events::routes())
}

/// The runs that match, newest first unless something else is said.
#[utoipa::path(
    get, path = "/api/v1/runs", tag = "runs", params(RunsQuery),
    responses((status = 200, body = RunPage), (status = "default", body = ErrorBody))
)]
async fn list(
    State(context): State<Context>,
    UrlQuery(query): UrlQuery<RunsQuery>,
) -> Result<Json<RunPage>> {
    let query = run_query(query)?;
    let page = blocking(move || Ok(context.platform.tracker.search(&query)?));
    Ok(Json(page.await?))
}

fn run_query(query: RunsQuery) -> Result<RunQuery> {
    let limit = query.limit.unwrap_or(100);
    if !(1..=MOST_RUNS).contains(&limit) {
        return Err(ApiError::invalid(format!(
            "limit is {limit}; it lies between 1 and {MOST_RUNS}"
        )));
    }
    Ok(RunQuery {
        experiment: query.experiment,
        status: words("status", query.status.as_deref())?,
        kind: words("kind", query.kind.as_deref())?,
        parent: query.parent,
        tags: tags(query.tags.as_deref())?,
        text: query.text,
        include_deleted: query.deleted,
        sort: RunSort {
            key: sort_key(query.sort.as_deref())?,
            descending: !query.ascending,
        },
        limit: Some(limit),
        page: query.page,
    })
}

fn listed(text: Option<&str>) -> impl Iterator<Item = &str> {
    let parts = text.into_iter().flat_map(|text| text.split(','));
    parts.map(str::trim).filter(|part| !part.is_empty())
}

/// The words of a list, as JSON has them.
fn words<T: DeserializeOwned>(name: &str, text: Option<&str>) -> Result<Vec<T>> {
    listed(text)
        .map(|word| {
            serde_json::from_value(word.into())
                .map_err(|error| ApiError::invalid(format!("{name}: {error}")))
        })
        .collect()
}

fn tags(text: Option<&str>) -> Result<BTreeMap<String, String>> {
    listed(text)
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(ApiError::invalid(format!(
                "tags: `{pair}` is not of the form `name=value`"
            ))),
        })
        .collect()
}

fn sort_key(text: Option<&str>) -> Result<SortKey> {
    Ok(match text.unwrap_or("created") {
        "created" => SortKey::Created,
        "started" => SortKey::Started,
        "ended" => SortKey::Ended,
        "name" => SortKey::Name,
        other => match other.split_once(':') {
            Some(("metric", name)) => SortKey::Metric(name.to_owned()),
            Some(("param", name)) => SortKey::Param(name.to_owned()),
            _ => {
                return Err(
                    ApiError::invalid(format!("sort: `{other}` is no order")).with_hint(
                        "sort by created, started, ended, name, metric:NAME or param:NAME",
                    ),
                );
            }
        },
    })
}

/// Runs side by side.
#[utoipa::path(
    get, path = "/api/v1/runs/compare", tag = "runs", params(CompareQuery),
    responses((status = 200, body = Comparison), (status = "default", body = ErrorBody))
)]
async fn compare(
    State(context): State<Context>,
    UrlQuery(query): UrlQuery<CompareQuery>,
) -> Result<Json<Comparison>> {
    let comparison = blocking(move || {
        let ids: Vec<&str> = listed(Some(&query.ids)).collect();
        if !(1..=MOST_COMPARED).contains(&ids.len()) {
            return Err(ApiError::invalid(format!(
                "ids names {} runs; between 1 and {MOST_COMPARED} are compared",
                ids.len()
            )));
        }
        Ok(context.platform.tracker.compare(&ids)?)
    });
    Ok(Json(comparison.await?))
}

/// A run.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}", tag = "runs",
    params(("run" = String, Path, description = "Identifier, an unambiguous part of it, or name")),
    responses((status = 200, body = Run), (status = "default", body = ErrorBody))
)]
async fn show(State(context): State<Context>, UrlPath(run): UrlPath<String>) -> Result<Json<Run>> {
    let run = blocking(move || Ok(context.platform.tracker.find_run(&run)?));
    Ok(Json(run.await?))
}

/// Puts a run into the bin, or removes it for good.
#[utoipa::path(
    delete, path = "/api/v1/runs/{run}", tag = "runs",
    params(("run" = String, Path, description = "Its identifier"), PurgeQuery),
    responses((status = 200, body = Run), (status = "default", body = ErrorBody))
)]
async fn remove(
    State(context): State<Context>,
    UrlPath(run): UrlPath<String>,
    UrlQuery(query): UrlQuery<PurgeQuery>,
) -> Result<Json<Run>> {
    let removed = blocking(move || {
        let tracker = &context.platform.tracker;
        let run = tracker.find_run(&run)?;
        if !run.status.is_ended() {
            return Err(ApiError::conflict(format!(
                "run `{}` ({}) is {}",
                run.name,
                run.id,
                run.status.name()
            ))
            .with_hint("stop it first"));
        }
        if query.purge {
            tracker.purge_run(&run.id)?;
            Ok(run)
        } else {
            Ok(tracker.set_deleted(&run.id, true)?)
        }
    });
    Ok(Json(removed.await?))
}

/// The curve of a metric.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/metrics/{*metric}", tag = "runs",
    params(
        ("run" = String, Path, description = "Identifier, an unambiguous part of it, or name"),
        ("metric" = String, Path, description = "Its name, which may have slashes: `train/loss`"),
        MetricQuery,
    ),
    responses((status = 200, body = MetricHistory), (status = "default", body = ErrorBody))
)]
async fn metric(
    State(context): State<Context>,
    UrlPath((run, metric)): UrlPath<(String, String)>,
    UrlQuery(query): UrlQuery<MetricQuery>,
) -> Result<Json<MetricHistory>> {
    if query
        .max
        .is_some_and(|max| !(1..=MOST_BUCKETS).contains(&max))
    {
        return Err(ApiError::invalid(format!(
            "max lies between 1 and {MOST_BUCKETS}"
        )));
    }
    let history = blocking(move || {
        let tracker = &context.platform.tracker;
        let run = tracker.find_run(&run)?;
        let Some(summary) = run.metrics.get(&metric) else {
            let names: Vec<&str> = run.metrics.keys().map(String::as_str).collect();
            let failure = ApiError::not_found(format!(
                "run `{}` ({}) has no metric `{metric}`",
                run.name, run.id
            ));
            return Err(failure.with_hint(match names.is_empty() {
                true => "it has none yet".to_owned(),
                false => format!("it has {}", names.join(", ")),
            }));
        };
        let range = StepRange {
            from: query.from,
            to: query.to,
        };
        let (points, buckets) = match query.max {
            None => (Some(tracker.history(&run.id, &metric, range)?), None),
            Some(max) => (None, Some(tracker.overview(&run.id, &metric, range, max)?)),
        };
        Ok(MetricHistory {
            summary: *summary,
            run: run.id.clone(),
            metric,
            points,
            buckets,
        })
    });
    Ok(Json(history.await?))
}

/// A file that a run has made.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/artifacts/{*path}", tag = "runs",
    params(
        ("run" = String, Path, description = "Identifier, an unambiguous part of it, or name"),
        ("path" = String, Path, description = "The file's path: `report.json`"),
    ),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "default", body = ErrorBody),
    )
)]
async fn artifact(
    State(context): State<Context>,
    UrlPath((run, path)): UrlPath<(String, String)>,
) -> Result<Response> {
    let run = context.platform.tracker.find_run(&run)?;
    let Some(artifact) = run.artifacts.get(&path) else {
        let names: Vec<&str> = run.artifacts.keys().map(String::as_str).collect();
        let failure = ApiError::not_found(format!(
            "run `{}` ({}) has no file `{path}`",
            run.name, run.id
        ));
        return Err(failure.with_hint(match names.is_empty() {
            true => "it has none".to_owned(),
            false => format!("it has {}", names.join(", ")),
        }));
    };
    blob::send(&context, &artifact.digest, &path).await
}

/// Everything that a run came from.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/lineage", tag = "runs",
    params(("run" = String, Path, description = "Identifier, an unambiguous part of it, or name")),
    responses((status = 200, body = LineageGraph), (status = "default", body = ErrorBody))
)]
async fn lineage(
    State(context): State<Context>,
    UrlPath(run): UrlPath<String>,
) -> Result<Json<LineageGraph>> {
    let graph = blocking(move || {
        let tracker = &context.platform.tracker;
        Ok(tracker.ancestry(&tracker.find_run(&run)?.id)?)
    });
    Ok(Json(graph.await?))
}

/// Asks a run to stop. A training writes a checkpoint and can be resumed.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/stop", tag = "runs",
    params(("run" = String, Path, description = "Identifier, an unambiguous part of it, or name")),
    responses((status = 202, body = Run), (status = "default", body = ErrorBody))
)]
async fn stop(
    State(context): State<Context>,
    UrlPath(run): UrlPath<String>,
) -> Result<(StatusCode, Json<Run>)> {
    let run = blocking(move || Ok(context.jobs.stop(&run)?));
    Ok((StatusCode::ACCEPTED, Json(run.await?)))
}

/// Goes on with a training from its last checkpoint, in the same run.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/resume", tag = "runs",
    params(("run" = String, Path, description = "Identifier, an unambiguous part of it, or name")),
    responses((status = 202, body = Run), (status = "default", body = ErrorBody))
)]
async fn resume(
    State(context): State<Context>,
    UrlPath(run): UrlPath<String>,
) -> Result<(StatusCode, Json<Run>)> {
    let run = blocking(move || Ok(context.jobs.resume(&run)?));
    Ok((StatusCode::ACCEPTED, Json(run.await?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tenon_track::{RunKind, RunStatus};

    use super::*;

    #[test]
    fn a_query_becomes_a_search() {
        let query = run_query(RunsQuery {
            kind: Some("train, evaluate".into()),
            status: Some("running".into()),
            tags: Some("owner=me,stage=a=b".into()),
            sort: Some("metric:eval/loss".into()),
            ascending: true,
            limit: Some(5),
            ..RunsQuery::default()
        })
        .unwrap();
        assert_eq!(query.kind, [RunKind::Train, RunKind::Evaluate]);
        assert_eq!(query.status, [RunStatus::Running]);
        assert_eq!(query.tags["stage"], "a=b");
        assert_eq!(query.sort.key, SortKey::Metric("eval/loss".into()));
        assert!(!query.sort.descending);
        assert_eq!(run_query(RunsQuery::default()).unwrap().limit, Some(100));
    }

    #[test]
    fn what_is_no_query_is_refused_with_its_name() {
        let refused = |query: RunsQuery| run_query(query).unwrap_err().to_string();
        let kind = refused(RunsQuery {
            kind: Some("dance".into()),
            ..RunsQuery::default()
        });
        assert!(
            kind.contains("kind") && kind.contains("dance") && kind.contains("train"),
            "{kind}"
        );
        let sort = refused(RunsQuery {
            sort: Some("beauty".into()),
            ..RunsQuery::default()
        });
        assert!(sort.contains("beauty"), "{sort}");
        let limit = refused(RunsQuery {
            limit: Some(0),
            ..RunsQuery::default()
        });
        assert!(limit.contains("limit is 0"), "{limit}");
        let tags = refused(RunsQuery {
            tags: Some("me".into()),
            ..RunsQuery::default()
        });
        assert!(tags.contains("`me`"), "{tags}");
    }
}
