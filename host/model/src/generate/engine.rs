//! The engine: admission and the step.

use std::ops::Range;

use tenon_data::collate::Prompt;
use tenon_plugin::{processor::Allowed, recipe::Layout};
use tenon_tensor::nn::SharedCache;

use super::{
    Candidate, Constraint, Event, Settings,
    choose::Scratch,
    pass::{Logits, Newest, Passes, groups},
    request::{Next, Request},
};
use crate::{Model, ModelError, Result};

/// Generates for many requests at once.
pub struct Engine<'a> {
    model: &'a mut Model,
    passes: Passes,
    pub(super) requests: Vec<Request>,
    /// The special tokens that end a sequence.
    stop: Vec<u32>,
    scratch: Scratch,
}

/// The rows of a step: logits, and whose they are.
#[derive(Default)]
pub(super) struct Rows {
    logits: Logits,
    /// Of each request that has rows: its place, and the rows of its running sequences in order.
    pub(super) owners: Vec<(usize, Vec<usize>)>,
}

impl<'a> Engine<'a> {
    /// An engine without requests.
    ///
    /// # Errors
    /// [`ModelError::Invalid`] for a recipe that does not generate, or whose ending tokens the
    /// tokenizer does not know.
    pub fn new(model: &'a mut Model) -> Result<Self> {
        let generation = model.generation("generated")?.clone();
        let tokenizer = model.tokenizer.as_ref().ok_or_else(|| {
            ModelError::Invalid("a model without a tokenizer cannot generate".into())
        })?;
        let stop = generation
            .stop
            .iter()
            .map(|token| tokenizer.special_id(token))
            .collect::<std::result::Result<_, _>>()?;
        let described = model.signature.inputs.iter().filter_map(|input| {
            let about = matches!(&input.layout, Layout::Pieces { sequence } if *sequence == generation.sequence);
            about.then(|| input.name.clone())
        });
        let passes = Passes {
            described: described.collect(),
            sequence: generation.sequence,
            logits: generation.logits,
            pad: tokenizer.pad_id(),
        };
        Ok(Self {
            model,
            passes,
            requests: Vec::new(),
            stop,
            scratch: Scratch::default(),
        })
    }

    /// Adds a request; the next step starts it. `context` is what the constraint is told about it.
    ///
    /// # Errors
    /// Settings out of their range; an empty prompt; a prompt that leaves no room; an id that is in use.
    pub fn admit(
        &mut self,
        id: u64,
        prompt: Prompt,
        settings: Settings,
        context: Vec<u8>,
    ) -> Result<()> {
        settings.check()?;
        let wrong = |text: String| Err(ModelError::Invalid(text));
        if self.requests.iter().any(|request| request.id == id) {
            return wrong(format!("request {id} is running already"));
        }
        let Some(length) = prompt
            .grows
            .map(|grows| prompt.sequences[grows].tokens.len())
        else {
            return wrong("the prompt has no sequence that grows".into());
        };
        if length == 0 {
            return wrong("the prompt is empty: nothing to continue from".into());
        }
        // The last token that is chosen need not be fed back, so one more fits than the cache holds.
        let room = prompt
            .max_length
            .map_or(usize::MAX, |longest| (longest + 1).saturating_sub(length));
        if room == 0 {
            return wrong(format!(
                "the prompt has {length} tokens; the model can hold {}",
                prompt.max_length.unwrap_or_default()
            ));
        }
        let room = settings.max_tokens.map_or(room, |most| most.min(room));
        if room == usize::MAX {
            return wrong(
                "neither max_tokens nor the model's signature bounds the length: set max_tokens"
                    .into(),
            );
        }
        self.requests.push(Request {
            id,
            piece: prompt.generated_piece,
            prompt: Some(prompt),
            settings,
            context,
            room,
            running: Vec::new(),
            finished: Vec::new(),
            failed: false,
        });
        Ok(())
    }

