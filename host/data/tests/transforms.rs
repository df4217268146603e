//! Pipelines of the first-party transforms, run as the components that the project ships. Skipped
//! where they have not been built (`cargo xtask plugins` builds them).
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use common::{place, plugin};
use serde_json::{Value, json};
use tenon_data::{Control, PipelineStep};
use tenon_plugin::{Engine, EngineOptions};

struct Plugins(Engine);

impl Plugins {
    fn step(&self, name: &str, config: Value) -> Option<PipelineStep> {
        let bytes = plugin(name)?;
        Some(PipelineStep::new(self.0.load(&bytes).unwrap(), config))
    }
}

fn plugins() -> Plugins {
    Plugins(Engine::new(EngineOptions::default()).unwrap())
}

#[test]
fn a_pipeline_of_components_is_right_recorded_and_cached() {
    let plugins = plugins();
    let steps = || -> Option<Vec<PipelineStep>> {
        Some(vec![
            plugins.step(
                "transform-normalize",
                json!({"columns": ["t"], "form": "nfkc", "space": "remove"}),
            )?,
            plugins.step(
                "transform-filter",
                json!({"columns": ["t"], "min_characters": 2, "classes": ["letter", "digit"]}),
            )?,
            plugins.step("transform-dedup", json!({"columns": ["t"]}))?,
            plugins.step(
                "transform-split",
                json!({"columns": ["t"], "parts": {"train": 0.8, "dev": 0.2}}),
            )?,
        ])
    };
    let Some(first) = steps() else { return };
    let place = place();
    // Full-width letters, spaces, a text that is too short, and every text twice.
    let rows: String = (0..10_000)
        .map(|n| format!("{{\"n\": {n}, \"t\": \"ｒｏｗ {}\"}}\n", n / 2))
        .chain(["{\"n\": -1, \"t\": \"x\"}\n".to_owned()])
        .collect();
    let input = place.import("in", "rows.jsonl", rows).version;

    let seen = Arc::new(AtomicU64::new(0));
    let phases = Arc::new(Mutex::new(Vec::new()));
    let control = Control::new().with_progress({
        let (seen, phases) = (Arc::clone(&seen), Arc::clone(&phases));
        move |progress| {
            seen.fetch_add(progress.rows, Ordering::Relaxed);
            phases.lock().unwrap().push(progress.phase.clone());
        }
    });
    let report = place
        .datasets
        .transform(&input, "out", &first, &control)
        .unwrap();
    assert!(!report.cached);
    let counts: Vec<_> = report
        .steps
        .iter()
        .map(|s| (s.plugin.as_str(), s.rows_in, s.rows_out))
        .collect();
    assert_eq!(
        counts,
        [
            ("tenon/normalize", 10_001, 10_001),
            ("tenon/filter", 10_001, 10_000),
            ("tenon/dedup", 10_000, 5_000),
            ("tenon/split", 5_000, 5_000),
        ]
    );
    assert!(
        phases
            .lock()
            .unwrap()
            .iter()
            .any(|phase| phase == "tenon/split")
    );
    let version = &report.version;
    let mut all: Vec<Value> = [place.rows("out", "train"), place.rows("out", "dev")].concat();
    let dev = version.split("dev").unwrap().rows;
    assert!((850..1150).contains(&dev), "{dev}");
    all.sort_by_key(|row| row["n"].as_i64());
    let expected: Vec<Value> = (0..5000)
        .map(|n| json!({"n": 2 * n, "t": format!("row{n}")}))
        .collect();
    assert_eq!(all, expected);
    let lineage = version.lineage.as_ref().unwrap();
    assert_eq!((lineage.parent.as_str(), lineage.steps.len()), ("in@1", 4));
    assert_eq!(lineage.steps[1].plugin, "tenon/filter");
    assert!(lineage.steps[1].digest.starts_with("sha256:"));

    // The second run finds the result; under another name too.
    let started = Instant::now();
    let again = place
        .datasets
        .transform(&input, "out", &steps().unwrap(), &Control::new())
        .unwrap();
    assert!(again.cached && again.version == *version);
    assert!(started.elapsed().as_secs_f64() < 1.0);
    let other = place
        .datasets
        .transform(&input, "other", &steps().unwrap(), &Control::new())
        .unwrap();
    assert!(other.cached);
    assert_eq!(
        (other.version.name.as_str(), &other.version.digest),
        ("other", &version.digest)
    );
    // Anything that could change the result changes the key.
    let mut seeded = steps().unwrap();
    seeded[0].seed = 1;
    assert!(
        !place
            .datasets
            .transform(&input, "out", &seeded, &Control::new())
            .unwrap()
            .cached
    );
    let mut configured = steps().unwrap();
    configured[3].config["seed"] = json!(7);
    let changed = place
        .datasets
        .transform(&input, "out", &configured, &Control::new())
        .unwrap();
    assert!(!changed.cached && changed.version.digest != version.digest);
    // A result that was deleted is computed again.
    place.datasets.delete_all("out").unwrap();
    assert!(
        !place
            .datasets
            .transform(&input, "out", &steps().unwrap(), &Control::new())
            .unwrap()
            .cached
    );
}

#[test]
fn mistakes_name_the_step() {
    let plugins = plugins();
    let place = place();
    let input = place
        .import("in", "rows.jsonl", "{\"t\": \"a\", \"n\": 1}\n")
        .version;
    for (config, message) in [
        (json!({"columns": ["z"]}), "`z`"),
        (
            json!({"columns": ["n"]}),
            "step 1 (tenon/normalize), rows 0 to 0 of split `train`",
        ),
        (json!({"columns": []}), "step 1 (tenon/normalize)"),
        (json!({"colums": ["t"]}), "step 1 (tenon/normalize)"),
    ] {
        let Some(step) = plugins.step("transform-normalize", config) else {
            return;
        };
        let error = place
            .datasets
            .transform(&input, "out", &[step], &Control::new())
            .unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    assert_eq!(place.datasets.list().unwrap().len(), 1);
    assert!(
        place
            .datasets
            .transform(&input, "out", &[], &Control::new())
            .is_err()
    );
}

#[test]
fn a_million_rows_pass_in_a_breath() {
    let plugins = plugins();
    let Some(step) = plugins.step("transform-dedup", json!({"columns": ["t"]})) else {
        return;
    };
    let place = place();
    let rows: String = (0..1_000_000)
        .map(|n| format!("{{\"t\": \"row {n}\"}}\n"))
        .collect();
    let input = place.import("in", "rows.jsonl", rows).version;
    let started = Instant::now();
    let report = place
        .datasets
        .transform(&input, "out", &[step], &Control::new())
        .unwrap();
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "1M rows through tenon/dedup: {:.2}M rows/s ({:.2} s of {seconds:.2} s in the plugin)",
        1.0 / seconds,
        report.steps[0].seconds
    );
    assert_eq!(report.version.rows(), 1_000_000);
    assert!(seconds < 30.0, "{seconds} s");
}
