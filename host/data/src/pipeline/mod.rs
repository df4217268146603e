//! Pipelines: transforms one after the other, from a version of a dataset to a new one.
//!
//! Reading, every step and writing have a thread each, with a few batches between them. A result is
//! found again by its exact key: the input's content, the components' bytes, their configuration,
//! seeds and grants.

mod apply;
mod key;
mod session;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenon_plugin::{Component, Limits, LogSink};
use tenon_store::Transaction;
use utoipa::ToSchema;

pub(crate) use key::canonical;

use crate::control::Control;
use crate::dataset::{
    DatasetVersion, Datasets, GrantedDatasets, Lineage, LineageStep, Split, check_name,
    content_digest, decode, encode,
};
use crate::error::{DataError, Result};
use crate::import::DEFAULT_SPLIT;
use crate::parts::PartWriter;
use crate::schema::Schema;
use crate::tokenizer::Tokenizer;
use session::Session;
use step::{Done, Message, Step};

/// Key: the cache key. Value: [`CacheEntry`] as JSON.
const CACHE: &str = "pipeline-cache";
/// Batches between two threads.
const AHEAD: usize = 3;
/// Rows that a transform is called with.
const BATCH_ROWS: usize = 8192;

/// A transform of a pipeline, with what it is given.
#[derive(Clone)]
pub struct PipelineStep {
    /// The plugin.
    pub component: Component,
    /// Its configuration.
    pub config: Value,
    /// Of its random numbers.
    pub seed: u64,
    /// The datasets that it may read.
    pub datasets: Option<GrantedDatasets>,
    /// The tokenizer that it may use.
    pub tokenizer: Option<Arc<Tokenizer>>,
    /// Its limits; nothing: the engine's.
    pub limits: Option<Limits>,
    /// Where its log lines go; nothing: the host's log.
    pub log: Option<Arc<dyn LogSink>>,
}

impl PipelineStep {
    /// A step that is granted nothing.
    pub fn new(component: Component, config: Value) -> Self {
        Self {
            component,
            config,
            seed: 0,
            datasets: None,
            tokenizer: None,
            limits: None,
            log: None,
        }
    }
}

/// What a step did.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct StepStats {
    /// The plugin's name.
    pub plugin: String,
    /// Rows that it was given.
    pub rows_in: u64,
    /// Rows that it returned.
    pub rows_out: u64,
    /// Seconds spent inside it.
    pub seconds: f64,
}

/// What a pipeline did.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PipelineReport {
    /// The version that holds the result.
    pub version: DatasetVersion,
    /// True when the result was there already and nothing was computed.
    pub cached: bool,
    /// The key of the result.
    pub cache_key: String,
    /// The steps; none if the result was there already.
    pub steps: Vec<StepStats>,
}

#[derive(Serialize, Deserialize)]
struct CacheEntry {
    name: String,
    version: u32,
    digest: String,
}

/// A step's face for the runner: its name and its opened session.
pub(crate) struct Opened<'a> {
    pub(crate) plugin: String,
    pub(crate) session: Box<dyn Session + 'a>,
}

impl Datasets {
    /// Runs `steps` over all splits of `input` and records the result as a version of the dataset
    /// `output`. If the same steps ran over the same input before, that result is used.
    ///
    /// # Errors
    /// [`DataError::Plugin`] naming the step and the rows; [`DataError::Cancelled`]. Nothing is
    /// recorded then.
    pub fn transform(
        &self,
        input: &DatasetVersion,
        output: &str,
        steps: &[PipelineStep],
        control: &Control,
    ) -> Result<PipelineReport> {
        check_name("dataset", output)?;
        if steps.is_empty() {
            return Err(DataError::Invalid(
                "a pipeline needs at least one transform".into(),
            ));
        }
        let cache_key = key::cache_key(input, steps);
        let lineage = Lineage {
            parent: input.reference(),
            parent_digest: input.digest.clone(),
            steps: steps
                .iter()
                .map(|step| {
                    let description = step.component.description();
                    LineageStep {
                        plugin: description.name.clone(),
                        version: description.version.clone(),
                        digest: step.component.digest().to_owned(),
                        config: step.config.clone(),
                        seed: step.seed,
                    }
                })
                .collect(),
            cache_key: cache_key.clone(),
        };
        if let Some(known) = self.cached(&cache_key)? {
            let version = if known.name == output {
                known
            } else {
                let copy = DatasetVersion {
                    name: output.to_owned(),
                    lineage: Some(lineage),
                    ..known
                };
                self.commit(copy, |transaction, _| Ok(transaction))?.0
            };
            return Ok(PipelineReport {
                version,
                cached: true,
                cache_key,
                steps: Vec::new(),
            });
        }
        let opened = steps
            .iter()
            .enumerate()
            .map(|(index, step)| session::open(index, step))
            .collect::<Result<Vec<_>>>()?;
        let (draft, stats) = self.run(input, output, opened, control)?;
        let draft = DatasetVersion {
            lineage: Some(lineage),
            ..draft
        };
        let (version, _) = self.commit(draft, |transaction, version| {
            remember(transaction, &cache_key, version)
        })?;
        tracing::info!(dataset = %version.reference(), parent = %input.reference(), rows = version.rows(), "transformed");
        Ok(PipelineReport {
            version,
            cached: false,
            cache_key,
            steps: stats,
        })
    }

