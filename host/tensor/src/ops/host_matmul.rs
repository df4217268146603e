//! Matrix products of float32 in main memory, over views without copies.

use super::common::{expanded, host};
use crate::{
    Tensor, TensorError,
    cpu::{self, Matrix},
    dims::Dims,
    raw,
};

/// The products of the matrices of two tensors, of `shape`; nothing where there is no kernel for it.
pub(super) fn product(a: &Tensor, b: &Tensor, shape: Dims) -> Result<Option<Tensor>, TensorError> {
    if !raw::is_host_f32(a) {
        return Ok(None);
    }
    let rank = shape.len();
    let (m, n) = (shape[rank - 2], shape[rank - 1]);
    let k = a.shape()[a.rank() - 1];
    let batch: usize = shape[..rank - 2].iter().product();
    let (a, b) = (Batch::new(a, &shape)?, Batch::new(b, &shape)?);
    let (a, b) = (a.matrices(), b.matrices());
    Ok(Some(host(shape, |c| match batch {
        1 => cpu::matmul(m, n, k, a.0, b.0, 0.0, c),
        _ => cpu::matmul_batched(batch, m, n, k, a, b, 0.0, c),
    })))
}

/// x · weightᵀ + bias for matrices; nothing where there is no kernel for it.
pub(super) fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
) -> Result<Option<Tensor>, TensorError> {
    if !raw::is_host_f32(x) {
        return Ok(None);
    }
    let (rows, inputs, outputs) = (x.shape()[0], x.shape()[1], weight.shape()[0]);
    if rows == 0 || inputs == 0 || outputs == 0 {
        return Ok(None);
    }
    let shape = Dims::from_slice(&[rows, outputs]).unwrap_or(Dims::new());
    let (x, w) = (Batch::new(x, &shape)?, Batch::new(weight, &shape)?);
    let bias = raw::f32s(bias)?;
    Ok(Some(host(shape, |out| {
        let (x, w) = (x.matrices().0, w.matrices().0);
        cpu::matmul_bias(rows, outputs, inputs, x, w.t(), &bias, out);
    })))
}

/// A tensor whose matrices are one stride apart.
struct Batch {
    tensor: Tensor,
    /// Of the matrices, the rows and the columns.
    strides: [usize; 3],
}

impl Batch {
    /// `x` broadcast to the leading dimensions of `shape`; copied where its memory is too scattered.
    fn new(x: &Tensor, shape: &Dims) -> Result<Self, TensorError> {
        let rank = x.rank();
        let mut full = Dims::new();
        shape[..shape.len() - 2]
            .iter()
            .for_each(|dim| full.push(*dim));
        x.shape()[rank - 2..].iter().for_each(|dim| full.push(*dim));
        // One matrix for all stays one.
        let shared = x.shape()[..rank - 2].iter().all(|dim| *dim == 1);
        let view = if shared {
            x.detach()?
        } else {
            expanded(x, full)?
        };
        if let Some(strides) = Self::strides(&view, shared) {
            return Ok(Self {
                tensor: view,
                strides,
            });
        }
        let tensor = raw::contiguous(&view);
        let (rows, cols) = (
            tensor.shape()[tensor.rank() - 2],
            tensor.shape()[tensor.rank() - 1],
        );
        Ok(Self {
            tensor,
            strides: [rows * cols, cols, 1],
        })
    }

    fn strides(x: &Tensor, shared: bool) -> Option<[usize; 3]> {
        let strided = raw::strided(x)?;
        let rank = x.rank();
        let stride = |axis: usize| usize::try_from(strided.strides[axis]).ok();
        let (rows, cols) = (stride(rank - 2)?, stride(rank - 1)?);
        if shared {
            return Some([0, rows, cols]);
        }
        // The leading dimensions as one: each stride is the next one times the next size.
        let mut inner: Option<(usize, usize)> = None;
        for axis in (0..rank - 2).rev() {
            let (size, step) = (x.shape()[axis], stride(axis)?);
            if size == 1 {
                continue;
            }
            inner = match inner {
                None => Some((step, step * size)),
                Some((first, next)) if step == next => Some((first, step * size)),
                _ => return None,
            };
        }
        Some([inner.map_or(0, |(first, _)| first), rows, cols])
    }

    fn matrices(&self) -> (Matrix<'_>, usize) {
        let [batch, rows, cols] = self.strides;
        let data = raw::strided(&self.tensor).map_or(&[][..], |x| &x.data[x.offset..]);
        (Matrix::new(data, rows, cols), batch)
    }
}
