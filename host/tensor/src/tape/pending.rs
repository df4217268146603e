//! A gradient that is still being added up.

use smallvec::SmallVec;

use crate::{DType, Tensor, TensorError, dims::Dims, ops};

/// Where the gradient of a part of a value belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The dimension along which it is a part.
    pub axis: usize,
    /// Where it starts there.
    pub start: usize,
}

/// What came for one value so far. Parts are kept until all have come: those that make up the whole are
/// joined then, instead of being put among zeros and added one by one.
#[derive(Default)]
pub(super) struct Pending {
    whole: Option<Tensor>,
    parts: SmallVec<[(Place, Tensor); 2]>,
}

impl Pending {
    pub fn of(gradient: Tensor) -> Self {
        Self {
            whole: Some(gradient),
            parts: SmallVec::new(),
        }
    }

    /// Sums are in `dtype`, the value's type; a single gradient stays in the one in which it came.
    pub fn add(
        &mut self,
        gradient: Tensor,
        place: Option<Place>,
        dtype: DType,
    ) -> Result<(), TensorError> {
        if let Some(place) = place {
            self.parts.push((place, gradient));
            return Ok(());
        }
        self.whole = Some(match self.whole.take() {
            Some(sum) => in_type(sum, dtype)?.accumulate(in_type(gradient, dtype)?)?,
            None => gradient,
        });
        Ok(())
    }

    /// The sum, for a value of `shape` and `dtype`; nothing if nothing came.
    pub fn finish(mut self, shape: &Dims, dtype: DType) -> Result<Option<Tensor>, TensorError> {
        if self.parts.is_empty() {
            return Ok(self.whole);
        }
        self.parts
            .sort_by_key(|(place, _)| (place.axis, place.start));
        let parts = std::mem::take(&mut self.parts);
        if let Some(axis) = tiled(&parts, shape) {
            let joined = joined(&parts, axis, dtype)?;
            self.add(joined, None, dtype)?;
            return Ok(self.whole);
        }
        for (place, part) in parts {
            let whole = ops::among_zeros(&part, place.axis, place.start, shape)?;
            self.add(whole, None, dtype)?;
        }
        Ok(self.whole)
    }
}

/// The value itself where it is of that type, so that its memory may be reused.
fn in_type(x: Tensor, dtype: DType) -> Result<Tensor, TensorError> {
    match x.dtype() == dtype {
        true => Ok(x),
        false => x.cast(dtype),
    }
}

/// The dimension along which the parts, in order, make up the whole.
fn tiled(parts: &[(Place, Tensor)], shape: &Dims) -> Option<usize> {
    let axis = parts.first()?.0.axis;
    let mut end = 0;
    for (place, part) in parts {
        if place.axis != axis || place.start != end {
            return None;
        }
        end += part.shape()[axis];
    }
    (end == shape[axis]).then_some(axis)
}

/// The parts one after the other; in `dtype` unless all came in one other type.
fn joined(parts: &[(Place, Tensor)], axis: usize, dtype: DType) -> Result<Tensor, TensorError> {
    let first = parts.first().map_or(dtype, |(_, part)| part.dtype());
    let alike = parts.iter().all(|(_, part)| part.dtype() == first);
    let parts: Vec<Tensor> = parts
        .iter()
        .map(|(_, part)| part.cast(if alike { first } else { dtype }))
        .collect::<Result<_, _>>()?;
    Tensor::cat(&parts.iter().collect::<Vec<_>>(), axis as i32)
}
