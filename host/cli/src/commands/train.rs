//! `tenon train`.

use serde_json::{Map, Value, json};
use tenon_api::types::EndEvent;
use tenon_track::Run;

use super::input::{read_object, read_object_file, word};
use super::{Context, follow};
use crate::args::{Pair, Train};
use crate::client::Request;
use crate::failure::{Failure, Result};
use crate::output::{Page, Table, text};

/// Trains a model and follows that.
pub fn train(context: &Context, args: &Train) -> Result<()> {
    let spec = spec(args)?;
    let client = context.client()?;
    if args.detach {
        client.must_be_server("--detach")?;
    }
    let run = client.send(Request::post(&["train"]).json(&Value::Object(spec)))?;
    if args.detach {
        return follow::detached(context, &client, run);
    }
    let run: Run = serde_json::from_value(run)
        .map_err(|error| Failure::failed("protocol", format!("this is no run: {error}")))?;
    follow::to_the_end(context, &client, &run, trained)
}

/// The settings: the file's, and over them the flags'.
pub fn spec(args: &Train) -> Result<Map<String, Value>> {
    let mut spec = match &args.config {
        Some(path) => read_object_file(path)?,
        None => Map::new(),
    };
    for (name, value) in [
        ("recipe", json!(args.recipe)),
        ("from", json!(args.from)),
        ("tokenizer", json!(args.tokenizer)),
        ("dataset", json!(args.dataset)),
        ("eval_dataset", json!(args.eval_dataset)),
        ("steps", json!(args.steps)),
        ("epochs", json!(args.epochs)),
        ("minutes", json!(args.minutes)),
        ("accumulate", json!(args.accumulate)),
        ("seed", json!(args.seed)),
        ("learning_rate", json!(args.learning_rate)),
        ("precision", json!(args.precision)),
        (
            "gradient_checkpointing",
            json!(args.gradient_checkpointing.then_some(true)),
        ),
        ("log_every", json!(args.log_every)),
        ("statistics_every", json!(args.statistics_every)),
        ("eval_every", json!(args.eval_every)),
        ("eval_rows", json!(args.eval_rows)),
        ("checkpoint_every", json!(args.checkpoint_every)),
        ("ema", json!(args.ema)),
        ("keep_best", json!(args.keep_best.then_some(true))),
        ("register", json!(args.register)),
        ("name", json!(args.name)),
        ("experiment", json!(args.experiment)),
    ] {
        set(&mut spec, name, value);
    }
    // A limit on the command line replaces all limits of the file.
    if args.config.is_some() {
        let given = [
            args.steps.is_some(),
            args.epochs.is_some(),
            args.minutes.is_some(),
        ];
        if given.contains(&true) {
            for (name, given) in ["steps", "epochs", "minutes"].into_iter().zip(given) {
                if !given {
                    spec.remove(name);
                }
            }
        }
    }
    if let Some(source) = &args.recipe_config {
        let config = read_object(source, "--recipe-config")?;
        merge(&mut spec, "recipe_config", config)?;
    }
    merge_pairs(&mut spec, "columns", &args.columns)?;
    merge_pairs(&mut spec, "tags", &args.tags)?;
    merge_some(
        &mut spec,
        "batch",
        [
            ("rows", json!(args.batch_rows)),
            ("pack_tokens", json!(args.pack_tokens)),
        ],
    )?;
    merge_some(
        &mut spec,
        "schedule",
        [
            ("kind", json!(args.schedule.map(word))),
            ("warmup_steps", json!(args.warmup_steps)),
            ("min_ratio", json!(args.min_ratio)),
        ],
    )?;
    let targets = (!args.lora_target.is_empty()).then_some(&args.lora_target);
    merge_some(
        &mut spec,
        "lora",
        [
            ("rank", json!(args.lora_rank)),
            ("alpha", json!(args.lora_alpha)),
            ("dropout", json!(args.lora_dropout)),
            ("targets", json!(targets)),
            ("quantize", json!(args.lora_quantize)),
        ],
    )?;
    merge_some(
        &mut spec,
        "early_stopping",
        [("patience", json!(args.patience))],
    )?;
    if !args.freeze.is_empty() {
        spec.insert("freeze".to_owned(), json!(args.freeze));
    }
    optimizer(&mut spec, args)?;
    match args.clip_norm {
        Some(0.0) => {
            spec.insert("clip_norm".to_owned(), Value::Null);
        }
        Some(norm) => {
            spec.insert("clip_norm".to_owned(), json!(norm));
        }
        None => {}
    }
    Ok(spec)
}

fn optimizer(spec: &mut Map<String, Value>, args: &Train) -> Result<()> {
    if let Some(kind) = args.optimizer.map(word) {
        // The settings of one optimiser are not those of another.
        if spec
            .get("optimizer")
            .is_none_or(|old| old["kind"] != kind.as_str())
        {
            spec.insert("optimizer".to_owned(), json!({ "kind": kind }));
        }
    }
    if let Some(decay) = args.weight_decay {
        let optimizer = spec
            .entry("optimizer")
            .or_insert_with(|| json!({ "kind": "adamw" }));
        match optimizer {
            Value::Object(optimizer) => {
                optimizer.insert("weight_decay".to_owned(), json!(decay));
            }
            _ => return Err(not_an_object("optimizer")),
        }
    }
    Ok(())
}

