//! Tensors and devices of either backend.

use burn_backend::{
    Backend, BoolDType, DType, ExecutionError, Shape, TensorMetadata, get_device_settings,
};
use burn_cubecl::{
    CubeRuntime, kernel::into_contiguous, ops::numeric::empty_device_dtype, tensor::CubeTensor,
};
use burn_cuda::CudaDevice;
use burn_wgpu::WgpuDevice;
use cubecl::zspace::{Strides, metadata::Metadata};

use crate::{Cuda, Wgpu};

pub(crate) type CudaTensor = <Cuda as burn_backend::BackendTypes>::FloatTensorPrimitive;
pub(crate) type WgpuTensor = <Wgpu as burn_backend::BackendTypes>::FloatTensorPrimitive;

/// A tensor on a GPU, of any type of elements. A clone is another handle to the same memory.
#[derive(Clone, Debug)]
pub enum Tensor {
    /// On a device of CUDA.
    Cuda(CudaTensor),
    /// On a device of WGPU.
    Wgpu(WgpuTensor),
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// Of CUDA.
    Cuda(CudaDevice),
    /// Of WGPU.
    Wgpu(WgpuDevice),
}

impl Tensor {
    /// Its dimensions.
    pub fn shape(&self) -> Shape {
        match self {
            Self::Cuda(tensor) => tensor.shape(),
            Self::Wgpu(tensor) => tensor.shape(),
        }
    }

    /// The distances in memory between elements that are neighbours along each dimension.
    pub fn strides(&self) -> Vec<usize> {
        match self {
            Self::Cuda(tensor) => tensor.meta.strides().to_vec(),
            Self::Wgpu(tensor) => tensor.meta.strides().to_vec(),
        }
    }

    /// Whether its elements lie one after the other.
    pub fn is_contiguous(&self) -> bool {
        match self {
            Self::Cuda(tensor) => tensor.is_contiguous(),
            Self::Wgpu(tensor) => tensor.is_contiguous(),
        }
    }

    /// The tensor with its elements one after the other: a copy if they are not.
    #[must_use]
    pub fn contiguous(self) -> Self {
        match self {
            Self::Cuda(tensor) => Self::Cuda(into_contiguous(tensor)),
            Self::Wgpu(tensor) => Self::Wgpu(into_contiguous(tensor)),
        }
    }

    /// The same memory under other dimensions, which must stay within it.
    #[must_use]
    pub fn with_layout(mut self, shape: Shape, strides: &[usize]) -> Self {
        let meta = match &mut self {
            Self::Cuda(tensor) => &mut tensor.meta,
            Self::Wgpu(tensor) => &mut tensor.meta,
        };
        **meta = Metadata::new(shape, Strides::from(strides.to_vec()));
        self
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Cuda(tensor) => tensor.dtype(),
            Self::Wgpu(tensor) => tensor.dtype(),
        }
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        match self {
            Self::Cuda(tensor) => Device::Cuda(tensor.device.clone()),
            Self::Wgpu(tensor) => Device::Wgpu(tensor.device.clone()),
        }
    }
}

impl Device {
    /// Waits until it has done all that it was given.
    ///
    /// # Errors
    /// What failed there.
    pub fn sync(&self) -> Result<(), ExecutionError> {
        match self {
            Self::Cuda(device) => <Cuda>::sync(device),
            Self::Wgpu(device) => <Wgpu>::sync(device),
        }
    }

    /// A new tensor with whatever is in its memory.
    pub fn empty(&self, shape: Shape, dtype: DType) -> Tensor {
        match self {
            Self::Cuda(device) => Tensor::Cuda(uninitialised(device, shape, dtype)),
            Self::Wgpu(device) => Tensor::Wgpu(uninitialised(device, shape, dtype)),
        }
    }

    /// Whether it stores elements of a type and computes with them.
    pub fn supports_dtype(&self, dtype: DType) -> bool {
        match self {
            Self::Cuda(device) => <Cuda>::supports_dtype(device, dtype),
            Self::Wgpu(device) => <Wgpu>::supports_dtype(device, dtype),
        }
    }

    /// How it stores truth values.
    pub fn bool_dtype(&self) -> BoolDType {
        match self {
            Self::Cuda(device) => get_device_settings::<Cuda>(device).bool_dtype,
            Self::Wgpu(device) => get_device_settings::<Wgpu>(device).bool_dtype,
        }
    }
}

fn uninitialised<R: CubeRuntime>(device: &R::Device, shape: Shape, dtype: DType) -> CubeTensor<R> {
    empty_device_dtype(R::client(device), device.clone(), shape, dtype)
}

#[cold]
pub(crate) fn mixed() -> ! {
    panic!("the tensors are on different devices")
}
