//! Requests of the user or the system to end.

use std::thread;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Failure, Result};

/// Calls `on_signal` at every SIGINT, SIGTERM and SIGHUP, from now on until the process ends; none of
/// them ends the process by itself any more.
pub fn watch(mut on_signal: impl FnMut() + Send + 'static) -> Result<()> {
    let fail = |error: std::io::Error| {
        Failure::failed("io", format!("signals cannot be watched: {error}"))
    };
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(fail)?;
    let mut streams = {
        let _inside = runtime.enter();
        let one = |kind| signal(kind).map_err(fail);
        (
            one(SignalKind::interrupt())?,
            one(SignalKind::terminate())?,
            one(SignalKind::hangup())?,
        )
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = streams.0.recv() => {}
                        _ = streams.1.recv() => {}
                        _ = streams.2.recv() => {}
                    }
                    on_signal();
                }
            });
        })
        .map_err(fail)?;
    Ok(())
}
