//! Keeps the rows whose text has the right length and characters.

use schemars::JsonSchema;
use serde::Deserialize;
use tenon_sdk::{Batch, Columns, Error, Output, Result, Transform};

/// A class of characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Chinese characters (CJK unified ideographs and their extensions).
    Han,
    /// Letters of any script, Chinese characters included.
    Letter,
    /// Digits.
    Digit,
    /// White space.
    Space,
    /// ASCII punctuation and the punctuation of Chinese text.
    Punctuation,
}

/// What a row must satisfy. A row without a value in one of the columns is dropped.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Config {
    /// The columns of text that are looked at; each must satisfy everything.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// Characters at least.
    #[serde(default)]
    pub min_characters: usize,
    /// Characters at most.
    #[serde(default)]
    pub max_characters: Option<usize>,
    /// Only these lengths; empty: any.
    #[serde(default)]
    pub lengths: Vec<usize>,
    /// Whether all columns must be of one length.
    #[serde(default)]
    pub equal_lengths: bool,
    /// The classes of characters that are wanted; empty, with no `characters`: all.
    #[serde(default)]
    pub classes: Vec<Class>,
    /// Wanted characters beside the classes.
    #[serde(default)]
    pub characters: String,
    /// The share of wanted characters that a text must have at least.
    #[serde(default = "one")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_share: f64,
    /// Characters that no text may have.
    #[serde(default)]
    pub forbidden: String,
}

fn one() -> f64 {
    1.0
}

/// The transform.
pub struct Filter(Config);

impl Transform for Filter {
    const NAME: &'static str = "tenon/filter";
    const SUMMARY: &'static str = "Keeps the rows whose text has the right length and characters.";
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        if let Some(max) = config.max_characters
            && max < config.min_characters
        {
            return Err(Error::invalid(format!(
                "max_characters ({max}) is less than min_characters ({}): no row would be kept",
                config.min_characters
            )));
        }
        Ok(Self(config))
    }

    fn columns(&self) -> Columns {
        Columns::read(self.0.columns.clone())
    }

    fn process(&mut self, input: Batch) -> Result<Vec<Output>> {
        let mut keep: Vec<u32> = (0..input.rows).collect();
        let mut lengths: Vec<Option<usize>> = vec![None; input.len()];
        for name in &self.0.columns {
            let rows = input.utf8(name)?;
            keep.retain(|&row| {
                let row = row as usize;
                let Some(length) = rows.get(row).and_then(|text| self.0.accepts(text)) else {
                    return false;
                };
                let expected = *lengths[row].get_or_insert(length);
                !self.0.equal_lengths || expected == length
            });
        }
        Ok(vec![Output::keep(keep, [])])
    }
}

impl Config {
    /// The length in characters of a text that is accepted.
    fn accepts(&self, text: &str) -> Option<usize> {
        let (mut length, mut wanted) = (0_usize, 0_usize);
        for c in text.chars() {
            if self.forbidden.contains(c) {
                return None;
            }
            length += 1;
            wanted += usize::from(self.wants(c));
        }
        let fits = length >= self.min_characters
            && self.max_characters.is_none_or(|max| length <= max)
            && (self.lengths.is_empty() || self.lengths.contains(&length))
            && wanted as f64 >= self.min_share * length as f64;
        fits.then_some(length)
    }

    fn wants(&self, c: char) -> bool {
        (self.classes.is_empty() && self.characters.is_empty())
            || self.characters.contains(c)
            || self.classes.iter().any(|class| class.has(c))
    }
}

impl Class {
    fn has(self, c: char) -> bool {
        match self {
            Self::Han => {
                matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}' | '〇')
            }
            Self::Letter => c.is_alphabetic(),
            Self::Digit => c.is_numeric(),
            Self::Space => c.is_whitespace(),
            Self::Punctuation => {
                c.is_ascii_punctuation()
                    || matches!(c, '\u{2010}'..='\u{2027}' | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301f}' | '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff20}' | '\u{ff3b}'..='\u{ff40}' | '\u{ff5b}'..='\u{ff65}')
            }
        }
    }
}

tenon_sdk::export_transform!(Filter);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tenon_sdk::{Column, Rows};

    fn config(columns: &[&str]) -> Config {
        Config {
            columns: columns.iter().map(|&name| name.to_owned()).collect(),
            min_characters: 0,
            max_characters: None,
            lengths: Vec::new(),
            equal_lengths: false,
            classes: Vec::new(),
            characters: String::new(),
            min_share: 1.0,
            forbidden: String::new(),
        }
    }

    fn kept(config: Config, columns: impl IntoIterator<Item = Column>) -> Vec<u32> {
        let input = Batch::from_columns(columns).unwrap();
        match Filter::open(config)
            .unwrap()
            .process(input)
            .unwrap()
            .remove(0)
            .rows
        {
            Rows::Keep(rows) => rows,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rows_are_kept_by_length_and_characters() {
        let text = || {
            Column::from_utf8_options(
                "t",
                [Some("春眠不覺曉"), Some("abc"), None, Some("春a"), Some("")],
            )
        };
        assert_eq!(
            kept(
                Config {
                    min_characters: 1,
                    ..config(&["t"])
                },
                [text()]
            ),
            [0, 1, 3]
        );
        assert_eq!(
            kept(
                Config {
                    lengths: vec![5, 2],
                    ..config(&["t"])
                },
                [text()]
            ),
            [0, 3]
        );
        assert_eq!(
            kept(
                Config {
                    classes: vec![Class::Han],
                    ..config(&["t"])
                },
                [text()]
            ),
            [0, 4]
        );
        assert_eq!(
            kept(
                Config {
                    classes: vec![Class::Han],
                    min_share: 0.5,
                    ..config(&["t"])
                },
                [text()]
            ),
            [0, 3, 4]
        );
        assert_eq!(
            kept(
                Config {
                    forbidden: "a".into(),
                    max_characters: Some(5),
                    ..config(&["t"])
                },
                [text()]
            ),
            [0, 4]
        );
    }

    #[test]
    fn columns_of_one_length() {
        let a = Column::from_utf8("a", ["春", "春風", "x"]);
        let b = Column::from_utf8("b", ["秋", "秋", "yz"]);
        assert_eq!(
            kept(
                Config {
                    equal_lengths: true,
                    ..config(&["a", "b"])
                },
                [a, b]
            ),
            [0]
        );
    }

    #[test]
    fn an_empty_range_is_refused() {
        let error = Filter::open(Config {
            min_characters: 3,
            max_characters: Some(2),
            ..config(&["t"])
        });
        assert!(
            error
                .err()
                .unwrap()
                .to_string()
                .contains("no row would be kept")
        );
    }
}
