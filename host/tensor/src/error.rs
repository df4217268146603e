//! What can go wrong. The variants are those of the contract's `error`.

/// Why an operation was refused or failed. Each sentence names the operation, what was wrong and
/// what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// Shapes that do not fit together.
    #[error("{0}")]
    ShapeMismatch(String),
    /// A type, device or combination that this build or device cannot compute.
    #[error("{0}")]
    Unsupported(String),
    /// The device has no memory left.
    #[error("{0}")]
    OutOfMemory(String),
    /// A limit that was set for the caller is reached.
    #[error("{0}")]
    OutOfQuota(String),
    /// An argument outside its range, or of the wrong type.
    #[error("{0}")]
    InvalidArgument(String),
    /// The device or its driver failed.
    #[error("{0}")]
    Failed(String),
}
