//! Between element types.

use half::{bf16, f16};

use super::{par, simd::simd_fn};

macro_rules! convert {
    ($($(#[$meta:meta])* $name:ident: $from:ty => $to:ty = |$x:ident| $value:expr;)*) => {$(
        $(#[$meta])*
        pub fn $name(x: &[$from], out: &mut [$to]) {
            simd_fn! {
                fn kernel(x: &[$from], out: &mut [$to]) {
                    for (out, x) in out.iter_mut().zip(x) {
                        let $x = *x;
                        *out = $value;
                    }
                }
            }
            assert_eq!(x.len(), out.len());
            let grain = par::grain(x.len(), 1);
            par::chunks(out, grain, |at, out| kernel(&x[at..at + out.len()], out));
        }
    )*};
}

/// Rounds to nearest even; NaN stays NaN.
#[inline(always)]
fn to_bf16(x: f32) -> bf16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    bf16::from_bits(if x.is_nan() { quiet } else { rounded } as u16)
}

/// Rounds to nearest even, denormal results too.
#[inline(always)]
fn to_f16(x: f32) -> f16 {
    let bits = x.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7FFF_FFFF;
    // Results that are normal: rebias the exponent and round.
    let odd = (magnitude >> 13) & 1;
    let normal = magnitude.wrapping_add(0xC800_0FFF).wrapping_add(odd) >> 13;
    // Results that are denormal: let an addition shift and round. 0.5 has the exponent that puts
    // 2⁻²⁴ in the last bit.
    let denormal = (f32::from_bits(magnitude) + 0.5)
        .to_bits()
        .wrapping_sub(0x3F00_0000);
    let value = if magnitude < 0x3880_0000 {
        denormal
    } else {
        normal
    };
    let value = if magnitude >= 0x4780_0000 {
        0x7C00
    } else {
        value
    };
    let value = if magnitude > 0x7F80_0000 {
        0x7E00
    } else {
        value
    };
    f16::from_bits((sign | value) as u16)
}

#[inline(always)]
fn from_f16(x: f16) -> f32 {
    let bits = u32::from(x.to_bits());
    let magnitude = bits & 0x7FFF;
    // Multiplying by 2¹¹² rebiases the exponent and normalises what is denormal.
    let value = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000);
    let infinite = f32::from_bits((magnitude << 13) | 0x7F80_0000);
    let value = if magnitude >= 0x7C00 { infinite } else { value };
    f32::from_bits(value.to_bits() | ((bits & 0x8000) << 16))
}

convert! {
    /// Exact.
    bf16_to_f32: bf16 => f32 = |x| f32::from_bits(u32::from(x.to_bits()) << 16);
    /// To nearest even.
    f32_to_bf16: f32 => bf16 = |x| to_bf16(x);
    /// Exact.
    f16_to_f32: f16 => f32 = |x| from_f16(x);
    /// To nearest even; too large becomes infinite.
    f32_to_f16: f32 => f16 = |x| to_f16(x);
    /// Exact.
    u8_to_f32: u8 => f32 = |x| f32::from(x);
    /// To nearest even.
    i64_to_f32: i64 => f32 = |x| x as f32;
}
