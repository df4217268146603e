//! Generation: many sequences side by side over the recipe's cache.
//!
//! [`Engine`] is a scheduler's tool: requests are admitted at any time, and every [`Engine::step`] runs
//! one decode over all sequences that are running and a prefill over the new ones, asks the constraint
//! about all of them at once, then chooses the next token of each. A request is one or more sequences
//! that are sampled, or several beams.
//!
//! | file | what |
//! |---|---|
//! | `engine` | admission and the step |
//! | `constraint` | which tokens may come next |
//! | `pass` | from sequences to rows of logits |
//! | `request` | one request: its sequences, its next tokens |
//! | `choose` | from a row of logits to a token |
//! | `beam` | which beams survive |

mod beam;
mod choose;
mod constraint;
mod engine;
mod pass;
mod request;
mod settings;

pub use constraint::Constraint;
pub use engine::Engine;
pub use settings::Settings;

use crate::ModelError;

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// A special token that ends it.
    Stop,
    /// As long as it may be.
    Length,
    /// The constraint said so.
    Constraint,
}

/// One generated sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The tokens as text, without special ones.
    pub text: String,
    /// Without the token that ended it.
    pub tokens: Vec<u32>,
    /// The sum of the tokens' natural-log probabilities, as they were chosen from (after constraint,
    /// before temperature), the ending token included.
    pub log_probability: f64,
    /// Why it ended.
    pub finish: Finish,
}

/// What a step brought.
#[derive(Debug)]
pub enum Event {
    /// A sampled sequence has a new token. Beams are not announced: they may still be abandoned.
    Token {
        /// The request.
        id: u64,
        /// Which of its samples.
        sample: usize,
        /// The token.
        token: u32,
        /// Its natural-log probability.
        log_probability: f32,
        /// The likeliest tokens at its place, best first, as many as [`Settings::alternatives`].
        alternatives: Vec<(u32, f32)>,
    },
    /// A sampled sequence is complete.
    Ended {
        /// The request.
        id: u64,
        /// Which of its samples.
        sample: usize,
        /// Why.
        finish: Finish,
    },
    /// A request is complete.
    Done {
        /// The request.
        id: u64,
        /// What was generated, best first.
        candidates: Vec<Candidate>,
    },
    /// Requests that failed together; they are dropped, and the others go on.
    Failed {
        /// The requests.
        ids: Vec<u64>,
        /// Why.
        error: ModelError,
    },
}
