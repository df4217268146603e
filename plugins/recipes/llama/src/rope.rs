//! Rotary positions: how fast each pair of a head's numbers turns, and how a longer context is reached
//! than the model was trained on.

use std::f64::consts::TAU;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenon_sdk::{
    Error, Result,
    recipe::hub::{Others, unsupported},
};

use crate::config::Config;

/// `rope_scaling` or `rope_parameters`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RopeParameters {
    /// `default`, `linear`, `dynamic`, `llama3` or `yarn`.
    pub rope_type: Option<String>,
    /// The same, in older files.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The base of the frequencies.
    pub rope_theta: Option<f64>,
    /// How many times longer the context became.
    pub factor: Option<f64>,
    /// The context that the model was trained on (llama3, yarn).
    pub original_max_position_embeddings: Option<f64>,
    /// Waves that fit the old context fewer times than this are slow (llama3).
    pub low_freq_factor: Option<f64>,
    /// Waves that fit it more often than this stay as they are (llama3).
    pub high_freq_factor: Option<f64>,
    /// What queries and keys are multiplied by; nothing: it follows from the factor (yarn).
    pub attention_factor: Option<f64>,
    /// Waves that turn more often than this within the old context stay as they are (yarn).
    pub beta_fast: Option<f64>,
    /// Waves that turn less often than this are slowed down in full (yarn).
    pub beta_slow: Option<f64>,
    /// Of the attention factor (yarn).
    pub mscale: Option<f64>,
    /// Of the attention factor, in its denominator (yarn).
    pub mscale_all_dim: Option<f64>,
    /// Whether the bounds between fast and slow pairs are whole numbers (yarn).
    pub truncate: Option<bool>,
    /// Fields that say nothing about what is computed here.
    #[serde(flatten)]
    pub others: Others,
}

/// Frequencies, and what scores are multiplied by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rope {
    /// Radians a token, one for each pair of a head's numbers.
    pub(crate) frequencies: Vec<f32>,
    /// Times the scores: the square of what queries and keys are each multiplied by.
    pub(crate) scale: f32,
}

impl Rope {
    pub(crate) fn new(config: &Config, head_dim: u32) -> Result<Self> {
        let (field, given) = match (&config.rope_parameters, &config.rope_scaling) {
            (Some(given), _) => ("rope_parameters", given.clone()),
            (None, Some(given)) => ("rope_scaling", given.clone()),
            (None, None) => ("rope_parameters", RopeParameters::default()),
        };
        for (others, name) in [
            (&config.others, "partial_rotary_factor"),
            (&given.others, "partial_rotary_factor"),
        ] {
            if let Some(part) = others.get(name).and_then(|value| value.as_f64())
                && part != 1.0
            {
                return Err(unsupported(name, part, &["1: whole heads are turned"]));
            }
        }
        given.others.refuse(&[
            ("full_attention", "frequencies that differ between blocks"),
            (
                "sliding_attention",
                "frequencies that differ between blocks",
            ),
        ])?;
        let theta = given.rope_theta.or(config.rope_theta).unwrap_or(10_000.0);
        let pairs = head_dim / 2;
        let plain: Vec<f64> = (0..pairs)
            .map(|pair| theta.powf(-f64::from(pair) / f64::from(pairs)))
            .collect();
        let kind = given.rope_type.as_deref().or(given.kind.as_deref());
        let factor = || positive(field, "factor", given.factor);
        let original = given
            .original_max_position_embeddings
            .unwrap_or(f64::from(config.max_position_embeddings));
        let mut scale = 1.0;
        let frequencies = match kind.unwrap_or("default") {
            // `dynamic` stretches sequences longer than `max_position_embeddings`. There are none: it is
            // the longest sequence that the model reads.
            "default" | "dynamic" => plain,
            "linear" => {
                let factor = factor()?;
                plain.iter().map(|frequency| frequency / factor).collect()
            }
            "llama3" => {
                let band = Band {
                    factor: factor()?,
                    low: positive(field, "low_freq_factor", given.low_freq_factor)?,
                    high: positive(field, "high_freq_factor", given.high_freq_factor)?,
                    context: original,
                };
                plain
                    .iter()
                    .map(|frequency| band.stretch(*frequency))
                    .collect()
            }
            "yarn" => {
                let factor = match given.factor {
                    None if given.original_max_position_embeddings.is_some() => {
                        f64::from(config.max_position_embeddings) / original
                    }
                    _ => factor()?,
                };
                scale = attention_factor(&given, factor).powi(2);
                yarn(&plain, &given, factor, original, theta)
            }
            other => {
                return Err(unsupported(
                    &format!("{field}.rope_type"),
                    format!("{other:?}"),
                    &["default", "linear", "dynamic", "llama3", "yarn"],
                ));
            }
        };
        Ok(Self {
            frequencies: frequencies
                .iter()
                .map(|frequency| *frequency as f32)
                .collect(),
            scale: scale as f32,
        })
    }
}

fn positive(object: &str, field: &str, value: Option<f64>) -> Result<f64> {
    value.filter(|value| *value > 0.0).ok_or_else(|| {
        Error::invalid(match value {
            Some(value) => format!("`{object}.{field}` is {value}, but must be more than 0"),
            None => format!("`{object}.{field}` is missing: this kind of scaling needs it"),
        })
    })
}

