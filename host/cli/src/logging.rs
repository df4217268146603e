//! The log, on standard error.

use std::io;

use console::Term;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Sets what by module, for example `tenon_train=debug`.
const VARIABLE: &str = "TENON_LOG";

/// Starts logging: a server from `info` on, commands at errors only, more with `-v`.
pub fn start(server: bool, json: bool, verbose: u8) {
    let level = match (server, verbose) {
        // What fails is the command's own error, and with --json nothing stands beside it.
        (false, 0) if json => LevelFilter::OFF,
        (false, 0) => LevelFilter::ERROR,
        (false, 1) | (true, 0) => LevelFilter::INFO,
        (false, 2) | (true, 1) => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => EnvFilter::builder()
            .with_default_directive(level.into())
            .parse_lossy(text),
        _ if level == LevelFilter::OFF || level == LevelFilter::ERROR => {
            EnvFilter::builder().parse_lossy(level.to_string())
        }
        // Libraries speak at their warnings only, unless everything is asked for.
        _ if level == LevelFilter::TRACE => EnvFilter::default().add_directive(level.into()),
        // A directive counts for every target that begins with it: `tenon_train` too.
        _ => EnvFilter::builder().parse_lossy(format!("warn,tenon={level}")),
    };
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(Term::stderr().features().colors_supported())
        .with_target(verbose > 0)
        .try_init();
}
