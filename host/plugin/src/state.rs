//! The data of one instance's store: every capability of a plugin is a field here.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::{
    bindings::types,
    grants::{BatchReader, DatasetSource, Grants, ModelSource, TokenizerSource},
    host::{log::Log, model_host::Lent, tensors::Tensors},
    limits::{Limits, Meter},
    slab::Slab,
};

/// Marks handles of `tensor` in the bindings; the tensors are in [`State::tensors`].
pub struct TensorHandle;
/// Marks handles of `scope` in the bindings; the scopes are in [`State::lent`].
pub struct ScopeHandle;
/// Marks handles of `pass` in the bindings; the passes are in [`State::lent`].
pub struct PassHandle;
/// Marks handles of `reader` in the bindings; the readers are in [`State::readers`].
pub struct ReaderHandle;

/// Everything that one instance can reach.
pub struct State {
    /// The plugin's name, as log lines and errors show it.
    pub plugin: Arc<str>,
    /// What it may use.
    pub limits: Limits,
    /// Counts linear memory and tables.
    pub meter: Meter,
    /// `host.log`, `host.progress`.
    pub log: Log,
    /// `host.random`: key and counter.
    pub random: Random,
    /// `tensors`: the handles of the current call.
    pub tensors: Tensors,
    /// `model-host`: the scopes and passes of the current call.
    pub lent: Lent,
    /// `tokenizer`, where granted.
    pub tokenizer: Option<Arc<dyn TokenizerSource>>,
    /// `datasets`, where granted.
    pub datasets: Option<Arc<dyn DatasetSource>>,
    /// What the plugin's description asks for.
    pub capabilities: Arc<[String]>,
    /// The datasets that are being read.
    pub readers: Slab<Reader>,
    /// `model`, where granted.
    pub model: Option<Box<dyn ModelSource + Send>>,
}

/// A dataset that is being read. The lock makes a `Send` iterator part of a `Sync` store; nobody
/// contends for it.
pub type Reader = Mutex<BatchReader>;

impl State {
    pub(crate) fn new(
        plugin: Arc<str>,
        capabilities: Arc<[String]>,
        limits: Limits,
        grants: Grants,
    ) -> Self {
        Self {
            meter: Meter::new(&limits),
            log: Log::new(grants.log, limits.log_lines_per_second),
            random: Random {
                key: tenon_tensor::rng::derive_str(grants.seed, "plugin"),
                counter: 0,
            },
            tensors: Tensors::new(&limits),
            lent: Lent::default(),
            tokenizer: grants.tokenizer,
            datasets: grants.datasets,
            capabilities,
            readers: Slab::new(),
            model: grants.model,
            plugin,
            limits,
        }
    }

    /// Whether the plugin's description asks for a capability: what is not in there cannot be used,
    /// so that the list that people see before they install it is complete.
    pub(crate) fn allowed(&self, capability: &str, why: &str) -> Result<(), types::Error> {
        if self.capabilities.iter().any(|asked| asked == capability) {
            return Ok(());
        }
        Err(types::Error::NotGranted(format!(
            "the capability `{capability}` is not granted: the plugin's description does not ask for what {why}; add \
             `{capability}` to its `capabilities`"
        )))
    }

    /// After a call: frees what belonged to it.
    pub(crate) fn end_call(&mut self) {
        self.tensors.end_call();
        self.lent.end_call();
    }
}

/// Seeded random numbers: the same seed gives the same sequence.
#[derive(Debug, Clone, Copy)]
pub struct Random {
    key: u64,
    counter: u64,
}

impl Random {
    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        let value = tenon_tensor::rng::bits_at(self.key, self.counter);
        self.counter = self.counter.wrapping_add(1);
        value
    }
}
