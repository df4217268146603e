//! The tables of an evaluation's report, for people.

use serde_json::Value;

use crate::output::{Align, Page, Table, text};

/// Rows of a table that are shown.
const MOST_ROWS: usize = 12;
/// Columns of a table that is shown: a wider one is for other tools.
const MOST_COLUMNS: usize = 16;
/// Characters of a cell.
const LONGEST_CELL: usize = 48;

/// Shows every evaluator's tables, and names its plots.
pub fn tables(report: &Value, page: &mut Page) {
    for evaluator in list(&report["evaluators"]) {
        let label = evaluator["label"].as_str().unwrap_or_default();
        for table in list(&evaluator["tables"]) {
            let name = table["name"].as_str().unwrap_or_default();
            page.heading(&format!("{label}/{name}"));
            one(table, page);
        }
        let plots: Vec<&str> = list(&evaluator["plots"])
            .iter()
            .filter_map(|plot| plot["name"].as_str())
            .collect();
        if !plots.is_empty() {
            page.heading(&format!("{label}: plots in its report"));
            page.line(plots.join(", "));
        }
    }
}

fn one(table: &Value, page: &mut Page) {
    let (columns, rows) = (list(&table["columns"]), list(&table["rows"]));
    if columns.len() > MOST_COLUMNS {
        let (rows, columns) = (rows.len() as u64, columns.len() as u64);
        page.line(format!(
            "{} of {}: in its report",
            text::counted(rows, "row"),
            text::counted(columns, "column")
        ));
        return;
    }
    let names: Vec<&str> = columns.iter().filter_map(Value::as_str).collect();
    let mut shown = Table::with(names.iter().map(|name| {
        let numbers = rows
            .iter()
            .all(|row| row[*name].is_number() || row[*name].is_null());
        let align = if numbers { Align::Right } else { Align::Left };
        ((*name).to_owned(), align)
    }));
    for row in rows.iter().take(MOST_ROWS) {
        shown.row(names.iter().map(|name| cell(&row[*name])));
    }
    page.table(&shown, "no rows");
    if rows.len() > MOST_ROWS {
        let more = text::counted((rows.len() - MOST_ROWS) as u64, "more row");
        page.line(format!("… {more}"));
    }
}

/// A value as people read it.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map(text::number).unwrap_or_default()
        }
        other => other.to_string(),
    };
    console::truncate_str(&text, LONGEST_CELL, "…").into_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(tables: Value) -> String {
        let mut page = Page::of_width(80);
        let plots = json!([{"name": "roc"}, {"name": "calibration"}]);
        let report = json!({"evaluators": [{"label": "kinds", "tables": tables, "plots": plots}]});
        super::tables(&report, &mut page);
        console::strip_ansi_codes(page.text()).into_owned()
    }

    #[test]
    fn a_confusion_matrix_is_a_table() {
        let text = shown(json!([{
            "name": "confusion_matrix",
            "columns": ["actual \\ predicted", "cat", ">5"],
            "rows": [
                {"actual \\ predicted": "cat", "cat": 12, ">5": 3},
                {"actual \\ predicted": ">5", "cat": 0, ">5": 105},
            ],
        }]));
        assert_eq!(
            text,
            "kinds/confusion_matrix\n\
             actual \\ predicted  cat   >5\n\
             cat                  12    3\n\
             >5                    0  105\n\
             \n\
             kinds: plots in its report\n\
             roc, calibration\n"
        );
    }

    #[test]
    fn long_and_wide_tables_are_cut_short() {
        let rows: Vec<Value> = (0..15)
            .map(|row| json!({"text": "天".repeat(90), "p": 1.0 / 3.0, "row": row, "none": null}))
            .collect();
        let columns: Vec<String> = (0..30).map(|column| column.to_string()).collect();
        let text = shown(json!([
            {"name": "long", "columns": ["text", "p", "row", "none"], "rows": rows},
            {"name": "wide", "columns": columns, "rows": [{}]},
            {"name": "empty", "columns": ["a"], "rows": []},
        ]));
        assert!(text.contains("… 3 more rows\n"), "{text}");
        assert!(
            text.contains(&format!("{}…  0.3333   11\n", "天".repeat(23))),
            "{text}"
        );
        assert!(
            text.contains("1 row of 30 columns: in its report"),
            "{text}"
        );
        assert!(text.contains("no rows"), "{text}");
    }
}
