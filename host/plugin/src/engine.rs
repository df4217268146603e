//! The engine: one for the process, shared by all plugins.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use parking_lot::Mutex;
use wasmtime::{
    Config, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails, WasmFeatures,
};

use crate::{
    PluginError,
    component::{Component, Loaded},
    limits::Limits,
};

mod cache;

use cache::Cache;

/// How often the clock of deadlines ticks: a deadline is met within two ticks.
const TICK: Duration = Duration::from_millis(5);
/// The clock stops when no call has been running for this many ticks, so that an idle process sleeps.
const IDLE_TICKS: u32 = 400;
/// Components that stay loaded although nobody uses them at the moment.
const KEPT: usize = 32;
/// Larger files are refused unread: Python with all its libraries is 20 MiB.
const MAX_COMPONENT_BYTES: usize = 512 << 20;

/// How to set an engine up.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// Where compiled code is kept between runs. It must belong to this process's user; nothing:
    /// every process compiles anew.
    pub cache_dir: Option<PathBuf>,
    /// For instances whose grants name no limits of their own.
    pub limits: Limits,
}

/// Loads and runs plugins. Cheap to clone; one is enough for a process.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) wasm: wasmtime::Engine,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    cache: Option<Cache>,
    /// By digest: loading twice gives the same component, and two threads that load the same one
    /// compile it once.
    loaded: Mutex<HashMap<String, Arc<Mutex<Weak<Loaded>>>>>,
    /// The components loaded last, oldest first.
    recent: Mutex<VecDeque<Arc<Loaded>>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("limits", &self.inner.limits)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Sets the engine up and starts its clock.
    ///
    /// # Errors
    /// [`PluginError::Host`] if the machine cannot run it (address space) or the cache folder cannot
    /// be used safely.
    pub fn new(options: EngineOptions) -> Result<Self, PluginError> {
        let wasm = wasmtime::Engine::new(&config(&options.limits)).map_err(|error| {
            PluginError::host("(engine)", "start", format!("the WebAssembly engine does not start: {error:#}"))
                .with_hint("it reserves address space for its pool: lift a limit on virtual memory (`ulimit -v`)")
        })?;
        let cache = options
            .cache_dir
            .map(|dir| Cache::open(&dir, &wasm))
            .transpose()?;
        let clock = Clock::start(&wasm)?;
        Ok(Self {
            inner: Arc::new(Inner {
                wasm,
                limits: options.limits,
                clock,
                cache,
                loaded: Mutex::default(),
                recent: Mutex::default(),
            }),
        })
    }

    /// The limits of instances whose grants name none.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Loads a component: from memory, from the cache of compiled code, or by compiling it.
    ///
    /// # Errors
    /// [`PluginError::Corrupt`] if the bytes are no component, [`PluginError::WrongWorld`] if it is
    /// no plugin.
    pub fn load(&self, bytes: &[u8]) -> Result<Component, PluginError> {
        let digest = crate::component::digest(bytes);
        let short = &digest[..19.min(digest.len())];
        if bytes.len() > MAX_COMPONENT_BYTES {
            return Err(PluginError::corrupt(
                short,
                "load",
                format!(
                    "the component is {} bytes long; at most {MAX_COMPONENT_BYTES} are read",
                    bytes.len()
                ),
            ));
        }
        let place = self
            .inner
            .loaded
            .lock()
            .entry(digest.clone())
            .or_default()
            .clone();
        let mut place = place.lock();
        let loaded = match place.upgrade() {
            Some(loaded) => loaded,
            None => {
                let loaded = Arc::new(Loaded::new(self, bytes, digest)?);
                *place = Arc::downgrade(&loaded);
                loaded
            }
        };
        self.keep(&loaded);
        Ok(Component::new(self.clone(), loaded))
    }

    /// Keeps the last few components loaded; forgets the places of those that are gone.
    fn keep(&self, loaded: &Arc<Loaded>) {
        let evicted = {
            let mut recent = self.inner.recent.lock();
            recent.retain(|kept| !Arc::ptr_eq(kept, loaded));
            recent.push_back(loaded.clone());
            if recent.len() > KEPT {
                recent.pop_front()
            } else {
                None
            }
        };
        if evicted.is_some() {
            drop(evicted);
            self.inner.loaded.lock().retain(|_, place| {
                // In use by another thread right now: it is being loaded.
                place.try_lock().is_none_or(|weak| weak.strong_count() > 0)
            });
        }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Machine code for a component, from the cache where it is.
    pub(crate) fn compile(
        &self,
        bytes: &[u8],
        digest: &str,
    ) -> Result<wasmtime::component::Component, wasmtime::Error> {
        if let Some(cache) = &self.inner.cache
            && let Some(component) = cache.get(&self.inner.wasm, digest)
        {
            return Ok(component);
        }
        let start = std::time::Instant::now();
        let component = wasmtime::component::Component::from_binary(&self.inner.wasm, bytes)?;
        tracing::debug!(
            digest,
            millis = start.elapsed().as_millis() as u64,
            "compiled a component"
        );
        if let Some(cache) = &self.inner.cache {
            cache.put(digest, &component);
        }
        Ok(component)
    }
}

