//! What fails on the thread of a GPU.
//!
//! CubeCL runs what was asked for on a thread of each device, later. A command that panics there, as one
//! that finds no memory does, is dropped, and what reads its result gets whatever the memory held: nothing
//! would tell. So panics on these threads are kept for the thread that asked, whose next operation fails
//! with them, at the latest when it reads a result.

use std::{
    collections::BTreeMap,
    panic::{self, PanicHookInfo},
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use cubecl_common::stream_id::StreamId;
use parking_lot::Mutex;

use crate::{TensorError, value::backend_error};

/// What the names of these threads begin with.
const THREADS: [&str; 2] = ["DSU-", "DSD-"];

/// The first failure of each stream (a thread that asks has one) since it was told.
static FAILED: Mutex<BTreeMap<u64, String>> = Mutex::new(BTreeMap::new());
/// Whether there is any.
static ANY: AtomicBool = AtomicBool::new(false);

/// Before the first GPU starts.
pub(super) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let on_device = thread::current()
                .name()
                .is_some_and(|name| THREADS.iter().any(|start| name.starts_with(start)));
            if on_device { note(info) } else { others(info) }
        }));
    });
}

fn note(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let reason = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given");
    tracing::debug!(reason, place = ?info.location(), "a command failed on a device");
    // The device's thread takes the stream of whoever asked while it runs a command.
    let stream = StreamId::current().value;
    FAILED
        .lock()
        .entry(stream)
        .or_insert_with(|| reason.to_owned());
    ANY.store(true, Ordering::Release);
}

fn take(stream: u64) -> Option<String> {
    let mut failed = FAILED.lock();
    let reason = failed.remove(&stream);
    ANY.store(!failed.is_empty(), Ordering::Release);
    reason
}

/// The error of a command that this thread has asked for, once.
///
/// # Errors
/// As [`backend_error`] says of what failed.
#[inline]
pub(crate) fn check(what: &str) -> Result<(), TensorError> {
    match ANY.load(Ordering::Acquire) {
        false => Ok(()),
        true => told(what),
    }
}

#[cold]
fn told(what: &str) -> Result<(), TensorError> {
    let stream = StreamId::current().value;
    let Some(reason) = take(stream) else {
        return Ok(());
    };
    // What was asked for since may need the result, and fail too: that is no other failure.
    super::wait_for_all();
    take(stream);
    Err(backend_error(what, &reason))
}
