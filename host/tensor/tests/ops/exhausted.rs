//! More memory than a device has.

use tenon_tensor::{DType, Device, Tensor, TensorError};

/// A tebibyte of numbers.
const SHAPE: [usize; 2] = [1 << 24, 1 << 14];

/// An error that says so, and a device that goes on.
pub fn exhausted(device: &Device) {
    let works = || {
        let x = Tensor::from_f32(&[3], &[1.0, 2.0, 3.0], device).unwrap();
        assert_eq!(x.add(&x).unwrap().to_f32_vec().unwrap(), [2.0, 4.0, 6.0]);
    };
    works();
    let corner = |x: Tensor| x.narrow(0, 0, 1)?.narrow(1, 0, 4)?.to_f32_vec();
    let filled = || corner(Tensor::ones(&SHAPE, DType::F32, device)?.add_scalar(1.0)?);
    let product = || {
        let column = Tensor::ones(&[SHAPE[0], 1], DType::F32, device)?;
        corner(column.matmul(&Tensor::ones(&[1, SHAPE[1]], DType::F32, device)?)?)
    };
    let attempts: [&dyn Fn() -> Result<Vec<f32>, TensorError>; 3] = [&filled, &filled, &product];
    for attempt in attempts {
        match attempt() {
            Err(TensorError::OutOfMemory(text)) => {
                assert!(text.contains("smaller batches"), "{text}");
            }
            other => panic!("{other:?}"),
        }
        works();
    }
}
