//! What is written together, and what must hold for it to be written.

use std::ops::Bound;

use crate::error::{StoreError, printable};
use crate::records::envelope;

/// Longest key in bytes.
pub const MAX_KEY: usize = 1024;
/// Longest value in bytes. Larger things are blobs.
pub const MAX_VALUE: usize = 16 << 20;

/// One change or condition. Values are in their stored form (with checksum).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a value.
    Put {
        /// Table name.
        table: String,
        /// Key bytes.
        key: Vec<u8>,
        /// Stored form.
        value: Vec<u8>,
    },
    /// Removes a key; nothing happens when it is not there.
    Delete {
        /// Table name.
        table: String,
        /// Key bytes.
        key: Vec<u8>,
    },
    /// Requires the key to hold exactly this stored form, or (`None`) to be absent.
    Expect {
        /// Table name.
        table: String,
        /// Key bytes.
        key: Vec<u8>,
        /// Stored form, or none.
        value: Option<Vec<u8>>,
    },
}

/// A set of changes that is applied completely or not at all, under preconditions that are checked
/// against the state before the transaction.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    expects: Vec<Op>,
    changes: Vec<Op>,
    bytes: u64,
    invalid: Option<String>,
}

impl Transaction {
    /// An empty transaction.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes `value` under `key`.
    #[must_use]
    pub fn put(mut self, table: &str, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.add_put(table, key, value);
        self
    }

    /// Removes `key`; nothing happens when it is not there.
    #[must_use]
    pub fn delete(mut self, table: &str, key: impl AsRef<[u8]>) -> Self {
        self.add_delete(table, key);
        self
    }

    /// Requires that `key` does not exist.
    #[must_use]
    pub fn expect_absent(mut self, table: &str, key: impl AsRef<[u8]>) -> Self {
        self.check(table, key.as_ref(), 0);
        self.expects.push(Op::Expect {
            table: table.to_owned(),
            key: key.as_ref().to_vec(),
            value: None,
        });
        self
    }

    /// Requires that `key` holds exactly `value`.
    #[must_use]
    pub fn expect_equals(
        mut self,
        table: &str,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Self {
        let (key, value) = (key.as_ref(), value.as_ref());
        self.check(table, key, value.len());
        self.expects.push(Op::Expect {
            table: table.to_owned(),
            key: key.to_vec(),
            value: Some(envelope::seal(table, key, value)),
        });
        self
    }

    /// Like [`Transaction::put`], for loops.
    pub fn add_put(&mut self, table: &str, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (key, value) = (key.as_ref(), value.as_ref());
        self.check(table, key, value.len());
        let sealed = envelope::seal(table, key, value);
        self.bytes += (key.len() + sealed.len()) as u64;
        self.changes.push(Op::Put {
            table: table.to_owned(),
            key: key.to_vec(),
            value: sealed,
        });
    }

    /// Like [`Transaction::delete`], for loops.
    pub fn add_delete(&mut self, table: &str, key: impl AsRef<[u8]>) {
        self.check(table, key.as_ref(), 0);
        self.changes.push(Op::Delete {
            table: table.to_owned(),
            key: key.as_ref().to_vec(),
        });
    }

    /// True when there is nothing to check and nothing to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expects.is_empty() && self.changes.is_empty()
    }

    /// Number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// The preconditions, in order.
    #[must_use]
    pub fn expects(&self) -> &[Op] {
        &self.expects
    }

    /// The changes, in order.
    #[must_use]
    pub fn changes(&self) -> &[Op] {
        &self.changes
    }

    /// Bytes of keys and values that are put.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True when it only removes: such a transaction may use the reserve of a full disk.
    #[must_use]
    pub fn only_deletes(&self) -> bool {
        self.changes
            .iter()
            .all(|op| matches!(op, Op::Delete { .. }))
    }

    pub(crate) fn validate(&self) -> Result<(), StoreError> {
        match &self.invalid {
            Some(reason) => Err(StoreError::InvalidArgument(reason.clone())),
            None => Ok(()),
        }
    }

