//! The stored form of chunks and roll-ups.
//!
//! A chunk: version byte, u32 count, the steps and then the times as zigzag variable-length
//! differences, then the values as little-endian f64. Regular steps and times cost a byte or two.

use super::{Bucket, Point};

const VERSION: u8 = 1;

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut bits = ((value << 1) ^ (value >> 63)) as u64;
    while bits >= 0x80 {
        out.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    out.push(bits as u8);
}

#[inline]
fn take_varint(bytes: &mut &[u8]) -> Option<i64> {
    let (&first, rest) = bytes.split_first()?;
    *bytes = rest;
    let mut bits = u64::from(first & 0x7f);
    // Nearly every difference fits in one byte.
    if first >= 0x80 {
        let mut shift = 7;
        loop {
            let (&byte, rest) = bytes.split_first()?;
            *bytes = rest;
            bits |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                break;
            }
            shift += 7;
        }
    }
    Some((bits >> 1) as i64 ^ -((bits & 1) as i64))
}

pub fn encode(points: &[Point]) -> Vec<u8> {
    let mut out = Vec::with_capacity(5 + points.len() * 11);
    out.push(VERSION);
    out.extend_from_slice(&(points.len() as u32).to_le_bytes());
    for of in [|p: &Point| p.step, |p: &Point| p.time_ms] {
        let mut before = 0_i64;
        for point in points {
            let value = of(point);
            put_varint(&mut out, value.wrapping_sub(before));
            before = value;
        }
    }
    for point in points {
        out.extend_from_slice(&point.value.to_le_bytes());
    }
    out
}

/// Appends the points of a chunk to `out`. `None`: damaged, and nothing was appended.
pub fn decode(bytes: &[u8], out: &mut Vec<Point>) -> Option<()> {
    let (&[version, a, b, c, d], mut rest) = bytes.split_first_chunk::<5>()?;
    let count = u32::from_le_bytes([a, b, c, d]) as usize;
    // Each point takes at least ten bytes: a wrong count must not reserve memory.
    if version != VERSION || rest.len() / 10 < count {
        return None;
    }
    let start = out.len();
    out.reserve(count);
    let filled = fill(&mut rest, count, out);
    if filled.is_none() {
        out.truncate(start);
    }
    filled
}

fn fill(rest: &mut &[u8], count: usize, out: &mut Vec<Point>) -> Option<()> {
    let start = out.len();
    let mut before = 0_i64;
    for _ in 0..count {
        before = before.wrapping_add(take_varint(rest)?);
        out.push(Point {
            step: before,
            time_ms: 0,
            value: 0.0,
        });
    }
    before = 0;
    for point in &mut out[start..] {
        before = before.wrapping_add(take_varint(rest)?);
        point.time_ms = before;
    }
    let (values, left) = rest.as_chunks::<8>();
    if values.len() != count || !left.is_empty() {
        return None;
    }
    for (point, value) in out[start..].iter_mut().zip(values) {
        point.value = f64::from_le_bytes(*value);
    }
    Some(())
}

/// What is known of a chunk without reading its points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rollup {
    pub count: u64,
    pub first_step: i64,
    pub last_step: i64,
    /// Smallest and largest step: they need not be in order.
    pub min_step: i64,
    pub max_step: i64,
    pub min: f64,
    pub max: f64,
    /// Sum of the points that are not NaN.
    pub sum: f64,
    pub nans: u64,
    pub last: f64,
}

const ROLLUP_BYTES: usize = 1 + 10 * 8;

impl Rollup {
    /// Of at least one point.
    pub fn of(points: &[Point]) -> Option<Self> {
        let (first, last) = (points.first()?, points.last()?);
        let mut out = Self {
            count: points.len() as u64,
            first_step: first.step,
            last_step: last.step,
            min_step: first.step,
            max_step: first.step,
            min: f64::NAN,
            max: f64::NAN,
            sum: 0.0,
            nans: 0,
            last: last.value,
        };
        for point in points {
            out.min_step = out.min_step.min(point.step);
            out.max_step = out.max_step.max(point.step);
            if point.value.is_nan() {
                out.nans += 1;
            } else {
                out.min = out.min.min(point.value);
                out.max = out.max.max(point.value);
                out.sum += point.value;
            }
        }
        Some(out)
    }

