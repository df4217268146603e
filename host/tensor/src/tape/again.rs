//! Less memory for more computing: operations of a segment keep nothing for their gradients but how to
//! be computed again.
//!
//! A segment is what a model does between two of its layers. While one is recorded, the tape keeps the
//! values that come into it from elsewhere. When the backward pass reaches it, its operations are computed
//! once more from those, in their order and each on a tape of its own, which gives what the gradient of
//! each needs; from there on it is as if the segment had been recorded in full. The values are the same
//! bits, so the gradients are too. (Chen et al. 2016, "Training deep nets with sublinear memory cost".)

use std::{collections::HashMap, sync::Arc, sync::atomic::Ordering};

use smallvec::SmallVec;

use super::{
    Backward, InputGradients, Node, NodeRef, Run, Shared, State, Step, Tape, UNTRACKED, append,
};
use crate::{Tensor, TensorError};

/// How an operation computes its output: from its parents, and from other tensors.
type Compute = dyn Fn(&[Tensor], &[Tensor]) -> Result<Tensor, TensorError> + Send;

/// How an operation is computed again.
pub(crate) struct Again {
    /// Tensors that are no parents, as masks and indices.
    others: Vec<Tensor>,
    compute: Box<Compute>,
}

/// Computes an operation again from its parents and `others`: by the method that recorded it, so that
/// the same is recorded.
pub(crate) fn again(
    others: &[&Tensor],
    compute: impl Fn(&[Tensor], &[Tensor]) -> Result<Tensor, TensorError> + Send + 'static,
) -> Again {
    Again {
        others: others.iter().copied().cloned().collect(),
        compute: Box::new(compute),
    }
}

/// An operation of a segment that has not been computed again yet. Its node keeps the parents that are
/// not tracked, in their order, and then the others.
pub(super) struct Postponed {
    segment: u32,
    compute: Box<Compute>,
}

/// Operations that are computed again together.
pub(super) struct Segment {
    /// What separates it from the next.
    name: String,
    /// The number of its first operation.
    first: u32,
    /// Values from outside.
    inputs: HashMap<u32, Tensor>,
}

impl Tape {
    /// From now on the operations of each segment keep nothing for their gradients; the backward pass
    /// computes them again. A segment is what is recorded from one layer's first parameter to the next's:
    /// see [`Scope`](crate::nn::Scope).
    pub fn recompute(&self, on: bool) {
        self.shared().again.store(on, Ordering::Relaxed);
    }

    /// What follows belongs to no segment.
    pub fn end_segment(&self) {
        self.segment(None);
    }

    /// What follows belongs to the segment `name`, until another name or none is given.
    pub(crate) fn segment(&self, name: Option<&str>) {
        if !self.shared().again.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.shared().state.lock();
        let state = &mut *state;
        let Some(name) = name else {
            state.segment = None;
            return;
        };
        let current = state.segment.and_then(|at| state.segments.get(at as usize));
        if current.is_some_and(|segment| segment.name == name) {
            return;
        }
        state.segment = Some(state.segments.len() as u32);
        state.segments.push(Segment {
            name: name.to_owned(),
            first: state.nodes.len() as u32,
            inputs: HashMap::new(),
        });
    }

    /// The segment that has to be computed again before the backward of the node at `index` can run.
    pub(super) fn segment_to_compute(&self, index: usize) -> Option<u32> {
        match &self.shared().state.lock().nodes.get(index)?.step {
            Step::Again(postponed) => Some(postponed.segment),
            _ => None,
        }
    }

    /// Computes the segment once more, and gives its operations what their gradients need.
    pub(super) fn compute_again(&self, segment: u32) -> Result<(), TensorError> {
        // All of them are counted until the segment is as if it had been recorded in full.
        let (operations, mut values) = self.take_segment(segment);
        let mut found = Vec::with_capacity(operations.len());
        for operation in operations {
            let Operation { index, name, .. } = operation;
            let (value, saved, run) = operation
                .run(&values)
                .map_err(|error| super::backward::named(name, error))?;
            self.shared().state.lock().held.add(&value);
            values.insert(index, value);
            found.push((index, saved, run));
        }
        let mut state = self.shared().state.lock();
        let State { nodes, held, .. } = &mut *state;
        for (index, saved, run) in found {
            let Some(node) = nodes.get_mut(index as usize) else {
                return Err(super::closed("backward"));
            };
            saved.iter().for_each(|tensor| held.add(tensor));
            node.saved = saved;
            node.step = Step::Operation(run);
        }
        values.values().for_each(|tensor| held.remove(tensor));
        Ok(())
    }

