//! The evaluators' numbers beside those of scikit-learn, SciPy, sacreBLEU and rouge-score, for random and
//! for unkind inputs.
#![allow(clippy::unwrap_used)]

#[path = "support/shipped.rs"]
mod shipped;

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;
use serde_json::{Value as Json, json};
use shipped::component;
use tenon_plugin::{
    Batch, Evaluation, Evaluator, Grants, PluginError,
    batch::{Column, ColumnBuilder, ColumnType},
};

/// What is compared: as the reference computes it, in double precision.
const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
struct Case {
    name: String,
    config: Json,
    columns: Vec<Values>,
    /// The metrics; nothing: the metric must be left out.
    expected: BTreeMap<String, Option<f64>>,
    /// Low, high, and how far from them the ends of an interval may be.
    #[serde(default)]
    intervals: BTreeMap<String, [f64; 3]>,
    /// The confusion matrix: a column for each predicted class.
    matrix: Option<Matrix>,
    /// Columns of the table `classes`.
    #[serde(default)]
    classes: BTreeMap<String, Vec<Option<f64>>>,
    /// The area under the plotted ROC curve.
    curve: Option<f64>,
}

#[derive(Deserialize)]
struct Matrix {
    names: Vec<String>,
    columns: Vec<Vec<i64>>,
}

#[derive(Deserialize)]
struct Values {
    name: String,
    r#type: String,
    values: Vec<Json>,
}

impl Values {
    fn column(&self, rows: std::ops::Range<usize>) -> Column {
        let kind = match &*self.r#type {
            "utf8" => ColumnType::Utf8,
            "boolean" => ColumnType::Boolean,
            "int64" => ColumnType::Int64,
            "float32" => ColumnType::Float32,
            "float64" => ColumnType::Float64,
            "float32-list" => ColumnType::Float32List,
            other => panic!("{other}"),
        };
        let number = |value: &Json| value.as_f64().unwrap() as f32;
        let mut column = ColumnBuilder::new(&self.name, kind);
        for value in &self.values[rows] {
            match kind {
                ColumnType::Utf8 => column.push_utf8(value.as_str().unwrap()),
                ColumnType::Boolean => column.push_bool(value.as_bool().unwrap()),
                ColumnType::Int64 => column.push_i64(value.as_i64().unwrap()),
                ColumnType::Float32 => column.push_f32(number(value)),
                ColumnType::Float64 => column.push_f64(value.as_f64().unwrap()),
                _ => {
                    let list: Vec<f32> = value.as_array().unwrap().iter().map(number).collect();
                    column.push_f32_list(&list);
                }
            }
        }
        column.finish()
    }
}

/// `cargo xtask test` makes a Python with the libraries in it and says where it is.
fn python(arguments: &[&str]) -> Command {
    let interpreter = std::env::var_os("TENON_SKLEARN")
        .unwrap_or_else(|| panic!("TENON_SKLEARN is not set: `cargo xtask test` sets it"));
    let mut command = Command::new(PathBuf::from(interpreter));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/evaluators/reference.py");
    command.arg("-B").arg(script).args(arguments);
    command
}

fn cases(what: &str, seed: u64) -> Vec<Case> {
    let out = python(&[what, &seed.to_string()]).output().unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{what}: {errors}");
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Shows the case's rows to the evaluator, in several batches of uneven length.
fn evaluate(evaluator: &str, case: &Case, seed: u64) -> Result<Evaluation, PluginError> {
    let grants = Grants {
        seed,
        ..Grants::default()
    };
    let mut evaluator = Evaluator::open(&component(evaluator), &case.config, grants)?;
    let rows = case.columns[0].values.len();
    let mut from = 0;
    while from < rows {
        let to = (from + 1 + rows * 2 / 5).min(rows);
        let columns = case.columns.iter().map(|values| values.column(from..to));
        evaluator.update(&Batch::new((to - from) as u32, columns.collect()).unwrap())?;
        from = to;
    }
    evaluator.finish()
}

fn is_near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= TOLERANCE * expected.abs().max(1e-3)
}

/// Compares a report with what must come out; says what does not fit.
fn faults(case: &Case, found: &Evaluation) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, expected) in &case.expected {
        let metric = found.metric(name);
        match (metric, expected) {
            (None, None) => {}
            (Some(metric), Some(expected)) if is_near(metric.value, *expected) => {}
            (metric, expected) => faults.push(format!(
                "{name}: {:?}, expected {expected:?}",
                metric.map(|metric| metric.value)
            )),
        }
    }
    for metric in &found.metrics {
        if let (Some(low), Some(high)) = (metric.low, metric.high)
            && low > high
        {
            faults.push(format!("{}: from {low} to {high}", metric.name));
        }
    }
    for (name, [low, high, slack]) in &case.intervals {
        let metric = found.metric(name).unwrap();
        let ends = [(metric.low, low), (metric.high, high)];
        for (found, expected) in ends {
            let found = found.unwrap_or(f64::NAN);
            if (found - expected).abs() > *slack || found.is_nan() {
                faults.push(format!(
                    "{name}: an end at {found}, expected {expected} ± {slack}"
                ));
            }
        }
    }
    faults.extend(table_faults(case, found));
    if let Some(expected) = case.curve {
        let area = plotted_area(found);
        if !is_near(area, expected) {
            faults.push(format!(
                "the plotted curve has the area {area}, expected {expected}"
            ));
        }
    }
    faults
}

