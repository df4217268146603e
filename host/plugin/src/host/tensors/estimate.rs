//! What an operation will cost, from shapes alone: bytes of its result and multiply-adds.
//!
//! These are upper bounds for refusing what could not be survived (an allocation that fails, a kernel
//! that runs for hours); whether shapes fit is the tensor crate's business. All arithmetic saturates.

use tenon_tensor::{DType, Tensor};

/// Bytes of the result and multiply-adds of an operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) bytes: u64,
    pub(crate) work: u64,
}

fn product(dims: impl IntoIterator<Item = u64>) -> u64 {
    // A zero anywhere makes the product zero even if the rest saturates.
    let mut total: u64 = 1;
    let mut zero = false;
    for dim in dims {
        zero |= dim == 0;
        total = total.saturating_mul(dim);
    }
    if zero { 0 } else { total }
}

fn wide(shape: &[usize]) -> impl Iterator<Item = u64> + '_ {
    shape.iter().map(|d| *d as u64)
}

/// Elements of two shapes broadcast against each other, as if they fitted.
fn broadcast(a: &[usize], b: &[usize]) -> u64 {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], i: usize| {
        (i + shape.len())
            .checked_sub(rank)
            .map_or(1, |i| shape[i] as u64)
    };
    product((0..rank).map(|i| match (at(a, i), at(b, i)) {
        (1, n) => n,
        (n, _) => n,
    }))
}

