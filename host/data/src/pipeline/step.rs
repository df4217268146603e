//! One step of a running pipeline, on a thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use tenon_plugin::PluginError;
use tenon_plugin::transform::{Columns, Output};

use super::apply::{StepSchema, read_columns};
use super::session::Session;
use crate::control::Meter;
use crate::convert::{from_batch, to_batch};
use crate::error::{DataError, Result};
use crate::schema::Schema;

/// Splits that a pipeline may make.
const MOST_SPLITS: usize = 64;

/// What travels between the threads. A channel that closes without `End` was cut off by an error
/// elsewhere: what follows must not be taken for the whole.
pub(super) enum Message {
    /// Rows of a split.
    Rows(Arc<str>, RecordBatch),
    /// There are no more.
    End,
}

/// A step that is ready to run.
pub(super) struct Step<'a> {
    /// "step 2 (tenon/filter)".
    pub(super) label: String,
    pub(super) session: Box<dyn Session + 'a>,
    /// Where rows go that `finish` returns without naming a split.
    pub(super) default_split: Arc<str>,
    pub(super) batch_rows: usize,
    pub(super) meter: Meter,
}

/// What a step did.
#[derive(Default)]
pub(super) struct Done {
    pub(super) rows_in: u64,
    pub(super) rows_out: u64,
    /// Time spent in the transform.
    pub(super) busy: Duration,
    /// The columns of its output; nothing if it never returned any.
    pub(super) schema: Option<Schema>,
    /// Whether it saw the end of its input and passed on the end of its output.
    pub(super) complete: bool,
}

struct Running<'a> {
    step: Step<'a>,
    columns: Columns,
    schema: StepSchema,
    carried: Schema,
    waiting: BTreeMap<Arc<str>, Vec<RecordBatch>>,
    given: BTreeMap<Arc<str>, u64>,
    splits: BTreeMap<String, Arc<str>>,
    out: SyncSender<Message>,
    done: Done,
}

impl<'a> Step<'a> {
    /// Runs until the input ends. Returns early, without an error of its own, if the threads before
    /// or after it failed.
    pub(super) fn run(self, input: Receiver<Message>, out: SyncSender<Message>) -> Result<Done> {
        let columns = self.session.columns();
        let mut running = Running {
            step: self,
            columns,
            schema: StepSchema::default(),
            carried: Schema::default(),
            waiting: BTreeMap::new(),
            given: BTreeMap::new(),
            splits: BTreeMap::new(),
            out,
            done: Done::default(),
        };
        for message in input {
            let goes_on = match message {
                Message::Rows(split, batch) => running.take(split, batch)?,
                Message::End => {
                    running.end()?;
                    break;
                }
            };
            if !goes_on {
                break;
            }
        }
        running.done.schema = running.schema.get().cloned();
        running.step.meter.finish();
        Ok(running.done)
    }
}

impl Running<'_> {
    /// Gathers rows of a split until there are enough for a call. False: nobody listens any more.
    fn take(&mut self, split: Arc<str>, batch: RecordBatch) -> Result<bool> {
        if self.carried.columns.is_empty() {
            self.carried = Schema::from_arrow(&batch.schema())?;
        }
        let waiting = self.waiting.entry(Arc::clone(&split)).or_default();
        waiting.push(batch);
        let rows: usize = waiting.iter().map(RecordBatch::num_rows).sum();
        if rows * 2 > self.step.batch_rows {
            return self.flush(&split);
        }
        Ok(true)
    }

    fn flush(&mut self, split: &Arc<str>) -> Result<bool> {
        let waiting = self
            .waiting
            .get_mut(split)
            .map(std::mem::take)
            .unwrap_or_default();
        let whole = match waiting.as_slice() {
            [] => return Ok(true),
            [only] => only.clone(),
            [first, ..] => concat_batches(&first.schema(), &waiting)
                .map_err(DataError::table("joining rows between two steps"))?,
        };
        let mut start = 0;
        while start < whole.num_rows() {
            let rows = self.step.batch_rows.min(whole.num_rows() - start);
            if !self.call(split, &whole.slice(start, rows))? {
                return Ok(false);
            }
            start += rows;
        }
        Ok(true)
    }

    fn call(&mut self, split: &Arc<str>, input: &RecordBatch) -> Result<bool> {
        let rows = input.num_rows() as u64;
        let first = {
            let given = self.given.entry(Arc::clone(split)).or_default();
            std::mem::replace(given, *given + rows)
        };
        let context = format!(
            "{}, rows {first} to {} of split `{split}`",
            self.step.label,
            first + rows.saturating_sub(1)
        );
        let sent = read_columns(input, &self.columns)
            .map_err(|error| DataError::Invalid(format!("{}: {error}", self.step.label)))?;
        let sent = to_batch(&sent)?;
        let started = Instant::now();
        let outputs = self
            .step
            .session
            .process(&sent)
            .map_err(|error| plugin(context.clone(), error))?;
        self.done.busy += started.elapsed();
        self.done.rows_in += rows;
        self.step.meter.add(rows)?;
        for output in outputs {
            if !self.emit(Some(input), split, output, &context)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn end(&mut self) -> Result<()> {
        let splits: Vec<_> = self.waiting.keys().cloned().collect();
        for split in splits {
            if !self.flush(&split)? {
                return Ok(());
            }
        }
        let context = format!("{}, its end", self.step.label);
        let started = Instant::now();
        let outputs = self
            .step
            .session
            .finish()
            .map_err(|error| plugin(context.clone(), error))?;
        self.done.busy += started.elapsed();
        let split = Arc::clone(&self.step.default_split);
        for output in outputs {
            if !self.emit(None, &split, output, &context)? {
                return Ok(());
            }
        }
        self.done.complete = self.out.send(Message::End).is_ok();
        Ok(())
    }

    fn emit(
        &mut self,
        input: Option<&RecordBatch>,
        split: &Arc<str>,
        output: Output,
        context: &str,
    ) -> Result<bool> {
        let broken = |reason: String| {
            DataError::Contract(format!(
                "{context}: the plugin breaks its contract: {reason}"
            ))
        };
        let split = match output.split {
            None => Arc::clone(split),
            Some(name) => match self.splits.get(&name) {
                Some(split) => Arc::clone(split),
                None => {
                    crate::dataset::check_name("split", &name)
                        .map_err(|error| broken(error.to_string()))?;
                    if name == crate::import::QUARANTINE || self.splits.len() == MOST_SPLITS {
                        return Err(broken(format!(
                            "it returns rows for split `{name}`; that name is taken or there are more than {MOST_SPLITS}"
                        )));
                    }
                    let split: Arc<str> = name.as_str().into();
                    self.splits.insert(name, Arc::clone(&split));
                    split
                }
            },
        };
        let written = from_batch(output.batch).map_err(|error| broken(error.to_string()))?;
        let joined = self
            .schema
            .join(input, &self.carried, &self.columns, &written, &output.rows)
            .map_err(broken)?;
        if joined.num_rows() == 0 {
            return Ok(true);
        }
        self.done.rows_out += joined.num_rows() as u64;
        Ok(self.out.send(Message::Rows(split, joined)).is_ok())
    }
}

fn plugin(context: String, error: PluginError) -> DataError {
    DataError::Plugin {
        context,
        source: Box::new(error),
    }
}
