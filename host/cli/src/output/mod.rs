//! What is printed on standard output: one JSON document, or text for people. Text is aligned on a
//! terminal and plain (tabs, no headings, nothing cut off) where something else reads it.

pub mod progress;
mod spark;
mod table;
pub mod text;

use std::io::{self, Write};

use console::Term;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::failure::{Failure, Result};

pub use spark::spark;
pub use table::{Align, Table};

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    /// Columns of the terminal; none: it is not a terminal.
    width: Option<usize>,
}

impl Output {
    /// Standard output, in JSON or in text.
    pub fn new(json: bool) -> Self {
        let terminal = Term::stdout();
        let width = terminal
            .features()
            .is_attended()
            .then(|| usize::from(terminal.size().1).max(40));
        Self { json, width }
    }

    /// Whether results are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person looks at a terminal.
    pub fn is_terminal(&self) -> bool {
        self.width.is_some()
    }

    /// Prints an answer: as it came, or as `render` shows it.
    pub fn answer<T: DeserializeOwned>(
        &self,
        answer: Value,
        render: impl FnOnce(&T, &mut Page),
    ) -> Result<()> {
        if self.json {
            return self.document(&answer);
        }
        let typed: T = serde_json::from_value(answer).map_err(|error| {
            Failure::failed(
                "protocol",
                format!("the answer is not what this version expects: {error}"),
            )
            .hint("is the server of another version? `tenon status` says; --json prints any answer")
        })?;
        let mut page = self.page();
        render(&typed, &mut page);
        self.print(&page)
    }

    /// An empty page for this output.
    pub fn page(&self) -> Page {
        Page {
            text: String::new(),
            width: self.width,
        }
    }

    /// Prints a page.
    pub fn print(&self, page: &Page) -> Result<()> {
        write(page.text.as_bytes())
    }

    /// Prints a JSON document: spread out on a terminal, on one line otherwise.
    pub fn document(&self, value: &Value) -> Result<()> {
        let mut text = if self.is_terminal() {
            format!("{value:#}")
        } else {
            value.to_string()
        };
        text.push('\n');
        write(text.as_bytes())
    }

    /// Prints one of many JSON documents, a line each.
    pub fn line(&self, value: &Value) -> Result<()> {
        let mut text = value.to_string();
        text.push('\n');
        write(text.as_bytes())
    }

    /// Prints bytes as they are.
    pub fn copy(&self, reader: &mut dyn io::Read) -> Result<()> {
        let mut stdout = io::stdout().lock();
        io::copy(reader, &mut stdout)
            .and_then(|_| stdout.flush())
            .map_err(|error| Failure::output(&error))
    }
}

fn write(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::output(&error))
}

/// Text for people, as it is put together.
#[derive(Debug)]
pub struct Page {
    text: String,
    width: Option<usize>,
}

impl Page {
    /// A page for a terminal of that width.
    #[cfg(test)]
    pub fn of_width(columns: usize) -> Self {
        Self {
            text: String::new(),
            width: Some(columns),
        }
    }

    /// What is on it so far.
    #[cfg(test)]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it will be on a terminal.
    pub fn is_terminal(&self) -> bool {
        self.width.is_some()
    }

    /// A line.
    pub fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    /// A heading, with an empty line before it.
    pub fn heading(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        if self.is_terminal() {
            self.line(table::bold(text));
        } else {
            self.line(text);
        }
    }

    /// `name  value` lines, aligned; empty values are left out.
    pub fn fields<'a>(&mut self, fields: impl IntoIterator<Item = (&'a str, String)>) {
        let fields: Vec<_> = fields
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let widest = fields
            .iter()
            .map(|(name, _)| console::measure_text_width(name))
            .max();
        for (name, value) in fields {
            let pad = widest.unwrap_or(0) - console::measure_text_width(name);
            // What has several lines stays in its column.
            let indent = format!("\n{}", " ".repeat(widest.unwrap_or(0) + 2));
            let value = value.replace('\n', &indent);
            self.line(format!("{name}{}  {value}", " ".repeat(pad)));
        }
    }

    /// A table, or `empty` if it has no rows and a person looks.
    pub fn table(&mut self, table: &Table, empty: &str) {
        if table.is_empty() {
            if self.is_terminal() {
                self.line(empty);
            }
            return;
        }
        self.text.push_str(&table.render(self.width));
    }
}
