//! Gradients by a tape: every operation on a tracked tensor appends a node with what its backward
//! needs, and [`Tape::backward`] runs the nodes in reverse. The tape owns all it keeps: when its
//! last handle goes or it is closed, everything is freed, whatever the tensors' owners hold.

mod again;
mod finite;
mod gradients;
mod memory;
mod pending;

use std::{
    cell::Cell,
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use parking_lot::Mutex;
use smallvec::SmallVec;

pub(crate) use self::again::{again, record_again};
pub(crate) use self::pending::Place;
use self::{
    again::{Postponed, Segment},
    finite::note,
    memory::Held,
    pending::Pending,
};
pub use self::{finite::NonFinite, gradients::Gradients};
use crate::{DType, Tensor, TensorError, dims::Dims};

/// Stands for a parent that is not tracked.
const UNTRACKED: u32 = u32::MAX;

/// What a node's backward gets.
pub(crate) struct Backward<'a> {
    /// The tensors that were saved, in their order.
    pub saved: Vec<Tensor>,
    /// The gradient of the operation's output.
    pub grad: Tensor,
    parents: &'a [u32],
    place: &'a Cell<Option<Place>>,
}

impl Backward<'_> {
    /// Whether the gradient of the `index`-th input is needed.
    pub fn wants(&self, index: usize) -> bool {
        self.parents
            .get(index)
            .is_some_and(|parent| *parent != UNTRACKED)
    }

    /// Says that the gradient of the only input is that of a part of it, and 0 elsewhere.
    pub fn is_part(&self, axis: usize, start: usize) {
        self.place.set(Some(Place { axis, start }));
    }

    /// The gradient of the `index`-th input, computed only if it is needed.
    pub fn when(
        &self,
        index: usize,
        make: impl FnOnce() -> Result<Tensor, TensorError>,
    ) -> Result<Option<Tensor>, TensorError> {
        self.wants(index).then(make).transpose()
    }
}

/// The gradients of an operation's inputs, in their order; nothing for those not needed.
pub(crate) type InputGradients = Vec<Option<Tensor>>;

type Run = Box<dyn FnOnce(Backward<'_>) -> Result<InputGradients, TensorError> + Send>;

enum Step {
    Leaf,
    Operation(Run),
    /// To be computed again before its backward can run.
    Again(Postponed),
    /// Its backward has run.
    Spent,
}

struct Node {
    name: &'static str,
    shape: Dims,
    dtype: DType,
    parents: SmallVec<[u32; 4]>,
    saved: Vec<Tensor>,
    step: Step,
}

#[derive(Default)]
struct State {
    nodes: Vec<Node>,
    held: Held,
    closed: bool,
    segments: Vec<Segment>,
    /// The one that is being recorded.
    segment: Option<u32>,
    non_finite: Option<NonFinite>,
}

/// What the handles of a tape and its tensors share.
#[derive(Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    trace: AtomicBool,
    autocast: AtomicU8,
    again: AtomicBool,
}

impl Shared {
    fn close(&self) {
        let kept = {
            let mut state = self.state.lock();
            state.closed = true;
            (
                std::mem::take(&mut state.nodes),
                std::mem::take(&mut state.segments),
                std::mem::take(&mut state.held),
            )
        };
        // Outside the lock: freeing may take its time.
        drop(kept);
    }
}

/// Closes the tape when the last handle goes.
#[derive(Default)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A tensor's place on a tape.
#[derive(Clone)]
pub(crate) struct NodeRef {
    tape: Arc<Shared>,
    index: u32,
}

/// Records operations on its leaves and gives their gradients. A clone is another handle. When the
/// last handle goes, everything recorded is freed, even while tracked tensors live on; operations on
/// those fail from then on, reading them does not.
#[derive(Clone, Default)]
pub struct Tape(Arc<Owner>);

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared().state.lock();
        f.debug_struct("Tape")
            .field("operations", &state.nodes.len())
            .field("saved_bytes", &state.held.bytes())
            .field("closed", &state.closed)
            .finish()
    }
}