fn table_faults(case: &Case, found: &Evaluation) -> Vec<String> {
    let table = |name: &str| {
        let mut tables = found.tables.iter();
        &tables.find(|table| table.name == name).unwrap().rows
    };
    let mut faults = Vec::new();
    if let Some(matrix) = &case.matrix {
        let rows = table("confusion_matrix");
        for (name, expected) in matrix.names.iter().zip(&matrix.columns) {
            let column = rows.column(name).map(|column| column.i64s().unwrap());
            let counts: Option<Vec<i64>> = column.map(|column| column.into_owned());
            if counts.as_ref() != Some(expected) {
                faults.push(format!(
                    "confused with {name}: {counts:?}, expected {expected:?}"
                ));
            }
        }
        if rows.columns.len() != matrix.names.len() + 1 {
            faults.push(format!("{} columns of the matrix", rows.columns.len()));
        }
    }
    for (name, expected) in &case.classes {
        let column = table("classes").column(name).unwrap();
        for (class, expected) in expected.iter().enumerate() {
            let found = column.f64(class);
            let fits = match (found, expected) {
                (Some(found), Some(expected)) => is_near(found, *expected),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            if !fits {
                faults.push(format!(
                    "{name} of class {class}: {found:?}, expected {expected:?}"
                ));
            }
        }
    }
    faults
}

/// Under the points of the plot `roc`, by trapezoids.
fn plotted_area(found: &Evaluation) -> f64 {
    let plot = found.plots.iter().find(|plot| plot.name == "roc").unwrap();
    let layers = plot.spec["layer"].as_array().unwrap();
    let points = layers[1]["data"]["values"].as_array().unwrap();
    let at = |point: &Json, axis: &str| point[axis].as_f64().unwrap();
    points
        .windows(2)
        .map(|two| {
            let width = at(&two[1], "x") - at(&two[0], "x");
            width * f64::midpoint(at(&two[0], "y"), at(&two[1], "y"))
        })
        .sum()
}

/// Compares all cases of some seeds; returns the plots of the first.
#[track_caller]
fn compare(evaluator: &str, what: &str, seeds: &[u64]) -> Vec<(String, Json)> {
    let mut plots = Vec::new();
    let mut wrong = Vec::new();
    for &seed in seeds {
        let cases = cases(what, seed);
        assert!(cases.len() > 10, "{}", cases.len());
        for case in &cases {
            let found = match evaluate(evaluator, case, seed) {
                Ok(found) => found,
                Err(error) => {
                    wrong.push(format!("{} (seed {seed}): {error}", case.name));
                    continue;
                }
            };
            let faults = faults(case, &found);
            if !faults.is_empty() {
                wrong.push(format!(
                    "{} (seed {seed}): {}",
                    case.name,
                    faults.join("; ")
                ));
            }
            if seed == seeds[0] {
                let named = |plot: tenon_plugin::evaluator::Plot| {
                    (format!("{}: {}", case.name, plot.name), plot.spec)
                };
                plots.extend(found.plots.into_iter().map(named));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    plots
}

/// Every plot keeps to Vega-Lite's schema.
#[track_caller]
fn check_plots(plots: &[(String, Json)]) {
    let mut child = python(&["plots"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(&serde_json::to_vec(plots).unwrap())
        .unwrap();
    drop(input);
    let out = child.wait_with_output().unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let checked = String::from_utf8_lossy(&out.stdout);
    assert_eq!(checked.trim(), plots.len().to_string());
}

#[test]
fn classes_are_judged_as_scikit_learn_judges_them() {
    let plots = compare("evaluator-classification", "classification", &[1, 2, 3]);
    assert!(
        plots
            .iter()
            .any(|(name, _)| name.ends_with(": calibration"))
    );
    check_plots(&plots);
}

#[test]
fn numbers_are_judged_as_scikit_learn_and_scipy_judge_them() {
    let plots = compare("evaluator-regression", "regression", &[1, 2, 3]);
    check_plots(&plots);
}

#[test]
fn texts_are_judged_as_sacrebleu_and_rouge_score_judge_them() {
    compare("evaluator-text-overlap", "text", &[1, 2, 3, 4]);
}

#[test]
fn a_seed_gives_one_report_and_another_other_intervals() {
    let case = &cases("classification", 5)[2];
    let of = |seed| evaluate("evaluator-classification", case, seed).unwrap();
    assert_eq!(of(8), of(8));
    let low = |found: &Evaluation| found.metric("matthews").unwrap().low;
    assert!((0..5).any(|seed| low(&of(seed)) != low(&of(8))));
}

#[test]
fn what_is_no_prediction_is_refused_with_row_and_remedy() {
    let scores = |values: Json| Case {
        name: String::new(),
        config: json!({"scores": "s", "scale": "probabilities"}),
        columns: vec![
            Values {
                name: "class".into(),
                r#type: "int64".into(),
                values: vec![json!(0), json!(1)],
            },
            Values {
                name: "s".into(),
                r#type: "float32-list".into(),
                values: vec![json!([0.5, 0.5]), values],
            },
        ],
        expected: BTreeMap::new(),
        intervals: BTreeMap::new(),
        matrix: None,
        classes: BTreeMap::new(),
        curve: None,
    };
    for (values, said) in [
        (json!([2.0, 1.0]), "sum to 3"),
        (
            json!([0.5, 0.25, 0.25]),
            "3 scores, where earlier rows have 2",
        ),
        (json!([1e39, 0.0]), "sum to inf"),
    ] {
        let error = evaluate("evaluator-classification", &scores(values), 1).unwrap_err();
        assert!(matches!(error, PluginError::Guest { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(said) && text.contains("row 1"), "{text}");
    }
}