/// Llama 3.1's stretching: fast waves stay, slow ones become `factor` times slower, those between are
/// blended by how often they fit the old context.
struct Band {
    factor: f64,
    low: f64,
    high: f64,
    context: f64,
}

impl Band {
    fn stretch(&self, frequency: f64) -> f64 {
        let waves = self.context * frequency / TAU;
        let kept = ((waves - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        frequency * (kept + (1.0 - kept) / self.factor)
    }
}

/// YaRN (Peng et al. 2023): a ramp over the pairs, from those that stay to those that become `factor`
/// times slower. Its ends are the pairs that turn `beta_fast` and `beta_slow` times in the old context.
fn yarn(plain: &[f64], given: &RopeParameters, factor: f64, context: f64, theta: f64) -> Vec<f64> {
    let dim = 2.0 * plain.len() as f64;
    let pair_of = |turns: f64| dim * (context / (turns * TAU)).ln() / (2.0 * theta.ln());
    let mut low = pair_of(given.beta_fast.unwrap_or(32.0));
    let mut high = pair_of(given.beta_slow.unwrap_or(1.0));
    if given.truncate.unwrap_or(true) {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(dim - 1.0));
    // A ramp needs a length.
    if low == high {
        high += 0.001;
    }
    plain
        .iter()
        .enumerate()
        .map(|(pair, frequency)| {
            let slowed = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
            frequency * (1.0 - slowed + slowed / factor)
        })
        .collect()
}

/// What YaRN multiplies queries and keys by: scores of a longer context are more spread out.
fn attention_factor(given: &RopeParameters, factor: f64) -> f64 {
    let of = |mscale: f64| {
        if factor <= 1.0 {
            1.0
        } else {
            0.1 * mscale * factor.ln() + 1.0
        }
    };
    match (given.attention_factor, given.mscale, given.mscale_all_dim) {
        (Some(factor), _, _) => factor,
        (None, Some(top), Some(bottom)) if top != 0.0 && bottom != 0.0 => of(top) / of(bottom),
        _ => of(1.0),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rope(config: &str) -> Result<Rope> {
        Rope::new(&serde_json::from_str(config).unwrap(), 8)
    }

    #[test]
    fn frequencies_fall_from_one_by_equal_ratios() {
        let rope = rope(r#"{"rope_theta": 10000.0}"#).unwrap();
        assert_eq!(
            (rope.frequencies.as_slice(), rope.scale),
            ([1.0, 0.1, 0.01, 0.001].as_slice(), 1.0)
        );
    }

    #[test]
    fn both_spellings_are_read() {
        let old = r#"{"rope_theta": 100.0, "rope_scaling": {"type": "linear", "factor": 2.0}}"#;
        let new =
            r#"{"rope_parameters": {"rope_theta": 100.0, "rope_type": "linear", "factor": 2.0}}"#;
        assert_eq!(rope(old).unwrap(), rope(new).unwrap());
        assert_eq!(rope(old).unwrap().frequencies[0], 0.5);
        let both = r#"{"rope_scaling": {"type": "default", "rope_type": "default"}}"#;
        assert_eq!(rope(both).unwrap(), rope("{}").unwrap());
    }

    #[test]
    fn slow_frequencies_are_stretched() {
        let band = Band {
            factor: 8.0,
            low: 1.0,
            high: 4.0,
            context: 8192.0,
        };
        assert_eq!(band.stretch(1.0), 1.0);
        assert_eq!(band.stretch(1e-5), 1e-5 / 8.0);
        // Two and a half waves lie in the middle.
        let middle = 2.5 * TAU / 8192.0;
        assert!((band.stretch(middle) / middle - (0.5 + 0.5 / 8.0)).abs() < 1e-12);
    }

    #[test]
    fn yarn_scales_scores_by_the_square_of_its_factor() {
        let yarn = r#"{"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}}"#;
        let rope = rope(yarn).unwrap();
        let expected = (0.1 * 4.0_f64.ln() + 1.0).powi(2) as f32;
        assert!((rope.scale - expected).abs() < 1e-6);
        // The slowest pair turns less than once in 64 tokens.
        assert!((rope.frequencies[3] - 0.001 / 4.0).abs() < 1e-9, "{rope:?}");
    }

    #[test]
    fn what_is_unknown_or_missing_is_refused_by_name() {
        let refused = |config: &str| rope(config).unwrap_err().to_string();
        let unknown = refused(r#"{"rope_scaling": {"rope_type": "longrope"}}"#);
        assert!(
            unknown.contains("`rope_scaling.rope_type` is \"longrope\"")
                && unknown.contains("llama3")
        );
        let missing = refused(r#"{"rope_parameters": {"rope_type": "linear"}}"#);
        assert!(
            missing.contains("`rope_parameters.factor` is missing"),
            "{missing}"
        );
        assert!(
            refused(r#"{"partial_rotary_factor": 0.5}"#).contains("`partial_rotary_factor` is 0.5")
        );
    }
}
