//! Tensors by name: what goes into a model and what comes out.

use super::Named;
use crate::{Error, Result, tensor::Tensor};

/// Tensors by name.
#[derive(Debug, Default)]
pub struct Tensors(Vec<Named>);

impl Tensors {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: Tensor) -> Self {
        self.0.push(Named {
            name: name.into(),
            value,
        });
        self
    }

    /// The tensor of that name, if this stage has it.
    pub fn find(&self, name: &str) -> Option<&Tensor> {
        self.0
            .iter()
            .find(|named| named.name == name)
            .map(|named| &named.value)
    }

    /// The tensor of that name.
    ///
    /// # Errors
    /// There is none; the message names those that are.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.find(name).ok_or_else(|| {
            let names: Vec<&str> = self.0.iter().map(|named| named.name.as_str()).collect();
            Error::invalid(format!("there is no tensor {name:?}; there are {names:?}"))
        })
    }
}

impl From<Vec<Named>> for Tensors {
    fn from(tensors: Vec<Named>) -> Self {
        Self(tensors)
    }
}

impl From<Tensors> for Vec<Named> {
    fn from(tensors: Tensors) -> Self {
        tensors.0
    }
}
