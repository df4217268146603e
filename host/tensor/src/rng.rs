//! Random numbers that are a pure function of (key, index).
//!
//! There is no generator state: the n-th number of a key is the same on every device, for every
//! number of threads and in whatever order the numbers are asked for. That is what makes a resumed
//! job equal to one that was never stopped, and a parameter's initial value independent of the
//! order in which a recipe builds its layers.
//!
//! The function is SplitMix64 used as a counter: the output mixer of Stafford (variant 13) over
//! `key + (index + 1) · γ`. Keys should come from [`derive`] or [`derive_str`], which spread related
//! inputs (0, 1, 2, …) over all 64 bits.

use rayon::prelude::*;

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
/// Elements that one task fills: enough to hide the cost of a task, few enough to share the work.
const CHUNK: usize = 1 << 15;

/// The output function of SplitMix64.
#[inline(always)]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// 64 random bits.
#[inline(always)]
pub fn bits_at(key: u64, index: u64) -> u64 {
    mix(key.wrapping_add(index.wrapping_add(1).wrapping_mul(GAMMA)))
}

/// A uniform number in [0, 1), a multiple of 2⁻²⁴.
#[inline(always)]
pub fn uniform_at(key: u64, index: u64) -> f32 {
    (bits_at(key, index) >> 40) as f32 * (1.0 / (1u64 << 24) as f32)
}

/// A number of the standard normal distribution (Box–Muller in double precision).
#[inline]
pub fn normal_at(key: u64, index: u64) -> f32 {
    let bits = bits_at(key, index);
    // u in (0, 1] so that its logarithm is finite; both have 32 random bits.
    let u = ((bits >> 32) + 1) as f64 * (1.0 / 4_294_967_296.0);
    let v = (bits & 0xFFFF_FFFF) as f64 * (1.0 / 4_294_967_296.0);
    ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
}

/// A key for the part of a computation that `label` numbers (a step, an epoch, a row).
#[inline]
pub fn derive(key: u64, label: u64) -> u64 {
    // Mixed twice, so that derive(derive(k, a), b) differs from derive(derive(k, b), a) and from
    // bits_at of the same arguments.
    mix(mix(key ^ 0x7465_6E6F_6E2D_726E).wrapping_add(mix(label.wrapping_add(GAMMA))))
}

/// A key for the part of a computation that `label` names (a parameter, "shuffle", "dropout").
pub fn derive_str(key: u64, label: &str) -> u64 {
    // FNV-1a only gathers the bytes into 64 bits; `derive` does the mixing.
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for byte in label.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    derive(key, hash)
}

/// Fills `out` with the uniform numbers at 0, 1, 2, … of `key`.
pub fn fill_uniform(key: u64, out: &mut [f32]) {
    fill(out, |index| uniform_at(key, index));
}

/// Fills `out` with the normal numbers at 0, 1, 2, … of `key`.
pub fn fill_normal(key: u64, out: &mut [f32]) {
    fill(out, |index| normal_at(key, index));
}

fn fill(out: &mut [f32], at: impl Fn(u64) -> f32 + Sync) {
    out.par_chunks_mut(CHUNK)
        .enumerate()
        .for_each(|(chunk, values)| {
            let start = (chunk * CHUNK) as u64;
            for (offset, value) in values.iter_mut().enumerate() {
                *value = at(start + offset as u64);
            }
        });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The first outputs of SplitMix64 with seed 1234567, as published with the algorithm
    /// (Rosetta Code, "Pseudo-random numbers/Splitmix64").
    #[test]
    fn equals_the_published_sequence() {
        let expected = [
            6_457_827_717_110_365_317_u64,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        for (index, value) in expected.iter().enumerate() {
            assert_eq!(bits_at(1_234_567, index as u64), *value);
        }
    }

    #[test]
    fn uniform_has_the_right_moments_and_range() {
        let mut values = vec![0.0; 200_000];
        fill_uniform(derive(1, 2), &mut values);
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / 2e5;
        let square = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 2e5;
        assert!(values.iter().all(|v| (0.0..1.0).contains(v)));
        assert!((mean - 0.5).abs() < 3e-3, "{mean}");
        assert!((square - 1.0 / 3.0).abs() < 3e-3, "{square}");
    }

    #[test]
    fn normal_has_the_right_moments() {
        let mut values = vec![0.0; 200_000];
        fill_normal(derive_str(7, "h.0.attn.c_attn.weight"), &mut values);
        let moment = |n: i32| values.iter().map(|v| f64::from(*v).powi(n)).sum::<f64>() / 2e5;
        assert!(moment(1).abs() < 0.01);
        assert!((moment(2) - 1.0).abs() < 0.02);
        assert!(moment(3).abs() < 0.05);
        assert!((moment(4) - 3.0).abs() < 0.1);
    }

    #[test]
    fn filling_does_not_depend_on_the_number_of_threads() {
        let one = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let mut a = vec![0.0; 3 * CHUNK + 17];
        let mut b = a.clone();
        fill_normal(5, &mut a);
        one.install(|| fill_normal(5, &mut b));
        assert_eq!(a, b);
        assert_eq!(a[CHUNK + 3], normal_at(5, (CHUNK + 3) as u64));
    }

    #[test]
    fn related_keys_are_unrelated() {
        // Neighbouring labels and swapped orders must not share numbers.
        assert_ne!(derive(derive(1, 2), 3), derive(derive(1, 3), 2));
        assert_ne!(derive_str(1, "ab"), derive_str(1, "ba"));
        let (a, b) = (derive(9, 0), derive(9, 1));
        let n = 20_000;
        let correlation = (0..n)
            .map(|i| f64::from(uniform_at(a, i) - 0.5) * f64::from(uniform_at(b, i) - 0.5))
            .sum::<f64>()
            / n as f64
            * 12.0;
        assert!(correlation.abs() < 0.03, "{correlation}");
    }
}