    /// Drops a request; says whether it was there.
    pub fn cancel(&mut self, id: u64) -> bool {
        let before = self.requests.len();
        self.requests.retain(|request| request.id != id);
        self.requests.len() < before
    }

    /// Ends one sample of a request, as if it had chosen a token that ends it; says whether it was
    /// running. The next step tells of a request that is complete by this.
    pub fn end(&mut self, id: u64, sample: usize) -> bool {
        let request = self.requests.iter_mut().find(|request| request.id == id);
        request.is_some_and(|request| request.end(sample))
    }

    /// Requests that are not done.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Sequences that run side by side when every request is at its widest.
    pub fn width(&self) -> usize {
        self.requests.iter().map(Request::width).sum()
    }

    /// The model, between steps.
    pub fn model(&mut self) -> &mut Model {
        self.model
    }

    /// Runs until all requests are done.
    ///
    /// # Errors
    /// The first failure of a request.
    pub fn run(
        &mut self,
        mut constraint: Option<&mut dyn Constraint>,
    ) -> Result<Vec<(u64, Vec<Candidate>)>> {
        let mut done = Vec::new();
        while !self.is_empty() {
            let constraint: Option<&mut dyn Constraint> = match constraint.as_mut() {
                Some(constraint) => Some(&mut **constraint),
                None => None,
            };
            for event in self.step(constraint) {
                match event {
                    Event::Done { id, candidates } => done.push((id, candidates)),
                    Event::Failed { error, .. } => return Err(error),
                    Event::Token { .. } | Event::Ended { .. } => {}
                }
            }
        }
        Ok(done)
    }

    /// One token more for every sequence.
    ///
    /// What fails (the recipe, the constraint) fails only the requests that it was about: the decoding
    /// ones together, new ones and those that the constraint fails on one by one.
    pub fn step(&mut self, constraint: Option<&mut dyn Constraint>) -> Vec<Event> {
        let mut events = Vec::new();
        let mut rows = Rows::default();
        self.decode(&mut rows, &mut events);
        self.prefill(&mut rows, &mut events);
        let allowed = self.ask(constraint, &rows, &mut events);
        self.choose(&rows, allowed.as_deref(), &mut events);
        self.collect(&mut events);
        events
    }

    /// One token of every running sequence.
    fn decode(&mut self, rows: &mut Rows, events: &mut Vec<Event>) {
        let mut newest = Newest::default();
        let mut owners = Vec::new();
        for (place, request) in self.requests.iter().enumerate() {
            if request.running.is_empty() {
                continue;
            }
            let first = newest.ids.len();
            for running in &request.running {
                let token = running.tokens.last().copied().unwrap_or_default();
                newest.ids.push(i64::from(token));
                newest.pieces.push(i64::from(request.piece));
                newest.caches.push(running.cache.clone());
            }
            owners.push((place, (first..newest.ids.len()).collect()));
        }
        if owners.is_empty() {
            return;
        }
        match self.passes.decode(self.model, newest) {
            Ok(logits) => {
                rows.logits = logits;
                rows.owners = owners;
            }
            Err(error) => {
                self.recover();
                let places: Vec<usize> = owners.into_iter().map(|(place, _)| place).collect();
                self.fail(&places, error, events);
            }
        }
    }

    /// The first pass over new requests, those of similar length together.
    fn prefill(&mut self, rows: &mut Rows, events: &mut Vec<Event>) {
        let mut fresh: Vec<(usize, Prompt)> = Vec::new();
        for (place, request) in self.requests.iter_mut().enumerate() {
            fresh.extend(request.prompt.take().map(|prompt| (place, prompt)));
        }
        let length = |prompt: &Prompt| {
            let sequences = prompt.sequences.iter();
            sequences.map(|sequence| sequence.tokens.len()).max()
        };
        fresh.sort_by_key(|(_, prompt)| std::cmp::Reverse(length(prompt)));
        let lengths: Vec<usize> = fresh
            .iter()
            .map(|(_, prompt)| length(prompt).unwrap_or(0))
            .collect();
        let (places, prompts): (Vec<usize>, Vec<Prompt>) = fresh.into_iter().unzip();
        let mut start = 0;
        for size in groups(&lengths) {
            let group = start..start + size;
            start += size;
            match self.passes.prefill(self.model, &prompts[group.clone()]) {
                Ok(done) => self.start(&places[group], done, rows),
                Err(error) if size == 1 => {
                    self.recover();
                    self.fail(&places[group], error, events);
                }
                Err(_) => {
                    self.recover();
                    self.prefill_alone(group, &places, &prompts, rows, events);
                }
            }
        }
    }

