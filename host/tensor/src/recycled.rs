//! Buffers that go from one result to the next while a training runs.
//!
//! A new vector has to be cleared before it can be handed to a kernel, which then writes all of it: a
//! second pass over memory for every result. A buffer that was a result before is full of numbers
//! already.

use std::{
    collections::HashMap,
    mem::MaybeUninit,
    ops::{Deref, DerefMut},
};

use burn_backend::{AllocationProperty, Bytes};
use cubecl_common::bytes::AllocationController;
use parking_lot::Mutex;

/// Elements from which a buffer is worth keeping.
const WORTH: usize = 1 << 12;
/// Elements that are kept at most: a gigabyte.
const KEPT: usize = 1 << 28;

/// Buffers that nobody uses, by length; nothing when they are not to be kept.
#[derive(Default)]
struct Pool {
    by_length: HashMap<usize, Vec<Vec<f32>>>,
    elements: usize,
}

static POOL: Mutex<Option<Pool>> = Mutex::new(None);

/// From now on buffers are kept.
pub(crate) fn start() {
    POOL.lock().get_or_insert_default();
}

/// Frees what is kept, and keeps no more.
pub(crate) fn stop() {
    let pool = POOL.lock().take();
    drop(pool);
}

/// The length of the buffers that `len` elements go into: at most an eighth more.
fn length(len: usize) -> usize {
    len.next_multiple_of((len.next_power_of_two() / 16).max(1))
}

/// A buffer for `len` elements that was kept, or else the length of a new one.
fn kept(len: usize) -> Result<Vec<f32>, usize> {
    if len < WORTH {
        return Err(len);
    }
    let mut pool = POOL.lock();
    let Some(pool) = pool.as_mut() else {
        return Err(len);
    };
    let length = length(len);
    let found = pool.by_length.get_mut(&length).and_then(Vec::pop);
    let values = found.ok_or(length)?;
    pool.elements -= values.len();
    Ok(values)
}

fn give_back(values: Vec<f32>) {
    if values.len() < WORTH || values.len() > KEPT {
        return;
    }
    let mut kept = POOL.lock();
    let Some(pool) = kept.as_mut() else { return };
    let mut old = None;
    if pool.elements + values.len() > KEPT {
        // Lengths that no step needs any more must not be in the way of others.
        old = Some(std::mem::take(pool));
    }
    pool.elements += values.len();
    pool.by_length.entry(values.len()).or_default().push(values);
    drop(kept);
    drop(old);
}

/// Numbers to be overwritten: whatever they are on entry.
pub(crate) struct Buffer {
    /// All of it, perhaps longer.
    values: Vec<f32>,
    len: usize,
}

impl Buffer {
    /// Of `len` elements.
    pub(crate) fn take(len: usize) -> Self {
        let mut values = kept(len).unwrap_or_else(|length| vec![0.0; length]);
        if cfg!(test) {
            // A kernel that leaves an element out is found out.
            values.fill(f32::NAN);
        }
        Self { values, len }
    }

    /// The numbers as memory of a tensor.
    pub(crate) fn into_bytes(self) -> Bytes {
        let len = self.len * size_of::<f32>();
        // SAFETY: that many bytes of the vector belong to its numbers.
        unsafe { Bytes::from_controller(Box::new(self), len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.values));
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.len]
    }
}

impl AllocationController for Buffer {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Native
    }

    unsafe fn memory_mut(&mut self) -> &mut [MaybeUninit<u8>] {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.values);
        // SAFETY: both types look alike, and the caller writes initialised bytes only; any bytes make
        // numbers.
        unsafe { &mut *(std::ptr::from_mut(bytes) as *mut [MaybeUninit<u8>]) }
    }

    fn memory(&self) -> &[MaybeUninit<u8>] {
        let bytes: &[u8] = bytemuck::cast_slice(&self.values);
        // SAFETY: both types look alike, and initialised bytes are some.
        unsafe { &*(std::ptr::from_ref(bytes) as *const [MaybeUninit<u8>]) }
    }
}
