//! Parameter groups: settings for the parameters whose names match a pattern.

use std::collections::HashMap;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::TensorError;

/// Parameters whose names match are trained with their own settings. The first match wins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParameterGroup {
    /// A regular expression over the parameter's name.
    pub pattern: String,
    /// Times the job's learning rate.
    #[serde(default = "one")]
    pub learning_rate: f32,
    /// Nothing: the job's.
    #[serde(default)]
    pub weight_decay: Option<f32>,
}

fn one() -> f32 {
    1.0
}

/// What a parameter's group says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Settings {
    pub learning_rate: f64,
    /// Nothing: the optimiser's own, and its rule for which parameters decay.
    pub weight_decay: Option<f64>,
}

/// The groups, compiled once, and what they say about each name that was asked for.
#[derive(Default)]
pub(super) struct Groups {
    source: Vec<ParameterGroup>,
    compiled: Vec<Regex>,
    names: HashMap<String, Settings>,
}

impl Groups {
    /// Compiles `groups` unless they are those of the last call.
    pub fn update(&mut self, groups: &[ParameterGroup]) -> Result<(), TensorError> {
        if self.source == groups {
            return Ok(());
        }
        self.compiled = groups
            .iter()
            .map(|group| {
                if !(group.learning_rate.is_finite() && group.learning_rate >= 0.0) {
                    return Err(TensorError::InvalidArgument(format!(
                        "parameter group `{}`: learning_rate {} is not a finite number of at least 0",
                        group.pattern, group.learning_rate
                    )));
                }
                Regex::new(&group.pattern).map_err(|error| {
                    TensorError::InvalidArgument(format!(
                        "parameter group `{}` is not a regular expression: {error}",
                        group.pattern
                    ))
                })
            })
            .collect::<Result<_, _>>()?;
        self.source = groups.to_vec();
        self.names.clear();
        Ok(())
    }

    /// The settings of a parameter.
    pub fn settings(&mut self, name: &str) -> Settings {
        if let Some(settings) = self.names.get(name) {
            return *settings;
        }
        let group = self
            .compiled
            .iter()
            .position(|pattern| pattern.is_match(name))
            .map(|index| &self.source[index]);
        let settings = Settings {
            learning_rate: group.map_or(1.0, |group| f64::from(group.learning_rate)),
            weight_decay: group.and_then(|group| group.weight_decay).map(f64::from),
        };
        self.names.insert(name.to_owned(), settings);
        settings
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn group(pattern: &str, learning_rate: f32, weight_decay: Option<f32>) -> ParameterGroup {
        ParameterGroup {
            pattern: pattern.into(),
            learning_rate,
            weight_decay,
        }
    }

    #[test]
    fn the_first_match_wins_and_changed_groups_take_effect() {
        let mut groups = Groups::default();
        groups
            .update(&[group("wte", 0.5, None), group("weight$", 2.0, Some(0.0))])
            .unwrap();
        assert_eq!(groups.settings("wte.weight").learning_rate, 0.5);
        assert_eq!(groups.settings("wte.weight").weight_decay, None);
        assert_eq!(groups.settings("ln_f.weight").weight_decay, Some(0.0));
        assert_eq!(groups.settings("ln_f.bias").learning_rate, 1.0);
        groups.update(&[group("wte", 0.25, None)]).unwrap();
        assert_eq!(groups.settings("wte.weight").learning_rate, 0.25);
        assert_eq!(groups.settings("ln_f.weight").learning_rate, 1.0);
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = Groups::default().update(&[group("h.(", 1.0, None)]);
        assert!(error.unwrap_err().to_string().contains("`h.(`"));
    }
}
