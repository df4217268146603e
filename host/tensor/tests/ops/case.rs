//! One operation with inputs and a reference, and what is checked of it: the values, the gradients
//! against central differences of the reference (in double precision, so exact to nine digits), the
//! same for views, and in half precision.

use std::collections::HashSet;

use tenon_tensor::{DType, Device, Tape, Tensor, TensorError};

use super::nd::{Nd, noise};

type Result = std::result::Result<Tensor, TensorError>;

/// A floating-point input.
#[derive(Clone)]
pub struct Input {
    pub value: Nd,
    /// Whether the operation gives it a gradient.
    pub differentiable: bool,
    /// Whether it is float32 whatever the others are.
    pub always_f32: bool,
}

type Run = Box<dyn Fn(&[Tensor]) -> Result>;
type Reference = Box<dyn Fn(&[Nd]) -> Nd>;

pub struct Case {
    /// The contract's name, and after a space what is special.
    pub name: &'static str,
    pub inputs: Vec<Input>,
    pub run: Run,
    pub reference: Reference,
    /// Half precision is too coarse for it.
    pub only_f32: bool,
}

impl Case {
    pub fn new(
        name: &'static str,
        run: impl Fn(&[Tensor]) -> Result + 'static,
        reference: impl Fn(&[Nd]) -> Nd + 'static,
    ) -> Self {
        Self {
            name,
            inputs: vec![],
            run: Box::new(run),
            reference: Box::new(reference),
            only_f32: false,
        }
    }

    /// An input with numbers in [low, high).
    pub fn range(mut self, shape: &[usize], low: f64, high: f64) -> Self {
        let seed = self.inputs.len() as u64 + 1 + self.name.len() as u64 * 64;
        let mut value = Nd::make(shape, |_| 0.0);
        let mut seen = HashSet::new();
        for (index, slot) in value.data.iter_mut().enumerate() {
            // What float32 and both half precisions have exactly, but for bfloat16's last bits. No
            // number twice: where two are the largest, a finite difference is no gradient.
            for other in 0..100 {
                let x = noise(seed, index + other * 65_536);
                let x = low + (x + 1.0) / 2.0 * (high - low);
                *slot = f64::from(half::f16::from_f64(x).to_f32());
                if seen.insert(slot.to_bits()) {
                    break;
                }
            }
        }
        self.inputs.push(Input {
            value,
            differentiable: true,
            always_f32: false,
        });
        self
    }

    /// An input with numbers in [-2, 2).
    pub fn input(self, shape: &[usize]) -> Self {
        self.range(shape, -2.0, 2.0)
    }

    pub fn check(&self, device: &Device, tolerance: f64) {
        for (variant, strided) in [("", false), (", views", true)] {
            let label = format!("{} on {device}{variant}", self.name);
            self.check_as(device, DType::F32, strided, tolerance, &label);
        }
    }

    /// Half precision, compared loosely: the point is that it computes at all, and the right thing.
    pub fn check_half(&self, device: &Device, dtype: DType) {
        if self.only_f32 || device_lacks(device, dtype) {
            return;
        }
        let tolerance = if dtype == DType::F16 { 0.04 } else { 0.1 };
        self.check_as(
            device,
            dtype,
            false,
            tolerance,
            &format!("{} {dtype} on {device}", self.name),
        );
    }

