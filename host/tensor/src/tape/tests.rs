#![allow(clippy::unwrap_used)]
use super::*;
use crate::Device;

fn vector(values: &[f32]) -> Tensor {
    Tensor::from_f32(&[values.len()], values, &Device::cpu()).unwrap()
}

#[test]
fn a_product_has_the_gradients_of_its_factors() {
    let tape = Tape::new();
    let (a, b) = (
        tape.leaf(&vector(&[2.0, 3.0])).unwrap(),
        tape.leaf(&vector(&[5.0, 7.0])).unwrap(),
    );
    let loss = a.mul(&b).unwrap().add(&a).unwrap().sum(&[], false).unwrap();
    let mut gradients = tape.backward(&loss).unwrap();
    assert_eq!(
        gradients.take(&a).unwrap().to_f32_vec().unwrap(),
        [6.0, 8.0]
    );
    assert_eq!(gradients.get(&b).unwrap().to_f32_vec().unwrap(), [2.0, 3.0]);
    assert!(gradients.take(&a).is_none() && gradients.len() == 1);
}

#[test]
fn saved_memory_is_counted_once_and_freed_by_the_backward_pass() {
    let tape = Tape::new();
    let x = tape.leaf(&vector(&[1.0; 1000])).unwrap();
    assert_eq!(tape.saved_bytes(), 0);
    // Keeps its output, then the same output twice again.
    let y = x.exp().unwrap();
    assert_eq!(tape.saved_bytes(), 4000);
    let z = y.mul(&y).unwrap();
    assert_eq!(tape.saved_bytes(), 4000);
    let part = y.narrow(0, 0, 10).unwrap().sin().unwrap();
    assert_eq!(
        tape.saved_bytes(),
        4000,
        "a view keeps the memory that it is a view of"
    );
    let loss = z
        .sum(&[], false)
        .unwrap()
        .add(&part.sum(&[], false).unwrap())
        .unwrap();
    drop((y, z, part));
    let gradients = tape.backward(&loss).unwrap();
    assert_eq!(tape.saved_bytes(), 0);
    let grad = gradients.get(&x).unwrap().to_f32_vec().unwrap();
    let (e, e2) = (1f32.exp(), 2f32.exp());
    assert!(
        (grad[999] - 2.0 * e2).abs() < 1e-4 && (grad[0] - (2.0 * e2 + e.cos() * e)).abs() < 1e-4
    );
}

#[test]
fn an_operation_runs_backwards_once() {
    let tape = Tape::new();
    let x = tape.leaf(&vector(&[1.0])).unwrap();
    let shared = x.exp().unwrap();
    tape.backward(&shared).unwrap();
    let error = tape.backward(&shared).unwrap_err().to_string();
    assert!(error.contains("exp") && error.contains("again"), "{error}");
}

#[test]
fn closing_frees_and_stops() {
    for close in [true, false] {
        let tape = Tape::new();
        let x = tape.leaf(&vector(&[1.0; 100])).unwrap();
        let y = x.exp().unwrap();
        let weak = Arc::downgrade(tape.shared());
        if close {
            tape.close();
            assert_eq!((tape.saved_bytes(), tape.len()), (0, 0));
            assert!(tape.leaf(&vector(&[1.0])).is_err());
            assert!(
                tape.backward(&y.narrow(0, 0, 1).unwrap_or(y.clone()))
                    .is_err()
            );
        } else {
            drop(tape);
            assert!(weak.upgrade().unwrap().state.lock().nodes.is_empty());
        }
        let error = y.exp().unwrap_err().to_string();
        assert!(
            error.contains("closed") && error.contains("detach"),
            "{error}"
        );
        assert_eq!(y.to_f32_vec().unwrap().len(), 100);
        assert!(y.detach().unwrap().exp().is_ok());
        drop((x, y));
        assert_eq!(weak.upgrade().is_none(), !close);
    }
}

