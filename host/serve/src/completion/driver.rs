//! From the thread's replies to a client's events.

use std::{collections::VecDeque, sync::Arc};

use tenon_data::Tokenizer;
use tenon_model::{Candidate, Finish};
use tenon_plugin::processor::Stages;
use tokio::sync::mpsc::UnboundedReceiver;

use super::{CompletionEvent, TokenDetail, Usage, decode::Decoder, text::StopText};
use crate::{
    Result, ServeError,
    lane::Ticket,
    prepare::blocking,
    scheduler::{Command, Reply},
    service::Service,
};

/// What a client wants to see.
pub(super) struct Plan {
    /// Choices that are returned.
    pub(super) choices: usize,
    /// Whether nothing is known before everything is.
    pub(super) waits: bool,
    /// Whether tokens are told one by one.
    pub(super) details: bool,
    pub(super) stop: Vec<String>,
    /// What is repeated first.
    pub(super) prompt: Option<(String, Vec<TokenDetail>)>,
    pub(super) prompt_tokens: usize,
}

/// Turns replies into events: decodes, looks for stop strings, filters.
pub(super) struct Driver {
    service: Arc<Service>,
    ticket: Arc<Ticket>,
    plan: Plan,
    context: Vec<u8>,
    /// The generation that it listens to.
    source: Option<(u64, UnboundedReceiver<Reply>)>,
    choices: Vec<Choice>,
    ready: VecDeque<Result<CompletionEvent>>,
    completion_tokens: usize,
    over: bool,
}

/// The state of one choice.
struct Choice {
    decoder: Decoder,
    text: StopText,
    /// Bytes of text that were decoded, and that may be sent.
    decoded: usize,
    passed: usize,
    /// Tokens whose text is not sent yet, and where it ends.
    held: VecDeque<(usize, TokenDetail)>,
    ended: bool,
}

impl Choice {
    fn new(stop: &[String]) -> Self {
        Self {
            decoder: Decoder::default(),
            text: StopText::new(stop),
            decoded: 0,
            passed: 0,
            held: VecDeque::new(),
            ended: false,
        }
    }

    /// The tokens whose text may be sent as a whole.
    fn released(&mut self) -> Vec<TokenDetail> {
        let mut tokens = Vec::new();
        while let Some((_, token)) = self.held.pop_front_if(|(end, _)| *end <= self.passed) {
            tokens.push(token);
        }
        tokens
    }
}

impl Driver {
    pub(super) fn new(
        service: Arc<Service>,
        ticket: Arc<Ticket>,
        mut plan: Plan,
        context: Vec<u8>,
    ) -> Self {
        let mut ready = VecDeque::new();
        if let Some((text, tokens)) = plan.prompt.take() {
            ready.extend((0..plan.choices).map(|choice| {
                Ok(CompletionEvent::Text {
                    choice,
                    text: text.clone(),
                    tokens: tokens.clone(),
                })
            }));
        }
        let choices = (0..plan.choices).map(|_| Choice::new(&plan.stop));
        Self {
            choices: choices.collect(),
            service,
            ticket,
            plan,
            context,
            source: None,
            ready,
            completion_tokens: 0,
            over: false,
        }
    }

    /// Whether it wants to know of nothing before the end.
    pub(super) fn waits(&self) -> bool {
        self.plan.waits
    }

    pub(super) fn listen(&mut self, id: u64, replies: UnboundedReceiver<Reply>) {
        self.source = Some((id, replies));
    }

    /// Nothing was to be generated.
    pub(super) fn generate_nothing(&mut self) {
        for choice in 0..self.plan.choices {
            self.finished(choice, Finish::Length);
        }
        self.done();
    }

