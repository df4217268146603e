//! Following a run: server-sent events until it has ended.
//!
//! The tracker keeps runs in memory, so looking at one a few times a second costs less than telling
//! everybody who might listen. A look sends what is new since the last one: nothing is lost, however
//! slow the client is, and a client that comes late gets everything.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream, StreamExt};
use serde::Serialize;
use tenon_store::Digest;
use tenon_track::{Point, Run, StepRange};
use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::jobs::REPORT;
use crate::app::{App, blocking};
use crate::error::{ApiError, Result};
use crate::extract::{UrlPath, UrlQuery};
use crate::router::Context;
use crate::types::{EndEvent, ErrorBody, EventQuery, LogEvent, MetricEvent, ProgressEvent, event};

/// Time before the second look at a run; doubled each time, so that what is quick is told quickly.
const LOOK_FIRST: Duration = Duration::from_millis(5);
/// The longest time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A comment is sent after so long a silence, so that both sides notice a connection that is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Points of one event.
const MOST_POINTS: usize = 10_000;
/// Bytes of a report that is sent along; a larger one is fetched as a file.
const LARGEST_REPORT: u64 = 8 << 20;

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Follows a run: events `progress` (`ProgressEvent`), `metric` (`MetricEvent`), `log` (`LogEvent`) and
/// at last `end` (`EndEvent`), after which the stream ends.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/events", tag = "runs",
    params(
        ("run" = String, Path, description = "Identifier, an unambiguous part of it, or name"),
        EventQuery,
    ),
    responses(
        (status = 200, body = EventSchema, content_type = "text/event-stream"),
        (status = "default", body = ErrorBody),
    )
)]
async fn events(
    State(context): State<Context>,
    UrlPath(run): UrlPath<String>,
    UrlQuery(query): UrlQuery<EventQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let run = context.platform.tracker.find_run(&run)?.id;
    let watcher = Watcher {
        closing: context.app.closing(),
        app: context.app,
        run,
        query,
        seen: Seen::default(),
        pause: LOOK_FIRST,
    };
    let stream = stream::unfold(Some(watcher), |watcher| async {
        let mut watcher = watcher?;
        let (events, ended) = watcher.next().await;
        let next = (!ended).then_some(watcher);
        Some((stream::iter(events.into_iter().map(Ok)), next))
    });
    Ok(Sse::new(stream.flatten()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// For the document: what the data of an event is.
#[derive(utoipa::ToSchema, Serialize)]
#[schema(as = RunEvent)]
#[serde(untagged)]
#[allow(dead_code)]
enum EventSchema {
    Progress(ProgressEvent),
    Metric(MetricEvent),
    Log(LogEvent),
    End(Box<EndEvent>),
}

/// What a client has been sent.
#[derive(Default)]
struct Seen {
    looked: bool,
    progress: Option<ProgressEvent>,
    metrics: BTreeMap<String, SeenMetric>,
    line: u64,
}

/// What a client has been sent of a metric.
#[derive(Clone, Copy, Default)]
struct SeenMetric {
    /// Points in all.
    count: u64,
    /// The highest step.
    step: i64,
    /// Points of that step.
    of_step: usize,
}

struct Watcher {
    app: App,
    run: String,
    query: EventQuery,
    seen: Seen,
    closing: watch::Receiver<bool>,
    /// Until the next look.
    pause: Duration,
}

impl Watcher {
    /// Waits until there is something to tell; true after the last.
    async fn next(&mut self) -> (Vec<Event>, bool) {
        loop {
            let mut closing = *self.closing.borrow_and_update();
            if self.seen.looked && !closing {
                tokio::select! {
                    () = tokio::time::sleep(self.pause) => {}
                    _ = self.closing.changed() => closing = true,
                }
                self.pause = (self.pause * 2).min(LOOK_EVERY);
            }
            let (app, run, query) = (self.app.clone(), self.run.clone(), self.query.clone());
            let mut seen = std::mem::take(&mut self.seen);
            seen.looked = true;
            let looked = blocking(move || {
                let look = look(&app, &run, &query, &mut seen)?;
                Ok((look, seen))
            });
            match looked.await {
                Ok(((events, ended), seen)) => {
                    self.seen = seen;
                    if ended || closing || !events.is_empty() {
                        return (events, ended || closing);
                    }
                }
                // The run was purged, or cannot be read: the stream says so and ends.
                Err(error) => return (vec![failure(error)], true),
            }
        }
    }
}

/// What is new of a run, and whether it has ended.
fn look(app: &App, run: &str, query: &EventQuery, seen: &mut Seen) -> Result<(Vec<Event>, bool)> {
    let tracker = &app.platform.tracker;
    let mut events = Vec::new();
    // The run first: what is read after it is at least as new as its status.
    let run = tracker.run(run)?;
    let lines = app.jobs.log_lines(&run.id, seen.line);
    for line in lines {
        seen.line = line.number;
        let line = LogEvent {
            number: line.number,
            time: line.time,
            level: line.level,
            source: line.source,
            message: line.message,
        };
        events.push(named(event::LOG, &line)?);
    }
    if !query.no_metrics {
        for (metric, summary) in &run.metrics {
            let before = seen.metrics.get(metric).copied().unwrap_or_default();
            if summary.count == before.count {
                continue;
            }
            let (points, after) = new_points(app, &run, metric, summary.count, before)?;
            seen.metrics.insert(metric.clone(), after);
            let wanted: Vec<Point> = points
                .into_iter()
                .filter(|point| query.from_step.is_none_or(|from| point.step >= from))
                .collect();
            for points in wanted.chunks(MOST_POINTS) {
                let event = MetricEvent {
                    metric: metric.clone(),
                    points: points.to_vec(),
                };
                events.push(named(event::METRIC, &event)?);
            }
        }
    }
    let ended = run.status.is_ended();
    let progress = ProgressEvent {
        status: run.status,
        progress: run.progress.clone(),
    };
    if !ended && seen.progress.as_ref() != Some(&progress) {
        events.push(named(event::PROGRESS, &progress)?);
        seen.progress = Some(progress);
    }
    if ended {
        let end = EndEvent {
            report: report(app, &run),
            run,
        };
        events.push(named(event::END, &end)?);
    }
    Ok((events, ended))
}

/// The points of a metric that were logged after those that were sent.
fn new_points(
    app: &App,
    run: &Run,
    metric: &str,
    count: u64,
    before: SeenMetric,
) -> Result<(Vec<Point>, SeenMetric)> {
    let tracker = &app.platform.tracker;
    // A run that was resumed from a checkpoint logs again what came after it: begin anew.
    let before = if count < before.count {
        SeenMetric::default()
    } else {
        before
    };
    let all = StepRange::default();
    let missing = usize::try_from(count - before.count).unwrap_or(usize::MAX);
    let new = if before.count == 0 {
        tracker.history(&run.id, metric, all)?
    } else {
        // Steps usually rise, so that reading from the last one is enough.
        let range = StepRange {
            from: Some(before.step),
            to: None,
        };
        let mut points = tracker.history(&run.id, metric, range)?;
        if points.len() >= missing + before.of_step {
            points.split_off(before.of_step)
        } else {
            let points = tracker.history(&run.id, metric, all)?;
            let sent = usize::try_from(before.count).unwrap_or(usize::MAX);
            points.into_iter().skip(sent).collect()
        }
    };
    let step = new
        .iter()
        .map(|point| point.step)
        .max()
        .unwrap_or(before.step)
        .max(before.step);
    let of_step = new.iter().filter(|point| point.step == step).count();
    let after = SeenMetric {
        count: before.count + new.len() as u64,
        step,
        of_step: if step == before.step {
            before.of_step + of_step
        } else {
            of_step
        },
    };
    Ok((new, after))
}

/// A run's `report.json`, where it has one that can be sent along.
fn report(app: &App, run: &Run) -> Option<serde_json::Value> {
    let artifact = run.artifacts.get(REPORT)?;
    if artifact.size > LARGEST_REPORT {
        return None;
    }
    let digest: Digest = artifact.digest.parse().ok()?;
    let bytes = app.platform.store.blobs().read(&digest).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn named(name: &str, data: &impl Serialize) -> Result<Event> {
    Event::default()
        .event(name)
        .json_data(data)
        .map_err(|error| ApiError::internal(format!("an event cannot be written: {error}")))
}

/// What went wrong, for a stream that has begun.
fn failure(error: ApiError) -> Event {
    let body = ErrorBody { error: *error.info };
    named("error", &body).unwrap_or_else(|_| Event::default().event("error").data("{}"))
}
