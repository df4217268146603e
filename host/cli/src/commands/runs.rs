//! `tenon runs …`.

use serde_json::Value;
use tenon_api::types::MetricHistory;
use tenon_track::{Comparison, ComparisonRow, Run, RunKind, RunPage};

use super::input::word;
use super::{Context, evaluate, follow, save, sweep, train};
use crate::args::{
    Compare, DeleteRun, Follow, ListRuns, Resume, RunsCommand, SaveArtifact, ShowRun, StopRun,
};
use crate::client::{Client, Request};
use crate::failure::{Failure, Result};
use crate::output::{Page, Table, spark, text};

/// Points of a small curve.
const CURVE: usize = 24;
/// Curves that are drawn.
const CURVES: usize = 40;

/// Does what the command line says.
pub fn run(context: &Context, command: RunsCommand) -> Result<()> {
    match command {
        RunsCommand::List(args) => list(context, &args),
        RunsCommand::Show(args) => match &args.metric {
            Some(metric) => points(context, &args, metric),
            None => show(context, &args),
        },
        RunsCommand::Compare(args) => compare(context, &args),
        RunsCommand::Follow(args) => follow_run(context, &args),
        RunsCommand::Stop(args) => stop(context, &args),
        RunsCommand::Resume(args) => resume(context, &args),
        RunsCommand::Artifact(args) => artifact(context, &args),
        RunsCommand::Delete(args) => delete(context, &args),
    }
}

fn list(context: &Context, args: &ListRuns) -> Result<()> {
    let words = |words: Vec<String>| (!words.is_empty()).then(|| words.join(","));
    let request = Request::get(&["runs"])
        .query_some(
            "kind",
            words(args.kind.iter().map(|kind| word(*kind)).collect()),
        )
        .query_some(
            "status",
            words(args.status.iter().map(|status| word(*status)).collect()),
        )
        .query_some("experiment", args.experiment.as_ref())
        .query_some("parent", args.parent.as_ref())
        .query_some("text", args.text.as_ref())
        .query("sort", &args.sort)
        .query_some("ascending", args.ascending.then_some("true"))
        .query("limit", args.limit.to_string())
        .query_some("page", args.page.as_ref());
    let answer = context.client()?.send(request)?;
    // The metric that the list is sorted by is what it is about.
    let metric = args.sort.strip_prefix("metric:").map(str::to_owned);
    context.output.answer(answer, |list: &RunPage, page| {
        let terminal = page.is_terminal();
        let heading = metric.clone().unwrap_or_else(|| "loss".to_owned());
        let heading = format!(">{heading}");
        let mut table = Table::new(["run", "name", "kind", "status", "made", ">took", &heading]);
        for run in &list.runs {
            let names = metric
                .iter()
                .map(String::as_str)
                .chain(["eval/loss", "train/loss"]);
            let names = names.take(if metric.is_some() { 1 } else { 2 });
            let value = names.filter_map(|name| run.metrics.get(name)).next();
            table.row([
                run.id.clone(),
                run.name.clone(),
                run.kind.name().to_owned(),
                run.status.name().to_owned(),
                text::moment(run.created, terminal),
                took(run),
                value.map_or_else(String::new, |metric| text::number(metric.last)),
            ]);
        }
        page.table(&table, "no runs");
        if terminal && let Some(next) = &list.next {
            page.line(format!(
                "\n{} of {}; the next with --page {next}",
                list.runs.len(),
                text::counted(list.total as u64, "run")
            ));
        }
    })
}

/// How long a run took, or has been taking.
fn took(run: &Run) -> String {
    let Some(started) = run.started else {
        return String::new();
    };
    let end = run.ended.unwrap_or_else(jiff::Timestamp::now);
    text::seconds((end.as_millisecond() - started.as_millisecond()) as f64 / 1e3)
}

fn get(client: &Client, run: &str) -> Result<Run> {
    client.typed(Request::get(&["runs", run]))
}

fn show(context: &Context, args: &ShowRun) -> Result<()> {
    let client = context.client()?;
    let answer = client.send(Request::get(&["runs", &args.run]))?;
    context.output.answer(answer, |run: &Run, page| {
        describe(run, page, |metric| curve(&client, run, metric));
    })
}

