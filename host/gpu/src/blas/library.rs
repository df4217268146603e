//! The library's handle on one device, and the order of its work among CubeCL's.

use std::collections::HashMap;

use cudarc::{
    cublaslt::{
        result::{self as lt, CublasError},
        sys::cublasLtHandle_t,
    },
    driver::{DriverError, result as driver, sys},
};

use super::plan::{Plan, Problem};

/// As much as NVIDIA recommends for Hopper, in bytes.
pub(super) const WORKSPACE: usize = 32 << 20;

/// Plans that are kept: batches of changing length make new ones all the time.
const PLANS: usize = 4096;

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
// used by one thread at a time, under the mutex around the whole.
unsafe impl Send for Library {}

impl Library {
    /// On the n-th device, whose primary context CubeCL uses too. It stays until the process ends.
    pub fn start(device: usize) -> Result<Self, String> {
        // SAFETY: it tries to load the library, whose initialisers do nothing else than others that load it
        // rely on.
        if !unsafe { cudarc::cublaslt::sys::is_culib_present() } {
            return Err(
                "libcublasLt, a part of the CUDA toolkit, is not among the libraries".into(),
            );
        }
        let (record, wait) = context_events()?;
        // SAFETY: the context is that of a device which the driver has, is made current before anything that
        // needs one, and is never released; everything that is made here stays as long.
        unsafe {
            let start = || -> Result<_, Failure> {
                driver::init()?;
                let ordinal = i32::try_from(device).unwrap_or(i32::MAX);
                let context = driver::primary_ctx::retain(driver::device::get(ordinal)?)?;
                driver::ctx::set_current(context)?;
                let event = || driver::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
                Ok(Self {
                    context,
                    stream: driver::stream::create(driver::stream::StreamKind::NonBlocking)?,
                    before: event()?,
                    after: event()?,
                    record,
                    wait,
                    handle: lt::create_handle()?,
                    workspace: driver::malloc_sync(WORKSPACE)?,
                    plans: HashMap::new(),
                })
            };
            start().map_err(|failure| failure.0)
        }
    }

    /// Puts the product on the stream; false if the library does not solve this problem. The pointers are to
    /// the operands and to the result on the device, and to the bias where the problem has one, and stay valid for all that it is given from now on.
    ///
    /// # Errors
    /// What the library or the driver says, after which the result holds nothing of use.
    pub fn multiply(
        &mut self,
        problem: Problem,
        pointers: [u64; 3],
        bias: Option<u64>,
    ) -> Result<bool, String> {
        if self.plans.len() >= PLANS && !self.plans.contains_key(&problem) {
            self.plans.clear();
        }
        let handle = self.handle;
        let mut launch = || -> Result<bool, Failure> {
            // SAFETY: context, events and stream live as long as the process. The plan is for this problem,
            // whose matrices lie where the pointers say; what wrote them is on streams of the context, and so
            // before the product, and what will use them comes after it.
            unsafe {
                driver::ctx::set_current(self.context)?;
                let plan = self.plans.entry(problem);
                let Some(plan) = plan.or_insert_with(|| Plan::of(handle, &problem, bias).ok())
                else {
                    return Ok(false);
                };
                (self.record)(self.context, self.before).result()?;
                sys::cuStreamWaitEvent(self.stream, self.before, 0).result()?;
                plan.launch(handle, pointers, bias, self.workspace, self.stream.cast())?;
                sys::cuEventRecord(self.after, self.stream).result()?;
                (self.wait)(self.context, self.after).result()?;
                Ok(true)
            }
        };
        launch().map_err(|failure| failure.0)
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

/// What either library says.
struct Failure(String);

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self(error.to_string())
    }
}

impl From<CublasError> for Failure {
    fn from(error: CublasError) -> Self {
        Self(error.to_string())
    }
}
