//! The library's handle on one device, and the order of its work among CubeCL's.

use std::collections::{HashMap, hash_map::Entry};

use cudarc::{
    cublaslt::{
        result::{self as lt, CublasError},
        sys::{cublasLtHandle_t, cublasStatus_t},
    },
    driver::{DriverError, result as driver, sys},
};

use super::plan::{PROBLEMS, Plan, Problem};

/// As much as NVIDIA recommends for Hopper, in bytes.
pub(super) const WORKSPACE: usize = 32 << 20;

type ContextEvent = unsafe extern "C" fn(sys::CUcontext, sys::CUevent) -> sys::CUresult;

pub(super) struct Library {
    context: sys::CUcontext,
    stream: sys::CUstream,
    /// All that the device was given before a product, and the product.
    before: sys::CUevent,
    after: sys::CUevent,
    record: ContextEvent,
    wait: ContextEvent,
    handle: cublasLtHandle_t,
    workspace: sys::CUdeviceptr,
    /// How each problem is solved; nothing where the library does not solve it.
    plans: HashMap<Problem, Option<Plan>>,
}

// SAFETY: none of these belongs to a thread: the context is made current before each use, and the rest is
// used by one thread at a time, which has the whole for itself.
unsafe impl Send for Library {}

impl Library {
    /// On the n-th device, whose primary context CubeCL uses too. It stays until the process ends.
    pub fn start(device: usize) -> Result<Self, Failure> {
        // SAFETY: it tries to load the library, whose initialisers do nothing else than others that load it
        // rely on.
        if !unsafe { cudarc::cublaslt::sys::is_culib_present() } {
            let reason = "libcublasLt, a part of the CUDA toolkit, is not among the libraries";
            return Err(Failure::from(reason.to_owned()));
        }
        let (record, wait) = context_events()?;
        // SAFETY: the context is that of a device which the driver has, is made current before anything that
        // needs one, and is never released; everything that is made here stays as long.
        unsafe {
            driver::init()?;
            let ordinal = i32::try_from(device).unwrap_or(i32::MAX);
            let context = driver::primary_ctx::retain(driver::device::get(ordinal)?)?;
            driver::ctx::set_current(context)?;
            let event = || driver::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
            // What fails for want of memory comes before what would be left over.
            let handle = lt::create_handle()?;
            let workspace = match driver::malloc_sync(WORKSPACE) {
                Ok(workspace) => workspace,
                Err(error) => {
                    lt::destroy_handle(handle)?;
                    return Err(error.into());
                }
            };
            Ok(Self {
                context,
                stream: driver::stream::create(driver::stream::StreamKind::NonBlocking)?,
                before: event()?,
                after: event()?,
                record,
                wait,
                handle,
                workspace,
                plans: HashMap::new(),
            })
        }
    }

    /// Puts the product on the stream; false if the library does not solve this problem. The pointers are to
    /// the operands and to the result on the device, and to the bias where the problem has one, and stay valid
    /// for all that it is given from now on.
    ///
    /// # Errors
    /// What the library or the driver says, after which the result holds nothing of use.
    pub fn multiply(
        &mut self,
        problem: Problem,
        pointers: [u64; 3],
        bias: Option<u64>,
    ) -> Result<bool, Failure> {
        let aligned = |(pointer, bytes): (&u64, u32)| pointer.is_multiple_of(bytes.into());
        if !pointers.iter().zip(problem.alignments).all(aligned) {
            let reason =
                format!("a matrix of {problem:?} is not where it is said to be: {pointers:?}");
            return Err(Failure::from(reason));
        }
        if self.plans.len() >= PROBLEMS && !self.plans.contains_key(&problem) {
            self.plans.clear();
        }
        // SAFETY: context, events and stream live as long as the process. The plan is for this problem, whose
        // matrices lie where the pointers say; what wrote them is on streams of the context, and so before the
        // product, and what will use them comes after it.
        unsafe {
            driver::ctx::set_current(self.context)?;
            let plan = match self.plans.entry(problem) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => match Plan::of(self.handle, &problem, bias) {
                    Ok(plan) => place.insert(Some(plan)),
                    Err(error) => match Failure::from(error) {
                        failure if failure.passing => return Err(failure),
                        _ => place.insert(None),
                    },
                },
            };
            let Some(plan) = plan else { return Ok(false) };
            (self.record)(self.context, self.before).result()?;
            sys::cuStreamWaitEvent(self.stream, self.before, 0).result()?;
            plan.launch(
                self.handle,
                pointers,
                bias,
                self.workspace,
                self.stream.cast(),
            )?;
            sys::cuEventRecord(self.after, self.stream).result()?;
            (self.wait)(self.context, self.after).result()?;
        }
        Ok(true)
    }
}

/// cuCtxRecordEvent and cuCtxWaitEvent. Asked of the driver itself: a toolkit from before 12.5 on the machine
/// that builds Tenon says nothing about the driver of the one that runs it.
fn context_events() -> Result<(ContextEvent, ContextEvent), String> {
    let names = ["libcuda.so.1", "libcuda.so", "nvcuda.dll"];
    // SAFETY: the driver is loaded already; this is another handle to it.
    let library = names
        .iter()
        .find_map(|name| unsafe { libloading::Library::new(*name) }.ok())
        .ok_or("the driver cannot be loaded")?;
    // SAFETY: the types are those of the driver's documented C interface.
    let found = unsafe {
        let record = library.get::<ContextEvent>(b"cuCtxRecordEvent\0");
        let wait = library.get::<ContextEvent>(b"cuCtxWaitEvent\0");
        record.and_then(|record| Ok((*record, *wait?)))
    };
    let found = found.map_err(|_| "the driver is older than CUDA 12.5".to_owned());
    // The functions must outlive this handle.
    std::mem::forget(library);
    found
}

/// Why the library or the driver did not do something.
pub(super) struct Failure {
    pub reason: String,
    /// Whether it is for want of memory, and may work another time.
    pub passing: bool,
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self {
            reason,
            passing: false,
        }
    }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self {
            reason: error.to_string(),
            passing: error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY,
        }
    }
}

impl From<CublasError> for Failure {
    fn from(error: CublasError) -> Self {
        Self {
            reason: error.to_string(),
            passing: error.0 == cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED,
        }
    }
}
