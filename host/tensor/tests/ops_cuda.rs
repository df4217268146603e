//! The operations on `cuda`: on a card where there is one, and without one as `tests/cuda` says.
#![allow(clippy::unwrap_used, missing_docs)]

mod ops;

use tenon_tensor::{DType, Device, Tensor, TensorError};

const TOLERANCE: f64 = 1e-3;

/// The first device of its kind, or nothing and a line that says so; with `TENON_TEST_CUDA=required` it has to
/// be there.
fn device() -> Option<Device> {
    match Device::parse("cuda") {
        Ok(device) => Some(device),
        Err(error) => {
            let required = std::env::var_os("TENON_TEST_CUDA").is_some_and(|set| set == "required");
            assert!(!required, "{error}");
            println!("not tested: {error}");
            None
        }
    }
}

#[test]
fn values_and_gradients() {
    if let Some(device) = device() {
        ops::values_and_gradients(&device, TOLERANCE);
    }
}

#[test]
fn half_precision() {
    if let Some(device) = device() {
        ops::half_precision(&device);
    }
}

#[test]
fn plain() {
    if let Some(device) = device() {
        ops::plain(&device);
    }
}

#[test]
fn training() {
    if let Some(device) = device() {
        ops::training(&device);
    }
}

#[test]
fn limits() {
    if let Some(device) = device() {
        ops::limits(&device);
    }
}

#[test]
fn misuse() {
    if let Some(device) = device() {
        ops::misuse(&device);
    }
}

#[test]
fn exhausted() {
    if let Some(device) = device() {
        ops::exhausted(&device);
    }
}

/// Products are not waited for. What stands in for cuBLASLt fails every second one with so many columns.
#[test]
fn a_product_that_fails_is_told_to_whoever_asked() {
    let columns = std::env::var("TENON_TEST_FAILING_PRODUCT");
    let Some(columns) = columns.ok().and_then(|columns| columns.parse().ok()) else {
        println!("not tested: no product is to fail");
        return;
    };
    let Some(device) = device() else { return };
    let ones = |shape: [usize; 2]| Tensor::ones(&shape, DType::F32, &device).unwrap();
    let (a, b) = (ones([3, 2]), ones([2, columns]));
    let product = || a.matmul(&b)?.add_scalar(1.0)?.to_f32_vec();
    for attempt in 0..4 {
        match (attempt % 2, product()) {
            (0, Ok(values)) => assert!(values.iter().all(|value| *value == 3.0), "{values:?}"),
            (1, Err(TensorError::Failed(text))) => {
                assert!(text.contains("a product of matrices failed"), "{text}");
            }
            (_, other) => panic!("attempt {attempt}: {other:?}"),
        }
    }
}
