//! A table of values behind 32-bit handles.
//!
//! A guest never sees these numbers: it holds indices into a table of wasmtime's, which maps them to
//! ours. What can happen is that the host frees a value (at the end of a call) while the guest
//! still holds its handle. Such an entry stays *dead* until the guest drops the handle, so that the
//! handle can never name another value. A generation in the number guards against our own mistakes.

/// Index bits of a handle; the others are its generation.
const INDEX_BITS: u32 = 24;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
const NONE: u32 = u32::MAX;

enum Entry<T> {
    Live(T),
    /// Freed by the host; the guest still holds a handle.
    Dead,
    /// Free: the next free entry.
    Free(u32),
}

struct Slot<T> {
    generation: u8,
    entry: Entry<T>,
}

/// See the module's documentation.
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    /// Live and dead entries.
    held: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Slab<T> {
    /// An empty table, which allocates nothing.
    pub const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            held: 0,
        }
    }

    /// Handles that are out: of live values and of those that the host has freed.
    pub fn held(&self) -> u32 {
        self.held
    }

    /// Puts a value in and returns its handle; nothing if the table is full (16 million entries).
    #[inline]
    pub fn insert(&mut self, value: T) -> Option<u32> {
        let index = if self.free == NONE {
            let index = u32::try_from(self.slots.len())
                .ok()
                .filter(|i| *i < INDEX_MASK)?;
            self.slots.push(Slot {
                generation: 0,
                entry: Entry::Live(value),
            });
            index
        } else {
            let index = self.free;
            let slot = &mut self.slots[index as usize];
            if let Entry::Free(next) = slot.entry {
                self.free = next;
            }
            slot.entry = Entry::Live(value);
            index
        };
        self.held += 1;
        Some(u32::from(self.slots[index as usize].generation) << INDEX_BITS | index)
    }

    #[inline]
    fn slot(&self, handle: u32) -> Option<&Slot<T>> {
        self.slots
            .get((handle & INDEX_MASK) as usize)
            .filter(|s| u32::from(s.generation) == handle >> INDEX_BITS)
    }

    /// The value, unless it has been freed.
    #[inline]
    pub fn get(&self, handle: u32) -> Option<&T> {
        match &self.slot(handle)?.entry {
            Entry::Live(value) => Some(value),
            _ => None,
        }
    }

    /// The value, unless it has been freed.
    #[inline]
    pub fn get_mut(&mut self, handle: u32) -> Option<&mut T> {
        self.slot(handle)?;
        match &mut self.slots[(handle & INDEX_MASK) as usize].entry {
            Entry::Live(value) => Some(value),
            _ => None,
        }
    }

    /// As [`Self::remove`], but the value is dropped where it is: values may be large. Gives what `last`
    /// says of it.
    #[inline]
    pub fn discard<R>(&mut self, handle: u32, last: impl FnOnce(&T) -> R) -> Option<R> {
        let index = handle & INDEX_MASK;
        let slot = self.slots.get_mut(index as usize)?;
        if u32::from(slot.generation) != handle >> INDEX_BITS {
            return None;
        }
        let said = match &slot.entry {
            Entry::Live(value) => Some(last(value)),
            Entry::Dead => None,
            Entry::Free(_) => return None,
        };
        slot.entry = Entry::Free(self.free);
        slot.generation = slot.generation.wrapping_add(1);
        self.free = index;
        self.held -= 1;
        said
    }

    /// The holder gives its handle back: the entry is free again. Returns the value if it was live.
    #[inline]
    pub fn remove(&mut self, handle: u32) -> Option<T> {
        self.slot(handle)?;
        let slot = &mut self.slots[(handle & INDEX_MASK) as usize];
        if matches!(slot.entry, Entry::Free(_)) {
            return None;
        }
        let entry = std::mem::replace(&mut slot.entry, Entry::Free(self.free));
        slot.generation = slot.generation.wrapping_add(1);
        self.free = handle & INDEX_MASK;
        self.held -= 1;
        match entry {
            Entry::Live(value) => Some(value),
            _ => None,
        }
    }

    /// Frees every value. Handles that are still out stay dead until they are given back.
    pub fn free_all(&mut self) {
        if self.held == 0 {
            return;
        }
        for slot in &mut self.slots {
            if matches!(slot.entry, Entry::Live(_)) {
                slot.entry = Entry::Dead;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_freed_value_is_gone_and_its_handle_never_names_another() {
        let mut slab = Slab::new();
        let a = slab.insert("a").unwrap();
        let b = slab.insert("b").unwrap();
        slab.free_all();
        assert_eq!((slab.get(a), slab.get(b), slab.held()), (None, None, 2));
        let c = slab.insert("c").unwrap();
        assert!(c != a && c != b, "dead entries are not handed out");
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.held(), 2);
        let d = slab.insert("d").unwrap();
        assert_eq!(d & INDEX_MASK, a & INDEX_MASK, "the entry is used again");
        assert_ne!(d, a, "under another generation");
        assert_eq!(slab.get(a), None);
        assert_eq!(slab.get(d), Some(&"d"));
    }

    #[test]
    fn a_handle_is_given_back_once() {
        let mut slab = Slab::new();
        let a = slab.insert(1).unwrap();
        assert_eq!(slab.remove(a), Some(1));
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.held(), 0);
        assert_eq!(slab.remove(77), None);
        let b = slab.insert(2).unwrap();
        assert_eq!(slab.discard(b, |value| value + 1), Some(3));
        assert_eq!((slab.discard(b, |value| *value), slab.held()), (None, 0));
        let c = slab.insert(3).unwrap();
        slab.free_all();
        assert_eq!((slab.discard(c, |value| *value), slab.held()), (None, 0));
    }
}
