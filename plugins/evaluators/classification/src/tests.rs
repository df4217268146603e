#![allow(clippy::unwrap_used)]
use super::*;
use tenon_sdk::{Column, testkit};

fn open(json: &str) -> Classification {
    Classification::open(serde_json::from_str(json).unwrap()).unwrap()
}

fn judged(json: &str, columns: impl IntoIterator<Item = Column>) -> Result<Report> {
    testkit::set_seed(3);
    let mut evaluator = open(json);
    evaluator.update(Batch::from_columns(columns)?)?;
    evaluator.finish()
}

fn find(report: &Report, name: &str) -> Option<f64> {
    let mut metrics = report.metrics.iter();
    metrics.find(|m| m.name == name).map(|m| m.value)
}

#[track_caller]
fn is(report: &Report, name: &str, expected: f64) {
    let found = find(report, name).unwrap_or_else(|| panic!("there is no {name}"));
    assert!(
        (found - expected).abs() < 1e-12,
        "{name}: {found}, expected {expected}"
    );
}

fn table<'r>(report: &'r Report, name: &str) -> &'r Batch {
    &report.tables.iter().find(|t| t.name == name).unwrap().rows
}

fn refused(json: &str, columns: impl IntoIterator<Item = Column>) -> String {
    judged(json, columns).unwrap_err().to_string()
}

#[test]
fn predicted_names_are_compared() {
    let report = judged(
        r#"{"predicted": "guess"}"#,
        [
            Column::from_utf8("class", ["cat", "dog", "cat", "owl"]),
            Column::from_utf8("guess", ["cat", "cat", "cat", "owl"]),
        ],
    )
    .unwrap();
    is(&report, "accuracy", 0.75);
    is(&report, "f1_macro", (0.8 + 0.0 + 1.0) / 3.0);
    is(&report, "rows", 4.0);
    // Nothing is known of scores, and no class of three is the positive one.
    for name in ["f1", "roc_auc", "log_loss", "top_5_accuracy", "unlabelled"] {
        assert_eq!(find(&report, name), None, "{name}");
    }
    let matrix = table(&report, "confusion_matrix");
    let names: Vec<_> = matrix.names().collect();
    assert_eq!(names, ["actual \\ predicted", "cat", "dog", "owl"]);
    let cat: Vec<_> = matrix.i64s("cat").unwrap().iter().flatten().collect();
    assert_eq!(cat, [2, 1, 0]);
    assert_eq!(report.plots[0].name, "confusion_matrix");
    let mistakes = table(&report, "mistakes");
    assert_eq!(mistakes.i64s("row").unwrap().get(0), Some(1));
    assert_eq!(mistakes.utf8("actual").unwrap().get(0), Some("dog"));
}

/// Says logits for three classes: the column `x` for its own class.
struct Oracle;

impl testkit::Model for Oracle {
    fn predict(&mut self, rows: &Batch) -> Result<Batch> {
        let logits = rows.i64s("x")?.iter().map(|class| {
            let mut logits = [0.0_f32; 3];
            logits[class.unwrap() as usize] = 1.0;
            logits
        });
        Batch::from_columns([Column::from_f32_lists("logits", logits)])
    }
}

