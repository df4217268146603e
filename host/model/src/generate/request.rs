//! One request: its sequences and their next tokens.

use tenon_data::collate::Prompt;
use tenon_plugin::processor::Allowed;
use tenon_tensor::{
    nn::{SequenceCache, SharedCache},
    rng,
};

use super::{
    Event, Finish, Settings,
    beam::{self, Beam, Hypothesis},
    choose::{Scratch, restrict},
    pass::Logits,
};
use crate::ModelError;

/// A request that is not done.
pub(super) struct Request {
    pub(super) id: u64,
    /// Nothing once it has been prefilled.
    pub(super) prompt: Option<Prompt>,
    /// The piece that what is generated belongs to.
    pub(super) piece: u32,
    pub(super) settings: Settings,
    pub(super) context: Vec<u8>,
    /// Generated tokens that it may have.
    pub(super) room: usize,
    pub(super) running: Vec<Running>,
    pub(super) finished: Vec<Hypothesis>,
    /// It is told about as failed and dropped at the end of the step.
    pub(super) failed: bool,
}

/// One of its sequences.
pub(super) struct Running {
    pub(super) cache: SharedCache,
    pub(super) tokens: Vec<u32>,
    log_probability: f64,
    /// Which sample of the request it is.
    pub(super) sample: usize,
    /// Of its random numbers.
    key: u64,
}

/// The logits of a request's running sequences, in order, and what is allowed of them.
pub(super) struct Next<'a> {
    pub(super) logits: &'a Logits,
    /// Of each sequence.
    pub(super) rows: &'a [usize],
    /// Of each sequence; nothing where there is no constraint.
    pub(super) allowed: Option<&'a [Allowed]>,
    /// The tokens that end a sequence.
    pub(super) stop: &'a [u32],
}

/// Why a request's next tokens cannot be chosen.
pub(super) enum Unusable {
    /// The model's numbers.
    Logits(f32),
    /// The constraint's answer.
    Constraint(String),
}

impl Request {
    /// Whether it has been prefilled.
    pub(super) fn is_started(&self) -> bool {
        self.prompt.is_none()
    }

    /// Sequences that it has at its widest.
    pub(super) fn width(&self) -> usize {
        self.settings.width()
    }

    /// Begins its sequences after the prefill: each has a cache of its own.
    pub(super) fn start(&mut self, cache: SharedCache) {
        self.prompt = None;
        let samples = if self.settings.beams > 1 {
            1
        } else {
            self.settings.count
        };
        self.running = (0..samples)
            .map(|sample| Running {
                cache: if sample == 0 {
                    cache.clone()
                } else {
                    fork(&cache)
                },
                tokens: Vec::new(),
                log_probability: 0.0,
                sample,
                key: rng::derive(self.settings.seed, sample as u64),
            })
            .collect();
    }

    /// One token more for each of its sequences.
    pub(super) fn advance(
        &mut self,
        next: &Next,
        scratch: &mut Scratch,
        events: &mut Vec<Event>,
    ) -> Result<(), Unusable> {
        if self.settings.beams > 1 {
            self.search(next, scratch)
        } else {
            self.draw(next, scratch, events)
        }
    }

    /// Ends a sample before its time; says whether it was running.
    pub(super) fn end(&mut self, sample: usize) -> bool {
        let place = self
            .running
            .iter()
            .position(|running| running.sample == sample);
        if let Some(place) = place {
            let ended = self.running.remove(place);
            self.finished.push(ended.finish(Finish::Stop));
        }
        place.is_some()
    }

    /// One token of every sample.
    fn draw(
        &mut self,
        next: &Next,
        scratch: &mut Scratch,
        events: &mut Vec<Event>,
    ) -> Result<(), Unusable> {
        let mut running = Vec::with_capacity(self.running.len());
        for (place, mut sequence) in std::mem::take(&mut self.running).into_iter().enumerate() {
            let early = sequence.tokens.len() < self.settings.min_tokens;
            let mut ends = |sequence: Running, finish: Finish| {
                events.push(Event::Ended {
                    id: self.id,
                    sample: sequence.sample,
                    finish,
                });
                self.finished.push(sequence.finish(finish));
            };
            let Some(mut row) = next.row(place, early, scratch)? else {
                ends(sequence, Finish::Constraint);
                continue;
            };
            let draw = sequence.tokens.len() as u64;
            let token = row.sample(&self.settings, sequence.key, draw);
            let log_probability = row.log_probability(token);
            sequence.log_probability += f64::from(log_probability);
            if next.stop.contains(&token) {
                ends(sequence, Finish::Stop);
                continue;
            }
            let alternatives = match self.settings.alternatives {
                0 => Vec::new(),
                count => row.best(count),
            };
            sequence.tokens.push(token);
            events.push(Event::Token {
                id: self.id,
                sample: sequence.sample,
                token,
                log_probability,
                alternatives,
            });
            if sequence.tokens.len() >= self.room {
                events.push(Event::Ended {
                    id: self.id,
                    sample: sequence.sample,
                    finish: Finish::Length,
                });
                self.finished.push(sequence.finish(Finish::Length));
            } else {
                running.push(sequence);
            }
        }
        self.running = running;
        Ok(())
    }