    /// Finds out which of a group fails.
    fn prefill_alone(
        &mut self,
        group: Range<usize>,
        places: &[usize],
        prompts: &[Prompt],
        rows: &mut Rows,
        events: &mut Vec<Event>,
    ) {
        for at in group {
            match self.passes.prefill(self.model, &prompts[at..=at]) {
                Ok(done) => self.start(&places[at..=at], done, rows),
                Err(error) => {
                    self.recover();
                    self.fail(&places[at..=at], error, events);
                }
            }
        }
    }

    fn start(
        &mut self,
        places: &[usize],
        (logits, caches): (Logits, Vec<SharedCache>),
        rows: &mut Rows,
    ) {
        let first = rows.logits.len();
        rows.logits.append(logits);
        for (at, (&place, cache)) in places.iter().zip(caches).enumerate() {
            let request = &mut self.requests[place];
            request.start(cache);
            // All samples choose from the same row at first.
            rows.owners
                .push((place, vec![first + at; request.running.len()]));
        }
    }

    fn choose(&mut self, rows: &Rows, allowed: Option<&[Vec<Allowed>]>, events: &mut Vec<Event>) {
        for (at, (place, own)) in rows.owners.iter().enumerate() {
            let request = &mut self.requests[*place];
            if request.failed {
                continue;
            }
            let next = Next {
                logits: &rows.logits,
                rows: own,
                allowed: allowed.map(|allowed| allowed[at].as_slice()),
                stop: &self.stop,
            };
            if let Err(unusable) = request.advance(&next, &mut self.scratch, events) {
                let error = unusable.explain(|reason| self.model.contract(reason));
                self.fail(&[*place], error, events);
            }
        }
    }

    pub(super) fn fail(&mut self, places: &[usize], error: ModelError, events: &mut Vec<Event>) {
        let mut ids = Vec::with_capacity(places.len());
        for &place in places {
            let request = &mut self.requests[place];
            request.failed = true;
            ids.push(request.id);
        }
        events.push(Event::Failed { ids, error });
    }

    /// After a failed pass: a recipe that trapped needs a new instance.
    fn recover(&mut self) {
        if let Err(error) = self.model.recover() {
            tracing::error!(%error, "the recipe cannot be opened again");
        }
    }

    /// Takes out the requests that are done.
    fn collect(&mut self, events: &mut Vec<Event>) {
        for request in std::mem::take(&mut self.requests) {
            if request.failed {
                continue;
            }
            if !request.is_started() || !request.running.is_empty() {
                self.requests.push(request);
                continue;
            }
            let id = request.id;
            events.push(match self.candidates(request) {
                Ok(candidates) => Event::Done { id, candidates },
                Err(error) => Event::Failed {
                    ids: vec![id],
                    error,
                },
            });
        }
    }

    fn candidates(&self, request: Request) -> Result<Vec<Candidate>> {
        let candidate = |done: super::beam::Hypothesis| {
            let text = match &self.model.tokenizer {
                Some(tokenizer) => tokenizer.decode(&done.tokens)?,
                None => String::new(),
            };
            Ok(Candidate {
                text,
                tokens: done.tokens,
                log_probability: done.log_probability,
                finish: done.finish,
            })
        };
        request.results().into_iter().map(candidate).collect()
    }
}