/// Sets what was given.
pub fn set(spec: &mut Map<String, Value>, name: &str, value: Value) {
    if !value.is_null() {
        spec.insert(name.to_owned(), value);
    }
}

fn merge(spec: &mut Map<String, Value>, name: &str, over: Map<String, Value>) -> Result<()> {
    if over.is_empty() {
        return Ok(());
    }
    match spec.entry(name).or_insert_with(|| json!({})) {
        Value::Object(under) => {
            under.extend(over);
            Ok(())
        }
        _ => Err(not_an_object(name)),
    }
}

fn merge_some<const N: usize>(
    spec: &mut Map<String, Value>,
    name: &str,
    over: [(&str, Value); N],
) -> Result<()> {
    let over = over.into_iter().filter(|(_, value)| !value.is_null());
    let over = over.map(|(name, value)| (name.to_owned(), value));
    merge(spec, name, over.collect())
}

fn merge_pairs(spec: &mut Map<String, Value>, name: &str, pairs: &[Pair]) -> Result<()> {
    let pairs = pairs
        .iter()
        .map(|pair| (pair.name.clone(), json!(pair.value)));
    merge(spec, name, pairs.collect())
}

fn not_an_object(name: &str) -> Failure {
    Failure::usage(format!("`{name}` in the settings must be a JSON object"))
}

/// How a training has ended, for people.
pub fn trained(end: &EndEvent, page: &mut Page) {
    let run = &end.run;
    let terminal = page.is_terminal();
    let took = match (run.started, run.ended) {
        (Some(started), Some(ended)) => {
            text::seconds((ended.as_millisecond() - started.as_millisecond()) as f64 / 1e3)
        }
        _ => String::new(),
    };
    let made = run.outputs.iter().map(|output| {
        format!(
            "{} ({})",
            output.name,
            text::digest(&output.digest, terminal)
        )
    });
    page.fields([
        ("run", format!("{} ({})", run.name, run.id)),
        ("status", run.status.name().to_owned()),
        ("took", took),
        ("made", made.collect::<Vec<_>>().join("\n")),
    ]);
    let mut table = Table::new(["metric", ">last", ">step", ">min", ">max"]);
    for (name, metric) in &run.metrics {
        table.row([
            name.clone(),
            text::number(metric.last),
            metric.step.to_string(),
            text::number(metric.min),
            text::number(metric.max),
        ]);
    }
    if !table.is_empty() {
        page.line("");
        page.table(&table, "");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn parsed(args: &[&str]) -> Train {
        let cli = Cli::try_parse_from(["tenon", "train"].iter().chain(args)).unwrap();
        match cli.command {
            Command::Train(train) => *train,
            _ => panic!("train was asked for"),
        }
    }

    #[test]
    fn flags_become_settings_and_nothing_else() {
        let args = parsed(&[
            "--recipe",
            "tenon/gpt",
            "--dataset",
            "poems",
            "--steps",
            "10",
            "--batch-rows",
            "8",
            "--recipe-config",
            "{\"n_layer\": 2}",
            "--column",
            "text=line",
            "--clip-norm",
            "0",
            "--weight-decay",
            "0.1",
            "--schedule",
            "linear",
            "--tag",
            "who=me",
        ]);
        let spec = Value::Object(spec(&args).unwrap());
        assert_eq!(
            spec,
            json!({
                "recipe": "tenon/gpt", "dataset": "poems", "steps": 10, "batch": {"rows": 8},
                "recipe_config": {"n_layer": 2}, "columns": {"text": "line"}, "clip_norm": null,
                "optimizer": {"kind": "adamw", "weight_decay": 0.1},
                "schedule": {"kind": "linear"}, "tags": {"who": "me"}
            })
        );
    }

    #[test]
    fn flags_win_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.json");
        let file = json!({
            "dataset": "poems", "steps": 10, "epochs": 2, "batch": {"rows": 4, "shuffle": false},
            "recipe_config": {"n_layer": 2, "n_head": 2},
            "optimizer": {"kind": "adamw", "beta2": 0.95}
        });
        std::fs::write(&path, file.to_string()).unwrap();
        let path = path.to_str().unwrap();
        let args = parsed(&[
            "--config",
            path,
            "--minutes",
            "1",
            "--batch-rows",
            "8",
            "--recipe-config",
            "{\"n_layer\": 3}",
            "--optimizer",
            "adamw",
        ]);
        let merged = spec(&args).unwrap();
        assert_eq!(merged["batch"], json!({"rows": 8, "shuffle": false}));
        assert_eq!(merged["recipe_config"], json!({"n_layer": 3, "n_head": 2}));
        assert_eq!(
            merged["optimizer"], file["optimizer"],
            "the same kind keeps its settings"
        );
        assert_eq!(merged.get("steps"), None, "one limit replaces the file's");
        assert_eq!(merged["minutes"], json!(1.0));
        let other = spec(&parsed(&["--config", path, "--optimizer", "sgd"])).unwrap();
        assert_eq!(other["optimizer"], json!({"kind": "sgd"}));
    }

    #[test]
    fn a_setting_of_the_wrong_form_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.json");
        std::fs::write(&path, "{\"batch\": 8}").unwrap();
        let args = parsed(&["--config", path.to_str().unwrap(), "--batch-rows", "8"]);
        assert!(spec(&args).unwrap_err().message().contains("`batch`"));
    }
}