    /// One step of the beam search.
    fn search(&mut self, next: &Next, scratch: &mut Scratch) -> Result<(), Unusable> {
        let width = self.settings.beams;
        let wanted = beam::wanted(width, next.stop);
        let mut beams = Vec::with_capacity(self.running.len());
        for (place, running) in self.running.iter().enumerate() {
            let early = running.tokens.len() < self.settings.min_tokens;
            let row = next.row(place, early, scratch)?;
            beams.push(Beam {
                tokens: &running.tokens,
                log_probability: running.log_probability,
                next: row.map(|row| row.best(wanted)),
            });
        }
        let extended = beam::extend(&beams, next.stop, width, &mut self.finished);
        let best = extended.first().map(|next| {
            let tokens = self.running[next.parent].tokens.len() + 1;
            (next.log_probability, tokens)
        });
        if beam::is_over(&mut self.finished, best, width) {
            self.running.clear();
            return Ok(());
        }
        self.running = self.children(extended);
        let full = |beam: &Running| beam.tokens.len() >= self.room;
        if self.running.first().is_some_and(full) {
            let ended = std::mem::take(&mut self.running);
            self.finished
                .extend(ended.into_iter().map(|beam| beam.finish(Finish::Length)));
        }
        Ok(())
    }

    /// The beams that go on.
    fn children(&self, extended: Vec<beam::Next>) -> Vec<Running> {
        let mut taken = vec![false; self.running.len()];
        let child = |next: beam::Next| {
            let parent = &self.running[next.parent];
            // The first child goes on with its parent's cache, the others with copies that share its
            // blocks.
            let cache = if std::mem::replace(&mut taken[next.parent], true) {
                fork(&parent.cache)
            } else {
                parent.cache.clone()
            };
            let mut tokens = Vec::with_capacity(parent.tokens.len() + 1);
            tokens.extend_from_slice(&parent.tokens);
            tokens.push(next.token);
            Running {
                cache,
                tokens,
                log_probability: next.log_probability,
                sample: 0,
                key: parent.key,
            }
        };
        extended.into_iter().map(child).collect()
    }

    /// The results, best first; at most as many as were asked for.
    pub(super) fn results(mut self) -> Vec<Hypothesis> {
        self.finished
            .sort_by(|a, b| b.score().total_cmp(&a.score()));
        self.finished.truncate(self.settings.count);
        self.finished
    }
}

impl Next<'_> {
    /// What is allowed of a sequence's row. `early`: it may not end yet.
    fn row<'a>(
        &'a self,
        place: usize,
        early: bool,
        scratch: &'a mut Scratch,
    ) -> Result<Option<super::choose::Distribution<'a>>, Unusable> {
        let (logits, log_sum) = self.logits.row(self.rows[place]);
        if !log_sum.is_finite() {
            return Err(Unusable::Logits(log_sum));
        }
        let allowed = self.allowed.map_or(&Allowed::Any, |all| &all[place]);
        let forbidden = if early { self.stop } else { &[] };
        restrict(logits, log_sum, allowed, forbidden, scratch).map_err(Unusable::Constraint)
    }
}

impl Unusable {
    /// In words; `contract` blames the recipe.
    pub(super) fn explain(self, contract: impl FnOnce(String) -> ModelError) -> ModelError {
        match self {
            Self::Logits(found) => contract(format!(
                "its logits add up to {found}: the weights may be damaged"
            )),
            Self::Constraint(reason) => {
                ModelError::Constraint(format!("its answer cannot be used: {reason}"))
            }
        }
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

/// A second cache with the same content.
fn fork(cache: &SharedCache) -> SharedCache {
    let fork: SequenceCache = cache.lock().fork();
    SharedCache::new(fork.into())
}
