//! One source, several instruction sets.

/// What this processor can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// The target's baseline.
    Base,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    V3,
    /// AVX-512 F, BW, CD, DQ, VL.
    #[cfg(target_arch = "x86_64")]
    V4,
}

/// The best level of this processor, found once.
#[inline]
pub(super) fn level() -> Level {
    use std::sync::OnceLock;
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(detect)
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let v3 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("lzcnt");
    let v4 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512cd")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (v3, v4) {
        (true, true) => Level::V4,
        (true, false) => Level::V3,
        _ => Level::Base,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Base
}

/// Defines a function whose body is compiled for each [`Level`]; a call picks the best one. The
/// body should be plain loops that the compiler vectorises, and what it calls `#[inline(always)]`.
macro_rules! simd_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<const $c:ident: $ct:ty>)?
     ($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[inline]
        #[allow(clippy::too_many_arguments)]
        $vis fn $name $(<const $c: $ct>)? ($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body $(<const $c: $ct>)? ($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(
                    enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,f16c,lzcnt"
                )]
                #[allow(clippy::too_many_arguments)]
                fn v4 $(<const $c: $ct>)? ($($arg: $ty),*) $(-> $ret)? {
                    body $(::<$c>)? ($($arg),*)
                }
                #[target_feature(enable = "avx2,fma,bmi1,bmi2,f16c,lzcnt")]
                #[allow(clippy::too_many_arguments)]
                fn v3 $(<const $c: $ct>)? ($($arg: $ty),*) $(-> $ret)? {
                    body $(::<$c>)? ($($arg),*)
                }
                match $crate::cpu::simd::level() {
                    // SAFETY: `level` found every feature that `v4` is compiled for.
                    $crate::cpu::simd::Level::V4 => return unsafe { v4 $(::<$c>)? ($($arg),*) },
                    // SAFETY: `level` found every feature that `v3` is compiled for.
                    $crate::cpu::simd::Level::V3 => return unsafe { v3 $(::<$c>)? ($($arg),*) },
                    $crate::cpu::simd::Level::Base => {}
                }
            }
            body $(::<$c>)? ($($arg),*)
        }
    };
}
pub(super) use simd_fn;

/// Lanes of a reduction: the same number for every instruction set, so that all sum in one order.
/// Two AVX-512 registers hide the latency of an addition.
pub(super) const LANES: usize = 32;

/// The sum of the lanes, in a fixed order.
#[inline(always)]
pub(super) fn fold_sum(lanes: &[f32; LANES]) -> f32 {
    let mut lanes = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The largest of the lanes.
#[inline(always)]
pub(super) fn fold_max(lanes: &[f32; LANES]) -> f32 {
    let mut lanes = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = larger(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// The larger number; one comparison and one choice, unlike `f32::max`. NaN in `a` is lost.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Adds `each(x)` over a slice.
#[inline(always)]
pub(super) fn sum_of(x: &[f32], each: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += each(chunk[i]);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(tail) {
        *lane += each(*x);
    }
    fold_sum(&lanes)
}

/// Adds `each(a, b)` over two slices of one length.
#[inline(always)]
pub(super) fn sum_of2(a: &[f32], b: &[f32], each: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a_chunks, a_tail) = a.as_chunks::<LANES>();
    let (b_chunks, b_tail) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] = each(lanes[i], a[i], b[i]);
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a_tail.iter().zip(b_tail)) {
        *lane = each(*lane, *a, *b);
    }
    fold_sum(&lanes)
}

/// The dot product.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_of2(a, b, |sum, a, b| a.mul_add(b, sum))
}

/// The largest element; negative infinity for none. NaN where there is one is not promised.
#[inline(always)]
pub(super) fn max_of(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = larger(chunk[i], lanes[i]);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(tail) {
        *lane = larger(*x, *lane);
    }
    fold_max(&lanes)
}
