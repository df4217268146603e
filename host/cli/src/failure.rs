//! What a command can fail with, and how that is said.
//!
//! For people: `error:`, what it came from, and `hint:` with the remedy. For programs (`--json`): one
//! JSON object of the form that the REST interface uses.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use serde_json::json;
use tenon_api::types::ErrorInfo;

/// How a command ends. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It went well, or whoever read the results wanted no more of them.
    Fine = 0,
    /// It failed.
    Failed = 1,
    /// The command line, or what it names, is wrong; nothing was started.
    Usage = 2,
    /// It was interrupted, as a shell reports it.
    Interrupted = 130,
}

/// Why a command did not do what was asked.
#[derive(Debug, Clone)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// Boxed: it is large, and failures are rare.
    info: Box<ErrorInfo>,
    /// What it came from, outermost first.
    causes: Vec<String>,
}

/// The result of everything that a command does.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    fn new(exit: Exit, kind: &str, message: impl Into<String>) -> Self {
        Self {
            exit,
            info: Box::new(ErrorInfo {
                kind: kind.to_owned(),
                message: message.into(),
                ..ErrorInfo::default()
            }),
            causes: Vec::new(),
        }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// It failed.
    pub fn failed(kind: &str, message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, kind, message)
    }

    /// It was interrupted.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Exit::Interrupted, "interrupted", message)
    }

    /// A file that the command line names.
    pub fn file(action: &str, path: &Path, error: &io::Error) -> Self {
        Self::usage(format!("cannot {action} {}: {error}", path.display()))
    }

    /// Standard output cannot be written to. When its reader has left that is no failure.
    pub fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Fine, "closed", "standard output was closed");
        }
        Self::failed("io", format!("cannot write to standard output: {error}"))
    }

    /// What the REST interface answered instead of a success.
    pub fn answered(status: u16, info: ErrorInfo) -> Self {
        // 408, 425 and 429 are about the moment, not about the request.
        let wrong = matches!(status, 400..=499) && !matches!(status, 401 | 403 | 408 | 425 | 429);
        Self {
            exit: if wrong { Exit::Usage } else { Exit::Failed },
            info: Box::new(info),
            causes: Vec::new(),
        }
    }

    /// The same failure with a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.info.hint = Some(hint.into());
        self
    }

    /// The same failure, with what it is about before it, unless the sentence names that already.
    #[must_use]
    pub fn about(mut self, what: &str) -> Self {
        if !self.info.message.contains(what) {
            self.info.message = format!("{what}: {}", self.info.message);
        }
        self
    }

    /// The same failure, ending the process in another way.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.info.message
    }

    /// Says it on standard error. Nobody may be listening.
    pub fn print(&self, json: bool) {
        if self.exit == Exit::Fine {
            return;
        }
        let mut stderr = io::stderr().lock();
        let _ = if json {
            writeln!(stderr, "{}", self.json())
        } else {
            writeln!(stderr, "{self}")
        };
    }

    fn json(&self) -> serde_json::Value {
        let mut error = json!(self.info);
        if !self.causes.is_empty() {
            error["causes"] = json!(self.causes);
        }
        json!({ "error": error })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = &self.info;
        write!(f, "error: {}", info.message)?;
        for cause in &self.causes {
            write!(f, "\n  caused by: {cause}")?;
        }
        for (index, frame) in info.backtrace.iter().enumerate() {
            // Many messages carry the guest's functions already.
            if !info.message.contains(frame.as_str()) {
                let word = if index == 0 { "in" } else { "called from" };
                write!(f, "\n  {word} {frame}")?;
            }
        }
        match &info.hint {
            Some(hint) if !info.message.contains(hint.as_str()) => write!(f, "\nhint: {hint}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_the_chain_and_the_remedy() {
        let failure = Failure::usage("there is no plugin `a/b`").hint("install it first");
        assert_eq!(
            failure.to_string(),
            "error: there is no plugin `a/b`\nhint: install it first"
        );
        assert_eq!(failure.json()["error"]["hint"], "install it first");
        assert_eq!(failure.json()["error"]["kind"], "usage");
    }

    #[test]
    fn statuses_decide_how_the_process_ends() {
        let exit = |status| Failure::answered(status, ErrorInfo::default()).exit;
        for status in [400, 404, 409, 413, 422] {
            assert_eq!(exit(status), Exit::Usage, "{status}");
        }
        for status in [401, 403, 429, 500, 503] {
            assert_eq!(exit(status), Exit::Failed, "{status}");
        }
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::output(&closed).exit, Exit::Fine);
    }
}
