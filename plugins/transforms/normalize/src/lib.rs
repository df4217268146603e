//! Text normalisation.

use schemars::JsonSchema;
use serde::Deserialize;
use tenon_sdk::{Batch, Column, Columns, Error, Output, Result, Transform};
use unicode_normalization::UnicodeNormalization;

/// A Unicode normalisation form (UAX #15).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// As it is.
    None,
    /// Composed.
    #[default]
    Nfc,
    /// Composed, with compatibility characters folded: full-width letters and punctuation become
    /// half-width.
    Nfkc,
}

/// What happens to white space.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// As it is.
    Keep,
    /// Runs become one space; none at either end.
    #[default]
    Collapse,
    /// Gone.
    Remove,
}

/// What to normalise, and how.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Config {
    /// The columns of text to rewrite.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// The Unicode form.
    #[serde(default)]
    pub form: Form,
    /// White space.
    #[serde(default)]
    pub space: Space,
    /// Whether letters become lower case.
    #[serde(default)]
    pub lowercase: bool,
    /// Whether control and format characters (zero-width marks, byte order marks) are taken out.
    #[serde(default = "yes")]
    pub strip_control: bool,
}

fn yes() -> bool {
    true
}

/// The transform.
pub struct Normalize(Config);

impl Transform for Normalize {
    const NAME: &'static str = "tenon/normalize";
    const SUMMARY: &'static str =
        "Normalises text: Unicode form, case, white space, control characters.";
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        for (at, name) in config.columns.iter().enumerate() {
            if config.columns[..at].contains(name) {
                return Err(Error::invalid(format!("column `{name}` is named twice")));
            }
        }
        Ok(Self(config))
    }

    fn columns(&self) -> Columns {
        Columns::rewrite(self.0.columns.clone())
    }

    fn process(&mut self, input: Batch) -> Result<Vec<Output>> {
        let mut written = Vec::with_capacity(self.0.columns.len());
        for name in &self.0.columns {
            let rows = input.utf8(name)?;
            written.push(Column::from_utf8_options(
                name,
                rows.iter().map(|row| row.map(|text| self.0.apply(text))),
            ));
        }
        Ok(vec![Output::same(written)])
    }
}

impl Config {
    /// The normalised text.
    fn apply(&self, text: &str) -> String {
        let text: String = match self.form {
            Form::None => text.to_owned(),
            Form::Nfc => text.nfc().collect(),
            Form::Nfkc => text.nfkc().collect(),
        };
        let text = if self.lowercase {
            text.to_lowercase()
        } else {
            text
        };
        let mut out = String::with_capacity(text.len());
        // White space that has been seen and may still be written.
        let mut gap = false;
        for c in text.chars() {
            if c.is_whitespace() {
                match self.space {
                    Space::Keep => out.push(c),
                    Space::Collapse => gap = true,
                    Space::Remove => {}
                }
            } else if !(self.strip_control && is_control(c)) {
                if std::mem::take(&mut gap) && !out.is_empty() {
                    out.push(' ');
                }
                out.push(c);
            }
        }
        out
    }
}

/// Characters that are not seen: controls (Cc) and the format characters (Cf) that stray into text.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

tenon_sdk::export_transform!(Normalize);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(form: Form, space: Space, lowercase: bool) -> Config {
        Config {
            columns: vec!["t".into()],
            form,
            space,
            lowercase,
            strip_control: true,
        }
    }

    #[test]
    fn text_is_normalised() {
        let c = config(Form::Nfkc, Space::Collapse, true);
        assert_eq!(
            c.apply("  Ｈｅｌｌｏ，\u{3000}\tＷ\u{200b}orld\n"),
            "hello, world"
        );
        let c = config(Form::Nfc, Space::Remove, false);
        assert_eq!(c.apply("e\u{301} 春 風"), "é春風");
        let c = config(Form::None, Space::Keep, false);
        assert_eq!(c.apply(" a\u{301} "), " a\u{301} ");
    }

    #[test]
    fn absent_rows_stay_absent_and_a_column_named_twice_is_refused() {
        let mut transform = Normalize::open(config(Form::Nfc, Space::Collapse, false)).unwrap();
        let input =
            Batch::from_columns([Column::from_utf8_options("t", [Some(" x "), None])]).unwrap();
        let output = transform.process(input).unwrap().remove(0);
        assert_eq!(
            output.batch.utf8("t").unwrap().iter().collect::<Vec<_>>(),
            [Some("x"), None]
        );
        let twice = Config {
            columns: vec!["t".into(), "t".into()],
            ..config(Form::Nfc, Space::Keep, false)
        };
        assert!(
            Normalize::open(twice)
                .err()
                .unwrap()
                .to_string()
                .contains("`t`")
        );
    }
}