    fn check_as(&self, device: &Device, dtype: DType, strided: bool, tolerance: f64, label: &str) {
        let tensors: Vec<Tensor> = self
            .inputs
            .iter()
            .map(|input| {
                let dtype = if input.always_f32 { DType::F32 } else { dtype };
                let tensor = if strided {
                    view(&input.value, device)
                } else {
                    tensor(&input.value, device)
                };
                tensor.cast(dtype).unwrap()
            })
            .collect();
        // The reference is given what the device has: rounding to half precision is no error of an
        // operation.
        let values: Vec<Nd> = self
            .inputs
            .iter()
            .zip(&tensors)
            .map(|(input, tensor)| match (dtype, input.always_f32) {
                (DType::F32, _) | (_, true) => input.value.clone(),
                _ => Nd {
                    shape: input.value.shape.clone(),
                    data: read(tensor),
                },
            })
            .collect();
        let expected = (self.reference)(&values);
        let out = (self.run)(&tensors).unwrap_or_else(|error| panic!("{label}: {error}"));
        assert!(!out.is_tracked());
        compare(label, &out, &expected, tolerance);

        let tape = Tape::new();
        let leaves: Vec<Tensor> = self
            .inputs
            .iter()
            .zip(&tensors)
            .map(|(input, tensor)| match input.differentiable {
                true => tape.leaf(tensor).unwrap(),
                false => tensor.clone(),
            })
            .collect();
        let tracked =
            (self.run)(&leaves).unwrap_or_else(|error| panic!("{label}, tracked: {error}"));
        compare(&format!("{label}, tracked"), &tracked, &expected, tolerance);
        // A weighted sum of the outputs, so that errors do not cancel.
        let weights = Nd {
            shape: expected.shape.clone(),
            data: (0..expected.data.len())
                .map(|i| 0.5 + noise(99, i) / 2.0)
                .collect(),
        };
        if !tracked.is_tracked() {
            assert!(
                self.inputs.iter().all(|input| !input.differentiable),
                "{label}: not tracked"
            );
            return;
        }
        let weighted = tracked
            .mul(&tensor(&weights, device).cast(dtype).unwrap())
            .unwrap();
        let loss = weighted.sum(&[], false).unwrap();
        let mut gradients = tape
            .backward(&loss)
            .unwrap_or_else(|error| panic!("{label}: {error}"));
        assert_eq!(tape.saved_bytes(), 0, "{label}: everything saved is freed");
        let objective = |values: &[Nd]| -> f64 {
            (self.reference)(values)
                .data
                .iter()
                .zip(&weights.data)
                .map(|(y, w)| y * w)
                .sum()
        };
        for (which, input) in self.inputs.iter().enumerate() {
            if !input.differentiable {
                continue;
            }
            let mut moved = values.clone();
            let numeric: Vec<f64> = (0..input.value.data.len())
                .map(|at| {
                    const STEP: f64 = 1e-5;
                    let mut side = |delta: f64| {
                        moved[which].data[at] = input.value.data[at] + delta;
                        objective(&moved)
                    };
                    let slope = (side(STEP) - side(-STEP)) / (2.0 * STEP);
                    moved[which].data[at] = input.value.data[at];
                    slope
                })
                .collect();
            let expected = Nd {
                shape: input.value.shape.clone(),
                data: numeric,
            };
            let gradient = gradients
                .take(&leaves[which])
                .unwrap_or_else(|| panic!("{label}: input {which} has no gradient"));
            assert_eq!(gradient.dtype(), leaves[which].dtype());
            compare(
                &format!("{label}, gradient of input {which}"),
                &gradient,
                &expected,
                tolerance,
            );
        }
    }
}

/// Whether the device refuses a type, with a sentence that says so.
pub fn device_lacks(device: &Device, dtype: DType) -> bool {
    match Tensor::zeros(&[1], dtype, device) {
        Ok(_) => false,
        Err(TensorError::Unsupported(text)) => {
            assert!(
                text.contains(dtype.name()) && text.contains(&device.to_string()),
                "{text}"
            );
            true
        }
        Err(error) => panic!("{error}"),
    }
}

pub fn tensor(value: &Nd, device: &Device) -> Tensor {
    let data: Vec<f32> = value.data.iter().map(|x| *x as f32).collect();
    Tensor::from_f32(&value.shape, &data, device).unwrap()
}

/// The same values, but as a part of a larger tensor whose memory is in the reverse order.
pub fn view(value: &Nd, device: &Device) -> Tensor {
    if value.shape.is_empty() {
        return tensor(value, device);
    }
    let rank = value.shape.len();
    let reverse: Vec<usize> = (0..rank).rev().collect();
    let turned = tensor(&value.permute(&reverse), device);
    let padding: Vec<(usize, usize)> = (0..rank).map(|i| (i, 1)).collect();
    let mut out = turned.pad(&padding, 77.0).unwrap();
    for (axis, size) in turned.shape().iter().enumerate() {
        out = out.narrow(axis as i32, axis, *size).unwrap();
    }
    let back: Vec<i32> = (0..rank as i32).rev().collect();
    out.permute(&back).unwrap()
}

/// A tensor's numbers.
fn read(tensor: &Tensor) -> Vec<f64> {
    let values = tensor.to_f32_vec().unwrap();
    values.into_iter().map(f64::from).collect()
}

pub fn compare(label: &str, got: &Tensor, expected: &Nd, tolerance: f64) {
    assert_eq!(got.shape(), expected.shape, "{label}: shape");
    let values = got
        .to_f32_vec()
        .unwrap_or_else(|error| panic!("{label}: {error}"));
    // What cancels leaves some thousandths in half precision.
    let least = if tolerance > 0.01 { 0.5 } else { 0.1 };
    let scale = expected
        .data
        .iter()
        .fold(0.0_f64, |scale, x| scale.max(x.abs()))
        .max(least);
    for (index, (got, expected)) in values.iter().zip(&expected.data).enumerate() {
        let error = (f64::from(*got) - expected).abs();
        let same = f64::from(*got) == *expected || (got.is_nan() && expected.is_nan());
        assert!(
            same || error <= tolerance * (expected.abs() + 0.2 * scale),
            "{label}: element {index} is {got}, not {expected}"
        );
    }
}
