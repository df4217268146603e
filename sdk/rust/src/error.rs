//! What a plugin answers when it cannot do what it was asked.

use std::{any::Any, fmt, panic::Location};

use crate::bindings::types;

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The contract's classes of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Shapes that do not fit each other.
    ShapeMismatch,
    /// The host or its device cannot do this.
    Unsupported,
    /// The device has no memory left.
    OutOfMemory,
    /// The plugin has used up what it was granted.
    OutOfQuota,
    /// An argument outside its documented range.
    InvalidArgument,
    /// A capability that the operator has not granted.
    NotGranted,
    /// Anything else.
    Failed,
}

/// A failure: one sentence that names the thing, the reason and, where there is one, the remedy.
///
/// `?` makes one from any error. A failure of the host's (a tensor operation, as a rule) keeps its
/// class and remembers the line of the plugin where it came up; [`Context`] adds what the plugin was
/// doing.
pub struct Error {
    kind: ErrorKind,
    message: String,
    /// Innermost first.
    contexts: Vec<String>,
    location: Option<&'static Location<'static>>,
}

impl Error {
    /// A failure of that class.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            contexts: Vec::new(),
            location: None,
        }
    }

    /// Anything that is not the caller's fault.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// A value that the caller should not have given.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// Its class.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence, without contexts and location.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Says what was being done; [`function!`](crate::function) names the function.
    #[must_use]
    pub fn context(mut self, doing: impl Into<String>) -> Self {
        self.contexts.push(doing.into());
        self
    }

    pub(crate) fn from_host(
        error: types::Error,
        location: Option<&'static Location<'static>>,
    ) -> Self {
        let (kind, message) = match error {
            types::Error::ShapeMismatch(m) => (ErrorKind::ShapeMismatch, m),
            types::Error::Unsupported(m) => (ErrorKind::Unsupported, m),
            types::Error::OutOfMemory(m) => (ErrorKind::OutOfMemory, m),
            types::Error::OutOfQuota(m) => (ErrorKind::OutOfQuota, m),
            types::Error::InvalidArgument(m) => (ErrorKind::InvalidArgument, m),
            types::Error::NotGranted(m) => (ErrorKind::NotGranted, m),
            types::Error::Failed(m) => (ErrorKind::Failed, m),
        };
        Self {
            location,
            ..Self::new(kind, message)
        }
    }

    pub(crate) fn into_host(self) -> types::Error {
        let message = self.to_string();
        match self.kind {
            ErrorKind::ShapeMismatch => types::Error::ShapeMismatch(message),
            ErrorKind::Unsupported => types::Error::Unsupported(message),
            ErrorKind::OutOfMemory => types::Error::OutOfMemory(message),
            ErrorKind::OutOfQuota => types::Error::OutOfQuota(message),
            ErrorKind::InvalidArgument => types::Error::InvalidArgument(message),
            ErrorKind::NotGranted => types::Error::NotGranted(message),
            ErrorKind::Failed => types::Error::Failed(message),
        }
    }
}

/// The sentence, what was being done (innermost first), and the line of the plugin.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for context in &self.contexts {
            write!(f, ", in {context}")?;
        }
        if let Some(at) = self.location {
            write!(f, " ({}:{})", at.file(), at.line())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

// `Error` itself is no `std::error::Error`, as in `anyhow`: that is what makes this impl possible.
impl<E: std::error::Error + 'static> From<E> for Error {
    #[track_caller]
    fn from(error: E) -> Self {
        if let Some(host) = (&error as &dyn Any).downcast_ref::<types::Error>() {
            return Self::from_host(host.clone(), Some(Location::caller()));
        }
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::failed(message)
    }
}

/// Adds what was being done to a failure.
pub trait Context<T> {
    /// Says what was being done.
    ///
    /// # Errors
    /// The failure itself, with the context.
    fn context(self, doing: impl Into<String>) -> Result<T>;

    /// The same, for texts that cost something to make.
    ///
    /// # Errors
    /// The failure itself, with the context.
    fn with_context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    #[track_caller]
    fn context(self, doing: impl Into<String>) -> Result<T> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(error.into().context(doing)),
        }
    }

    #[track_caller]
    fn with_context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(error.into().context(doing())),
        }
    }
}

/// The name of the function that this stands in, for [`Error::context`].
#[macro_export]
macro_rules! function {
    () => {{
        fn here() {}
        let name = ::core::any::type_name_of_val(&here);
        name.strip_suffix("::here").unwrap_or(name)
    }};
}

/// Returns early with an [`Error`] of the class `failed`: `bail!("no {what} in {place}")`.
#[macro_export]
macro_rules! bail {
    ($($message:tt)*) => {
        return ::core::result::Result::Err($crate::Error::failed(::std::format!($($message)*)))
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn attention() -> Result<()> {
        let host: Result<(), types::Error> = Err(types::Error::ShapeMismatch(
            "matmul: [2, 3] and [4, 5]".into(),
        ));
        host.context(crate::function!())
    }

    #[test]
    fn a_failure_of_the_host_keeps_its_class_and_names_function_and_line() {
        let error = attention().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ShapeMismatch);
        let text = error.to_string();
        assert!(
            text.starts_with("matmul: [2, 3] and [4, 5], in tenon_sdk::error::tests::attention ("),
            "{text}"
        );
        assert!(text.contains("error.rs:"), "{text}");
        assert!(matches!(error.into_host(), types::Error::ShapeMismatch(m) if m == text));
    }

    #[test]
    fn question_mark_takes_any_error() {
        fn parse() -> Result<i32> {
            Ok("x".parse::<i32>()?)
        }
        let error = parse().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        assert_eq!(error.to_string(), "invalid digit found in string");
    }
}
