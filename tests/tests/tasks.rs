//! The examples that learn from real data: images, a table, texts. They use the files of `examples/`, and
//! scikit-learn for the data and to compare with.
#![allow(clippy::unwrap_used)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tenon_tests::{Room, component};

/// An example's folder, and a data folder with its dataset.
struct Task {
    example: PathBuf,
    room: Room,
    /// What the export has printed.
    said: String,
}

impl Task {
    /// The recipe and its data, imported as `rows` with the splits `train` and `test`.
    fn new(example: &str, recipe: &str) -> Self {
        let example = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../examples")
            .join(example);
        let room = Room::new();
        let interpreter = env::var_os("TENON_SKLEARN")
            .unwrap_or_else(|| panic!("TENON_SKLEARN is not set: `cargo xtask test` sets it"));
        let folder = room.path("rows");
        fs::create_dir(&folder).unwrap();
        let output = Command::new(interpreter)
            .args(["-W", "ignore"])
            .arg(example.join("export.py"))
            .arg(&folder)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        room.ok(&[
            "plugin",
            "install",
            &component(recipe),
            &component("evaluator-classification"),
        ]);
        room.ok(&[
            "data",
            "import",
            "rows",
            &format!("{folder}/train.jsonl"),
            "--split",
            &format!("test={folder}/test.jsonl"),
        ]);
        Self {
            example,
            room,
            said,
        }
    }

    /// Trains, and measures on rows that were kept apart; the metrics.
    fn learn(&self, recipe: &str, evaluator: &str, settings: &[&str]) -> Value {
        let config = format!("@{}", self.example.join("recipe.json").display());
        let mut args = vec![
            "train",
            "--recipe",
            recipe,
            "--recipe-config",
            &config,
            "--dataset",
            "rows",
            "--register",
            "it",
            "--device",
            "cpu",
        ];
        args.extend(settings);
        self.room.ok(&args);
        let evaluator = format!("tenon/classification={evaluator}");
        let run = self.room.json(&[
            "evaluate",
            "it",
            "--dataset",
            "rows#test",
            "--evaluator",
            &evaluator,
            "--device",
            "cpu",
        ]);
        let run = self
            .room
            .json(&["runs", "show", run["id"].as_str().unwrap()]);
        run["metrics"].clone()
    }
}

fn metric(metrics: &Value, name: &str) -> f64 {
    metrics[format!("classification/{name}")]["last"]
        .as_f64()
        .unwrap_or_else(|| panic!("no {name} in {metrics}"))
}

#[test]
fn handwritten_digits_are_read() {
    let task = Task::new("digits", "recipe-resnet");
    let metrics = task.learn(
        "tenon/resnet",
        r#"{"label": "label"}"#,
        &[
            "--epochs",
            "15",
            "--batch-rows",
            "32",
            "--learning-rate",
            "0.003",
        ],
    );
    let accuracy = metric(&metrics, "accuracy");
    assert!(accuracy >= 0.97, "{metrics}");
    assert!(metric(&metrics, "roc_auc_macro") > 0.99, "{metrics}");
}

#[test]
fn a_table_is_classified_as_well_as_by_a_logistic_regression() {
    let task = Task::new("table", "recipe-mlp");
    let regression: f64 = task.said.trim().parse().unwrap();
    let metrics = task.learn(
        "tenon/mlp",
        r#"{"label": "malignant"}"#,
        &[
            "--epochs",
            "60",
            "--batch-rows",
            "32",
            "--learning-rate",
            "0.002",
        ],
    );
    let accuracy = metric(&metrics, "accuracy");
    // 171 rows: two of them are 1.2 %.
    assert!(
        accuracy >= regression - 0.012,
        "{accuracy} beside {regression}"
    );
    assert!(metric(&metrics, "roc_auc") > 0.98, "{metrics}");
}

#[test]
fn paragraphs_are_told_apart_by_the_library_that_they_are_about() {
    let task = Task::new("text-classification", "recipe-bert");
    task.room.ok(&[
        "tokenizer",
        "train",
        "words",
        "--dataset",
        "rows#train",
        "--columns",
        "text",
        "--kind",
        "bpe",
        "--vocabulary",
        "4000",
        "--special-tokens",
        "[PAD],[UNK],[CLS],[SEP],[MASK]",
    ]);
    let metrics = task.learn(
        "tenon/bert",
        r#"{"label": "library"}"#,
        &[
            "--tokenizer",
            "words",
            "--epochs",
            "3",
            "--batch-rows",
            "32",
            "--learning-rate",
            "0.001",
        ],
    );
    // Half of the paragraphs are SciPy's.
    assert!(metric(&metrics, "accuracy") > 0.8, "{metrics}");
    assert!(metric(&metrics, "f1_macro") > 0.75, "{metrics}");
}