#[test]
fn wrong_losses_are_refused() {
    let tape = Tape::new();
    let other = Tape::new();
    let x = tape.leaf(&vector(&[1.0, 2.0])).unwrap();
    let error = tape.backward(&x).unwrap_err().to_string();
    assert!(
        error.contains("[2]") && error.contains("sum or mean"),
        "{error}"
    );
    let error = tape.backward(&vector(&[1.0])).unwrap_err().to_string();
    assert!(error.contains("leaf of this tape"), "{error}");
    let foreign = other.leaf(&vector(&[1.0, 2.0])).unwrap();
    let error = x.add(&foreign).unwrap_err().to_string();
    assert!(
        error.contains("add") && error.contains("different tapes"),
        "{error}"
    );
    let ids = Tensor::from_i64(&[1], &[1], &Device::cpu()).unwrap();
    assert!(tape.leaf(&ids).unwrap_err().to_string().contains("int64"));
}

#[test]
fn the_first_operation_that_is_not_finite_is_named() {
    let run = |f: &dyn Fn(&Tensor) -> Result<Tensor, TensorError>, value: f32| {
        let tape = Tape::new();
        tape.trace_non_finite(true);
        let x = tape.leaf(&vector(&[value, 1.0])).unwrap();
        let loss = f(&x).unwrap().sum(&[], false).unwrap();
        tape.backward(&loss).unwrap();
        tape.non_finite()
    };
    let found = run(&|x| x.exp()?.log()?.sqrt(), -1e-3).unwrap();
    assert_eq!(
        (found.operation, found.index, found.backward),
        ("sqrt", 3, false)
    );
    let found = run(&|x| x.mul_scalar(1e30)?.exp()?.mul_scalar(2.0), 1.0).unwrap();
    assert_eq!(found.operation, "exp");
    let found = run(&|x| x.sqrt(), 0.0).unwrap();
    assert_eq!((found.operation, found.backward), ("sqrt", true));
    assert!(found.to_string().contains("gradient of `sqrt`"));
    // Infinities of a mask are meant.
    let mask = |x: &Tensor| x.masked_fill(&x.gt_scalar(0.5)?, f64::NEG_INFINITY)?.exp();
    assert_eq!(run(&mask, 0.0), None);
    assert_eq!(run(&|x| x.exp(), 1.0), None);
}

#[test]
fn gradients_that_meet_are_added_in_place() {
    let tape = Tape::new();
    let x = tape.leaf(&vector(&[1.0, 2.0])).unwrap();
    let mut sum = x.mul_scalar(1.0).unwrap();
    for factor in 2..6 {
        sum = sum.add(&x.mul_scalar(f64::from(factor)).unwrap()).unwrap();
    }
    let loss = sum.sum(&[], false).unwrap();
    let mut gradients = tape.backward(&loss).unwrap();
    assert_eq!(
        gradients.take(&x).unwrap().to_f32_vec().unwrap(),
        [15.0, 15.0]
    );
}

#[test]
fn autocast_computes_products_as_if_they_were_cast() {
    let matrix = |seed: u64, shape: &[usize]| {
        let values: Vec<f32> = (0..shape.iter().product::<usize>() as u64)
            .map(|at| (crate::rng::bits_at(seed, at) % 1000) as f32 / 500.0 - 1.0)
            .collect();
        Tensor::from_f32(shape, &values, &Device::cpu()).unwrap()
    };
    let (x, w, b) = (matrix(1, &[5, 24]), matrix(2, &[7, 24]), matrix(3, &[7]));
    for dtype in [DType::BF16, DType::F16] {
        let run = |auto: bool| {
            let tape = Tape::new();
            tape.autocast(auto.then_some(dtype));
            let leaves = [&x, &w, &b].map(|value| tape.leaf(value).unwrap());
            let [x, w, b] = &leaves;
            let cast = |value: &Tensor| match auto {
                true => value.clone(),
                false => value.cast(dtype).unwrap(),
            };
            let y = cast(x).linear(&cast(w), Some(&cast(b))).unwrap();
            let y = y.cast(DType::F32).unwrap();
            let z = cast(&y).matmul(&cast(w)).unwrap().cast(DType::F32).unwrap();
            let loss = z.mul(&z).unwrap().sum(&[], false).unwrap();
            let mut gradients = tape.backward(&loss).unwrap();
            let mut all = vec![z.to_f32_vec().unwrap()];
            for leaf in &leaves {
                let gradient = gradients.take(leaf).unwrap();
                assert_eq!(gradient.dtype(), DType::F32);
                all.push(gradient.to_f32_vec().unwrap());
            }
            all
        };
        assert_eq!(run(true), run(false), "{dtype:?}");
    }
    // Without a tape, or with tensors of another type, nothing is cast.
    let plain = x.linear(&w, Some(&b)).unwrap();
    let tape = Tape::new();
    tape.autocast(Some(DType::BF16));
    assert_eq!(
        x.linear(&w, Some(&b)).unwrap().to_f32_vec().unwrap(),
        plain.to_f32_vec().unwrap()
    );
    let half = tape.leaf(&x.cast(DType::F16).unwrap()).unwrap();
    let y = half.linear(&w.cast(DType::F16).unwrap(), None).unwrap();
    assert_eq!(y.dtype(), DType::F16);
}

