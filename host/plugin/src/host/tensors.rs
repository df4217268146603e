//! `tenon:tensor/tensors`: handles to tensors on the host's device.
//!
//! A handle is an index into [`Tensors`], a table of the host's; an operation looks its arguments up,
//! computes, and puts the result in. The table belongs to one call: whatever the guest has not
//! handed over when the call ends is freed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tenon_tensor::{DType, Device, Tensor, TensorError};
use wasmtime::component::Resource;

use crate::{
    bindings::{tensors, types},
    call::{Stop, panic_text},
    error::bytes,
    limits::{Limits, machine_tensor_bytes},
    slab::Slab,
    state::{State, TensorHandle},
};

mod estimate;
pub(crate) mod ops;

pub(crate) use estimate::Cost;

/// A handle as the bindings pass it.
pub(crate) type H = Resource<TensorHandle>;
/// What an operation that makes a tensor answers.
pub(crate) type Answer = wasmtime::Result<Result<H, types::Error>>;

const RAISE_HANDLES: &str =
    "drop tensors that are no longer needed, or raise the limit `tensor_handles`";
const RAISE_BYTES: &str = "raise the limit `tensor_bytes`";

/// The tensors of the current call.
pub struct Tensors {
    slab: Slab<Tensor>,
    /// Bytes of the live ones.
    bytes: u64,
    max_bytes: u64,
    configured_bytes: Option<u64>,
    max_handles: u32,
    max_work: u64,
    /// Where tensors that the guest makes live; set for the length of a call.
    device: Option<Device>,
}

impl Tensors {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            slab: Slab::new(),
            bytes: 0,
            max_bytes: limits.tensor_bytes.unwrap_or_else(machine_tensor_bytes),
            configured_bytes: limits.tensor_bytes,
            max_handles: limits.tensor_handles,
            max_work: limits.operation_work,
            device: None,
        }
    }

    /// A call begins whose tensors are made on this device.
    pub(crate) fn begin_call(&mut self, device: &Device) {
        self.max_bytes = self.configured_bytes.unwrap_or_else(|| {
            if device.is_cpu() {
                machine_tensor_bytes()
            } else {
                u64::MAX
            }
        });
        self.device = Some(*device);
    }

    /// Frees every tensor that is still here. Handles that the guest keeps count until it drops them.
    pub(crate) fn end_call(&mut self) {
        self.slab.free_all();
        self.bytes = 0;
        self.device = None;
    }

    /// Puts a tensor in, within the limits.
    #[inline]
    pub(crate) fn push(&mut self, what: &str, tensor: Tensor) -> Result<H, types::Error> {
        if self.slab.held() >= self.max_handles {
            return Err(self.too_many(what));
        }
        let bytes = tensor.byte_len() as u64;
        if self.bytes.saturating_add(bytes) > self.max_bytes {
            return Err(self.too_large(what, bytes));
        }
        match self.slab.insert(tensor) {
            Some(handle) => {
                self.bytes += bytes;
                Ok(Resource::new_own(handle))
            }
            None => Err(self.too_many(what)),
        }
    }

    /// Frees a tensor whose handle the guest has dropped; nothing if its call has ended.
    pub(crate) fn discard(&mut self, handle: &H) {
        let bytes = |tensor: &Tensor| tensor.byte_len() as u64;
        let freed = self.slab.discard(handle.rep(), bytes).unwrap_or(0);
        self.bytes = self.bytes.saturating_sub(freed);
    }

    /// Takes a tensor out that the guest has handed over.
    pub(crate) fn take(&mut self, handle: &H) -> Option<Tensor> {
        let tensor = self.slab.remove(handle.rep())?;
        self.bytes = self.bytes.saturating_sub(tensor.byte_len() as u64);
        Some(tensor)
    }

    /// The tensor behind a handle.
    #[inline]
    pub(crate) fn get(&self, what: &str, handle: &H) -> Result<&Tensor, types::Error> {
        self.slab.get(handle.rep()).ok_or_else(|| gone(what))
    }

    /// The limit on bytes that holds now.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Whether a tensor of this many bytes may be made at all. A failed allocation in the host's
    /// memory would end the process, so this is asked before every operation that can grow.
    #[inline]
    pub(crate) fn admit(&self, what: &str, cost: Cost) -> Result<(), types::Error> {
        if self.bytes.saturating_add(cost.bytes) > self.max_bytes {
            return Err(self.too_large(what, cost.bytes));
        }
        if cost.work > self.max_work {
            return Err(types::Error::OutOfQuota(format!(
                "{what}: {:.1e} multiply-adds in one operation; at most {:.1e} are started, because nothing could \
                 interrupt it; split the operation, or raise the limit `operation_work`",
                cost.work as f64, self.max_work as f64
            )));
        }
        Ok(())
    }

    #[cold]
    fn too_many(&self, what: &str) -> types::Error {
        types::Error::OutOfQuota(format!(
            "{what}: the plugin holds {} tensor handles, as many as it may; {RAISE_HANDLES}",
            self.slab.held()
        ))
    }

    #[cold]
    fn too_large(&self, what: &str, more: u64) -> types::Error {
        types::Error::OutOfQuota(format!(
            "{what}: the result takes {}; the plugin holds {} of the {} that it may; {RAISE_BYTES}",
            bytes(more),
            bytes(self.bytes),
            bytes(self.max_bytes)
        ))
    }
}

#[cold]
fn gone(what: &str) -> types::Error {
    types::Error::InvalidArgument(format!(
        "{what}: this tensor belonged to an earlier call; handles end with the call that made them, so keep no \
         tensors between calls"
    ))
}

