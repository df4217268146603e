//! The one place that calls Burn: a value is a Flex tensor in main memory, or a tensor of a GPU. Arguments were checked before; what panics nevertheless becomes
//! an error here.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use burn_backend::{
    DType as BurnType, Shape, Slice, TensorData,
    ops::{BoolTensorOps, FloatTensorOps, IntTensorOps},
};
use burn_flex::{Flex, FlexTensor};
use tenon_gpu::Gpu;

use crate::{DType, Device, TensorError};

/// An untracked tensor of a backend.
#[derive(Clone)]
pub(crate) enum Value {
    /// In main memory.
    Cpu(FlexTensor),
    /// On a device.
    Gpu(OnDevice),
}

/// A tensor of a GPU, with its type hidden from other crates: what drops one contains much of its backend,
/// and every crate that drops a [`crate::Tensor`] would compile that once more.
pub(crate) struct OnDevice(Box<dyn Any + Send + Sync>);

impl OnDevice {
    #[inline(never)]
    pub fn new(tensor: tenon_gpu::Tensor) -> Self {
        Self(Box::new(tensor))
    }

    /// What it holds, shared.
    ///
    /// # Panics
    /// Never: nothing but [`OnDevice::new`] makes one.
    #[inline(never)]
    pub fn tensor(&self) -> tenon_gpu::Tensor {
        match self.0.downcast_ref::<tenon_gpu::Tensor>() {
            Some(tensor) => tensor.clone(),
            None => unreachable!("only `new` fills it"),
        }
    }
}

impl Clone for OnDevice {
    #[inline(never)]
    fn clone(&self) -> Self {
        Self::new(self.tensor())
    }
}

/// The shape under which a device keeps a tensor: its allocator and its fused kernels know none
/// without dimensions, so a scalar has one of size 1 there.
pub(crate) fn device_shape(shape: Shape) -> Shape {
    if shape.is_empty() { [1].into() } else { shape }
}

/// A tensor without elements on a device. There is nothing to copy, and CUDA refuses to copy it: a
/// stride would be 0.
fn empty(
    what: &str,
    shape: Shape,
    dtype: BurnType,
    device: &tenon_gpu::Device,
) -> Result<Value, TensorError> {
    guard(what, || {
        Ok(Value::Gpu(OnDevice::new(device.empty(shape, dtype))))
    })
}

/// Which of a backend's families of primitives an element type belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Float,
    Int,
    Bool,
}

impl From<DType> for Kind {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::F32 | DType::F16 | DType::BF16 => Self::Float,
            DType::I64 | DType::I32 | DType::U8 => Self::Int,
            DType::Bool => Self::Bool,
        }
    }
}

/// Runs a backend's code and turns a panic into an error.
#[inline]
pub(crate) fn guard<T>(
    what: &str,
    run: impl FnOnce() -> Result<T, TensorError>,
) -> Result<T, TensorError> {
    let done = catch_unwind(AssertUnwindSafe(run));
    // Also when it went well here: the device may have failed in what it was given before.
    crate::device::check(what)?;
    done.unwrap_or_else(|panic| Err(from_panic(what, &*panic)))
}

#[cold]
fn from_panic(what: &str, panic: &(dyn Any + Send)) -> TensorError {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given");
    backend_error(what, text)
}

/// The error of a backend that failed with `reason`.
#[cold]
pub(crate) fn backend_error(what: &str, reason: &str) -> TensorError {
    let lower = reason.to_lowercase();
    let memory = [
        "out of memory",
        "outofmemory",
        "out_of_memory",
        "alloc_failed",
        "bufferbig",
        "buffer too big",
        "can't allocate",
        "cannot allocate",
    ];
    if memory.iter().any(|sign| lower.contains(sign)) {
        return TensorError::OutOfMemory(format!(
            "{what}: the device has no memory left; use smaller batches or sequences ({reason})"
        ));
    }
    TensorError::Failed(format!("{what}: the device failed: {reason}"))
}

#[cold]
pub(crate) fn mixed(what: &str) -> TensorError {
    TensorError::InvalidArgument(format!("{what}: the tensors live on different devices"))
}