    /// The next event; nothing after the last.
    pub(super) async fn next(&mut self) -> Option<Result<CompletionEvent>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            let reply = match &mut self.source {
                Some((_, replies)) => replies.recv().await,
                None => None,
            };
            let handled = match reply {
                Some(reply) => self.handle(reply).await,
                None => Err(self.service.lost()),
            };
            if let Err(error) = handled {
                self.ticket.failed();
                self.over = true;
                // The rest of it need not be generated.
                self.source = None;
                self.ready.push_back(Err(error));
            }
        }
    }

    async fn handle(&mut self, reply: Reply) -> Result<()> {
        match reply {
            Reply::Token {
                sample,
                token,
                log_probability,
                alternatives,
            } => {
                let detail = self.plan.details.then(|| {
                    self.service
                        .detail(token, Some(log_probability), alternatives)
                });
                self.token(sample, token, detail).await
            }
            Reply::Ended { sample, finish } => self.ended(sample, finish).await,
            Reply::Done(candidates) => {
                if self.plan.waits {
                    self.all(candidates).await?;
                }
                self.done();
                Ok(())
            }
            Reply::Failed(error) => Err(error),
        }
    }

    async fn token(
        &mut self,
        number: usize,
        token: u32,
        detail: Option<TokenDetail>,
    ) -> Result<()> {
        let tokenizer = self.tokenizer()?;
        let choice = &mut self.choices[number];
        if choice.ended {
            return Ok(());
        }
        self.completion_tokens += 1;
        let piece = choice.decoder.push(&tokenizer, token)?;
        choice.decoded += piece.len();
        // A token without a whole character belongs to the text that follows.
        let end = choice.decoded + usize::from(piece.is_empty());
        choice.held.extend(detail.map(|detail| (end, detail)));
        let passed = choice.text.push(&piece);
        choice.passed += passed.text.len();
        let tokens = choice.released();
        if passed.stopped {
            choice.ended = true;
            if let Some((id, _)) = &self.source {
                self.service.send(Command::End {
                    id: *id,
                    sample: number,
                })?;
            }
        }
        self.send(number, passed.text, tokens).await?;
        if passed.stopped {
            self.finished(number, Finish::Stop);
        }
        Ok(())
    }

    async fn ended(&mut self, number: usize, finish: Finish) -> Result<()> {
        let tokenizer = self.tokenizer()?;
        let choice = &mut self.choices[number];
        if choice.ended {
            return Ok(());
        }
        choice.ended = true;
        let piece = choice.decoder.finish(&tokenizer)?;
        let passed = choice.text.push(&piece);
        let mut text = passed.text;
        text.push_str(&choice.text.finish());
        let tokens = if passed.stopped {
            // What stopped it is not told.
            choice.passed += text.len();
            choice.released()
        } else {
            choice.held.drain(..).map(|(_, token)| token).collect()
        };
        self.send(number, text, tokens).await?;
        let finish = if passed.stopped { Finish::Stop } else { finish };
        self.finished(number, finish);
        Ok(())
    }

    /// The choices of a search, or the best of several candidates.
    async fn all(&mut self, candidates: Vec<Candidate>) -> Result<()> {
        for (number, candidate) in candidates.into_iter().enumerate() {
            self.completion_tokens += candidate.tokens.len();
            if number >= self.plan.choices {
                continue;
            }
            let mut text = StopText::new(&self.plan.stop);
            let passed = text.push(&candidate.text);
            let finish = if passed.stopped {
                Finish::Stop
            } else {
                candidate.finish
            };
            let tokens = if self.plan.details {
                let tokens = candidate.tokens.into_iter();
                tokens
                    .map(|token| self.service.detail(token, None, Vec::new()))
                    .collect()
            } else {
                Vec::new()
            };
            self.send(number, passed.text + &text.finish(), tokens)
                .await?;
            self.finished(number, finish);
        }
        Ok(())
    }

    /// Sends text, as the processor's filter wants it.
    async fn send(&mut self, choice: usize, text: String, tokens: Vec<TokenDetail>) -> Result<()> {
        let text = if text.is_empty() || self.service.processor(Stages::FILTER).is_none() {
            text
        } else {
            let (service, context) = (self.service.clone(), self.context.clone());
            blocking(move || service.filter(&context, text)).await?
        };
        if !text.is_empty() || !tokens.is_empty() {
            self.ready.push_back(Ok(CompletionEvent::Text {
                choice,
                text,
                tokens,
            }));
        }
        Ok(())
    }

    fn finished(&mut self, choice: usize, finish: Finish) {
        self.ready
            .push_back(Ok(CompletionEvent::Finished { choice, finish }));
    }

    fn done(&mut self) {
        self.over = true;
        self.ticket.answered();
        self.ready.push_back(Ok(CompletionEvent::Done(Usage {
            prompt_tokens: self.plan.prompt_tokens,
            completion_tokens: self.completion_tokens,
        })));
    }

    fn tokenizer(&self) -> Result<Arc<Tokenizer>> {
        let tokenizer = self.service.tokenizer.clone();
        tokenizer.ok_or_else(|| ServeError::Internal("a model without a tokenizer".into()))
    }
}

impl Service {
    fn filter(&self, context: &[u8], text: String) -> Result<String> {
        match self.processor(Stages::FILTER) {
            Some(pool) => Ok(pool.with(|processor| processor.filter(context, &text))?),
            None => Ok(text),
        }
    }
}
