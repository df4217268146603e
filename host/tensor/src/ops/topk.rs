//! The largest elements.

use std::cmp::Ordering;

use super::common::{dim_back, dim_last};
use crate::{Tensor, TensorError, value::Kind};

impl Tensor {
    /// The `k` largest along `dim`, descending: values and int64 indices. Of equal ones the first
    /// come first; NaN counts as the largest. Waits for the device: the choice is made on the host.
    ///
    /// # Errors
    /// `InvalidArgument` when there are fewer than `k`, and for booleans.
    pub fn topk(&self, k: usize, dim: i32) -> Result<(Tensor, Tensor), TensorError> {
        self.need_number("topk")?;
        let axis = self.dim("topk", dim)?;
        let size = self.shape()[axis];
        if k > size {
            return Err(TensorError::InvalidArgument(format!(
                "topk: {k} of {size} elements along dimension {dim} of {:?}",
                self.shape()
            )));
        }
        let rows = dim_last(self, axis)?;
        let chosen = match self.kind() {
            Kind::Float => {
                let larger = |a: &f32, b: &f32| match (a.is_nan(), b.is_nan()) {
                    (false, false) => b.partial_cmp(a).unwrap_or(Ordering::Equal),
                    (a, b) => b.cmp(&a),
                };
                choose(&rows.to_f32_vec()?, size, k, larger)
            }
            _ => choose(&rows.to_i64_vec()?, size, k, |a: &i64, b: &i64| b.cmp(a)),
        };
        let shape = rows.dims().replaced(rows.rank() - 1, k);
        let index = dim_back(&Tensor::from_i64(&shape, &chosen, &self.device())?, axis)?;
        Ok((self.gather(axis as i32, &index)?, index))
    }
}

/// The indices of the first `k` of each row in the order that `compare` gives.
fn choose<T>(
    values: &[T],
    size: usize,
    k: usize,
    compare: impl Fn(&T, &T) -> Ordering,
) -> Vec<i64> {
    if k == 0 {
        return Vec::new();
    }
    let mut chosen = Vec::with_capacity(values.len() / size * k);
    let mut order: Vec<u32> = Vec::with_capacity(size);
    for row in values.chunks_exact(size) {
        order.clear();
        order.extend(0..size as u32);
        let by = |a: &u32, b: &u32| compare(&row[*a as usize], &row[*b as usize]).then(a.cmp(b));
        if k < size {
            order.select_nth_unstable_by(k - 1, by);
        }
        order[..k].sort_unstable_by(by);
        chosen.extend(order[..k].iter().map(|index| i64::from(*index)));
    }
    chosen
}
