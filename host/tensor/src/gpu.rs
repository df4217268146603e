//! Kernels of GPUs, run on tensors.

use burn_backend::DType as BurnType;
use tenon_gpu::{
    Gpu,
    kernels::{self, Kernel},
};

use crate::{
    DType, Tensor, TensorError,
    dims::Dims,
    value::{OnDevice, Value, guard, mixed},
};

/// Whether kernels of a GPU serve a tensor: float32 with elements, not in main memory.
#[inline]
pub(crate) fn serves(x: &Tensor) -> bool {
    !x.device().is_cpu() && x.dtype() == DType::F32 && x.numel() > 0
}

/// Whether a tensor is on a GPU and has elements, floats of any type.
#[inline]
pub(crate) fn has_floats(x: &Tensor) -> bool {
    !x.device().is_cpu() && (x.dtype() == DType::F32 || x.is_half()) && x.numel() > 0
}

/// The products of matrices whose leading dimensions agree, of `shape` and in `dtype`, plus a bias of that
/// type for their columns. Not recorded.
///
/// # Errors
/// What fails on the device.
pub(crate) fn product(
    a: &Tensor,
    b: &Tensor,
    bias: Option<&Tensor>,
    dtype: DType,
    shape: Dims,
) -> Result<Tensor, TensorError> {
    const WHAT: &str = "matmul";
    let device = a.device();
    let stored = device.stored(dtype)?;
    let value = guard(WHAT, || {
        let on_gpu = |tensor: &Tensor| match tensor.value() {
            Value::Gpu(tensor) => Ok(tensor.tensor()),
            Value::Cpu(_) => Err(mixed(WHAT)),
        };
        let bias = bias.map(on_gpu).transpose()?;
        let out = Gpu::float_product(on_gpu(a)?, on_gpu(b)?, bias, stored);
        Ok(Value::Gpu(OnDevice::new(out)))
    })?;
    Ok(Tensor::new(value, shape, dtype, device))
}

/// The tensor with its elements one after the other on a GPU; in main memory, as it is. Not recorded.
///
/// # Errors
/// What fails on the device.
pub(crate) fn in_order(x: &Tensor) -> Result<Tensor, TensorError> {
    let Value::Gpu(tensor) = x.value() else {
        return x.detach();
    };
    let value = guard("contiguous", || {
        Ok(Value::Gpu(OnDevice::new(tensor.tensor().contiguous())))
    })?;
    Ok(x.like(value, x.dims()))
}

/// Runs a kernel; its results, in the order that it gives them.
///
/// # Errors
/// What fails on the device.
pub(crate) fn run<const N: usize>(
    what: &str,
    inputs: &[&Tensor],
    kernel: impl Kernel,
) -> Result<[Value; N], TensorError> {
    let all = run_all(what, inputs, kernel)?;
    all.try_into().map_err(|_| {
        TensorError::Failed(format!("{what}: the kernel gave another number of results"))
    })
}

/// As [`run`], for a number of results that depends on the kernel's settings.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_all(
    what: &str,
    inputs: &[&Tensor],
    kernel: impl Kernel,
) -> Result<Vec<Value>, TensorError> {
    guard(what, || {
        let inputs = inputs.iter().map(|input| match input.value() {
            Value::Gpu(tensor) => Ok(tensor.tensor()),
            Value::Cpu(_) => Err(mixed(what)),
        });
        let outputs = kernels::run(inputs.collect::<Result<_, _>>()?, kernel);
        Ok(outputs
            .into_iter()
            .map(|tensor| Value::Gpu(OnDevice::new(tensor)))
            .collect())
    })
}

/// Runs a kernel that gives one tensor of the shape of its first input.
///
/// # Errors
/// As [`run`].
pub(crate) fn like(
    what: &str,
    inputs: &[&Tensor],
    kernel: impl Kernel,
) -> Result<Tensor, TensorError> {
    let [out] = run(what, inputs, kernel)?;
    Ok(inputs[0].like(out, inputs[0].dims()))
}

/// Runs a kernel that gives one tensor of the shape of its first input, in `dtype`. The kernel gets the type
/// that the device has for it.
///
/// # Errors
/// As [`run`].
pub(crate) fn in_type<K: Kernel>(
    dtype: DType,
    what: &str,
    inputs: &[&Tensor],
    kernel: impl FnOnce(BurnType) -> K,
) -> Result<Tensor, TensorError> {
    let device = inputs[0].device();
    let [out] = run(what, inputs, kernel(device.stored(dtype)?))?;
    Ok(Tensor::new(out, inputs[0].dims(), dtype, device))
}

/// A result of a kernel as a tensor, under the shape that the kernel gave it.
pub(crate) fn tensor(like: &Tensor, value: Value) -> Tensor {
    let shape = match &value {
        Value::Gpu(tensor) => tensor.tensor().shape(),
        Value::Cpu(tensor) => tensor.layout().shape().clone(),
    };
    like.like(value, Dims::from_slice(&shape).unwrap_or(Dims::new()))
}
