//! What a sweep varies, and how trials are drawn from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tenon_tensor::rng;
use utoipa::ToSchema;

use super::spec::MOST;
use crate::{Result, TrainError};

/// The values that one setting may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum Choice {
    /// One of these.
    Values {
        /// The values, of any type.
        #[schema(value_type = Vec<Object>)]
        values: Vec<Value>,
    },
    /// A number in a range, both ends included.
    Range {
        /// The least.
        min: f64,
        /// The greatest.
        max: f64,
        /// Uniform in the logarithm: for learning rates and the like.
        #[serde(default)]
        log: bool,
        /// Whole numbers only.
        #[serde(default)]
        integer: bool,
    },
}

impl Choice {
    pub(super) fn check(&self, name: &str) -> Result<()> {
        let refuse = |reason: &str| Err(TrainError::setting(&format!("space.{name}"), reason));
        match self {
            Self::Values { values } if values.is_empty() => refuse("has no values to choose from"),
            Self::Values { .. } => Ok(()),
            Self::Range { min, max, .. } if !(min.is_finite() && max.is_finite() && min <= max) => {
                refuse("is no range: `min` must not be greater than `max`")
            }
            Self::Range { min, log: true, .. } if *min <= 0.0 => {
                refuse("is logarithmic: `min` must be above 0")
            }
            Self::Range {
                min,
                max,
                integer: true,
                ..
            } if min.ceil() > max.floor() => refuse("has no whole number in it"),
            Self::Range { .. } => Ok(()),
        }
    }

    /// The value at a place in [0, 1).
    fn at(&self, place: f64) -> Value {
        match self {
            Self::Values { values } => {
                let index = (place * values.len() as f64) as usize;
                values[index.min(values.len() - 1)].clone()
            }
            Self::Range {
                min,
                max,
                log,
                integer: false,
            } => {
                let value = match log {
                    true => min * (max / min).powf(place),
                    false => min + (max - min) * place,
                };
                json!(value.clamp(*min, *max))
            }
            Self::Range {
                min,
                max,
                log,
                integer: true,
            } => {
                let (low, high) = (min.ceil(), max.floor());
                // Every whole number has the same share of the scale that it rounds from.
                let value = match log {
                    true => low * ((high + 1.0) / low).powf(place),
                    false => low + (high + 1.0 - low) * place,
                };
                json!(value.floor().clamp(low, high) as i64)
            }
        }
    }
}

/// The settings of one trial: path → value.
pub(super) type Trial = BTreeMap<String, Value>;

/// Every combination of the values, the last setting varying fastest.
pub(super) fn grid(space: &BTreeMap<String, Choice>) -> Result<Vec<Trial>> {
    let mut trials = vec![Trial::new()];
    for (name, choice) in space {
        let Choice::Values { values } = choice else {
            return Err(TrainError::setting(
                &format!("space.{name}"),
                "is a range, but a grid needs `values`: list them, or choose the strategy `random`",
            ));
        };
        if trials.len().saturating_mul(values.len()) > MOST as usize {
            return Err(TrainError::setting(
                "space",
                format!("has more than {MOST} combinations; choose the strategy `random`"),
            ));
        }
        trials = trials
            .iter()
            .flat_map(|trial| {
                values.iter().map(|value| {
                    let mut trial = trial.clone();
                    trial.insert(name.clone(), value.clone());
                    trial
                })
            })
            .collect();
    }
    Ok(trials)
}

/// `count` trials; trial n is a function of the seed and n alone.
pub(super) fn random(space: &BTreeMap<String, Choice>, count: u32, seed: u64) -> Vec<Trial> {
    (0..u64::from(count))
        .map(|number| {
            let settings = space.iter().map(|(name, choice)| {
                let key = rng::derive_str(rng::derive(seed, number), name);
                let place = f64::from(rng::uniform_at(key, 0));
                (name.clone(), choice.at(place))
            });
            settings.collect()
        })
        .collect()
}

