//! The engine: prefill, decode, choose, step by step.

use std::collections::BTreeMap;

use tenon_data::collate::{Prompt, collate_prompts};
use tenon_plugin::processor::{Allowed, Sequence};
use tenon_tensor::{
    DType, Tensor,
    nn::{Pass, SequenceCache, SequenceInfo, SharedCache, Stage},
    rng,
};

use super::{Candidate, Finish, Settings, beam, beam::Hypothesis, choose};
use crate::{Model, ModelError, Result, model::tensors};

/// Decides which tokens may come next; the sequences of all requests are asked about at once.
pub trait Constraint {
    /// One answer for each sequence, in order.
    ///
    /// # Errors
    /// The constraint's own: the step fails.
    fn allowed(&mut self, sequences: &[Sequence]) -> Result<Vec<Allowed>>;
}

/// What a step brought.
#[derive(Debug, Clone, PartialEq)]
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
    },
    /// A request is complete. Best first.
    Done {
        /// The request.
        id: u64,
        /// What was generated.
        candidates: Vec<Candidate>,
    },
}

struct Running {
    cache: SharedCache,
    tokens: Vec<u32>,
    log_probability: f64,
    /// Which sample of the request it is.
    sample: usize,
    /// Of its random numbers.
    key: u64,
}

struct Request {
    id: u64,
    prompt: Prompt,
    settings: Settings,
    context: Vec<u8>,
    /// Generated tokens that it may have.
    room: usize,
    started: bool,
    running: Vec<Running>,
    finished: Vec<Hypothesis>,
}

