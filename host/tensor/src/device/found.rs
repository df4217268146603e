//! What devices there are, found without starting any of them: drivers that are missing must give
//! an answer and never a panic.

use std::{ffi::c_char, sync::OnceLock};

use burn_wgpu::{
    WgpuDevice,
    graphics::{AutoGraphicsApi, GraphicsApi},
};

use super::{DeviceInfo, MAX_DEVICES};
use crate::value::guard;

struct Found {
    all: Vec<DeviceInfo>,
    wgpu: Vec<WgpuDevice>,
    cuda: Result<Vec<String>, String>,
}

fn found() -> &'static Found {
    static FOUND: OnceLock<Found> = OnceLock::new();
    FOUND.get_or_init(|| {
        let mut all = vec![DeviceInfo {
            name: "cpu".into(),
            description: processor(),
            hardware: false,
        }];
        let cuda = cuda_devices();
        for (index, name) in cuda.iter().flatten().enumerate() {
            all.push(DeviceInfo {
                name: format!("cuda:{index}"),
                description: name.clone(),
                hardware: true,
            });
        }
        let adapters = guard("list of adapters", || Ok(wgpu_adapters())).unwrap_or_default();
        let mut devices = Vec::new();
        for (index, (device, info)) in adapters.into_iter().enumerate() {
            all.push(DeviceInfo {
                name: format!("wgpu:{index}"),
                description: format!(
                    "{}, {:?} over {:?}",
                    info.name, info.device_type, info.backend
                ),
                hardware: !matches!(device, WgpuDevice::Cpu | WgpuDevice::DefaultDevice),
            });
            devices.push(device);
        }
        Found {
            all,
            wgpu: devices,
            cuda,
        }
    })
}

/// Everything that was found, the processor first.
pub(super) fn all() -> &'static [DeviceInfo] {
    &found().all
}

/// wgpu's own name of the adapter.
pub(super) fn wgpu(index: u8) -> WgpuDevice {
    let device = found().wgpu.get(usize::from(index));
    device.cloned().unwrap_or(WgpuDevice::DefaultDevice)
}

/// What the driver calls the CUDA devices.
pub(super) fn cuda_names() -> &'static [String] {
    found().cuda.as_deref().unwrap_or_default()
}

/// Why there are no (more) CUDA devices.
pub(super) fn cuda_reason() -> String {
    match &found().cuda {
        Ok(names) => format!("the driver has {}", names.len()),
        Err(reason) => reason.clone(),
    }
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("processor", |(_, name)| name.trim());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {threads} threads")
}

/// The adapters of the graphics interface that Burn uses, and Burn's names for them: the n-th of
/// its type.
fn wgpu_adapters() -> Vec<(WgpuDevice, wgpu::AdapterInfo)> {
    let backends = wgpu::Backends::from(AutoGraphicsApi::backend());
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = burn_backend::read_sync(instance.enumerate_adapters(backends));
    let mut seen = [0_usize; 3];
    let mut next = |which: usize| {
        seen[which] += 1;
        seen[which] - 1
    };
    adapters
        .into_iter()
        .map(|adapter| adapter.get_info())
        .map(|info| {
            let device = match info.device_type {
                wgpu::DeviceType::DiscreteGpu => WgpuDevice::DiscreteGpu(next(0)),
                wgpu::DeviceType::IntegratedGpu => WgpuDevice::IntegratedGpu(next(1)),
                wgpu::DeviceType::VirtualGpu => WgpuDevice::VirtualGpu(next(2)),
                wgpu::DeviceType::Cpu => WgpuDevice::Cpu,
                wgpu::DeviceType::Other => WgpuDevice::DefaultDevice,
            };
            (device, info)
        })
        .take(MAX_DEVICES)
        .collect()
}

/// The names of the CUDA devices, or why there are none. Asks the driver library itself: Burn's
/// backend panics where it is missing.
fn cuda_devices() -> Result<Vec<String>, String> {
    type Init = unsafe extern "C" fn(u32) -> i32;
    type Count = unsafe extern "C" fn(*mut i32) -> i32;
    type Name = unsafe extern "C" fn(*mut c_char, i32, i32) -> i32;

    let names = ["libcuda.so.1", "libcuda.so", "nvcuda.dll"];
    // SAFETY: loading the driver runs its initialisers, which is what loading it is for; Burn's
    // backend loads the same library.
    let library = names
        .iter()
        .find_map(|name| unsafe { libloading::Library::new(*name) }.ok())
        .ok_or("no NVIDIA driver: libcuda.so.1 cannot be loaded")?;
    let missing = |name: &str| format!("the NVIDIA driver lacks {name}");
    // SAFETY: the types are those of the driver's documented C interface.
    let (init, count, name) = unsafe {
        (
            library
                .get::<Init>(b"cuInit\0")
                .map_err(|_| missing("cuInit"))?,
            library
                .get::<Count>(b"cuDeviceGetCount\0")
                .map_err(|_| missing("cuDeviceGetCount"))?,
            library
                .get::<Name>(b"cuDeviceGetName\0")
                .map_err(|_| missing("cuDeviceGetName"))?,
        )
    };
    // SAFETY: cuInit takes flags, which must be 0.
    let code = unsafe { init(0) };
    if code != 0 {
        return Err(format!(
            "the NVIDIA driver does not start: cuInit gives {code}"
        ));
    }
    let mut devices = 0;
    // SAFETY: the pointer is to a live i32.
    let code = unsafe { count(&mut devices) };
    if code != 0 {
        return Err(format!(
            "the NVIDIA driver cannot count devices: error {code}"
        ));
    }
    let names = (0..devices.clamp(0, MAX_DEVICES as i32)).map(|device| {
        let mut text = [0_u8; 256];
        // SAFETY: the buffer is as long as is said, and the driver ends the name with a zero.
        let code = unsafe { name(text.as_mut_ptr().cast(), text.len() as i32, device) };
        let length = text.iter().position(|byte| *byte == 0).unwrap_or(0);
        match code {
            0 => String::from_utf8_lossy(&text[..length]).into_owned(),
            _ => "CUDA device".to_owned(),
        }
    });
    Ok(names.collect())
}