impl Tape {
    /// An empty tape.
    pub fn new() -> Self {
        Self::default()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// A handle to the tensor's value whose gradient [`Self::backward`] will give.
    ///
    /// # Errors
    /// `InvalidArgument` unless the tensor is floating-point, and on a closed tape.
    pub fn leaf(&self, tensor: &Tensor) -> Result<Tensor, TensorError> {
        if !tensor.dtype().is_float() {
            return Err(TensorError::InvalidArgument(format!(
                "leaf: only floating-point tensors have gradients, not {}",
                tensor.dtype()
            )));
        }
        let node = Node {
            name: "leaf",
            shape: tensor.dims(),
            dtype: tensor.dtype(),
            parents: SmallVec::new(),
            saved: Vec::new(),
            step: Step::Leaf,
        };
        let index = push(self.shared(), node)?;
        Ok(tensor.with_node(Some(NodeRef {
            tape: self.shared().clone(),
            index,
        })))
    }

    /// The gradients of `loss`, a tensor with one element, with respect to the leaves that it
    /// depends on. What the backward pass needed is freed as it goes, so each operation can be run
    /// backwards once.
    ///
    /// # Errors
    /// `InvalidArgument` when the loss is not of this tape, has more than one element, or was used
    /// already; the error of an operation with its name.
    pub fn backward(&self, loss: &Tensor) -> Result<Gradients, TensorError> {
        let shared = self.shared();
        let invalid = |text: String| TensorError::InvalidArgument(format!("backward: {text}"));
        let node = loss
            .node()
            .filter(|node| Arc::ptr_eq(&node.tape, shared))
            .ok_or_else(|| {
                invalid(
                    "the loss does not depend on a leaf of this tape; make leaves with `leaf`"
                        .into(),
                )
            })?;
        if loss.numel() != 1 {
            return Err(invalid(format!(
                "the loss has the shape {:?}, but a single number is needed; use sum or mean",
                loss.shape()
            )));
        }
        let seed = Tensor::ones(loss.shape(), loss.dtype(), &loss.device())?;
        let last = node.index as usize;
        let mut pending: Vec<Pending> = Vec::new();
        pending.resize_with(last + 1, Pending::default);
        pending[last] = Pending::of(seed);
        let mut leaves = HashMap::new();
        for index in (0..=last).rev() {
            let shape = self.shape_of(index)?;
            let sum = std::mem::take(&mut pending[index]).finish(&shape);
            let Some(grad) = sum.map_err(|error| named("narrow", error))? else {
                continue;
            };
            if let Some(segment) = self.segment_to_compute(index) {
                self.compute_again(segment)?;
            }
            let Some(step) = self.take_step(index)? else {
                leaves.insert(index as u32, grad);
                continue;
            };
            let (name, parents, saved, run) = step;
            let place = Cell::new(None);
            let context = Backward {
                saved,
                grad,
                parents: &parents,
                place: &place,
            };
            let gradients = run(context).map_err(|error| named(name, error))?;
            for (parent, gradient) in parents.iter().zip(gradients) {
                if let (false, Some(gradient)) = (*parent == UNTRACKED, gradient) {
                    self.check(name, *parent, &gradient, place.get(), index)?;
                    pending[*parent as usize].add(gradient, place.get())?;
                }
            }
        }
        Ok(Gradients {
            tape: shared.clone(),
            leaves,
        })
    }

    /// What the node at `index` keeps, or nothing for a leaf. Its memory is no longer the tape's.
    #[allow(clippy::type_complexity)]
    fn take_step(
        &self,
        index: usize,
    ) -> Result<Option<(&'static str, SmallVec<[u32; 4]>, Vec<Tensor>, Run)>, TensorError> {
        let mut state = self.shared().state.lock();
        let state = &mut *state;
        let Some(node) = state.nodes.get_mut(index) else {
            return Err(closed("backward"));
        };
        if matches!(node.step, Step::Leaf) {
            return Ok(None);
        }
        match std::mem::replace(&mut node.step, Step::Spent) {
            Step::Operation(run) => {
                let saved = std::mem::take(&mut node.saved);
                saved.iter().for_each(|tensor| state.held.remove(tensor));
                Ok(Some((
                    node.name,
                    std::mem::take(&mut node.parents),
                    saved,
                    run,
                )))
            }
            _ => Err(TensorError::InvalidArgument(format!(
                "backward: `{}` was run backwards already; record the forward pass again",
                node.name
            ))),
        }
    }

    fn shape_of(&self, index: usize) -> Result<Dims, TensorError> {
        let state = self.shared().state.lock();
        let node = state.nodes.get(index).ok_or_else(|| closed("backward"))?;
        Ok(node.shape)
    }

    /// A gradient must look like the value that it belongs to, or like a part of it.
    fn check(
        &self,
        name: &'static str,
        parent: u32,
        gradient: &Tensor,
        place: Option<Place>,
        index: usize,
    ) -> Result<(), TensorError> {
        {
            let state = self.shared().state.lock();
            let node = state
                .nodes
                .get(parent as usize)
                .ok_or_else(|| closed("backward"))?;
            let mut shape = node.shape;
            if let Some(Place { axis, start }) = place {
                shape[axis] = gradient.shape()[axis].min(shape[axis].saturating_sub(start));
            }
            if *gradient.shape() != *shape || gradient.dtype() != node.dtype {
                return Err(TensorError::Failed(format!(
                    "backward of {name}: a gradient is {:?} {}, but `{}` gave {:?} {}",
                    gradient.shape(),
                    gradient.dtype(),
                    node.name,
                    node.shape,
                    node.dtype
                )));
            }
        }
        if self.shared().trace.load(Ordering::Relaxed) {
            let (nan, infinite) = gradient.non_finite_kinds()?;
            note(self.shared(), nan || infinite, name, index, true);
        }
        Ok(())
    }

    /// The most that [`Self::saved_bytes`] ever was.
    pub fn peak_bytes(&self) -> usize {
        self.shared().state.lock().held.peak()
    }

    /// Bytes of memory that the tape keeps for the backward pass. Memory that several operations
    /// need is counted once; parameters that an operation needs again are included.
    pub fn saved_bytes(&self) -> usize {
        self.shared().state.lock().held.bytes()
    }

    /// Operations and leaves recorded.
    pub fn len(&self) -> usize {
        self.shared().state.lock().nodes.len()
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Frees everything that the tape keeps, even while tracked tensors live on; operations on those
    /// fail from then on.
    pub fn close(&self) {
        self.shared().close();
    }

    /// From now on looks at every output and gradient for NaN and infinity; see
    /// [`Self::non_finite`]. This waits for the device after every operation: for finding a fault,
    /// not for every step.
    pub fn trace_non_finite(&self, on: bool) {
        self.shared().trace.store(on, Ordering::Relaxed);
    }

    /// From now on matrix products and convolutions of float32 tensors of which one is tracked here are
    /// computed in `dtype` (bfloat16 or float16), and their gradients too; what they give is float32
    /// again, as everything else is. Nothing: in float32.
    pub fn autocast(&self, dtype: Option<DType>) {
        let code = match dtype {
            Some(DType::BF16) => 1,
            Some(DType::F16) => 2,
            _ => 0,
        };
        self.shared().autocast.store(code, Ordering::Relaxed);
    }

    /// The first recorded operation whose output was not finite, since tracing was turned on.
    /// Infinities that are put in on purpose, as in masks, do not count.
    pub fn non_finite(&self) -> Option<NonFinite> {
        self.shared().state.lock().non_finite.clone()
    }
}

/// The type in which a product of these is to be computed, where that is another than theirs.
#[inline]
pub(crate) fn autocast(tensors: [&Tensor; 2]) -> Option<DType> {
    let node = tensors.iter().find_map(|tensor| tensor.node())?;
    let dtype = match node.tape.autocast.load(Ordering::Relaxed) {
        0 => return None,
        1 => DType::BF16,
        _ => DType::F16,
    };
    let single = tensors.iter().all(|tensor| tensor.dtype() == DType::F32);
    single.then_some(dtype)
}

/// Appends a node and gives its number.
fn push(tape: &Arc<Shared>, node: Node) -> Result<u32, TensorError> {
    let mut state = tape.state.lock();
    if state.closed {
        return Err(closed(node.name));
    }
    let index = u32::try_from(state.nodes.len())
        .ok()
        .filter(|index| *index != UNTRACKED);
    let index = index.ok_or_else(|| {
        TensorError::OutOfQuota(format!(
            "{}: the tape has no room for more operations",
            node.name
        ))
    })?;
    let State { nodes, held, .. } = &mut *state;
    node.saved.iter().for_each(|tensor| held.add(tensor));
    nodes.push(node);
    Ok(index)
}

#[cold]
fn foreign(name: &str) -> TensorError {
    TensorError::InvalidArgument(format!(
        "{name}: the tensors are tracked by different tapes; detach one of them"
    ))
}

#[cold]
fn closed(what: &str) -> TensorError {
    TensorError::InvalidArgument(format!(
        "{what}: the tape of this tensor is closed; its value can be read, and used after `detach`"
    ))
}

#[cold]
fn named(name: &str, error: TensorError) -> TensorError {
    let say = |text: String| format!("backward of {name}: {text}");
    match error {
        TensorError::ShapeMismatch(text) => TensorError::ShapeMismatch(say(text)),
        TensorError::Unsupported(text) => TensorError::Unsupported(say(text)),
        TensorError::OutOfMemory(text) => TensorError::OutOfMemory(say(text)),
        TensorError::OutOfQuota(text) => TensorError::OutOfQuota(say(text)),
        TensorError::InvalidArgument(text) => TensorError::InvalidArgument(say(text)),
        TensorError::Failed(text) => TensorError::Failed(say(text)),
    }
}

/// Records that `out` was computed from `parents`, if one of these is tracked; gives `out`, tracked
/// then. Every operation ends with this, and other modules' fused operations do too.
///
/// `saved` names what the backward needs, given the output; the tape keeps and counts these. `run`
/// gets them back with the output's gradient and gives the gradients of the parents in their order,
/// each of its parent's shape and type. It should capture no tensors of its own: they would not be
/// counted.
///
/// # Errors
/// `InvalidArgument` when the parents are of several tapes or of a closed one.
#[inline]
pub(crate) fn record<F>(
    name: &'static str,
    out: Tensor,
    parents: &[&Tensor],
    saved: impl FnOnce(&Tensor) -> Vec<Tensor>,
    run: F,
) -> Result<Tensor, TensorError>
where
    F: FnOnce(Backward<'_>) -> Result<InputGradients, TensorError> + Send + 'static,
{
    let Some(tape) = parents.iter().find_map(|parent| parent.node()) else {
        return Ok(out);
    };
    if !out.dtype().is_float() {
        return Ok(out);
    }
    let mut saved = saved(&out);
    for tensor in &mut saved {
        tensor.untrack();
    }
    let step = Step::Operation(Box::new(run));
    append(name, out, parents, &tape.tape, saved, step)
}

fn append(
    name: &'static str,
    out: Tensor,
    parents: &[&Tensor],
    tape: &Arc<Shared>,
    saved: Vec<Tensor>,
    step: Step,
) -> Result<Tensor, TensorError> {
    let mut numbers = SmallVec::new();
    for parent in parents {
        numbers.push(match parent.node() {
            Some(node) if Arc::ptr_eq(&node.tape, tape) => node.index,
            Some(_) => return Err(foreign(name)),
            None => UNTRACKED,
        });
    }
    let node = Node {
        name,
        shape: out.dims(),
        dtype: out.dtype(),
        parents: numbers,
        saved,
        step,
    };
    let index = push(tape, node)?;
    if tape.trace.load(Ordering::Relaxed) {
        let (nan, infinite) = out.non_finite_kinds()?;
        let mut bad = nan;
        if infinite && !nan {
            bad = name != "masked_fill";
            for parent in parents.iter().filter(|parent| parent.dtype().is_float()) {
                bad &= !parent.non_finite_kinds()?.1;
            }
        }
        note(tape, bad, name, index as usize, false);
    }
    Ok(out.with_node(Some(NodeRef {
        tape: tape.clone(),
        index,
    })))
}

#[cfg(test)]
mod tests;
