//! Typed tables: JSON values under text keys.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{StoreError, printable};
use crate::store::Store;
use crate::transaction::{ScanRange, Transaction};

/// How often an update is tried again when somebody else changed the record meanwhile.
const TRIES: usize = 100;

/// A table of `T` as JSON, keyed by text. Cheap to clone.
pub struct JsonTable<T> {
    store: Store,
    table: String,
    values: PhantomData<fn() -> T>,
}

impl<T> Clone for JsonTable<T> {
    fn clone(&self) -> Self {
        Self::new(self.store.clone(), &self.table)
    }
}

impl<T> JsonTable<T> {
    pub(crate) fn new(store: Store, table: &str) -> Self {
        Self {
            store,
            table: table.to_owned(),
            values: PhantomData,
        }
    }

    /// The table's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.table
    }

    /// Removes a record; nothing happens when it is not there.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.store
            .commit(Transaction::new().delete(&self.table, key))
    }

    fn error(&self, key: &str, error: &serde_json::Error) -> StoreError {
        StoreError::Json {
            table: self.table.clone(),
            key: key.to_owned(),
            message: error.to_string(),
        }
    }
}

impl<T: Serialize + DeserializeOwned> JsonTable<T> {
    /// The value under `key`.
    ///
    /// # Errors
    /// As [`Store::get`]; [`StoreError::Json`] when it is not a `T`.
    pub fn get(&self, key: &str) -> Result<Option<T>, StoreError> {
        match self.store.get(&self.table, key)? {
            None => Ok(None),
            Some(bytes) => self.decode(key, &bytes).map(Some),
        }
    }

    /// Writes a value, whatever was there.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn put(&self, key: &str, value: &T) -> Result<(), StoreError> {
        let mut transaction = Transaction::new();
        self.add_put(&mut transaction, key, value)?;
        self.store.commit(transaction)
    }

    /// Writes a value that must not exist yet.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it does; as [`Store::commit`].
    pub fn insert(&self, key: &str, value: &T) -> Result<(), StoreError> {
        let mut transaction = Transaction::new().expect_absent(&self.table, key);
        self.add_put(&mut transaction, key, value)?;
        self.store.commit(transaction)
    }

    /// Adds the write of a value to a transaction.
    ///
    /// # Errors
    /// [`StoreError::Json`] when `value` has no JSON form.
    pub fn add_put(
        &self,
        transaction: &mut Transaction,
        key: &str,
        value: &T,
    ) -> Result<(), StoreError> {
        transaction.add_put(&self.table, key, self.encode(key, value)?);
        Ok(())
    }

    /// Changes the value under `key` atomically and returns it. `change` gets the current value,
    /// none when there is none, and may run several times; returning `None` deletes the record.
    ///
    /// # Errors
    /// What `change` returns; as [`Store::commit`].
    pub fn update<E: From<StoreError>>(
        &self,
        key: &str,
        mut change: impl FnMut(Option<T>) -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        let mut tries = 0;
        loop {
            let old = self.store.get(&self.table, key)?;
            let value = match &old {
                Some(bytes) => Some(self.decode(key, bytes)?),
                None => None,
            };
            let new = change(value)?;
            let transaction = Transaction::new();
            let mut transaction = match &old {
                Some(bytes) => transaction.expect_equals(&self.table, key, bytes),
                None => transaction.expect_absent(&self.table, key),
            };
            match &new {
                Some(value) => self.add_put(&mut transaction, key, value)?,
                None => transaction.add_delete(&self.table, key),
            }
            match self.store.commit(transaction) {
                Err(error) if error.is_conflict() && tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(new),
            }
        }
    }

    /// All records in key order.
    ///
    /// # Errors
    /// As [`Store::scan`]; [`StoreError::Json`].
    pub fn list(&self) -> Result<Vec<(String, T)>, StoreError> {
        self.list_range(ScanRange::all())
    }

    /// The records of `range`.
    ///
    /// # Errors
    /// As [`Store::scan`]; [`StoreError::Json`].
    pub fn list_range(&self, range: ScanRange) -> Result<Vec<(String, T)>, StoreError> {
        let mut out = Vec::new();
        for (key, value) in self.store.scan(&self.table, range)? {
            let key = String::from_utf8(key).map_err(|error| StoreError::Json {
                table: self.table.clone(),
                key: printable(error.as_bytes()),
                message: "its key is not text".to_owned(),
            })?;
            let value = self.decode(&key, &value)?;
            out.push((key, value));
        }
        Ok(out)
    }

    fn encode(&self, key: &str, value: &T) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(value).map_err(|error| self.error(key, &error))
    }

    fn decode(&self, key: &str, bytes: &[u8]) -> Result<T, StoreError> {
        serde_json::from_slice(bytes).map_err(|error| self.error(key, &error))
    }
}
