//! The operations, one to one with `tensor.wit`.

use tenon_tensor::{ConvOptions, PoolOptions, Reduction, RotaryStyle, Tensor};

use super::{Answer, Cost, H, Tensors, dims, dtype_from, dtype_to, sentence, shielded};
use crate::{
    bindings::{tensors, types},
    call::Stop,
    state::State,
};

/// Operations on one tensor whose results are no larger than it.
macro_rules! unary {
    ($( $name:ident ( $($arg:ident : $ty:ty => $pass:expr),* ); )*) => {$(
        fn $name(&mut self, this: H $(, $arg: $ty)*) -> Answer {
            self.unary(stringify!($name), &this, Cost::same, |this| this.$name($($pass),*))
        }
    )*};
}

/// Operations on two tensors that broadcast.
macro_rules! binary {
    ($( $name:ident; )*) => {$(
        fn $name(&mut self, this: H, other: H) -> Answer {
            self.binary(stringify!($name), &this, &other, Cost::broadcast, |this, other| this.$name(other))
        }
    )*};
}

impl tensors::HostTensor for State {
    fn shape(&mut self, this: H) -> wasmtime::Result<Vec<u32>> {
        let tensor = self.must_get("shape", &this)?;
        Ok(tensor
            .shape()
            .iter()
            .map(|d| u32::try_from(*d).unwrap_or(u32::MAX))
            .collect())
    }

    fn dtype(&mut self, this: H) -> wasmtime::Result<tensors::Dtype> {
        Ok(dtype_to(self.must_get("dtype", &this)?.dtype()))
    }

    fn read(
        &mut self,
        this: H,
        offset: u64,
        len: u64,
    ) -> wasmtime::Result<Result<Vec<u8>, types::Error>> {
        if len > self.limits.host_call_bytes as u64 {
            return Ok(Err(types::Error::OutOfQuota(format!(
                "read: {len} bytes at once; at most {} are copied in a call, so read in pieces",
                self.limits.host_call_bytes
            ))));
        }
        let tensor = match self.tensors.get("read", &this) {
            Ok(tensor) => tensor,
            Err(error) => return Ok(Err(error)),
        };
        Ok(shielded("read", || tensor.read(offset, len)))
    }

    fn alias(&mut self, this: H) -> wasmtime::Result<H> {
        let tensor = self.must_get("alias", &this)?.clone();
        self.tensors.push("alias", tensor).map_err(|error| {
            Stop::Quota(
                sentence(error),
                "drop tensors that are no longer needed, or raise the limit named above",
            )
            .into()
        })
    }

    fn drop(&mut self, this: H) -> wasmtime::Result<()> {
        self.tensors.discard(&this);
        Ok(())
    }

    unary! {
        detach();
        neg();
        abs();
        sign();
        exp();
        log();
        sqrt();
        rsqrt();
        sin();
        cos();
        tanh();
        sigmoid();
        erf();
        floor();
        relu();
        gelu(approximate: bool => approximate);
        silu();
        clamp(min: Option<f64> => min, max: Option<f64> => max);
        add_scalar(value: f64 => value);
        mul_scalar(value: f64 => value);
        pow_scalar(exponent: f64 => exponent);
        eq_scalar(value: f64 => value);
        lt_scalar(value: f64 => value);
        gt_scalar(value: f64 => value);
        logical_not();
        sum(dims: Vec<i32> => &dims, keepdim: bool => keepdim);
        mean(dims: Vec<i32> => &dims, keepdim: bool => keepdim);
        variance(dims: Vec<i32> => &dims, correction: u32 => correction, keepdim: bool => keepdim);
        max(dim: i32 => dim, keepdim: bool => keepdim);
        min(dim: i32 => dim, keepdim: bool => keepdim);
        argmax(dim: i32 => dim, keepdim: bool => keepdim);
        logsumexp(dim: i32 => dim, keepdim: bool => keepdim);
        cumsum(dim: i32 => dim);
        reshape(shape: Vec<i64> => &shape);
        permute(dims: Vec<i32> => &dims);
        transpose(a: i32 => a, b: i32 => b);
        unsqueeze(dim: i32 => dim);
        squeeze(dim: i32 => dim);
        narrow(dim: i32 => dim, start: u32 => start as usize, len: u32 => len as usize);
        flip(dims: Vec<i32> => &dims);
        tril(diagonal: i32 => diagonal);
        triu(diagonal: i32 => diagonal);
        softmax(dim: i32 => dim);
        log_softmax(dim: i32 => dim);
    }

    binary! {
        add;
        sub;
        mul;
        div;
        maximum;
        minimum;
        silu_mul;
        eq;
        lt;
        le;
        logical_and;
    }