/// The tensor crate's errors in the contract's words, one to one.
pub(crate) fn to_wit(error: TensorError) -> types::Error {
    match error {
        TensorError::ShapeMismatch(m) => types::Error::ShapeMismatch(m),
        TensorError::Unsupported(m) => types::Error::Unsupported(m),
        TensorError::OutOfMemory(m) => types::Error::OutOfMemory(m),
        TensorError::OutOfQuota(m) => types::Error::OutOfQuota(m),
        TensorError::InvalidArgument(m) => types::Error::InvalidArgument(m),
        TensorError::Failed(m) => types::Error::Failed(m),
    }
}

/// Runs an operation of the tensor crate. A panic below (a kernel's, a driver's) becomes an error
/// of this operation.
#[inline]
pub(crate) fn shielded<T>(
    what: &str,
    run: impl FnOnce() -> Result<T, TensorError>,
) -> Result<T, types::Error> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(to_wit),
        Err(panic) => Err(panicked(what, panic_text(&*panic))),
    }
}

/// As [`shielded`], for work that ends in the table: a tensor is some hundred bytes, and every step that
/// hands it on copies them.
#[inline]
fn sheltered<T>(
    what: &str,
    run: impl FnOnce() -> Result<T, types::Error>,
) -> Result<T, types::Error> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(panic) => Err(panicked(what, panic_text(&*panic))),
    }
}

#[cold]
fn panicked(what: &str, said: &str) -> types::Error {
    let lower = said.to_lowercase();
    if lower.contains("out of memory") || lower.contains("outofmemory") {
        types::Error::OutOfMemory(format!("{what}: {said}"))
    } else {
        types::Error::Failed(format!("{what}: the tensor runtime failed: {said}"))
    }
}

pub(crate) fn dtype_from(dtype: tensors::Dtype) -> DType {
    match dtype {
        tensors::Dtype::Float32 => DType::F32,
        tensors::Dtype::Float16 => DType::F16,
        tensors::Dtype::Bfloat16 => DType::BF16,
        tensors::Dtype::Int64 => DType::I64,
        tensors::Dtype::Int32 => DType::I32,
        tensors::Dtype::Uint8 => DType::U8,
        tensors::Dtype::Boolean => DType::Bool,
    }
}

pub(crate) fn dtype_to(dtype: DType) -> tensors::Dtype {
    match dtype {
        DType::F32 => tensors::Dtype::Float32,
        DType::F16 => tensors::Dtype::Float16,
        DType::BF16 => tensors::Dtype::Bfloat16,
        DType::I64 => tensors::Dtype::Int64,
        DType::I32 => tensors::Dtype::Int32,
        DType::U8 => tensors::Dtype::Uint8,
        DType::Bool => tensors::Dtype::Boolean,
    }
}

/// The contract's shapes are u32.
pub(crate) fn dims(shape: &[u32]) -> Vec<usize> {
    shape.iter().map(|d| *d as usize).collect()
}

/// What the operations in `ops` are made of.
impl State {
    /// One argument.
    #[inline]
    fn unary(
        &mut self,
        what: &'static str,
        a: &H,
        cost: impl FnOnce(&Tensor) -> Cost,
        run: impl FnOnce(&Tensor) -> Result<Tensor, TensorError>,
    ) -> Answer {
        let table = &mut self.tensors;
        Ok(sheltered(what, || {
            let a = table.get(what, a)?;
            table.admit(what, cost(a))?;
            match run(a) {
                Ok(tensor) => table.push(what, tensor),
                Err(error) => Err(to_wit(error)),
            }
        }))
    }

    /// Two arguments.
    #[inline]
    fn binary(
        &mut self,
        what: &'static str,
        a: &H,
        b: &H,
        cost: impl FnOnce(&Tensor, &Tensor) -> Cost,
        run: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor, TensorError>,
    ) -> Answer {
        let table = &mut self.tensors;
        Ok(sheltered(what, || {
            let (a, b) = (table.get(what, a)?, table.get(what, b)?);
            table.admit(what, cost(a, b))?;
            match run(a, b) {
                Ok(tensor) => table.push(what, tensor),
                Err(error) => Err(to_wit(error)),
            }
        }))
    }

    /// Any number of arguments, looked up by the closure.
    #[inline]
    pub(crate) fn compute(
        &mut self,
        what: &'static str,
        run: impl FnOnce(&Tensors) -> Result<Tensor, types::Error>,
    ) -> Answer {
        let result = run(&self.tensors);
        Ok(result.and_then(|tensor| self.tensors.push(what, tensor)))
    }

    /// A tensor from nothing.
    fn make(
        &mut self,
        what: &'static str,
        shape: &[u32],
        dtype: tensors::Dtype,
        run: impl FnOnce(&[usize], DType, &Device) -> Result<Tensor, TensorError>,
    ) -> Answer {
        let (shape, dtype) = (dims(shape), dtype_from(dtype));
        self.compute(what, |table| {
            table.admit(what, Cost::shape(&shape, dtype))?;
            let device = table.device.as_ref().ok_or_else(|| {
                types::Error::Failed(format!(
                    "{what}: tensors are made in `forward` and `loss` only"
                ))
            })?;
            shielded(what, || run(&shape, dtype, device))
        })
    }

    /// A tensor where the contract knows no error: too late or too many ends the call.
    fn must_get(&self, what: &'static str, handle: &H) -> wasmtime::Result<&Tensor> {
        self.tensors
            .get(what, handle)
            .map_err(|error| Stop::Contract(sentence(error)).into())
    }
}

/// The sentence of an error.
pub(crate) fn sentence(error: types::Error) -> String {
    crate::Failure::from(error).message().to_owned()
}
