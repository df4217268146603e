//! Where numbers stop being finite.

use std::fmt;

use super::Shared;

/// The first operation that gave NaN, or infinity where none of its inputs was infinite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonFinite {
    /// The operation.
    pub operation: &'static str,
    /// Its number among those recorded, from 0; leaves count.
    pub index: usize,
    /// Whether it happened while its gradient was computed.
    pub backward: bool,
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.backward {
            "the gradient of "
        } else {
            ""
        };
        write!(f, "{what}`{}` (operation {})", self.operation, self.index)
    }
}

/// Notes the first time that it was so.
pub(super) fn note(
    tape: &Shared,
    bad: bool,
    operation: &'static str,
    index: usize,
    backward: bool,
) {
    if !bad {
        return;
    }
    let mut state = tape.state.lock();
    if state.non_finite.is_none() {
        let found = NonFinite {
            operation,
            index,
            backward,
        };
        tracing::warn!("{found} gave a number that is not finite");
        state.non_finite = Some(found);
    }
}
