//! What an import did.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tenon_hub::{Fit, Weights};
use tenon_track::ModelVersion;
use utoipa::ToSchema;

use super::Chosen;

/// What an import did: every tensor that was not simply taken over is named.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ImportReport {
    /// What was registered.
    pub version: Option<ModelVersion>,
    /// The version of a stored tokenizer that the model's own is, or has become.
    pub tokenizer: Option<String>,
    /// Tensors of the checkpoint that the model uses.
    pub tensors: usize,
    /// Bytes of the stored weights.
    pub bytes: u64,
    /// Element types of the checkpoint, with the number of tensors of each.
    pub dtypes: BTreeMap<String, usize>,
    /// Whether the file of weights is stored as it came.
    pub stored_as_is: bool,
    /// Tensors that have another name in the recipe: checkpoint's name → recipe's name.
    pub renamed: BTreeMap<String, String>,
    /// Parameters that share the tensor of another: parameter → tensor.
    pub tied: BTreeMap<String, String>,
    /// Parameters that the checkpoint lacks and that were initialised.
    pub initialised: Vec<String>,
    /// Tensors that the recipe does not know; they were left out.
    pub dropped: Vec<String>,
    /// Tensors that repeat another, or are computed by the recipe; they were left out.
    pub redundant: Vec<String>,
    /// Special tokens of the recipe's sequences that the tokenizer calls otherwise; empty: it has none,
    /// and the sequences are without it.
    pub special_tokens: BTreeMap<String, String>,
    /// Fields of the configuration that the recipe does not know; an export writes them again.
    pub ignored_config: Vec<String>,
}

impl ImportReport {
    pub(super) fn of(weights: &Weights, fit: &Fit, chosen: &Chosen) -> Self {
        let renamed = fit.renamed();
        Self {
            tensors: fit.taken.len(),
            dtypes: weights.dtypes(),
            renamed: renamed
                .map(|(from, to)| (from.to_owned(), to.to_owned()))
                .collect(),
            tied: fit.tied.clone(),
            initialised: fit.missing.clone(),
            dropped: fit.unknown.clone(),
            redundant: fit.redundant.clone(),
            special_tokens: chosen.special_tokens.clone(),
            ignored_config: chosen.ignored.clone(),
            ..Self::default()
        }
    }
}
