//! The operations on `cpu`.
#![allow(clippy::unwrap_used, missing_docs)]

mod ops;

use tenon_tensor::Device;

const TOLERANCE: f64 = 2e-4;

#[test]
fn every_operation_of_the_contract_is_tested() {
    ops::covers_the_contract();
}

#[test]
fn values_and_gradients() {
    ops::values_and_gradients(&Device::cpu(), TOLERANCE);
}

#[test]
fn half_precision() {
    ops::half_precision(&Device::cpu());
}

#[test]
fn plain() {
    ops::plain(&Device::cpu());
}

#[test]
fn misuse() {
    ops::misuse(&Device::cpu());
}

#[test]
fn limits() {
    ops::limits(&Device::cpu());
}
