//! Named parameters and layers.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    ConvOptions, Tape, Tensor, TensorError,
    params::{Fans, Init, ParamKind, Params},
};

/// How a linear layer's weight is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightLayout {
    /// [out, in]: PyTorch's Linear.
    #[default]
    OutIn,
    /// [in, out]: GPT-2's Conv1D.
    InOut,
}

/// Options of [`Scope::linear`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearOptions {
    /// Whether there is a `NAME.bias`.
    pub bias: bool,
    /// How the weight is stored.
    pub layout: WeightLayout,
    /// Initial weight.
    pub weight_init: Init,
    /// Initial bias.
    pub bias_init: Init,
}

impl Default for LinearOptions {
    /// PyTorch's.
    fn default() -> Self {
        Self {
            bias: true,
            layout: WeightLayout::OutIn,
            weight_init: Init::Kaiming,
            bias_init: Init::Kaiming,
        }
    }
}

/// Options of [`Scope::conv`].
#[derive(Clone, Debug, PartialEq)]
pub struct ConvLayerOptions {
    /// Of the convolution itself.
    pub conv: ConvOptions,
    /// Whether there is a `NAME.bias`.
    pub bias: bool,
    /// Initial weight.
    pub weight_init: Init,
    /// Initial bias.
    pub bias_init: Init,
}

impl ConvLayerOptions {
    /// PyTorch's defaults around a convolution.
    pub fn new(conv: ConvOptions) -> Self {
        Self {
            conv,
            bias: true,
            weight_init: Init::Kaiming,
            bias_init: Init::Kaiming,
        }
    }
}

/// What a normalisation layer divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// Mean and variance.
    Layer,
    /// Root mean square.
    Rms,
}

struct Shared {
    params: Params,
    tape: Option<Tape>,
    /// One leaf for each trained parameter, so that the gradients of all its uses add.
    leaves: Mutex<BTreeMap<String, Tensor>>,
    /// Values of buffers that take effect with [`Scope::commit_buffers`].
    buffers: Mutex<BTreeMap<String, Tensor>>,
}

/// Where a recipe finds its parameters: a place in the tree of names. Asking twice for one name
/// gives the same parameter, which is how weights are tied. A scope with a tape is one of a training
/// pass: parameters that are trained are leaves of the tape.
#[derive(Clone)]
pub struct Scope {
    shared: Arc<Shared>,
    prefix: String,
}

impl Scope {
    /// The root of the names. With `tape`, trained parameters are tracked on it.
    pub fn root(params: &Params, tape: Option<&Tape>) -> Self {
        Self {
            shared: Arc::new(Shared {
                params: params.clone(),
                tape: tape.cloned(),
                leaves: Mutex::default(),
                buffers: Mutex::default(),
            }),
            prefix: String::new(),
        }
    }

    /// The scope `name` in this one; names are joined with a dot.
    pub fn child(&self, name: &str) -> Self {
        Self {
            shared: self.shared.clone(),
            prefix: self.full(name),
        }
    }

    /// The values that are behind this scope.
    pub fn params(&self) -> &Params {
        &self.shared.params
    }

    /// Whether this is a scope of a training pass.
    pub fn is_training(&self) -> bool {
        self.shared.tape.is_some()
    }

    fn full(&self, name: &str) -> String {
        match (self.prefix.is_empty(), name.is_empty()) {
            (true, _) => name.to_owned(),
            (_, true) => self.prefix.clone(),
            _ => format!("{}.{name}", self.prefix),
        }
    }

    fn obtain(
        &self,
        name: &str,
        shape: &[usize],
        init: Init,
        fans: Option<Fans>,
    ) -> Result<Tensor, TensorError> {
        let name = self.full(name);
        let shared = &self.shared;
        let value = shared
            .params
            .obtain(&name, ParamKind::Param, shape, init, fans)?;
        let Some(tape) = &shared.tape else {
            return Ok(value);
        };
        if !shared.params.trainable(&name) {
            return Ok(value);
        }
        let mut leaves = shared.leaves.lock();
        if let Some(leaf) = leaves.get(&name) {
            return Ok(leaf.clone());
        }
        let leaf = tape.leaf(&value)?;
        leaves.insert(name, leaf.clone());
        Ok(leaf)
    }

    /// A parameter of its own, for what the layers below do not cover.
    ///
    /// # Errors
    /// `ShapeMismatch` when the name exists with another shape; `InvalidArgument` when `init` needs
    /// two dimensions and `shape` has fewer, or when the parameter is missing and may not be.
    pub fn param(&self, name: &str, shape: &[usize], init: Init) -> Result<Tensor, TensorError> {
        self.obtain(name, shape, init, Fans::of(shape))
    }

    /// State that is kept with the weights but not trained.
    ///
    /// # Errors
    /// As [`Self::param`].
    pub fn buffer(&self, name: &str, shape: &[usize], init: Init) -> Result<Tensor, TensorError> {
        let name = self.full(name);
        self.shared
            .params
            .obtain(&name, ParamKind::Buffer, shape, init, Fans::of(shape))
    }

