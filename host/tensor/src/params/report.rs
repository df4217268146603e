//! What came of reading a file of weights.

use crate::TensorError;

/// What a weights file had and what the model needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Names that were taken over.
    pub loaded: Vec<String>,
    /// Names of the model that the file lacks.
    pub missing: Vec<String>,
    /// Names of the file that the model lacks, or that are not floating-point.
    pub unexpected: Vec<String>,
    /// Names whose shapes differ; they keep their old values.
    pub mismatched: Vec<Mismatch>,
}

/// A parameter whose shape in a file is not the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The parameter.
    pub name: String,
    /// The model's shape.
    pub expected: Vec<usize>,
    /// The file's shape.
    pub found: Vec<usize>,
}

impl LoadReport {
    /// Whether the file was exactly what the model needs.
    pub fn is_exact(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }

    /// An error that lists what did not fit, for those who need an exact match.
    ///
    /// # Errors
    /// `InvalidArgument` unless [`Self::is_exact`].
    pub fn require_exact(&self) -> Result<(), TensorError> {
        if self.is_exact() {
            return Ok(());
        }
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            parts.push(format!("missing in the file: {}", list(&self.missing)));
        }
        if !self.unexpected.is_empty() {
            parts.push(format!("not in the model: {}", list(&self.unexpected)));
        }
        if !self.mismatched.is_empty() {
            let shapes: Vec<String> = self
                .mismatched
                .iter()
                .map(|m| {
                    format!(
                        "{} (the model has {:?}, the file {:?})",
                        m.name, m.expected, m.found
                    )
                })
                .collect();
            parts.push(format!("other shapes: {}", list(&shapes)));
        }
        Err(TensorError::InvalidArgument(format!(
            "the weights do not fit the model; {}",
            parts.join("; ")
        )))
    }
}

/// The first names of a list, and how many more there are.
pub(super) fn list(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
