#![allow(clippy::unwrap_used)]
use super::*;
use tenon_sdk::{Metric, model::GenerationOptions, testkit};

const TONES: &str = r#"{"P": "清泉松风流天", "Z": "明月石上照地"}"#;

fn config(json: &str) -> Config {
    let mut config: Config = serde_json::from_str(json).unwrap();
    config.tones = Some(serde_json::from_str(TONES).unwrap());
    config
}

fn rows(uppers: &[&str], lowers: &[&str]) -> Batch {
    Batch::from_columns([
        Column::from_utf8("src_txt", uppers),
        Column::from_utf8("answer", lowers),
    ])
    .unwrap()
}

fn metric<'r>(report: &'r Report, name: &str) -> &'r Metric {
    report.metrics.iter().find(|m| m.name == name).unwrap()
}

const UPPERS: [&str; 4] = ["月上石照", "月上石照", "月上石照", "月上石照"];
/// Good; ending and 2nd tone wrong; repeated within; taken from the upper line and too long.
const LOWERS: [&str; 4] = ["泉松风清", "泉地风明", "泉泉风清", "泉天风石清"];

#[test]
fn each_rule_is_a_rate() {
    let mut evaluator = CoupletRules::open(config(r#"{"lower": "answer"}"#)).unwrap();
    assert_eq!(evaluator.columns().unwrap(), ["src_txt", "answer"]);
    evaluator.update(rows(&UPPERS[..1], &LOWERS[..1])).unwrap();
    evaluator.update(rows(&UPPERS[1..], &LOWERS[1..])).unwrap();
    let report = evaluator.finish().unwrap();
    for (name, expected) in [
        ("all_rules", 0.25),
        ("equal_length", 0.75),
        ("opposed_tones", 0.75),
        ("opposed_lines", 0.75),
        ("endings", 0.75),
        ("no_repeats", 0.5),
        ("couplets", 4.0),
    ] {
        assert_eq!(metric(&report, name).value, expected, "{name}");
    }
    let all = metric(&report, "all_rules");
    assert!(all.low.unwrap() >= 0.0 && all.low < Some(0.25) && all.high > Some(0.25));
    let table = &report.tables[0].rows;
    assert_eq!(table.len(), 4);
    assert_eq!(table.utf8("lower").unwrap().get(1), Some("泉地风明"));
    assert_eq!(table.utf8("opposed_tones").unwrap().get(1), Some("0/1"));
    let kept: Vec<_> = table.bools("all_rules").unwrap().iter().flatten().collect();
    assert_eq!(kept, [true, false, false, false]);
}

#[test]
fn characters_of_the_upper_line_may_be_allowed() {
    let lenient = config(r#"{"lower": "answer", "across": false, "resamples": 0}"#);
    let mut evaluator = CoupletRules::open(lenient).unwrap();
    evaluator.update(rows(&UPPERS, &LOWERS)).unwrap();
    let report = evaluator.finish().unwrap();
    assert_eq!(metric(&report, "no_repeats").value, 0.75);
    assert_eq!(metric(&report, "no_repeats").low, None);
}

/// Answers as the column `answer` says, and knows how it was asked.
struct Scribe;

impl testkit::Model for Scribe {
    fn generate(&mut self, rows: &Batch, options: GenerationOptions) -> Result<Vec<String>> {
        assert_eq!((options.max_tokens, options.beams), (Some(64), None));
        let lowers = rows.utf8("answer")?;
        Ok(lowers
            .iter()
            .map(|line| format!("{} \n", line.unwrap()))
            .collect())
    }
}

#[test]
fn the_model_writes_unless_a_column_does() {
    testkit::set_model(Scribe);
    let json = r#"{"max_rows": 2, "examples": 1, "reference": "answer"}"#;
    let mut evaluator = CoupletRules::open(config(json)).unwrap();
    assert_eq!(evaluator.columns(), None);
    evaluator.update(rows(&UPPERS, &LOWERS)).unwrap();
    evaluator.update(rows(&UPPERS, &LOWERS)).unwrap();
    let report = evaluator.finish().unwrap();
    assert_eq!(metric(&report, "couplets").value, 2.0);
    assert_eq!(metric(&report, "all_rules").value, 0.5);
    let table = &report.tables[0].rows;
    assert_eq!(table.len(), 1);
    assert_eq!(table.utf8("lower").unwrap().get(0), Some("泉松风清"));
    assert_eq!(table.utf8("reference").unwrap().get(0), Some("泉松风清"));
}

#[test]
fn what_cannot_be_judged_is_left_out() {
    let mut evaluator = CoupletRules::open(config(r#"{"lower": "answer"}"#)).unwrap();
    assert!(evaluator.finish().is_err());
    evaluator
        .update(rows(&["某某某某"], &["甲乙丙丁"]))
        .unwrap();
    let report = evaluator.finish().unwrap();
    assert!(
        report
            .metrics
            .iter()
            .all(|m| !m.name.starts_with("opposed") && m.name != "endings")
    );
    assert_eq!(metric(&report, "all_rules").value, 1.0);
    let endings = report.tables[0].rows.bools("endings").unwrap().get(0);
    assert_eq!(endings, None);
    let nothing = Config {
        tones: Some(TonesConfig::Text(String::new())),
        ..Config::default()
    };
    assert!(CoupletRules::open(nothing).is_err());
    assert!(CoupletRules::open(Config::default()).is_err());
}
