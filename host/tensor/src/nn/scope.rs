//! Named parameters and layers.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use crate::{
    DType, Tape, Tensor, TensorError,
    params::{Fans, Init, LORA_A, LORA_B, ParamKind, Params, Quantized},
    rng,
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
    /// Of the adapters' dropout, and how often it was drawn.
    key: u64,
    draws: AtomicU64,
    /// Whether the layers' outputs are looked at, and what was seen of them.
    watching: AtomicBool,
    seen: Mutex<Vec<Activation>>,
    /// Whether the pass is none of training, whatever is tracked.
    evaluating: AtomicBool,
}

/// What a layer gave, in two numbers; tensors, so that nothing waits for the device.
#[derive(Clone)]
pub struct Activation {
    /// The layer's name.
    pub layer: String,
    /// The root of the mean square of all numbers.
    pub rms: Tensor,
    /// The largest magnitude.
    pub largest: Tensor,
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
        Self::keyed(params, tape, 0)
    }

    /// As [`Self::root`]; the random numbers of the layers themselves (the dropout of adapters) follow
    /// from `key`: give each training pass its own.
    pub fn keyed(params: &Params, tape: Option<&Tape>, key: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                params: params.clone(),
                tape: tape.cloned(),
                leaves: Mutex::default(),
                buffers: Mutex::default(),
                key,
                draws: AtomicU64::new(0),
                watching: AtomicBool::new(false),
                seen: Mutex::default(),
                evaluating: AtomicBool::new(false),
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

    /// From now on the outputs of linear layers, embeddings, convolutions and norms are looked at; see
    /// [`Self::activations`].
    pub fn watch(&self) {
        self.shared.watching.store(true, Ordering::Relaxed);
    }

    /// What was seen since [`Self::watch`], in the order in which it was computed. A layer that is used
    /// twice comes twice.
    pub fn activations(&self) -> Vec<Activation> {
        self.shared.seen.lock().clone()
    }

    /// The output of the layer that this is the scope of, on its way to the recipe.
    pub(super) fn seen(&self, y: Tensor) -> Result<Tensor, TensorError> {
        if self.shared.watching.load(Ordering::Relaxed) && y.numel() > 0 {
            let flat = y.detach()?.cast(DType::F32)?.reshape(&[-1])?;
            self.shared.seen.lock().push(Activation {
                layer: self.prefix.clone(),
                rms: flat.mul(&flat)?.mean(&[], false)?.sqrt()?,
                largest: flat.abs()?.max(0, false)?,
            });
        }
        Ok(y)
    }

    /// From now on parameters may be tracked, but nothing else is as in training: adapters drop nothing out,
    /// statistics are not those of the batch, and buffers stay.
    #[must_use]
    pub fn evaluating(self) -> Self {
        self.shared.evaluating.store(true, Ordering::Relaxed);
        self
    }

    /// Whether this is a scope of a training pass.
    pub fn is_training(&self) -> bool {
        self.shared.tape.is_some() && !self.shared.evaluating.load(Ordering::Relaxed)
    }

    pub(super) fn full(&self, name: &str) -> String {
        match (self.prefix.is_empty(), name.is_empty()) {
            (true, _) => name.to_owned(),
            (_, true) => self.prefix.clone(),
            _ => format!("{}.{name}", self.prefix),
        }
    }

    pub(super) fn obtain(
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
        tape.segment(layer_of(&name));
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
        if let Some(weight) = quantized_weight(&here, input, out, options.layout)? {
            let in_out = options.layout == WeightLayout::InOut;
            let y = x.linear_quantized(&weight, in_out, bias.as_ref())?;
            return here.seen(here.adapted(x, y, out, options.layout)?);
        }
        let y = match options.layout {
            WeightLayout::OutIn => {
                let weight = here.obtain("weight", &[out, input], options.weight_init, fans)?;
                x.linear(&weight, bias.as_ref())?
            }
            WeightLayout::InOut => {
                let weight = here.obtain("weight", &[input, out], options.weight_init, fans)?;
                x.linear_in_out(&weight, bias.as_ref())?
            }
        };
        here.seen(here.adapted(x, y, out, options.layout)?)
    }

    /// A linear layer's output with what its adapter adds, where it has one.
    fn adapted(
        &self,
        x: &Tensor,
        y: Tensor,
        out: usize,
        layout: WeightLayout,
    ) -> Result<Tensor, TensorError> {
        let shared = &self.shared;
        let Some(lora) = shared.params.layer_lora(&self.prefix, layout) else {
            return Ok(y);
        };
        let input = self.last_dim("linear", "", x)?;
        let (down, up) = ([lora.rank, input], [out, lora.rank]);
        let a = self.obtain(LORA_A, &down, Init::Kaiming, Fans::of(&down))?;
        let b = self.obtain(LORA_B, &up, Init::Zeros, None)?;
        let x = if self.is_training() && lora.dropout > 0.0 {
            let draw = shared.draws.fetch_add(1, Ordering::Relaxed);
            x.dropout(lora.dropout, rng::derive(shared.key, draw))?
        } else {
            x.clone()
        };
        let change = x.linear(&a, None)?.linear(&b, None)?;
        y.add(&change.mul_scalar(lora.scale)?)
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
        let here = self.child(name);
        let weight = here.obtain("weight", &[count, dim], init, Fans::of(&[count, dim]))?;
        self.shared.params.mark_embedding(&here.full("weight"));
        here.seen(weight.embedding(ids)?)
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
        here.seen(match kind {
            NormKind::Layer => x.layer_norm(Some(&weight), bias.as_ref(), eps)?,
            NormKind::Rms => {
                let y = x.rms_norm(Some(&weight), eps)?;
                match bias {
                    Some(bias) => y.add(&bias)?,
                    None => y,
                }
            }
        })
    }

    pub(super) fn last_dim(
        &self,
        layer: &str,
        name: &str,
        x: &Tensor,
    ) -> Result<usize, TensorError> {
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

/// The layer that a parameter belongs to: its name up to the first number behind a word, or else up to a
/// number that it begins with (which may be that of a whole model among others).
pub(super) fn layer_of(name: &str) -> Option<&str> {
    let mut layer = None;
    let mut end = 0;
    for part in name.split('.') {
        let first = end == 0;
        end += part.len();
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            layer = Some(&name[..end]);
            if !first {
                break;
            }
        }
        end += 1;
    }
    layer
}

/// The weight of a linear layer, where it is kept in fewer bits.
fn quantized_weight(
    here: &Scope,
    input: usize,
    out: usize,
    layout: WeightLayout,
) -> Result<Option<Arc<Quantized>>, TensorError> {
    let name = here.full("weight");
    let Some(weight) = here.shared.params.quantized(&name) else {
        return Ok(None);
    };
    let asked = match layout {
        WeightLayout::OutIn => [out, input],
        WeightLayout::InOut => [input, out],
    };
    if **weight.shape() != asked {
        return Err(TensorError::ShapeMismatch(format!(
            "parameter `{name}` has the shape {:?}, but {asked:?} is asked for",
            weight.shape()
        )));
    }
    Ok(Some(weight))
}
