//! `tenon data …`, but for importing.

use serde_json::{Value, json};
use tenon_api::types::{
    DatasetList, DatasetPreview, DatasetVersions, Deleted, EndEvent, TransformAnswer,
};
use tenon_data::DatasetVersion;
use tenon_data::dataset::Split;

use super::input::{plugin_with_config, read_json};
use super::{Context, follow, import};
use crate::args::{DataCommand, DeleteData, Json, Preview, ShowData, Transform};
use crate::client::Request;
use crate::failure::{Failure, Result};
use crate::output::{Page, Table, text};

/// Does what the command line says.
pub fn run(context: &Context, command: DataCommand) -> Result<()> {
    match command {
        DataCommand::Import(args) => import::import(context, &args),
        DataCommand::List(_) => list(context),
        DataCommand::Show(args) if args.versions => versions(context, &args),
        DataCommand::Show(args) => show(context, &args),
        DataCommand::Preview(args) => preview(context, &args),
        DataCommand::Transform(args) => transform(context, &args),
        DataCommand::Delete(args) => delete(context, &args),
    }
}

fn list(context: &Context) -> Result<()> {
    let answer = context.client()?.send(Request::get(&["datasets"]))?;
    context.output.answer(answer, |list: &DatasetList, page| {
        let terminal = page.is_terminal();
        let mut table = Table::new(["dataset", ">rows", ">size", "made", "splits", "columns"]);
        for dataset in &list.datasets {
            let rows = dataset.splits.iter().map(|split| split.rows).sum();
            let splits = dataset
                .splits
                .iter()
                .map(|split| format!("{} {}", split.name, text::count(split.rows)));
            let columns = dataset
                .schema
                .columns
                .iter()
                .map(|column| column.name.as_str());
            table.row([
                format!("{}@{}", dataset.name, dataset.version),
                text::count(rows),
                text::bytes(dataset.bytes),
                text::moment_of(&dataset.created_at, terminal),
                splits.collect::<Vec<_>>().join(", "),
                columns.collect::<Vec<_>>().join(", "),
            ]);
        }
        page.table(
            &table,
            "no datasets; import one with `tenon data import NAME FILE…`",
        );
    })
}

fn show(context: &Context, args: &ShowData) -> Result<()> {
    let answer = context
        .client()?
        .send(Request::get(&["datasets", &args.dataset]))?;
    context
        .output
        .answer(answer, |version: &DatasetVersion, page| {
            describe(version, page)
        })
}

/// A version of a dataset, for people.
pub fn describe(version: &DatasetVersion, page: &mut Page) {
    let terminal = page.is_terminal();
    page.fields([
        ("dataset", version.reference()),
        ("rows", text::count(version.rows())),
        ("size", text::bytes(version.bytes())),
        ("made", text::moment_of(&version.created_at, terminal)),
        ("source", version.source.clone().unwrap_or_default()),
        ("digest", version.digest.clone()),
    ]);
    page.heading("columns");
    let mut columns = Table::new(["column", "type"]);
    for column in &version.schema.columns {
        columns.row([column.name.clone(), column.kind.to_string()]);
    }
    page.table(&columns, "");
    page.heading("splits");
    let mut splits = Table::new(["split", ">rows", ">size", ">parts"]);
    let mut row = |split: &Split| {
        splits.row([
            split.name.clone(),
            text::count(split.rows),
            text::bytes(split.bytes),
            split.parts.len().to_string(),
        ]);
    };
    version.splits.iter().for_each(&mut row);
    version.quarantine.iter().for_each(&mut row);
    page.table(&splits, "");
    if let Some(lineage) = &version.lineage {
        page.heading("made from");
        page.line(format!(
            "{} ({})",
            lineage.parent,
            text::digest(&lineage.parent_digest, terminal)
        ));
        for step in &lineage.steps {
            page.line(format!(
                "  {}@{} {} ({})",
                step.plugin,
                step.version,
                step.config,
                text::digest(&step.digest, terminal)
            ));
        }
    }
}