/// Generates for many requests at once.
pub struct Engine<'a> {
    model: &'a mut Model,
    requests: Vec<Request>,
    /// The special tokens that end a sequence.
    stop: Vec<u32>,
    sequence: String,
    logits: String,
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
        Ok(Self {
            model,
            requests: Vec::new(),
            stop,
            sequence: generation.sequence,
            logits: generation.logits,
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
                "the prompt has {length} tokens, more than the model can hold"
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
            prompt,
            settings,
            context,
            room,
            started: false,
            running: Vec::new(),
            finished: Vec::new(),
        });
        Ok(())
    }

    /// Drops a request; says whether it was there.
    pub fn cancel(&mut self, id: u64) -> bool {
        let before = self.requests.len();
        self.requests.retain(|request| request.id != id);
        self.requests.len() < before
    }

    /// Requests that are not done.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Runs until all requests are done.
    ///
    /// # Errors
    /// As [`Engine::step`].
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
            for event in self.step(constraint)? {
                if let Event::Done { id, candidates } = event {
                    done.push((id, candidates));
                }
            }
        }
        Ok(done)
    }

    /// One token more for every sequence.
    ///
    /// # Errors
    /// What the recipe or the constraint answers; logits that are not numbers. The requests are then in
    /// no defined state: drop the engine.
    pub fn step(&mut self, constraint: Option<&mut dyn Constraint>) -> Result<Vec<Event>> {
        let fresh: Vec<usize> = (0..self.requests.len())
            .filter(|&at| !self.requests[at].started)
            .collect();
        let decoding: Vec<usize> = (0..self.requests.len())
            .filter(|&at| self.requests[at].started)
            .collect();
        // (request, beam) and its logits.
        let mut rows: Vec<((usize, usize), Vec<f32>)> = Vec::new();
        if !decoding.is_empty() {
            self.decode(&decoding, &mut rows)?;
        }
        if !fresh.is_empty() {
            self.prefill(&fresh, &mut rows)?;
        }
        let allowed = self.ask(constraint, &rows)?;
        let mut next: BTreeMap<usize, Vec<Option<Vec<f32>>>> = BTreeMap::new();
        for (((request, beam), logits), allowed) in rows.iter().zip(&allowed) {
            if let Some(bad) = logits.iter().find(|logit| logit.is_nan()) {
                return Err(self
                    .model
                    .contract(format!("its logits are {bad}: the weights may be damaged")));
            }
            let state = &self.requests[*request];
            let early = state.running[*beam].tokens.len() < state.settings.min_tokens;
            let forbidden: &[u32] = if early { &self.stop } else { &[] };
            let log_probabilities =
                choose::normalise(logits, allowed, forbidden).map_err(|reason| {
                    ModelError::Invalid(format!("the constraint is not usable: {reason}"))
                })?;
            next.entry(*request).or_default().push(log_probabilities);
        }
        let mut events = Vec::new();
        for (at, next) in next {
            let request = &mut self.requests[at];
            if request.settings.beams > 1 {
                request.search(&next, &self.stop);
            } else {
                request.draw(&next, &self.stop, &mut events);
            }
        }
        self.collect(&mut events)?;
        Ok(events)
    }

    /// The first pass over new requests; each of its samples or beams then has a cache of its own.
    fn prefill(
        &mut self,
        fresh: &[usize],
        rows: &mut Vec<((usize, usize), Vec<f32>)>,
    ) -> Result<()> {
        let prompts: Vec<Prompt> = fresh
            .iter()
            .map(|&at| self.requests[at].prompt.clone())
            .collect();
        let pad = self
            .model
            .tokenizer
            .as_ref()
            .map_or(0, |tokenizer| tokenizer.pad_id());
        let batch = collate_prompts(&prompts, pad, 1)?;
        let caches: Vec<SharedCache> = prompts.iter().map(|_| SequenceCache::shared()).collect();
        let pass = Pass::new(Stage::Prefill, batch.infos.clone(), 0, self.model.device())?
            .with_cache(caches.clone())?;
        let inputs = tensors(&batch, self.model.device())?;
        let logits = self.run_pass(&pass, inputs, fresh.len())?;
        for ((&at, cache), logits) in fresh.iter().zip(caches).zip(logits) {
            let request = &mut self.requests[at];
            request.started = true;
            let samples = if request.settings.beams > 1 {
                1
            } else {
                request.settings.count
            };
            for sample in 0..samples {
                let cache = if sample == 0 {
                    cache.clone()
                } else {
                    share(cache.lock().fork())
                };
                rows.push(((at, sample), logits.clone()));
                request.running.push(Running {
                    cache,
                    tokens: Vec::new(),
                    log_probability: 0.0,
                    sample,
                    key: rng::derive(request.settings.seed, sample as u64),
                });
            }
        }
        Ok(())
    }

    /// One token of every running sequence.
    fn decode(
        &mut self,
        decoding: &[usize],
        rows: &mut Vec<((usize, usize), Vec<f32>)>,
    ) -> Result<()> {
        let mut ids = Vec::new();
        let mut caches = Vec::new();
        let mut places = Vec::new();
        for &at in decoding {
            for (beam, running) in self.requests[at].running.iter().enumerate() {
                ids.push(running.tokens.last().copied().map_or(0, i64::from));
                caches.push(running.cache.clone());
                places.push((at, beam));
            }
        }
        let info = SequenceInfo::full(self.sequence.clone(), ids.len(), 1);
        let pass =
            Pass::new(Stage::Decode, vec![info], 0, self.model.device())?.with_cache(caches)?;
        let input = Tensor::from_i64(&[ids.len(), 1], &ids, self.model.device())?;
        let logits = self.run_pass(&pass, vec![(self.sequence.clone(), input)], ids.len())?;
        rows.extend(places.into_iter().zip(logits));
        Ok(())
    }

    /// The wanted logits of each row.
    fn run_pass(
        &mut self,
        pass: &Pass,
        inputs: Vec<(String, Tensor)>,
        rows: usize,
    ) -> Result<Vec<Vec<f32>>> {
        let outputs = self.model.forward(pass, inputs)?;
        let logits = self.model.output(outputs, &self.logits)?;
        let vocabulary = match *logits.shape() {
            [found, 1, vocabulary] if found == rows => vocabulary,
            _ => {
                return Err(self.model.contract(format!(
                    "in serving `{}` must be [{rows}, 1, vocabulary], it is {:?}; call `pass.wanted` before \
                     the output layer",
                    self.logits,
                    logits.shape()
                )));
            }
        };
        let numbers = logits.cast(DType::F32)?.to_f32_vec()?;
        Ok(numbers
            .chunks(vocabulary.max(1))
            .map(<[f32]>::to_vec)
            .collect())
    }

    fn ask(
        &self,
        constraint: Option<&mut dyn Constraint>,
        rows: &[((usize, usize), Vec<f32>)],
    ) -> Result<Vec<Allowed>> {
        let Some(constraint) = constraint else {
            return Ok(vec![Allowed::Any; rows.len()]);
        };
        let sequences: Vec<Sequence> = rows
            .iter()
            .map(|((request, beam), _)| {
                let request = &self.requests[*request];
                Sequence {
                    context: request.context.clone(),
                    tokens: request.running[*beam].tokens.clone(),
                }
            })
            .collect();
        let allowed = constraint.allowed(&sequences)?;
        if allowed.len() != rows.len() {
            return Err(ModelError::Invalid(format!(
                "the constraint gave {} answers for {} sequences",
                allowed.len(),
                rows.len()
            )));
        }
        Ok(allowed)
    }

    /// Takes out the requests that are done.
    fn collect(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let tokenizer = self.model.tokenizer.clone();
        let mut left = Vec::with_capacity(self.requests.len());
        for mut request in std::mem::take(&mut self.requests) {
            if !request.started || !request.running.is_empty() {
                left.push(request);
                continue;
            }
            request
                .finished
                .sort_by(|a, b| b.score().total_cmp(&a.score()));
            request.finished.truncate(request.settings.count);
            let mut candidates = Vec::with_capacity(request.finished.len());
            for done in request.finished {
                let text = match &tokenizer {
                    Some(tokenizer) => tokenizer.decode(&done.tokens)?,
                    None => String::new(),
                };
                candidates.push(Candidate {
                    text,
                    tokens: done.tokens,
                    log_probability: done.log_probability,
                    finish: done.finish,
                });
            }
            events.push(Event::Done {
                id: request.id,
                candidates,
            });
        }
        self.requests = left;
        Ok(())
    }
}

