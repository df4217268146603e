//! Which tokens of a padded batch are real, and which document each belongs to.

use crate::TensorError;

/// The tokens of one sequence input of a batch. Rows are padded on the right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceInfo {
    /// The input's name in the recipe's signature.
    pub name: String,
    /// The padded width: the second dimension of the input.
    pub tokens: usize,
    /// The lengths of the documents in each row, in order; the rest of the row is padding.
    pub rows: Vec<Vec<usize>>,
}

impl SequenceInfo {
    /// Rows of one document each, padded to the longest.
    pub fn padded(name: impl Into<String>, lengths: &[usize]) -> Self {
        Self {
            name: name.into(),
            tokens: lengths.iter().copied().max().unwrap_or(0),
            rows: lengths.iter().map(|length| vec![*length]).collect(),
        }
    }

    /// Rows that are full, with one document each.
    pub fn full(name: impl Into<String>, batch: usize, tokens: usize) -> Self {
        Self {
            name: name.into(),
            tokens,
            rows: vec![vec![tokens]; batch],
        }
    }

    /// Rows.
    pub fn batch(&self) -> usize {
        self.rows.len()
    }

    /// Real tokens in a row.
    pub fn real(&self, row: usize) -> usize {
        self.rows[row].iter().sum()
    }

    /// Whether every token is real and no row holds more than one document.
    pub fn is_dense(&self) -> bool {
        self.rows.iter().all(|row| row.as_slice() == [self.tokens])
    }

    /// Refuses rows that are longer than the padded width.
    ///
    /// # Errors
    /// `InvalidArgument` naming the input and the row.
    pub fn check(&self) -> Result<(), TensorError> {
        for row in 0..self.batch() {
            if self.real(row) > self.tokens {
                return Err(TensorError::InvalidArgument(format!(
                    "input `{}`: row {row} has {} tokens, but the batch is only {} wide",
                    self.name,
                    self.real(row),
                    self.tokens
                )));
            }
        }
        Ok(())
    }

    /// The position of each token in its own document, plus `starts[row]`; 0 for padding.
    pub(crate) fn positions(&self, starts: Option<&[usize]>) -> Vec<i64> {
        let mut out = vec![0; self.batch() * self.tokens];
        for (row, documents) in self.rows.iter().enumerate() {
            let first = starts.map_or(0, |starts| starts[row]);
            let mut at = row * self.tokens;
            for length in documents {
                for offset in 0..*length {
                    out[at + offset] = (first + offset) as i64;
                }
                at += length;
            }
        }
        out
    }

    /// 1 for real tokens, 0 for padding.
    pub(crate) fn reality(&self) -> Vec<u8> {
        let mut out = vec![0; self.batch() * self.tokens];
        for row in 0..self.batch() {
            out[row * self.tokens..][..self.real(row)].fill(1);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed() -> SequenceInfo {
        SequenceInfo {
            name: "ids".into(),
            tokens: 6,
            rows: vec![vec![2, 3], vec![1], vec![], vec![6]],
        }
    }

    #[test]
    fn positions_restart_with_each_document() {
        let expected: [[i64; 6]; 4] = [
            [0, 1, 0, 1, 2, 0],
            [0, 0, 0, 0, 0, 0],
            [0; 6],
            [0, 1, 2, 3, 4, 5],
        ];
        assert_eq!(packed().positions(None), expected.concat());
        assert_eq!(
            SequenceInfo::padded("ids", &[1, 2]).positions(Some(&[7, 3])),
            [7, 0, 3, 4]
        );
    }

    #[test]
    fn padding_is_not_real() {
        let expected = [[1, 1, 1, 1, 1, 0], [1, 0, 0, 0, 0, 0], [0; 6], [1; 6]];
        assert_eq!(packed().reality(), expected.concat());
        assert!(!packed().is_dense());
        assert!(SequenceInfo::full("ids", 2, 5).is_dense());
    }

    #[test]
    fn a_row_that_is_too_long_is_named() {
        let mut info = packed();
        info.rows[1] = vec![4, 3];
        let error = info.check().map_err(|error| error.to_string());
        assert!(error.is_err_and(|text| text.contains("row 1 has 7 tokens")));
    }
}
