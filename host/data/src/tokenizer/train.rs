//! Training tokenizers. The same texts in the same order give the same tokenizer.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, TokenizerImpl};
use utoipa::ToSchema;

use super::Tokenizer;
use crate::error::{DataError, Result};

/// What a token is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenizerKind {
    /// A character. Decoding gives back exactly what was encoded, save unknown characters.
    #[default]
    Char,
    /// Byte-pair encoding over bytes, as GPT-2: there is no unknown text, and decoding is exact.
    Bpe,
}

/// How to train.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainOptions {
    /// What a token is.
    pub kind: TokenizerKind,
    /// Tokens at most, special ones included; the most frequent are kept.
    pub vocabulary: u32,
    /// Characters (or pairs) that are rarer get no token.
    pub min_frequency: u64,
    /// Special tokens; their ids are 0, 1, 2, ….
    pub special_tokens: Vec<String>,
    /// The special token for unknown characters (`char` only).
    pub unknown_token: String,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            kind: TokenizerKind::Char,
            vocabulary: 8192,
            min_frequency: 1,
            special_tokens: ["<pad>", "<unk>", "<bos>", "<sep>", "<eos>"]
                .map(str::to_owned)
                .to_vec(),
            unknown_token: "<unk>".into(),
        }
    }
}

impl TrainOptions {
    pub(super) fn check(&self) -> Result<()> {
        for (index, token) in self.special_tokens.iter().enumerate() {
            if token.chars().count() < 2 {
                return Err(DataError::Invalid(format!(
                    "special token `{token}` needs at least two characters, so that no text is taken for it"
                )));
            }
            if self.special_tokens[..index].contains(token) {
                return Err(DataError::Invalid(format!(
                    "special token `{token}` is given twice"
                )));
            }
        }
        if self.kind == TokenizerKind::Char && !self.special_tokens.contains(&self.unknown_token) {
            return Err(DataError::Invalid(format!(
                "the unknown token `{}` must be one of the special tokens",
                self.unknown_token
            )));
        }
        let least = self.special_tokens.len() as u32
            + match self.kind {
                TokenizerKind::Char => 1,
                TokenizerKind::Bpe => 256,
            };
        if self.vocabulary < least {
            return Err(DataError::Invalid(format!(
                "a vocabulary of {} is too small: {} special tokens and this kind need at least {least}",
                self.vocabulary,
                self.special_tokens.len()
            )));
        }
        Ok(())
    }
}

impl Tokenizer {
    /// Trains on texts. An error in the iterator ends it.
    ///
    /// # Errors
    /// [`DataError::Invalid`] for options that cannot be; what the iterator returns.
    pub fn train(
        texts: impl Iterator<Item = Result<String>> + Send,
        options: &TrainOptions,
    ) -> Result<Self> {
        options.check()?;
        match options.kind {
            TokenizerKind::Char => characters(texts, options),
            TokenizerKind::Bpe => byte_pairs(texts, options),
        }
    }
}

fn characters(
    texts: impl Iterator<Item = Result<String>>,
    options: &TrainOptions,
) -> Result<Tokenizer> {
    let mut counts: HashMap<char, u64> = HashMap::new();
    for text in texts {
        for character in text?.chars() {
            *counts.entry(character).or_default() += 1;
        }
    }
    let mut ranked: Vec<_> = counts
        .into_iter()
        .filter(|(_, count)| *count >= options.min_frequency)
        .collect();
    // Most frequent first; equally frequent ones in the order of their code points.
    ranked.sort_unstable_by_key(|(character, count)| (std::cmp::Reverse(*count), *character));
    ranked.truncate((options.vocabulary as usize).saturating_sub(options.special_tokens.len()));
    let mut vocabulary = serde_json::Map::new();
    for token in &options.special_tokens {
        vocabulary.insert(token.clone(), json!(vocabulary.len()));
    }
    for (character, _) in ranked {
        vocabulary.insert(character.to_string(), json!(vocabulary.len()));
    }
    let added: Vec<_> = options
        .special_tokens
        .iter()
        .enumerate()
        .map(|(id, token)| {
            json!({
                "id": id, "content": token, "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false,
            })
        })
        .collect();
    let description = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": null,
        // Joins the characters without a space between them.
        "decoder": { "type": "Fuse" },
        // Byte-pair encoding without a merge leaves every character alone.
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": options.unknown_token,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocabulary,
            "merges": [],
        },
    });
    let text = serde_json::to_vec(&description)
        .map_err(|error| DataError::Tokenizer(error.to_string()))?;
    // Written by the library, so that it looks as everywhere else.
    let written = tokenizers::Tokenizer::from_bytes(&text)
        .and_then(|tokenizer| tokenizer.to_string(true))
        .map_err(|error| DataError::Tokenizer(error.to_string()))?;
    Tokenizer::from_json(written.as_bytes())
}

fn byte_pairs(
    texts: impl Iterator<Item = Result<String>> + Send,
    options: &TrainOptions,
) -> Result<Tokenizer> {
    let failed = |error: tokenizers::Error| DataError::Tokenizer(format!("training: {error}"));
    let byte_level = ByteLevel::new(false, true, true);
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(options.vocabulary as usize)
        .min_frequency(options.min_frequency)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(
            options
                .special_tokens
                .iter()
                .map(|token| AddedToken::from(token.as_str(), true))
                .collect(),
        )
        .build();
    let mut tokenizer: TokenizerImpl<
        BPE,
        tokenizers::NormalizerWrapper,
        ByteLevel,
        ByteLevel,
        ByteLevel,
    > = TokenizerImpl::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(byte_level));
    tokenizer.with_decoder(Some(byte_level));
    let mut error = None;
    let texts = texts.map_while(|text| match text {
        Ok(text) => Some(text),
        Err(reason) => {
            error = Some(reason);
            None
        }
    });
    tokenizer.train(&mut trainer, texts).map_err(failed)?;
    if let Some(error) = error {
        return Err(error);
    }
    let written = tokenizer.to_string(true).map_err(failed)?;
    Tokenizer::from_json(written.as_bytes())
}