/// Writes a trial's settings into a specification: `a.b` is `b` in the object `a`.
pub(super) fn apply(spec: &Value, trial: &Trial) -> Result<Value> {
    let mut spec = spec.clone();
    for (path, value) in trial {
        let mut at = &mut spec;
        let mut walked = String::new();
        for part in path.split('.') {
            let object = match at {
                Value::Object(object) => object,
                Value::Null => {
                    *at = Value::Object(Map::new());
                    match at {
                        Value::Object(object) => object,
                        _ => continue,
                    }
                }
                _ => {
                    return Err(TrainError::setting(
                        &format!("space.{path}"),
                        format!("leads nowhere: `{walked}` is no object"),
                    ));
                }
            };
            if !walked.is_empty() {
                walked.push('.');
            }
            walked.push_str(part);
            at = object.entry(part).or_insert(Value::Null);
        }
        *at = value.clone();
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn space(json: Value) -> BTreeMap<String, Choice> {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_grid_is_every_combination() {
        let space = space(json!({"a": {"values": [1, 2]}, "b.c": {"values": ["x", null, true]}}));
        let trials = grid(&space).unwrap();
        assert_eq!(trials.len(), 6);
        assert_eq!(
            trials[1],
            Trial::from([("a".into(), json!(1)), ("b.c".into(), json!(null))])
        );
        let range = BTreeMap::from([(
            "a".to_owned(),
            serde_json::from_value(json!({"min": 0, "max": 1})).unwrap(),
        )]);
        assert!(grid(&range).unwrap_err().to_string().contains("space.a"));
    }

    #[test]
    fn draws_fill_their_ranges_and_follow_the_seed() {
        let space = space(json!({
            "rate": {"min": 1e-4, "max": 1e-1, "log": true},
            "layers": {"min": 1, "max": 3, "integer": true},
            "drop": {"min": 0.0, "max": 0.5},
            "kind": {"values": ["a", "b"]},
        }));
        let trials = random(&space, 3000, 5);
        assert_eq!(trials, random(&space, 3000, 5));
        assert_ne!(trials, random(&space, 3000, 6));
        assert_eq!(
            trials[..10],
            random(&space, 10, 5),
            "trials do not hang on how many there are"
        );
        let numbers = |name: &str| -> Vec<f64> {
            trials
                .iter()
                .map(|trial| trial[name].as_f64().unwrap())
                .collect()
        };
        // A third of the draws in each decade, and a third on each whole number.
        for decade in [1e-4, 1e-3, 1e-2] {
            let share = numbers("rate")
                .into_iter()
                .filter(|rate| (decade..decade * 10.0).contains(rate))
                .count();
            assert!((900..1100).contains(&share), "{share} in {decade}");
        }
        for layers in [1.0, 2.0, 3.0] {
            let share = numbers("layers")
                .into_iter()
                .filter(|n| *n == layers)
                .count();
            assert!((900..1100).contains(&share), "{share} of {layers}");
        }
        assert!(
            numbers("drop")
                .into_iter()
                .all(|drop| (0.0..=0.5).contains(&drop))
        );
        let kinds = trials.iter().filter(|trial| trial["kind"] == "a").count();
        assert!((1400..1600).contains(&kinds), "{kinds}");
    }

    #[test]
    fn settings_are_written_where_their_paths_lead() {
        let spec = json!({"learning_rate": 1.0, "recipe_config": {"layers": 2}, "lora": null});
        let trial = Trial::from([
            ("learning_rate".into(), json!(0.1)),
            ("recipe_config.layers".into(), json!(3)),
            ("lora.rank".into(), json!(4)),
        ]);
        let expected =
            json!({"learning_rate": 0.1, "recipe_config": {"layers": 3}, "lora": {"rank": 4}});
        assert_eq!(apply(&spec, &trial).unwrap(), expected);
        let wrong = Trial::from([("learning_rate.max".into(), json!(1))]);
        let text = apply(&spec, &wrong).unwrap_err().to_string();
        assert!(text.contains("`learning_rate` is no object"), "{text}");
    }

    #[test]
    fn what_is_no_choice_is_refused() {
        let refused = |json: Value| {
            let choice: Choice = serde_json::from_value(json).unwrap();
            choice.check("x").unwrap_err().to_string()
        };
        assert!(refused(json!({"values": []})).contains("no values"));
        assert!(refused(json!({"min": 2, "max": 1})).contains("`min`"));
        assert!(refused(json!({"min": 0, "max": 1, "log": true})).contains("above 0"));
        assert!(refused(json!({"min": 0.2, "max": 0.8, "integer": true})).contains("whole"));
        assert!(serde_json::from_value::<Choice>(json!({"min": 1})).is_err());
    }
}
