//! Tensors: what they are, how they are made and how they are read.

mod create;
mod read;

pub(crate) use create::{burn_shape, check_scalar};

use crate::{
    DType, Device, TensorError,
    dims::{Dims, MAX_RANK},
    tape::NodeRef,
    value::{Kind, Value},
};

/// A value on a device, of up to 8 dimensions. Operations are methods; they are eager and pure, so a
/// clone (cheap: the memory is shared) is as good as the original. On GPUs that lack 64-bit or
/// 8-bit integers these are kept in 32 bits; larger numbers are refused when they are put there.
#[derive(Clone)]
pub struct Tensor {
    shape: Dims,
    dtype: DType,
    device: Device,
    value: Value,
    node: Option<NodeRef>,
}

impl Tensor {
    #[inline]
    pub(crate) fn new(value: Value, shape: Dims, dtype: DType, device: Device) -> Self {
        debug_assert!(value.has_shape(&shape));
        debug_assert!(
            device
                .stored(dtype)
                .is_ok_and(|stored| stored == value.stored())
        );
        Self {
            shape,
            dtype,
            device,
            value,
            node: None,
        }
    }

    /// The same kind of tensor with another value and shape, untracked.
    #[inline]
    pub(crate) fn like(&self, value: Value, shape: Dims) -> Self {
        Self::new(value, shape, self.dtype, self.device)
    }

    /// The dimensions.
    #[inline]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The type of the elements.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Whether the numbers have half the bytes of single precision: sums and exponentials of such are
    /// computed in single precision.
    #[inline]
    pub(crate) fn is_half(&self) -> bool {
        matches!(self.dtype, DType::F16 | DType::BF16)
    }

    /// Where the tensor lives.
    #[inline]
    pub fn device(&self) -> Device {
        self.device
    }

    /// The number of elements.
    #[inline]
    pub fn numel(&self) -> usize {
        self.shape.numel()
    }

    /// Bytes of all elements as [`Self::read`] gives them.
    #[inline]
    pub fn byte_len(&self) -> usize {
        self.numel() * self.dtype.size()
    }

    /// Whether operations on it are recorded on a tape.
    #[inline]
    pub fn is_tracked(&self) -> bool {
        self.node.is_some()
    }

    #[inline]
    pub(crate) fn dims(&self) -> Dims {
        self.shape
    }

    #[inline]
    pub(crate) fn rank(&self) -> usize {
        self.shape.len()
    }

    #[inline]
    pub(crate) fn kind(&self) -> Kind {
        self.dtype.into()
    }

    #[inline]
    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    pub(crate) fn value_mut(&mut self) -> &mut Value {
        &mut self.value
    }

    #[inline]
    pub(crate) fn node(&self) -> Option<&NodeRef> {
        self.node.as_ref()
    }

    /// The same value at another place of a tape.
    pub(crate) fn with_node(&self, node: Option<NodeRef>) -> Self {
        Self {
            node,
            shape: self.shape,
            dtype: self.dtype,
            device: self.device,
            value: self.value.clone(),
        }
    }

    pub(crate) fn untrack(&mut self) {
        self.node = None;
    }

    /// The memory behind it: something that tells it from others, where that is possible, and its
    /// size in bytes.
    pub(crate) fn storage(&self) -> (Option<usize>, usize) {
        match &self.value {
            Value::Cpu(flex) => {
                let bytes = flex.bytes();
                (Some(bytes.as_ptr() as usize), bytes.len())
            }
            Value::Gpu(_) => (None, self.numel() * self.value.stored().size()),
        }
    }

    /// The same value outside the tape.
    ///
    /// # Errors
    /// None at present.
    pub fn detach(&self) -> Result<Tensor, TensorError> {
        Ok(self.with_node(None))
    }

    /// The index of a dimension that may be counted from the end.
    pub(crate) fn dim(&self, what: &str, dim: i32) -> Result<usize, TensorError> {
        resolve_dim(what, dim, self.rank(), &self.shape)
    }

