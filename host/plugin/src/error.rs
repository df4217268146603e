//! What can go wrong with a plugin, in words that name the plugin, the phase, the reason and the
//! remedy.

use std::{fmt, time::Duration};

use crate::bindings::types;

/// What a guest (or the host on its behalf) reported through the contract's `error` variant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Shapes that do not fit each other; the sentence names the operation and the shapes.
    ShapeMismatch(String),
    /// The host or its device cannot do this.
    Unsupported(String),
    /// The device has no memory left.
    OutOfMemory(String),
    /// The plugin has used up what it was granted.
    OutOfQuota(String),
    /// An argument outside its documented range.
    InvalidArgument(String),
    /// A capability that the operator has not granted.
    NotGranted(String),
    /// Anything else, in the words of whoever failed.
    Failed(String),
}

impl Failure {
    /// The contract's name of this variant (`shape-mismatch`, …).
    pub fn name(&self) -> &'static str {
        match self {
            Self::ShapeMismatch(_) => "shape-mismatch",
            Self::Unsupported(_) => "unsupported",
            Self::OutOfMemory(_) => "out-of-memory",
            Self::OutOfQuota(_) => "out-of-quota",
            Self::InvalidArgument(_) => "invalid-argument",
            Self::NotGranted(_) => "not-granted",
            Self::Failed(_) => "failed",
        }
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        match self {
            Self::ShapeMismatch(m)
            | Self::Unsupported(m)
            | Self::OutOfMemory(m)
            | Self::OutOfQuota(m)
            | Self::InvalidArgument(m)
            | Self::NotGranted(m)
            | Self::Failed(m) => m,
        }
    }
}

impl From<types::Error> for Failure {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::ShapeMismatch(m) => Self::ShapeMismatch(m),
            types::Error::Unsupported(m) => Self::Unsupported(m),
            types::Error::OutOfMemory(m) => Self::OutOfMemory(m),
            types::Error::OutOfQuota(m) => Self::OutOfQuota(m),
            types::Error::InvalidArgument(m) => Self::InvalidArgument(m),
            types::Error::NotGranted(m) => Self::NotGranted(m),
            types::Error::Failed(m) => Self::Failed(m),
        }
    }
}

/// What every [`PluginError`] tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The plugin's name, or the start of its digest where the name is not known yet.
    pub plugin: String,
    /// What the host was doing with it: `load`, `open`, `forward`, `process`, …
    pub phase: String,
    /// What happened.
    pub message: String,
    /// What can be done about it.
    pub hint: Option<String>,
    /// The guest's functions at the time of a trap, innermost first.
    pub backtrace: Vec<String>,
}

/// Why a plugin could not be loaded, opened or called.
///
/// The host and all other plugins go on. After [`Trap`](Self::Trap), [`Timeout`](Self::Timeout),
/// [`Memory`](Self::Memory) and [`Quota`](Self::Quota) the instance is lost and answers every
/// further call with [`Poisoned`](Self::Poisoned): open a new one.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The component does not fit the world that it is used in.
    #[error("{0}")]
    WrongWorld(Box<Report>),
    /// The bytes are no valid component.
    #[error("{0}")]
    Corrupt(Box<Report>),
    /// The configuration violates the component's schema.
    #[error("{0}")]
    Config(Box<Report>),
    /// The guest trapped: it panicked, or did what WebAssembly forbids.
    #[error("{0}")]
    Trap(Box<Report>),
    /// The guest did not return in time.
    #[error("{0}")]
    Timeout(Box<Report>),
    /// The guest asked for more linear memory (or table entries) than it may have.
    #[error("{0}")]
    Memory(Box<Report>),
    /// The guest used up another limit: handles, tensor bytes, bytes in a host call, stack, instances.
    #[error("{0}")]
    Quota(Box<Report>),
    /// The guest answered with an error of its own, or passed on one of the host's.
    #[error("{report}")]
    Guest {
        /// The contract's variant and sentence.
        failure: Failure,
        /// The same, with its circumstances.
        report: Box<Report>,
    },
    /// The plugin asks for a capability that the operator has not granted.
    #[error("{0}")]
    NotGranted(Box<Report>),
    /// The guest broke a promise of the contract (row counts, missing outputs, …).
    #[error("{0}")]
    Contract(Box<Report>),
    /// An earlier failure has poisoned this instance.
    #[error("{0}")]
    Poisoned(Box<Report>),
    /// The host itself failed (its file system, its engine).
    #[error("{0}")]
    Host(Box<Report>),
}

