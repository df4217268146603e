//! Tables.

use console::{measure_text_width, truncate_str};

/// Where a column's values stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Between columns.
const GAP: usize = 2;
/// The last column is not cut below this.
const NARROWEST: usize = 20;

/// Rows under headings.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings. A heading that begins with `>` is a column of numbers.
    pub fn new<'a>(headings: impl IntoIterator<Item = &'a str>) -> Self {
        Self::with(
            headings
                .into_iter()
                .map(|heading| match heading.strip_prefix('>') {
                    Some(heading) => (heading.to_owned(), Align::Right),
                    None => (heading.to_owned(), Align::Left),
                }),
        )
    }

    /// A table with headings that come from elsewhere.
    pub fn with(columns: impl IntoIterator<Item = (String, Align)>) -> Self {
        let columns = columns.into_iter();
        Self {
            columns: columns
                .map(|(heading, align)| (one_line(&heading), align))
                .collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<String> = cells.into_iter().map(|cell| one_line(&cell)).collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table for a terminal of that width, or plain.
    pub fn render(&self, width: Option<usize>) -> String {
        let Some(width) = width else {
            return self.rows.iter().map(|row| row.join("\t") + "\n").collect();
        };
        let widths = self.widths(width);
        let headings: Vec<String> = self.columns.iter().map(|(name, _)| name.clone()).collect();
        let mut out = bold(&self.aligned(&headings, &widths));
        out.push('\n');
        for row in &self.rows {
            out.push_str(&self.aligned(row, &widths));
            out.push('\n');
        }
        out
    }

    /// As wide as the widest cell; the last column gets what is left of the terminal.
    fn widths(&self, terminal: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| measure_text_width(&row[column]));
                cells
                    .chain([measure_text_width(&self.columns[column].0)])
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        if let Some((last, others)) = widths.split_last_mut() {
            let used: usize = others.iter().map(|width| width + GAP).sum();
            *last = (*last).min(terminal.saturating_sub(used).max(NARROWEST));
        }
        widths
    }

    fn aligned(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
            let cell = truncate_str(cell, *width, "…");
            let pad = " ".repeat(width - measure_text_width(&cell));
            if index > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            match self.columns[index].1 {
                Align::Left => {
                    line.push_str(&cell);
                    line.push_str(&pad);
                }
                Align::Right => {
                    line.push_str(&pad);
                    line.push_str(&cell);
                }
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Bold, where colours are wanted at all.
pub fn bold(text: &str) -> String {
    console::style(text).bold().to_string()
}

/// A cell is one line without tabs or escape sequences.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["name", ">rows", "summary"]);
        table.row(["春".into(), "12".into(), "two\tlines\nof text".into()]);
        table.row(["poems".into(), "3".into(), "x".repeat(100)]);
        table
    }

    #[test]
    fn a_terminal_gets_columns_that_fit() {
        let text = table().render(Some(40));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "春       12  two lines of text");
        assert_eq!(lines[2], format!("poems     3  {}…", "x".repeat(26)));
        assert!(
            lines
                .iter()
                .skip(1)
                .all(|line| measure_text_width(line) <= 40)
        );
    }

    #[test]
    fn a_pipe_gets_every_character_between_tabs() {
        let text = table().render(None);
        assert_eq!(text.lines().count(), 2, "no headings");
        assert_eq!(text.lines().next(), Some("春\t12\ttwo lines of text"));
        assert!(text.ends_with(&format!("poems\t3\t{}\n", "x".repeat(100))));
    }
}