/// A small curve of a metric; empty where it has no shape, or cannot be had.
fn curve(client: &Client, run: &Run, metric: &str) -> String {
    let request = metric_request(&run.id, metric).query("max", CURVE.to_string());
    match client.typed::<MetricHistory>(request) {
        Ok(history) => {
            let buckets = history.buckets.unwrap_or_default();
            let means: Vec<f64> = buckets.iter().map(|bucket| bucket.mean).collect();
            spark(&means)
        }
        Err(failure) => {
            tracing::debug!(metric, reason = failure.message(), "no curve");
            String::new()
        }
    }
}

/// A metric's name may contain slashes, which stay slashes in the path.
fn metric_request(run: &str, metric: &str) -> Request {
    let mut segments = vec!["runs", run, "metrics"];
    segments.extend(metric.split('/'));
    Request::get(&segments)
}

fn describe(run: &Run, page: &mut Page, mut curve: impl FnMut(&str) -> String) {
    let terminal = page.is_terminal();
    let moment = |time| text::moment(time, terminal);
    let tags = run
        .tags
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let seeds = run
        .seeds
        .iter()
        .map(|(name, value)| format!("{name} {value}"));
    let progress = run.progress.as_ref().filter(|_| !run.status.is_ended());
    page.fields([
        ("run", run.id.clone()),
        ("name", run.name.clone()),
        ("kind", run.kind.name().to_owned()),
        ("status", run.status.name().to_owned()),
        ("error", run.error.clone().unwrap_or_default()),
        (
            "progress",
            progress.map_or_else(String::new, |progress| {
                let total = progress
                    .total
                    .map(|total| format!("/{}", text::count(total)));
                format!(
                    "{} {}{}",
                    progress.unit,
                    text::count(progress.done),
                    total.unwrap_or_default()
                )
            }),
        ),
        ("made", moment(run.created)),
        ("took", took(run)),
        ("belongs to", run.parent.clone().unwrap_or_default()),
        ("labels", tags.collect::<Vec<_>>().join(", ")),
        ("seeds", seeds.collect::<Vec<_>>().join(", ")),
    ]);
    if !run.params.is_empty() {
        page.heading("parameters");
        page.fields(
            run.params
                .iter()
                .map(|(name, value)| (name.as_str(), text::value(value))),
        );
    }
    for (title, references) in [("used", &run.inputs), ("made", &run.outputs)] {
        if references.is_empty() {
            continue;
        }
        page.heading(title);
        let mut table = Table::new(["role", "name", "digest"]);
        for reference in references {
            table.row([
                reference.role.clone(),
                reference.name.clone(),
                reference.digest.clone(),
            ]);
        }
        page.table(&table, "");
    }
    if !run.metrics.is_empty() {
        page.heading("metrics");
        let mut table = Table::new(["metric", ">last", ">step", ">min", ">max", "curve"]);
        for (index, (name, metric)) in run.metrics.iter().enumerate() {
            let drawn = metric.count > 1 && index < CURVES;
            table.row([
                name.clone(),
                text::number(metric.last),
                metric.step.to_string(),
                text::number(metric.min),
                text::number(metric.max),
                if drawn { curve(name) } else { String::new() },
            ]);
        }
        page.table(&table, "");
    }
    if !run.artifacts.is_empty() {
        page.heading("files");
        let mut table = Table::new(["path", ">size", "digest"]);
        for (path, artifact) in &run.artifacts {
            table.row([
                path.clone(),
                text::bytes(artifact.size),
                artifact.digest.clone(),
            ]);
        }
        page.table(&table, "");
    }
}

fn points(context: &Context, args: &ShowRun, metric: &str) -> Result<()> {
    let request = metric_request(&args.run, metric)
        .query_some("max", args.points.map(|points| points.to_string()));
    let answer = context.client()?.send(request)?;
    context
        .output
        .answer(answer, |history: &MetricHistory, page| {
            if let Some(buckets) = &history.buckets {
                let mut table = Table::new([">from step", ">to step", ">mean", ">min", ">max"]);
                for bucket in buckets {
                    table.row([
                        bucket.first_step.to_string(),
                        bucket.last_step.to_string(),
                        text::number(bucket.mean),
                        text::number(bucket.min),
                        text::number(bucket.max),
                    ]);
                }
                page.table(&table, "no points");
                return;
            }
            let mut table = Table::new([">step", ">value"]);
            for point in history.points.iter().flatten() {
                table.row([point.step.to_string(), point.value.to_string()]);
            }
            page.table(&table, "no points");
        })
}

