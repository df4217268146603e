//! Burn's operations on tensors of either backend: the same functions as Burn's backends have, chosen at
//! run time. (`burn-dispatch` would do as well, but hides the tensors from our kernels.)

use burn_backend::{
    BoolDType, DType, ExecutionError, FloatDType, IntDType, Scalar, Shape, Slice, TensorData,
    ops::{ActivationOps, BoolTensorOps, ConvOptions, FloatTensorOps, IntTensorOps, ModuleOps},
    read_sync,
};

use burn_cubecl::{CubeRuntime, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::zspace::{Strides, metadata::Metadata};

use crate::{
    Cuda, Device, Tensor, Wgpu, blas,
    kernels::row,
    tensor::{CudaTensor, WgpuTensor, mixed},
};

/// The backend of whatever GPU a tensor is on. All functions are those of Burn's backends and panic where
/// these do, and when tensors are on different devices.
pub struct Gpu;

/// Operations that get tensors (those in brackets) and give one. Those that launch a kernel with a unit for
/// every element of the result have its shape and type at the end: CUDA does not launch kernels without units.
macro_rules! operations {
    ($($ops:ident {
        $($name:ident[$($t:ident),+]($($arg:ident: $ty:ty),+) $(=> $result:expr)?;)*
    })*) => {
        #[allow(missing_docs)]
        impl Gpu {$($(
            #[allow(unused_parens, clippy::too_many_arguments)]
            pub fn $name($($arg: $ty),+) -> Tensor {
                let _tensors = [$(&$t),+];
                $(
                    if let Some(nothing) = nothing(&_tensors, || $result) {
                        return nothing;
                    }
                )?
                match ($($t),+) {
                    ($(Tensor::Cuda($t)),+) => Tensor::Cuda(<Cuda as $ops<Cuda>>::$name($($arg),+)),
                    ($(Tensor::Wgpu($t)),+) => Tensor::Wgpu(<Wgpu as $ops<Wgpu>>::$name($($arg),+)),
                    #[allow(unreachable_patterns)]
                    _ => mixed(),
                }
            }
        )*)*}
    };
}

operations! {
    FloatTensorOps {
        float_reshape[tensor](tensor: Tensor, shape: Shape);
        float_sum[tensor](tensor: Tensor);
        float_permute[tensor](tensor: Tensor, axes: &[usize]);
        float_expand[tensor](tensor: Tensor, shape: Shape);
        float_slice[tensor](tensor: Tensor, slices: &[Slice]);
    }
    IntTensorOps {
        int_reshape[tensor](tensor: Tensor, shape: Shape);
        int_sum[tensor](tensor: Tensor);
        int_permute[tensor](tensor: Tensor, axes: &[usize]);
        int_expand[tensor](tensor: Tensor, shape: Shape);
        int_slice[tensor](tensor: Tensor, slices: &[Slice]);
    }
    BoolTensorOps {
        bool_reshape[tensor](tensor: Tensor, shape: Shape);
        bool_permute[tensor](tensor: Tensor, axes: &[usize]);
        bool_expand[tensor](tensor: Tensor, shape: Shape);
        bool_slice[tensor](tensor: Tensor, slices: &[Slice]);
    }
    ModuleOps {
        conv2d_x_backward[x, weight, grad](x: Tensor, weight: Tensor, grad: Tensor, options: ConvOptions<2>);
        conv2d_weight_backward[x, weight, grad](x: Tensor, weight: Tensor, grad: Tensor, options: ConvOptions<2>);
        avg_pool2d[x](x: Tensor, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2], count_padding: bool, ceil: bool);
        avg_pool2d_backward[x, grad](x: Tensor, grad: Tensor, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2], count_padding: bool, ceil: bool);
    }
}

