//! Text in, a stream of tokens out.
//!
//! A completion continues a text. Where the recipe's sequence has columns that are not learnt (a source,
//! a first line), the text is that column and what follows it is generated; otherwise the text is the
//! beginning of the first learnt column.
//!
//! On a deployment whose processor takes part in `preprocess`, the request goes through it first, as the
//! JSON body `{"prompt": …}` with the parameters that it sets; what the request says about generation wins
//! over what the processor says. Its `constrain` and `filter` apply, its `postprocess` does not: a stream
//! of text has no JSON body.

mod begin;
mod decode;
mod driver;
mod request;
mod text;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt, stream::BoxStream};
use tenon_model::Finish;

pub(crate) use begin::begin;
pub use request::{CompletionPrompt, CompletionRequest};

use crate::{Result, ServeError};

/// A piece of what is being generated.
#[derive(Debug, Clone, PartialEq)]
pub enum CompletionEvent {
    /// Text of one choice, never a part of a character. With `echo`, the first is the prompt.
    Text {
        /// Which choice, from 0.
        choice: usize,
        /// The text; with a `filter`, what it made of it.
        text: String,
        /// Its tokens, where `logprobs` was asked for.
        tokens: Vec<TokenDetail>,
    },
    /// A choice is complete.
    Finished {
        /// Which choice.
        choice: usize,
        /// Why.
        finish: Finish,
    },
    /// All choices are complete; the last event.
    Done(Usage),
}

/// A token and how likely it was.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenDetail {
    /// Its id.
    pub token: u32,
    /// Its text; a part of a character is shown as U+FFFD.
    pub text: String,
    /// Its natural-log probability; nothing for the first token of all, for a prompt that the model does
    /// not predict, and for the choices of a search.
    pub log_probability: Option<f32>,
    /// The likeliest tokens at its place, best first: id, text, natural-log probability.
    pub alternatives: Vec<(u32, String, f32)>,
}

/// Tokens of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt, as the model saw it.
    pub prompt_tokens: usize,
    /// Generated, in all choices.
    pub completion_tokens: usize,
}

/// One choice of a completion that is complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The text.
    pub text: String,
    /// Its tokens, where `logprobs` was asked for.
    pub tokens: Vec<TokenDetail>,
    /// Why it ended.
    pub finish: Finish,
}

/// A completion that is complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Completed {
    /// In order.
    pub choices: Vec<Choice>,
    /// What it took.
    pub usage: Usage,
}

/// A running completion: a stream of [`CompletionEvent`]s that ends after [`CompletionEvent::Done`] or an
/// error. Dropping it cancels the request.
pub struct Completion {
    events: BoxStream<'static, Result<CompletionEvent>>,
}

impl Completion {
    fn new(events: impl Stream<Item = Result<CompletionEvent>> + Send + 'static) -> Self {
        Self {
            events: events.boxed(),
        }
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// The error that the stream ends with.
    pub async fn collect(mut self) -> Result<Completed> {
        let mut choices: Vec<Choice> = Vec::new();
        while let Some(event) = self.events.next().await {
            match event? {
                CompletionEvent::Text {
                    choice,
                    text,
                    tokens,
                } => {
                    let choice = at(&mut choices, choice);
                    choice.text.push_str(&text);
                    choice.tokens.extend(tokens);
                }
                CompletionEvent::Finished { choice, finish } => {
                    at(&mut choices, choice).finish = finish;
                }
                CompletionEvent::Done(usage) => return Ok(Completed { choices, usage }),
            }
        }
        Err(ServeError::Internal(
            "the completion ended without saying so".into(),
        ))
    }
}

/// The choice of that number, made if it is new.
fn at(choices: &mut Vec<Choice>, number: usize) -> &mut Choice {
    while choices.len() <= number {
        choices.push(Choice {
            text: String::new(),
            tokens: Vec::new(),
            finish: Finish::Stop,
        });
    }
    &mut choices[number]
}

impl Stream for Completion {
    type Item = Result<CompletionEvent>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_next_unpin(context)
    }
}

impl std::fmt::Debug for Completion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Completion").finish_non_exhaustive()
    }
}
