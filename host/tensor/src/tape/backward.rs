//! The backward pass over a tape.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use smallvec::SmallVec;

use super::{Gradients, Place, Run, Step, Tape, UNTRACKED, closed, finite::note, pending::Pending};
use crate::{DType, Tensor, TensorError, dims::Dims};

/// What a node's backward gets.
pub(crate) struct Backward<'a> {
    /// The tensors that were saved, in their order.
    pub saved: Vec<Tensor>,
    /// The gradient of the operation's output, in its type or the one of [`Tensor::takes_gradient_in`].
    pub grad: Tensor,
    parents: &'a [u32],
    taken: &'a [DType],
    place: &'a Cell<Option<Place>>,
}

impl Backward<'_> {
    /// Whether the gradient of the `index`-th input is needed.
    pub fn wants(&self, index: usize) -> bool {
        self.parents
            .get(index)
            .is_some_and(|parent| *parent != UNTRACKED)
    }

    /// The type in which the gradient of the `index`-th input is best given: the one in which it will be
    /// used. That of the input itself does, too.
    pub fn taken(&self, index: usize) -> DType {
        self.taken
            .get(index)
            .copied()
            .unwrap_or_else(|| self.grad.dtype())
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

/// What is left of a node to run backwards.
struct Ready {
    name: &'static str,
    parents: SmallVec<[u32; 4]>,
    /// The types in which the parents take their gradients.
    taken: SmallVec<[DType; 4]>,
    saved: Vec<Tensor>,
    run: Run,
}

impl Tape {
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
            let (shape, dtype) = self.kind_of(index)?;
            let sum = std::mem::take(&mut pending[index]).finish(&shape, dtype);
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
            let name = step.name;
            let place = Cell::new(None);
            let context = Backward {
                saved: step.saved,
                grad,
                parents: &step.parents,
                taken: &step.taken,
                place: &place,
            };
            let gradients = (step.run)(context).map_err(|error| named(name, error))?;
            for (parent, gradient) in step.parents.iter().zip(gradients) {
                if let (false, Some(gradient)) = (*parent == UNTRACKED, gradient) {
                    let dtype = self.check(name, *parent, &gradient, place.get(), index)?;
                    pending[*parent as usize].add(gradient, place.get(), dtype)?;
                }
            }
        }
        Ok(Gradients {
            tape: shared.clone(),
            leaves,
        })
    }

    /// What the node at `index` keeps, or nothing for a leaf. Its memory is no longer the tape's.
    fn take_step(&self, index: usize) -> Result<Option<Ready>, TensorError> {
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
                let (name, saved) = (node.name, std::mem::take(&mut node.saved));
                saved.iter().for_each(|tensor| state.held.remove(tensor));
                let parents = std::mem::take(&mut node.parents);
                let of = |parent: &u32| state.nodes.get(*parent as usize);
                let taken = parents
                    .iter()
                    .map(|parent| of(parent).map_or(DType::F32, |node| node.taken))
                    .collect();
                Ok(Some(Ready {
                    name,
                    parents,
                    taken,
                    saved,
                    run,
                }))
            }
            _ => Err(TensorError::InvalidArgument(format!(
                "backward: `{}` was run backwards already; record the forward pass again",
                node.name
            ))),
        }
    }

    fn kind_of(&self, index: usize) -> Result<(Dims, DType), TensorError> {
        let state = self.shared().state.lock();
        let node = state.nodes.get(index).ok_or_else(|| closed("backward"))?;
        Ok((node.shape, node.dtype))
    }

    /// A gradient must look like the value that it belongs to, or like a part of it. Gives that value's type.
    fn check(
        &self,
        name: &'static str,
        parent: u32,
        gradient: &Tensor,
        place: Option<Place>,
        index: usize,
    ) -> Result<DType, TensorError> {
        let dtype = {
            let state = self.shared().state.lock();
            let node = state
                .nodes
                .get(parent as usize)
                .ok_or_else(|| closed("backward"))?;
            let mut shape = node.shape;
            if let Some(Place { axis, start }) = place {
                shape[axis] = gradient.shape()[axis].min(shape[axis].saturating_sub(start));
            }
            let fits = [node.dtype, node.taken].contains(&gradient.dtype());
            if *gradient.shape() != *shape || !fits {
                return Err(TensorError::Failed(format!(
                    "backward of {name}: a gradient is {:?} {}, but `{}` gave {:?} {}",
                    gradient.shape(),
                    gradient.dtype(),
                    node.name,
                    node.shape,
                    node.dtype
                )));
            }
            node.dtype
        };
        if self.shared().trace.load(Ordering::Relaxed) {
            let (nan, infinite) = gradient.non_finite_kinds()?;
            note(self.shared(), nan || infinite, name, index, true);
        }
        Ok(dtype)
    }
}

impl Tensor {
    /// Says that the backward of the operation that gave this float32 tensor uses the gradient in another
    /// type: whoever computes that may give it so at once ([`Backward::taken`]).
    pub(crate) fn takes_gradient_in(self, dtype: Option<DType>) -> Self {
        if let (Some(dtype), Some(node)) = (dtype, self.node())
            && let Some(node) = node.tape.state.lock().nodes.get_mut(node.index as usize)
        {
            node.taken = dtype;
        }
        self
    }

    /// Says that the backward of the operation that gave this tensor does no more than hand the gradient on
    /// to `source`.
    pub(crate) fn takes_gradient_as(self, source: &Tensor) -> Self {
        if let (Some(node), Some(source)) = (self.node(), source.node())
            && node.tape.autocast.load(Ordering::Relaxed) != 0
        {
            let mut state = node.tape.state.lock();
            if let Some(taken) = state
                .nodes
                .get(source.index as usize)
                .map(|node| node.taken)
                && let Some(node) = state.nodes.get_mut(node.index as usize)
            {
                node.taken = taken;
            }
        }
        self
    }
}

#[cold]
pub(super) fn named(name: &str, error: TensorError) -> TensorError {
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