/// Runs an expression on the backend of the named values, which it gets owned. `$backend` names the
/// backend in the expression.
macro_rules! on {
    ($what:expr, |$($t:ident),+| $backend:ident => $body:expr) => {
        $crate::value::guard($what, || {
            #[allow(unused_parens)]
            let result = match ($($t),+) {
            ($($crate::value::Value::Cpu($t)),+) => {
                #[allow(non_camel_case_types, dead_code)]
                type $backend = burn_flex::Flex;
                $(let $t = $t.clone();)+
                Ok($crate::value::Value::Cpu($body))
            }
            ($($crate::value::Value::Gpu($t)),+) => {
                #[allow(non_camel_case_types, dead_code)]
                type $backend = tenon_gpu::Gpu;
                $(let $t = $t.tensor();)+
                Ok($crate::value::Value::Gpu($crate::value::OnDevice::new($body)))
            }
            #[allow(unreachable_patterns)]
            _ => Err($crate::value::mixed($what)),
            };
            result
        })
    };
}
pub(crate) use on;

/// Functions that exist for all three kinds of elements.
macro_rules! for_all_kinds {
    ($( $(#[$doc:meta])* $name:ident($x:ident $(, $arg:ident: $ty:ty)*) = $float:ident, $int:ident, $bool:ident; )*) => {$(
        $(#[$doc])*
        pub fn $name(&self, kind: Kind $(, $arg: $ty)*) -> Result<Value, TensorError> {
            let $x = self;
            match kind {
                Kind::Float => on!(stringify!($name), |$x| B => B::$float($x $(, $arg)*)),
                Kind::Int => on!(stringify!($name), |$x| B => B::$int($x $(, $arg)*)),
                Kind::Bool => on!(stringify!($name), |$x| B => B::$bool($x $(, $arg)*)),
            }
        }
    )*};
}

impl Value {
    for_all_kinds! {
        /// As [`Value::reshape`], with a shape that the backend has.
        reshape_to(x, shape: Shape) = float_reshape, int_reshape, bool_reshape;
        permute(x, axes: &[usize]) = float_permute, int_permute, bool_permute;
        expand(x, shape: Shape) = float_expand, int_expand, bool_expand;
        slice(x, slices: &[Slice]) = float_slice, int_slice, bool_slice;
        flip(x, axes: &[usize]) = float_flip, int_flip, bool_flip;
    }

    /// A view where memory allows, else a copy.
    pub fn reshape(&self, kind: Kind, shape: Shape) -> Result<Value, TensorError> {
        match self {
            Value::Cpu(_) => self.reshape_to(kind, shape),
            // A size of 0 would mean there: as before.
            Value::Gpu(x) if shape.contains(&0) => {
                empty("reshape", shape, self.stored(), &x.tensor().device())
            }
            Value::Gpu(_) => self.reshape_to(kind, device_shape(shape)),
        }
    }

    /// The values at `index` (int, one dimension) along `dim`.
    pub fn select(&self, kind: Kind, dim: usize, index: &Value) -> Result<Value, TensorError> {
        let x = self;
        match kind {
            Kind::Float => on!("index_select", |x, index| B => B::float_select(x, dim, index)),
            Kind::Int => on!("index_select", |x, index| B => B::int_select(x, dim, index)),
            Kind::Bool => on!("index_select", |x, index| B => B::bool_select(x, dim, index)),
        }
    }

    /// The values at `index` (int, of the result's shape) along `dim`.
    pub fn gather(&self, kind: Kind, dim: usize, index: &Value) -> Result<Value, TensorError> {
        let x = self;
        match kind {
            Kind::Float => on!("gather", |x, index| B => B::float_gather(dim, x, index)),
            Kind::Int => on!("gather", |x, index| B => B::int_gather(dim, x, index)),
            Kind::Bool => on!("gather", |x, index| B => B::bool_gather(dim, x, index)),
        }
    }

    /// `other` where `mask` (of the same shape) holds, else self.
    pub fn mask_where(
        &self,
        kind: Kind,
        mask: &Value,
        other: &Value,
    ) -> Result<Value, TensorError> {
        let x = self;
        match kind {
            Kind::Float => on!("where", |x, mask, other| B => B::float_mask_where(x, mask, other)),
            Kind::Int => on!("where", |x, mask, other| B => B::int_mask_where(x, mask, other)),
            Kind::Bool => on!("where", |x, mask, other| B => B::bool_mask_where(x, mask, other)),
        }
    }

    /// The value with a part of it replaced; in place where nothing else holds its memory.
    pub fn assign(self, kind: Kind, slices: &[Slice], part: &Value) -> Result<Value, TensorError> {
        guard("pad", || match (self, part.clone()) {
            (Value::Cpu(x), Value::Cpu(part)) => Ok(Value::Cpu(match kind {
                Kind::Float => Flex::float_slice_assign(x, slices, part),
                Kind::Int => Flex::int_slice_assign(x, slices, part),
                Kind::Bool => Flex::bool_slice_assign(x, slices, part),
            })),
            (Value::Gpu(x), Value::Gpu(part)) => {
                let (x, part) = (x.tensor(), part.tensor());
                Ok(Value::Gpu(OnDevice::new(match kind {
                    Kind::Float => Gpu::float_slice_assign(x, slices, part),
                    Kind::Int => Gpu::int_slice_assign(x, slices, part),
                    Kind::Bool => Gpu::bool_slice_assign(x, slices, part),
                })))
            }
            _ => Err(mixed("pad")),
        })
    }

    /// The values one after the other along `dim`.
    pub fn cat(kind: Kind, values: Vec<Value>, dim: usize) -> Result<Value, TensorError> {
        guard("cat", || {
            let mut cpu = Vec::with_capacity(values.len());
            let mut gpu = Vec::new();
            for value in values {
                match value {
                    Value::Cpu(tensor) => cpu.push(tensor),
                    Value::Gpu(tensor) => gpu.push(tensor.tensor()),
                }
            }
            if !cpu.is_empty() && !gpu.is_empty() {
                return Err(mixed("cat"));
            }
            Ok(if gpu.is_empty() {
                Value::Cpu(match kind {
                    Kind::Float => Flex::float_cat(cpu, dim),
                    Kind::Int => Flex::int_cat(cpu, dim),
                    Kind::Bool => Flex::bool_cat(cpu, dim),
                })
            } else {
                Value::Gpu(OnDevice::new(match kind {
                    Kind::Float => Gpu::float_cat(gpu, dim),
                    Kind::Int => Gpu::int_cat(gpu, dim),
                    Kind::Bool => Gpu::bool_cat(gpu, dim),
                }))
            })
        })
    }

    /// Moves host data to a device. The data's type must be one that the device stores.
    pub fn upload(data: TensorData, kind: Kind, device: &Device) -> Result<Value, TensorError> {
        if device.is_cpu() {
            return Ok(Value::Cpu(FlexTensor::from_data(data)));
        }
        let target = device.gpu()?;
        let data = TensorData {
            shape: device_shape(data.shape),
            ..data
        };
        if data.shape.contains(&0) {
            return empty("from_bytes", data.shape, data.dtype, target);
        }
        guard("from_bytes", || {
            Ok(Value::Gpu(OnDevice::new(match kind {
                Kind::Float => Gpu::float_from_data(data, target),
                Kind::Int => Gpu::int_from_data(data, target),
                Kind::Bool => Gpu::bool_from_data(data, target),
            })))
        })
    }

    /// Waits for the value and copies it to the host.
    pub fn download(&self, kind: Kind) -> Result<TensorData, TensorError> {
        match self {
            Value::Cpu(tensor) => guard("read", || Ok(tensor.clone().into_data())),
            Value::Gpu(tensor) => guard("read", || {
                let tensor = tensor.tensor();
                // CUDA refuses to copy what has odd strides, also those of dimensions of size 1,
                // which count for contiguous elsewhere: as a vector it has none.
                let shape = tensor.shape();
                let flat: Shape = [shape.num_elements()].into();
                let data = match kind {
                    Kind::Float => Gpu::float_into_data(Gpu::float_reshape(tensor, flat)),
                    Kind::Int => Gpu::int_into_data(Gpu::int_reshape(tensor, flat)),
                    Kind::Bool => Gpu::bool_into_data(Gpu::bool_reshape(tensor, flat)),
                };
                let data = data.map_err(|error| backend_error("read", &error.to_string()))?;
                Ok(TensorData { shape, ..data })
            }),
        }
    }

    /// The type that the backend stores.
    pub fn stored(&self) -> BurnType {
        match self {
            Value::Cpu(tensor) => tensor.dtype(),
            Value::Gpu(tensor) => tensor.tensor().dtype(),
        }
    }

    /// Whether the backend gave it this shape: for debug builds.
    pub fn has_shape(&self, shape: &[usize]) -> bool {
        match self {
            Value::Cpu(tensor) => **tensor.layout().shape() == *shape,
            Value::Gpu(tensor) => *tensor.tensor().shape() == *device_shape(shape.into()),
        }
    }
}
