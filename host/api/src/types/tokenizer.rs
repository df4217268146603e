//! Tokenizers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tenon_data::{TokenizerKind, TokenizerRecord, TrainOptions};
use utoipa::ToSchema;

/// All versions of all tokenizers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenizerList {
    /// By name, oldest first.
    pub tokenizers: Vec<TokenizerRecord>,
}

/// How to train a tokenizer. The run's `report.json` is a `TokenizerRecord`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainTokenizerRequest {
    /// `name[@version][#split]`; without a split, all of them.
    pub dataset: String,
    /// Columns of text.
    pub columns: Vec<String>,
    /// What a token is. Nothing: a character.
    #[serde(default)]
    pub kind: TokenizerKind,
    /// Tokens at most, special ones included. Nothing: 8192.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<u32>,
    /// Characters (or pairs) that are rarer get no token. Nothing: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_frequency: Option<u64>,
    /// Special tokens; their ids are 0, 1, 2, …. Nothing: `<pad>`, `<unk>`, `<bos>`, `<sep>`, `<eos>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub special_tokens: Option<Vec<String>>,
    /// The special token for unknown characters (`char` only). Nothing: `<unk>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_token: Option<String>,
    /// Name or identifier of the run's experiment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// Labels of the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl TrainTokenizerRequest {
    /// What was left out is filled in.
    #[must_use]
    pub fn options(&self) -> TrainOptions {
        let given = self.clone();
        let default = TrainOptions::default();
        TrainOptions {
            kind: given.kind,
            vocabulary: given.vocabulary.unwrap_or(default.vocabulary),
            min_frequency: given.min_frequency.unwrap_or(default.min_frequency),
            special_tokens: given.special_tokens.unwrap_or(default.special_tokens),
            unknown_token: given.unknown_token.unwrap_or(default.unknown_token),
        }
    }
}

/// Texts to encode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EncodeRequest {
    /// The texts.
    pub texts: Vec<String>,
}

/// The ids of each text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EncodeResponse {
    /// In the order of the texts.
    pub ids: Vec<Vec<u32>>,
}

/// Ids to decode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecodeRequest {
    /// The ids of each text.
    pub ids: Vec<Vec<u32>>,
    /// Whether special tokens are written out; otherwise they are left out.
    #[serde(default)]
    pub with_special: bool,
}

/// The texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DecodeResponse {
    /// In the order of the ids.
    pub texts: Vec<String>,
}
