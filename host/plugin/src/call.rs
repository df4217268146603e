//! From an engine's error to one that names the plugin, the phase, the reason and the remedy.

use std::any::Any;

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::{
    PluginError,
    error::{bytes, seconds},
    limits::{Denied, Limits},
};

/// Frames that are kept of a guest's stack.
const MAX_FRAMES: usize = 32;

/// Where and under which rules it happened.
pub(crate) struct Scene<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) phase: &'a str,
    pub(crate) limits: &'a Limits,
    pub(crate) denied: Option<Denied>,
    /// What the guest complained about last: its panic message.
    pub(crate) last_error: Option<String>,
}

/// A host function's reason to end the call: where the contract gives it no error to return.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// A limit.
    #[error("{0}")]
    Quota(String, &'static str),
    /// A broken promise of the contract.
    #[error("{0}")]
    Contract(String),
}

/// Says what an error of the engine means.
pub(crate) fn explain(error: &wasmtime::Error, scene: Scene<'_>) -> PluginError {
    let Scene {
        plugin,
        phase,
        limits,
        denied,
        last_error,
    } = scene;
    let backtrace = error
        .downcast_ref::<WasmBacktrace>()
        .map(frames)
        .unwrap_or_default();
    let trap = error.downcast_ref::<Trap>().copied();

    let explained = if let Some(stop) = error.downcast_ref::<Stop>() {
        match stop {
            Stop::Quota(message, hint) => {
                PluginError::quota(plugin, phase, message.as_str()).with_hint(*hint)
            }
            Stop::Contract(message) => PluginError::contract(plugin, phase, message.as_str()),
        }
    } else if trap == Some(Trap::Interrupt) {
        PluginError::timeout(
            plugin,
            phase,
            format!(
                "the call did not end within {} and was stopped",
                seconds(limits.call_time)
            ),
        )
        .with_hint("if the work is meant to take that long, raise the limit `call_time`")
    } else if let Some(denied) = denied {
        PluginError::memory(plugin, phase, denied.message()).with_hint(denied.hint())
    } else if trap == Some(Trap::StackOverflow) {
        PluginError::quota(
            plugin,
            phase,
            format!(
                "the plugin used up its stack of {}",
                bytes(limits.stack_bytes as u64)
            ),
        )
        .with_hint(
            "most often endless recursion; otherwise raise the limit `stack_bytes` of the engine",
        )
    } else if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        PluginError::quota(
            plugin,
            phase,
            format!("too many instances at once: {error}"),
        )
        .with_hint("close instances that are not in use")
    } else if is_host_call_limit(error) {
        PluginError::quota(
            plugin,
            phase,
            format!(
                "the plugin handed over more than {} in one call",
                bytes(limits.host_call_bytes as u64)
            ),
        )
        .with_hint("send smaller pieces, or raise the limit `host_call_bytes`")
    } else {
        match (last_error, trap) {
            (Some(said), _) => PluginError::trap(plugin, phase, said),
            (None, Some(Trap::UnreachableCodeReached)) => PluginError::trap(
                plugin,
                phase,
                "the plugin gave up (it executed `unreachable`) without saying why",
            )
            .with_hint(
                "the SDK's panic hook would send the message; build the plugin with the SDK",
            ),
            (None, Some(trap)) => PluginError::trap(plugin, phase, trap.to_string()),
            (None, None) => PluginError::trap(plugin, phase, format!("{:#}", error.root_cause())),
        }
    };
    explained.with_backtrace(backtrace)
}

/// Wasmtime's own type for this is private; the sentence is what there is. A test holds it in place.
fn is_host_call_limit(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .to_string()
            .contains("fuel allocated for hostcalls has been exhausted")
    })
}

/// The guest's functions, innermost first, without the machinery of panics.
fn frames(backtrace: &WasmBacktrace) -> Vec<String> {
    let named: Vec<String> = backtrace
        .frames()
        .iter()
        .map(|frame| match frame.func_name() {
            // `{:#}` leaves out the hash.
            Some(name) => format!("{:#}", rustc_demangle::demangle(name)),
            None => format!("function {}", frame.func_index()),
        })
        .collect();
    let machinery = |name: &String| {
        [
            "core::panicking::",
            "std::panicking::",
            "rust_panic",
            "__rust",
            "std::sys::",
            "std::process::abort",
            "abort",
            "core::option::unwrap_failed",
            "core::option::expect_failed",
            "core::result::unwrap_failed",
            "alloc::alloc::handle_alloc_error",
            "alloc::raw_vec::handle_error",
        ]
        .iter()
        .any(|prefix| name.trim_start_matches('<').starts_with(prefix))
    };
    let mut kept: Vec<String> = named
        .iter()
        .skip_while(|name| machinery(name))
        .take(MAX_FRAMES)
        .cloned()
        .collect();
    if kept.is_empty() {
        kept = named;
        kept.truncate(MAX_FRAMES);
    }
    kept
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it gave no message")
}
