//! The operations on `cuda`: on a card where there is one, and without one as `tests/cuda` says.
#![allow(clippy::unwrap_used, missing_docs)]

mod ops;

use tenon_tensor::Device;

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
