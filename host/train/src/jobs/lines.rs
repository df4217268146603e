//! What jobs and their plugins say, kept in memory for those who watch.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use tenon_plugin::LogLevel;
use utoipa::ToSchema;

/// Lines that are kept of a run.
const LINES: usize = 500;
/// Runs that lines are kept of.
const RUNS: usize = 64;

/// One line of a job's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LogLine {
    /// Counts up from 1 in each run.
    pub number: u64,
    /// When it was said.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The plugin, or `tenon`.
    pub source: String,
    /// What was said.
    pub message: String,
}

#[derive(Default)]
struct Kept {
    said: u64,
    lines: VecDeque<LogLine>,
}

/// The lines of the last runs.
#[derive(Default)]
pub(super) struct Lines {
    kept: Mutex<(HashMap<String, Kept>, VecDeque<String>)>,
}

impl Lines {
    pub(super) fn add(&self, run: &str, level: LogLevel, source: &str, message: &str) {
        let mut kept = self.kept.lock();
        let (runs, order) = &mut *kept;
        if !runs.contains_key(run) {
            order.push_back(run.to_owned());
            if order.len() > RUNS
                && let Some(oldest) = order.pop_front()
            {
                runs.remove(&oldest);
            }
        }
        let kept = runs.entry(run.to_owned()).or_default();
        kept.said += 1;
        kept.lines.push_back(LogLine {
            number: kept.said,
            time: Timestamp::now(),
            level: name(level).to_owned(),
            source: source.to_owned(),
            message: message.to_owned(),
        });
        if kept.lines.len() > LINES {
            kept.lines.pop_front();
        }
    }

    pub(super) fn since(&self, run: &str, after: u64) -> Vec<LogLine> {
        let kept = self.kept.lock();
        let lines = kept.0.get(run).map(|kept| kept.lines.iter());
        lines
            .into_iter()
            .flatten()
            .filter(|line| line.number > after)
            .cloned()
            .collect()
    }
}

fn name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_the_last_runs_are_kept() {
        let lines = Lines::default();
        for line in 0..LINES + 3 {
            lines.add("a", LogLevel::Info, "tenon", &line.to_string());
        }
        let all = lines.since("a", 0);
        assert_eq!((all.len(), all[0].number), (LINES, 4));
        assert_eq!(lines.since("a", LINES as u64 + 2).len(), 1);
        for run in 0..RUNS {
            lines.add(&format!("r{run}"), LogLevel::Warn, "x/y", "!");
        }
        assert!(lines.since("a", 0).is_empty());
        assert_eq!(lines.since("r0", 0)[0].level, "warn");
    }
}
