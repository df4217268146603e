//! Stands in for the host when a plugin's logic runs natively, under `cargo test`.
//!
//! What is set here holds for the current thread, so for one test. Tensors have no stand-in: recipes
//! are tested on the host.

#![cfg_attr(target_arch = "wasm32", allow(dead_code))]

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use crate::{
    Batch, Error, ErrorKind, Result,
    host::Random,
    model::{GenerationOptions, Scored},
    tokenizer::Vocabulary,
};

/// A tokenizer for tests.
#[allow(
    clippy::missing_errors_doc,
    reason = "whatever the test wants to happen"
)]
pub trait Tokenizer {
    /// The text of every token.
    fn vocabulary(&self) -> Vocabulary;
    /// A text's tokens.
    fn encode(&self, text: &str) -> Result<Vec<u32>>;
    /// The text of tokens.
    fn decode(&self, tokens: &[u32]) -> Result<String>;
    /// The id of a token by its exact text.
    fn token_id(&self, token: &str) -> Option<u32>;
}

/// A model for tests.
#[allow(
    clippy::missing_errors_doc,
    reason = "whatever the test wants to happen"
)]
pub trait Model {
    /// How likely the learnt pieces of each row are.
    fn score(&mut self, rows: &Batch) -> Result<Vec<Scored>> {
        let _ = rows;
        Err(Error::new(
            ErrorKind::Unsupported,
            "this test's model does not score",
        ))
    }
    /// One continuation for each row.
    fn generate(&mut self, rows: &Batch, options: GenerationOptions) -> Result<Vec<String>> {
        let _ = (rows, options);
        Err(Error::new(
            ErrorKind::Unsupported,
            "this test's model does not generate",
        ))
    }
    /// The outputs for the rows.
    fn predict(&mut self, rows: &Batch) -> Result<Batch> {
        let _ = rows;
        Err(Error::new(
            ErrorKind::Unsupported,
            "this test's model does not predict",
        ))
    }
}

/// A tokenizer with one token for each character, after the special tokens.
#[derive(Debug, Clone)]
pub struct CharTokenizer {
    tokens: Vec<String>,
    special: usize,
}

impl CharTokenizer {
    /// The special tokens have the first ids, then come the characters of `alphabet` in order.
    pub fn new<'a>(special: impl IntoIterator<Item = &'a str>, alphabet: &str) -> Self {
        let mut tokens: Vec<String> = special.into_iter().map(str::to_owned).collect();
        let count = tokens.len();
        for c in alphabet.chars() {
            let token = c.to_string();
            if !tokens.contains(&token) {
                tokens.push(token);
            }
        }
        Self {
            tokens,
            special: count,
        }
    }
}

impl Tokenizer for CharTokenizer {
    fn vocabulary(&self) -> Vocabulary {
        Vocabulary::new(&self.tokens, (0..self.special as u32).collect())
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        text.chars()
            .map(|c| {
                let mut buffer = [0; 4];
                self.token_id(c.encode_utf8(&mut buffer))
                    .ok_or_else(|| Error::invalid(format!("{c:?} is not in the test's alphabet")))
            })
            .collect()
    }

    fn decode(&self, tokens: &[u32]) -> Result<String> {
        tokens
            .iter()
            .map(|&id| {
                self.tokens
                    .get(id as usize)
                    .map(String::as_str)
                    .ok_or_else(|| Error::invalid(format!("there is no token {id}")))
            })
            .collect()
    }

    fn token_id(&self, token: &str) -> Option<u32> {
        self.tokens
            .iter()
            .position(|t| t == token)
            .map(|id| id as u32)
    }
}

thread_local! {
    static TOKENIZER: RefCell<Option<Box<dyn Tokenizer>>> = const { RefCell::new(None) };
    static MODEL: RefCell<Option<Box<dyn Model>>> = const { RefCell::new(None) };
    static DATASETS: RefCell<HashMap<String, Vec<Batch>>> = RefCell::new(HashMap::new());
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// Grants a tokenizer.
pub fn set_tokenizer(tokenizer: impl Tokenizer + 'static) {
    TOKENIZER.set(Some(Box::new(tokenizer)));
}

/// Grants a model.
pub fn set_model(model: impl Model + 'static) {
    MODEL.set(Some(Box::new(model)));
}

/// Grants a dataset.
pub fn set_dataset(name: impl Into<String>, batches: Vec<Batch>) {
    DATASETS.with_borrow_mut(|datasets| datasets.insert(name.into(), batches));
}

/// Sets the job's seed, from which [`host::random`](crate::host::random) follows.
pub fn set_seed(seed: u64) {
    SEED.set(seed);
}

pub(crate) fn random() -> u64 {
    let seed = SEED.get();
    SEED.set(seed.wrapping_add(0x9E37_79B9_7F4A_7C15));
    Random::new(seed).next()
}

fn not_granted(capability: &str) -> Error {
    Error::new(
        ErrorKind::NotGranted,
        format!("the capability `{capability}` was not granted; see tenon_sdk::testkit"),
    )
}

pub(crate) fn tokenizer<T>(f: impl FnOnce(&dyn Tokenizer) -> Result<T>) -> Result<T> {
    TOKENIZER.with_borrow(|tokenizer| match tokenizer {
        Some(tokenizer) => f(tokenizer.as_ref()),
        None => Err(not_granted("tokenizer")),
    })
}

pub(crate) fn model<T>(f: impl FnOnce(&mut dyn Model) -> Result<T>) -> Result<T> {
    MODEL.with_borrow_mut(|model| match model {
        Some(model) => f(model.as_mut()),
        None => Err(not_granted("model")),
    })
}

pub(crate) fn dataset(name: &str) -> Result<Vec<Batch>> {
    DATASETS
        .with_borrow(|datasets| datasets.get(name).cloned())
        .ok_or_else(|| not_granted(&format!("dataset:{name}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Column, dataset, host, tokenizer};

    #[test]
    fn nothing_is_granted_unless_the_test_says_so() {
        assert_eq!(
            tokenizer::encode("a").unwrap_err().kind(),
            ErrorKind::NotGranted
        );
        assert!(dataset::open("poems").is_err());
        set_tokenizer(CharTokenizer::new(["<eos>"], "ab"));
        assert_eq!(tokenizer::encode("ba").unwrap(), [2, 1]);
        assert_eq!(tokenizer::decode(&[1, 2, 0]).unwrap(), "ab<eos>");
        assert_eq!(tokenizer::token_id("<eos>").unwrap(), Some(0));
        assert!(tokenizer::vocabulary().unwrap().is_special(0));
        assert_eq!(tokenizer::vocabulary().unwrap().text(1), Some("a"));
        set_dataset(
            "poems",
            vec![Batch::from_columns([Column::from_utf8("t", ["x"])]).unwrap()],
        );
        assert_eq!(dataset::open("poems").unwrap().count(), 1);
    }

    #[test]
    fn one_seed_gives_one_sequence() {
        set_seed(5);
        let first = [host::random(), host::random()];
        set_seed(5);
        assert_eq!(first, [host::random(), host::random()]);
        assert_ne!(first[0], first[1]);
    }
}
