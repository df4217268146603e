//! `tenon:plugin/host`: log lines, progress and random numbers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    bindings::host,
    grants::{LogLevel, LogSink},
    state::State,
};

/// Characters of one line that are kept.
const MAX_LINE: usize = 16 * 1024;
/// Progress reports in a second; more are dropped (the last ones of a burst say nothing new).
const PROGRESS_PER_SECOND: u32 = 20;

/// The log of one instance: rate-limited, and remembering the last complaint.
pub struct Log {
    sink: Arc<dyn LogSink>,
    lines: Rate,
    progress: Rate,
    /// The last line of level `error` in this call: a guest's panic message, as a rule.
    last_error: Option<String>,
}

impl Log {
    pub(crate) fn new(sink: Arc<dyn LogSink>, per_second: u32) -> Self {
        Self {
            sink,
            lines: Rate::new(per_second),
            progress: Rate::new(PROGRESS_PER_SECOND),
            last_error: None,
        }
    }

    /// Forgets what earlier calls complained about.
    pub(crate) fn begin_call(&mut self) {
        self.last_error = None;
    }

    /// The last error line of the current call.
    pub(crate) fn take_last_error(&mut self) -> Option<String> {
        self.last_error.take()
    }

    fn line(&mut self, plugin: &str, level: LogLevel, mut message: String) {
        if message.len() > MAX_LINE {
            let mut end = MAX_LINE;
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
            message.push('…');
        }
        match self.lines.admit() {
            Admit::Yes { dropped: 0 } => {}
            Admit::Yes { dropped } => {
                self.sink.log(
                    plugin,
                    LogLevel::Warn,
                    &format!("{dropped} log lines of the plugin were dropped"),
                );
            }
            Admit::No => {
                // A panic message must not drown in the plugin's own noise.
                if level == LogLevel::Error {
                    self.last_error = Some(message);
                }
                return;
            }
        }
        self.sink.log(plugin, level, &message);
        if level == LogLevel::Error {
            self.last_error = Some(message);
        }
    }
}

impl host::Host for State {
    fn log(&mut self, level: host::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            host::Level::Trace => LogLevel::Trace,
            host::Level::Debug => LogLevel::Debug,
            host::Level::Info => LogLevel::Info,
            host::Level::Warn => LogLevel::Warn,
            host::Level::Error => LogLevel::Error,
        };
        self.log.line(&self.plugin, level, message);
        Ok(())
    }

    fn progress(&mut self, done: u64, total: Option<u64>, message: String) -> wasmtime::Result<()> {
        let finished = total.is_some_and(|total| done >= total);
        if matches!(self.log.progress.admit(), Admit::Yes { .. })
            || finished && self.log.lines.admit().is_yes()
        {
            self.log.sink.progress(&self.plugin, done, total, &message);
        }
        Ok(())
    }

    fn random(&mut self) -> wasmtime::Result<u64> {
        Ok(self.random.next())
    }
}

/// So many in a second, counted in windows of one second.
struct Rate {
    per_second: u32,
    window: Instant,
    count: u32,
    dropped: u32,
}

enum Admit {
    Yes {
        /// Since the last one that was admitted after a pause.
        dropped: u32,
    },
    No,
}

impl Admit {
    fn is_yes(&self) -> bool {
        matches!(self, Self::Yes { .. })
    }
}

impl Rate {
    fn new(per_second: u32) -> Self {
        Self {
            per_second,
            window: Instant::now(),
            count: 0,
            dropped: 0,
        }
    }

    fn admit(&mut self) -> Admit {
        if self.count < self.per_second {
            self.count += 1;
            return Admit::Yes {
                dropped: std::mem::take(&mut self.dropped),
            };
        }
        // The clock is read only once the window's share is used up or a new window may begin.
        if self.window.elapsed() >= Duration::from_secs(1) {
            self.window = Instant::now();
            self.count = 1;
            return Admit::Yes {
                dropped: std::mem::take(&mut self.dropped),
            };
        }
        self.dropped = self.dropped.saturating_add(1);
        Admit::No
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use parking_lot::Mutex;

    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);
    impl LogSink for Lines {
        fn log(&self, _: &str, _: LogLevel, message: &str) {
            self.0.lock().push(message.to_owned());
        }
    }

    #[test]
    fn a_noisy_plugin_is_cut_short_but_its_last_error_is_kept() {
        let sink = Arc::new(Lines::default());
        let mut log = Log::new(sink.clone(), 10);
        for i in 0..1000 {
            log.line("p", LogLevel::Info, format!("line {i}"));
        }
        log.line("p", LogLevel::Error, "panicked at the end".into());
        let lines = sink.0.lock();
        assert!(lines.len() <= 20, "{} lines", lines.len());
        assert_eq!(lines[0], "line 0");
        assert_eq!(
            log.take_last_error().as_deref(),
            Some("panicked at the end")
        );
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let sink = Arc::new(Lines::default());
        let mut log = Log::new(sink.clone(), 10);
        log.line("p", LogLevel::Info, "句".repeat(MAX_LINE));
        let lines = sink.0.lock();
        assert!(lines[0].len() <= MAX_LINE + 3 && lines[0].ends_with('…'));
    }
}
