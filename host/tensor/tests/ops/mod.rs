//! Every operation of the contract on one device: values and gradients against references in double
//! precision, and what is refused.
// Every device has a test binary of its own, which uses a part of this.
#![allow(dead_code)]

mod attention;
pub mod case;
mod coarse;
mod exhausted;
#[path = "../support/gpt.rs"]
mod gpt;
mod misuse;
pub mod nd;
mod plain;
mod reduced;
mod simple;
mod training;

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use case::Case;
use tenon_tensor::{DType, Device};

fn all() -> Vec<Case> {
    let mut cases = simple::elements();
    cases.extend(simple::choices());
    cases.extend(simple::reductions());
    cases.extend(simple::shapes());
    cases.extend(coarse::indexing());
    cases.extend(coarse::products());
    cases.extend(coarse::normalisation());
    cases.extend(coarse::losses());
    cases.extend(coarse::rotations());
    cases.extend(coarse::attentions());
    cases.extend(coarse::convolutions());
    cases.extend(coarse::pools());
    cases
}

/// The names of all functions of the contract's `tensors` interface.
fn contract() -> BTreeSet<&'static str> {
    let text = include_str!("../../../../wit/deps/tensor-0.1.0/tensor.wit");
    let names: BTreeSet<_> = text
        .lines()
        .filter_map(|line| {
            let (before, _) = line.split_once(": func(")?;
            before.rsplit([' ', ')', '%']).next()
        })
        .collect();
    assert!(names.len() > 70, "{names:?}");
    names
}

/// No operation of the contract is without a test.
pub fn covers_the_contract() {
    let mut tested: BTreeSet<&str> = all()
        .iter()
        .map(|case| case.name.split(' ').next().unwrap_or(""))
        .collect();
    tested.extend(plain::TESTED);
    let missing: Vec<_> = contract().difference(&tested).copied().collect();
    assert!(missing.is_empty(), "no test for {missing:?}");
}

pub fn values_and_gradients(device: &Device, tolerance: f64) {
    each(&all(), |case| case.check(device, tolerance));
}

pub fn half_precision(device: &Device) {
    for dtype in [DType::F16, DType::BF16] {
        each(&all(), |case| case.check_half(device, dtype));
    }
}

/// Checks all cases, so that one run on a device tells everything that is wrong there.
fn each<T>(cases: &[T], check: impl Fn(&T)) {
    let failed = cases
        .iter()
        .filter(|case| catch_unwind(AssertUnwindSafe(|| check(case))).is_err())
        .count();
    assert_eq!(failed, 0, "cases failed; each has said why");
}

fn all_of(device: &Device, checks: &[fn(&Device)]) {
    each(checks, |check| check(device));
}

pub fn training(device: &Device) {
    all_of(
        device,
        &[
            training::optimisers,
            training::embedding,
            training::bias,
            training::model,
            reduced::gradients_of_products,
            reduced::of_several,
            attention::in_training,
            attention::in_serving,
        ],
    );
}

pub fn limits(device: &Device) {
    training::limits(device);
}

pub fn plain(device: &Device) {
    all_of(
        device,
        &[
            plain::bytes_come_back,
            plain::making,
            plain::comparisons,
            plain::conversions,
            plain::integers,
            plain::choosing,
            plain::dropout,
            plain::empty_tensors,
        ],
    );
}

pub fn exhausted(device: &Device) {
    exhausted::exhausted(device);
}

pub fn misuse(device: &Device) {
    misuse::wrong_arguments(device);
    misuse::wrong_indices(device);
}
