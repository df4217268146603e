//! Matrix products.
//!
//! Operands are copied into panels that the innermost loop reads in order (`pack`), that loop keeps a
//! tile of the result in registers (`kernel`), and tiles are shared between threads (`blocked`).
//! Products with few rows, as in decoding, read their operands where they are (`thin`).

mod blocked;
mod fallback;
#[cfg(target_arch = "x86_64")]
mod kernel;
#[cfg(target_arch = "x86_64")]
mod pack;
mod thin;

use super::par;

/// A matrix in a slice: the element (i, j) is at i · `row_stride` + j · `col_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Any strides.
    pub fn new(data: &'a [f32], row_stride: usize, col_stride: usize) -> Self {
        Self {
            data,
            row_stride,
            col_stride,
        }
    }

    /// Row-major with `cols` columns.
    pub fn rows(data: &'a [f32], cols: usize) -> Self {
        Self::new(data, cols, 1)
    }

    /// The transposed matrix, over the same memory.
    pub fn t(self) -> Self {
        Self::new(self.data, self.col_stride, self.row_stride)
    }

    /// The matrix that starts `offset` elements later.
    fn skip(self, offset: usize) -> Self {
        Self::new(&self.data[offset..], self.row_stride, self.col_stride)
    }

    /// The matrix from element (i, j) on.
    fn at(self, i: usize, j: usize) -> Self {
        self.skip(i * self.row_stride + j * self.col_stride)
    }

    /// Asserts that the last element lies in the slice.
    fn check(&self, rows: usize, cols: usize) {
        let last = (rows - 1) * self.row_stride + (cols - 1) * self.col_stride;
        assert!(last < self.data.len());
    }
}

/// What the products are added to.
#[derive(Clone, Copy, Debug)]
enum Start<'a> {
    /// What c holds times this factor; c is not read for 0.
    Scaled(f32),
    /// One number for each column.
    Bias(&'a [f32]),
}

/// A checked product: c = alpha · a · b + start with rows of c `c_stride` apart. No size is 0.
#[derive(Clone, Copy, Debug)]
struct Product<'a> {
    m: usize,
    n: usize,
    k: usize,
    alpha: f32,
    a: Matrix<'a>,
    b: Matrix<'a>,
    start: Start<'a>,
    c_stride: usize,
}

/// Multiply-adds from which a product is shared between threads.
const SHARED: usize = 1 << 19;

/// c = a · b + beta · c for a [m, k], b [k, n] and c [m, n] row-major. With `beta` 0, c is only
/// written.
pub fn matmul(m: usize, n: usize, k: usize, a: Matrix, b: Matrix, beta: f32, c: &mut [f32]) {
    assert_eq!(c.len(), m * n);
    run(
        m,
        n,
        k,
        1.0,
        a,
        b,
        Start::Scaled(beta),
        c,
        n,
        m * n * k >= SHARED,
    );
}

/// c = a · b + bias for each row; otherwise as [`matmul`].
pub fn matmul_bias(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix,
    b: Matrix,
    bias: &[f32],
    c: &mut [f32],
) {
    assert_eq!(c.len(), m * n);
    run(
        m,
        n,
        k,
        1.0,
        a,
        b,
        Start::Bias(bias),
        c,
        n,
        m * n * k >= SHARED,
    );
}

/// `batch` products; those of a and b start `a_stride` and `b_stride` elements after each other (0
/// for one matrix that all share), those of c one after the other.
#[allow(clippy::too_many_arguments)]
pub fn matmul_batched(
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    (a, a_stride): (Matrix, usize),
    (b, b_stride): (Matrix, usize),
    beta: f32,
    c: &mut [f32],
) {
    assert_eq!(c.len(), batch * m * n);
    if c.is_empty() {
        return;
    }
    let start = Start::Scaled(beta);
    let each = |i: usize, c: &mut [f32], shared: bool| {
        let (a, b) = (a.skip(i * a_stride), b.skip(i * b_stride));
        run(m, n, k, 1.0, a, b, start, c, n, shared);
    };
    // Either the products are shared between threads, or each of them is.
    if batch < 2 * rayon::current_num_threads() && m * n * k >= SHARED {
        for (i, c) in c.chunks_exact_mut(m * n).enumerate() {
            each(i, c, true);
        }
        return;
    }
    let grain = (SHARED / (m * n * k).max(1)).max(1);
    par::chunks(c, grain * m * n, |at, c| {
        for (i, c) in c.chunks_exact_mut(m * n).enumerate() {
            each(at / (m * n) + i, c, false);
        }
    });
}

/// c = alpha · a · b + beta · c on this thread; rows of c are `c_stride` apart.
#[allow(clippy::too_many_arguments)]
pub(super) fn serial(
    m: usize,
    n: usize,
    k: usize,
    alpha: f32,
    a: Matrix,
    b: Matrix,
    beta: f32,
    c: &mut [f32],
    c_stride: usize,
) {
    run(
        m,
        n,
        k,
        alpha,
        a,
        b,
        Start::Scaled(beta),
        c,
        c_stride,
        false,
    );
}

/// Checks the operands and picks a way.
#[allow(clippy::too_many_arguments)]
fn run(
    m: usize,
    n: usize,
    k: usize,
    alpha: f32,
    a: Matrix,
    b: Matrix,
    start: Start,
    c: &mut [f32],
    c_stride: usize,
    shared: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * c_stride + n <= c.len() && (m == 1 || c_stride >= n));
    if let Start::Bias(bias) = start {
        assert_eq!(bias.len(), n);
    }
    if k == 0 {
        for row in c.chunks_mut(c_stride.max(1)).take(m) {
            begin(start, &mut row[..n]);
        }
        return;
    }
    a.check(m, k);
    b.check(k, n);
    let product = Product {
        m,
        n,
        k,
        alpha,
        a,
        b,
        start,
        c_stride,
    };
    if thin::suits(&product) {
        thin::run(&product, c, shared);
    } else {
        blocked::run(&product, c, shared);
    }
}

/// Sets a row of c to what products are added to.
fn begin(start: Start, row: &mut [f32]) {
    match start {
        Start::Scaled(0.0) => row.fill(0.0),
        Start::Scaled(1.0) => {}
        Start::Scaled(beta) => row.iter_mut().for_each(|c| *c *= beta),
        Start::Bias(bias) => row.copy_from_slice(bias),
    }
}
