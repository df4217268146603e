//! Options of operations that have many.

/// Options of convolutions: one entry for each spatial dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvOptions {
    /// Steps between applications of the kernel.
    pub stride: Vec<usize>,
    /// Zeros put around the input, on both sides.
    pub padding: Vec<usize>,
    /// Steps between the kernel's elements.
    pub dilation: Vec<usize>,
    /// Groups of channels that do not mix.
    pub groups: usize,
}

impl ConvOptions {
    /// Stride 1, no padding, no dilation, one group, for `spatial` dimensions.
    pub fn new(spatial: usize) -> Self {
        Self {
            stride: vec![1; spatial],
            padding: vec![0; spatial],
            dilation: vec![1; spatial],
            groups: 1,
        }
    }
}

/// Options of pooling: height and width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// The window.
    pub kernel: Vec<usize>,
    /// Steps between windows.
    pub stride: Vec<usize>,
    /// Padding on both sides, at most half the window.
    pub padding: Vec<usize>,
}

/// How a loss is brought together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// One loss for each target.
    None,
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
}

/// Which elements of a head are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RotaryStyle {
    /// Pairs (i, i + d/2): Llama, GPT-NeoX.
    Half,
    /// Pairs (2i, 2i + 1): GPT-J.
    Interleaved,
}
