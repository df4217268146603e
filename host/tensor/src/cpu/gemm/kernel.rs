//! The innermost loops: a tile of the result is summed up in registers.

use std::arch::x86_64::*;

/// Where a tile goes, and what it is added to.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub c: *mut f32,
    pub c_stride: usize,
    pub rows: usize,
    pub cols: usize,
    pub alpha: f32,
    pub start: TileStart,
}

/// As [`super::Start`], for one tile.
#[derive(Clone, Copy)]
pub(super) enum TileStart {
    Nothing,
    Scaled(f32),
    /// As many numbers as the tile has columns.
    Bias(*const f32),
}

/// Rows and columns of the largest tile for AVX-512: 24 of 32 registers.
pub(super) const V4: (usize, usize) = (12, 32);
/// Rows and columns of the largest tile for AVX2: 12 of 16 registers.
pub(super) const V3: (usize, usize) = (6, 16);

macro_rules! by_rows {
    ($rows:expr, $name:ident $arguments:tt: $($n:literal)*) => {
        match $rows {
            $($n => $name::<$n> $arguments,)*
            _ => debug_assert!(false, "a tile has too many rows"),
        }
    };
}

/// c = alpha · Σ a[p] ⊗ b[p] + start for panels a [depth, 12] and b [depth, 32].
///
/// # Safety
/// The panels have that many elements, the tile's elements can be written (and a bias read) by
/// nobody else meanwhile, and it has 1 to 12 rows and 1 to 32 columns.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn v4(depth: usize, a: *const f32, b: *const f32, tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { by_rows!(tile.rows, v4_rows(depth, a, b, tile): 1 2 3 4 5 6 7 8 9 10 11 12) }
}

#[target_feature(enable = "avx512f")]
unsafe fn v4_rows<const R: usize>(depth: usize, a: *const f32, b: *const f32, tile: &Tile) {
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    // SAFETY: reads depth · 12 and depth · 32 elements of the panels, which the caller promises.
    unsafe {
        for i in 0..R {
            _mm_prefetch::<_MM_HINT_T0>(tile.c.wrapping_add(i * tile.c_stride).cast());
            _mm_prefetch::<_MM_HINT_T0>(tile.c.wrapping_add(i * tile.c_stride + 16).cast());
        }
        let (mut a, mut b) = (a, b);
        for _ in 0..depth {
            let (b0, b1) = (_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16)));
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*a.add(i));
                sums[0] = _mm512_fmadd_ps(x, b0, sums[0]);
                sums[1] = _mm512_fmadd_ps(x, b1, sums[1]);
            }
            a = a.add(V4.0);
            b = b.add(V4.1);
        }
    }
    let mask = ((1_u64 << tile.cols) - 1) as u32;
    let masks = [mask as u16, (mask >> 16) as u16];
    let alpha = _mm512_set1_ps(tile.alpha);
    for (i, sums) in sums.into_iter().enumerate() {
        for (half, (sum, mask)) in sums.into_iter().zip(masks).enumerate() {
            let c = tile.c.wrapping_add(i * tile.c_stride + 16 * half);
            // SAFETY: the masks leave only elements of the tile and of its bias.
            unsafe {
                let value = match tile.start {
                    TileStart::Nothing => _mm512_mul_ps(alpha, sum),
                    TileStart::Scaled(beta) => {
                        let old = _mm512_maskz_loadu_ps(mask, c);
                        let old = _mm512_mul_ps(_mm512_set1_ps(beta), old);
                        _mm512_fmadd_ps(alpha, sum, old)
                    }
                    TileStart::Bias(bias) => {
                        let bias = _mm512_maskz_loadu_ps(mask, bias.wrapping_add(16 * half));
                        _mm512_fmadd_ps(alpha, sum, bias)
                    }
                };
                _mm512_mask_storeu_ps(c, mask, value);
            }
        }
    }
}

/// As [`v4`] for panels a [depth, 6] and b [depth, 16].
///
/// # Safety
/// As for [`v4`], with 1 to 6 rows and 1 to 16 columns.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn v3(depth: usize, a: *const f32, b: *const f32, tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { by_rows!(tile.rows, v3_rows(depth, a, b, tile): 1 2 3 4 5 6) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn v3_rows<const R: usize>(depth: usize, a: *const f32, b: *const f32, tile: &Tile) {
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    // SAFETY: reads depth · 6 and depth · 16 elements of the panels, which the caller promises.
    unsafe {
        let (mut a, mut b) = (a, b);
        for _ in 0..depth {
            let (b0, b1) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = _mm256_set1_ps(*a.add(i));
                sums[0] = _mm256_fmadd_ps(x, b0, sums[0]);
                sums[1] = _mm256_fmadd_ps(x, b1, sums[1]);
            }
            a = a.add(V3.0);
            b = b.add(V3.1);
        }
    }
    let mut values = [0.0_f32; V3.1];
    for (i, sums) in sums.into_iter().enumerate() {
        // SAFETY: `values` has 16 elements.
        unsafe {
            _mm256_storeu_ps(values.as_mut_ptr(), sums[0]);
            _mm256_storeu_ps(values.as_mut_ptr().add(8), sums[1]);
        }
        for (j, sum) in values[..tile.cols].iter().enumerate() {
            // SAFETY: (i, j) is an element of the tile, and j one of its bias.
            unsafe {
                let c = tile.c.add(i * tile.c_stride + j);
                *c = match tile.start {
                    TileStart::Nothing => tile.alpha * sum,
                    TileStart::Scaled(beta) => tile.alpha.mul_add(*sum, beta * *c),
                    TileStart::Bias(bias) => tile.alpha.mul_add(*sum, *bias.add(j)),
                };
            }
        }
    }
}
