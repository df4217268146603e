//! Where tensors live: which devices there are, and what each can store.

mod failures;
mod found;
mod kernels;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
};

use burn_backend::{BoolDType, BoolStore, DType as BurnType};

pub(crate) use failures::check;

use crate::{DType, TensorError, value::guard};

/// A device that computes. Made by [`Device::cpu`] or [`Device::parse`], which only gives devices
/// that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device(Which);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Which {
    Cpu,
    Wgpu(u8),
    Cuda(u8),
}

/// A device that was found on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// As [`Device::parse`] takes it: `cuda:0`.
    pub name: String,
    /// What its driver calls it.
    pub description: String,
    /// Whether this is a real accelerator and not a processor that imitates one.
    pub hardware: bool,
}

/// What a device can store. The contract's types that it lacks are kept in wider ones of the same
/// family; those without a substitute are refused.
struct Storage {
    gpu: tenon_gpu::Device,
    f16: bool,
    bf16: bool,
    i64: BurnType,
    u8: BurnType,
    bool: BurnType,
}

impl Storage {
    fn of(gpu: tenon_gpu::Device) -> Self {
        let has = |dtype| gpu.supports_dtype(dtype);
        let first = |wanted: BurnType| if has(wanted) { wanted } else { BurnType::I32 };
        Self {
            f16: has(BurnType::F16),
            bf16: has(BurnType::BF16),
            i64: first(BurnType::I64),
            u8: first(BurnType::U8),
            bool: gpu.bool_dtype().into(),
            gpu,
        }
    }
}

const MAX_DEVICES: usize = 16;

type Slot = OnceLock<Result<Storage, TensorError>>;

/// The devices that were started.
static WGPU: [Slot; MAX_DEVICES] = [const { OnceLock::new() }; MAX_DEVICES];
static CUDA: [Slot; MAX_DEVICES] = [const { OnceLock::new() }; MAX_DEVICES];

/// Waits until all devices have done what they were given, well or not.
fn wait_for_all() {
    for storage in WGPU.iter().chain(&CUDA).filter_map(OnceLock::get).flatten() {
        let waited = catch_unwind(AssertUnwindSafe(|| storage.gpu.sync()));
        if !matches!(waited, Ok(Ok(()))) {
            tracing::debug!("a device that failed could not be waited for");
        }
    }
}

impl Device {
    /// The processor and main memory.
    pub const fn cpu() -> Self {
        Self(Which::Cpu)
    }

    /// Whether this is the processor.
    #[inline]
    pub const fn is_cpu(&self) -> bool {
        matches!(self.0, Which::Cpu)
    }

    /// The device of a name: `cpu`, `cuda` (the first), `cuda:1`, `wgpu`, `wgpu:1`, or `auto`: CUDA
    /// if there is one, else a hardware GPU of wgpu, else the processor.
    ///
    /// # Errors
    /// `InvalidArgument` when the name is not one of these or there is no such device; the sentence
    /// lists those that were found.
    pub fn parse(name: &str) -> Result<Self, TensorError> {
        let (kind, index) = match name.split_once(':') {
            Some((kind, index)) => (kind, index.parse::<u8>().ok()),
            None => (name, Some(0)),
        };
        let wanted = match (kind, index, name.contains(':')) {
            ("auto", _, false) => return Ok(Self::best()),
            ("cpu", Some(0), _) => return Ok(Self::cpu()),
            ("cuda", Some(index), _) => Which::Cuda(index),
            ("wgpu", Some(index), _) => Which::Wgpu(index),
            _ => {
                return Err(TensorError::InvalidArgument(format!(
                    "device `{name}`: the devices are auto, cpu, cuda, cuda:N, wgpu and wgpu:N; \
                     found here: {}",
                    found_text()
                )));
            }
        };
        let device = Self(wanted);
        if found::all()
            .iter()
            .any(|info| info.name == device.to_string())
        {
            return Ok(device);
        }
        let why = match wanted {
            Which::Cuda(_) => format!("there is no such CUDA device ({})", found::cuda_reason()),
            _ => "wgpu finds no such adapter; install its Vulkan driver".to_owned(),
        };
        Err(TensorError::InvalidArgument(format!(
            "device `{name}`: {why}. Found here: {}",
            found_text()
        )))
    }

    /// The devices of this machine, the processor first.
    pub fn available() -> Vec<DeviceInfo> {
        found::all().to_vec()
    }

