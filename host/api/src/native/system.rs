//! The process, its devices, its data folder.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use tenon_store::State as StoreState;
use tenon_tensor::Device;
use tenon_track::{RunQuery, RunStatus};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::{App, blocking};
use crate::error::Result;
use crate::extract::OptionalJson;
use crate::metrics;
use crate::router::Context;
use crate::types::{
    Counts, DeviceEntry, DeviceList, ErrorBody, Health, Status, StoreStatus, SweepAnswer,
    SweepRequest, VerifyAnswer,
};

/// Of the server.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(prometheus))
        .routes(routes!(status))
        .routes(routes!(devices))
        .routes(routes!(verify))
        .routes(routes!(sweep))
}

/// Whether the process answers.
#[utoipa::path(
    get, path = "/health", tag = "system",
    responses((status = 200, body = Health))
)]
async fn health() -> Json<Health> {
    Json(Health {
        status: "ok".to_owned(),
        version: VERSION.to_owned(),
    })
}

/// Counters for Prometheus, in its text format.
#[utoipa::path(
    get, path = "/metrics", tag = "system",
    responses((status = 200, body = String, content_type = "text/plain"))
)]
async fn prometheus(State(context): State<Context>) -> Result<impl IntoResponse> {
    let text = blocking(move || metrics::render(&context.app)).await?;
    Ok((
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    ))
}

/// What the process is doing.
#[utoipa::path(
    get, path = "/api/v1/status", tag = "system",
    responses((status = 200, body = Status), (status = "default", body = ErrorBody))
)]
async fn status(State(context): State<Context>) -> Result<Json<Status>> {
    let status = blocking(move || {
        let platform = &context.platform;
        Ok(Status {
            version: VERSION.to_owned(),
            pid: std::process::id(),
            started: context.app.started,
            root: platform.store.root().display().to_string(),
            device: platform.device_name().to_owned(),
            resident_bytes: metrics::resident_bytes(),
            store: store_status(&context.app),
            counts: counts(&context.app)?,
        })
    });
    Ok(Json(status.await?))
}

/// The state of the store.
pub(crate) fn store_status(app: &App) -> StoreStatus {
    let store = &app.platform.store;
    let (state, reason) = match store.state() {
        StoreState::Writable => ("writable", None),
        StoreState::DiskFull { free, needed } => (
            "disk-full",
            Some(format!("{free} bytes are free, {needed} are needed")),
        ),
        StoreState::ReadOnly { reason } => ("read-only", Some(reason)),
    };
    let commits = store.commit_stats();
    StoreStatus {
        state: state.to_owned(),
        reason,
        backend: store.backend().name().to_owned(),
        free_bytes: store.free_bytes(),
        transactions: commits.transactions,
        commit_groups: commits.groups,
    }
}

/// How much there is of everything.
fn counts(app: &App) -> Result<Counts> {
    let platform = &app.platform;
    let mut deployments = BTreeMap::new();
    for deployment in app.deployments.list() {
        *deployments
            .entry(deployment.state.name().to_owned())
            .or_default() += 1;
    }
    Ok(Counts {
        plugins: platform.registry.list()?.len(),
        datasets: platform.datasets.list()?.len(),
        tokenizers: platform.tokenizers.list()?.len(),
        models: platform.tracker.models()?.len(),
        runs: runs_by_status(app)?,
        deployments,
    })
}

/// Runs that are not in the bin, by status; every status is there.
pub(crate) fn runs_by_status(app: &App) -> Result<BTreeMap<String, usize>> {
    const ALL: [RunStatus; 6] = [
        RunStatus::Queued,
        RunStatus::Running,
        RunStatus::Finished,
        RunStatus::Failed,
        RunStatus::Cancelled,
        RunStatus::Interrupted,
    ];
    ALL.into_iter()
        .map(|status| {
            let query = RunQuery {
                status: vec![status],
                limit: Some(1),
                ..RunQuery::default()
            };
            let found = app.platform.tracker.search(&query)?.total;
            Ok((status.name().to_owned(), found))
        })
        .collect()
}

/// The devices of the server's machine. The first request looks for them, which takes a moment.
#[utoipa::path(
    get, path = "/api/v1/devices", tag = "system",
    responses((status = 200, body = DeviceList), (status = "default", body = ErrorBody))
)]
async fn devices(State(context): State<Context>) -> Result<Json<DeviceList>> {
    let devices = blocking(move || {
        let selected = context.platform.device().map(|device| device.to_string());
        let entry = |info: tenon_tensor::DeviceInfo| DeviceEntry {
            selected: selected.as_ref().is_ok_and(|name| *name == info.name),
            name: info.name,
            description: info.description,
            hardware: info.hardware,
        };
        let devices = Device::available().into_iter().map(entry).collect();
        Ok(DeviceList { devices })
    });
    Ok(Json(devices.await?))
}

/// Reads every record and every blob and tells what is damaged. Slow.
#[utoipa::path(
    post, path = "/api/v1/store/verify", tag = "system",
    responses((status = 200, body = VerifyAnswer), (status = "default", body = ErrorBody))
)]
async fn verify(State(context): State<Context>) -> Result<Json<VerifyAnswer>> {
    let answer = blocking(move || {
        let store = &context.platform.store;
        let report = store.verify()?;
        let mut answer = VerifyAnswer {
            records: report.records,
            blobs: 0,
            damage: report.damage,
        };
        for (digest, _) in store.blobs().list()? {
            let read = store
                .blobs()
                .open(&digest)
                .map_err(|error| error.to_string())
                .and_then(|mut blob| {
                    std::io::copy(&mut blob, &mut std::io::sink())
                        .map_err(|error| format!("blob {digest}: {error}"))
                });
            match read {
                Ok(_) => answer.blobs += 1,
                Err(damage) => answer.damage.push(damage),
            }
        }
        Ok(answer)
    });
    Ok(Json(answer.await?))
}

/// Removes blobs that nothing refers to.
#[utoipa::path(
    post, path = "/api/v1/store/sweep", tag = "system",
    request_body(content = Option<SweepRequest>, content_type = "application/json"),
    responses((status = 200, body = SweepAnswer), (status = "default", body = ErrorBody))
)]
async fn sweep(
    State(context): State<Context>,
    OptionalJson(request): OptionalJson<SweepRequest>,
) -> Result<Json<SweepAnswer>> {
    let answer = blocking(move || {
        let grace = Duration::from_secs(request.grace_seconds);
        let report = context.platform.sweep(grace)?;
        Ok(SweepAnswer {
            kept: report.kept,
            removed: report.removed,
            bytes: report.bytes,
        })
    });
    Ok(Json(answer.await?))
}