operations! {
    FloatTensorOps {
        float_abs[tensor](tensor: Tensor) => same(&tensor);
        float_exp[tensor](tensor: Tensor) => same(&tensor);
        float_log[tensor](tensor: Tensor) => same(&tensor);
        float_sin[tensor](tensor: Tensor) => same(&tensor);
        float_cos[tensor](tensor: Tensor) => same(&tensor);
        float_erf[tensor](tensor: Tensor) => same(&tensor);
        float_add[lhs, rhs](lhs: Tensor, rhs: Tensor) => broadcast(&lhs, &rhs);
        float_add_scalar[lhs](lhs: Tensor, rhs: Scalar) => same(&lhs);
        float_argmax[tensor](tensor: Tensor, dim: usize, out_dtype: IntDType) => reduced(&tensor, dim, out_dtype.into());
        float_cast[tensor](tensor: Tensor, dtype: FloatDType) => of(&tensor, dtype.into());
        float_clamp_max[tensor](tensor: Tensor, max: Scalar) => same(&tensor);
        float_clamp_min[tensor](tensor: Tensor, min: Scalar) => same(&tensor);
        float_cumsum[tensor](tensor: Tensor, dim: usize) => same(&tensor);
        float_div[lhs, rhs](lhs: Tensor, rhs: Tensor) => broadcast(&lhs, &rhs);
        float_equal[lhs, rhs](lhs: Tensor, rhs: Tensor, out_dtype: BoolDType) => of(&lhs, out_dtype.into());
        float_equal_elem[lhs](lhs: Tensor, rhs: Scalar, out_dtype: BoolDType) => of(&lhs, out_dtype.into());
        float_floor[tensor](tensor: Tensor) => same(&tensor);
        float_gather[tensor, indices](dim: usize, tensor: Tensor, indices: Tensor) => (indices.shape(), tensor.dtype());
        float_greater[lhs, rhs](lhs: Tensor, rhs: Tensor, out_dtype: BoolDType) => of(&lhs, out_dtype.into());
        float_greater_elem[lhs](lhs: Tensor, rhs: Scalar, out_dtype: BoolDType) => of(&lhs, out_dtype.into());
        float_into_int[tensor](tensor: Tensor, out_dtype: IntDType) => of(&tensor, out_dtype.into());
        float_lower[lhs, rhs](lhs: Tensor, rhs: Tensor, out_dtype: BoolDType) => of(&lhs, out_dtype.into());
        float_lower_elem[lhs](lhs: Tensor, rhs: Scalar, out_dtype: BoolDType) => of(&lhs, out_dtype.into());
        float_lower_equal[lhs, rhs](lhs: Tensor, rhs: Tensor, out_dtype: BoolDType) => of(&lhs, out_dtype.into());
        float_mask_fill[tensor, mask](tensor: Tensor, mask: Tensor, value: Scalar) => same(&tensor);
        float_mask_where[tensor, mask, value](tensor: Tensor, mask: Tensor, value: Tensor) => same(&tensor);
        float_max_dim[tensor](tensor: Tensor, dim: usize) => reduced(&tensor, dim, tensor.dtype());
        float_min_dim[tensor](tensor: Tensor, dim: usize) => reduced(&tensor, dim, tensor.dtype());
        float_mul[lhs, rhs](lhs: Tensor, rhs: Tensor) => broadcast(&lhs, &rhs);
        float_mul_scalar[lhs](lhs: Tensor, rhs: Scalar) => same(&lhs);
        float_neg[tensor](tensor: Tensor) => same(&tensor);
        float_powf_scalar[tensor](tensor: Tensor, value: Scalar) => same(&tensor);
        float_recip[tensor](tensor: Tensor) => same(&tensor);
        float_select[tensor, indices](tensor: Tensor, dim: usize, indices: Tensor) => selected(&tensor, dim, &indices);
        float_sign[tensor](tensor: Tensor) => same(&tensor);
        float_sqrt[tensor](tensor: Tensor) => same(&tensor);
        float_sub[lhs, rhs](lhs: Tensor, rhs: Tensor) => broadcast(&lhs, &rhs);
        float_sum_dim[tensor](tensor: Tensor, dim: usize) => reduced(&tensor, dim, tensor.dtype());
        float_tanh[tensor](tensor: Tensor) => same(&tensor);
        float_flip[tensor](tensor: Tensor, axes: &[usize]) => same(&tensor);
    }
    IntTensorOps {
        bitwise_and_scalar[lhs](lhs: Tensor, rhs: Scalar) => same(&lhs);
        int_abs[tensor](tensor: Tensor) => same(&tensor);
        int_add[lhs, rhs](lhs: Tensor, rhs: Tensor) => broadcast(&lhs, &rhs);
        int_add_scalar[lhs](lhs: Tensor, rhs: Scalar) => same(&lhs);
        int_argmax[tensor](tensor: Tensor, dim: usize) => reduced(&tensor, dim, tensor.dtype());
        int_cast[tensor](tensor: Tensor, dtype: IntDType) => of(&tensor, dtype.into());
        int_clamp_max[tensor](tensor: Tensor, max: Scalar) => same(&tensor);
        int_clamp_min[tensor](tensor: Tensor, min: Scalar) => same(&tensor);
        int_cumsum[tensor](tensor: Tensor, dim: usize) => same(&tensor);
        int_equal[lhs, rhs](lhs: Tensor, rhs: Tensor, out_dtype: BoolDType) => of(&lhs, out_dtype.into());
        int_equal_elem[lhs](lhs: Tensor, rhs: Scalar, out_dtype: BoolDType) => of(&lhs, out_dtype.into());
        int_gather[tensor, indices](dim: usize, tensor: Tensor, indices: Tensor) => (indices.shape(), tensor.dtype());
        int_greater[lhs, rhs](lhs: Tensor, rhs: Tensor, out_dtype: BoolDType) => of(&lhs, out_dtype.into());
        int_greater_elem[lhs](lhs: Tensor, rhs: Scalar, out_dtype: BoolDType) => of(&lhs, out_dtype.into());
        int_into_float[tensor](tensor: Tensor, out_dtype: FloatDType) => of(&tensor, out_dtype.into());
        int_lower[lhs, rhs](lhs: Tensor, rhs: Tensor, out_dtype: BoolDType) => of(&lhs, out_dtype.into());
        int_lower_elem[lhs](lhs: Tensor, rhs: Scalar, out_dtype: BoolDType) => of(&lhs, out_dtype.into());
        int_lower_equal[lhs, rhs](lhs: Tensor, rhs: Tensor, out_dtype: BoolDType) => of(&lhs, out_dtype.into());
        int_mask_fill[tensor, mask](tensor: Tensor, mask: Tensor, value: Scalar) => same(&tensor);
        int_mask_where[tensor, mask, value](tensor: Tensor, mask: Tensor, value: Tensor) => same(&tensor);
        int_max_dim[tensor](tensor: Tensor, dim: usize) => reduced(&tensor, dim, tensor.dtype());
        int_min_dim[tensor](tensor: Tensor, dim: usize) => reduced(&tensor, dim, tensor.dtype());
        int_mul[lhs, rhs](lhs: Tensor, rhs: Tensor) => broadcast(&lhs, &rhs);
        int_mul_scalar[lhs](lhs: Tensor, rhs: Scalar) => same(&lhs);
        int_select[tensor, indices](tensor: Tensor, dim: usize, indices: Tensor) => selected(&tensor, dim, &indices);
        int_sign[tensor](tensor: Tensor) => same(&tensor);
        int_sub[lhs, rhs](lhs: Tensor, rhs: Tensor) => broadcast(&lhs, &rhs);
        int_sum_dim[tensor](tensor: Tensor, dim: usize) => reduced(&tensor, dim, tensor.dtype());
        int_flip[tensor](tensor: Tensor, axes: &[usize]) => same(&tensor);
    }
    BoolTensorOps {
        bool_and[lhs, rhs](lhs: Tensor, rhs: Tensor) => same(&lhs);
        bool_equal[lhs, rhs](lhs: Tensor, rhs: Tensor) => same(&lhs);
        bool_gather[tensor, indices](dim: usize, tensor: Tensor, indices: Tensor) => (indices.shape(), tensor.dtype());
        bool_into_float[tensor](tensor: Tensor, out_dtype: FloatDType) => of(&tensor, out_dtype.into());
        bool_into_int[tensor](tensor: Tensor, out_dtype: IntDType) => of(&tensor, out_dtype.into());
        bool_mask_fill[tensor, mask](tensor: Tensor, mask: Tensor, value: Scalar) => same(&tensor);
        bool_mask_where[tensor, mask, value](tensor: Tensor, mask: Tensor, value: Tensor) => same(&tensor);
        bool_not[tensor](tensor: Tensor) => same(&tensor);
        bool_select[tensor, indices](tensor: Tensor, dim: usize, indices: Tensor) => selected(&tensor, dim, &indices);
        bool_flip[tensor](tensor: Tensor, axes: &[usize]) => same(&tensor);
    }
    ActivationOps {
        log_softmax[tensor](tensor: Tensor, dim: usize) => same(&tensor);
        relu[tensor](tensor: Tensor) => same(&tensor);
        sigmoid[tensor](tensor: Tensor) => same(&tensor);
        softmax[tensor](tensor: Tensor, dim: usize) => same(&tensor);
    }
}

