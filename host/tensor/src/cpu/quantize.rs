//! Weights in 8 or 4 bits a number, in blocks that share a scale.

use super::par;

/// Numbers that share a scale.
pub const BLOCK: usize = 64;

/// NormalFloat4 (Dettmers et al. 2023, "QLoRA", appendix E): quantiles of the normal distribution, with an
/// exact zero.
pub const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The largest magnitude of each block.
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, x| most.max(x.abs()))
}

/// Codes of 8 bits (128 is 0) and what one step of each block is.
pub fn to_int8(values: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let mut codes = Vec::with_capacity(values.len());
    let scales = values
        .chunks(BLOCK)
        .map(|block| {
            let step = largest(block) / 127.0;
            let per = if step > 0.0 { 1.0 / step } else { 0.0 };
            codes.extend(block.iter().map(|x| ((x * per).round() + 128.0) as u8));
            step
        })
        .collect();
    (codes, scales)
}

/// Codes of 4 bits, the first of two in the lower half, and the largest magnitude of each block.
pub fn to_nf4(values: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let mut codes = vec![0_u8; values.len().div_ceil(2)];
    let mut scales = Vec::with_capacity(values.len().div_ceil(BLOCK));
    // Between two neighbours the nearer one is taken.
    let between: Vec<f32> = NF4
        .windows(2)
        .map(|pair| 0.5 * (pair[0] + pair[1]))
        .collect();
    for (number, block) in values.chunks(BLOCK).enumerate() {
        let most = largest(block);
        let per = if most > 0.0 { 1.0 / most } else { 0.0 };
        for (at, x) in block.iter().enumerate() {
            let place = number * BLOCK + at;
            let code = between.partition_point(|border| *border < x * per) as u8;
            codes[place / 2] |= code << (4 * (place % 2));
        }
        scales.push(most);
    }
    (codes, scales)
}

/// The numbers that these codes stand for.
pub fn from_int8(codes: &[u8], scales: &[f32], out: &mut [f32]) {
    let chunk = par::grain(out.len(), 1).next_multiple_of(BLOCK);
    par::chunks(out, chunk, |start, out| {
        for (number, out) in out.chunks_mut(BLOCK).enumerate() {
            let first = start + number * BLOCK;
            let scale = scales[first / BLOCK];
            for (x, code) in out.iter_mut().zip(&codes[first..]) {
                *x = (f32::from(*code) - 128.0) * scale;
            }
        }
    });
}

/// The numbers that these codes stand for.
pub fn from_nf4(codes: &[u8], scales: &[f32], out: &mut [f32]) {
    let chunk = par::grain(out.len(), 2).next_multiple_of(BLOCK);
    par::chunks(out, chunk, |start, out| {
        for (number, out) in out.chunks_mut(BLOCK).enumerate() {
            let first = start + number * BLOCK;
            let scale = scales[first / BLOCK];
            let table = NF4.map(|value| value * scale);
            for (pair, code) in out.chunks_mut(2).zip(&codes[first / 2..]) {
                pair[0] = table[usize::from(code & 15)];
                if let Some(second) = pair.get_mut(1) {
                    *second = table[usize::from(code >> 4)];
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of several sizes, a block of zeros and a last block that is not full.
    fn values() -> Vec<f32> {
        let mut values: Vec<f32> = (0..64 * 40 + 13_u64)
            .map(|at| {
                let unit = (crate::rng::bits_at(3, at) >> 40) as f32 / (1 << 24) as f32;
                (unit - 0.5) * 10_f32.powi((at / 64 % 9) as i32 - 4)
            })
            .collect();
        values[64..128].fill(0.0);
        values
    }

    #[test]
    fn eight_bits_are_off_by_half_a_step() {
        let values = values();
        let (codes, scales) = to_int8(&values);
        let mut back = vec![f32::NAN; values.len()];
        from_int8(&codes, &scales, &mut back);
        for (at, (x, y)) in values.iter().zip(&back).enumerate() {
            assert!(
                (x - y).abs() <= 0.500_01 * scales[at / BLOCK],
                "{at}: {x} {y}"
            );
        }
        assert!(back[64..128].iter().all(|x| *x == 0.0));
    }

    #[test]
    fn four_bits_are_the_nearest_quantile() {
        let values = values();
        let (codes, scales) = to_nf4(&values);
        let mut back = vec![f32::NAN; values.len()];
        from_nf4(&codes, &scales, &mut back);
        for (at, (x, y)) in values.iter().zip(&back).enumerate() {
            let scale = scales[at / BLOCK];
            let nearest = NF4
                .iter()
                .map(|unit| (unit * scale - x).abs())
                .fold(f32::MAX, f32::min);
            assert!((x - y).abs() <= nearest + 1e-6 * scale, "{at}: {x} {y}");
        }
        // The largest of a block stays what it is.
        let first = values[..64]
            .iter()
            .fold(0.0_f32, |most, x| most.max(x.abs()));
        assert!(back[..64].iter().any(|x| x.abs() == first));
        assert_eq!(codes.len(), values.len().div_ceil(2));
    }
}