fn compare(context: &Context, args: &Compare) -> Result<()> {
    let request = Request::get(&["runs", "compare"]).query("ids", args.runs.join(","));
    let answer = context.client()?.send(request)?;
    context
        .output
        .answer(answer, |comparison: &Comparison, page| {
            let names: Vec<&str> = comparison
                .runs
                .iter()
                .map(|run| run.name.as_str())
                .collect();
            let mut table = Table::new([""].into_iter().chain(names.iter().copied()));
            let mut row = |name: &str, of: &dyn Fn(&Run) -> String| {
                table.row(
                    [name.to_owned()]
                        .into_iter()
                        .chain(comparison.runs.iter().map(of)),
                );
            };
            row("run", &|run| run.id.clone());
            row("kind", &|run| run.kind.name().to_owned());
            row("status", &|run| run.status.name().to_owned());
            row("took", &took);
            page.table(&table, "");
            side_by_side("parameters", &comparison.params, args.all, &names, page);
            side_by_side("inputs", &comparison.inputs, args.all, &names, page);
            side_by_side("metrics", &comparison.metrics, true, &names, page);
        })
}

fn side_by_side(title: &str, rows: &[ComparisonRow], all: bool, names: &[&str], page: &mut Page) {
    let rows: Vec<_> = rows.iter().filter(|row| all || row.differs).collect();
    if rows.is_empty() {
        return;
    }
    let headings: Vec<String> = names.iter().map(|name| format!(">{name}")).collect();
    page.heading(title);
    let mut table = Table::new([""].into_iter().chain(headings.iter().map(String::as_str)));
    let terminal = page.is_terminal();
    for row in rows {
        let cells = row
            .values
            .iter()
            .map(|value| text::digest(&text::value(value), terminal));
        table.row([row.name.clone()].into_iter().chain(cells));
    }
    page.table(&table, "");
}

fn follow_run(context: &Context, args: &Follow) -> Result<()> {
    let client = context.client()?;
    let run = get(&client, &args.run)?;
    let lines = context.output.is_json();
    let end = follow::follow(context, &client, &run, follow::OnInterrupt::Leave, lines)?;
    if !lines {
        context.output.answer(end.clone(), render(run.kind))?;
    }
    follow::verdict(&end)
}

/// How the end of such a run is shown.
fn render(kind: RunKind) -> fn(&tenon_api::types::EndEvent, &mut Page) {
    match kind {
        RunKind::Evaluate => evaluate::evaluated,
        RunKind::Sweep => sweep::swept,
        _ => train::trained,
    }
}

fn stop(context: &Context, args: &StopRun) -> Result<()> {
    let answer = context
        .client()?
        .send(Request::post(&["runs", &args.run, "stop"]))?;
    context.output.answer(answer, |run: &Run, page| {
        let how = if run.status.is_ended() {
            run.status.name()
        } else {
            "stopping"
        };
        page.line(format!("{} ({}) is {how}", run.name, run.id));
        if matches!(run.kind, RunKind::Train | RunKind::Sweep) {
            page.line(format!("go on with: tenon runs resume {}", run.id));
        }
    })
}

fn resume(context: &Context, args: &Resume) -> Result<()> {
    let client = context.client()?;
    if args.detach {
        client.must_be_server("--detach")?;
    }
    let run = client.send(Request::post(&["runs", &args.run, "resume"]))?;
    if args.detach {
        return follow::detached(context, &client, run);
    }
    let run: Run = serde_json::from_value(run)
        .map_err(|error| Failure::failed("protocol", format!("this is no run: {error}")))?;
    follow::to_the_end(context, &client, &run, render(run.kind))
}

fn artifact(context: &Context, args: &SaveArtifact) -> Result<()> {
    let mut segments = vec!["runs", args.run.as_str(), "artifacts"];
    segments.extend(args.path.split('/'));
    let client = context.client()?;
    let mut reader = client.open(Request::get(&segments))?;
    match &args.output {
        None => context.output.copy(&mut reader),
        Some(path) => save::save(context, reader, path, args.force),
    }
}

fn delete(context: &Context, args: &DeleteRun) -> Result<()> {
    let answer: Value = context
        .client()?
        .send(Request::delete(&["runs", &args.run]))?;
    context.output.answer(answer, |_: &Value, page| {
        page.line(format!("deleted {}", args.run));
    })
}