/// Operations that write values into a tensor: without values, it stays as it is.
macro_rules! writes {
    ($($ops:ident { $($name:ident[$tensor:ident $(, $t:ident)*; $value:ident]($($arg:ident: $ty:ty),+);)* })*) => {
        #[allow(missing_docs)]
        impl Gpu {$($(
            pub fn $name($($arg: $ty),+) -> Tensor {
                if $value.shape().num_elements() == 0 {
                    return $tensor;
                }
                match ($tensor, $($t,)* $value) {
                    (Tensor::Cuda($tensor), $(Tensor::Cuda($t),)* Tensor::Cuda($value)) => Tensor::Cuda(<Cuda as $ops<Cuda>>::$name($($arg),+)),
                    (Tensor::Wgpu($tensor), $(Tensor::Wgpu($t),)* Tensor::Wgpu($value)) => Tensor::Wgpu(<Wgpu as $ops<Wgpu>>::$name($($arg),+)),
                    _ => mixed(),
                }
            }
        )*)*}
    };
}

writes! {
    FloatTensorOps {
        float_scatter_add[tensor, indices; value](dim: usize, tensor: Tensor, indices: Tensor, value: Tensor);
        float_select_add[tensor, indices; value](tensor: Tensor, dim: usize, indices: Tensor, value: Tensor);
        float_slice_assign[tensor; value](tensor: Tensor, slices: &[Slice], value: Tensor);
    }
    IntTensorOps {
        int_scatter_add[tensor, indices; value](dim: usize, tensor: Tensor, indices: Tensor, value: Tensor);
        int_slice_assign[tensor; value](tensor: Tensor, slices: &[Slice], value: Tensor);
    }
    BoolTensorOps {
        bool_slice_assign[tensor; value](tensor: Tensor, slices: &[Slice], value: Tensor);
    }
}

