//! From events to an answer: as a whole, or piece by piece.
//!
//! The choices of the first prompt come first, then those of the second.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream, StreamExt};
use tenon_model::Finish;
use tenon_serve::{CompletionEvent, ServeError, TokenDetail, Usage};

use super::OpenAiError;
use super::completions::{Events, Head};
use super::types::{ChoiceAnswer, CompletionAnswer, LogprobsAnswer, UsageAnswer};
use crate::error::ApiError;

/// A comment is sent after so long a silence.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::Stop | Finish::Constraint => "stop",
    }
}

impl UsageAnswer {
    fn add(&mut self, usage: Usage) {
        self.prompt_tokens += usage.prompt_tokens;
        self.completion_tokens += usage.completion_tokens;
        self.total_tokens = self.prompt_tokens + self.completion_tokens;
    }
}

impl LogprobsAnswer {
    /// Adds tokens whose text begins at `offset` and is `length` characters long.
    fn add(&mut self, tokens: Vec<TokenDetail>, offset: usize, length: usize) {
        let mut at = 0;
        for token in tokens {
            self.text_offset.push(offset + at.min(length));
            at += token.text.chars().count();
            self.token_logprobs.push(token.log_probability);
            let top = token.log_probability.map(|_| {
                let alternatives = token.alternatives.into_iter();
                alternatives.map(|(_, text, log)| (text, log)).collect()
            });
            self.top_logprobs.push(top);
            self.tokens.push(token.text);
        }
    }
}

/// A choice while its pieces come.
#[derive(Default)]
struct Growing {
    text: String,
    logprobs: Option<LogprobsAnswer>,
    finish: Option<&'static str>,
}

/// The choices of a completion that is not sent before it is complete.
#[derive(Default)]
pub(super) struct Collected {
    choices: BTreeMap<(usize, usize), Growing>,
    usage: UsageAnswer,
}

impl Collected {
    /// Takes the next event.
    pub(super) fn add(&mut self, prompt: usize, event: CompletionEvent) {
        match event {
            CompletionEvent::Text {
                choice,
                text,
                tokens,
            } => {
                let growing = self.choices.entry((prompt, choice)).or_default();
                if !tokens.is_empty() {
                    let offset = growing.text.chars().count();
                    let length = text.chars().count();
                    let logprobs = growing.logprobs.get_or_insert_default();
                    logprobs.add(tokens, offset, length);
                }
                growing.text.push_str(&text);
            }
            CompletionEvent::Finished { choice, finish } => {
                let growing = self.choices.entry((prompt, choice)).or_default();
                growing.finish = Some(reason(finish));
            }
            CompletionEvent::Done(usage) => self.usage.add(usage),
        }
    }

    /// The whole answer.
    pub(super) fn answer(self, head: Head) -> CompletionAnswer {
        let choices = self.choices.into_values().enumerate();
        CompletionAnswer {
            choices: choices
                .map(|(index, choice)| ChoiceAnswer {
                    text: choice.text,
                    index,
                    logprobs: choice.logprobs,
                    finish_reason: choice.finish,
                })
                .collect(),
            usage: Some(Some(self.usage)),
            ..head.answer()
        }
    }
}

/// Sends the pieces as they come. A failure before the first is an answer of its own.
pub(super) async fn send(
    head: Head,
    per_prompt: usize,
    mut events: Events,
    include_usage: bool,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, OpenAiError> {
    let first = match events.next().await {
        Some((_, Err(error))) => return Err(ApiError::from(error).into()),
        first => first,
    };
    let pieces = Pieces {
        head,
        per_prompt,
        include_usage,
        usage: UsageAnswer::default(),
        offsets: BTreeMap::new(),
        state: State::Going,
    };
    let events = stream::iter(first).chain(events);
    let stream = stream::unfold((pieces, events.boxed()), |(mut pieces, mut events)| async {
        let event = pieces.next(&mut events).await?;
        Some((Ok(event), (pieces, events)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Going,
    Done,
    Closed,
}

struct Pieces {
    head: Head,
    per_prompt: usize,
    include_usage: bool,
    usage: UsageAnswer,
    /// Characters that were sent of each choice.
    offsets: BTreeMap<usize, usize>,
    state: State,
}

impl Pieces {
    async fn next(&mut self, events: &mut Events) -> Option<Event> {
        match self.state {
            State::Closed => return None,
            State::Done => {
                self.state = State::Closed;
                return Some(Event::default().data("[DONE]"));
            }
            State::Going => {}
        }
        loop {
            let Some((prompt, event)) = events.next().await else {
                self.state = State::Done;
                if self.include_usage {
                    let answer = CompletionAnswer {
                        usage: Some(Some(self.usage)),
                        ..self.head.answer()
                    };
                    return Some(self.data(&answer));
                }
                self.state = State::Closed;
                return Some(Event::default().data("[DONE]"));
            };
            match event {
                Ok(CompletionEvent::Done(usage)) => self.usage.add(usage),
                Ok(event) => {
                    if let Some(choice) = self.choice(prompt, event) {
                        return Some(self.piece(choice));
                    }
                }
                Err(error) => {
                    self.state = State::Closed;
                    return Some(failure(error));
                }
            }
        }
    }

    fn choice(&mut self, prompt: usize, event: CompletionEvent) -> Option<ChoiceAnswer> {
        let index = |choice: usize| prompt * self.per_prompt + choice;
        match event {
            CompletionEvent::Text {
                choice,
                text,
                tokens,
            } => {
                let index = index(choice);
                let offset = self.offsets.entry(index).or_default();
                let length = text.chars().count();
                let logprobs = (!tokens.is_empty()).then(|| {
                    let mut logprobs = LogprobsAnswer::default();
                    logprobs.add(tokens, *offset, length);
                    logprobs
                });
                *offset += length;
                Some(ChoiceAnswer {
                    text,
                    index,
                    logprobs,
                    finish_reason: None,
                })
            }
            CompletionEvent::Finished { choice, finish } => Some(ChoiceAnswer {
                text: String::new(),
                index: index(choice),
                logprobs: None,
                finish_reason: Some(reason(finish)),
            }),
            CompletionEvent::Done(_) => None,
        }
    }

    fn piece(&self, choice: ChoiceAnswer) -> Event {
        let answer = CompletionAnswer {
            choices: vec![choice],
            // Null in every piece but the last, where the usage was asked for.
            usage: self.include_usage.then_some(None),
            ..self.head.answer()
        };
        self.data(&answer)
    }

    fn data(&self, answer: &CompletionAnswer) -> Event {
        Event::default().json_data(answer).unwrap_or_else(|error| {
            let error = ApiError::internal(format!("a piece cannot be written: {error}"));
            error_event(error)
        })
    }
}

fn failure(error: ServeError) -> Event {
    tracing::warn!(%error, "a completion failed in its middle");
    error_event(ApiError::from(error))
}

fn error_event(error: ApiError) -> Event {
    let body = OpenAiError::from(error).body();
    Event::default()
        .json_data(&body)
        .unwrap_or_else(|_| Event::default().data("{\"error\":{}}"))
}