    fn cast(&mut self, this: H, dtype: tensors::Dtype) -> Answer {
        let dtype = dtype_from(dtype);
        self.unary(
            "cast",
            &this,
            |t| Cost::shape(t.shape(), dtype),
            |t| t.cast(dtype),
        )
    }

    fn masked_fill(&mut self, this: H, mask: H, value: f64) -> Answer {
        self.binary("masked_fill", &this, &mask, Cost::broadcast, |t, mask| {
            t.masked_fill(mask, value)
        })
    }

    fn topk(
        &mut self,
        this: H,
        k: u32,
        dim: i32,
    ) -> wasmtime::Result<Result<(H, H), types::Error>> {
        let table = &self.tensors;
        let result = table.get("topk", &this).and_then(|t| {
            table.admit("topk", Cost::same(t))?;
            shielded("topk", || t.topk(k as usize, dim))
        });
        Ok(result.and_then(|(values, indices)| {
            let values = self.tensors.push("topk", values)?;
            match self.tensors.push("topk", indices) {
                Ok(indices) => Ok((values, indices)),
                Err(error) => {
                    self.tensors.take(&values);
                    Err(error)
                }
            }
        }))
    }

    fn expand(&mut self, this: H, shape: Vec<i64>) -> Answer {
        self.unary(
            "expand",
            &this,
            |t| Cost::expand(t, &shape),
            |t| t.expand(&shape),
        )
    }

    fn pad(&mut self, this: H, amounts: Vec<(u32, u32)>, value: f64) -> Answer {
        let amounts: Vec<(usize, usize)> = amounts
            .iter()
            .map(|(a, b)| (*a as usize, *b as usize))
            .collect();
        self.unary(
            "pad",
            &this,
            |t| Cost::pad(t, &amounts),
            |t| t.pad(&amounts, value),
        )
    }

    fn index_select(&mut self, this: H, dim: i32, index: H) -> Answer {
        self.binary(
            "index_select",
            &this,
            &index,
            |t, i| Cost::index_select(t, dim, i),
            |t, i| t.index_select(dim, i),
        )
    }

    fn gather(&mut self, this: H, dim: i32, index: H) -> Answer {
        self.binary(
            "gather",
            &this,
            &index,
            |t, i| Cost::shape(i.shape(), t.dtype()),
            |t, i| t.gather(dim, i),
        )
    }

    fn scatter_add(&mut self, this: H, dim: i32, index: H, source: H) -> Answer {
        self.compute("scatter_add", |table| {
            let t = table.get("scatter_add", &this)?;
            let (index, source) = (
                table.get("scatter_add", &index)?,
                table.get("scatter_add", &source)?,
            );
            table.admit("scatter_add", Cost::same(t))?;
            shielded("scatter_add", || t.scatter_add(dim, index, source))
        })
    }

    fn matmul(&mut self, this: H, other: H) -> Answer {
        self.binary("matmul", &this, &other, Cost::matmul, |a, b| a.matmul(b))
    }

    fn linear(&mut self, this: H, weight: H, bias: Option<H>) -> Answer {
        self.compute("linear", |table| {
            let (x, weight) = (table.get("linear", &this)?, table.get("linear", &weight)?);
            let bias = optional(table, "linear", bias.as_ref())?;
            table.admit("linear", Cost::linear(x, weight))?;
            shielded("linear", || x.linear(weight, bias))
        })
    }

    fn layer_norm(&mut self, this: H, weight: Option<H>, bias: Option<H>, eps: f32) -> Answer {
        self.compute("layer_norm", |table| {
            let x = table.get("layer_norm", &this)?;
            let weight = optional(table, "layer_norm", weight.as_ref())?;
            let bias = optional(table, "layer_norm", bias.as_ref())?;
            table.admit("layer_norm", Cost::same(x))?;
            shielded("layer_norm", || x.layer_norm(weight, bias, eps))
        })
    }

    fn rms_norm(&mut self, this: H, weight: Option<H>, eps: f32) -> Answer {
        self.compute("rms_norm", |table| {
            let x = table.get("rms_norm", &this)?;
            let weight = optional(table, "rms_norm", weight.as_ref())?;
            table.admit("rms_norm", Cost::same(x))?;
            shielded("rms_norm", || x.rms_norm(weight, eps))
        })
    }

    fn group_norm(
        &mut self,
        this: H,
        groups: u32,
        weight: Option<H>,
        bias: Option<H>,
        eps: f32,
    ) -> Answer {
        self.compute("group_norm", |table| {
            let x = table.get("group_norm", &this)?;
            let weight = optional(table, "group_norm", weight.as_ref())?;
            let bias = optional(table, "group_norm", bias.as_ref())?;
            table.admit("group_norm", Cost::same(x))?;
            shielded("group_norm", || {
                x.group_norm(groups as usize, weight, bias, eps)
            })
        })
    }

