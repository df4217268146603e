//! The triangles of matrices.

use crate::{DType, Tensor, TensorError, tape::record};

impl Tensor {
    /// Keeps the lower triangle of the last two dimensions, up to the `diagonal`-th diagonal (0 the
    /// main one, above it positive); the rest becomes 0.
    ///
    /// # Errors
    /// `ShapeMismatch` for fewer than two dimensions.
    pub fn tril(&self, diagonal: i32) -> Result<Tensor, TensorError> {
        self.triangle("tril", move |row, col| col - row <= i64::from(diagonal))
    }

    /// Keeps the upper triangle of the last two dimensions, from the `diagonal`-th diagonal on; the
    /// rest becomes 0.
    ///
    /// # Errors
    /// `ShapeMismatch` for fewer than two dimensions.
    pub fn triu(&self, diagonal: i32) -> Result<Tensor, TensorError> {
        self.triangle("triu", move |row, col| col - row >= i64::from(diagonal))
    }

    fn triangle(
        &self,
        name: &'static str,
        keep: impl Fn(i64, i64) -> bool,
    ) -> Result<Tensor, TensorError> {
        let &[.., rows, cols] = self.shape() else {
            return Err(TensorError::ShapeMismatch(format!(
                "{name}: {:?} has no matrix; at least two dimensions are needed",
                self.shape()
            )));
        };
        let hidden: Vec<u8> = (0..rows as i64)
            .flat_map(|row| (0..cols as i64).map(move |col| (row, col)))
            .map(|(row, col)| u8::from(!keep(row, col)))
            .collect();
        let hidden = Tensor::from_bytes(&[rows, cols], DType::Bool, &hidden, &self.device())?;
        let out = self.detach()?.masked_fill(&hidden, 0.0)?;
        record(
            name,
            out,
            &[self],
            |_| vec![hidden],
            |context| {
                Ok(vec![Some(
                    context.grad.masked_fill(&context.saved[0], 0.0)?,
                )])
            },
        )
    }
}