    /// The segment's operations, which are no longer the tape's, and its inputs, which still count.
    fn take_segment(&self, segment: u32) -> (Vec<Operation>, HashMap<u32, Tensor>) {
        let mut state = self.shared().state.lock();
        let State {
            nodes,
            held,
            segments,
            ..
        } = &mut *state;
        let Some(found) = segments.get_mut(segment as usize) else {
            return (Vec::new(), HashMap::new());
        };
        let inputs = std::mem::take(&mut found.inputs);
        let mut operations = Vec::new();
        for (index, node) in nodes.iter_mut().enumerate().skip(found.first as usize) {
            match std::mem::replace(&mut node.step, Step::Spent) {
                Step::Again(postponed) if postponed.segment == segment => {
                    let saved = std::mem::take(&mut node.saved);
                    saved.iter().for_each(|tensor| held.remove(tensor));
                    operations.push(Operation {
                        index: index as u32,
                        name: node.name,
                        parents: node.parents.clone(),
                        saved,
                        compute: postponed.compute,
                    });
                }
                step => node.step = step,
            }
        }
        (operations, inputs)
    }
}

/// An operation to be computed again.
struct Operation {
    index: u32,
    name: &'static str,
    parents: SmallVec<[u32; 4]>,
    saved: Vec<Tensor>,
    compute: Box<Compute>,
}

impl Operation {
    /// The output, and what the gradient needs.
    fn run(self, values: &HashMap<u32, Tensor>) -> Result<(Tensor, Vec<Tensor>, Run), TensorError> {
        let failed = |why: &str| TensorError::Failed(format!("could not be computed again: {why}"));
        let tape = Tape::new();
        let mut saved = self.saved.into_iter();
        let mut inputs = Vec::with_capacity(self.parents.len());
        for parent in &self.parents {
            inputs.push(match *parent {
                UNTRACKED => saved.next(),
                parent => values.get(&parent).map(|x| tape.leaf(x)).transpose()?,
            });
        }
        let inputs: Option<Vec<Tensor>> = inputs.into_iter().collect();
        let inputs = inputs.ok_or_else(|| failed("an input is missing"))?;
        let others: Vec<Tensor> = saved.collect();
        let value = (self.compute)(&inputs, &others)?.detach()?;
        let mut state = tape.shared().state.lock();
        let state = &mut *state;
        let recorded = state
            .nodes
            .iter()
            .filter(|node| !matches!(node.step, Step::Leaf));
        if recorded.count() != 1 {
            return Err(failed("it recorded not one operation"));
        }
        match state.nodes.pop() {
            Some(Node {
                step: Step::Operation(run),
                saved,
                parents,
                ..
            }) if parents.len() == self.parents.len() => Ok((value, saved, run)),
            _ => Err(failed("it recorded another operation")),
        }
    }
}

/// As [`record`](super::record) for an operation that can be computed again, as `again` says, where that
/// is wanted.
///
/// # Errors
/// As [`record`](super::record).
#[inline]
pub(crate) fn record_again<F>(
    name: &'static str,
    out: Tensor,
    parents: &[&Tensor],
    saved: impl FnOnce(&Tensor) -> Vec<Tensor>,
    run: F,
    again: impl FnOnce() -> Again,
) -> Result<Tensor, TensorError>
where
    F: FnOnce(Backward<'_>) -> Result<InputGradients, TensorError> + Send + 'static,
{
    let Some(node) = parents.iter().find_map(|parent| parent.node()) else {
        return Ok(out);
    };
    if node.tape.again.load(Ordering::Relaxed) && out.dtype().is_float() {
        let segment = node.tape.state.lock().segment;
        if let Some(segment) = segment {
            return append_postponed(name, out, parents, &node.tape, segment, again());
        }
    }
    super::record(name, out, parents, saved, run)
}

fn append_postponed(
    name: &'static str,
    out: Tensor,
    parents: &[&Tensor],
    tape: &Arc<Shared>,
    segment: u32,
    again: Again,
) -> Result<Tensor, TensorError> {
    // Before any of their numbers is looked up among this tape's.
    let foreign = |parent: &&Tensor| {
        let node = parent.node();
        node.is_some_and(|node| !Arc::ptr_eq(&node.tape, tape))
    };
    if parents.iter().any(foreign) {
        return Err(super::foreign(name));
    }
    let mut saved = Vec::new();
    for parent in parents.iter().filter(|parent| parent.node().is_none()) {
        saved.push(parent.detach()?);
    }
    for other in &again.others {
        saved.push(other.detach()?);
    }
    {
        let mut state = tape.state.lock();
        let State {
            nodes,
            held,
            segments,
            ..
        } = &mut *state;
        let inputs = segments.get_mut(segment as usize).map(|s| &mut s.inputs);
        if let Some(inputs) = inputs {
            for parent in parents {
                let Some(NodeRef { index, .. }) = parent.node() else {
                    continue;
                };
                let inside = nodes.get(*index as usize).is_some_and(
                    |node| matches!(&node.step, Step::Again(postponed) if postponed.segment == segment),
                );
                if !inside && !inputs.contains_key(index) {
                    let value = parent.detach()?;
                    held.add(&value);
                    inputs.insert(*index, value);
                }
            }
        }
    }
    let postponed = Postponed {
        segment,
        compute: again.compute,
    };
    append(name, out, parents, tape, saved, Step::Again(postponed))
}
