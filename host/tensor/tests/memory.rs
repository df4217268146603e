//! Freed memory between the steps of a training.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used)]

use tenon_tensor::{DType, Device, Tensor, memory::Retained};

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
    // Two results of that size: the first one's buffer is cleared once, and used for the second.
    let ones = Tensor::ones(&[SIZE / 4], DType::F32, &Device::cpu()).unwrap();
    for factor in [2.0, 3.0] {
        let product = ones.mul_scalar(factor).unwrap();
        let sum = product.sum(&[], false).unwrap().to_f32_vec().unwrap();
        assert_eq!(sum, [factor as f32 * (SIZE / 4) as f32]);
    }
    drop(ones);
    let kept = resident();
    assert!(kept > 2 * SIZE, "{kept}");
    drop(again);
    assert!(resident() > SIZE, "one is still held");
    drop(held);
    assert!(
        resident() + SIZE + SIZE / 2 < kept,
        "{} of {kept}",
        resident()
    );
}
