//! What a backward pass gives.

use std::{collections::HashMap, fmt, sync::Arc};

use super::Shared;
use crate::Tensor;

/// The gradients that a backward pass found.
pub struct Gradients {
    pub(super) tape: Arc<Shared>,
    pub(super) leaves: HashMap<u32, Tensor>,
}

impl Gradients {
    fn key(&self, leaf: &Tensor) -> Option<u32> {
        let node = leaf.node()?;
        Arc::ptr_eq(&node.tape, &self.tape).then_some(node.index)
    }

    /// The gradient of a leaf, which is removed; nothing when the loss does not depend on it.
    pub fn take(&mut self, leaf: &Tensor) -> Option<Tensor> {
        let key = self.key(leaf)?;
        self.leaves.remove(&key)
    }

    /// The gradient of a leaf; nothing when the loss does not depend on it.
    pub fn get(&self, leaf: &Tensor) -> Option<&Tensor> {
        self.leaves.get(&self.key(leaf)?)
    }

    /// How many leaves have a gradient.
    pub fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Whether no leaf has a gradient.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }
}

impl fmt::Debug for Gradients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gradients")
            .field("leaves", &self.leaves.len())
            .finish()
    }
}
