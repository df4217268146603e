//! Which tensor of a checkpoint is which parameter of a model.
//!
//! A checkpoint of a base model lacks the prefix under which a model with a head keeps it, or the other
//! way round (`wte.weight`, `transformer.wte.weight`); wrappers put a prefix before everything; shared
//! tensors are there once or twice, under either name. What the transformers library tolerates is
//! tolerated here, and everything else is told by name.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{HubError, Result};
use crate::weights::Weights;

/// What a model needs: parameters and their shapes.
pub type Expected = BTreeMap<String, Vec<usize>>;

/// Prefixes under which architectures keep their base model, besides their own type's name.
const BASES: &[&str] = &["model.", "transformer.", "base_model."];
/// Prefixes of wrappers: data parallelism, compilation.
const WRAPPERS: &[&str] = &["module.", "_orig_mod."];
/// Names that end so are an architecture's token embedding or what is commonly tied to it.
const EMBEDDINGS: &[&str] = &[
    "wte.weight",
    "embed_tokens.weight",
    "word_embeddings.weight",
    "tok_embeddings.weight",
    "embed_in.weight",
    "shared.weight",
];
const HEADS: &[&str] = &[
    "lm_head.weight",
    "embed_out.weight",
    "predictions.decoder.weight",
    "output.weight",
];
/// Biases that are one and the same.
const BIASES: &[&str] = &["predictions.bias", "predictions.decoder.bias"];
/// Buffers that are computed, not learnt; old versions saved them.
const COMPUTED: &[&str] = &[
    "attn.bias",
    "attn.masked_bias",
    "attention.bias",
    "attention.masked_bias",
    "position_ids",
    "rotary_emb.inv_freq",
    "num_batches_tracked",
];
/// Names of one list that are written out in an error.
const LISTED: usize = 12;

/// A parameter whose shape in the checkpoint is another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The parameter.
    pub name: String,
    /// The model's shape.
    pub expected: Vec<usize>,
    /// The checkpoint's.
    pub found: Vec<usize>,
}

/// What becomes of every tensor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fit {
    /// Parameter → tensor that it is read from.
    pub taken: BTreeMap<String, String>,
    /// Parameters that are read from a tensor which is another parameter's too.
    pub tied: BTreeMap<String, String>,
    /// Parameters that the checkpoint lacks.
    pub missing: Vec<String>,
    /// Tensors that nobody needs.
    pub unknown: Vec<String>,
    /// Tensors that are copies of one that was taken, or are computed.
    pub redundant: Vec<String>,
    /// Parameters of another shape.
    pub mismatched: Vec<Mismatch>,
}

/// What is known of the model from its configuration.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// `model_type`: many architectures keep their base model under it.
    pub model_type: Option<String>,
    /// `tie_word_embeddings`; true where nothing is said.
    pub untied: bool,
}