    /// Refuses tensors that are not floating-point.
    #[inline]
    pub(crate) fn need_float(&self, what: &str) -> Result<(), TensorError> {
        if self.dtype.is_float() {
            return Ok(());
        }
        Err(wrong_type(what, self, "a floating-point tensor"))
    }

    /// Refuses tensors that are not integers.
    #[inline]
    pub(crate) fn need_int(&self, what: &str, role: &str) -> Result<(), TensorError> {
        if self.dtype.is_int() {
            return Ok(());
        }
        Err(wrong_type(
            what,
            self,
            &format!("an integer tensor as {role}"),
        ))
    }

    /// Refuses booleans.
    #[inline]
    pub(crate) fn need_number(&self, what: &str) -> Result<(), TensorError> {
        if self.dtype != DType::Bool {
            return Ok(());
        }
        Err(wrong_type(what, self, "a tensor of numbers"))
    }

    /// Refuses tensors that are not boolean.
    #[inline]
    pub(crate) fn need_bool(&self, what: &str, role: &str) -> Result<(), TensorError> {
        if self.dtype == DType::Bool {
            return Ok(());
        }
        Err(wrong_type(
            what,
            self,
            &format!("a boolean tensor as {role}"),
        ))
    }

    /// Refuses two tensors of different types or devices.
    #[inline]
    pub(crate) fn need_same(&self, what: &str, other: &Tensor) -> Result<(), TensorError> {
        if self.dtype == other.dtype && self.device == other.device {
            return Ok(());
        }
        Err(self.not_same(what, other))
    }

    #[cold]
    fn not_same(&self, what: &str, other: &Tensor) -> TensorError {
        if let Err(error) = self.need_device(what, other) {
            return error;
        }
        TensorError::InvalidArgument(format!(
            "{what}: {} and {} do not mix; cast one of them",
            self.dtype, other.dtype
        ))
    }

    /// Refuses two tensors of different devices.
    #[inline]
    pub(crate) fn need_device(&self, what: &str, other: &Tensor) -> Result<(), TensorError> {
        if self.device == other.device {
            return Ok(());
        }
        Err(TensorError::InvalidArgument(format!(
            "{what}: one tensor lives on {}, the other on {}; make both on one device",
            self.device, other.device
        )))
    }
}

#[cold]
fn wrong_type(what: &str, tensor: &Tensor, needed: &str) -> TensorError {
    TensorError::InvalidArgument(format!(
        "{what}: {needed} is needed, not {} {:?}; cast it first",
        tensor.dtype,
        tensor.shape()
    ))
}

/// The index of a dimension that may be counted from the end.
pub(crate) fn resolve_dim(
    what: &str,
    dim: i32,
    rank: usize,
    shape: &[usize],
) -> Result<usize, TensorError> {
    let signed = if dim < 0 {
        i64::from(dim) + rank as i64
    } else {
        i64::from(dim)
    };
    if (0..rank as i64).contains(&signed) {
        return Ok(signed as usize);
    }
    Err(TensorError::InvalidArgument(format!(
        "{what}: dimension {dim} of a tensor {shape:?}; {}",
        match rank {
            0 => "it is a scalar and has none".to_owned(),
            _ => format!("use {} to {}", -(rank as i64), rank - 1),
        }
    )))
}

/// A shape, if it is one that a tensor may have.
pub(crate) fn check_shape(what: &str, shape: &[usize], size: usize) -> Result<Dims, TensorError> {
    let dims = Dims::from_slice(shape).ok_or_else(|| {
        TensorError::InvalidArgument(format!(
            "{what}: {shape:?} has {} dimensions; at most {MAX_RANK} are possible",
            shape.len()
        ))
    })?;
    shape
        .iter()
        .try_fold(size.max(8), |bytes, dim| bytes.checked_mul(*dim))
        .filter(|bytes| *bytes <= isize::MAX as usize)
        .ok_or_else(|| {
            TensorError::OutOfMemory(format!("{what}: a tensor {shape:?} is too large"))
        })?;
    Ok(dims)
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tracked = if self.is_tracked() { ", tracked" } else { "" };
        write!(
            f,
            "Tensor({} {:?} on {}{tracked})",
            self.dtype,
            self.shape(),
            self.device
        )
    }
}