impl Request {
    /// One token of every sample.
    fn draw(&mut self, next: &[Option<Vec<f32>>], stop: &[u32], events: &mut Vec<Event>) {
        let mut running = Vec::with_capacity(self.running.len());
        for (mut sequence, next) in std::mem::take(&mut self.running).into_iter().zip(next) {
            let Some(next) = next else {
                self.finished.push(sequence.finish(Finish::Constraint));
                continue;
            };
            let token = choose::sample(
                next,
                &self.settings,
                sequence.key,
                sequence.tokens.len() as u64,
            );
            let log_probability = next[token as usize];
            sequence.log_probability += f64::from(log_probability);
            if stop.contains(&token) {
                self.finished.push(sequence.finish(Finish::Stop));
                continue;
            }
            sequence.tokens.push(token);
            events.push(Event::Token {
                id: self.id,
                sample: sequence.sample,
                token,
                log_probability,
            });
            if sequence.tokens.len() >= self.room {
                self.finished.push(sequence.finish(Finish::Length));
            } else {
                running.push(sequence);
            }
        }
        self.running = running;
    }

    /// One step of the beam search.
    fn search(&mut self, next: &[Option<Vec<f32>>], stop: &[u32]) {
        let width = self.settings.beams;
        let beams: Vec<(&[u32], f64, Option<&[f32]>)> = self
            .running
            .iter()
            .zip(next)
            .map(|(beam, next)| {
                (
                    beam.tokens.as_slice(),
                    beam.log_probability,
                    next.as_deref(),
                )
            })
            .collect();
        let extended = beam::extend(&beams, stop, width, &mut self.finished);
        let best = extended.first().map(|next| {
            (
                next.log_probability,
                self.running[next.parent].tokens.len() + 1,
            )
        });
        if beam::is_over(&mut self.finished, best, width) {
            self.running.clear();
            return;
        }
        let mut taken = vec![false; self.running.len()];
        let mut running = Vec::with_capacity(extended.len());
        for next in extended {
            let parent = &self.running[next.parent];
            // The first child goes on with its parent's cache, the others with copies that share its pages.
            let cache = if std::mem::replace(&mut taken[next.parent], true) {
                share(parent.cache.lock().fork())
            } else {
                parent.cache.clone()
            };
            let mut tokens = parent.tokens.clone();
            tokens.push(next.token);
            running.push(Running {
                cache,
                tokens,
                log_probability: next.log_probability,
                sample: 0,
                key: parent.key,
            });
        }
        if running
            .first()
            .is_some_and(|beam| beam.tokens.len() >= self.room)
        {
            self.finished
                .extend(running.into_iter().map(|beam| beam.finish(Finish::Length)));
            beam::is_over(&mut self.finished, None, width);
            running = Vec::new();
        }
        self.running = running;
    }
}

impl Running {
    fn finish(self, finish: Finish) -> Hypothesis {
        Hypothesis {
            tokens: self.tokens,
            log_probability: self.log_probability,
            finish,
        }
    }
}

fn share(cache: SequenceCache) -> SharedCache {
    SharedCache::new(cache.into())
}