/// Wasmtime's configuration. Whatever changes the machine code changes the cache's key with it.
fn config(limits: &Limits) -> Config {
    let mut config = Config::new();
    // Components are synchronous; without concurrency a host call costs 100 ns instead of 240.
    config.concurrency_support(false);
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(limits.stack_bytes);
    config.memory_init_cow(true);
    config.parallel_compilation(true);
    // Function names come from the name section; DWARF line tables only make components larger.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    // Proposals that plugins do not need stay off: less surface, and no shared memory.
    for feature in [
        WasmFeatures::THREADS,
        WasmFeatures::SHARED_EVERYTHING_THREADS,
        WasmFeatures::MEMORY64,
        WasmFeatures::MULTI_MEMORY,
        WasmFeatures::GC,
        WasmFeatures::FUNCTION_REFERENCES,
        WasmFeatures::EXCEPTIONS,
        WasmFeatures::TAIL_CALL,
        WasmFeatures::RELAXED_SIMD,
        WasmFeatures::STACK_SWITCHING,
    ] {
        config.wasm_features(feature, false);
    }
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    config
}

/// The pool that instances come from. It reserves address space, not memory.
fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::default();
    // A serving node with 16 deployments of 32 pooled processors each.
    pool.total_component_instances(512);
    // Rust and C need 3 core instances (module, shim, fix-ups), Python 20 to 30.
    pool.total_core_instances(512 * 8);
    pool.max_core_instances_per_component(64);
    // One memory each; 512 × (4 GiB + guard) = 2 TiB of the 128 TiB of address space.
    pool.total_memories(512);
    pool.max_memories_per_component(4);
    // The module's own table and the shim's.
    pool.total_tables(512 * 4);
    pool.max_tables_per_component(16);
    pool.max_tables_per_module(4);
    // CPython and SpiderMonkey have about 10,000 functions in their table.
    pool.table_elements(100_000);
    // Metadata of one instance: Python needs 0.4 MiB.
    pool.max_core_instance_size(2 << 20);
    pool.max_component_instance_size(4 << 20);
    // What a 32-bit memory can have; the limit `memory_bytes` decides.
    pool.max_memory_size(4 << 30);
    // Resetting up to 128 KiB by memset is cheaper than madvise and the page faults after it.
    pool.linear_memory_keep_resident(128 << 10);
    pool.table_keep_resident(16 << 10);
    // Idle slots that stay warm: the pages above times this many is what the pool may keep.
    pool.max_unused_warm_slots(64);
    pool
}

/// The clock of deadlines: a thread that advances the engine's epoch while calls are running.
pub(crate) struct Clock {
    shared: Arc<ClockState>,
    thread: Thread,
}

struct ClockState {
    /// Calls that are running.
    running: AtomicU32,
    parked: AtomicBool,
    stop: AtomicBool,
}

impl Clock {
    fn start(engine: &wasmtime::Engine) -> Result<Self, PluginError> {
        let shared = Arc::new(ClockState {
            running: AtomicU32::new(0),
            parked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let (state, engine) = (shared.clone(), engine.weak());
        let thread = thread::Builder::new()
            .name("plugin-clock".into())
            .spawn(move || {
                let mut idle = 0;
                while !state.stop.load(Ordering::SeqCst) {
                    thread::sleep(TICK);
                    let Some(engine) = engine.upgrade() else {
                        return;
                    };
                    engine.increment_epoch();
                    drop(engine);
                    idle = if state.running.load(Ordering::SeqCst) == 0 {
                        idle + 1
                    } else {
                        0
                    };
                    if idle > IDLE_TICKS {
                        state.parked.store(true, Ordering::SeqCst);
                        // A call that began between the two looks has seen `parked` and wakes us.
                        while state.running.load(Ordering::SeqCst) == 0
                            && !state.stop.load(Ordering::SeqCst)
                        {
                            thread::park();
                        }
                        state.parked.store(false, Ordering::SeqCst);
                        idle = 0;
                    }
                }
            })
            .map_err(|e| {
                PluginError::host("(engine)", "start", format!("no thread for the clock: {e}"))
            })?;
        Ok(Self {
            shared,
            thread: thread.thread().clone(),
        })
    }

    /// The clock ticks at least until the guard is dropped.
    pub(crate) fn run(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(&self.shared)
    }

    /// Ticks that a call of this length may take.
    pub(crate) fn ticks(duration: Duration) -> u64 {
        // One more, because the current tick has already begun.
        u64::try_from(duration.as_nanos().div_ceil(TICK.as_nanos()))
            .unwrap_or(u64::MAX / 4)
            .min(u64::MAX / 4)
            + 1
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// Keeps the clock ticking.
pub(crate) struct Running<'a>(&'a ClockState);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
