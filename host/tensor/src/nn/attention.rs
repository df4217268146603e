//! Attention: one call that is masked in training and scoring, and reads and extends the cache in
//! serving.

use super::{
    cache::{Slot, Store},
    composite, host,
    mask::{self, MaskKey},
    pass::{Pass, Stage, check_probability},
    sequence::SequenceInfo,
};
use crate::{DType, Tensor, TensorError, raw};

/// Which keys the queries see, apart from padding and packing.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum AttentionKind {
    /// Those before them and their own.
    Causal,
    /// All of their document.
    Bidirectional,
    /// All of another sequence: the n-th document of a packed row sees the n-th there.
    Cross,
}

/// Options of [`Pass::attention`].
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionOptions {
    /// Names the slot of the cache: one for each attention of the model.
    pub layer: u32,
    /// Which keys the queries see.
    pub kind: AttentionKind,
    /// The input that the queries follow.
    pub queries: String,
    /// The input that the keys follow.
    pub keys: String,
    /// Nothing: 1/√head-dim.
    pub scale: Option<f32>,
    /// Keys at most this far away: distances 0 to `window`. Causal attention looks back only,
    /// bidirectional both ways.
    pub window: Option<u32>,
    /// Of the attention weights, in training.
    pub dropout: f32,
}

impl AttentionOptions {
    /// Causal self-attention of `layer` over `input`.
    pub fn causal(layer: u32, input: &str) -> Self {
        Self {
            layer,
            kind: AttentionKind::Causal,
            queries: input.to_owned(),
            keys: input.to_owned(),
            scale: None,
            window: None,
            dropout: 0.0,
        }
    }

    /// Bidirectional self-attention of `layer` over `input`.
    pub fn bidirectional(layer: u32, input: &str) -> Self {
        Self {
            kind: AttentionKind::Bidirectional,
            ..Self::causal(layer, input)
        }
    }

    /// Attention of `layer` from `queries` to `keys`.
    pub fn cross(layer: u32, queries: &str, keys: &str) -> Self {
        Self {
            kind: AttentionKind::Cross,
            keys: keys.to_owned(),
            ..Self::causal(layer, queries)
        }
    }
}

/// A call of [`Pass::attention`] whose arguments fit together.
pub(super) struct Call<'a> {
    pub pass: &'a Pass,
    pub q: &'a Tensor,
    pub bias: Option<&'a Tensor>,
    pub options: &'a AttentionOptions,
    pub scale: f32,
    pub batch: usize,
    pub tokens: usize,
    pub heads: usize,
    pub head_dim: usize,
}

impl Pass {
    /// q [batch, tokens, heads, head-dim]; k, v [batch, keys, kv-heads, head-dim] → q's shape.
    /// Masked by kind, padding and packed documents; queries that see no key give 0. In serving
    /// reads and extends the caches. `k` and `v` may be left out for cross attention in `decode`.
    /// `bias` is added to the scores and broadcasts to [batch, heads, tokens, keys], where the keys
    /// are those of [`Pass::key_positions`].
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown input, a layer that attends twice in a pass, missing caches,
    /// keys that are left out where there are none cached, or a kind that the stage does not have;
    /// `ShapeMismatch` naming the tensor and what was expected.
    pub fn attention(
        &self,
        q: &Tensor,
        k: Option<&Tensor>,
        v: Option<&Tensor>,
        bias: Option<&Tensor>,
        options: &AttentionOptions,
    ) -> Result<Tensor, TensorError> {
        let call = self.checked(q, bias, options)?;
        let kv = match (k, v) {
            (Some(k), Some(v)) => Some((k, v)),
            (None, None) => None,
            _ => {
                return Err(call.invalid("give both k and v, or neither"));
            }
        };
        self.enter_layer(options.layer)?;
        match (self.stage(), options.kind, kv) {
            (Stage::Decode, AttentionKind::Bidirectional, _) => Err(call.invalid(
                "bidirectional attention cannot go on token by token; run it in prefill only \
                 (its input is not given in decode)",
            )),
            (Stage::Decode, AttentionKind::Cross, None) => call.cached(),
            (_, _, None) => Err(call.invalid(&format!(
                "k and v are needed for {:?} attention in {}; only cross attention in decode may \
                 leave them out",
                options.kind,
                self.stage_name()
            ))),
            (Stage::Train | Stage::Evaluate, _, Some((k, v)))
            | (Stage::Prefill, AttentionKind::Bidirectional, Some((k, v)))
            | (Stage::Decode, AttentionKind::Cross, Some((k, v))) => call.dense(k, v),
            (Stage::Prefill, AttentionKind::Cross, Some((k, v))) => {
                call.extend(k, v)?;
                call.dense(k, v)
            }
            (Stage::Prefill | Stage::Decode, AttentionKind::Causal, Some((k, v))) => {
                call.extend(k, v)?;
                let starts = self.starts(&options.keys).unwrap_or_default();
                if starts.iter().all(|start| *start == 0) {
                    call.dense(k, v)
                } else {
                    call.cached()
                }
            }
        }
    }