impl Cost {
    /// Nothing to speak of: the result is no larger than the argument.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    pub(crate) fn elements(elements: u64, dtype: DType) -> Self {
        Self {
            bytes: elements.saturating_mul(dtype.size() as u64),
            work: 0,
        }
    }

    fn with_work(self, work: u64) -> Self {
        Self { work, ..self }
    }

    /// A new tensor.
    pub(crate) fn shape(shape: &[usize], dtype: DType) -> Self {
        Self::elements(product(wide(shape)), dtype)
    }

    /// A result as large as the argument.
    pub(crate) fn same(a: &Tensor) -> Self {
        Self {
            bytes: a.byte_len() as u64,
            work: 0,
        }
    }

    /// Element by element, broadcast.
    #[inline]
    pub(crate) fn broadcast(a: &Tensor, b: &Tensor) -> Self {
        // The common case, without a loop over dimensions.
        if a.shape() == b.shape() {
            return Self::same(a);
        }
        Self::elements(broadcast(a.shape(), b.shape()), a.dtype())
    }

    pub(crate) fn broadcast3(a: &Tensor, b: &Tensor, c: &Tensor) -> Self {
        Self::elements(three(a.shape(), b.shape(), c.shape()), b.dtype())
    }

    /// [..., m, k] × [..., k, n].
    pub(crate) fn matmul(a: &Tensor, b: &Tensor) -> Self {
        let (Some((batch_a, [m, k])), Some((batch_b, [_, n]))) = (
            a.shape().split_last_chunk::<2>(),
            b.shape().split_last_chunk::<2>(),
        ) else {
            return Self::none();
        };
        let elements = broadcast(batch_a, batch_b)
            .saturating_mul(*m as u64)
            .saturating_mul(*n as u64);
        Self::elements(elements, a.dtype()).with_work(elements.saturating_mul(*k as u64))
    }

    /// [..., in] × [out, in].
    pub(crate) fn linear(a: &Tensor, weight: &Tensor) -> Self {
        let out = weight.shape().first().copied().unwrap_or(1) as u64;
        Self::dense(a, out)
    }

    /// [..., in] → [..., out].
    pub(crate) fn dense(a: &Tensor, out: u64) -> Self {
        let Some((k, rows)) = a.shape().split_last() else {
            return Self::none();
        };
        let elements = product(wide(rows)).saturating_mul(out);
        Self::elements(elements, a.dtype()).with_work(elements.saturating_mul(*k as u64))
    }

    /// weight [count, dim], ids [...].
    pub(crate) fn rows(weight_dim: u64, ids: &Tensor, dtype: DType) -> Self {
        Self::elements(product(wide(ids.shape())).saturating_mul(weight_dim), dtype)
    }

    /// `a` with dimension `dim` as long as the index.
    pub(crate) fn index_select(a: &Tensor, dim: i32, index: &Tensor) -> Self {
        let shape = a.shape();
        let dim = if dim < 0 {
            i64::from(dim) + shape.len() as i64
        } else {
            i64::from(dim)
        };
        let picked = product(wide(index.shape()));
        let elements = product(
            shape
                .iter()
                .enumerate()
                .map(|(i, d)| if i as i64 == dim { picked } else { *d as u64 }),
        );
        Self::elements(elements, a.dtype())
    }

    /// The target shape; a dimension of -1 keeps the argument's.
    pub(crate) fn expand(a: &Tensor, shape: &[i64]) -> Self {
        let offset = shape.len() as i64 - a.shape().len() as i64;
        let elements = product(shape.iter().enumerate().map(|(i, d)| {
            match u64::try_from(*d) {
                Ok(d) => d,
                Err(_) => usize::try_from(i as i64 - offset)
                    .ok()
                    .and_then(|i| a.shape().get(i))
                    .map_or(1, |d| *d as u64),
            }
        }));
        Self::elements(elements, a.dtype())
    }

    pub(crate) fn pad(a: &Tensor, amounts: &[(usize, usize)]) -> Self {
        let elements = product(a.shape().iter().enumerate().map(|(i, d)| {
            let (before, after) = amounts.get(i).copied().unwrap_or_default();
            (*d as u64)
                .saturating_add(before as u64)
                .saturating_add(after as u64)
        }));
        Self::elements(elements, a.dtype())
    }

    pub(crate) fn sum_of<'a>(parts: impl IntoIterator<Item = &'a Tensor>) -> Self {
        let bytes = parts
            .into_iter()
            .fold(0u64, |sum, part| sum.saturating_add(part.byte_len() as u64));
        Self { bytes, work: 0 }
    }

    /// x [batch, in, space…], kernel of `kernel` elements for each pair of channels.
    pub(crate) fn conv(
        x: &Tensor,
        out: u64,
        kernel: u64,
        groups: u64,
        stride: &[u32],
        padding: &[u32],
    ) -> Self {
        let [batch, channels, space @ ..] = x.shape() else {
            return Self::none();
        };
        let places = product(space.iter().enumerate().map(|(i, d)| {
            let padded = *d as u64 + 2 * u64::from(padding.get(i).copied().unwrap_or(0));
            padded / u64::from(stride.get(i).copied().unwrap_or(1).max(1)) + 1
        }));
        let elements = (*batch as u64).saturating_mul(out).saturating_mul(places);
        let inner = (*channels as u64 / groups.max(1)).saturating_mul(kernel);
        Self::elements(elements, x.dtype()).with_work(elements.saturating_mul(inner))
    }

    /// q [b, t, h, d], k [b, s, …, d]: the result is like q, the scores take b·h·t·s.
    pub(crate) fn attention(q: &Tensor, k: &Tensor) -> Self {
        let ([b, t, h, d], [_, s, ..]) = (q.shape(), k.shape()) else {
            return Self::same(q);
        };
        let scores = product([*b as u64, *h as u64, *t as u64, *s as u64]);
        // Scores may be materialised in f32 on the devices without a fused kernel.
        Self {
            bytes: scores.saturating_mul(4).saturating_add(q.byte_len() as u64),
            work: scores.saturating_mul(2 * *d as u64),
        }
    }
}

/// Elements of three shapes broadcast against each other, as if they fitted.
fn three(a: &[usize], b: &[usize], c: &[usize]) -> u64 {
    let rank = a.len().max(b.len()).max(c.len());
    let at = |shape: &[usize], i: usize| {
        (i + shape.len())
            .checked_sub(rank)
            .map_or(1, |i| shape[i] as u64)
    };
    product((0..rank).map(|i| {
        let (a, b, c) = (at(a, i), at(b, i), at(c, i));
        if a == 0 || b == 0 || c == 0 {
            0
        } else {
            a.max(b).max(c)
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_multiplies_what_differs() {
        assert_eq!(broadcast(&[1000, 1], &[1, 2000]), 2_000_000);
        assert_eq!(broadcast(&[3], &[2, 3]), 6);
        assert_eq!(broadcast(&[], &[4]), 4);
        assert_eq!(broadcast(&[0, 1], &[1, 5]), 0);
        assert_eq!(broadcast(&[usize::MAX, 1], &[1, usize::MAX]), u64::MAX);
        assert_eq!(three(&[5, 1, 1], &[1, 6, 1], &[7]), 210);
    }

    #[test]
    fn an_empty_dimension_makes_an_empty_tensor_however_long_the_others() {
        assert_eq!(product([u64::MAX, 7, 0]), 0);
        assert_eq!(product([]), 1);
    }
}
