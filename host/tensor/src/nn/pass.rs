//! One run of a model over one batch.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use super::{
    cache::SharedCache,
    mask::{MaskKey, Ranges},
    sequence::SequenceInfo,
};
use crate::{DType, Device, Tensor, TensorError, rng};

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Training: gradients, dropout.
    Train,
    /// Scoring: whole sequences, no gradients.
    Evaluate,
    /// Serving, the first pass over new tokens of sequences: fills the cache.
    Prefill,
    /// Serving, one more token (or a few) of each sequence.
    Decode,
}

/// What is made once in a pass and then shared by all layers.
#[derive(Clone, Hash, PartialEq, Eq)]
pub(super) enum Memo {
    Positions(String),
    KeyPositions(String),
    Mask(String),
    Additive(MaskKey),
    Blind(MaskKey),
    Ranges(MaskKey),
}

pub(super) struct Inner {
    pub stage: Stage,
    pub inputs: Vec<SequenceInfo>,
    pub device: Device,
    pub caches: Vec<SharedCache>,
    /// For each input, how many of its tokens each row's cache held before this pass.
    pub starts: HashMap<String, Vec<usize>>,
    rng_key: u64,
    draws: AtomicU64,
    layers: Mutex<BTreeSet<u32>>,
    memo: Mutex<HashMap<Memo, Tensor>>,
    ranges: Mutex<HashMap<MaskKey, Arc<Ranges>>>,
}

/// One run of a model over one batch: what the recipe may know about it, its random numbers, and
/// its attention, which knows padding, packing and the cache.
#[derive(Clone)]
pub struct Pass(pub(super) Arc<Inner>);

impl Pass {
    /// A pass over a batch whose sequence inputs are `inputs`. All its random numbers follow from
    /// `rng_key`: give each step of a job its own (`rng::derive(seed, step)`).
    ///
    /// # Errors
    /// `InvalidArgument` when inputs share a name, disagree about the batch, or a row is longer than
    /// the batch is wide.
    pub fn new(
        stage: Stage,
        inputs: Vec<SequenceInfo>,
        rng_key: u64,
        device: &Device,
    ) -> Result<Self, TensorError> {
        let mut names = BTreeSet::new();
        for input in &inputs {
            input.check()?;
            if !names.insert(input.name.clone()) {
                return Err(TensorError::InvalidArgument(format!(
                    "pass: two sequence inputs are named `{}`",
                    input.name
                )));
            }
            if input.batch() != inputs[0].batch() {
                return Err(TensorError::InvalidArgument(format!(
                    "pass: input `{}` has {} rows, but `{}` has {}",
                    input.name,
                    input.batch(),
                    inputs[0].name,
                    inputs[0].batch()
                )));
            }
        }
        Ok(Self(Arc::new(Inner {
            stage,
            inputs,
            device: *device,
            caches: Vec::new(),
            starts: HashMap::new(),
            rng_key,
            draws: AtomicU64::new(0),
            layers: Mutex::default(),
            memo: Mutex::default(),
            ranges: Mutex::default(),
        })))
    }

    /// The same pass over cached sequences, one for each row, in stage `prefill` or `decode`. The
    /// caches count the batch's tokens as seen from here on; if the pass fails, truncate or drop
    /// them.
    ///
    /// # Errors
    /// `InvalidArgument` in another stage, for a number of caches that is not the number of rows,
    /// for one cache given twice, and for rows of several documents.
    pub fn with_cache(self, caches: Vec<SharedCache>) -> Result<Self, TensorError> {
        let invalid = |text: String| Err(TensorError::InvalidArgument(text));
        let inner = Arc::try_unwrap(self.0).map_err(|_| {
            TensorError::InvalidArgument(
                "pass: with_cache must come before the pass is shared".into(),
            )
        })?;
        if !matches!(inner.stage, Stage::Prefill | Stage::Decode) {
            return invalid(format!(
                "pass: a cache was given in stage {:?}; only prefill and decode use one",
                inner.stage
            ));
        }
        for (row, cache) in caches.iter().enumerate() {
            if caches[..row].iter().any(|other| Arc::ptr_eq(other, cache)) {
                return invalid(format!(
                    "pass: the cache of row {row} is also that of a row before it; fork it"
                ));
            }
        }
        for input in &inner.inputs {
            if input.batch() != caches.len() {
                return invalid(format!(
                    "pass: {} caches for {} rows of input `{}`",
                    caches.len(),
                    input.batch(),
                    input.name
                ));
            }
            if let Some(row) = input.rows.iter().position(|documents| documents.len() > 1) {
                return invalid(format!(
                    "pass: row {row} of input `{}` packs {} documents; in serving each row is one \
                     sequence",
                    input.name,
                    input.rows[row].len()
                ));
            }
        }
        let mut starts: HashMap<String, Vec<usize>> = HashMap::new();
        for input in &inner.inputs {
            let rows = starts.entry(input.name.clone()).or_default();
            for (row, cache) in caches.iter().enumerate() {
                let mut cache = cache.lock();
                let seen = cache.lengths.entry(input.name.clone()).or_default();
                rows.push(*seen);
                *seen += input.real(row);
            }
        }
        Ok(Self(Arc::new(Inner {
            caches,
            starts,
            ..inner
        })))
    }

