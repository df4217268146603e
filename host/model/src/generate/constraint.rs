//! Constraints: asked once a step about everybody, and about each alone when that fails.

use std::ops::Range;

use tenon_plugin::{
    PluginError,
    processor::{Allowed, Sequence},
};

use super::{
    Event,
    engine::{Engine, Rows},
};
use crate::{ModelError, Result};

/// Time-outs of a constraint that one step bears: every other request waits for each of them.
const MOST_TIMEOUTS: usize = 2;

/// Decides which tokens may come next; the sequences of all requests are asked about at once.
pub trait Constraint {
    /// One answer for each sequence, in order.
    ///
    /// # Errors
    /// The constraint's own. It is then asked about each request alone, so that only those fail that it
    /// fails on.
    fn allowed(&mut self, sequences: &[Sequence]) -> Result<Vec<Allowed>>;
}

impl Engine<'_> {
    /// What the constraint allows, for each row of each owner; nothing without a constraint.
    pub(super) fn ask(
        &mut self,
        constraint: Option<&mut dyn Constraint>,
        rows: &Rows,
        events: &mut Vec<Event>,
    ) -> Option<Vec<Vec<Allowed>>> {
        let constraint = constraint?;
        let mut sequences = Vec::new();
        let mut ranges = Vec::with_capacity(rows.owners.len());
        for (place, _) in &rows.owners {
            let request = &self.requests[*place];
            let first = sequences.len();
            sequences.extend(request.running.iter().map(|running| Sequence {
                context: request.context.clone(),
                tokens: running.tokens.clone(),
            }));
            ranges.push(first..sequences.len());
        }
        if sequences.is_empty() {
            return None;
        }
        match answers(constraint, &sequences) {
            Ok(mut all) => Some(
                ranges
                    .into_iter()
                    .map(|range| all.drain(..range.len()).collect())
                    .collect(),
            ),
            Err(error) => Some(self.ask_each(constraint, error, &sequences, &ranges, rows, events)),
        }
    }

    /// Finds out which requests the constraint fails on.
    fn ask_each(
        &mut self,
        constraint: &mut dyn Constraint,
        first: ModelError,
        sequences: &[Sequence],
        ranges: &[Range<usize>],
        rows: &Rows,
        events: &mut Vec<Event>,
    ) -> Vec<Vec<Allowed>> {
        let mut timeouts = usize::from(is_timeout(&first));
        if ranges.len() == 1 {
            self.fail(&[rows.owners[0].0], first, events);
            return vec![Vec::new()];
        }
        let mut allowed = Vec::with_capacity(ranges.len());
        for (range, (place, _)) in ranges.iter().zip(&rows.owners) {
            let answer = if timeouts > MOST_TIMEOUTS {
                Err(ModelError::Constraint(format!(
                    "it was stopped {timeouts} times in this step and is asked no more"
                )))
            } else {
                answers(constraint, &sequences[range.clone()])
            };
            allowed.push(answer.unwrap_or_else(|error| {
                timeouts += usize::from(is_timeout(&error));
                self.fail(&[*place], error, events);
                Vec::new()
            }));
        }
        allowed
    }
}

/// Asks a constraint, and counts its answers.
fn answers(constraint: &mut dyn Constraint, sequences: &[Sequence]) -> Result<Vec<Allowed>> {
    let allowed = constraint.allowed(sequences)?;
    if allowed.len() == sequences.len() {
        return Ok(allowed);
    }
    Err(ModelError::Constraint(format!(
        "it gave {} answers for {} sequences",
        allowed.len(),
        sequences.len()
    )))
}

fn is_timeout(error: &ModelError) -> bool {
    matches!(error, ModelError::Plugin(PluginError::Timeout(_)))
}