    fn rotary(
        &mut self,
        this: H,
        positions: H,
        inverse_frequencies: H,
        style: tensors::RotaryStyle,
    ) -> Answer {
        let style = match style {
            tensors::RotaryStyle::Half => RotaryStyle::Half,
            tensors::RotaryStyle::Interleaved => RotaryStyle::Interleaved,
        };
        self.compute("rotary", |table| {
            let x = table.get("rotary", &this)?;
            let (positions, frequencies) = (
                table.get("rotary", &positions)?,
                table.get("rotary", &inverse_frequencies)?,
            );
            table.admit("rotary", Cost::same(x))?;
            shielded("rotary", || x.rotary(positions, frequencies, style))
        })
    }

    fn embedding(&mut self, this: H, ids: H) -> Answer {
        let cost = |weight: &Tensor, ids: &Tensor| {
            Cost::rows(
                weight.shape().last().copied().unwrap_or(1) as u64,
                ids,
                weight.dtype(),
            )
        };
        self.binary("embedding", &this, &ids, cost, |weight, ids| {
            weight.embedding(ids)
        })
    }

    fn cross_entropy(
        &mut self,
        this: H,
        targets: H,
        ignore_index: i64,
        label_smoothing: f32,
        reduction: tensors::Reduction,
    ) -> Answer {
        self.binary(
            "cross_entropy",
            &this,
            &targets,
            |x, _| Cost::same(x),
            |x, targets| {
                x.cross_entropy(
                    targets,
                    ignore_index,
                    label_smoothing,
                    reduction_from(reduction),
                )
            },
        )
    }

    fn binary_cross_entropy_with_logits(
        &mut self,
        this: H,
        targets: H,
        reduction: tensors::Reduction,
    ) -> Answer {
        self.binary(
            "binary_cross_entropy_with_logits",
            &this,
            &targets,
            Cost::broadcast,
            |x, targets| x.binary_cross_entropy_with_logits(targets, reduction_from(reduction)),
        )
    }

    fn mse_loss(&mut self, this: H, targets: H, reduction: tensors::Reduction) -> Answer {
        self.binary(
            "mse_loss",
            &this,
            &targets,
            Cost::broadcast,
            |x, targets| x.mse_loss(targets, reduction_from(reduction)),
        )
    }

    fn conv1d(
        &mut self,
        this: H,
        weight: H,
        bias: Option<H>,
        options: tensors::ConvOptions,
    ) -> Answer {
        self.conv("conv1d", this, weight, bias, options, Tensor::conv1d)
    }

    fn conv2d(
        &mut self,
        this: H,
        weight: H,
        bias: Option<H>,
        options: tensors::ConvOptions,
    ) -> Answer {
        self.conv("conv2d", this, weight, bias, options, Tensor::conv2d)
    }

    fn max_pool2d(&mut self, this: H, options: tensors::PoolOptions) -> Answer {
        self.unary(
            "max_pool2d",
            &this,
            |x| pool_cost(x, &options),
            |x| x.max_pool2d(&pool_from(&options)),
        )
    }

    fn avg_pool2d(&mut self, this: H, options: tensors::PoolOptions) -> Answer {
        self.unary(
            "avg_pool2d",
            &this,
            |x| pool_cost(x, &options),
            |x| x.avg_pool2d(&pool_from(&options)),
        )
    }
}

impl tensors::Host for State {
    fn zeros(&mut self, shape: Vec<u32>, dtype: tensors::Dtype) -> Answer {
        self.make("zeros", &shape, dtype, Tensor::zeros)
    }

    fn ones(&mut self, shape: Vec<u32>, dtype: tensors::Dtype) -> Answer {
        self.make("ones", &shape, dtype, Tensor::ones)
    }

    fn full(&mut self, shape: Vec<u32>, value: f64, dtype: tensors::Dtype) -> Answer {
        self.make("full", &shape, dtype, |shape, dtype, device| {
            Tensor::full(shape, value, dtype, device)
        })
    }

    fn arange(&mut self, start: f64, end: f64, step: f64, dtype: tensors::Dtype) -> Answer {
        // The cast saturates, and NaN becomes 0: the tensor crate says what is wrong with it.
        let count = ((end - start) / step).ceil().max(0.0) as u64;
        let shape = [u32::try_from(count).unwrap_or(u32::MAX)];
        self.make("arange", &shape, dtype, |_, dtype, device| {
            Tensor::arange(start, end, step, dtype, device)
        })
    }