/// The result of an operation on tensors of which one is empty, if it is empty too.
fn nothing(tensors: &[&Tensor], result: impl Fn() -> (Shape, DType)) -> Option<Tensor> {
    if tensors
        .iter()
        .all(|tensor| tensor.shape().num_elements() > 0)
    {
        return None;
    }
    let (shape, dtype) = result();
    (shape.num_elements() == 0).then(|| tensors[0].device().empty(shape, dtype))
}

/// A result of the shape and type of a tensor.
fn same(tensor: &Tensor) -> (Shape, DType) {
    of(tensor, tensor.dtype())
}

/// A result of the shape that both tensors broadcast to.
fn broadcast(lhs: &Tensor, rhs: &Tensor) -> (Shape, DType) {
    let mut shape = lhs.shape();
    for (dim, other) in shape.iter_mut().zip(rhs.shape().iter()) {
        if *dim == 1 {
            *dim = *other;
        }
    }
    (shape, lhs.dtype())
}

/// A result of the shape of a tensor.
fn of(tensor: &Tensor, dtype: DType) -> (Shape, DType) {
    (tensor.shape(), dtype)
}

/// A tensor's result with one place in a dimension.
fn reduced(tensor: &Tensor, dim: usize, dtype: DType) -> (Shape, DType) {
    let mut shape = tensor.shape();
    shape[dim] = 1;
    (shape, dtype)
}

/// A tensor's result with as many places in a dimension as there are indices.
fn selected(tensor: &Tensor, dim: usize, indices: &Tensor) -> (Shape, DType) {
    let mut shape = tensor.shape();
    shape[dim] = indices.shape().num_elements();
    (shape, tensor.dtype())
}

/// Operations that make a tensor on a device.
macro_rules! makers {
    ($($ops:ident { $($name:ident($($before:ident: $before_type:ty),+; $($after:ident: $after_type:ty),*);)* })*) => {
        #[allow(missing_docs)]
        impl Gpu {$($(
            pub fn $name($($before: $before_type,)+ device: &Device, $($after: $after_type),*) -> Tensor {
                match device {
                    Device::Cuda(device) => {
                        Tensor::Cuda(<Cuda as $ops<Cuda>>::$name($($before,)+ device, $($after),*))
                    }
                    Device::Wgpu(device) => {
                        Tensor::Wgpu(<Wgpu as $ops<Wgpu>>::$name($($before,)+ device, $($after),*))
                    }
                }
            }
        )*)*}
    };
}