    fn checked<'a>(
        &'a self,
        q: &'a Tensor,
        bias: Option<&'a Tensor>,
        options: &'a AttentionOptions,
    ) -> Result<Call<'a>, TensorError> {
        let info = self.input("attention", &options.queries)?;
        let &[batch, tokens, heads, head_dim] = q.shape() else {
            return Err(TensorError::ShapeMismatch(format!(
                "attention (layer {}): q has the shape {:?}, but [batch, tokens, heads, head-dim] \
                 is needed",
                options.layer,
                q.shape()
            )));
        };
        let call = Call {
            pass: self,
            q,
            bias,
            options,
            scale: options
                .scale
                .unwrap_or_else(|| 1.0 / (head_dim.max(1) as f32).sqrt()),
            batch,
            tokens,
            heads,
            head_dim,
        };
        if [batch, tokens] != [info.batch(), info.tokens] || heads * head_dim == 0 {
            return Err(call.mismatch(&format!(
                "q has the shape {:?}, but input `{}` needs [{}, {}, heads, head-dim]",
                q.shape(),
                info.name,
                info.batch(),
                info.tokens
            )));
        }
        if q.dtype() != DType::F32 && !matches!(q.dtype(), DType::F16 | DType::BF16) {
            return Err(call.invalid(&format!("q is {}, but floats are needed", q.dtype().name())));
        }
        if let Some(bias) = bias {
            q.need_same("attention", bias)?;
        }
        check_probability("attention", options.dropout)?;
        match options.kind {
            AttentionKind::Cross if options.window.is_some() => {
                Err(call.invalid("cross attention has no window; leave it out"))
            }
            AttentionKind::Causal | AttentionKind::Bidirectional
                if options.queries != options.keys =>
            {
                Err(call.invalid(&format!(
                    "{:?} attention is within one input, but queries follow `{}` and keys `{}`; \
                     use cross",
                    options.kind, options.queries, options.keys
                )))
            }
            _ => Ok(call),
        }
    }
}

