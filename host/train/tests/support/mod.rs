//! What the tests share: a data folder with the project's own plugins, a small dataset and its
//! tokenizer.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tenon_data::{Control, ImportInput, ImportOptions, TrainOptions, collate::BatchOptions};
use tenon_model::{Platform, PlatformOptions};
use tenon_plugin::Limits;
use tenon_registry::InstallOptions;
use tenon_track::Run;
use tenon_train::{Jobs, ScheduleSpec, TrainSpec};

pub const GPT: &str = "tenon/gpt";
/// Letters of the small dataset.
pub const LETTERS: usize = 8;

/// The bytes of a component that the project ships.
pub fn component(name: &str) -> Vec<u8> {
    let folder = std::env::var_os("TENON_PLUGINS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/tenon/plugins"),
        PathBuf::from,
    );
    let path = folder.join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; build the components with `cargo xtask plugins`",
            path.display()
        )
    })
}

/// Opens a data folder on the processor.
pub fn open(root: &Path) -> Platform {
    open_with(root, Limits::default())
}

pub fn open_with(root: &Path, limits: Limits) -> Platform {
    let options = PlatformOptions {
        device: "cpu".into(),
        limits,
        ..PlatformOptions::default()
    };
    // A job's thread may hold the folder for a moment after the job has ended.
    let mut tries = 0;
    loop {
        match Platform::open(root, options.clone()) {
            Ok(platform) => return platform,
            Err(error) if tries == 300 => panic!("{error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
        tries += 1;
    }
}

/// Rows whose every letter follows from the one before it.
pub fn alphabet(rows: usize, length: usize) -> String {
    (0..rows)
        .map(|row| {
            let text: String = (0..length)
                .map(|at| char::from(b'a' + ((row * 5 + at) % LETTERS) as u8))
                .collect();
            format!("{}\n", json!({"text": text, "number": row}))
        })
        .collect()
}

pub fn import(platform: &Platform, name: &str, splits: &[(&str, String)]) {
    let inputs = splits
        .iter()
        .map(|(split, rows)| {
            ImportInput::stream(
                "rows.jsonl",
                std::io::Cursor::new(rows.clone().into_bytes()),
            )
            .split(*split)
        })
        .collect();
    platform
        .datasets
        .import(name, inputs, &ImportOptions::default(), &Control::new())
        .unwrap();
}

pub fn install(platform: &Platform, name: &str) {
    install_bytes(platform, &component(name));
}

pub fn install_bytes(platform: &Platform, bytes: &[u8]) {
    platform
        .registry
        .install(bytes, InstallOptions { replace: true })
        .unwrap();
}

/// Puts the recipe, the dataset `letters` and the tokenizer `chars` into a data folder.
pub fn furnish(platform: &Platform) {
    install(platform, "recipe-gpt");
    let splits = [("train", alphabet(64, 12)), ("dev", alphabet(16, 12))];
    import(platform, "letters", &splits);
    let columns = ["text".to_owned()];
    platform
        .tokenizers
        .train(
            "chars",
            "letters#train",
            &columns,
            &TrainOptions::default(),
            &Control::new(),
        )
        .unwrap();
}

/// A data folder with everything in it.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub jobs: Jobs,
}

pub fn place() -> Place {
    place_with(Limits::default())
}

pub fn place_with(limits: Limits) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let platform = open_with(folder.path(), limits);
    furnish(&platform);
    Place {
        jobs: Jobs::open(platform),
        folder,
    }
}

impl Place {
    pub fn platform(&self) -> &Platform {
        self.jobs.platform()
    }

    /// Trains to the end.
    pub fn train(&self, spec: TrainSpec) -> Run {
        let run = self.jobs.train(spec).unwrap();
        self.jobs.wait(&run.id).unwrap()
    }

    /// Trains to the end, which must be a good one.
    pub fn finish(&self, spec: TrainSpec) -> Run {
        finished(self.train(spec))
    }

    pub fn points(&self, run: &str, metric: &str) -> Vec<(i64, f64)> {
        points(self.platform(), run, metric)
    }
}

pub fn points(platform: &Platform, run: &str, metric: &str) -> Vec<(i64, f64)> {
    let range = tenon_track::StepRange::default();
    let points = platform.tracker.history(run, metric, range).unwrap();
    points
        .into_iter()
        .map(|point| (point.step, point.value))
        .collect()
}

pub fn finished(run: Run) -> Run {
    assert_eq!(run.status.name(), "finished", "{:?}", run.error);
    run
}

/// The configuration of a small model.
pub fn small(dropout: f64) -> Value {
    json!({
        "n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 16,
        "embd_pdrop": dropout, "attn_pdrop": dropout, "resid_pdrop": dropout,
    })
}

/// A small training.
pub fn spec(steps: u64) -> TrainSpec {
    TrainSpec {
        recipe: Some(GPT.into()),
        recipe_config: small(0.0),
        tokenizer: Some("chars".into()),
        dataset: "letters".into(),
        steps: Some(steps),
        batch: BatchOptions {
            rows: 16,
            ..BatchOptions::default()
        },
        learning_rate: 1e-2,
        schedule: ScheduleSpec {
            warmup_steps: if steps > 2 { 2 } else { 0 },
            ..ScheduleSpec::default()
        },
        seed: 7,
        log_every: 1,
        ..TrainSpec::default()
    }
}

/// The digest of a run's weights.
pub fn weights(run: &Run) -> String {
    run.artifacts[tenon_train::WEIGHTS].digest.clone()
}

/// Waits until something is so.
pub fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