#[test]
fn the_model_predicts_unless_a_column_does() {
    testkit::set_model(Oracle);
    let mut evaluator = open(r#"{"top": [1, 2, 3], "max_rows": 5, "resamples": 200}"#);
    assert_eq!(evaluator.columns(), None);
    let rows = |truth: [Option<i64>; 3], says: [i64; 3]| {
        let mut column = tenon_sdk::ColumnBuilder::new("class", tenon_sdk::ColumnType::Int64);
        for class in truth {
            match class {
                Some(class) => column.push_i64(class),
                None => column.push_null(),
            }
        }
        Batch::from_columns([column.finish(), Column::from_i64s("x", says)]).unwrap()
    };
    let first = rows([Some(0), None, Some(2)], [0, 1, 2]);
    evaluator.update(first).unwrap();
    evaluator
        .update(rows([Some(1), Some(2), Some(0)], [1, 0, 0]))
        .unwrap();
    let report = evaluator.finish().unwrap();
    // Five were shown, one of them without a class.
    is(&report, "rows", 4.0);
    is(&report, "unlabelled", 1.0);
    is(&report, "accuracy", 0.75);
    is(&report, "top_1_accuracy", 0.75);
    // The wrong one ties with another class, which counts against it.
    is(&report, "top_2_accuracy", 0.75);
    assert_eq!(find(&report, "top_3_accuracy"), None);
    let e = 1.0_f64.exp();
    let (right, wrong) = (-(e / (e + 2.0)).ln(), -(1.0 / (e + 2.0)).ln());
    is(&report, "log_loss", (3.0 * right + wrong) / 4.0);
    let mistakes = table(&report, "mistakes");
    assert_eq!(mistakes.i64s("row").unwrap().get(0), Some(4));
    let plots: Vec<_> = report.plots.iter().map(|plot| plot.name.as_str()).collect();
    assert_eq!(
        plots,
        ["confusion_matrix", "roc", "precision_recall", "calibration"]
    );
    for metric in &report.metrics {
        if let (Some(low), Some(high)) = (metric.low, metric.high) {
            assert!(
                low <= metric.value && metric.value <= high,
                "{}",
                metric.name
            );
        }
    }
    let accuracy = &report.metrics[0];
    assert!(accuracy.low.is_some() && accuracy.low < accuracy.high);
}

#[test]
fn one_number_is_the_second_class() {
    let columns = || {
        [
            Column::from_bools("class", [true, false, true, false]),
            Column::from_f64s("p", [0.9, 0.2, 0.4, 0.6]),
        ]
    };
    let json = r#"{"scores": "p", "scale": "probabilities"}"#;
    assert_eq!(open(json).columns().unwrap(), ["class", "p"]);
    let report = judged(json, columns()).unwrap();
    is(&report, "accuracy", 0.5);
    is(&report, "precision", 0.5);
    is(&report, "roc_auc", 0.75);
    is(&report, "brier", (0.01 + 0.04 + 0.36 + 0.36) / 4.0);
    is(&report, "max_calibration_error", 0.6);
    assert_eq!(
        table(&report, "classes").utf8("class").unwrap().get(1),
        Some("true")
    );
    // The mistakes of which it was surest come first: both have 0.6.
    assert_eq!(table(&report, "mistakes").len(), 2);

    let json = r#"{"scores": "p", "scale": "probabilities", "threshold": 0.3}"#;
    let report = judged(json, columns()).unwrap();
    is(&report, "recall", 1.0);
    is(&report, "precision", 2.0 / 3.0);
    let json = r#"{"scores": "p", "scale": "probabilities", "positive": "false"}"#;
    let report = judged(json, columns()).unwrap();
    is(&report, "roc_auc", 0.75);
    is(&report, "brier", (0.01 + 0.04 + 0.36 + 0.36) / 4.0);
    let json = r#"{"scores": "p", "scale": "scores"}"#;
    let report = judged(json, columns()).unwrap();
    is(&report, "recall", 1.0);
    assert!(find(&report, "roc_auc").is_some() && find(&report, "log_loss").is_none());
}

#[test]
fn one_class_only_is_judged_by_what_is_defined() {
    let columns = || {
        [
            Column::from_utf8("class", ["no", "no"]),
            Column::from_f32_lists("p", [[0.75_f32, 0.25], [0.5, 0.5]]),
        ]
    };
    let json = r#"{"scores": "p", "scale": "probabilities", "labels": ["no", "yes"]}"#;
    let report = judged(json, columns()).unwrap();
    is(&report, "accuracy", 1.0);
    is(&report, "matthews", 0.0);
    is(&report, "f1", 0.0);
    for name in ["roc_auc", "average_precision", "cohen_kappa"] {
        assert_eq!(find(&report, name), None, "{name}");
    }
    assert!(report.plots.iter().all(|plot| plot.name != "roc"));
    let classes = table(&report, "classes");
    assert_eq!(classes.f64s("roc_auc").unwrap().get(0), None);
    assert_eq!(classes.f64s("average_precision").unwrap().get(0), Some(1.0));

    // A positive class that never comes up.
    let report = judged(
        r#"{"predicted": "guess", "positive": "yes"}"#,
        [
            Column::from_utf8("class", ["no", "no"]),
            Column::from_utf8("guess", ["no", "no"]),
        ],
    );
    is(&report.unwrap(), "recall", 0.0);
}

#[test]
fn many_classes_are_listed_by_pairs() {
    let truth: Vec<i64> = (0..120).map(|row| row % 60).collect();
    let guess = truth
        .iter()
        .map(|class| if *class == 7 { 8 } else { *class });
    let guess = Column::from_i64s("guess", guess.collect::<Vec<_>>());
    let report = judged(
        r#"{"predicted": "guess", "resamples": 0}"#,
        [Column::from_i64s("class", truth), guess],
    )
    .unwrap();
    let pairs = table(&report, "confusions");
    assert_eq!(
        (pairs.len(), pairs.i64s("rows").unwrap().get(0)),
        (1, Some(2))
    );
    assert_eq!(pairs.utf8("actual").unwrap().get(0), Some("7"));
    assert!(report.metrics.iter().all(|metric| metric.low.is_none()));
}

#[test]
fn what_cannot_be_judged_is_told_with_row_and_remedy() {
    let scored = |json: &str, scores: [f32; 2]| {
        let class = Column::from_i64s("class", [1]);
        refused(json, [class, Column::from_f32_lists("p", [scores])])
    };
    let logits = r#"{"scores": "p"}"#;
    let error = scored(logits, [0.0, f32::NAN]);
    assert!(
        error.contains("class 1 is NaN") && error.contains("row 0"),
        "{error}"
    );
    assert!(scored(logits, [f32::INFINITY, 0.0]).contains("inf"));
    assert!(scored(logits, [f32::NEG_INFINITY; 2]).contains("-inf"));
    let error = scored(r#"{"scores": "p", "scale": "probabilities"}"#, [3.0, 1.0]);
    assert!(
        error.contains("sum to 4") && error.contains("`scale`"),
        "{error}"
    );
    let error = scored(r#"{"scores": "p", "labels": ["a", "b", "c"]}"#, [3.0, 1.0]);
    assert!(error.contains("2 scores for the 3 classes"), "{error}");

    let scores = || Column::from_f32_lists("p", [[0.0_f32, 1.0]]);
    let error = refused(logits, [Column::from_i64s("class", [2]), scores()]);
    assert!(
        error.contains("class 2 has no place among 2 scores"),
        "{error}"
    );
    let error = refused(logits, [Column::from_utf8("class", ["b"]), scores()]);
    assert!(error.contains("`labels`"), "{error}");
    let error = refused(
        r#"{"scores": "p", "labels": ["a", "b"]}"#,
        [Column::from_utf8("class", ["x"]), scores()],
    );
    assert!(error.contains("\"x\" is not among `labels`"), "{error}");
    let error = refused(logits, [Column::from_f32s("class", [1.0]), scores()]);
    assert!(error.contains("float32"), "{error}");

    let mixed = [
        Column::from_utf8("class", ["1"]),
        Column::from_i64s("guess", [1]),
    ];
    let error = refused(r#"{"predicted": "guess"}"#, mixed);
    assert!(
        error.contains("integers") && error.contains("text"),
        "{error}"
    );
    let three = || {
        [
            Column::from_i64s("class", [0, 1, 2]),
            Column::from_i64s("guess", [0, 1, 2]),
        ]
    };
    let error = refused(r#"{"predicted": "guess", "positive": "1"}"#, three());
    assert!(error.contains("3 classes"), "{error}");
    let error = refused(
        r#"{"scores": "p", "threshold": 0.3}"#,
        [
            Column::from_i64s("class", [2]),
            Column::from_f32_lists("p", [[0.0_f32, 1.0, 2.0]]),
        ],
    );
    assert!(error.contains("3 classes"), "{error}");
    assert!(open(logits).finish().is_err());
    let none = [
        Column::from_utf8_options("class", [None::<&str>]),
        Column::from_utf8("guess", ["a"]),
    ];
    let error = refused(r#"{"predicted": "guess"}"#, none);
    assert!(error.contains("none of the 1 rows"), "{error}");
    for (json, part) in [
        (r#"{"predicted": "a", "scores": "b"}"#, "both"),
        (r#"{"predicted": "a", "threshold": 0.3}"#, "`threshold`"),
        (r#"{"labels": ["a", "b", "a"]}"#, "twice"),
        (r#"{"labels": ["a"]}"#, "one class"),
        (r#"{"labels": ["a", "b"], "positive": "c"}"#, "\"c\""),
    ] {
        let config = serde_json::from_str(json).unwrap();
        let error = Classification::open(config).err().unwrap().to_string();
        assert!(error.contains(part), "{json}: {error}");
    }
}