/// The gradient of x [2, 6] under Σ weight · part over parts of it, each (dim, start, len).
fn of_parts(parts: &[(i32, usize, usize)], whole: bool) -> (Vec<f32>, Vec<f32>) {
    let tape = Tape::new();
    let x = Tensor::arange(0.0, 12.0, 1.0, DType::F32, &Device::cpu()).unwrap();
    let x = tape.leaf(&x.reshape(&[2, 6]).unwrap()).unwrap();
    // Not the leaf itself: what comes for a value in between is added up too.
    let y = x.mul_scalar(2.0).unwrap();
    let mut expected = vec![0.0; 12];
    let mut loss = Tensor::zeros(&[], DType::F32, &Device::cpu()).unwrap();
    if whole {
        loss = loss.add(&y.sum(&[], false).unwrap()).unwrap();
        expected.iter_mut().for_each(|slot| *slot += 2.0);
    }
    for (number, (dim, start, len)) in parts.iter().enumerate() {
        let weight = (number + 1) as f32;
        let part = y.narrow(*dim, *start, *len).unwrap();
        let sum = part.mul_scalar(f64::from(weight)).unwrap().sum(&[], false);
        loss = loss.add(&sum.unwrap()).unwrap();
        for (index, slot) in expected.iter_mut().enumerate() {
            let at = [index / 6, index % 6][*dim as usize];
            if (*start..start + len).contains(&at) {
                *slot += 2.0 * weight;
            }
        }
    }
    let mut gradients = tape.backward(&loss).unwrap();
    let found = gradients.take(&x).unwrap();
    assert_eq!(found.shape(), [2, 6]);
    (found.to_f32_vec().unwrap(), expected)
}

#[test]
fn gradients_of_parts_are_those_of_the_whole() {
    let cases: &[&[(i32, usize, usize)]] = &[
        // What makes up the whole, in order and not.
        &[(1, 0, 2), (1, 2, 1), (1, 3, 3)],
        &[(1, 3, 3), (1, 0, 2), (1, 2, 1)],
        &[(0, 1, 1), (0, 0, 1)],
        &[(1, 0, 6)],
        &[(1, 0, 3), (1, 3, 0), (1, 3, 3)],
        // What does not: gaps, overlaps, twice the same, several dimensions.
        &[(1, 1, 2)],
        &[(1, 0, 2), (1, 3, 3)],
        &[(1, 0, 4), (1, 2, 4)],
        &[(1, 0, 3), (1, 0, 3), (1, 3, 3)],
        &[(0, 0, 1), (1, 0, 3), (0, 1, 1), (1, 3, 3)],
    ];
    for parts in cases {
        for whole in [false, true] {
            let (found, expected) = of_parts(parts, whole);
            assert_eq!(found, expected, "{parts:?}, whole: {whole}");
        }
    }
}

/// An operation whose gradient is `slope`, in the type in which x takes it.
fn gives(x: &Tensor, slope: f32, expected: DType) -> Tensor {
    record(
        "gives",
        x.detach().unwrap(),
        &[x],
        |_| Vec::new(),
        move |context| {
            assert_eq!(context.taken(0), expected);
            let grad = Tensor::full(
                context.grad.shape(),
                f64::from(slope),
                DType::F32,
                &Device::cpu(),
            )?;
            Ok(vec![Some(grad.cast(expected)?)])
        },
    )
    .unwrap()
}