makers! {
    FloatTensorOps {
        float_from_data(data: TensorData; );
        float_full(shape: Shape, value: Scalar; dtype: FloatDType);
        float_zeros(shape: Shape; dtype: FloatDType);
    }
    IntTensorOps {
        int_from_data(data: TensorData; );
        int_full(shape: Shape, value: Scalar; dtype: IntDType);
        int_zeros(shape: Shape; dtype: IntDType);
    }
    BoolTensorOps {
        bool_from_data(data: TensorData; );
        bool_ones(shape: Shape; dtype: BoolDType);
        bool_zeros(shape: Shape; dtype: BoolDType);
    }
}

/// Operations that join tensors that have elements.
macro_rules! joins {
    ($($ops:ident::$name:ident,)*) => {
        #[allow(missing_docs)]
        impl Gpu {$(
            pub fn $name(tensors: Vec<Tensor>, dim: usize) -> Tensor {
                match tensors.first() {
                    Some(Tensor::Cuda(_)) => {
                        Tensor::Cuda(<Cuda as $ops<Cuda>>::$name(all_cuda(tensors), dim))
                    }
                    _ => Tensor::Wgpu(<Wgpu as $ops<Wgpu>>::$name(all_wgpu(tensors), dim)),
                }
            }
        )*}
    };
}

joins! { FloatTensorOps::float_cat, IntTensorOps::int_cat, BoolTensorOps::bool_cat, }

fn all_cuda(tensors: Vec<Tensor>) -> Vec<CudaTensor> {
    let one = |tensor| match tensor {
        Tensor::Cuda(tensor) => tensor,
        Tensor::Wgpu(_) => mixed(),
    };
    tensors.into_iter().map(one).collect()
}

fn all_wgpu(tensors: Vec<Tensor>) -> Vec<WgpuTensor> {
    let one = |tensor| match tensor {
        Tensor::Wgpu(tensor) => tensor,
        Tensor::Cuda(_) => mixed(),
    };
    tensors.into_iter().map(one).collect()
}

/// Operations that wait for a tensor and copy it to the host.
macro_rules! reads {
    ($($ops:ident::$name:ident,)*) => {
        #[allow(missing_docs)]
        impl Gpu {$(
            pub fn $name(tensor: Tensor) -> Result<TensorData, ExecutionError> {
                match tensor {
                    Tensor::Cuda(tensor) => read_sync(<Cuda as $ops<Cuda>>::$name(tensor)),
                    Tensor::Wgpu(tensor) => read_sync(<Wgpu as $ops<Wgpu>>::$name(tensor)),
                }
            }
        )*}
    };
}

reads! { FloatTensorOps::float_into_data, IntTensorOps::int_into_data, BoolTensorOps::bool_into_data, }

impl Gpu {
    /// The products of matrices [..., rows, inner] and [..., inner, cols] whose leading dimensions agree, of
    /// another type than theirs if asked for, plus a bias [cols] of that type.
    pub fn float_product(lhs: Tensor, rhs: Tensor, bias: Option<Tensor>, dtype: DType) -> Tensor {
        let (left, right) = (lhs.shape(), rhs.shape());
        let rank = left.len();
        let mut bias = bias;
        let out = match (lhs, rhs) {
            (Tensor::Cuda(lhs), Tensor::Cuda(rhs)) => {
                let (lhs, rhs) = (settled(lhs), settled(rhs));
                let with = match &bias {
                    Some(Tensor::Cuda(bias)) => Some(bias),
                    _ => None,
                };
                match blas::matmul(&lhs, &rhs, with, dtype) {
                    Some(out) => {
                        bias = None;
                        Tensor::Cuda(out)
                    }
                    None => Tensor::Cuda(<Cuda as FloatTensorOps<Cuda>>::float_matmul(lhs, rhs)),
                }
            }
            (Tensor::Wgpu(lhs), Tensor::Wgpu(rhs)) => Tensor::Wgpu(<Wgpu as FloatTensorOps<
                Wgpu,
            >>::float_matmul(
                settled(lhs), settled(rhs)
            )),
            _ => mixed(),
        };
        let mut out = out;
        if out.dtype() != dtype {
            out = Self::float_cast(out, dtype.into());
        }
        if let Some(bias) = bias {
            let mut shape = vec![1; out.shape().len()];
            shape[out.shape().len() - 1] = right[rank - 1];
            out = Self::float_add(out, Self::float_reshape(bias, shape.into()));
        }
        if rank <= 3 {
            return out;
        }
        let mut shape = left.to_vec();
        shape[rank - 1] = right[rank - 1];
        let mut strides = out.strides();
        for dim in shape[1..rank - 2].iter().rev() {
            let outer = strides[0] * dim;
            strides.insert(0, outer);
        }
        out.with_layout(shape.into(), &strides)
    }
}

