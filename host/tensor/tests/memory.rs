//! Freed memory between the steps of a training.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used)]

use tenon_tensor::memory::Retained;

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

// Alone in its file: other tests would allocate between the looks.
#[test]
fn freed_memory_stays_and_goes_at_the_end() {
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