    /// What the pass is for.
    pub fn stage(&self) -> Stage {
        self.0.stage
    }

    /// Where its tensors live.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// The sequence inputs of the batch.
    pub fn inputs(&self) -> &[SequenceInfo] {
        &self.0.inputs
    }

    pub(super) fn input(&self, what: &str, name: &str) -> Result<&SequenceInfo, TensorError> {
        self.0
            .inputs
            .iter()
            .find(|input| input.name == name)
            .ok_or_else(|| {
                let known: Vec<&str> = self.0.inputs.iter().map(|i| i.name.as_str()).collect();
                TensorError::InvalidArgument(format!(
                    "pass.{what}: no sequence input `{name}` in this {} pass; there are {known:?}",
                    self.stage_name()
                ))
            })
    }

    pub(super) fn stage_name(&self) -> &'static str {
        match self.0.stage {
            Stage::Train => "train",
            Stage::Evaluate => "evaluate",
            Stage::Prefill => "prefill",
            Stage::Decode => "decode",
        }
    }

    pub(super) fn starts(&self, input: &str) -> Option<&[usize]> {
        self.0.starts.get(input).map(Vec::as_slice)
    }

    pub(super) fn memo(
        &self,
        key: Memo,
        make: impl FnOnce() -> Result<Tensor, TensorError>,
    ) -> Result<Tensor, TensorError> {
        if let Some(tensor) = self.0.memo.lock().get(&key) {
            return Ok(tensor.clone());
        }
        let tensor = make()?;
        self.0.memo.lock().insert(key, tensor.clone());
        Ok(tensor)
    }

    pub(super) fn ranges(&self, key: &MaskKey, make: impl FnOnce() -> Ranges) -> Arc<Ranges> {
        let mut ranges = self.0.ranges.lock();
        let ranges = ranges.entry(key.clone());
        ranges.or_insert_with(|| Arc::new(make())).clone()
    }

    /// Notes that `layer` attends in this pass.
    pub(super) fn enter_layer(&self, layer: u32) -> Result<(), TensorError> {
        if self.0.layers.lock().insert(layer) {
            return Ok(());
        }
        Err(TensorError::InvalidArgument(format!(
            "attention: layer {layer} was used already in this pass; give each attention of the \
             model a layer number of its own"
        )))
    }

    /// Position of every token in its own document, int64 [batch, tokens]; 0 for padding. In serving
    /// rows go on from what their caches hold.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown input.
    pub fn positions(&self, input: &str) -> Result<Tensor, TensorError> {
        let info = self.input("positions", input)?;
        self.memo(Memo::Positions(input.to_owned()), || {
            Tensor::from_i64(
                &[info.batch(), info.tokens],
                &info.positions(self.starts(input)),
                &self.0.device,
            )
        })
    }

    /// Positions of the keys that `attention` sees in this pass, int64 [batch, keys]: the cached
    /// ones and the new, in the order that its bias has; 0 for padding.
    ///
    /// # Errors
    /// `InvalidArgument` for an input that is neither in the batch nor in the caches.
    pub fn key_positions(&self, input: &str) -> Result<Tensor, TensorError> {
        let known = self.0.inputs.iter().any(|info| info.name == input);
        let cached = self.starts(input).is_some_and(|s| s.iter().any(|s| *s > 0));
        if known && !cached {
            return self.positions(input);
        }
        let lengths: Vec<usize> = if known {
            let info = self.input("key-positions", input)?;
            let starts = self.starts(input).unwrap_or_default();
            (0..info.batch())
                .map(|r| starts[r] + info.real(r))
                .collect()
        } else {
            let caches = self.0.caches.iter();
            caches.map(|cache| cache.lock().input_len(input)).collect()
        };
        if !known && lengths.iter().all(|length| *length == 0) {
            self.input("key-positions", input)?;
        }
        self.memo(Memo::KeyPositions(input.to_owned()), || {
            let info = SequenceInfo::padded(input, &lengths);
            Tensor::from_i64(
                &[info.batch(), info.tokens],
                &info.positions(None),
                &self.0.device,
            )
        })
    }

    /// Which tokens are real, boolean [batch, tokens].
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown input.
    pub fn mask(&self, input: &str) -> Result<Tensor, TensorError> {
        let info = self.input("mask", input)?;
        self.memo(Memo::Mask(input.to_owned()), || {
            let shape = [info.batch(), info.tokens];
            Tensor::from_bytes(&shape, DType::Bool, &info.reality(), &self.0.device)
        })
    }

    /// The key of the next random operation of the pass.
    pub(super) fn draw(&self) -> u64 {
        rng::derive(self.0.rng_key, self.0.draws.fetch_add(1, Ordering::Relaxed))
    }

    /// In training, zeroes elements with probability `p` and scales the others by 1 / (1 - p).
    ///
    /// # Errors
    /// `InvalidArgument` unless 0 ≤ p < 1.
    pub fn dropout(&self, x: &Tensor, p: f32) -> Result<Tensor, TensorError> {
        check_probability("dropout", p)?;
        if self.0.stage != Stage::Train || p == 0.0 {
            return Ok(x.clone());
        }
        x.dropout(p, self.draw())
    }

    /// Uniform in [0, 1), float32.
    ///
    /// # Errors
    /// As making a tensor of this shape.
    pub fn uniform(&self, shape: &[usize]) -> Result<Tensor, TensorError> {
        self.random(shape, rng::fill_uniform)
    }

    /// Standard normal, float32.
    ///
    /// # Errors
    /// As making a tensor of this shape.
    pub fn normal(&self, shape: &[usize]) -> Result<Tensor, TensorError> {
        self.random(shape, rng::fill_normal)
    }

    fn random(&self, shape: &[usize], fill: fn(u64, &mut [f32])) -> Result<Tensor, TensorError> {
        let numel = shape
            .iter()
            .try_fold(1_usize, |product, dim| product.checked_mul(*dim))
            .filter(|numel| *numel <= isize::MAX as usize / 4)
            .ok_or_else(|| {
                TensorError::InvalidArgument(format!("pass: the shape {shape:?} is too large"))
            })?;
        let mut values = Vec::new();
        values.try_reserve_exact(numel).map_err(|_| {
            TensorError::OutOfMemory(format!("pass: no memory for random numbers {shape:?}"))
        })?;
        values.resize(numel, 0.0);
        fill(self.draw(), &mut values);
        Tensor::from_f32(shape, &values, &self.0.device)
    }

    /// Keeps the positions of x [batch, tokens, ...] whose outputs are wanted: all of them in
    /// training and scoring, the last real one of each row in serving ([batch, 1, ...]).
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown input, `ShapeMismatch` when x does not belong to it.
    pub fn wanted(&self, x: &Tensor, input: &str) -> Result<Tensor, TensorError> {
        let info = self.input("wanted", input)?;
        let (batch, tokens) = (info.batch(), info.tokens);
        if x.shape().len() < 2 || x.shape()[..2] != [batch, tokens] {
            return Err(TensorError::ShapeMismatch(format!(
                "pass.wanted: x has the shape {:?}, but input `{input}` needs \
                 [{batch}, {tokens}, ...]",
                x.shape()
            )));
        }
        if matches!(self.0.stage, Stage::Train | Stage::Evaluate) || tokens == 1 {
            return Ok(x.clone());
        }
        let index: Vec<i64> = (0..batch)
            .map(|row| (row * tokens + info.real(row).max(1) - 1) as i64)
            .collect();
        let index = Tensor::from_i64(&[batch], &index, &self.0.device)?;
        let rest = &x.shape()[2..];
        let to = |first: &[usize]| -> Vec<i64> {
            first.iter().chain(rest).map(|dim| *dim as i64).collect()
        };
        x.reshape(&to(&[batch * tokens]))?
            .index_select(0, &index)?
            .reshape(&to(&[batch, 1]))
    }
}

pub(super) fn check_probability(what: &str, p: f32) -> Result<(), TensorError> {
    if (0.0..1.0).contains(&p) {
        return Ok(());
    }
    Err(TensorError::InvalidArgument(format!(
        "{what}: the probability is {p}, but must be at least 0 and below 1"
    )))
}
