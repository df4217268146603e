//! `tenon data import`.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::json;
use tenon_api::LocalFiles;
use tenon_api::types::{CsvForm, EndEvent, ImportAnswer, ImportForm};
use tenon_data::{ColumnKind, ColumnSpec, Format, OnBadRow, Schema};
use tenon_track::Run;

use super::{Context, follow};
use crate::args::{BadRows, FileFormat, Import};
use crate::client::{Client, Multipart, Request};
use crate::failure::{Failure, Result};
use crate::output::progress::Meter;
use crate::output::{Page, text};

/// The split that files belong to unless something else is said.
const DEFAULT_SPLIT: &str = "train";
/// Between two looks at how much was sent.
const LOOK: Duration = Duration::from_millis(200);

/// Imports files as a new version of a dataset.
pub fn import(context: &Context, args: &Import) -> Result<()> {
    let form = form(args)?;
    let mut upload = Multipart::new().json("options", &json!(form));
    let mut bytes = Some(0);
    for (split, path) in files(args) {
        if path == Path::new("-") {
            if form.format.is_none() {
                return Err(
                    Failure::usage("standard input has no name that tells its form")
                        .hint("say it with --format jsonl, csv, text or parquet"),
                );
            }
            bytes = None;
            upload = upload.stream(split, "standard input", Box::new(io::stdin()), None);
            continue;
        }
        upload = upload.file(split, path)?;
        if form.format.is_none() && Format::from_name(&path.to_string_lossy()).is_none() {
            return Err(Failure::usage(format!(
                "the form of {} cannot be told from its name",
                path.display()
            ))
            .hint("say it with --format jsonl, csv, text or parquet"));
        }
        bytes = match (bytes, fs::metadata(path)) {
            (Some(bytes), Ok(meta)) if meta.is_file() => Some(bytes + meta.len()),
            _ => None,
        };
    }
    let client = context.client()?;
    let run = send(&client, &["datasets", &args.name, "import"], upload, bytes)?;
    follow::to_the_end(
        context,
        &client,
        &run,
        |end: &EndEvent, page| match serde_json::from_value(end.report.clone().unwrap_or_default())
        {
            Ok(report) => imported(&report, page),
            Err(_) => page.line(format!("run {} finished", end.run.id)),
        },
    )
}

/// Every file with the split that it is for.
fn files(args: &Import) -> impl Iterator<Item = (&str, &Path)> {
    let plain = args
        .files
        .iter()
        .map(|path| (DEFAULT_SPLIT, path.as_path()));
    let named = args
        .splits
        .iter()
        .map(|pair| (pair.name.as_str(), Path::new(&pair.value)));
    plain.chain(named)
}

/// Sends the files and says how far that is.
pub fn send(client: &Client, route: &[&str], upload: Multipart, bytes: Option<u64>) -> Result<Run> {
    send_local(client, route, upload, bytes, None)
}

/// As [`send`]; with files that the upload only names.
pub fn send_local(
    client: &Client,
    route: &[&str],
    upload: Multipart,
    bytes: Option<u64>,
    local: Option<LocalFiles>,
) -> Result<Run> {
    let sent = match &local {
        Some(local) => Arc::clone(&local.read),
        None => upload.sent(),
    };
    let request = Request::post(route).body(upload.finish()).local(local);
    thread::scope(|scope| {
        let (done, wait) = mpsc::channel::<()>();
        scope.spawn(move || {
            let mut meter = Meter::new();
            while wait.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout) {
                let sent = sent.load(Ordering::Relaxed);
                let text = format!("sending · {}", text::bytes(sent));
                meter.show(sent, bytes, &text);
            }
        });
        let run = client.typed(request);
        drop(done);
        run
    })
}

fn form(args: &Import) -> Result<ImportForm> {
    let csv = CsvForm::default();
    let changed = args.delimiter.is_some() || args.no_header;
    Ok(ImportForm {
        on_bad_row: match args.on_bad_row {
            BadRows::Reject => OnBadRow::Reject,
            BadRows::Quarantine => OnBadRow::Quarantine,
        },
        schema: schema(args)?,
        format: args.format.map(|format| match format {
            FileFormat::Jsonl => Format::Jsonl,
            FileFormat::Csv => Format::Csv,
            FileFormat::Text => Format::Text,
            FileFormat::Parquet => Format::Parquet,
        }),
        infer_rows: args.infer_rows,
        csv: changed.then(|| CsvForm {
            delimiter: match args.delimiter.as_deref() {
                None => csv.delimiter,
                Some("\\t" | "tab") => "\t".to_owned(),
                Some(other) => other.to_owned(),
            },
            header: !args.no_header,
        }),
        text_column: args.text_column.clone(),
        source: args.source.clone(),
        ..ImportForm::default()
    })
}

fn schema(args: &Import) -> Result<Option<Schema>> {
    if let Some(path) = &args.schema {
        let text = fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
        let schema = serde_json::from_str(&text).map_err(|error| {
            Failure::usage(format!("{} holds no columns: {error}", path.display()))
                .hint("[{\"name\": \"text\", \"kind\": \"utf8\"}, …]")
        })?;
        return Ok(Some(schema));
    }
    if args.columns.is_empty() {
        return Ok(None);
    }
    let kinds = || ColumnKind::ALL.map(ColumnKind::name).join(", ");
    let columns = args.columns.iter().map(|column| {
        let (name, kind) = column.rsplit_once(':').ok_or_else(|| {
            Failure::usage(format!("--columns {column}: expected NAME:TYPE"))
                .hint(format!("the types are {}", kinds()))
        })?;
        let kind = ColumnKind::parse(kind).ok_or_else(|| {
            Failure::usage(format!("--columns {column}: there is no type `{kind}`"))
                .hint(format!("the types are {}", kinds()))
        })?;
        Ok(ColumnSpec {
            name: name.to_owned(),
            kind,
        })
    });
    Ok(Some(Schema {
        columns: columns.collect::<Result<_>>()?,
    }))
}

fn imported(report: &ImportAnswer, page: &mut Page) {
    let version = &report.version;
    let how = if report.created {
        "imported"
    } else {
        "was there already"
    };
    let splits: Vec<_> = version
        .splits
        .iter()
        .map(|split| format!("{} {}", split.name, text::count(split.rows)))
        .collect();
    page.line(format!(
        "{} {how}: {} ({}), {}",
        version.reference(),
        text::counted(version.rows(), "row"),
        splits.join(", "),
        text::bytes(version.bytes())
    ));
    let bad = &report.quarantined;
    if bad.count > 0 {
        page.line(format!(
            "{} did not fit and went to quarantine:",
            text::counted(bad.count, "row")
        ));
        for row in &bad.first {
            page.line(format!("  {}:{}: {}", row.source, row.line, row.reason));
        }
        let rest = bad.count - bad.first.len() as u64;
        if rest > 0 {
            page.line(format!("  … and {rest} more"));
        }
        page.line(format!(
            "see them with: tenon data preview {}#quarantine",
            version.reference()
        ));
    }
}