macro_rules! constructors {
    ($($fun:ident => $variant:ident),* $(,)?) => {
        $(
            #[doc = concat!("[`PluginError::", stringify!($variant), "`] without hint or backtrace.")]
            pub(crate) fn $fun(plugin: &str, phase: &str, message: impl Into<String>) -> Self {
                Self::$variant(Box::new(Report {
                    plugin: plugin.to_owned(),
                    phase: phase.to_owned(),
                    message: message.into(),
                    ..Report::default()
                }))
            }
        )*
    };
}

#[allow(dead_code)] // One constructor for each variant, whichever phases happen to use it.
impl PluginError {
    constructors! {
        wrong_world => WrongWorld,
        corrupt => Corrupt,
        config => Config,
        trap => Trap,
        timeout => Timeout,
        memory => Memory,
        quota => Quota,
        not_granted => NotGranted,
        contract => Contract,
        poisoned => Poisoned,
        host => Host,
    }

    /// The guest's own error.
    pub(crate) fn guest(plugin: &str, phase: &str, failure: impl Into<Failure>) -> Self {
        let failure = failure.into();
        let report = Box::new(Report {
            plugin: plugin.to_owned(),
            phase: phase.to_owned(),
            message: format!("{}: {}", failure.name(), failure.message()),
            ..Report::default()
        });
        Self::Guest { failure, report }
    }

    /// The same error with a remedy.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.report_mut().hint = Some(hint.into());
        self
    }

    /// The same error with the guest's functions, innermost first.
    pub(crate) fn with_backtrace(mut self, backtrace: Vec<String>) -> Self {
        self.report_mut().backtrace = backtrace;
        self
    }

    /// Plugin, phase, message, hint and backtrace.
    pub fn report(&self) -> &Report {
        match self {
            Self::WrongWorld(r)
            | Self::Corrupt(r)
            | Self::Config(r)
            | Self::Trap(r)
            | Self::Timeout(r)
            | Self::Memory(r)
            | Self::Quota(r)
            | Self::NotGranted(r)
            | Self::Contract(r)
            | Self::Poisoned(r)
            | Self::Host(r)
            | Self::Guest { report: r, .. } => r,
        }
    }

    fn report_mut(&mut self) -> &mut Report {
        match self {
            Self::WrongWorld(r)
            | Self::Corrupt(r)
            | Self::Config(r)
            | Self::Trap(r)
            | Self::Timeout(r)
            | Self::Memory(r)
            | Self::Quota(r)
            | Self::NotGranted(r)
            | Self::Contract(r)
            | Self::Poisoned(r)
            | Self::Host(r)
            | Self::Guest { report: r, .. } => r,
        }
    }

    /// A stable word for the kind of failure, for logs, metrics and API answers.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::WrongWorld(_) => "wrong-world",
            Self::Corrupt(_) => "corrupt",
            Self::Config(_) => "config",
            Self::Trap(_) => "trap",
            Self::Timeout(_) => "timeout",
            Self::Memory(_) => "memory",
            Self::Quota(_) => "quota",
            Self::Guest { failure, .. } => failure.name(),
            Self::NotGranted(_) => "not-granted",
            Self::Contract(_) => "contract",
            Self::Poisoned(_) => "poisoned",
            Self::Host(_) => "host",
        }
    }

    /// The remedy, where there is one.
    pub fn hint(&self) -> Option<&str> {
        self.report().hint.as_deref()
    }
}

/// How many guest functions an error prints; all of them are in [`Report::backtrace`].
const FRAMES_SHOWN: usize = 6;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "plugin {}, {}: {}",
            self.plugin, self.phase, self.message
        )?;
        if let Some((first, rest)) = self.backtrace.split_first() {
            write!(f, "\n  in {first}")?;
            for frame in rest.iter().take(FRAMES_SHOWN - 1) {
                write!(f, "\n  called from {frame}")?;
            }
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// A number of bytes as people read it.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value.fract() == 0.0 {
        format!("{value} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// A duration as people read it.
pub(crate) fn seconds(d: Duration) -> String {
    if d < Duration::from_secs(1) {
        format!("{} ms", d.as_millis())
    } else {
        format!("{} s", d.as_secs_f64())
    }
}