    /// Replaces a buffer; takes effect with [`Self::commit_buffers`], when the step is accepted.
    ///
    /// # Errors
    /// `InvalidArgument` outside training or for a name that is no buffer; `ShapeMismatch`.
    pub fn set_buffer(&self, name: &str, value: &Tensor) -> Result<(), TensorError> {
        let name = self.full(name);
        if !self.is_training() {
            return Err(TensorError::InvalidArgument(format!(
                "set-buffer `{name}`: buffers change in training passes only; \
                 ask for `pass.stage` first"
            )));
        }
        let current = match (
            self.shared.params.kind(&name),
            self.shared.params.get(&name),
        ) {
            (Some(ParamKind::Buffer), Some(current)) => current,
            _ => {
                return Err(TensorError::InvalidArgument(format!(
                    "set-buffer `{name}`: there is no such buffer; make it with `buffer` first"
                )));
            }
        };
        if current.shape() != value.shape() || current.dtype() != value.dtype() {
            return Err(TensorError::ShapeMismatch(format!(
                "set-buffer `{name}`: the buffer is {} {:?}, the new value {} {:?}",
                current.dtype().name(),
                current.shape(),
                value.dtype().name(),
                value.shape()
            )));
        }
        self.shared.buffers.lock().insert(name, value.detach()?);
        Ok(())
    }

    /// `NAME.weight`, `NAME.bias`. x [..., in] → [..., out].
    ///
    /// # Errors
    /// As [`Self::param`] and `Tensor::linear`.
    pub fn linear(
        &self,
        name: &str,
        x: &Tensor,
        out: usize,
        options: &LinearOptions,
    ) -> Result<Tensor, TensorError> {
        let input = self.last_dim("linear", name, x)?;
        let fans = Some(Fans {
            fan_in: input,
            fan_out: out,
        });
        let here = self.child(name);
        let bias = options
            .bias
            .then(|| here.obtain("bias", &[out], options.bias_init, fans))
            .transpose()?;
        match options.layout {
            WeightLayout::OutIn => {
                let weight = here.obtain("weight", &[out, input], options.weight_init, fans)?;
                x.linear(&weight, bias.as_ref())
            }
            WeightLayout::InOut => {
                let weight = here.obtain("weight", &[input, out], options.weight_init, fans)?;
                let y = x.matmul(&weight)?;
                match bias {
                    Some(bias) => y.add(&bias),
                    None => Ok(y),
                }
            }
        }
    }

    /// `NAME.weight` [count, dim]. ids int [...] → [..., dim].
    ///
    /// # Errors
    /// As [`Self::param`] and `Tensor::embedding`.
    pub fn embedding(
        &self,
        name: &str,
        ids: &Tensor,
        count: usize,
        dim: usize,
        init: Init,
    ) -> Result<Tensor, TensorError> {
        self.child(name)
            .obtain("weight", &[count, dim], init, Fans::of(&[count, dim]))?
            .embedding(ids)
    }

    /// Over the last dimension; `NAME.weight` (ones) and, where `bias`, `NAME.bias` (zeros).
    ///
    /// # Errors
    /// As [`Self::param`]; `InvalidArgument` for a root-mean-square norm with a bias.
    pub fn norm(
        &self,
        name: &str,
        x: &Tensor,
        kind: NormKind,
        eps: f32,
        bias: bool,
    ) -> Result<Tensor, TensorError> {
        let dim = self.last_dim("norm", name, x)?;
        let here = self.child(name);
        let weight = here.obtain("weight", &[dim], Init::Ones, None)?;
        let bias = bias
            .then(|| here.obtain("bias", &[dim], Init::Zeros, None))
            .transpose()?;
        match kind {
            NormKind::Layer => x.layer_norm(Some(&weight), bias.as_ref(), eps),
            NormKind::Rms => {
                let y = x.rms_norm(Some(&weight), eps)?;
                match bias {
                    Some(bias) => y.add(&bias),
                    None => Ok(y),
                }
            }
        }
    }

    /// `NAME.weight` [out, in / groups, kernel...], `NAME.bias`. x [batch, in, length] or
    /// [batch, in, height, width].
    ///
    /// # Errors
    /// `ShapeMismatch` when the rank of x and the kernel do not fit; as the convolution.
    pub fn conv(
        &self,
        name: &str,
        x: &Tensor,
        out: usize,
        kernel: &[usize],
        options: &ConvLayerOptions,
    ) -> Result<Tensor, TensorError> {
        let shape = x.shape();
        if !(1..=2).contains(&kernel.len()) || shape.len() != kernel.len() + 2 {
            return Err(TensorError::ShapeMismatch(format!(
                "conv `{}`: input {shape:?} with kernel {kernel:?}; a kernel of n dimensions (1 or 2) \
                 needs an input [batch, channels, and n more]",
                self.full(name)
            )));
        }
        let groups = options.conv.groups.max(1);
        if !shape[1].is_multiple_of(groups) {
            return Err(TensorError::InvalidArgument(format!(
                "conv `{}`: {} input channels cannot be split into {groups} groups",
                self.full(name),
                shape[1]
            )));
        }
        let mut weight_shape = vec![out, shape[1] / groups];
        weight_shape.extend_from_slice(kernel);
        let fans = Fans::of(&weight_shape);
        let here = self.child(name);
        let weight = here.obtain("weight", &weight_shape, options.weight_init, fans)?;
        let bias = options
            .bias
            .then(|| here.obtain("bias", &[out], options.bias_init, fans))
            .transpose()?;
        match kernel.len() {
            1 => x.conv1d(&weight, bias.as_ref(), &options.conv),
            _ => x.conv2d(&weight, bias.as_ref(), &options.conv),
        }
    }