    fn from_bytes(&mut self, shape: Vec<u32>, dtype: tensors::Dtype, bytes: Vec<u8>) -> Answer {
        self.make("from_bytes", &shape, dtype, |shape, dtype, device| {
            Tensor::from_bytes(shape, dtype, &bytes, device)
        })
    }

    fn cat(&mut self, parts: Vec<H>, dim: i32) -> Answer {
        self.compute("cat", |table| {
            let parts = all(table, "cat", &parts)?;
            table.admit("cat", Cost::sum_of(parts.iter().copied()))?;
            shielded("cat", || Tensor::cat(&parts, dim))
        })
    }

    fn stack(&mut self, parts: Vec<H>, dim: i32) -> Answer {
        self.compute("stack", |table| {
            let parts = all(table, "stack", &parts)?;
            table.admit("stack", Cost::sum_of(parts.iter().copied()))?;
            shielded("stack", || Tensor::stack(&parts, dim))
        })
    }

    fn where_(&mut self, condition: H, a: H, b: H) -> Answer {
        self.compute("where", |table| {
            let (condition, a, b) = (
                table.get("where", &condition)?,
                table.get("where", &a)?,
                table.get("where", &b)?,
            );
            table.admit("where", Cost::broadcast3(condition, a, b))?;
            shielded("where", || Tensor::where_(condition, a, b))
        })
    }

    fn scaled_dot_product_attention(
        &mut self,
        q: H,
        k: H,
        v: H,
        bias: Option<H>,
        scale: Option<f32>,
    ) -> Answer {
        const WHAT: &str = "scaled_dot_product_attention";
        self.compute(WHAT, |table| {
            let (q, k, v) = (
                table.get(WHAT, &q)?,
                table.get(WHAT, &k)?,
                table.get(WHAT, &v)?,
            );
            let bias = optional(table, WHAT, bias.as_ref())?;
            table.admit(WHAT, Cost::attention(q, k))?;
            shielded(WHAT, || {
                Tensor::scaled_dot_product_attention(q, k, v, bias, scale)
            })
        })
    }
}

impl State {
    fn conv(
        &mut self,
        what: &'static str,
        this: H,
        weight: H,
        bias: Option<H>,
        options: tensors::ConvOptions,
        run: impl FnOnce(
            &Tensor,
            &Tensor,
            Option<&Tensor>,
            &ConvOptions,
        ) -> Result<Tensor, tenon_tensor::TensorError>,
    ) -> Answer {
        self.compute(what, |table| {
            let (x, weight) = (table.get(what, &this)?, table.get(what, &weight)?);
            let bias = optional(table, what, bias.as_ref())?;
            let out = weight.shape().first().copied().unwrap_or(1) as u64;
            let kernel = weight
                .shape()
                .iter()
                .skip(2)
                .fold(1u64, |n, d| n.saturating_mul(*d as u64));
            let groups = u64::from(options.groups);
            table.admit(
                what,
                Cost::conv(x, out, kernel, groups, &options.stride, &options.padding),
            )?;
            let options = conv_from(&options);
            shielded(what, || run(x, weight, bias, &options))
        })
    }
}

pub(crate) fn optional<'a>(
    table: &'a Tensors,
    what: &str,
    handle: Option<&H>,
) -> Result<Option<&'a Tensor>, types::Error> {
    handle.map(|handle| table.get(what, handle)).transpose()
}

fn all<'a>(table: &'a Tensors, what: &str, handles: &[H]) -> Result<Vec<&'a Tensor>, types::Error> {
    handles
        .iter()
        .map(|handle| table.get(what, handle))
        .collect()
}

fn reduction_from(reduction: tensors::Reduction) -> Reduction {
    match reduction {
        tensors::Reduction::None => Reduction::None,
        tensors::Reduction::Mean => Reduction::Mean,
        tensors::Reduction::Sum => Reduction::Sum,
    }
}

pub(crate) fn conv_from(options: &tensors::ConvOptions) -> ConvOptions {
    ConvOptions {
        stride: dims(&options.stride),
        padding: dims(&options.padding),
        dilation: dims(&options.dilation),
        groups: options.groups as usize,
    }
}

fn pool_from(options: &tensors::PoolOptions) -> PoolOptions {
    PoolOptions {
        kernel: dims(&options.kernel),
        stride: dims(&options.stride),
        padding: dims(&options.padding),
    }
}

fn pool_cost(x: &Tensor, options: &tensors::PoolOptions) -> Cost {
    let channels = x.shape().get(1).copied().unwrap_or(1) as u64;
    // Like a depthwise convolution.
    let kernel = options
        .kernel
        .iter()
        .fold(1u64, |n, k| n.saturating_mul(u64::from(*k)));
    Cost::conv(
        x,
        channels,
        kernel,
        channels,
        &options.stride,
        &options.padding,
    )
}
