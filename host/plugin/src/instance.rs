//! One running instance of a component: a store, the world's bindings, and the only way to call them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmtime::{
    Store,
    component::{InstancePre, Linker},
};

use crate::{
    Component, Description, Engine, Failure, Kind, PluginError,
    bindings::types,
    call::{self, Scene},
    component::Loaded,
    engine::Clock,
    error::Report,
    grants::Grants,
    state::State,
};

/// One of the contract's worlds: implemented for the generated bindings by [`world!`].
pub(crate) trait World: Sized + Send + Sync + 'static {
    /// The kind of plugin that it is for.
    const KIND: Kind;
    /// The linked component, ready to be instantiated.
    type Pre: Send + Sync + 'static;
    /// Gives the world's imports to a linker.
    fn link(linker: &mut Linker<State>) -> wasmtime::Result<()>;
    /// Finds the world's exports.
    fn pre(linked: InstancePre<State>) -> wasmtime::Result<Self::Pre>;
    /// A new instance in the store.
    fn instantiate(pre: &Self::Pre, store: &mut Store<State>) -> wasmtime::Result<Self>;
    /// Calls `describe`.
    fn describe(&self, store: &mut Store<State>) -> wasmtime::Result<types::Description>;
}

/// Implements [`World`] for the bindings of one world.
macro_rules! world {
    ($module:ident, $bindings:ident, $pre:ident, $kind:ident) => {
        impl $crate::instance::World for $crate::bindings::$module::$bindings {
            const KIND: $crate::Kind = $crate::Kind::$kind;
            type Pre = $crate::bindings::$module::$pre<$crate::state::State>;
            fn link(
                linker: &mut ::wasmtime::component::Linker<$crate::state::State>,
            ) -> ::wasmtime::Result<()> {
                Self::add_to_linker::<_, ::wasmtime::component::HasSelf<$crate::state::State>>(
                    linker,
                    |state| state,
                )
            }
            fn pre(
                linked: ::wasmtime::component::InstancePre<$crate::state::State>,
            ) -> ::wasmtime::Result<Self::Pre> {
                $crate::bindings::$module::$pre::new(linked)
            }
            fn instantiate(
                pre: &Self::Pre,
                store: &mut ::wasmtime::Store<$crate::state::State>,
            ) -> ::wasmtime::Result<Self> {
                pre.instantiate(store)
            }
            fn describe(
                &self,
                store: &mut ::wasmtime::Store<$crate::state::State>,
            ) -> ::wasmtime::Result<$crate::bindings::types::Description> {
                self.tenon_plugin_plugin().call_describe(store)
            }
        }
    };
}
pub(crate) use world;

/// Links a component against a world, once for its life.
pub(crate) fn link<W: World>(
    engine: &Engine,
    code: &wasmtime::component::Component,
    name: &str,
) -> Result<W::Pre, PluginError> {
    let mut linker = Linker::new(&engine.inner().wasm);
    W::link(&mut linker).map_err(|error| {
        PluginError::host(
            name,
            "load",
            format!("the host's side of a {}: {error:#}", W::KIND),
        )
    })?;
    linker.instantiate_pre(code).and_then(W::pre).map_err(|error| {
        PluginError::wrong_world(name, "load", format!("it does not fit the world {}-plugin: {error:#}", W::KIND))
            .with_hint("build it against the contract in wit/; a plugin can import nothing else, WASI included")
    })
}

/// A component's instance, alone in its store. After a trap it is poisoned: every further call is
/// refused.
pub(crate) struct Instance<W> {
    engine: Engine,
    store: Store<State>,
    bindings: W,
    poisoned: Option<String>,
}

impl<W: World> Instance<W> {
    /// A new instance of the component with these grants.
    pub(crate) fn open(component: &Component, grants: Grants) -> Result<Self, PluginError> {
        Self::start(component.engine(), component.loaded(), grants)
    }

