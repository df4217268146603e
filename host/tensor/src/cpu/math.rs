//! Elementary functions that vectorise: no branches, no table, no conversion between integers and
//! floats.

/// 1.5 · 2²³: adding it rounds a small float to an integer, which is then in the low bits.
const ROUND: f32 = 12_582_912.0;
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// eˣ; infinity from 88.73 on, zero below −87.33 (where the result would be denormal). NaN stays.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut p = 1.987_569_1e-4_f32;
    p = p.mul_add(r, 1.398_199_9e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 0.5);
    p = p.mul_add(r * r, r) + 1.0;
    // 2ⁿ is added to the exponent, so that n = 128 does not overflow on the way.
    let bits = p.to_bits().wrapping_add(shifted.to_bits() << 23);
    let y = f32::from_bits(bits);
    let y = if x > 88.722_83 { f32::INFINITY } else { y };
    let y = if x < -87.336_54 { 0.0 } else { y };
    if x.is_nan() { x } else { y }
}

/// eˣ for x ≤ 0 and not NaN: what a softmax needs.
#[inline(always)]
pub(super) fn exp_negative(x: f32) -> f32 {
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut p = 1.987_569_1e-4_f32;
    p = p.mul_add(r, 1.398_199_9e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 0.5);
    p = p.mul_add(r * r, r) + 1.0;
    let y = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    if x < -87.336_54 { 0.0 } else { y }
}

/// The natural logarithm; denormal numbers count as the smallest normal one.
#[inline(always)]
pub(super) fn log(x: f32) -> f32 {
    let tiny = f32::MIN_POSITIVE;
    let clamped = if x < tiny { tiny } else { x };
    // x = 2ᵉ · m with m in [√½, √2).
    let bits = clamped.to_bits().wrapping_sub(0x3F35_04F3);
    let m = f32::from_bits((bits & 0x007F_FFFF) + 0x3F35_04F3);
    let e = ((bits as i32) >> 23) as f32;
    let r = m - 1.0;
    let z = r * r;
    let mut p = 7.037_683_6e-2_f32;
    p = p.mul_add(r, -1.151_461e-1);
    p = p.mul_add(r, 1.167_699_9e-1);
    p = p.mul_add(r, -1.242_014_1e-1);
    p = p.mul_add(r, 1.424_932_3e-1);
    p = p.mul_add(r, -1.666_805_8e-1);
    p = p.mul_add(r, 2.000_071_5e-1);
    p = p.mul_add(r, -2.499_999_4e-1);
    p = p.mul_add(r, 3.333_333e-1);
    let mut y = p * r * z;
    y = e.mul_add(LN2_LOW, y);
    y = z.mul_add(-0.5, y);
    let y = e.mul_add(LN2_HIGH, r + y);
    let y = if x == f32::INFINITY { x } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x < 0.0 || x.is_nan() { f32::NAN } else { y }
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// tanh: a rational function of degree 13 over 6.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    const LIMIT: f32 = 7.998_811_7;
    let c = if x > LIMIT { LIMIT } else { x };
    let c = if c < -LIMIT { -LIMIT } else { c };
    let s = c * c;
    let mut p = -2.760_768_5e-16_f32;
    p = p.mul_add(s, 2.000_188e-13);
    p = p.mul_add(s, -8.604_672e-11);
    p = p.mul_add(s, 5.122_297e-8);
    p = p.mul_add(s, 1.485_722_4e-5);
    p = p.mul_add(s, 6.372_619_3e-4);
    p = p.mul_add(s, 4.893_524_6e-3);
    let mut q = 1.198_258_4e-6_f32;
    q = q.mul_add(s, 1.185_347_1e-4);
    q = q.mul_add(s, 2.268_434_6e-3);
    q = q.mul_add(s, 4.893_525_3e-3);
    let y = c * p / q;
    // Below, the quotient would lose bits that x itself has.
    if x.abs() < 4e-4 { x } else { y }
}

/// erf by two polynomials (N. Juffa), one unit in the last place.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let t = x.abs();
    let small = erf_small(x);
    let large = (1.0 - erfc_large(t)).copysign(x);
    if t > ERF_SPLIT { large } else { small }
}

const ERF_SPLIT: f32 = 0.927_734_4;

#[inline(always)]
fn erf_small(x: f32) -> f32 {
    let s = x * x;
    let mut r = -5.967_617e-4_f32;
    r = r.mul_add(s, 4.991_194_2e-3);
    r = r.mul_add(s, -2.676_813_5e-2);
    r = r.mul_add(s, 1.128_199_25e-1);
    r = r.mul_add(s, -3.761_253_4e-1);
    r = r.mul_add(s, 1.283_791_7e-1);
    r.mul_add(x, x)
}

