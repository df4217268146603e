//! The thread that owns a deployment's model: it admits requests between steps and sends each its tokens.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, TryRecvError},
    },
};

use tenon_data::collate::Prompt;
use tenon_model::{Candidate, Constraint, Engine, Event, Finish, Model, Settings, TokenScore};
use tenon_plugin::{
    ProcessorPool,
    processor::{Allowed, Array, Sequence},
};
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::{Result, ServeError, lane::Ticket, meter::Meter};

/// What the thread is asked to do.
pub(crate) enum Command {
    /// Generate.
    Generate(Box<Generate>),
    /// Run forward.
    Predict(Box<Predict>),
    /// Score a prompt.
    Score(Box<Score>),
    /// End a sample of a generation before its time.
    End { id: u64, sample: usize },
    /// Answer what has come before this, and end.
    Finish,
}

/// A generation. It is cancelled when the receiver of its replies is gone.
pub(crate) struct Generate {
    pub(crate) id: u64,
    pub(crate) prompt: Prompt,
    pub(crate) settings: Settings,
    /// What the constraint is told.
    pub(crate) context: Vec<u8>,
    /// Whether tokens are announced as they come.
    pub(crate) announce: bool,
    pub(crate) replies: UnboundedSender<Reply>,
    pub(crate) ticket: Arc<Ticket>,
}

/// One forward, for a model that does not generate.
pub(crate) struct Predict {
    pub(crate) prompt: Prompt,
    pub(crate) reply: oneshot::Sender<Result<Vec<Array>>>,
    pub(crate) ticket: Arc<Ticket>,
}

/// How likely a prompt is.
pub(crate) struct Score {
    pub(crate) prompt: Prompt,
    pub(crate) alternatives: usize,
    pub(crate) reply: oneshot::Sender<Result<Vec<TokenScore>>>,
}

/// What a generation brings.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A sample has a new token.
    Token {
        sample: usize,
        token: u32,
        log_probability: f32,
        alternatives: Vec<(u32, f32)>,
    },
    /// A sample is complete.
    Ended { sample: usize, finish: Finish },
    /// All is complete; best first.
    Done(Vec<Candidate>),
    /// It failed.
    Failed(ServeError),
}

/// A deployment's processor as the engine's constraint. Its pool holds one instance, which no request's
/// pre- or postprocessing can keep busy.
struct Gate(ProcessorPool);

impl Constraint for Gate {
    fn allowed(&mut self, sequences: &[Sequence]) -> tenon_model::Result<Vec<Allowed>> {
        Ok(self.0.with(|processor| processor.constrain(sequences))?)
    }
}

/// The thread's state.
pub(crate) struct Scheduler {
    pub(crate) name: String,
    pub(crate) model: Model,
    pub(crate) constraint: Option<ProcessorPool>,
    /// Sequences side by side.
    pub(crate) max_batch: usize,
    pub(crate) inbox: Receiver<Command>,
    pub(crate) meter: Arc<Meter>,
    /// Set when there is no more time to finish.
    pub(crate) abort: Arc<AtomicBool>,
}

/// What the inbox held.
enum Mail {
    Command(Command),
    /// Nothing now.
    Empty,
    /// Nothing ever again.
    Closed,
}

impl Scheduler {
    /// Serves until nobody can ask any more, or [`Command::Finish`].
    pub(crate) fn run(mut self) {
        if self.model.signature().generation.is_some() {
            self.generate();
        } else {
            self.predict();
        }
    }

    fn closed(&self) -> ServeError {
        closed(&self.name)
    }

    /// Generates for all who ask, side by side.
    fn generate(&mut self) {
        let mut gate = self.constraint.take().map(Gate);
        let mut engine = match Engine::new(&mut self.model) {
            Ok(engine) => engine,
            // It was tried when the model was loaded.
            Err(error) => {
                tracing::error!(deployment = self.name, %error, "no engine");
                return;
            }
        };
        let mut waiting: VecDeque<Box<Generate>> = VecDeque::new();
        let mut running: HashMap<u64, Client> = HashMap::new();
        let mut open = true;
        loop {
            let idle = waiting.is_empty() && engine.is_empty();
            match next(&self.inbox, &mut open, idle) {
                Mail::Command(Command::Generate(job)) => {
                    waiting.push_back(job);
                    continue;
                }
                Mail::Command(Command::End { id, sample }) => {
                    engine.end(id, sample);
                    continue;
                }
                Mail::Command(Command::Score(job)) => {
                    let scores = engine.model().score_prompt(&job.prompt, job.alternatives);
                    if scores.is_err() {
                        recover(&self.name, engine.model());
                    }
                    let _ = job.reply.send(scores.map_err(ServeError::from));
                    continue;
                }
                Mail::Command(Command::Predict(job)) => {
                    let refused = ServeError::Invalid("this model generates".into());
                    let _ = job.reply.send(Err(refused));
                    continue;
                }
                Mail::Command(Command::Finish) => {
                    open = false;
                    continue;
                }
                Mail::Closed if idle => return,
                Mail::Closed | Mail::Empty => {}
            }
            if self.abort.load(Relaxed) {
                let left = waiting.into_iter().map(|job| job.replies);
                for replies in left.chain(running.into_values().map(|client| client.replies)) {
                    let _ = replies.send(Reply::Failed(closed(&self.name)));
                }
                return;
            }
            waiting.retain(|job| !job.replies.is_closed());
            running.retain(|&id, client| {
                let gone = client.replies.is_closed();
                if gone {
                    engine.cancel(id);
                }
                !gone
            });
            while let Some(job) = waiting.front() {
                if engine.width() + job.settings.width() > self.max_batch && !engine.is_empty() {
                    break;
                }
                if let Some(job) = waiting.pop_front() {
                    admit(&mut engine, *job, &mut running, &self.meter);
                }
            }
            if engine.is_empty() {
                continue;
            }
            let gate = gate.as_mut().map(|gate| gate as &mut dyn Constraint);
            for event in engine.step(gate) {
                deliver(event, &mut running, &self.meter);
            }
        }
    }

