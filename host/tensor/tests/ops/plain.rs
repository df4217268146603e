//! What has no gradient: making, reading, comparing, converting, integers.

use tenon_tensor::{DType, Device, Tape, Tensor};

use super::case::device_lacks;

/// The names of the contract that this file is about.
pub const TESTED: [&str; 20] = [
    "shape",
    "dtype",
    "read",
    "detach",
    "alias",
    "cast",
    "eq",
    "lt",
    "le",
    "eq-scalar",
    "lt-scalar",
    "gt-scalar",
    "logical-not",
    "logical-and",
    "argmax",
    "zeros",
    "ones",
    "full",
    "arange",
    "from-bytes",
];

fn f32s(shape: &[usize], values: &[f32], device: &Device) -> Tensor {
    Tensor::from_f32(shape, values, device).unwrap()
}

fn i64s(values: &[i64], device: &Device) -> Tensor {
    Tensor::from_i64(&[values.len()], values, device).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<i64> {
    tensor.to_i64_vec().unwrap()
}

pub fn bytes_come_back(device: &Device) {
    let samples: [(DType, Vec<u8>); 7] = [
        (
            DType::F32,
            [1.5_f32, -2.0, 0.0, 3e38]
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect(),
        ),
        (
            DType::F16,
            [1.5, -2.0, 0.0, 65504.0]
                .iter()
                .flat_map(|x| half::f16::from_f32(*x).to_le_bytes())
                .collect(),
        ),
        (
            DType::BF16,
            [1.5, -2.0, 0.0, 1e30]
                .iter()
                .flat_map(|x| half::bf16::from_f32(*x).to_le_bytes())
                .collect(),
        ),
        (
            DType::I64,
            [1_i64, -2, 0, i64::from(i32::MAX)]
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect(),
        ),
        (
            DType::I32,
            [1_i32, -2, i32::MIN, i32::MAX]
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect(),
        ),
        (DType::U8, vec![0, 1, 127, 255]),
        (DType::Bool, vec![0, 1, 1, 0]),
    ];
    for (dtype, bytes) in samples {
        if device_lacks(device, dtype) {
            continue;
        }
        let x = Tensor::from_bytes(&[2, 2], dtype, &bytes, device).unwrap();
        assert_eq!(
            (x.shape(), x.dtype(), x.byte_len()),
            (&[2, 2][..], dtype, bytes.len())
        );
        assert_eq!(x.read(0, bytes.len() as u64).unwrap(), bytes, "{dtype}");
        // Any range, also within an element.
        for (offset, len) in [
            (1, 3),
            (0, 1),
            (bytes.len() - 1, 1),
            (3, bytes.len() - 3),
            (2, 0),
        ] {
            let part = x.read(offset as u64, len as u64).unwrap();
            assert_eq!(part, bytes[offset..offset + len], "{dtype} {offset} {len}");
        }
        let turned = x
            .transpose(0, 1)
            .unwrap()
            .read(0, bytes.len() as u64)
            .unwrap();
        let size = dtype.size();
        assert_eq!(turned[size..2 * size], bytes[2 * size..3 * size], "{dtype}");
        assert!(x.read(1, bytes.len() as u64).is_err() && x.read(u64::MAX, 2).is_err());
        let again = x.clone().detach().unwrap();
        assert_eq!(again.read(0, bytes.len() as u64).unwrap(), bytes);
    }
    // Booleans are normal whatever was given.
    let x = Tensor::from_bytes(&[3], DType::Bool, &[0, 7, 255], device).unwrap();
    assert_eq!(x.read(0, 3).unwrap(), [0, 1, 1]);
    let scalar = f32s(&[], &[2.5], device);
    assert_eq!(scalar.item().unwrap(), 2.5);
    let empty = Tensor::zeros(&[0, 3], DType::F32, device).unwrap();
    assert_eq!(empty.to_f32_vec().unwrap(), Vec::<f32>::new());
}

pub fn making(device: &Device) {
    for dtype in DType::ALL {
        if device_lacks(device, dtype) {
            continue;
        }
        assert_eq!(
            numbers(&Tensor::zeros(&[3], dtype, device).unwrap()),
            [0; 3],
            "{dtype}"
        );
        assert_eq!(
            numbers(&Tensor::ones(&[1, 3], dtype, device).unwrap()),
            [1; 3],
            "{dtype}"
        );
        let full = Tensor::full(&[2], 1.0, dtype, device).unwrap();
        assert_eq!((full.dtype(), numbers(&full)), (dtype, vec![1, 1]));
        if dtype != DType::Bool {
            let range = Tensor::arange(1.0, 6.0, 2.0, dtype, device).unwrap();
            assert_eq!((range.dtype(), numbers(&range)), (dtype, vec![1, 3, 5]));
        }
    }
    let range = |start, end, step, dtype| Tensor::arange(start, end, step, dtype, device);
    assert_eq!(
        range(1.0, 0.0, -0.25, DType::F32)
            .unwrap()
            .to_f32_vec()
            .unwrap(),
        [1.0, 0.75, 0.5, 0.25]
    );
    assert_eq!(
        numbers(&range(5.0, -1.0, -3.0, DType::I64).unwrap()),
        [5, 2]
    );
    assert_eq!(range(0.0, 0.0, 1.0, DType::I32).unwrap().shape(), [0]);
    assert_eq!(
        Tensor::full(&[2], f64::NEG_INFINITY, DType::F32, device)
            .unwrap()
            .to_f32_vec()
            .unwrap(),
        [f32::NEG_INFINITY; 2]
    );
}

pub fn comparisons(device: &Device) {
    let a = f32s(&[2, 2], &[1.0, 2.0, f32::NAN, -1.0], device);
    let b = f32s(&[2], &[1.0, 3.0], device);
    assert_eq!(numbers(&a.eq(&b).unwrap()), [1, 0, 0, 0]);
    assert_eq!(numbers(&a.lt(&b).unwrap()), [0, 1, 0, 1]);
    assert_eq!(numbers(&a.le(&b).unwrap()), [1, 1, 0, 1]);
    assert_eq!(numbers(&a.eq_scalar(2.0).unwrap()), [0, 1, 0, 0]);
    assert_eq!(numbers(&a.lt_scalar(2.0).unwrap()), [1, 0, 0, 1]);
    assert_eq!(numbers(&a.gt_scalar(0.0).unwrap()), [1, 1, 0, 0]);
    assert_eq!(a.eq(&b).unwrap().dtype(), DType::Bool);
    for dtype in [DType::I64, DType::I32, DType::U8] {
        let x = i64s(&[1, 2, 3], device).cast(dtype).unwrap();
        let y = i64s(&[3, 2, 1], device).cast(dtype).unwrap();
        assert_eq!(numbers(&x.eq(&y).unwrap()), [0, 1, 0], "{dtype}");
        assert_eq!(numbers(&x.lt(&y).unwrap()), [1, 0, 0], "{dtype}");
        assert_eq!(numbers(&x.le(&y).unwrap()), [1, 1, 0], "{dtype}");
        // Numbers that the type does not have, and halves between those that it has.
        assert_eq!(numbers(&x.eq_scalar(2.5).unwrap()), [0, 0, 0]);
        assert_eq!(numbers(&x.lt_scalar(2.5).unwrap()), [1, 1, 0]);
        assert_eq!(numbers(&x.gt_scalar(2.5).unwrap()), [0, 0, 1]);
        assert_eq!(numbers(&x.lt_scalar(1e30).unwrap()), [1, 1, 1]);
        assert_eq!(numbers(&x.gt_scalar(-1e30).unwrap()), [1, 1, 1]);
        assert_eq!(numbers(&x.gt_scalar(f64::INFINITY).unwrap()), [0, 0, 0]);
        assert_eq!(numbers(&x.lt_scalar(f64::NAN).unwrap()), [0, 0, 0]);
    }
    let (t, f) = (i64s(&[1, 1], device), i64s(&[0, 1], device));
    let (t, f) = (t.cast(DType::Bool).unwrap(), f.cast(DType::Bool).unwrap());
    assert_eq!(numbers(&t.logical_and(&f).unwrap()), [0, 1]);
    assert_eq!(numbers(&f.logical_not().unwrap()), [1, 0]);
    assert_eq!(numbers(&t.eq(&f).unwrap()), [0, 1]);
    assert_eq!(
        numbers(&i64s(&[0, 5], device).logical_not().unwrap()),
        [1, 0]
    );
    assert_eq!(numbers(&f.eq_scalar(0.0).unwrap()), [1, 0]);
    assert_eq!(numbers(&f.eq_scalar(0.5).unwrap()), [0, 0]);
}

pub fn conversions(device: &Device) {
    let x = f32s(&[4], &[0.0, 1.0, 2.75, 200.0], device);
    for dtype in DType::ALL {
        if device_lacks(device, dtype) {
            continue;
        }
        let y = x.cast(dtype).unwrap();
        assert_eq!(y.dtype(), dtype);
        let expected = if dtype == DType::Bool {
            vec![0, 1, 1, 1]
        } else {
            vec![0, 1, 2, 200]
        };
        assert_eq!(numbers(&y), expected, "{dtype}");
        for second in DType::ALL {
            if device_lacks(device, second) {
                continue;
            }
            let z = y.cast(second).unwrap();
            let expected: Vec<i64> = match second {
                DType::Bool => vec![0, 1, 1, 1],
                _ => expected.clone(),
            };
            assert_eq!(numbers(&z), expected, "{dtype} to {second}");
        }
    }
    let negative = f32s(&[2], &[-1.5, -300.0], device);
    assert_eq!(numbers(&negative.cast(DType::I32).unwrap()), [-1, -300]);
    assert_eq!(
        numbers(&i64s(&[257, -1], device).cast(DType::U8).unwrap()),
        [1, 255]
    );
}

pub fn integers(device: &Device) {
    for dtype in [DType::I64, DType::I32, DType::U8] {
        let x = i64s(&[1, 2, 3, 4], device).cast(dtype).unwrap();
        let y = i64s(&[4, 3, 2, 1], device).cast(dtype).unwrap();
        let check =
            |what: &str, got: Result<Tensor, tenon_tensor::TensorError>, expected: &[i64]| {
                let got = got.unwrap_or_else(|error| panic!("{what} {dtype}: {error}"));
                assert_eq!(numbers(&got), expected, "{what} {dtype}");
                got.dtype()
            };
        assert_eq!(check("add", x.add(&y), &[5, 5, 5, 5]), dtype);
        check("mul", x.mul(&y), &[4, 6, 6, 4]);
        check("maximum", x.maximum(&y), &[4, 3, 3, 4]);
        check("minimum", x.minimum(&y), &[1, 2, 2, 1]);
        check("add_scalar", x.add_scalar(2.0), &[3, 4, 5, 6]);
        check("mul_scalar", x.mul_scalar(3.0), &[3, 6, 9, 12]);
        check("clamp", x.clamp(Some(2.0), Some(3.0)), &[2, 2, 3, 3]);
        check("floor", x.floor(), &[1, 2, 3, 4]);
        check("abs", x.abs(), &[1, 2, 3, 4]);
        check("sign", x.sign(), &[1, 1, 1, 1]);
        // Bytes wrap around.
        let wrap = |x: i64| {
            if dtype == DType::U8 {
                x.rem_euclid(256)
            } else {
                x
            }
        };
        check("sub", x.sub(&y), &[-3, -1, 1, 3].map(wrap));
        check("neg", x.neg(), &[-1, -2, -3, -4].map(wrap));
        check("add_scalar", x.add_scalar(-2.0), &[-1, 0, 1, 2].map(wrap));
        assert_eq!(check("sum", x.sum(&[], false), &[10]), DType::I64);
        assert_eq!(
            check("sum", x.reshape(&[2, 2]).unwrap().sum(&[0], false), &[4, 6]),
            DType::I64
        );
        assert_eq!(check("cumsum", x.cumsum(0), &[1, 3, 6, 10]), DType::I64);
        check("max", x.max(0, true), &[4]);
        check("min", x.min(-1, false), &[1]);
        assert_eq!(check("argmax", y.argmax(0, false), &[0]), DType::I64);
        check("flip", x.flip(&[0]), &[4, 3, 2, 1]);
        check("pad", x.pad(&[(1, 1)], 7.0), &[7, 1, 2, 3, 4, 7]);
        check("cat", Tensor::cat(&[&x, &y], 0), &[1, 2, 3, 4, 4, 3, 2, 1]);
        check("narrow", x.narrow(0, 1, 2), &[2, 3]);
        check(
            "expand",
            x.narrow(0, 0, 1).unwrap().expand(&[3]),
            &[1, 1, 1],
        );
        check(
            "transpose",
            x.reshape(&[2, 2]).unwrap().transpose(0, 1),
            &[1, 3, 2, 4],
        );
        check("tril", x.reshape(&[2, 2]).unwrap().tril(0), &[1, 0, 3, 4]);
        let index = i64s(&[3, 0], device);
        check("index_select", x.index_select(0, &index), &[4, 1]);
        check("gather", x.gather(0, &index), &[4, 1]);
        check("scatter_add", x.scatter_add(0, &index, &y), &[4, 2, 3, 8]);
        let mask = x.gt_scalar(2.0).unwrap();
        check("masked_fill", x.masked_fill(&mask, 9.0), &[1, 2, 9, 9]);
        check("where", Tensor::where_(&mask, &x, &y), &[4, 3, 3, 4]);
        let (values, places) = x.topk(2, 0).unwrap();
        assert_eq!(
            (numbers(&values), numbers(&places)),
            (vec![4, 3], vec![3, 2])
        );
        // Indices of any integer type.
        let table = f32s(&[5, 1], &[0.0, 10.0, 20.0, 30.0, 40.0], device);
        assert_eq!(
            table.embedding(&x).unwrap().to_f32_vec().unwrap(),
            [10.0, 20.0, 30.0, 40.0]
        );
    }
    let mask = i64s(&[1, 0, 1], device).cast(DType::Bool).unwrap();
    assert_eq!(numbers(&mask.sum(&[], false).unwrap()), [2]);
    assert_eq!(
        numbers(&Tensor::cat(&[&mask, &mask], 0).unwrap()),
        [1, 0, 1, 1, 0, 1]
    );
    assert_eq!(numbers(&mask.pad(&[(1, 0)], 1.0).unwrap()), [1, 1, 0, 1]);
    assert_eq!(
        numbers(&mask.index_select(0, &i64s(&[2, 1], device)).unwrap()),
        [1, 0]
    );
    assert_eq!(
        numbers(&mask.gather(0, &i64s(&[2, 1], device)).unwrap()),
        [1, 0]
    );
}

pub fn choosing(device: &Device) {
    let x = f32s(&[2, 3], &[1.0, 5.0, 5.0, -2.0, -3.0, -1.0], device);
    assert_eq!(numbers(&x.argmax(1, false).unwrap()), [1, 2]);
    assert_eq!(numbers(&x.argmax(0, true).unwrap()), [0, 0, 0]);
    assert_eq!(x.argmax(0, true).unwrap().shape(), [1, 3]);
    let (values, index) = x.topk(2, 1).unwrap();
    assert_eq!(values.to_f32_vec().unwrap(), [5.0, 5.0, -1.0, -2.0]);
    assert_eq!(
        (index.dtype(), numbers(&index)),
        (DType::I64, vec![1, 2, 2, 0])
    );
    assert_eq!(x.topk(0, 1).unwrap().0.shape(), [2, 0]);
    // No target counts: as in PyTorch.
    let targets = i64s(&[-100, -100], device);
    let mean = x
        .cross_entropy(&targets, -100, 0.0, tenon_tensor::Reduction::Mean)
        .unwrap();
    assert!(mean.item().unwrap().is_nan());
    let sum = x
        .cross_entropy(&targets, -100, 0.0, tenon_tensor::Reduction::Sum)
        .unwrap();
    assert_eq!(sum.item().unwrap(), 0.0);
}

pub fn dropout(device: &Device) {
    let tape = Tape::new();
    let x = tape
        .leaf(&Tensor::ones(&[100, 100], DType::F32, device).unwrap())
        .unwrap();
    let y = x.dropout(0.25, 7).unwrap();
    let values = y.to_f32_vec().unwrap();
    let kept = values.iter().filter(|value| **value != 0.0).count() as f64 / 1e4;
    assert!((kept - 0.75).abs() < 0.02, "{kept}");
    assert!(
        values
            .iter()
            .all(|value| *value == 0.0 || (value - 1.0 / 0.75).abs() < 1e-6)
    );
    // The same mask everywhere, and in the gradient.
    let host = Tensor::ones(&[100, 100], DType::F32, &Device::cpu()).unwrap();
    let same = host.dropout(0.25, 7).unwrap().to_f32_vec().unwrap();
    assert!(same.iter().zip(&values).all(|(a, b)| (a - b).abs() < 1e-6));
    assert_ne!(host.dropout(0.25, 8).unwrap().to_f32_vec().unwrap(), same);
    let gradient = tape
        .backward(&y.sum(&[], false).unwrap())
        .unwrap()
        .take(&x)
        .unwrap();
    assert_eq!(gradient.to_f32_vec().unwrap(), values);
}

pub fn empty_tensors(device: &Device) {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, device).unwrap();
    let x = zeros(&[0, 3]);
    assert_eq!(x.add(&x).unwrap().shape(), [0, 3]);
    for (a, b) in [([0, 1], [1, 3]), ([1, 3], [0, 3]), ([0, 3], [1, 1])] {
        let (a, b) = (zeros(&a), zeros(&b));
        for sum in [a.add(&b), b.mul(&a), a.div(&b), b.maximum(&a)] {
            let sum = sum.unwrap();
            assert_eq!(
                (sum.shape(), sum.to_f32_vec().unwrap().len()),
                (&[0, 3][..], 0)
            );
        }
        assert_eq!(a.eq(&b).unwrap().shape(), [0, 3]);
    }
    assert_eq!(x.exp().unwrap().shape(), [0, 3]);
    assert_eq!(x.sum(&[0], false).unwrap().to_f32_vec().unwrap(), [0.0; 3]);
    assert_eq!(x.sum(&[], false).unwrap().item().unwrap(), 0.0);
    assert_eq!(
        x.transpose(0, 1)
            .unwrap()
            .reshape(&[0, 1, 3])
            .unwrap()
            .shape(),
        [0, 1, 3]
    );
    assert_eq!(x.matmul(&zeros(&[3, 2])).unwrap().shape(), [0, 2]);
    assert_eq!(
        zeros(&[2, 0])
            .matmul(&zeros(&[0, 3]))
            .unwrap()
            .to_f32_vec()
            .unwrap(),
        [0.0; 6]
    );
    assert_eq!(
        x.linear(&zeros(&[4, 3]), Some(&zeros(&[4])))
            .unwrap()
            .shape(),
        [0, 4]
    );
    assert_eq!(x.softmax(-1).unwrap().shape(), [0, 3]);
    assert_eq!(x.layer_norm(None, None, 1e-5).unwrap().shape(), [0, 3]);
    let other = Tensor::ones(&[2, 3], DType::F32, device).unwrap();
    assert_eq!(
        Tensor::cat(&[&x, &other, &x], 0)
            .unwrap()
            .to_f32_vec()
            .unwrap(),
        [1.0; 6]
    );
    assert_eq!(other.narrow(0, 1, 0).unwrap().shape(), [0, 3]);
    assert_eq!(
        x.pad(&[(1, 1), (0, 0)], 2.0).unwrap().to_f32_vec().unwrap(),
        [2.0; 6]
    );
    let none = Tensor::from_i64(&[0], &[], device).unwrap();
    assert_eq!(other.index_select(0, &none).unwrap().shape(), [0, 3]);
    assert_eq!(other.embedding(&none).unwrap().shape(), [0, 3]);
    assert_eq!(
        x.clamp(Some(0.0), None)
            .unwrap()
            .cast(DType::I64)
            .unwrap()
            .shape(),
        [0, 3]
    );
}
