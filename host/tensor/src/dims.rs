//! Shapes kept inline: most operations make one, and none should cost an allocation.

use std::ops::Deref;

/// The most dimensions that a tensor may have.
pub(crate) const MAX_RANK: usize = 8;

/// Up to [`MAX_RANK`] dimensions.
#[derive(Clone, Copy)]
pub(crate) struct Dims {
    len: u8,
    dims: [usize; MAX_RANK],
}

impl Dims {
    /// No dimensions: a scalar.
    pub const fn new() -> Self {
        Self {
            len: 0,
            dims: [0; MAX_RANK],
        }
    }

    /// Nothing when there are more than [`MAX_RANK`].
    pub fn from_slice(dims: &[usize]) -> Option<Self> {
        let mut out = Self::new();
        out.dims.get_mut(..dims.len())?.copy_from_slice(dims);
        out.len = dims.len() as u8;
        Some(out)
    }

    /// `rank` ones.
    pub fn ones(rank: usize) -> Self {
        let mut out = Self::new();
        out.len = rank.min(MAX_RANK) as u8;
        out.dims[..out.len as usize].fill(1);
        out
    }

    /// Appends a dimension; one too many is dropped, so check the rank first.
    pub fn push(&mut self, dim: usize) {
        if let Some(slot) = self.dims.get_mut(self.len as usize) {
            *slot = dim;
            self.len += 1;
        }
    }

    /// The dimensions without the one at `at`.
    pub fn without(&self, at: usize) -> Self {
        let mut out = Self::new();
        for (index, dim) in self.iter().enumerate() {
            if index != at {
                out.push(*dim);
            }
        }
        out
    }

    /// The dimensions with one more before the one at `at`.
    pub fn with(&self, at: usize, dim: usize) -> Self {
        let mut out = Self::new();
        for (index, old) in self.iter().enumerate() {
            if index == at {
                out.push(dim);
            }
            out.push(*old);
        }
        if at >= self.len() {
            out.push(dim);
        }
        out
    }

    /// The dimensions with the one at `at` replaced.
    pub fn replaced(&self, at: usize, dim: usize) -> Self {
        let mut out = *self;
        out.dims[at] = dim;
        out
    }

    /// The product.
    pub fn numel(&self) -> usize {
        self.iter().product()
    }
}

impl Deref for Dims {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.dims[..self.len as usize]
    }
}

impl std::ops::DerefMut for Dims {
    fn deref_mut(&mut self) -> &mut [usize] {
        &mut self.dims[..self.len as usize]
    }
}

impl PartialEq for Dims {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl std::fmt::Debug for Dims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}
