//! Host memory between the steps of a training.
//!
//! Every step needs the same buffers. The C library gives freed memory back to the system at once, and
//! gets it again page by page, each cleared: a tenth of a step's time. While a [`Retained`] is held it
//! keeps up to a gigabyte.

use std::sync::atomic::{AtomicUsize, Ordering};

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
        }
        Self(())
    }
}

impl Drop for Retained {
    fn drop(&mut self) {
        if HOLDERS.fetch_sub(1, Ordering::SeqCst) == 1 {
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
    // SAFETY: as above; it frees nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep(_bytes: i32) {}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = status.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    const CHILD: &str = "TENON_TEST_MEMORY_CHILD";

    /// In a process of its own: other tests would allocate between the looks.
    #[test]
    fn freed_memory_stays_and_goes_at_the_end() {
        if std::env::var_os(CHILD).is_none() {
            let child = std::process::Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "memory::tests::freed_memory_stays_and_goes_at_the_end",
                ])
                .env(CHILD, "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&child.stdout);
            assert!(
                child.status.success() && said.contains("1 passed"),
                "{said}"
            );
            return;
        }
        const SIZE: usize = 24 << 20;
        let held = Retained::hold();
        let again = Retained::hold();
        drop(std::hint::black_box(vec![1_u8; SIZE]));
        let kept = resident();
        assert!(kept > SIZE, "{kept}");
        drop(again);
        assert!(resident() > SIZE, "one is still held");
        drop(held);
        assert!(resident() + SIZE / 2 < kept, "{} of {kept}", resident());
    }
}