impl Call<'_> {
    fn invalid(&self, what: &str) -> TensorError {
        TensorError::InvalidArgument(format!("attention (layer {}): {what}", self.options.layer))
    }

    fn mismatch(&self, what: &str) -> TensorError {
        TensorError::ShapeMismatch(format!("attention (layer {}): {what}", self.options.layer))
    }

    /// The number of key heads, once k and v are known to fit.
    fn kv_heads(&self, k: &Tensor, v: &Tensor, info: &SequenceInfo) -> Result<usize, TensorError> {
        let fits = matches!(k.shape(), &[batch, tokens, heads, dim]
            if [batch, tokens] == [info.batch(), info.tokens]
                && dim == self.head_dim
                && heads > 0
                && self.heads.is_multiple_of(heads));
        if !fits || k.shape() != v.shape() {
            return Err(self.mismatch(&format!(
                "k {:?} and v {:?} should both be [{}, {}, kv-heads, {}] for input `{}`, where \
                 kv-heads divides the {} heads of q",
                k.shape(),
                v.shape(),
                info.batch(),
                info.tokens,
                self.head_dim,
                info.name,
                self.heads
            )));
        }
        if k.dtype() != self.q.dtype() || v.dtype() != self.q.dtype() {
            return Err(self.invalid(&format!(
                "q is {}, k {} and v {}; cast them to one type",
                self.q.dtype().name(),
                k.dtype().name(),
                v.dtype().name()
            )));
        }
        Ok(k.shape()[2])
    }

    /// Refuses a bias that does not broadcast to [batch, heads, tokens, keys].
    fn check_bias(&self, keys: usize) -> Result<(), TensorError> {
        let Some(bias) = self.bias else { return Ok(()) };
        let full = [self.batch, self.heads, self.tokens, keys];
        let shape = bias.shape();
        let fits = shape.len() <= 4
            && shape
                .iter()
                .rev()
                .zip(full.iter().rev())
                .all(|(has, needs)| has == needs || *has == 1);
        if fits {
            return Ok(());
        }
        Err(self.mismatch(&format!(
            "the bias {shape:?} does not broadcast to [batch, heads, tokens, keys] = {full:?}"
        )))
    }

    /// Attention over the k and v that were given.
    fn dense(&self, k: &Tensor, v: &Tensor) -> Result<Tensor, TensorError> {
        let info = self.pass.input("attention", &self.options.keys)?;
        self.kv_heads(k, v, info)?;
        self.check_bias(info.tokens)?;
        let queries = self.pass.input("attention", &self.options.queries)?;
        let key = self.mask_key();
        let ranges = self.pass.ranges(&key, || {
            mask::over_batch(self.options.kind, self.options.window, queries, info)
        });
        // The kernel gives the bias no gradient.
        if host::serves(self.q) && self.bias.is_none_or(|bias| !bias.is_tracked()) {
            return host::masked(self, k, v, ranges);
        }
        let padded = !(queries.is_dense() && info.is_dense());
        composite::masked(self, k, v, &key, &ranges, padded)
    }

    /// Appends the real tokens of k and v to the rows' caches.
    fn extend(&self, k: &Tensor, v: &Tensor) -> Result<(), TensorError> {
        let info = self.pass.input("attention", &self.options.keys)?;
        let kv_heads = self.kv_heads(k, v, info)?;
        let caches = &self.pass.0.caches;
        if caches.is_empty() {
            return Err(self.invalid(&format!(
                "this {} pass has no cache; give the pass one cache for each row",
                self.pass.stage_name()
            )));
        }
        let host = host::serves(k);
        let (k, v) = (k.detach()?, v.detach()?);
        let starts = self.pass.starts(&info.name).unwrap_or_default();
        let width = info.tokens * kv_heads * self.head_dim;
        let values = if host {
            Some((raw::f32s(&k)?, raw::f32s(&v)?))
        } else {
            None
        };
        for (row, cache) in caches.iter().enumerate() {
            let new = info.real(row);
            let mut cache = cache.lock();
            let cross = self.options.kind == AttentionKind::Cross;
            let slot = cache
                .slots
                .entry(self.options.layer)
                .or_insert_with(|| Slot::new(&info.name, cross, kv_heads, self.head_dim, host));
            if (
                slot.cross,
                slot.kv_heads,
                slot.head_dim,
                slot.input.as_str(),
            ) != (cross, kv_heads, self.head_dim, info.name.as_str())
                || matches!(slot.store, Store::Host(_)) != host
            {
                return Err(self.invalid(&format!(
                    "row {row}: this layer's cache holds keys of `{}` with {} heads of {}; another \
                     attention of the model has the same layer number, or the cache is another \
                     model's",
                    slot.input, slot.kv_heads, slot.head_dim
                )));
            }
            if slot.len != starts[row] {
                return Err(self.invalid(&format!(
                    "row {row}: the cache holds {} tokens of `{}`, but the pass starts at {}; an \
                     earlier pass over it failed. Truncate the cache or start the sequence again",
                    slot.len, info.name, starts[row]
                )));
            }
            if new == 0 {
                continue;
            }
            match &values {
                Some((k, v)) => {
                    let at = row * width..row * width + new * kv_heads * self.head_dim;
                    slot.append_host(&k[at.clone()], &v[at]);
                }
                None => {
                    let real = |x: &Tensor| x.narrow(0, row, 1)?.squeeze(0)?.narrow(0, 0, new);
                    slot.append_device(&real(&k)?, &real(&v)?)?;
                }
            }
        }
        Ok(())
    }

    /// Attention over the caches.
    fn cached(&self) -> Result<Tensor, TensorError> {
        let mut slots = Vec::with_capacity(self.batch);
        for (row, cache) in self.pass.0.caches.iter().enumerate() {
            let cache = cache.lock();
            let slot = cache.slots.get(&self.options.layer);
            let slot = slot
                .filter(|slot| slot.input == self.options.keys)
                .ok_or_else(|| {
                    self.invalid(&format!(
                    "row {row}: no keys of `{}` are cached for this layer; run prefill over this \
                     cache first",
                    self.options.keys
                ))
                })?;
            slots.push(slot.clone());
        }
        let Some(first) = slots.first() else {
            return Err(self.invalid(&format!(
                "this {} pass has no cache; give the pass one cache for each row",
                self.pass.stage_name()
            )));
        };
        if first.head_dim != self.head_dim || !self.heads.is_multiple_of(first.kv_heads) {
            return Err(self.mismatch(&format!(
                "q {:?} does not fit the cached keys with {} heads of {}",
                self.q.shape(),
                first.kv_heads,
                first.head_dim
            )));
        }
        let keys = slots.iter().map(|slot| slot.len).max().unwrap_or(0);
        self.check_bias(keys)?;
        let queries = self.pass.input("attention", &self.options.queries)?;
        let starts = self.pass.starts(&self.options.queries).unwrap_or_default();
        let cached: Vec<usize> = slots.iter().map(|slot| slot.len).collect();
        let (kind, window) = (self.options.kind, self.options.window);
        let ranges = mask::over_cache(kind, window, queries, starts, &cached);
        if host::serves(self.q) {
            host::cached(self, &slots, &ranges)
        } else {
            composite::cached(self, &slots, keys, &ranges)
        }
    }

    fn mask_key(&self) -> MaskKey {
        MaskKey {
            kind: self.options.kind,
            queries: self.options.queries.clone(),
            keys: self.options.keys.clone(),
            window: self.options.window,
        }
    }
}