impl Fit {
    /// Compares a checkpoint with what a model needs.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn of(weights: &Weights, expected: &Expected, hints: &Hints) -> Result<Self> {
        let found = weights.tensors();
        let mut fit = Self::default();
        let mut used: BTreeSet<&str> = BTreeSet::new();
        for name in expected.keys() {
            if let Some((name, _)) = found.get_key_value(name) {
                fit.taken.insert(name.clone(), name.clone());
                used.insert(name);
            }
        }
        for name in expected.keys() {
            if fit.taken.contains_key(name) {
                continue;
            }
            let source = spellings(name, hints)
                .into_iter()
                .find_map(|other| found.get_key_value(&other))
                .filter(|(other, _)| !used.contains(other.as_str()));
            if let Some((source, _)) = source {
                fit.taken.insert(name.clone(), source.clone());
                used.insert(source);
            }
        }
        let shared = weights.shared();
        for (name, shape) in expected {
            if fit.taken.contains_key(name) {
                continue;
            }
            let twin = twin(name, shape, &fit.taken, weights, hints);
            match twin {
                Some(source) => {
                    fit.tied.insert(name.clone(), source);
                }
                None => fit.missing.push(name.clone()),
            }
        }
        for source in fit.tied.values() {
            if let Some((source, _)) = found.get_key_value(source) {
                used.insert(source);
            }
        }
        for name in found.keys().filter(|name| !used.contains(name.as_str())) {
            if is_copy(name, &used, &shared, weights)? || ends(name, COMPUTED) {
                fit.redundant.push(name.clone());
            } else {
                fit.unknown.push(name.clone());
            }
        }
        for (name, source) in fit.taken.iter().chain(&fit.tied) {
            if found[source].shape != expected[name] {
                fit.mismatched.push(Mismatch {
                    name: name.clone(),
                    expected: expected[name].clone(),
                    found: found[source].shape.clone(),
                });
            }
        }
        Ok(fit)
    }

    /// Refuses what cannot be used: other shapes, types that no recipe computes with, and, unless
    /// `allow_missing`, parameters that are not there.
    ///
    /// # Errors
    /// [`HubError::Fit`] naming the parameters.
    pub fn require(&self, weights: &Weights, recipe: &str, allow_missing: bool) -> Result<()> {
        if !self.mismatched.is_empty() {
            let shapes: Vec<String> = self
                .mismatched
                .iter()
                .map(|m| {
                    format!(
                        "`{}`: the recipe expects {:?}, the checkpoint has {:?}",
                        m.name, m.expected, m.found
                    )
                })
                .collect();
            return Err(HubError::Fit {
                reason: format!(
                    "{} of another shape than recipe {recipe} makes: {}",
                    count(shapes.len(), "tensor"),
                    list(&shapes)
                ),
                remedy: "the configuration is not this checkpoint's: check config.json and \
                         --recipe-config, or choose another recipe with --recipe"
                    .to_owned(),
            });
        }
        let numbers: Vec<String> = self
            .taken
            .values()
            .filter(|source| !weights.tensors()[*source].dtype.is_float())
            .map(|source| format!("`{source}` ({})", weights.tensors()[source].dtype))
            .collect();
        if !numbers.is_empty() {
            return Err(HubError::Fit {
                reason: format!(
                    "{} of a type that no recipe computes with: {}",
                    count(numbers.len(), "tensor"),
                    list(&numbers)
                ),
                remedy: "import a checkpoint that is not quantised (F32, F16, BF16 or F64)"
                    .to_owned(),
            });
        }
        if self.taken.is_empty() {
            let names: Vec<String> = self
                .unknown
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            let wanted: Vec<String> = self
                .missing
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            return Err(HubError::Fit {
                reason: format!(
                    "no tensor of the checkpoint is one of recipe {recipe}: it has {}; the recipe \
                     needs {}",
                    list(&names),
                    list(&wanted)
                ),
                remedy:
                    "this is a checkpoint of another architecture: choose its recipe with --recipe"
                        .to_owned(),
            });
        }
        if !self.missing.is_empty() && !allow_missing {
            let names: Vec<String> = self
                .missing
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            let mut reason = format!(
                "the checkpoint lacks {} that recipe {recipe} needs: {}",
                count(names.len(), "tensor"),
                list(&names)
            );
            if !self.unknown.is_empty() {
                let names: Vec<String> = self
                    .unknown
                    .iter()
                    .map(|name| format!("`{name}`"))
                    .collect();
                reason.push_str(&format!(
                    "; of the checkpoint, nobody needs {}",
                    list(&names)
                ));
            }
            return Err(HubError::Fit {
                reason,
                remedy:
                    "with --allow-missing they are initialised (a new head that is then trained); \
                         otherwise choose another recipe or configuration"
                        .to_owned(),
            });
        }
        Ok(())
    }

    /// Whether every tensor is taken under its own name, and none is left.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.tied.is_empty()
            && self.missing.is_empty()
            && self.unknown.is_empty()
            && self.redundant.is_empty()
            && self.taken.iter().all(|(name, source)| name == source)
    }

    /// Parameters whose tensors have another name in the checkpoint.
    pub fn renamed(&self) -> impl Iterator<Item = (&str, &str)> {
        let other = |(name, source): &(&String, &String)| name != source;
        let taken = self.taken.iter().filter(other);
        taken.map(|(name, source)| (source.as_str(), name.as_str()))
    }
}

