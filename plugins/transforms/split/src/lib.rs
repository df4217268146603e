//! Divides rows into parts (train, dev, test) by a hash of their key.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use tenon_sdk::{Batch, Columns, Error, Output, Result, Transform, batch::Utf8};

/// The parts and how they are filled.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Config {
    /// The columns of text that decide; rows with the same key come into the same part.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// The parts with their shares of the rows: `{"train": 0.98, "dev": 0.02}`. Shares are relative.
    #[serde(default = "parts")]
    pub parts: BTreeMap<String, f64>,
    /// Another seed, another division.
    #[serde(default)]
    pub seed: u64,
}

fn parts() -> BTreeMap<String, f64> {
    BTreeMap::from([("train".into(), 0.98), ("dev".into(), 0.02)])
}

/// The transform.
pub struct Split {
    columns: Vec<String>,
    seed: u64,
    /// The parts with the upper ends of their ranges; the last is 1.
    ends: Vec<(String, f64)>,
}

impl Transform for Split {
    const NAME: &'static str = "tenon/split";
    const SUMMARY: &'static str = "Divides rows into parts by a hash of their key.";
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        for (name, share) in &config.parts {
            if !(share.is_finite() && *share >= 0.0) {
                return Err(Error::invalid(format!(
                    "part `{name}` has the share {share}; a share is 0 or more"
                )));
            }
        }
        let total: f64 = config.parts.values().sum();
        if total <= 0.0 {
            return Err(Error::invalid("no part has a share above 0"));
        }
        let mut end = 0.0;
        let ends = config
            .parts
            .into_iter()
            .map(|(name, share)| {
                end += share / total;
                (name, end)
            })
            .collect();
        Ok(Self {
            columns: config.columns,
            seed: config.seed,
            ends,
        })
    }

    fn columns(&self) -> Columns {
        Columns::read(self.columns.clone())
    }

    fn process(&mut self, input: Batch) -> Result<Vec<Output>> {
        let columns: Vec<Utf8> = self
            .columns
            .iter()
            .map(|name| input.utf8(name))
            .collect::<Result<_>>()?;
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.ends.len()];
        for row in 0..input.len() {
            rows[self.part(&columns, row)].push(row as u32);
        }
        Ok(rows
            .into_iter()
            .zip(&self.ends)
            .filter(|(rows, _)| !rows.is_empty())
            .map(|(rows, (name, _))| Output::keep(rows, []).into_split(name))
            .collect())
    }
}

impl Split {
    fn part(&self, columns: &[Utf8], row: usize) -> usize {
        let at = (hash(self.seed, columns, row) >> 11) as f64 / (1_u64 << 53) as f64;
        let last = self
            .ends
            .iter()
            .rposition(|(_, end)| *end > 0.0)
            .unwrap_or(0);
        self.ends
            .iter()
            .position(|(_, end)| at < *end)
            .unwrap_or(last)
    }
}

/// FNV-1a with a final mix (the finaliser of SplitMix64): the same on every machine and in every
/// version, since a division must not change under a dataset's users.
fn hash(seed: u64, columns: &[Utf8], row: usize) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64 ^ seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut byte = |byte: u8| state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for column in columns {
        column
            .get(row)
            .unwrap_or_default()
            .bytes()
            .for_each(&mut byte);
        // Ends a column: a byte that UTF-8 never has.
        byte(0xff);
    }
    let mut x = state;
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

tenon_sdk::export_transform!(Split);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tenon_sdk::{Column, Rows};

    fn open(parts: &[(&str, f64)], seed: u64) -> Result<Split> {
        Split::open(Config {
            columns: vec!["t".into()],
            parts: parts
                .iter()
                .map(|&(name, share)| (name.to_owned(), share))
                .collect(),
            seed,
        })
    }

    fn divide(split: &mut Split, texts: &[String]) -> BTreeMap<String, Vec<u32>> {
        let input = Batch::from_columns([Column::from_utf8("t", texts)]).unwrap();
        let outputs = split.process(input).unwrap().into_iter();
        outputs
            .map(|output| match output.rows {
                Rows::Keep(rows) => (output.split.unwrap(), rows),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn shares_are_kept_and_a_key_has_one_part() {
        let texts: Vec<String> = (0..20_000).map(|i| format!("行 {}", i % 10_000)).collect();
        let mut split = open(&[("train", 8.0), ("dev", 1.0), ("test", 1.0)], 0).unwrap();
        let parts = divide(&mut split, &texts);
        let total: usize = parts.values().map(Vec::len).sum();
        assert_eq!(total, 20_000);
        assert!((parts["train"].len() as f64 / 20_000.0 - 0.8).abs() < 0.02);
        assert!((parts["dev"].len() as f64 / 20_000.0 - 0.1).abs() < 0.02);
        for rows in parts.values() {
            let keys: std::collections::HashSet<u32> =
                rows.iter().map(|row| row % 10_000).collect();
            assert_eq!(2 * keys.len(), rows.len());
        }
        let again = divide(
            &mut open(&[("train", 8.0), ("dev", 1.0), ("test", 1.0)], 0).unwrap(),
            &texts,
        );
        assert_eq!(parts, again);
        let other = divide(
            &mut open(&[("train", 8.0), ("dev", 1.0), ("test", 1.0)], 1).unwrap(),
            &texts,
        );
        assert_ne!(parts, other);
    }

    #[test]
    fn shares_that_cannot_be_are_refused() {
        assert!(
            open(&[("a", -1.0)], 0)
                .err()
                .unwrap()
                .to_string()
                .contains("`a`")
        );
        assert!(open(&[("a", 0.0)], 0).is_err());
        let all = divide(
            &mut open(&[("a", 0.0), ("b", 1.0)], 0).unwrap(),
            &["x".into(), "y".into()],
        );
        assert_eq!(all["b"], [0, 1]);
    }
}
