//! What those who ask need of a loaded deployment.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::Sender,
    },
};

use tenon_data::{
    Tokenizer,
    collate::{Given, Prompt},
};
use tenon_model::Settings;
use tenon_plugin::{
    ProcessorPool,
    processor::Stages,
    recipe::{Layout, Piece, Segment, Signature},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    Result, ServeError,
    scheduler::{Command, Generate, Reply},
};

/// The clients' side of a loaded deployment. When the last handle is gone, its thread ends.
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) commands: Sender<Command>,
    pub(crate) signature: Signature,
    pub(crate) tokenizer: Option<Arc<Tokenizer>>,
    pub(crate) processor: Option<ProcessorPool>,
    /// The settings of a request that says nothing.
    pub(crate) settings: Settings,
    /// Whether these name a seed.
    pub(crate) has_seed: bool,
    pub(crate) max_batch: usize,
    pub(crate) random: RandomState,
    pub(crate) next: AtomicU64,
    /// Set when the platform shuts down.
    pub(crate) closing: AtomicBool,
}

impl Service {
    /// The processor, if it takes part in that stage.
    pub(crate) fn processor(&self, stage: Stages) -> Option<&ProcessorPool> {
        let pool = self.processor.as_ref()?;
        pool.stages().contains(stage).then_some(pool)
    }

    /// Whether the model generates; others answer with arrays.
    pub(crate) fn generates(&self) -> bool {
        self.signature.generation.is_some()
    }

    /// The settings of a request that says nothing; without a seed, each has its own.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = self.settings.clone();
        if !self.has_seed {
            settings.seed = self.random.hash_one(self.next.fetch_add(1, Relaxed));
        }
        settings
    }

    /// A request's columns as the model takes them.
    pub(crate) fn prompt(&self, given: &BTreeMap<String, Given>) -> Result<Prompt> {
        let known = self.signature.columns();
        if let Some(unknown) = given.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(ServeError::Invalid(format!(
                "the model reads no column `{unknown}`; it reads `{}`",
                self.columns().join("`, `")
            )));
        }
        let prompt = Prompt::new(&self.signature, self.tokenizer.as_deref(), given)?;
        if prompt.cut > 0 {
            return Err(ServeError::Invalid(format!(
                "the request is {} tokens too long for the model, which can hold {}",
                prompt.cut,
                prompt.max_length.unwrap_or_default()
            )));
        }
        Ok(prompt)
    }

    /// The columns that a request may give.
    pub(crate) fn columns(&self) -> Vec<String> {
        let given = self.signature.without_targets();
        given.columns().into_iter().map(str::to_owned).collect()
    }

    /// The column that a plain text is: the one that is not learnt, or else the first that is.
    pub(crate) fn text_column(&self) -> Result<&str> {
        let columns = |learnt: bool| {
            let pieces = self.signature.sequences();
            let pieces = pieces.flat_map(|(_, layout)| &layout.pieces);
            pieces.filter_map(move |piece: &Piece| match &piece.segment {
                Segment::Column(column) if piece.learnt == learnt => Some(column.as_str()),
                _ => None,
            })
        };
        let mut given: Vec<&str> = columns(false).collect();
        given.sort_unstable();
        given.dedup();
        match (given.as_slice(), columns(true).next()) {
            (&[only], _) => Ok(only),
            (&[], Some(first)) => Ok(first),
            (&[], None) => Err(ServeError::Invalid(format!(
                "the model of deployment `{}` reads no text",
                self.name
            ))),
            (several, _) => Err(ServeError::Invalid(format!(
                "a completion has one text, but the model reads `{}`; use predict",
                several.join("`, `")
            ))),
        }
    }

    /// Whether a column is of numbers.
    pub(crate) fn is_numbers(&self, name: &str) -> bool {
        let mut inputs = self.signature.inputs.iter();
        inputs.any(|input| matches!(&input.layout, Layout::Fixed { column, .. } if column == name))
    }

    /// Hands a generation to the deployment's thread.
    pub(crate) fn generate(
        &self,
        make: impl FnOnce(u64, mpsc::UnboundedSender<Reply>) -> Generate,
    ) -> Result<(u64, mpsc::UnboundedReceiver<Reply>)> {
        let id = self.next.fetch_add(1, Relaxed);
        let (replies, receiver) = mpsc::unbounded_channel();
        let job = make(id, replies);
        if job.settings.width() > self.max_batch {
            return Err(ServeError::Invalid(format!(
                "the request needs {} sequences side by side; deployment `{}` runs {} (`max_batch`)",
                job.settings.width(),
                self.name,
                self.max_batch
            )));
        }
        self.send(Command::Generate(Box::new(job)))?;
        Ok((id, receiver))
    }

    /// Hands work to the deployment's thread and waits for its answer.
    pub(crate) async fn ask<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<T>>) -> Command,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.send(make(reply))?;
        answer.await.unwrap_or_else(|_| Err(self.lost()))
    }

    pub(crate) fn send(&self, command: Command) -> Result<()> {
        self.commands.send(command).map_err(|_| self.lost())
    }

    /// The thread has ended, or ended without an answer.
    pub(crate) fn lost(&self) -> ServeError {
        if self.closing.load(Relaxed) {
            return ServeError::Closed {
                name: self.name.clone(),
            };
        }
        ServeError::Internal(format!(
            "the thread of deployment `{}` has ended",
            self.name
        ))
    }
}