/// An operation that uses its gradient in bfloat16; what it got is put into `got`.
fn takes(x: &Tensor, got: &Arc<Mutex<Option<Tensor>>>) -> Tensor {
    let got = got.clone();
    let out = record(
        "takes",
        x.detach().unwrap(),
        &[x],
        |_| Vec::new(),
        move |context| {
            *got.lock() = Some(context.grad.detach()?);
            Ok(vec![Some(context.grad.cast(DType::F32)?)])
        },
    );
    out.unwrap().takes_gradient_in(Some(DType::BF16))
}

#[test]
fn gradients_come_in_the_type_in_which_they_are_used() {
    // 1 + 2⁻¹², which bfloat16 rounds to 1.
    let fine = 1.0 + 1.0 / 4096.0;
    let run = |build: &dyn Fn(&Tensor) -> Tensor| -> (DType, Vec<f32>) {
        let tape = Tape::new();
        tape.autocast(Some(DType::BF16));
        let got = Arc::new(Mutex::new(None));
        let x = tape.leaf(&vector(&[0.0; 4])).unwrap();
        let y = build(&takes(&x, &got));
        tape.backward(&y.sum(&[], false).unwrap()).unwrap();
        let got = got.lock().take().unwrap();
        (
            got.dtype(),
            got.cast(DType::F32).unwrap().to_f32_vec().unwrap(),
        )
    };
    let half = DType::BF16;
    let whole = |y: &Tensor| gives(y, fine, half);
    assert_eq!(run(&whole), (half, vec![1.0; 4]));
    // Views hand it on.
    let viewed = |y: &Tensor| {
        let y = y.reshape(&[2, 2]).unwrap().permute(&[1, 0]).unwrap();
        gives(
            &y.unsqueeze(0).unwrap().transpose(0, 1).unwrap(),
            fine,
            half,
        )
    };
    assert_eq!(run(&viewed), (half, vec![1.0; 4]));
    let part = |y: &Tensor, start: usize| y.narrow(0, start, 2).unwrap();
    let parts = |y: &Tensor| {
        let first = gives(&part(y, 0), fine, half);
        Tensor::cat(&[&first, &gives(&part(y, 2), 2.0, half)], 0).unwrap()
    };
    assert_eq!(run(&parts), (half, vec![1.0, 1.0, 2.0, 2.0]));
    // What does not know of it gives the value's own type, and so does a sum.
    let plain = |y: &Tensor| y.mul_scalar(f64::from(fine)).unwrap();
    assert_eq!(run(&plain), (DType::F32, vec![fine; 4]));
    let sum = |y: &Tensor| gives(y, 1.0, half).add(&plain(y)).unwrap();
    assert_eq!(run(&sum), (DType::F32, vec![1.0 + fine; 4]));
    let twice = |y: &Tensor| gives(y, 256.0, half).add(&gives(y, 1.0, half)).unwrap();
    assert_eq!(run(&twice), (DType::F32, vec![257.0; 4]));
    let mixed = |y: &Tensor| {
        let first = gives(&part(y, 0), 2.0, half);
        Tensor::cat(&[&first, &plain(&part(y, 2))], 0).unwrap()
    };
    assert_eq!(run(&mixed), (DType::F32, vec![2.0, 2.0, fine, fine]));
    let overlapping = |y: &Tensor| {
        let first = gives(&part(y, 0), 2.0, half);
        Tensor::cat(&[&first, &gives(&part(y, 1), 1.0, half)], 0).unwrap()
    };
    assert_eq!(run(&overlapping), (DType::F32, vec![2.0, 3.0, 1.0, 0.0]));
}

#[test]
fn gradients_are_added_up_where_the_first_is() {
    let first = vector(&[1.0; 100]);
    let (memory, _) = first.storage();
    let shape = first.dims();
    let mut pending = pending::Pending::of(first);
    for _ in 0..2 {
        let next = vector(&[2.0; 100]);
        pending.add(next, None, DType::F32).unwrap();
    }
    let sum = pending.finish(&shape, DType::F32).unwrap().unwrap();
    assert_eq!(sum.storage().0, memory);
    assert_eq!(sum.to_f32_vec().unwrap(), [5.0; 100]);
}
