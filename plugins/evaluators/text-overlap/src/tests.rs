#![allow(clippy::unwrap_used)]
use super::*;
use tenon_sdk::{model::GenerationOptions, testkit};

fn open(json: &str) -> TextOverlap {
    TextOverlap::open(serde_json::from_str(json).unwrap()).unwrap()
}

fn rows(outputs: &[&str], references: &[&str]) -> Batch {
    Batch::from_columns([
        Column::from_utf8("out", outputs),
        Column::from_utf8("tgt_txt", references),
    ])
    .unwrap()
}

fn value(report: &Report, name: &str) -> f64 {
    report
        .metrics
        .iter()
        .find(|m| m.name == name)
        .map(|m| m.value)
        .unwrap()
}

fn has(report: &Report, name: &str) -> bool {
    report.metrics.iter().any(|m| m.name == name)
}

const OUTPUTS: [&str; 4] = ["疑是地上霜", "低头思故乡", "低头思故乡", "天天天天"];
const TRUTH: [&str; 4] = ["疑是地上霜", "举头望明月", "低头思故乡", "人人人人"];

#[test]
fn texts_are_compared_with_references_and_themselves() {
    let mut evaluator = open(r#"{"output": "out", "examples": 3}"#);
    assert_eq!(evaluator.columns().unwrap(), ["out", "tgt_txt"]);
    evaluator.update(rows(&OUTPUTS[..2], &TRUTH[..2])).unwrap();
    evaluator.update(rows(&OUTPUTS[2..], &TRUTH[2..])).unwrap();
    let report = evaluator.finish().unwrap();
    // Characters: 11 of 19 right (头 too), pairs: 8 of 15, triples: 6 of 11, fours: 4 of 7.
    let precisions = 11.0 / 19.0 * (8.0 / 15.0) * (6.0 / 11.0) * (4.0 / 7.0_f64);
    assert!((value(&report, "bleu") - 100.0 * precisions.powf(0.25)).abs() < 1e-9);
    assert!((value(&report, "distinct_1") - 11.0 / 19.0).abs() < 1e-12);
    assert!((value(&report, "distinct_3") - 7.0 / 11.0).abs() < 1e-12);
    // 天天 three times in one text.
    assert!((value(&report, "self_repetition") - 2.0 / 15.0).abs() < 1e-12);
    assert_eq!(value(&report, "duplicates"), 0.25);
    assert!(!has(&report, "copied"));
    for metric in report
        .metrics
        .iter()
        .filter(|m| !["outputs", "brevity_penalty"].contains(&m.name.as_str()))
    {
        let (low, high) = (metric.low.unwrap(), metric.high.unwrap());
        assert!(
            low <= metric.value && metric.value <= high,
            "{}",
            metric.name
        );
    }
    let bleu = &report.tables[1].rows;
    let matched: Vec<_> = bleu.i64s("matched").unwrap().iter().flatten().collect();
    assert_eq!(matched, [11, 8, 6, 4]);
    // Two texts are right, one has 头 only, one nothing.
    assert_eq!(value(&report, "rouge_l"), (1.0 + 0.2 + 1.0 + 0.0) / 4.0);
    assert_eq!(value(&report, "brevity_penalty"), 1.0);
    assert!(value(&report, "chrf") > value(&report, "chrf_pp"));
    let table = &report.tables[0].rows;
    assert_eq!(table.len(), 3);
    assert_eq!(table.utf8("reference").unwrap().get(1), Some("举头望明月"));
    assert!(table.find("copied").is_none());
}

#[test]
fn what_was_copied_is_found_in_the_training_data() {
    let train = [
        Column::from_utf8_options("text", [Some("举头望明月，低头思故乡。"), None]),
        Column::from_utf8("other", ["天天", "是地上霜雪"]),
        Column::from_i64s("id", [1, 2]),
    ];
    testkit::set_dataset("train", vec![Batch::from_columns(train).unwrap()]);
    let copied = |json: &str| {
        let mut evaluator = open(json);
        evaluator.update(rows(&OUTPUTS, &TRUTH)).unwrap();
        evaluator.finish().unwrap()
    };
    let report = copied(r#"{"output": "out", "references": []}"#);
    assert!(!has(&report, "bleu"));
    // 低头思故乡 twice.
    assert_eq!(value(&report, "copied"), 0.5);
    // 是地上霜; 低头思故 and 头思故乡 twice; of 2 + 2 + 2 + 1.
    assert!((value(&report, "copied_ngrams") - 5.0 / 7.0).abs() < 1e-12);
    let table = &report.tables[0].rows;
    let flags: Vec<_> = table.bools("copied").unwrap().iter().flatten().collect();
    assert_eq!(flags, [false, true, true, false]);

    let other = r#"{"output": "out", "training_columns": ["other"], "training_order": 2}"#;
    let report = copied(other);
    assert_eq!(value(&report, "copied"), 0.0);
    // 是地 地上 上霜 and 天天 three times, of 15.
    assert!((value(&report, "copied_ngrams") - 6.0 / 15.0).abs() < 1e-12);
    let missing = {
        let mut evaluator = open(r#"{"output": "out", "training_columns": ["nowhere"]}"#);
        evaluator.update(rows(&OUTPUTS, &TRUTH)).unwrap();
        evaluator.finish().unwrap_err().to_string()
    };
    assert!(
        missing.contains("nowhere") && missing.contains("`train`"),
        "{missing}"
    );
}

/// Answers what the column `out` says.
struct Scribe;

impl testkit::Model for Scribe {
    fn generate(&mut self, rows: &Batch, options: GenerationOptions) -> Result<Vec<String>> {
        assert_eq!((options.max_tokens, options.beams), (None, Some(4)));
        Ok(rows
            .utf8("out")?
            .iter()
            .map(|text| text.unwrap().to_owned())
            .collect())
    }
}

#[test]
fn the_model_writes_unless_a_column_does() {
    testkit::set_model(Scribe);
    let mut evaluator = open(r#"{"generation": {"beams": 4}, "max_rows": 3, "resamples": 0}"#);
    assert_eq!(evaluator.columns(), None);
    evaluator.update(rows(&OUTPUTS, &TRUTH)).unwrap();
    evaluator.update(rows(&OUTPUTS, &TRUTH)).unwrap();
    let report = evaluator.finish().unwrap();
    assert_eq!(value(&report, "outputs"), 3.0);
    assert!(report.metrics.iter().all(|metric| metric.low.is_none()));
    assert!(open("{}").finish().is_err());
}

#[test]
fn case_is_told_apart_unless_asked_not_to() {
    let of = |json: &str| {
        let mut evaluator = open(json);
        evaluator
            .update(rows(&["The CAT sat", "ÉTÉ"], &["the cat sat", "été"]))
            .unwrap();
        evaluator.finish().unwrap()
    };
    let lower = of(r#"{"output": "out", "lowercase": true}"#);
    for name in ["bleu", "chrf", "chrf_pp"] {
        assert!((value(&lower, name) - 100.0).abs() < 1e-9, "{name}");
    }
    assert_eq!(
        lower.tables[0].rows.utf8("output").unwrap().get(0),
        Some("The CAT sat")
    );
    let plain = of(r#"{"output": "out", "rouge": ["1"], "rouge_tokens": "latin"}"#);
    assert!(value(&plain, "bleu") < 90.0);
    // ROUGE's own tokens are in lower case, and have no accents: ÉTÉ is a t.
    assert_eq!(value(&plain, "rouge_1"), 1.0);
    assert!(!has(&plain, "rouge_l"));
}

#[test]
fn a_value_without_its_smoothing_is_refused() {
    let config = serde_json::from_str(r#"{"smooth_value": 0.5}"#).unwrap();
    let error = TextOverlap::open(config).err().unwrap().to_string();
    assert!(error.contains("`smooth_value`"), "{error}");
    open(r#"{"smooth_value": 0.5, "smoothing": "add-k"}"#);
}

#[test]
fn empty_outputs_are_judged_without_failing() {
    let mut evaluator = open(r#"{"output": "out"}"#);
    evaluator.update(rows(&["", ""], &["春", "眠"])).unwrap();
    let report = evaluator.finish().unwrap();
    assert_eq!(value(&report, "bleu"), 0.0);
    assert!(!has(&report, "distinct_1") && !has(&report, "self_repetition"));
    assert!(report.metrics.iter().all(|metric| metric.value.is_finite()));
}
