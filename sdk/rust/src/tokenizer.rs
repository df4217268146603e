//! The tokenizer of the model at hand (capability `tokenizer`).
//!
//! Natively it is the one given to [`testkit::set_tokenizer`](crate::testkit::set_tokenizer).

use crate::Result;

/// The text of every token, by id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vocabulary {
    text: Vec<u8>,
    offsets: Vec<u32>,
    special: Vec<u32>,
}

impl Vocabulary {
    /// From the text of every token, in order of their ids, and the ids of those that are special.
    pub fn new<S: AsRef<str>>(tokens: impl IntoIterator<Item = S>, special: Vec<u32>) -> Self {
        let mut vocabulary = Self {
            text: Vec::new(),
            offsets: vec![0],
            special,
        };
        for token in tokens {
            vocabulary.text.extend_from_slice(token.as_ref().as_bytes());
            vocabulary.offsets.push(vocabulary.text.len() as u32);
        }
        vocabulary
    }

    /// How many tokens.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text of a token; nothing where there is no such token or it is no whole text by itself.
    pub fn text(&self, id: u32) -> Option<&str> {
        let from = *self.offsets.get(id as usize)? as usize;
        let to = *self.offsets.get(id as usize + 1)? as usize;
        std::str::from_utf8(self.text.get(from..to)?).ok()
    }

    /// All tokens with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Option<&str>)> {
        (0..self.len() as u32).map(|id| (id, self.text(id)))
    }

    /// The special tokens.
    pub fn special(&self) -> &[u32] {
        &self.special
    }

    /// Whether a token is special.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }
}

/// The text of every token. One call copies all of it: keep it.
///
/// # Errors
/// The capability was not granted.
#[track_caller]
pub fn vocabulary() -> Result<Vocabulary> {
    #[cfg(target_arch = "wasm32")]
    {
        let table = crate::bindings::tokenizer::vocabulary()?;
        Ok(Vocabulary {
            text: table.text,
            offsets: table.offsets,
            special: table.special,
        })
    }
    #[cfg(not(target_arch = "wasm32"))]
    crate::testkit::tokenizer(|tokenizer| Ok(tokenizer.vocabulary()))
}

/// A text's tokens.
///
/// # Errors
/// The capability was not granted.
#[track_caller]
pub fn encode(text: &str) -> Result<Vec<u32>> {
    #[cfg(target_arch = "wasm32")]
    return Ok(crate::bindings::tokenizer::encode(text)?);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testkit::tokenizer(|tokenizer| tokenizer.encode(text))
}

/// The text of tokens.
///
/// # Errors
/// The capability was not granted; an id that is none.
#[track_caller]
pub fn decode(tokens: &[u32]) -> Result<String> {
    #[cfg(target_arch = "wasm32")]
    return Ok(crate::bindings::tokenizer::decode(tokens)?);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testkit::tokenizer(|tokenizer| tokenizer.decode(tokens))
}

/// The id of a token by its exact text, special tokens included.
///
/// # Errors
/// The capability was not granted.
#[track_caller]
pub fn token_id(token: &str) -> Result<Option<u32>> {
    #[cfg(target_arch = "wasm32")]
    return Ok(crate::bindings::tokenizer::token_id(token)?);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testkit::tokenizer(|tokenizer| Ok(tokenizer.token_id(token)))
}