    fn start(engine: &Engine, loaded: &Loaded, mut grants: Grants) -> Result<Self, PluginError> {
        let pre = loaded.linked::<W>()?;
        let limits = grants
            .limits
            .take()
            .unwrap_or_else(|| engine.inner().limits.clone());
        let host_call_bytes = limits.host_call_bytes;
        let state = State::new(
            loaded.name.clone(),
            loaded.capabilities.clone(),
            limits,
            grants,
        );
        let mut store = Store::new(&engine.inner().wasm, state);
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(host_call_bytes);
        store.epoch_deadline_trap();
        // A component may run code when it is instantiated: the same rules hold.
        let bindings = guarded(engine, &mut store, "instantiate", |store| {
            W::instantiate(pre, store)
        })?;
        Ok(Self {
            engine: engine.clone(),
            store,
            bindings,
            poisoned: None,
        })
    }

    /// Runs guest code, within the limits. `phase` says in errors what was being done.
    ///
    /// Everything that the call left in the state's tables is freed when this returns: take what
    /// you want to keep inside the closure.
    pub(crate) fn call<T>(
        &mut self,
        phase: &str,
        run: impl FnOnce(&mut Store<State>, &W) -> wasmtime::Result<T>,
    ) -> Result<T, PluginError> {
        if let Some(why) = &self.poisoned {
            let plugin = &self.store.data().plugin;
            return Err(PluginError::poisoned(
                plugin,
                phase,
                format!("this instance has failed before ({why})"),
            )
            .with_hint("open a new instance"));
        }
        let Self {
            engine,
            store,
            bindings,
            ..
        } = self;
        let result = guarded(engine, store, phase, |store| run(store, bindings));
        if let Err(error) = &result {
            let report: &Report = error.report();
            self.poisoned = Some(format!("{}: {}", report.phase, report.message));
        }
        result
    }

    /// Like [`call`](Self::call), for functions that answer with the contract's `result`: the guest's
    /// error becomes [`PluginError::Guest`] and does not poison the instance.
    pub(crate) fn call_result<T>(
        &mut self,
        phase: &str,
        run: impl FnOnce(&mut Store<State>, &W) -> wasmtime::Result<Result<T, types::Error>>,
    ) -> Result<T, PluginError> {
        self.call(phase, run)?
            .map_err(|error| PluginError::guest(self.plugin(), phase, Failure::from(error)))
    }

    /// Whether an earlier failure has lost it.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.is_some()
    }

    /// The plugin's name.
    pub(crate) fn plugin(&self) -> &str {
        &self.store.data().plugin
    }
}

/// The one place where guest code runs: clock, deadline, clean-up, and errors in words.
fn guarded<T>(
    engine: &Engine,
    store: &mut Store<State>,
    phase: &str,
    run: impl FnOnce(&mut Store<State>) -> wasmtime::Result<T>,
) -> Result<T, PluginError> {
    let allowed = store.data().limits.call_time;
    store.data_mut().log.begin_call();
    let running = engine.inner().clock.run();
    store.set_epoch_deadline(Clock::ticks(allowed));
    // A panic of the host inside a host call unwinds through the guest to here: the instance is
    // lost, the process is not.
    let result = catch_unwind(AssertUnwindSafe(|| run(store)));
    drop(running);
    store.data_mut().end_call();
    let error = match result {
        Ok(Ok(value)) => {
            store.data_mut().meter.take_denied();
            return Ok(value);
        }
        Ok(Err(error)) => error,
        Err(panic) => {
            let plugin = store.data().plugin.clone();
            let message = format!(
                "the host failed while it served the plugin: {}",
                call::panic_text(&*panic)
            );
            return Err(PluginError::host(&plugin, phase, message)
                .with_hint("this is a bug in the host: report it"));
        }
    };
    let state = store.data_mut();
    Err(call::explain(
        &error,
        Scene {
            plugin: &state.plugin,
            phase,
            limits: &state.limits,
            denied: state.meter.take_denied(),
            last_error: state.log.take_last_error(),
        },
    ))
}

impl Loaded {
    /// Calls `describe` of a component that carries no description.
    pub(crate) fn ask_world<W: World>(&self, engine: &Engine) -> Result<Description, PluginError> {
        let mut instance = Instance::<W>::start(engine, self, Grants::default())?;
        let described = instance.call("describe", |store, bindings| bindings.describe(store))?;
        Description::try_from(described)
            .map_err(|message| PluginError::contract(&self.name, "describe", message))
    }
}