/// Matrices as Burn's products read them rightly: [batch, rows, cols] with one distance between matrices (a
/// product by TMA takes the last leading dimension's for all), and vectors whose elements lie together (some
/// kernels for these do not look at strides).
fn settled<R: CubeRuntime>(mut tensor: CubeTensor<R>) -> CubeTensor<R> {
    let (shape, strides) = (tensor.meta.shape().to_vec(), tensor.meta.strides().to_vec());
    let Some(lead) = shape.len().checked_sub(2) else {
        return tensor;
    };
    let (rows, cols) = (shape[lead], shape[lead + 1]);
    let apart = (rows == 1 && cols != 1 && strides[lead + 1] != 1)
        || (cols == 1 && rows != 1 && strides[lead] != 1);
    let between = match row::step(&shape[..lead], &strides[..lead]) {
        Some(between) if !apart => between,
        _ => {
            tensor = into_contiguous(tensor);
            Some(rows * cols)
        }
    };
    if lead == 0 {
        return tensor;
    }
    let strides = &tensor.meta.strides()[lead..];
    let between = between.unwrap_or_else(|| (rows * strides[0]).max(cols * strides[1]));
    let strides = vec![between, strides[0], strides[1]];
    let batch = shape[..lead].iter().product();
    *tensor.meta = Metadata::new(Shape::from(vec![batch, rows, cols]), Strides::from(strides));
    tensor
}

#[allow(missing_docs)]
impl Gpu {
    pub fn float_device(tensor: &Tensor) -> Device {
        tensor.device()
    }

    pub fn int_device(tensor: &Tensor) -> Device {
        tensor.device()
    }

    pub fn bool_device(tensor: &Tensor) -> Device {
        tensor.device()
    }

    pub fn conv2d(
        x: Tensor,
        weight: Tensor,
        bias: Option<Tensor>,
        options: ConvOptions<2>,
    ) -> Tensor {
        match (x, weight, bias) {
            (Tensor::Cuda(x), Tensor::Cuda(weight), None) => {
                Tensor::Cuda(<Cuda as ModuleOps<Cuda>>::conv2d(x, weight, None, options))
            }
            (Tensor::Cuda(x), Tensor::Cuda(weight), Some(Tensor::Cuda(bias))) => Tensor::Cuda(
                <Cuda as ModuleOps<Cuda>>::conv2d(x, weight, Some(bias), options),
            ),
            (Tensor::Wgpu(x), Tensor::Wgpu(weight), None) => {
                Tensor::Wgpu(<Wgpu as ModuleOps<Wgpu>>::conv2d(x, weight, None, options))
            }
            (Tensor::Wgpu(x), Tensor::Wgpu(weight), Some(Tensor::Wgpu(bias))) => Tensor::Wgpu(
                <Wgpu as ModuleOps<Wgpu>>::conv2d(x, weight, Some(bias), options),
            ),
            _ => mixed(),
        }
    }

    /// The largest of each window, and where it was.
    pub fn max_pool2d_with_indices(
        x: Tensor,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        dilation: [usize; 2],
        ceil: bool,
    ) -> (Tensor, Tensor) {
        match x {
            Tensor::Cuda(x) => {
                let both = <Cuda as ModuleOps<Cuda>>::max_pool2d_with_indices(
                    x, kernel, stride, padding, dilation, ceil,
                );
                (Tensor::Cuda(both.output), Tensor::Cuda(both.indices))
            }
            Tensor::Wgpu(x) => {
                let both = <Wgpu as ModuleOps<Wgpu>>::max_pool2d_with_indices(
                    x, kernel, stride, padding, dilation, ceil,
                );
                (Tensor::Wgpu(both.output), Tensor::Wgpu(both.indices))
            }
        }
    }
}