/// 1 − erf(t) for t > 0.93.
#[inline(always)]
fn erfc_large(t: f32) -> f32 {
    // Past 10 the result is 0, and the polynomial would turn around.
    let t = if t > 10.0 { 10.0 } else { t };
    let s = t * t;
    let mut r = (-1.728_534_7e-5_f32).mul_add(t, 3.831_971_3e-4);
    let u = (-3.883_964_4e-3_f32).mul_add(t, 2.425_462_2e-2);
    r = r.mul_add(s, u);
    r = r.mul_add(t, -1.067_778_8e-1);
    r = r.mul_add(t, -6.348_467e-1);
    r = r.mul_add(t, -1.287_175_1e-1);
    r = r.mul_add(t, -t);
    exp_negative(r)
}

/// The normal distribution function. Unlike ½(1 + erf(x/√2)) it keeps its bits where it is small.
#[inline(always)]
pub(super) fn normal_cdf(x: f32) -> f32 {
    let z = x * std::f32::consts::FRAC_1_SQRT_2;
    let t = z.abs();
    let small = erf_small(z).mul_add(0.5, 0.5);
    let tail = 0.5 * erfc_large(t);
    let large = if x < 0.0 { tail } else { 1.0 - tail };
    let y = if t > ERF_SPLIT { large } else { small };
    if x.is_nan() { x } else { y }
}

/// √(2/π).
const GELU_SCALE: f32 = 0.797_884_6;
const GELU_CUBE: f32 = 0.044_715;

/// ½x(1 + tanh(√(2/π)(x + 0.044715x³))) = x · sigmoid(2·…).
#[inline(always)]
pub(super) fn gelu_tanh(x: f32) -> f32 {
    let inner = x * GELU_SCALE * (x * x).mul_add(GELU_CUBE, 1.0);
    x * sigmoid(2.0 * inner)
}

/// The derivative of [`gelu_tanh`].
#[inline(always)]
pub(super) fn gelu_tanh_slope(x: f32) -> f32 {
    let s = x * x;
    let inner = x * GELU_SCALE * s.mul_add(GELU_CUBE, 1.0);
    // Bounded so that e · y below is not ∞ · 0.
    let inner = if inner < -40.0 { -40.0 } else { inner };
    let e = exp(-2.0 * inner);
    let y = 1.0 / (1.0 + e);
    let slope = 2.0 * GELU_SCALE * s.mul_add(3.0 * GELU_CUBE, 1.0);
    // Past the bound, x² would be infinite before y is zero.
    let term = x * slope * (e * y) * y;
    let term = if x.abs() > 30.0 { 0.0 } else { term };
    y + term
}

/// x · Φ(x).
#[inline(always)]
pub(super) fn gelu_erf(x: f32) -> f32 {
    x * normal_cdf(x)
}

/// The derivative of [`gelu_erf`]: Φ(x) + x · φ(x).
#[inline(always)]
pub(super) fn gelu_erf_slope(x: f32) -> f32 {
    const DENSITY: f32 = 0.398_942_3;
    // Past the bound the density is 0, and x² would overflow.
    let c = if x > 14.0 { 14.0 } else { x };
    let c = if c < -14.0 { -14.0 } else { c };
    (c * DENSITY).mul_add(exp(-0.5 * c * c), normal_cdf(x))
}

/// The derivative of x · sigmoid(x).
#[inline(always)]
pub(super) fn silu_slope(x: f32) -> f32 {
    let y = sigmoid(x);
    // Far out y is exactly 0 or 1, and x may be infinite.
    let term = x * (1.0 - y);
    let term = if x.abs() > 100.0 { 0.0 } else { term };
    y * (1.0 + term)
}

/// Sine and cosine. The angle is reduced in double precision, so that large positions keep their
/// bits.
#[inline(always)]
pub(super) fn sin_cos(x: f64) -> (f32, f32) {
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let shifted = x.mul_add(std::f64::consts::FRAC_2_PI, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(
        -6.123_233_995_736_766e-17,
        n.mul_add(-std::f64::consts::FRAC_PI_2, x),
    ) as f32;
    let quadrant = shifted.to_bits() as u32;
    let z = r * r;
    let mut s = -1.951_529_6e-4_f32;
    s = s.mul_add(z, 8.332_161e-3);
    s = s.mul_add(z, -1.666_665_5e-1);
    let s = (s * z).mul_add(r, r);
    let mut c = 2.443_315_7e-5_f32;
    c = c.mul_add(z, -1.388_731_6e-3);
    c = c.mul_add(z, 4.166_664_6e-2);
    let c = (c * z).mul_add(z, z.mul_add(-0.5, 1.0));
    let (a, b) = if quadrant & 1 == 0 { (s, c) } else { (c, s) };
    let sign = |y: f32, flip: bool| if flip { -y } else { y };
    (
        sign(a, quadrant & 2 != 0),
        sign(b, quadrant.wrapping_add(1) & 2 != 0),
    )
}
