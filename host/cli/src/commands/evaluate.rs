//! `tenon evaluate`.

use serde_json::{Map, Value, json};
use tenon_api::types::EndEvent;
use tenon_track::Run;

use super::input::{plugin_with_config, read_object_file};
use super::train::set;
use super::{Context, follow, report};
use crate::args::Evaluate;
use crate::client::Request;
use crate::failure::{Failure, Result};
use crate::output::{Page, Table, text};

/// Measures a model and follows that.
pub fn evaluate(context: &Context, args: &Evaluate) -> Result<()> {
    let spec = spec(args)?;
    let client = context.client()?;
    if args.detach {
        client.must_be_server("--detach")?;
    }
    let run = client.send(Request::post(&["evaluate"]).json(&Value::Object(spec)))?;
    if args.detach {
        return follow::detached(context, &client, run);
    }
    let run: Run = serde_json::from_value(run)
        .map_err(|error| Failure::failed("protocol", format!("this is no run: {error}")))?;
    follow::to_the_end(context, &client, &run, evaluated)
}

fn spec(args: &Evaluate) -> Result<Map<String, Value>> {
    let mut spec = match &args.config {
        Some(path) => read_object_file(path)?,
        None => Map::new(),
    };
    for (name, value) in [
        ("model", json!(args.model)),
        ("dataset", json!(args.dataset)),
        ("rows", json!(args.rows)),
        ("batch_rows", json!(args.batch_rows)),
        ("seed", json!(args.seed)),
        ("name", json!(args.name)),
        ("experiment", json!(args.experiment)),
    ] {
        set(&mut spec, name, value);
    }
    if !args.evaluators.is_empty() {
        let evaluators: Result<Vec<_>> = args
            .evaluators
            .iter()
            .map(|evaluator| plugin_with_config(evaluator, "evaluator"))
            .collect();
        spec.insert("evaluators".to_owned(), Value::Array(evaluators?));
    }
    if !args.grants.is_empty()
        && let Some(Value::Array(evaluators)) = spec.get_mut("evaluators")
    {
        for evaluator in evaluators {
            for grant in &args.grants {
                evaluator["datasets"][&grant.name] = json!(grant.value);
            }
        }
    }
    Ok(spec)
}

/// Metrics with their intervals, as an evaluation logs them: `NAME`, `NAME/low`, `NAME/high`; on a
/// terminal the report's tables too.
pub fn evaluated(end: &EndEvent, page: &mut Page) {
    let run = &end.run;
    page.fields([
        ("run", format!("{} ({})", run.name, run.id)),
        ("status", run.status.name().to_owned()),
    ]);
    page.line("");
    let last = |name: &str| run.metrics.get(name).map(|metric| metric.last);
    let mut table = Table::new(["metric", ">value", "interval"]);
    for (name, metric) in &run.metrics {
        let bound = name.strip_suffix("/low").or(name.strip_suffix("/high"));
        if bound.is_some_and(|of| run.metrics.contains_key(of)) {
            continue;
        }
        let interval = match (last(&format!("{name}/low")), last(&format!("{name}/high"))) {
            (Some(low), Some(high)) => format!("{} to {}", text::number(low), text::number(high)),
            _ => String::new(),
        };
        table.row([name.clone(), text::number(metric.last), interval]);
    }
    page.table(&table, "no metrics");
    if let Some(found) = end.report.as_ref().filter(|_| page.is_terminal()) {
        report::tables(found, page);
    }
    for path in run.artifacts.keys() {
        if page.is_terminal() {
            page.line(format!(
                "\nits report: tenon runs artifact {} {path}",
                run.id
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn grants_go_to_every_evaluator() {
        let cli = Cli::try_parse_from([
            "tenon",
            "evaluate",
            "poet",
            "--dataset",
            "poems",
            "--evaluator",
            "tenon/perplexity",
            "--evaluator",
            "tenon/retrieval={\"candidates\": 3}",
            "--grant",
            "pool=poems@1#train",
        ])
        .unwrap();
        let Command::Evaluate(args) = cli.command else {
            panic!("evaluate was asked for");
        };
        let spec = Value::Object(spec(&args).unwrap());
        let grants = json!({"pool": "poems@1#train"});
        assert_eq!(
            spec,
            json!({
                "model": "poet", "dataset": "poems",
                "evaluators": [
                    {"plugin": "tenon/perplexity", "config": {}, "datasets": grants},
                    {"plugin": "tenon/retrieval", "config": {"candidates": 3}, "datasets": grants},
                ]
            })
        );
    }
}