    fn best() -> Self {
        let hardware = |prefix: &str| {
            found::all()
                .iter()
                .find(|info| info.hardware && info.name.starts_with(prefix))
        };
        match (hardware("cuda"), hardware("wgpu")) {
            (Some(info), _) | (None, Some(info)) => Self::parse(&info.name).unwrap_or(Self::cpu()),
            _ => Self::cpu(),
        }
    }

    /// Waits until the device has done everything that it was given. Nothing to wait for on the
    /// processor.
    ///
    /// # Errors
    /// `Failed` when the device did.
    pub fn synchronize(&self) -> Result<(), TensorError> {
        if self.is_cpu() {
            return Ok(());
        }
        let device = self.gpu()?;
        guard("synchronize", || {
            device
                .sync()
                .map_err(|error| crate::value::backend_error("synchronize", &error.to_string()))
        })
    }

    fn storage(&self) -> Result<&'static Storage, TensorError> {
        let slot = match self.0 {
            Which::Cpu => None,
            Which::Wgpu(index) => WGPU.get(usize::from(index)),
            Which::Cuda(index) => CUDA.get(usize::from(index)),
        };
        let slot = slot.ok_or_else(|| self.no_gpu())?;
        slot.get_or_init(|| {
            let gpu = match self.0 {
                Which::Wgpu(index) => tenon_gpu::Device::Wgpu(found::wgpu(index)),
                Which::Cuda(index) => {
                    tenon_gpu::Device::Cuda(tenon_gpu::CudaDevice::new(usize::from(index)))
                }
                Which::Cpu => return Err(self.no_gpu()),
            };
            // The first use starts the driver.
            guard("start of the device", || {
                kernels::configure();
                failures::watch();
                Ok(Storage::of(gpu))
            })
        })
        .as_ref()
        .map_err(Clone::clone)
    }

    /// Burn's handle of a device that is not the processor.
    pub(crate) fn gpu(&self) -> Result<&'static tenon_gpu::Device, TensorError> {
        self.storage().map(|storage| &storage.gpu)
    }

    fn no_gpu(&self) -> TensorError {
        TensorError::Unsupported(format!("{self}: the processor is no GPU"))
    }

    /// The type in which the device keeps elements of `dtype`.
    pub(crate) fn stored(&self, dtype: DType) -> Result<BurnType, TensorError> {
        if self.is_cpu() {
            return Ok(match dtype {
                DType::F32 => BurnType::F32,
                DType::F16 => BurnType::F16,
                DType::BF16 => BurnType::BF16,
                DType::I64 => BurnType::I64,
                DType::I32 => BurnType::I32,
                DType::U8 => BurnType::U8,
                DType::Bool => BurnType::Bool(BoolStore::Native),
            });
        }
        let storage = self.storage()?;
        let lacks = |dtype: DType| {
            Err(TensorError::Unsupported(format!(
                "{self} cannot compute in {dtype}; use float32"
            )))
        };
        Ok(match dtype {
            DType::F32 => BurnType::F32,
            DType::F16 if storage.f16 => BurnType::F16,
            DType::BF16 if storage.bf16 => BurnType::BF16,
            DType::F16 | DType::BF16 => return lacks(dtype),
            DType::I64 => storage.i64,
            DType::I32 => BurnType::I32,
            DType::U8 => storage.u8,
            DType::Bool => storage.bool,
        })
    }

    /// The type in which the device keeps booleans.
    pub(crate) fn bool_store(&self) -> Result<BoolDType, TensorError> {
        Ok(self.stored(DType::Bool)?.into())
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Which::Cpu => f.write_str("cpu"),
            Which::Wgpu(index) => write!(f, "wgpu:{index}"),
            Which::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

fn found_text() -> String {
    found::all()
        .iter()
        .map(|info| format!("{} ({})", info.name, info.description))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_round_trip() {
        for info in Device::available() {
            assert_eq!(Device::parse(&info.name).unwrap().to_string(), info.name);
        }
        assert_eq!(Device::parse("cpu").unwrap(), Device::cpu());
        let auto = Device::parse("auto").unwrap().to_string();
        assert!(Device::available().iter().any(|info| info.name == auto));
    }

    #[test]
    fn what_is_not_there_is_refused_with_what_is() {
        for name in [
            "", "gpu", "cuda:x", "cuda:-1", "cpu:1", "auto:0", "cuda:250", "wgpu:250",
        ] {
            let error = Device::parse(name).unwrap_err();
            assert!(matches!(error, TensorError::InvalidArgument(_)));
            let text = error.to_string();
            assert!(
                text.contains(&format!("`{name}`")) && text.contains("cpu ("),
                "{text}"
            );
        }
    }
}
