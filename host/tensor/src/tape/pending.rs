//! A gradient that is still being added up.

use smallvec::SmallVec;

use crate::{Tensor, TensorError, dims::Dims, ops};

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

    pub fn add(&mut self, gradient: Tensor, place: Option<Place>) -> Result<(), TensorError> {
        if let Some(place) = place {
            self.parts.push((place, gradient));
            return Ok(());
        }
        self.whole = Some(match self.whole.take() {
            Some(sum) => sum.accumulate(gradient)?,
            None => gradient,
        });
        Ok(())
    }

    /// The sum, for a value of `shape`; nothing if nothing came.
    pub fn finish(mut self, shape: &Dims) -> Result<Option<Tensor>, TensorError> {
        if self.parts.is_empty() {
            return Ok(self.whole);
        }
        self.parts
            .sort_by_key(|(place, _)| (place.axis, place.start));
        if let Some(axis) = self.tiled(shape) {
            let parts: Vec<&Tensor> = self.parts.iter().map(|(_, part)| part).collect();
            let joined = Tensor::cat(&parts, axis as i32)?;
            self.parts.clear();
            self.add(joined, None)?;
            return Ok(self.whole);
        }
        for (place, part) in std::mem::take(&mut self.parts) {
            self.add(
                ops::among_zeros(&part, place.axis, place.start, shape)?,
                None,
            )?;
        }
        Ok(self.whole)
    }

    /// The dimension along which the parts, in order, make up the whole.
    fn tiled(&self, shape: &Dims) -> Option<usize> {
        let axis = self.parts.first()?.0.axis;
        let mut end = 0;
        for (place, part) in &self.parts {
            if place.axis != axis || place.start != end {
                return None;
            }
            end += part.shape()[axis];
        }
        (end == shape[axis]).then_some(axis)
    }
}