    fn cached(&self, cache_key: &str) -> Result<Option<DatasetVersion>> {
        let Some(bytes) = self.store().get(CACHE, cache_key)? else {
            return Ok(None);
        };
        let entry: CacheEntry = decode(&bytes)?;
        Ok(self
            .versions(&entry.name)?
            .into_iter()
            .find(|version| version.version == entry.version && version.digest == entry.digest))
    }

    /// Streams `input` through the steps; the result is stored, but not yet recorded.
    pub(crate) fn run(
        &self,
        input: &DatasetVersion,
        output: &str,
        opened: Vec<Opened<'_>>,
        control: &Control,
    ) -> Result<(DatasetVersion, Vec<StepStats>)> {
        let default_split: Arc<str> = input
            .splits
            .first()
            .map_or(DEFAULT_SPLIT, |split| split.name.as_str())
            .into();
        let names: Vec<String> = opened.iter().map(|step| step.plugin.clone()).collect();
        let total = input.rows();
        let count = opened.len();
        let mut writers: BTreeMap<Arc<str>, PartWriter> = BTreeMap::new();
        let results = thread::scope(|scope| -> Result<Vec<Done>> {
            let (first, mut next): (SyncSender<Message>, Receiver<Message>) = sync_channel(AHEAD);
            let reading = scope.spawn(move || self.feed(input, &first, control));
            let mut threads = Vec::with_capacity(count);
            for (index, step) in opened.into_iter().enumerate() {
                let (out, after) = sync_channel(AHEAD);
                let before = std::mem::replace(&mut next, after);
                let step = Step {
                    label: format!("step {} ({})", index + 1, step.plugin),
                    meter: control.meter(step.plugin, (index == 0).then_some(total)),
                    session: step.session,
                    default_split: Arc::clone(&default_split),
                    batch_rows: BATCH_ROWS,
                };
                threads.push(scope.spawn(move || step.run(before, out)));
            }
            let written = self.gather(next, &mut writers);
            let read = reading
                .join()
                .unwrap_or_else(|_| Err(died("reads the input")));
            let done: Vec<Result<Done>> = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(died("runs a step"))))
                .collect();
            // The earliest failure is the cause; the threads after it only saw their input end.
            read?;
            let done = done.into_iter().collect::<Result<Vec<_>>>()?;
            written?;
            if !done.iter().all(|step| step.complete) {
                return Err(DataError::Internal(
                    "a pipeline was cut off without a reason".into(),
                ));
            }
            Ok(done)
        })?;
        control.check()?;
        let schema: Schema = results
            .iter()
            .rev()
            .find_map(|done| done.schema.clone())
            .unwrap_or_else(|| input.schema.clone());
        if writers.is_empty() {
            writers.insert(
                default_split,
                PartWriter::new(&self.store().blobs(), schema.arrow()),
            );
        }
        let splits = writers
            .into_iter()
            .map(|(name, writer)| Ok(Split::new(&*name, writer.finish()?)))
            .collect::<Result<Vec<_>>>()?;
        let draft = DatasetVersion {
            name: output.to_owned(),
            version: 0,
            digest: content_digest(&schema, &splits, None)?,
            schema,
            splits,
            quarantine: None,
            created_at: String::new(),
            source: None,
            lineage: None,
        };
        let stats = names
            .into_iter()
            .zip(results)
            .map(|(plugin, done)| StepStats {
                plugin,
                rows_in: done.rows_in,
                rows_out: done.rows_out,
                seconds: done.busy.as_secs_f64(),
            })
            .collect();
        Ok((draft, stats))
    }

    fn feed(
        &self,
        input: &DatasetVersion,
        out: &SyncSender<Message>,
        control: &Control,
    ) -> Result<()> {
        for split in &input.splits {
            let name: Arc<str> = split.name.as_str().into();
            for batch in self.read(input, &split.name, None, BATCH_ROWS)? {
                control.check()?;
                if out.send(Message::Rows(Arc::clone(&name), batch?)).is_err() {
                    return Ok(());
                }
            }
        }
        // Nobody listens after a failure further on, which is reported there.
        let _ = out.send(Message::End);
        Ok(())
    }

    fn gather(
        &self,
        input: Receiver<Message>,
        writers: &mut BTreeMap<Arc<str>, PartWriter>,
    ) -> Result<()> {
        for message in input {
            let Message::Rows(split, batch) = message else {
                break;
            };
            writers
                .entry(split)
                .or_insert_with(|| PartWriter::new(&self.store().blobs(), batch.schema()))
                .write(&batch)?;
        }
        Ok(())
    }
}

fn remember(
    transaction: Transaction,
    cache_key: &str,
    version: &DatasetVersion,
) -> Result<Transaction> {
    let entry = CacheEntry {
        name: version.name.clone(),
        version: version.version,
        digest: version.digest.clone(),
    };
    Ok(transaction.put(CACHE, cache_key, encode(&entry)?))
}

fn died(what: &str) -> DataError {
    DataError::Internal(format!("the thread that {what} panicked"))
}