fn versions(context: &Context, args: &ShowData) -> Result<()> {
    let name = args.dataset.split(['@', '#']).next().unwrap_or_default();
    let answer = context
        .client()?
        .send(Request::get(&["datasets", name, "versions"]))?;
    context
        .output
        .answer(answer, |list: &DatasetVersions, page| {
            let terminal = page.is_terminal();
            let mut table = Table::new([">version", ">rows", ">size", "made", "digest", "source"]);
            for version in &list.versions {
                table.row([
                    version.version.to_string(),
                    text::count(version.rows()),
                    text::bytes(version.bytes()),
                    text::moment_of(&version.created_at, terminal),
                    text::digest(&version.digest, terminal),
                    match (&version.lineage, &version.source) {
                        (Some(lineage), _) => format!("made from {}", lineage.parent),
                        (None, source) => source.clone().unwrap_or_default(),
                    },
                ]);
            }
            page.table(&table, "no versions");
        })
}

fn preview(context: &Context, args: &Preview) -> Result<()> {
    let (dataset, split) = match args.dataset.split_once('#') {
        Some((dataset, split)) => (dataset, Some(split)),
        None => (args.dataset.as_str(), None),
    };
    let request = Request::get(&["datasets", dataset, "preview"])
        .query_some("split", split)
        .query("offset", args.offset.to_string())
        .query("rows", args.rows.to_string());
    let answer = context.client()?.send(request)?;
    context
        .output
        .answer(answer, |preview: &DatasetPreview, page| {
            let names: Vec<&str> = preview
                .schema
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .collect();
            let mut table = Table::new(names.iter().copied());
            for row in &preview.rows {
                table.row(names.iter().map(|name| text::value(&row[*name])));
            }
            page.table(&table, "no rows");
            if page.is_terminal() {
                let last = preview.offset + preview.rows.len() as u64;
                page.line(format!(
                    "\nrows {} to {} of {} in {}#{}",
                    text::count((preview.offset + 1).min(last)),
                    text::count(last),
                    text::count(preview.total),
                    preview.dataset,
                    preview.split
                ));
            }
        })
}

fn transform(context: &Context, args: &Transform) -> Result<()> {
    let steps = match &args.steps_file {
        Some(path) => {
            let what = path.display().to_string();
            match read_json(&Json::File(path.clone()), &what)? {
                Value::Array(steps) => steps,
                _ => {
                    return Err(Failure::usage(format!("{what} must be a list of steps"))
                        .hint("[{\"plugin\": \"owner/name\", \"config\": {}}, …]"));
                }
            }
        }
        None => args
            .steps
            .iter()
            .map(|step| plugin_with_config(step, "step"))
            .collect::<Result<_>>()?,
    };
    let client = context.client()?;
    let request = Request::post(&["datasets", &args.output, "transform"])
        .json(&json!({ "input": args.input, "steps": steps }));
    let run = client.typed(request)?;
    follow::to_the_end(context, &client, &run, |end: &EndEvent, page| {
        let report = end.report.clone().unwrap_or_default();
        match serde_json::from_value::<TransformAnswer>(report) {
            Ok(report) => transformed(&report, page),
            Err(_) => page.line(format!("run {} finished", end.run.id)),
        }
    })
}

fn transformed(report: &TransformAnswer, page: &mut Page) {
    let version = &report.version;
    let how = if report.cached {
        "was there already"
    } else {
        "made"
    };
    page.line(format!(
        "{} {how}: {}",
        version.reference(),
        text::counted(version.rows(), "row")
    ));
    let mut table = Table::new(["step", ">rows in", ">rows out", ">time"]);
    for step in &report.steps {
        table.row([
            step.plugin.clone(),
            text::count(step.rows_in),
            text::count(step.rows_out),
            text::seconds(step.seconds),
        ]);
    }
    if !table.is_empty() {
        page.table(&table, "");
    }
}

fn delete(context: &Context, args: &DeleteData) -> Result<()> {
    let answer = context
        .client()?
        .send(Request::delete(&["datasets", &args.dataset]))?;
    context.output.answer(answer, |deleted: &Deleted, page| {
        for name in &deleted.deleted {
            page.line(format!("deleted {name}"));
        }
    })
}