    /// x [batch, channels, ...]; `NAME.weight`, `.bias`, `.running_mean`, `.running_var`. Batch
    /// statistics in training (the running ones move towards them by `momentum`), running ones
    /// otherwise.
    ///
    /// # Errors
    /// `ShapeMismatch` for x of less than two dimensions; `InvalidArgument` in training when there
    /// is only one value for each channel.
    pub fn batch_norm(
        &self,
        name: &str,
        x: &Tensor,
        momentum: f32,
        eps: f32,
    ) -> Result<Tensor, TensorError> {
        let shape = x.shape();
        if shape.len() < 2 {
            return Err(TensorError::ShapeMismatch(format!(
                "batch-norm `{}`: input {shape:?}, but [batch, channels, ...] is needed",
                self.full(name)
            )));
        }
        let channels = shape[1];
        let here = self.child(name);
        let weight = here.obtain("weight", &[channels], Init::Ones, None)?;
        let bias = here.obtain("bias", &[channels], Init::Zeros, None)?;
        let running_mean = here.buffer("running_mean", &[channels], Init::Zeros)?;
        let running_var = here.buffer("running_var", &[channels], Init::Ones)?;
        let mut column = vec![1_i64; shape.len()];
        column[1] = channels as i64;

        let (mean, variance) = if self.is_training() {
            let count = x.numel() / channels.max(1);
            if count < 2 {
                return Err(TensorError::InvalidArgument(format!(
                    "batch-norm `{}`: {count} value for each channel in a training pass; \
                     at least 2 are needed, so use a larger batch",
                    self.full(name)
                )));
            }
            let dims: Vec<i32> = (0..shape.len() as i32).filter(|dim| *dim != 1).collect();
            let mean = x.mean(&dims, true)?;
            let centred = x.sub(&mean)?;
            let variance = centred.mul(&centred)?.mean(&dims, true)?;
            let unbiased = count as f64 / (count - 1) as f64;
            let moved = |old: &Tensor, new: &Tensor, factor: f64| {
                let new = new.detach()?.reshape(&[channels as i64])?;
                let momentum = f64::from(momentum);
                old.mul_scalar(1.0 - momentum)?
                    .add(&new.mul_scalar(momentum * factor)?)
            };
            here.set_buffer("running_mean", &moved(&running_mean, &mean, 1.0)?)?;
            here.set_buffer("running_var", &moved(&running_var, &variance, unbiased)?)?;
            (mean, variance)
        } else {
            (
                running_mean.reshape(&column)?,
                running_var.reshape(&column)?,
            )
        };
        let scale = variance
            .add_scalar(f64::from(eps))?
            .rsqrt()?
            .mul(&weight.reshape(&column)?)?;
        x.sub(&mean)?.mul(&scale)?.add(&bias.reshape(&column)?)
    }

    fn last_dim(&self, layer: &str, name: &str, x: &Tensor) -> Result<usize, TensorError> {
        x.shape().last().copied().ok_or_else(|| {
            TensorError::ShapeMismatch(format!(
                "{layer} `{}`: the input is a scalar, but needs at least one dimension",
                self.full(name)
            ))
        })
    }

    /// The trained parameters that this pass used, and their leaves on the tape.
    pub fn leaves(&self) -> Vec<(String, Tensor)> {
        let leaves = self.shared.leaves.lock();
        leaves
            .iter()
            .map(|(name, leaf)| (name.clone(), leaf.clone()))
            .collect()
    }

    /// Takes the gradients of all leaves out of a backward pass; parameters that the loss does not
    /// depend on are left out.
    pub fn gradients(&self, gradients: &mut crate::Gradients) -> Vec<(String, Tensor)> {
        self.leaves()
            .into_iter()
            .filter_map(|(name, leaf)| Some((name, gradients.take(&leaf)?)))
            .collect()
    }

    /// Forgets the leaves, so that nothing but the parameters holds their memory: before an
    /// optimiser's step, which then works in place.
    pub fn release(&self) {
        self.shared.leaves.lock().clear();
    }

    /// The buffers that were set take effect: the step is accepted.
    ///
    /// # Errors
    /// As [`Params::set`].
    pub fn commit_buffers(&self) -> Result<(), TensorError> {
        let buffers = std::mem::take(&mut *self.shared.buffers.lock());
        for (name, value) in buffers {
            self.shared.params.set(&name, value)?;
        }
        Ok(())
    }
}
