//! Exact de-duplication: a row whose key was there before is dropped.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hasher},
};

use schemars::JsonSchema;
use serde::Deserialize;
use tenon_sdk::{Batch, Columns, Output, Result, Transform, batch::Utf8};

/// What makes two rows the same.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Config {
    /// The columns of text that are compared; rows are the same if all of them are.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
}

/// The transform. It remembers 128 bits of each key, not the key: of a billion rows, two different
/// ones are taken for the same with a probability of 10⁻²¹.
pub struct Dedup {
    config: Config,
    seen: HashSet<u128>,
}

impl Transform for Dedup {
    const NAME: &'static str = "tenon/dedup";
    const SUMMARY: &'static str = "Drops rows that were there before; the first of each stays.";
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        Ok(Self {
            config,
            seen: HashSet::new(),
        })
    }

    fn columns(&self) -> Columns {
        Columns::read(self.config.columns.clone())
    }

    fn process(&mut self, input: Batch) -> Result<Vec<Output>> {
        let columns: Vec<Utf8> = self
            .config
            .columns
            .iter()
            .map(|name| input.utf8(name))
            .collect::<Result<_>>()?;
        let keep = (0..input.rows)
            .filter(|&row| self.seen.insert(key(&columns, row as usize)))
            .collect();
        Ok(vec![Output::keep(keep, [])])
    }
}

fn key(columns: &[Utf8], row: usize) -> u128 {
    // Two independent halves: SipHash over the same text with different beginnings.
    let half = |begin: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(begin);
        for column in columns {
            match column.get(row) {
                Some(text) => {
                    hasher.write_u8(1);
                    hasher.write_usize(text.len());
                    hasher.write(text.as_bytes());
                }
                None => hasher.write_u8(0),
            }
        }
        hasher.finish()
    };
    u128::from(half(0)) << 64 | u128::from(half(1))
}

tenon_sdk::export_transform!(Dedup);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tenon_sdk::{Column, Rows};

    #[test]
    fn the_first_of_each_stays_also_across_batches() {
        let mut transform = Dedup::open(Config {
            columns: vec!["a".into(), "b".into()],
        })
        .unwrap();
        let mut kept = |rows: [(Option<&str>, &str); 4]| {
            let input = Batch::from_columns([
                Column::from_utf8_options("a", rows.map(|row| row.0)),
                Column::from_utf8("b", rows.map(|row| row.1)),
            ])
            .unwrap();
            match transform.process(input).unwrap().remove(0).rows {
                Rows::Keep(rows) => rows,
                other => panic!("{other:?}"),
            }
        };
        // Where one text ends and the next begins matters.
        assert_eq!(
            kept([
                (Some("x"), "yz"),
                (Some("xy"), "z"),
                (Some("x"), "yz"),
                (None, "z")
            ]),
            [0, 1, 3]
        );
        assert_eq!(
            kept([
                (Some("xy"), "z"),
                (Some(""), "z"),
                (None, "z"),
                (Some("q"), "")
            ]),
            [1, 3]
        );
    }
}
