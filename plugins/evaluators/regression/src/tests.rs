#![allow(clippy::unwrap_used)]
use super::*;
use tenon_sdk::{Column, testkit};

fn open(json: &str) -> Regression {
    Regression::open(serde_json::from_str(json).unwrap()).unwrap()
}

fn judged(json: &str, columns: impl IntoIterator<Item = Column>) -> Result<Report> {
    testkit::set_seed(5);
    let mut evaluator = open(json);
    evaluator.update(Batch::from_columns(columns)?)?;
    evaluator.finish()
}

fn find(report: &Report, name: &str) -> Option<f64> {
    let mut metrics = report.metrics.iter();
    metrics.find(|m| m.name == name).map(|m| m.value)
}

#[test]
fn columns_are_compared() {
    let json = r#"{"target": "y", "predicted": "x", "errors": 1}"#;
    assert_eq!(open(json).columns().unwrap(), ["y", "x"]);
    let columns = [
        Column::from_i64s("y", [1, 2, 3, 10, 4, 5]),
        Column::from_f32s("x", [1.5, 2.0, 2.0, 6.0, 4.0, 6.0]),
    ];
    let report = judged(json, columns).unwrap();
    assert_eq!(find(&report, "mae"), Some(6.5 / 6.0));
    assert_eq!(find(&report, "max_error"), Some(4.0));
    let errors = &report.tables[0].rows;
    assert_eq!(
        (errors.len(), errors.i64s("row").unwrap().get(0)),
        (1, Some(3))
    );
    assert_eq!(errors.f64s("error").unwrap().get(0), Some(-4.0));
    assert!(errors.find("target").is_none());
    for metric in &report.metrics {
        let bounded = metric.low.is_some();
        let has_interval = !["max_error", "rows"].contains(&metric.name.as_str());
        assert_eq!(bounded, has_interval, "{}", metric.name);
        if let (Some(low), Some(high)) = (metric.low, metric.high) {
            assert!(
                low <= metric.value && metric.value <= high,
                "{}",
                metric.name
            );
        }
    }
    let plots: Vec<_> = report.plots.iter().map(|plot| plot.name.as_str()).collect();
    assert_eq!(
        plots,
        ["residuals", "predicted_and_actual", "residual_histogram"]
    );
}

/// Predicts the double of `x` and, as another target, its square.
struct Oracle;

impl testkit::Model for Oracle {
    fn predict(&mut self, rows: &Batch) -> Result<Batch> {
        let x = rows.f32s("x")?;
        let both = x.iter().flatten().map(|x| [2.0 * x, x * x]);
        Batch::from_columns([Column::from_f32_lists("y", both)])
    }
}

#[test]
fn several_targets_are_averaged_and_told_apart() {
    testkit::set_model(Oracle);
    let columns = || {
        [
            Column::from_f32s("x", [1.0, 2.0, 3.0]),
            Column::from_f32_lists("target", [[2.0_f32, 2.0], [4.0, 5.0], [6.0, 10.0]]),
        ]
    };
    assert_eq!(open("{}").columns(), None);
    let report = judged(
        r#"{"names": ["double", "square"], "resamples": 50}"#,
        columns(),
    )
    .unwrap();
    assert_eq!(find(&report, "mae"), Some(0.5));
    let targets = &report.tables[0].rows;
    assert_eq!(targets.utf8("target").unwrap().get(1), Some("square"));
    assert_eq!(targets.f64s("mae").unwrap().get(1), Some(1.0));
    let correlation = targets.f64s("pearson").unwrap().get(0).unwrap();
    assert!((correlation - 1.0).abs() < 1e-12);
    assert_eq!(
        report.tables[1].rows.utf8("target").unwrap().get(0),
        Some("square")
    );
    assert!(report.plots[0].spec.contains("\"series\":\"square\""));
    let error = judged(r#"{"names": ["one"]}"#, columns()).unwrap_err();
    assert!(
        error.to_string().contains("1 names for 2 targets"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_judged_is_told_with_row_and_remedy() {
    let json = r#"{"target": "y", "predicted": "x"}"#;
    let refused = |columns: [Column; 2]| judged(json, columns).unwrap_err().to_string();
    let error = refused([
        Column::from_f64s("y", [1.0, 2.0]),
        Column::from_f64s("x", [1.0, f64::NAN]),
    ]);
    assert!(
        error.contains("row 1 has NaN in the column \"x\""),
        "{error}"
    );
    let error = refused([
        Column::from_f64s("y", [1.0]),
        Column::from_f32_lists("x", [[1.0_f32, 2.0]]),
    ]);
    assert!(
        error.contains("1 true numbers") && error.contains("2 predicted"),
        "{error}"
    );
    let error = refused([Column::from_utf8("y", ["1"]), Column::from_f64s("x", [1.0])]);
    assert!(error.contains("utf8"), "{error}");
    assert!(open(json).finish().is_err());

    // Rows without a true number are left out and counted.
    let mut target = tenon_sdk::ColumnBuilder::new("y", tenon_sdk::ColumnType::Float64);
    target.push_null();
    target.push_f64(0.0);
    let columns = [target.finish(), Column::from_f64s("x", [9.0, 1.0])];
    let report = judged(json, columns).unwrap();
    assert_eq!(find(&report, "unlabelled"), Some(1.0));
    assert_eq!(find(&report, "mae"), Some(1.0));
    assert_eq!((find(&report, "r2"), find(&report, "mape")), (None, None));
    assert_eq!(report.tables[0].rows.i64s("row").unwrap().get(0), Some(1));
}

#[test]
fn plots_hold_no_more_points_than_asked_for() {
    let values: Vec<f64> = (0..500).map(f64::from).collect();
    let columns = [
        Column::from_f64s("y", values.clone()),
        Column::from_f64s("x", values),
    ];
    let json = r#"{"target": "y", "predicted": "x", "points": 50, "resamples": 0}"#;
    let report = judged(json, columns).unwrap();
    assert_eq!(report.plots[0].spec.matches("\"x\":").count(), 50 + 1);
    // Every error is 0.
    assert!(report.plots[2].spec.contains("\"rows\":500"));
}
