//! `tenon sweep`.

use serde_json::{Map, Value, json};
use tenon_api::types::EndEvent;
use tenon_track::Run;

use super::input::read_object_file;
use super::train::{set, trained};
use super::{Context, follow};
use crate::args::Sweep;
use crate::client::Request;
use crate::failure::{Failure, Result};
use crate::output::Page;

/// Starts a sweep and follows it.
pub fn sweep(context: &Context, args: &Sweep) -> Result<()> {
    let spec = spec(args)?;
    let client = context.client()?;
    if args.detach {
        client.must_be_server("--detach")?;
    }
    let run = client.send(Request::post(&["sweeps"]).json(&Value::Object(spec)))?;
    if args.detach {
        return follow::detached(context, &client, run);
    }
    let run: Run = serde_json::from_value(run)
        .map_err(|error| Failure::failed("protocol", format!("this is no run: {error}")))?;
    follow::to_the_end(context, &client, &run, swept)
}

/// The settings: the file's, and over them the flags'.
fn spec(args: &Sweep) -> Result<Map<String, Value>> {
    let mut spec = read_object_file(&args.config)?;
    for (name, value) in [
        ("metric", json!(args.metric)),
        ("goal", json!(args.maximize.then_some("maximize"))),
        ("seed", json!(args.seed)),
        ("register", json!(args.register)),
        ("name", json!(args.name)),
        ("experiment", json!(args.experiment)),
    ] {
        set(&mut spec, name, value);
    }
    if let Some(trials) = args.trials {
        let strategy = match args.halving {
            Some(steps) => json!({"kind": "halving", "trials": trials, "min_steps": steps}),
            None => json!({"kind": "random", "trials": trials}),
        };
        spec.insert("strategy".to_owned(), strategy);
    }
    for choice in &args.vary {
        let value: Value = serde_json::from_str(&choice.value).map_err(|error| {
            Failure::usage(format!("--vary {}: {error}", choice.name))
                .hint("expected SETTING={\"values\": […]} or SETTING={\"min\": X, \"max\": Y}")
        })?;
        match spec.entry("space").or_insert_with(|| json!({})) {
            Value::Object(space) => space.insert(choice.name.clone(), value),
            _ => {
                return Err(Failure::usage(
                    "`space` in the settings must be a JSON object",
                ));
            }
        };
    }
    Ok(spec)
}

/// How a sweep has ended, for people.
pub fn swept(end: &EndEvent, page: &mut Page) {
    trained(end, page);
    page.line("");
    page.line(format!(
        "the trials: tenon runs list --parent {}",
        end.run.id
    ));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn flags_are_written_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sweep.json");
        let text = r#"{"train": {"dataset": "d"}, "space": {"seed": {"values": [1]}},
            "strategy": {"kind": "grid"}, "metric": "eval/accuracy"}"#;
        std::fs::write(&file, text).unwrap();
        let args = [
            "tenon",
            "sweep",
            file.to_str().unwrap(),
            "--vary",
            r#"learning_rate={"min": 0.1, "max": 0.2}"#,
            "--trials",
            "9",
            "--halving",
            "5",
            "--maximize",
        ];
        let Command::Sweep(args) = Cli::try_parse_from(args).unwrap().command else {
            panic!("sweep was asked for")
        };
        assert_eq!(
            Value::Object(spec(&args).unwrap()),
            json!({
                "train": {"dataset": "d"},
                "space": {"seed": {"values": [1]}, "learning_rate": {"min": 0.1, "max": 0.2}},
                "strategy": {"kind": "halving", "trials": 9, "min_steps": 5},
                "metric": "eval/accuracy", "goal": "maximize",
            })
        );
        let wrong = Sweep {
            vary: vec!["a=b".parse().unwrap()],
            ..args
        };
        assert!(spec(&wrong).is_err());
    }
}
