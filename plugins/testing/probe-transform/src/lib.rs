//! A trivial transform for benchmarks: adds one to the numbers of a column.

use serde::Deserialize;
use tenon_sdk::{Batch, Column, Columns, Error, Output, Result, Transform};

/// The column of int64 that is rewritten.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
pub struct Config {
    /// Its name.
    pub column: String,
}

struct Probe(Config);

impl Transform for Probe {
    const NAME: &'static str = "testing/probe-transform";
    const SUMMARY: &'static str = "Adds one to the numbers of a column.";
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        Ok(Self(config))
    }

    fn columns(&self) -> Columns {
        Columns::rewrite([&self.0.column])
    }

    fn process(&mut self, input: Batch) -> Result<Vec<Output>> {
        let numbers = input.i64s(&self.0.column)?;
        let more = numbers
            .iter()
            .map(|number| number.map(|number| number.wrapping_add(1)))
            .collect::<Option<Vec<i64>>>()
            .ok_or_else(|| {
                Error::invalid(format!("`{}` has a row without a number", self.0.column))
            })?;
        Ok(vec![Output::same([Column::from_i64s(
            &self.0.column,
            more,
        )])])
    }
}

tenon_sdk::export_transform!(Probe);
