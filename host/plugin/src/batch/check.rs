//! The rules that a batch keeps. What a plugin returns passes here first: everything behind may
//! index by these offsets and lengths.

use super::{Batch, Column, ColumnType};

/// Columns that a batch may have.
const MOST_COLUMNS: usize = 4096;
/// Bytes of a column's name.
const LONGEST_NAME: usize = 1024;
/// Bytes or elements of a variable column: Arrow's offsets are signed.
const LONGEST_COLUMN: usize = i32::MAX as usize;

/// Why a batch is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", column.as_ref().map(|name| format!("column `{}`: ", shown(name))).unwrap_or_default())]
pub struct BatchError {
    /// The column at fault; nothing if it is the batch as a whole.
    pub column: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

impl BatchError {
    pub(crate) fn whole(reason: impl Into<String>) -> Self {
        Self {
            column: None,
            reason: reason.into(),
        }
    }
}

/// A name for a message, cut at a length that people read.
fn shown(name: &str) -> String {
    match name.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

impl Batch {
    /// Whether every column fits the rows: lengths, offsets, text, validity, unique names.
    ///
    /// # Errors
    /// The first thing that does not, with its column.
    pub fn check(&self) -> Result<(), BatchError> {
        if self.columns.len() > MOST_COLUMNS {
            return Err(BatchError::whole(format!(
                "it has {} columns; at most {MOST_COLUMNS} are accepted",
                self.columns.len()
            )));
        }
        let mut names: Vec<&str> = self.names().collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(BatchError {
                column: Some(pair[0].to_owned()),
                reason: "it appears twice".into(),
            });
        }
        for column in &self.columns {
            column
                .check(self.rows as usize)
                .map_err(|reason| BatchError {
                    column: Some(column.name.clone()),
                    reason,
                })?;
        }
        Ok(())
    }

    /// [`check`](Self::check) for a batch whose rows nothing else vouches for: without a column there
    /// can be no rows, or four billion of them would cost a plugin nothing.
    pub(crate) fn check_alone(&self) -> Result<(), BatchError> {
        if self.columns.is_empty() && self.rows > 0 {
            return Err(BatchError::whole(format!(
                "it claims {} rows but has no columns",
                self.rows
            )));
        }
        self.check()
    }
}

impl Column {
    /// Whether the buffers are those of `rows` rows.
    fn check(&self, rows: usize) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("a column needs a name".into());
        }
        if self.name.len() > LONGEST_NAME {
            return Err(format!(
                "its name is {} bytes long; at most {LONGEST_NAME} are accepted",
                self.name.len()
            ));
        }
        if !self.validity.is_empty() && self.validity.len() != rows.div_ceil(8) {
            return Err(format!(
                "its validity bitmap has {} bytes; {rows} rows need {}, or none if every row holds a value",
                self.validity.len(),
                rows.div_ceil(8)
            ));
        }
        if self.kind.is_variable() {
            return self.check_variable(rows);
        }
        if !self.offsets.is_empty() {
            return Err(format!(
                "it has {} bytes of offsets; a {} column has none",
                self.offsets.len(),
                self.kind
            ));
        }
        let needed = match self.kind.width() {
            // `rows` comes from 32 bits: no overflow in 64.
            Some(width) => rows as u64 * width as u64,
            None => rows.div_ceil(8) as u64,
        };
        if self.values.len() as u64 != needed {
            return Err(format!(
                "it has {} bytes of values; {rows} rows of {} need {needed}",
                self.values.len(),
                self.kind
            ));
        }
        Ok(())
    }

    fn check_variable(&self, rows: usize) -> Result<(), String> {
        let needed = (rows as u64 + 1) * 4;
        if self.offsets.len() as u64 != needed {
            return Err(format!(
                "it has {} bytes of offsets; {rows} rows need {needed} (one u32 more than rows)",
                self.offsets.len()
            ));
        }
        let width = self.kind.width().unwrap_or(1);
        if !self.values.len().is_multiple_of(width) {
            return Err(format!(
                "its {} bytes of values are no whole number of 4-byte elements",
                self.values.len()
            ));
        }
        let elements = self.values.len() / width;
        if elements > LONGEST_COLUMN {
            return Err(format!(
                "it holds {elements} bytes or elements; at most {LONGEST_COLUMN} fit one batch"
            ));
        }
        let offsets = self.offset_words();
        let mut previous = 0;
        for (row, &offset) in offsets.iter().enumerate() {
            if row == 0 && offset != 0 {
                return Err(format!(
                    "its first offset is {offset}; offsets begin with 0"
                ));
            }
            if offset < previous {
                return Err(format!(
                    "its offsets decrease at row {row}: {offset} after {previous}"
                ));
            }
            previous = offset;
        }
        if previous as usize != elements {
            return Err(format!(
                "its last offset is {previous}, but its values hold {elements}"
            ));
        }
        if self.kind == ColumnType::Utf8 {
            let text = std::str::from_utf8(&self.values).map_err(|e| {
                format!(
                    "it is not UTF-8: a wrong byte at {} of its values",
                    e.valid_up_to()
                )
            })?;
            if !text.is_ascii()
                && let Some(row) = offsets
                    .iter()
                    .position(|&at| !text.is_char_boundary(at as usize))
            {
                return Err(format!(
                    "the offset of row {row} ({}) cuts a character in two",
                    offsets[row]
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn utf8(values: &[u8], offsets: &[u32]) -> Column {
        Column {
            name: "text".into(),
            kind: ColumnType::Utf8,
            values: values.to_vec(),
            offsets: offsets.iter().flat_map(|o| o.to_le_bytes()).collect(),
            validity: Vec::new(),
        }
    }

    fn fixed(kind: ColumnType, bytes: usize) -> Column {
        Column {
            name: "x".into(),
            kind,
            values: vec![0; bytes],
            offsets: vec![],
            validity: vec![],
        }
    }

    fn refused(rows: u32, column: Column) -> String {
        let name = column.name.clone();
        let error = Batch::new(rows, vec![column]).unwrap_err();
        assert_eq!(error.column.as_deref(), Some(name.as_str()));
        error.to_string()
    }

    #[test]
    fn what_arrow_would_write_is_accepted() {
        Batch::new(2, vec![utf8("天对地".as_bytes(), &[0, 3, 9])]).unwrap();
        Batch::new(0, vec![utf8(b"", &[0])]).unwrap();
        for (kind, bytes) in [
            (ColumnType::Boolean, 2),
            (ColumnType::Int64, 72),
            (ColumnType::Float32, 36),
            (ColumnType::Float64, 72),
        ] {
            Batch::new(9, vec![fixed(kind, bytes)]).unwrap();
        }
        let mut sparse = fixed(ColumnType::Int64, 72);
        sparse.validity = vec![0xff, 0x01];
        Batch::new(9, vec![sparse]).unwrap();
    }

    #[test]
    fn offsets_that_lie_are_refused() {
        assert!(refused(2, utf8(b"abcd", &[0, 2])).contains("8 bytes of offsets; 2 rows need 12"));
        assert!(refused(2, utf8(b"abcd", &[1, 2, 4])).contains("begin with 0"));
        assert!(refused(2, utf8(b"abcd", &[0, 5, 4])).contains("decrease at row 2"));
        assert!(refused(2, utf8(b"abcd", &[0, 2, 5])).contains("last offset is 5"));
        assert!(refused(2, utf8(b"abcd", &[0, 2, 3])).contains("last offset is 3"));
        assert!(refused(2, utf8(b"abcd", &[0, u32::MAX, u32::MAX])).contains("last offset"));
        assert!(refused(u32::MAX, utf8(b"", &[0])).contains("offsets"));
        let mut ragged = utf8(b"abc", &[0, 1]);
        ragged.kind = ColumnType::Uint32List;
        assert!(refused(1, ragged).contains("no whole number"));
    }

    #[test]
    fn text_must_be_text_row_by_row() {
        assert!(refused(1, utf8(&[b'a', 0xff], &[0, 2])).contains("wrong byte at 1"));
        // Valid as a whole, but the boundary between the rows cuts a character.
        assert!(refused(2, utf8("é".as_bytes(), &[0, 1, 2])).contains("cuts a character"));
        let mut bytes = utf8(&[0xff, 0xfe], &[0, 1, 2]);
        bytes.kind = ColumnType::Binary;
        Batch::new(2, vec![bytes]).unwrap();
    }

    #[test]
    fn lengths_must_fit_the_rows() {
        assert!(refused(9, fixed(ColumnType::Boolean, 1)).contains("need 2"));
        assert!(refused(9, fixed(ColumnType::Int64, 71)).contains("need 72"));
        assert!(refused(u32::MAX, fixed(ColumnType::Float64, 8)).contains("34359738360"));
        let mut column = fixed(ColumnType::Int64, 72);
        column.validity = vec![0xff];
        assert!(refused(9, column).contains("validity"));
        let mut column = fixed(ColumnType::Int64, 72);
        column.offsets = vec![0; 40];
        assert!(refused(9, column).contains("offsets"));
    }

    #[test]
    fn names_are_unique_and_present() {
        let twice = Batch::new(
            0,
            vec![fixed(ColumnType::Int64, 0), fixed(ColumnType::Float32, 0)],
        );
        assert_eq!(
            twice.unwrap_err().to_string(),
            "column `x`: it appears twice"
        );
        let mut nameless = fixed(ColumnType::Int64, 0);
        nameless.name.clear();
        assert!(refused(0, nameless).contains("needs a name"));
        let mut long = fixed(ColumnType::Int64, 0);
        long.name = "字".repeat(1000);
        let said = refused(0, long);
        assert!(
            said.contains("3000 bytes long") && said.len() < 400,
            "{said}"
        );
    }

    #[test]
    fn rows_without_columns_need_somebody_to_vouch_for_them() {
        let rows = Batch {
            rows: u32::MAX,
            columns: vec![],
        };
        rows.check().unwrap();
        assert!(
            rows.check_alone()
                .unwrap_err()
                .to_string()
                .contains("no columns")
        );
    }
}
