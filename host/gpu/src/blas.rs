//! Products of matrices by cuBLASLt, NVIDIA's own library, where there is one.
//!
//! Burn's products are found by trying: nearly all of the minute and a half before the first step of a small
//! model was spent compiling the candidates, again for every new class of shapes. cuBLASLt comes with the
//! CUDA toolkit, which Burn needs for its headers, has its kernels compiled and knows which to take.
//!
//! CubeCL does not hand out its streams, so products have a stream of their own: it waits for all that the
//! device was given so far, and all that the device is given later waits for it. The driver does that with
//! events of a context, since CUDA 12.5.

mod library;
mod plan;

use std::{
    any::Any,
    collections::HashMap,
    panic::resume_unwind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use burn_backend::DType;
use burn_cubecl::{kernel::into_contiguous, ops::numeric::empty_device_dtype};
use cubecl_common::{
    device::{Device, DeviceId, DeviceService},
    device_handle::DeviceHandle,
};
use cudarc::cublaslt::sys::cudaDataType;

use crate::tensor::CudaTensor;
use library::{Failure, Library};
use plan::{Matrix, PROBLEMS, Problem};

/// What products need on one device.
struct Products {
    /// The thread that runs CubeCL's commands runs these between them, in the order in which both were asked for.
    library: DeviceHandle<Library>,
    /// The problems that were met, and whether the library solves them.
    solved: Mutex<HashMap<Problem, bool>>,
}

impl DeviceService for Library {
    fn init(_: DeviceId) -> Self {
        unreachable!("it is there before anything is asked of it")
    }

    fn utilities(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::new(())
    }
}

impl Products {
    fn start(device: usize) -> Result<Self, Failure> {
        let library = Library::start(device)?;
        let thread = burn_cuda::CudaDevice::new(device).to_id();
        let library = DeviceHandle::insert(thread, library);
        Ok(Self {
            library: library.map_err(|error| Failure::from(format!("{error:?}")))?,
            solved: Mutex::new(HashMap::new()),
        })
    }
}

/// The product of [rows, inner] and [inner, cols], or of as many of either as the other has, with one distance
/// between them, plus a bias [cols] of the result's type; nothing if cuBLASLt is not there or does not do it.
pub(crate) fn matmul(
    lhs: &CudaTensor,
    rhs: &CudaTensor,
    bias: Option<&CudaTensor>,
    dtype: DType,
) -> Option<CudaTensor> {
    let kinds = [kind(lhs.dtype)?, kind(dtype)?];
    let products = products(lhs.device.index)?;
    let ((lhs, left), (rhs, right)) = (readable(lhs)?, readable(rhs)?);
    let bias = bias.cloned().map(into_contiguous);
    let fits = rhs.dtype == lhs.dtype
        && [Some(&rhs), bias.as_ref()]
            .iter()
            .flatten()
            .all(|other| other.device == lhs.device)
        && left.cols == right.rows
        && left.count == right.count
        && bias
            .as_ref()
            .is_none_or(|bias| bias.dtype == dtype && bias.meta.num_elements() == right.cols);
    if !fits || left.is_empty() || right.is_empty() {
        return None;
    }
    let mut shape = lhs.meta.shape().clone();
    let rank = shape.len();
    shape[rank - 1] = right.cols;
    let out = empty_device_dtype(lhs.client.clone(), lhs.device.clone(), shape, dtype);
    let result = Matrix::of(&out.meta)?;
    let alignments = [&lhs, &rhs, &out].map(alignment);
    let problem = Problem::new(kinds, [left, right, result], alignments, bias.is_some());
    let solved = locked(&products.solved).get(&problem).copied();
    let run = {
        let out = out.clone();
        move |library: &mut Library| multiply(library, problem, [&lhs, &rhs, &out], bias.as_ref())
    };
    match solved {
        Some(true) => {
            // Whoever asked need not wait. A failure is told as that of a kernel: by a panic of that thread.
            products.library.submit(move |library| match run(library) {
                Ok(true) => {}
                Ok(false) => panic!("{FAILED}: the library has no kernel any more"),
                Err(reason) => panic!("{FAILED}: {reason}"),
            });
            Some(out)
        }
        Some(false) => None,
        None => {
            let done = products.library.submit_blocking(run);
            match done.map_err(|error| format!("{error:?}")).flatten() {
                Ok(done) => {
                    let mut solved = locked(&products.solved);
                    if solved.len() >= PROBLEMS {
                        solved.clear();
                    }
                    solved.insert(problem, done);
                    done.then_some(out)
                }
                // Caught as Burn's panics are, but there is no place in the code to tell of.
                Err(reason) => resume_unwind(Box::new(format!("{FAILED}: {reason}"))),
            }
        }
    }
}

const FAILED: &str = "a product of matrices failed";

/// On the thread that launches kernels: what was launched before is on its stream by then, and asking there for
/// memory costs no further way there and back. False if the library does not solve the problem.
fn multiply(
    library: &mut Library,
    problem: Problem,
    matrices: [&CudaTensor; 3],
    bias: Option<&CudaTensor>,
) -> Result<bool, String> {
    let resource = |tensor: &CudaTensor| {
        let held = tensor.client.get_resource(tensor.handle.clone());
        held.map_err(|error| error.to_string())
    };
    let [lhs, rhs, out] = matrices;
    let held = [resource(lhs)?, resource(rhs)?, resource(out)?];
    let bias = bias.map(resource).transpose()?;
    let pointers = held.each_ref().map(|held| held.resource().ptr);
    let bias = bias.as_ref().map(|held| held.resource().ptr);
    let done = library.multiply(problem, pointers, bias);
    done.map_err(|failure| failure.reason)
}

/// Bytes that divide the address of a tensor.
fn alignment(tensor: &CudaTensor) -> u32 {
    // Each piece of memory starts at a multiple of the first.
    let piece = tensor.client.properties().memory.alignment;
    let place = tensor.handle.offset_start.unwrap_or(0);
    // No kernel asks for more than 256.
    1 << (piece | place).trailing_zeros().min(8)
}

fn kind(dtype: DType) -> Option<cudaDataType> {
    match dtype {
        DType::F32 => Some(cudaDataType::CUDA_R_32F),
        DType::F16 => Some(cudaDataType::CUDA_R_16F),
        DType::BF16 => Some(cudaDataType::CUDA_R_16BF),
        _ => None,
    }
}

/// A tensor as matrices whose rows or columns lie together; a copy if they do not.
fn readable(tensor: &CudaTensor) -> Option<(CudaTensor, Matrix)> {
    if let Some(matrix) = Matrix::of(&tensor.meta) {
        return Some((tensor.clone(), matrix));
    }
    let copy = into_contiguous(tensor.clone());
    let matrix = Matrix::of(&copy.meta)?;
    Some((copy, matrix))
}

/// Those of a device; nothing if the library cannot be used there, which is said once.
fn products(device: usize) -> Option<Arc<Products>> {
    type Known = HashMap<usize, Option<Arc<Products>>>;
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let mut known = locked(&KNOWN);
    let known = known.get_or_insert_default();
    if let Some(products) = known.get(&device) {
        return products.clone();
    }
    let products = match Products::start(device) {
        Ok(products) => Some(Arc::new(products)),
        Err(failure) if failure.passing => return None,
        Err(Failure { reason, .. }) => {
            tracing::warn!(
                device = format!("cuda:{device}"),
                "cuBLASLt cannot be used ({reason}): kernels for products of matrices will be compiled and \
                 compared, which takes minutes when a shape is first met, and round float32 to TF32"
            );
            None
        }
    };
    known.insert(device, products.clone());
    products
}

/// What a panic of another thread left is still whole: every change is one call.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