    /// Answers with arrays: all who wait share a forward.
    fn predict(&mut self) {
        let mut open = true;
        loop {
            let mut jobs: Vec<Predict> = Vec::new();
            while jobs.len() < self.max_batch {
                match next(&self.inbox, &mut open, jobs.is_empty()) {
                    Mail::Command(Command::Predict(job)) => jobs.push(*job),
                    Mail::Command(Command::Finish) => open = false,
                    // What only generating models are asked.
                    Mail::Command(_) => {}
                    Mail::Closed if jobs.is_empty() => return,
                    Mail::Closed | Mail::Empty => break,
                }
            }
            jobs.retain(|job| !job.reply.is_closed());
            if self.abort.load(Relaxed) {
                for job in jobs {
                    let _ = job.reply.send(Err(self.closed()));
                }
                return;
            }
            self.forward(jobs);
        }
    }

    fn forward(&mut self, jobs: Vec<Predict>) {
        let prompts: Vec<Prompt> = jobs.iter().map(|job| job.prompt.clone()).collect();
        match self.model.predict_prompts(&prompts) {
            Ok(answers) => {
                for (job, answer) in jobs.into_iter().zip(answers) {
                    job.answer(Ok(answer));
                }
            }
            Err(error) if jobs.len() == 1 => {
                recover(&self.name, &mut self.model);
                let error = ServeError::from(error);
                jobs.into_iter()
                    .for_each(|job| job.answer(Err(error.clone())));
            }
            // One of them may have spoilt it for all.
            Err(_) => {
                recover(&self.name, &mut self.model);
                for job in jobs {
                    self.forward(vec![job]);
                }
            }
        }
    }
}

impl Predict {
    fn answer(self, answer: Result<Vec<Array>>) {
        // Given back before the client can ask again.
        drop(self.ticket);
        let _ = self.reply.send(answer);
    }
}

fn closed(name: &str) -> ServeError {
    ServeError::Closed {
        name: name.to_owned(),
    }
}

/// The next command; waits for one if there is nothing else to do.
fn next(inbox: &Receiver<Command>, open: &mut bool, idle: bool) -> Mail {
    if !*open {
        return Mail::Closed;
    }
    let mail = if idle {
        inbox.recv().map_err(|_| TryRecvError::Disconnected)
    } else {
        inbox.try_recv()
    };
    match mail {
        Ok(command) => Mail::Command(command),
        Err(TryRecvError::Empty) => Mail::Empty,
        Err(TryRecvError::Disconnected) => {
            *open = false;
            Mail::Closed
        }
    }
}

fn recover(name: &str, model: &mut Model) {
    if let Err(error) = model.recover() {
        tracing::error!(deployment = name, %error, "the recipe cannot be opened again");
    }
}

/// Who waits for a running generation.
struct Client {
    replies: UnboundedSender<Reply>,
    announce: bool,
    /// Held as long as the engine works for it.
    _ticket: Arc<Ticket>,
}

fn admit(engine: &mut Engine, job: Generate, running: &mut HashMap<u64, Client>, meter: &Meter) {
    let prompt_tokens: usize = job.prompt.sequences.iter().map(|s| s.tokens.len()).sum();
    match engine.admit(job.id, job.prompt, job.settings, job.context) {
        Ok(()) => {
            meter.prompt_tokens.fetch_add(prompt_tokens as u64, Relaxed);
            let client = Client {
                replies: job.replies,
                announce: job.announce,
                _ticket: job.ticket,
            };
            running.insert(job.id, client);
        }
        Err(error) => {
            drop(job.ticket);
            let _ = job.replies.send(Reply::Failed(error.into()));
        }
    }
}

/// Tells clients what a step brought. A client that is gone is noticed before the next step.
fn deliver(event: Event, running: &mut HashMap<u64, Client>, meter: &Meter) {
    let announce = |id: u64, reply: Reply| {
        if let Some(client) = running.get(&id).filter(|client| client.announce) {
            let _ = client.replies.send(reply);
        }
    };
    match event {
        Event::Token {
            id,
            sample,
            token,
            log_probability,
            alternatives,
        } => announce(
            id,
            Reply::Token {
                sample,
                token,
                log_probability,
                alternatives,
            },
        ),
        Event::Ended { id, sample, finish } => announce(id, Reply::Ended { sample, finish }),
        Event::Done { id, candidates } => {
            let tokens: usize = candidates.iter().map(|c| c.tokens.len()).sum();
            meter.tokens.fetch_add(tokens as u64, Relaxed);
            finish(id, Reply::Done(candidates), running);
        }
        Event::Failed { ids, error } => {
            let error = ServeError::from(error);
            for id in ids {
                finish(id, Reply::Failed(error.clone()), running);
            }
        }
    }
}

fn finish(id: u64, reply: Reply, running: &mut HashMap<u64, Client>) {
    if let Some(Client {
        replies, _ticket, ..
    }) = running.remove(&id)
    {
        // Given back before the client can ask again.
        drop(_ticket);
        let _ = replies.send(reply);
    }
}
