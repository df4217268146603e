//! The table of before and after.

use serde_json::Value;

/// A metric of an evaluation run, with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The value.
    pub value: f64,
    /// 95 % bootstrap interval, where the evaluator computes one.
    pub interval: Option<(f64, f64)>,
}

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// What people call it.
    pub label: &'static str,
    /// What the run calls it.
    pub metric: &'static str,
    /// Shown as a percentage.
    pub percent: bool,
    /// Which way is better; nothing: neither.
    pub higher_is_better: Option<bool>,
}

/// The metric of a run as `tenon runs show --json` prints it; nothing where it is not defined: the tones
/// of a model whose answers have none of the right length.
pub fn measured(run: &Value, metric: &str) -> Option<Measured> {
    let last = |name: &str| -> Option<f64> { run["metrics"][name]["last"].as_f64() };
    let value = last(metric)?;
    let interval = last(&format!("{metric}/low")).zip(last(&format!("{metric}/high")));
    Some(Measured { value, interval })
}

/// The table as text: one line a metric, one column a model.
pub fn table(rows: &[Row], models: &[(&str, &Value)]) -> String {
    let mut lines = vec![
        std::iter::once(String::new())
            .chain(models.iter().map(|(name, _)| (*name).to_owned()))
            .collect::<Vec<_>>(),
    ];
    for row in rows {
        let arrow = match row.higher_is_better {
            Some(true) => " ↑",
            Some(false) => " ↓",
            None => "",
        };
        let mut line = vec![format!("{}{arrow}", row.label)];
        for (_, run) in models {
            let measured = measured(run, row.metric);
            line.push(measured.map_or_else(|| "–".to_owned(), |m| cell(m, row.percent)));
        }
        lines.push(line);
    }
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| columns(cell))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..=models.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let mut out = String::from("  ");
        for (at, cell) in line.iter().enumerate() {
            let pad = " ".repeat(widths[at].saturating_sub(columns(cell)));
            if at == 0 {
                out.push_str(cell);
                out.push_str(&pad);
            } else {
                out.push_str("   ");
                out.push_str(&pad);
                out.push_str(cell);
            }
        }
        text.push_str(out.trim_end());
        text.push('\n');
    }
    text
}

fn cell(measured: Measured, percent: bool) -> String {
    let number = |value: f64| {
        if percent {
            format!("{:.1} %", 100.0 * value)
        } else if value.abs() >= 100.0 {
            format!("{value:.0}")
        } else {
            format!("{value:.2}")
        }
    };
    match measured.interval {
        Some((low, high)) => format!(
            "{} [{}, {}]",
            number(measured.value),
            number(low).trim_end_matches(" %"),
            number(high).trim_end_matches(" %")
        ),
        None => number(measured.value),
    }
}

/// Columns of a terminal that a text takes: Chinese characters take two.
fn columns(text: &str) -> usize {
    text.chars()
        .map(|c| {
            if ('\u{2e80}'..='\u{ffef}').contains(&c) {
                2
            } else {
                1
            }
        })
        .sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_metric_and_aligned_columns() {
        let run = |value: f64| {
            json!({"metrics": {
                "a": {"last": value}, "a/low": {"last": value - 0.1},
                "a/high": {"last": value + 0.1}, "b": {"last": 12.0}}})
        };
        let rows = [
            Row {
                label: "share",
                metric: "a",
                percent: true,
                higher_is_better: Some(true),
            },
            Row {
                label: "plain",
                metric: "b",
                percent: false,
                higher_is_better: None,
            },
        ];
        let (before, after) = (run(0.2), run(0.5));
        let text = table(&rows, &[("before", &before), ("after", &after)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].contains("20.0 % [10.0, 30.0]"), "{text}");
        assert!(lines[1].ends_with("50.0 % [40.0, 60.0]"), "{text}");
        assert!(lines[2].ends_with("12.00"), "{text}");
        assert_eq!(
            lines[0].find("after").map(|at| at + 5),
            Some(columns(lines[1]))
        );
        let row = Row {
            label: "undefined",
            metric: "c",
            ..rows[0]
        };
        let text = table(&[row], &[("before", &before)]);
        assert!(text.trim_end().ends_with('–'), "{text}");
    }
}
