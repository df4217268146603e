//! Tokenizers: text to token ids and back, in Hugging Face's `tokenizer.json` format.
//!
//! Text never turns into control tokens: `encode` treats `<eos>` in a text as five characters. A
//! recipe places special tokens itself.

mod chars;
mod library;
mod table;
#[cfg(test)]
mod tests;
mod train;

use std::sync::Arc;

use rayon::prelude::*;
use tenon_plugin::{TokenTable, TokenizerSource};
use tenon_store::Digest;

pub use library::{TokenizerRecord, Tokenizers, TrainingSource};
pub use train::{TokenizerKind, TrainOptions};

use crate::error::{DataError, Result};
use chars::Characters;

/// Texts that one task encodes.
const TASK: usize = 256;
/// Names that padding goes by.
const PADS: [&str; 4] = ["<pad>", "[PAD]", "<|pad|>", "<|endoftext|>"];

/// A tokenizer, ready to use. Clones share it.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

struct Inner {
    library: tokenizers::Tokenizer,
    /// The quick way for tokenizers that map character to id.
    characters: Option<Characters>,
    json: Vec<u8>,
    digest: Digest,
    vocabulary: u32,
    table: TokenTable,
    special: Vec<bool>,
    pad: u32,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("digest", &self.inner.digest)
            .field("vocabulary", &self.inner.vocabulary)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] with what is wrong with it.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let mut library = tokenizers::Tokenizer::from_bytes(json).map_err(|error| {
            DataError::Tokenizer(format!(
                "this is no tokenizer.json that can be read: {error}"
            ))
        })?;
        // Text that looks like a special token stays text.
        library.set_encode_special_tokens(true);
        let description: serde_json::Value = serde_json::from_slice(json)
            .map_err(|error| DataError::Tokenizer(format!("this is no JSON: {error}")))?;
        let vocabulary = library
            .get_vocab(true)
            .values()
            .max()
            .map_or(0, |highest| highest + 1);
        if vocabulary == 0 {
            return Err(DataError::Tokenizer("its vocabulary is empty".into()));
        }
        let mut special = vec![false; vocabulary as usize];
        for (id, token) in library.get_added_tokens_decoder() {
            if token.special
                && let Some(flag) = special.get_mut(id as usize)
            {
                *flag = true;
            }
        }
        let pad = description["padding"]["pad_id"]
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .or_else(|| PADS.iter().find_map(|name| library.token_to_id(name)))
            .filter(|id| *id < vocabulary)
            .unwrap_or(0);
        Ok(Self {
            inner: Arc::new(Inner {
                characters: Characters::detect(&description, &library),
                table: table::table(&library, &description, vocabulary, &special),
                digest: Digest::of(json),
                json: json.to_vec(),
                library,
                vocabulary,
                special,
                pad,
            }),
        })
    }

    /// The `tokenizer.json`.
    pub fn json(&self) -> &[u8] {
        &self.inner.json
    }

    /// The digest of its `tokenizer.json`, `blake3:…`: the blob that a model names.
    pub fn digest(&self) -> String {
        self.inner.digest.to_string()
    }

    /// How many ids there are: the highest and one.
    pub fn vocabulary(&self) -> u32 {
        self.inner.vocabulary
    }

    /// Text to ids, without special tokens.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] for a character that it has no token for and no unknown token
    /// either.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        self.encode_into(text, &mut ids)?;
        Ok(ids)
    }

    /// As [`Tokenizer::encode`], appending.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_into(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        if let Some(characters) = &self.inner.characters {
            characters.encode(text, ids);
            return Ok(());
        }
        let encoding = self
            .inner
            .library
            .encode_fast(text, false)
            .map_err(|error| DataError::Tokenizer(error.to_string()))?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
    }

    /// Encodes many texts on all cores.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_batch<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Vec<u32>>> {
        texts
            .par_iter()
            .with_min_len(TASK)
            .map(|text| self.encode(text.as_ref()))
            .collect()
    }

    /// Ids to text; special tokens are left out.
    ///
    /// # Errors
    /// An id outside the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.check(ids)?;
        self.inner
            .library
            .decode(ids, true)
            .map_err(|error| DataError::Tokenizer(error.to_string()))
    }

    /// Ids to text with special tokens written out.
    ///
    /// # Errors
    /// An id outside the vocabulary.
    pub fn decode_with_special(&self, ids: &[u32]) -> Result<String> {
        self.check(ids)?;
        self.inner
            .library
            .decode(ids, false)
            .map_err(|error| DataError::Tokenizer(error.to_string()))
    }

    fn check(&self, ids: &[u32]) -> Result<()> {
        match ids.iter().find(|id| **id >= self.inner.vocabulary) {
            Some(id) => Err(DataError::Tokenizer(format!(
                "there is no token {id}; the vocabulary has {}",
                self.inner.vocabulary
            ))),
            None => Ok(()),
        }
    }

    /// The id of a token by its exact text, special tokens included.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.library.token_to_id(token)
    }

    /// The id of a special token.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] naming the tokens that there are.
    pub fn special_id(&self, token: &str) -> Result<u32> {
        self.token_to_id(token).ok_or_else(|| {
            DataError::Tokenizer(format!(
                "it has no token `{token}`; its special tokens are `{}`",
                self.special_tokens().join("`, `")
            ))
        })
    }

    /// Whether an id is a special token.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner
            .special
            .get(id as usize)
            .copied()
            .unwrap_or(false)
    }

    /// The texts of the special tokens, by id.
    pub fn special_tokens(&self) -> Vec<String> {
        let ids = self.inner.table.special.iter();
        ids.filter_map(|id| self.inner.library.id_to_token(*id))
            .collect()
    }

    /// The token that fills rows up; 0 where the tokenizer names none (padding is masked anyway).
    pub fn pad_id(&self) -> u32 {
        self.inner.pad
    }

    /// The bytes that a token stands for; possibly a part of a character. Empty for ids without a
    /// token.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        let table = &self.inner.table;
        match (
            table.offsets.get(id as usize),
            table.offsets.get(id as usize + 1),
        ) {
            (Some(start), Some(end)) => &table.text[*start as usize..*end as usize],
            _ => &[],
        }
    }

    /// All tokens' bytes.
    pub fn table(&self) -> &TokenTable {
        &self.inner.table
    }
}

impl TokenizerSource for Tokenizer {
    fn vocabulary(&self) -> TokenTable {
        self.inner.table.clone()
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        Tokenizer::encode(self, text).map_err(|error| error.to_string())
    }

    fn decode(&self, tokens: &[u32]) -> Result<String, String> {
        Tokenizer::decode(self, tokens).map_err(|error| error.to_string())
    }

    fn token_id(&self, token: &str) -> Option<u32> {
        self.token_to_id(token)
    }
}