    /// This and what follows it.
    pub fn join(&mut self, next: &Self) {
        self.count += next.count;
        self.last_step = next.last_step;
        self.min_step = self.min_step.min(next.min_step);
        self.max_step = self.max_step.max(next.max_step);
        self.min = self.min.min(next.min);
        self.max = self.max.max(next.max);
        self.sum += next.sum;
        self.nans += next.nans;
        self.last = next.last;
    }

    pub fn bucket(&self) -> Bucket {
        let numbers = self.count - self.nans;
        Bucket {
            first_step: self.first_step,
            last_step: self.last_step,
            count: self.count,
            min: self.min,
            max: self.max,
            mean: if numbers == 0 {
                f64::NAN
            } else {
                self.sum / numbers as f64
            },
            nans: self.nans,
            last: self.last,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ROLLUP_BYTES);
        out.push(VERSION);
        for word in [
            self.count,
            self.first_step as u64,
            self.last_step as u64,
            self.min_step as u64,
            self.max_step as u64,
            self.min.to_bits(),
            self.max.to_bits(),
            self.sum.to_bits(),
            self.nans,
            self.last.to_bits(),
        ] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        let (words, left) = rest.as_chunks::<8>();
        if version != VERSION || bytes.len() != ROLLUP_BYTES || !left.is_empty() {
            return None;
        }
        let word = |i: usize| words.get(i).map(|word| u64::from_le_bytes(*word));
        let float = |i| word(i).map(f64::from_bits);
        let out = Self {
            count: word(0)?,
            first_step: word(1)? as i64,
            last_step: word(2)? as i64,
            min_step: word(3)? as i64,
            max_step: word(4)? as i64,
            min: float(5)?,
            max: float(6)?,
            sum: float(7)?,
            nans: word(8)?,
            last: float(9)?,
        };
        (out.nans <= out.count).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn point(step: i64, time_ms: i64, value: f64) -> Point {
        Point {
            step,
            time_ms,
            value,
        }
    }

    #[test]
    fn points_survive_the_trip_even_at_the_limits() {
        let points = vec![
            point(0, 1_700_000_000_000, 1.5),
            point(i64::MAX, -1, f64::INFINITY),
            point(i64::MIN, i64::MAX, f64::MIN_POSITIVE),
            point(7, i64::MIN, -0.0),
        ];
        let bytes = encode(&points);
        let mut back = vec![];
        decode(&bytes, &mut back).unwrap();
        assert_eq!(back, points);
        assert!(back[3].value.is_sign_negative());
        let mut nan = vec![];
        decode(&encode(&[point(1, 2, f64::NAN)]), &mut nan).unwrap();
        assert!(nan[0].value.is_nan());
    }

    #[test]
    fn a_regular_chunk_takes_under_eleven_bytes_a_point() {
        let points: Vec<_> = (0..1000)
            .map(|i| point(i, 1_700_000_000_000 + i * 20, i as f64))
            .collect();
        assert!(encode(&points).len() < 11_000);
    }

    #[test]
    fn every_truncation_is_noticed() {
        let bytes = encode(&[point(3, 4, 5.0), point(300, 70_000, 6.0)]);
        for end in 0..bytes.len() {
            let mut out = vec![point(1, 1, 1.0)];
            assert!(decode(&bytes[..end], &mut out).is_none(), "{end}");
            assert_eq!(out.len(), 1, "nothing is appended");
        }
        let mut huge = bytes.clone();
        huge[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode(&huge, &mut vec![]).is_none());
    }

    #[test]
    fn roll_ups_join_like_their_points() {
        let points: Vec<_> = (0..10)
            .map(|i| point(10 - i, i, if i == 4 { f64::NAN } else { i as f64 }))
            .collect();
        let whole = Rollup::of(&points).unwrap();
        let mut parts = Rollup::of(&points[..4]).unwrap();
        parts.join(&Rollup::of(&points[4..]).unwrap());
        assert_eq!(parts, whole);
        assert_eq!(Rollup::decode(&whole.encode()), Some(whole));
        assert_eq!(Rollup::decode(&whole.encode()[..40]), None);
        let bucket = whole.bucket();
        assert_eq!((bucket.min, bucket.max, bucket.nans), (0.0, 9.0, 1));
        // 0+1+2+3+5+6+7+8+9 = 41 over nine numbers.
        assert!((bucket.mean - 41.0 / 9.0).abs() < 1e-12);
        assert_eq!((whole.min_step, whole.max_step), (1, 10));
    }
}