    fn check(&mut self, table: &str, key: &[u8], value: usize) {
        if self.invalid.is_some() {
            return;
        }
        if let Err(reason) = check_names(table, key) {
            self.invalid = Some(reason);
        } else if value > MAX_VALUE {
            self.invalid = Some(format!(
                "the value of {} in table `{table}` has {value} bytes, more than {MAX_VALUE}; keep \
                 it as a blob and store the digest",
                printable(key)
            ));
        }
    }
}

fn check_names(table: &str, key: &[u8]) -> Result<(), String> {
    check_table(table)?;
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(format!(
            "a key of table `{table}` has {} bytes; keys have 1 to {MAX_KEY}",
            key.len()
        ));
    }
    Ok(())
}

pub(crate) fn check_table(table: &str) -> Result<(), String> {
    let fine = !table.is_empty()
        && table.len() <= 64
        && table
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
    if fine {
        Ok(())
    } else {
        Err(format!(
            "`{table}` is not a table name: 1 to 64 of a–z, 0–9, `.`, `_`, `-`"
        ))
    }
}

/// The ends of a range, as ordered maps take them.
pub(crate) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Which keys a scan returns, and in which direction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanRange {
    /// First key, included; from the start when none.
    pub from: Option<Vec<u8>>,
    /// Last key, excluded; to the end when none.
    pub to: Option<Vec<u8>>,
    /// Largest key first.
    pub reverse: bool,
    /// At most this many records.
    pub limit: Option<usize>,
}

impl ScanRange {
    /// Every key, ascending.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// The keys that start with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        let prefix = prefix.as_ref();
        let mut end = prefix.to_vec();
        // The first key after all those with the prefix: increment the last byte that can be.
        while let Some(last) = end.last_mut() {
            if *last < 0xff {
                *last += 1;
                break;
            }
            end.pop();
        }
        Self {
            from: (!prefix.is_empty()).then(|| prefix.to_vec()),
            to: (!end.is_empty()).then_some(end),
            ..Self::default()
        }
    }

    /// Starts at `key`, included.
    #[must_use]
    pub fn from(mut self, key: impl AsRef<[u8]>) -> Self {
        self.from = Some(key.as_ref().to_vec());
        self
    }

    /// Ends before `key`.
    #[must_use]
    pub fn to(mut self, key: impl AsRef<[u8]>) -> Self {
        self.to = Some(key.as_ref().to_vec());
        self
    }

    /// Largest key first.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// At most `limit` records.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The bounds for an ordered map, or `None` when the range is empty.
    pub(crate) fn bounds(&self) -> Option<Bounds<'_>> {
        if let (Some(from), Some(to)) = (&self.from, &self.to)
            && from >= to
        {
            return None;
        }
        Some((
            self.from
                .as_deref()
                .map_or(Bound::Unbounded, Bound::Included),
            self.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_key() {
        let range = ScanRange::prefix(b"ab");
        assert_eq!(range.from.as_deref(), Some(&b"ab"[..]));
        assert_eq!(range.to.as_deref(), Some(&b"ac"[..]));
        let range = ScanRange::prefix([1, 0xff, 0xff]);
        assert_eq!(range.to, Some(vec![2]));
        assert_eq!(ScanRange::prefix([0xff]).to, None);
        assert_eq!(ScanRange::prefix(b""), ScanRange::all());
    }

    #[test]
    fn wrong_names_and_sizes_are_refused_with_the_reason() {
        let reason = |tx: Transaction| tx.validate().map_err(|e| e.to_string());
        assert!(reason(Transaction::new().put("Bad name", "k", "v")).is_err());
        assert!(reason(Transaction::new().put("t", "", "v")).is_err());
        assert!(reason(Transaction::new().delete("t", vec![0; MAX_KEY + 1])).is_err());
        let big = reason(Transaction::new().put("t", "k", vec![0; MAX_VALUE + 1]));
        assert!(big.is_err_and(|m| m.contains("blob")));
        assert!(reason(Transaction::new().put("t", "k", "v")).is_ok());
    }
}