/// Other names that a checkpoint may have a parameter under, the likeliest first.
fn spellings(name: &str, hints: &Hints) -> Vec<String> {
    let own = hints.model_type.as_ref().map(|kind| format!("{kind}."));
    let prefixes: Vec<&str> = own
        .as_deref()
        .into_iter()
        .chain(BASES.iter().copied())
        .chain(WRAPPERS.iter().copied())
        .collect();
    let mut bases = vec![name.to_owned()];
    for prefix in &prefixes {
        if let Some(rest) = name.strip_prefix(prefix) {
            bases.push(rest.to_owned());
        }
    }
    let mut all = bases.clone();
    for base in &bases {
        for prefix in &prefixes {
            all.push(format!("{prefix}{base}"));
            for wrapper in WRAPPERS {
                all.push(format!("{wrapper}{prefix}{base}"));
            }
        }
    }
    // TensorFlow's names of a norm's parameters, which early checkpoints have.
    let norms: Vec<String> = all
        .iter()
        .filter(|name| name.to_ascii_lowercase().contains("norm"))
        .filter_map(|name| {
            let gamma = name
                .strip_suffix(".weight")
                .map(|base| format!("{base}.gamma"));
            gamma.or_else(|| {
                name.strip_suffix(".bias")
                    .map(|base| format!("{base}.beta"))
            })
        })
        .collect();
    all.extend(norms);
    all.retain(|other| other != name);
    all
}

fn ends(name: &str, endings: &[&str]) -> bool {
    endings.iter().any(|ending| {
        name.strip_suffix(ending)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// The tensor that stands for a parameter because both are one: a head and the token embedding.
fn twin(
    name: &str,
    shape: &[usize],
    taken: &BTreeMap<String, String>,
    weights: &Weights,
    hints: &Hints,
) -> Option<String> {
    let found = weights.tensors();
    let fits = |source: &String| {
        found
            .get(source)
            .is_some_and(|stored| stored.shape == shape)
    };
    let among = |groups: &[&[&str]]| {
        let of_group = |other: &str| groups.iter().any(|group| ends(other, group));
        // First what became a parameter, then what would be left.
        let parameters = taken
            .iter()
            .filter(|(other, _)| of_group(other))
            .map(|(_, source)| source);
        let left = found.keys().filter(|other| of_group(other));
        parameters.chain(left).find(|source| fits(source)).cloned()
    };
    if ends(name, BIASES) {
        return among(&[BIASES]);
    }
    if hints.untied && ends(name, HEADS) {
        return None;
    }
    if ends(name, EMBEDDINGS) {
        // Encoder and decoder share theirs; without any, the head has it.
        return among(&[EMBEDDINGS]).or_else(|| (!hints.untied).then(|| among(&[HEADS])).flatten());
    }
    if ends(name, HEADS) {
        return among(&[EMBEDDINGS, HEADS]);
    }
    None
}

/// Whether a tensor is another that was taken, in the same memory or with the same bytes.
fn is_copy(
    name: &str,
    used: &BTreeSet<&str>,
    shared: &BTreeMap<&str, &str>,
    weights: &Weights,
) -> Result<bool> {
    let memory = |name| shared.get(name).copied().unwrap_or(name);
    if used.iter().any(|other| memory(*other) == memory(name)) {
        return Ok(true);
    }
    let tied: &[&[&str]] = &[EMBEDDINGS, HEADS, BIASES];
    if !tied.iter().any(|group| ends(name, group)) {
        return Ok(false);
    }
    for other in used {
        if tied.iter().any(|group| ends(other, group)) && weights.are_equal(name, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `1 tensor`, `3 tensors`.
fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// The first of a list, and how many more there are.
#[must_use]
pub fn list(names: &[String]) -> String {
    let mut text = names[..names.len().min(LISTED)].join(", ");
    if names.len() > LISTED {
        text.push_str(&format!(" and {} more", names.len() - LISTED));
    }
    if names.is_empty() {
        text.push_str("none");
    }
    text
}
