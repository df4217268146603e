//! Gradients by a tape: every operation on a tracked tensor appends a node with what its backward
//! needs, and [`Tape::backward`] runs the nodes in reverse. The tape owns all it keeps: when its
//! last handle goes or it is closed, everything is freed, whatever the tensors' owners hold.

mod again;
mod backward;
mod finite;
mod gradients;
mod memory;
mod pending;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use parking_lot::Mutex;
use smallvec::SmallVec;

use self::{
    again::{Postponed, Segment},
    finite::note,
    memory::Held,
};
pub(crate) use self::{
    again::{again, record_again},
    backward::Backward,
    pending::Place,
};
pub use self::{finite::NonFinite, gradients::Gradients};
use crate::{DType, Tensor, TensorError, dims::Dims};

/// Stands for a parent that is not tracked.
const UNTRACKED: u32 = u32::MAX;

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
    /// The type in which its backward uses the gradient.
    taken: DType,
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
            taken: tensor.dtype(),
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

/// Records that `out` was computed from `parents`, if one of these is tracked; gives `out`, tracked
/// then. Every operation ends with this, and other modules' fused operations do too.
///
/// `saved` names what the backward needs, given the output; the tape keeps and counts these. `run`
/// gets them back with the output's gradient and gives the gradients of the parents in their order,
/// each of its parent's shape, and of its type or the one in which that takes it. It should capture
/// no tensors of its own: they would not be
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
        taken: out.dtype(),
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
