//! Host memory between the steps of a training.
//!
//! Every step needs the same buffers. The C library gives freed memory back to the system at once, and
//! gets it again page by page, each cleared: a tenth of a step's time. While a [`Retained`] is held it
//! keeps up to a gigabyte, and the buffers of results go from one to the next without being cleared.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::recycled;

/// Who holds one.
static HOLDERS: AtomicUsize = AtomicUsize::new(0);

/// While one of these is there, freed host memory stays with the process; when the last one goes, it is
/// given back to the system. Without effect where the C library is not glibc.
#[derive(Debug)]
pub struct Retained(());

impl Retained {
    /// From now on, until it is dropped.
    #[must_use]
    pub fn hold() -> Self {
        if HOLDERS.fetch_add(1, Ordering::SeqCst) == 0 {
            keep(1 << 30);
            recycled::start();
        }
        Self(())
    }
}

impl Drop for Retained {
    fn drop(&mut self) {
        if HOLDERS.fetch_sub(1, Ordering::SeqCst) == 1 {
            recycled::stop();
            keep(1 << 20);
            give_back();
        }
    }
}

/// Sets how much freed memory stays at the end of the heap.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep(bytes: libc::c_int) {
    // Larger blocks would be mapped and unmapped each time; 32 MiB is the most that glibc takes.
    const LARGEST: libc::c_int = 32 << 20;
    const AT_ONCE: libc::c_int = 64 << 20;
    // SAFETY: mallopt may be called at any time, from any thread; it takes the allocator's lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST);
        libc::mallopt(libc::M_TOP_PAD, AT_ONCE.min(bytes));
        libc::mallopt(libc::M_TRIM_THRESHOLD, bytes);
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() {
    // The end of a thread's own heap is looked at when something large enough in it is freed, and only
    // then.
    drop(std::hint::black_box(vec![0_u8; 256 << 10]));
    // SAFETY: as above; it frees nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep(_bytes: i32) {}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}
