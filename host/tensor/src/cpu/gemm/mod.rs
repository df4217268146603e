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
mod table;
mod thin;

use super::par;
pub(super) use table::Table;

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
}

/// What a product can read: something with elements (i, j) that goes into panels.
pub(super) trait Operand: Copy + Sync {
    /// The operand from element (i, j) on.
    fn from(self, i: usize, j: usize) -> Self;

    /// Asserts that there are as many rows and columns, neither 0.
    fn check(&self, rows: usize, cols: usize);

    /// Writes a panel: out[p · W + i] = x[i, p] for `rows` ≤ W rows and `depth` columns. What is past
    /// `rows` is arbitrary but finite wherever x is.
    #[cfg(target_arch = "x86_64")]
    fn panel<const W: usize>(self, rows: usize, depth: usize, out: &mut [f32]);

    /// As [`Self::panel`] of the transposed operand.
    #[cfg(target_arch = "x86_64")]
    fn panel_t<const W: usize>(self, rows: usize, depth: usize, out: &mut [f32]);

    /// Runs `work` with a matrix of the same elements.
    fn as_matrix<R>(self, rows: usize, cols: usize, work: impl FnOnce(Matrix) -> R) -> R;
}

impl Operand for Matrix<'_> {
    fn from(self, i: usize, j: usize) -> Self {
        self.at(i, j)
    }

    fn check(&self, rows: usize, cols: usize) {
        let last = (rows - 1) * self.row_stride + (cols - 1) * self.col_stride;
        assert!(last < self.data.len());
    }

    #[cfg(target_arch = "x86_64")]
    fn panel<const W: usize>(self, rows: usize, depth: usize, out: &mut [f32]) {
        pack::panel::<W>(self, rows, depth, out);
    }

    #[cfg(target_arch = "x86_64")]
    fn panel_t<const W: usize>(self, rows: usize, depth: usize, out: &mut [f32]) {
        pack::panel::<W>(self.t(), rows, depth, out);
    }

    fn as_matrix<R>(self, _: usize, _: usize, work: impl FnOnce(Matrix) -> R) -> R {
        work(self)
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
struct Product<'a, A = Matrix<'a>, B = Matrix<'a>> {
    m: usize,
    n: usize,
    k: usize,
    alpha: f32,
    a: A,
    b: B,
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

/// As [`matmul`] for any operands, on this thread or `shared` between all; rows of c are `c_stride`
/// apart. Every operand is copied, so products with few rows are slower than [`matmul`].
#[allow(clippy::too_many_arguments)]
pub(super) fn general(
    m: usize,
    n: usize,
    k: usize,
    a: impl Operand,
    b: impl Operand,
    beta: f32,
    c: &mut [f32],
    c_stride: usize,
    shared: bool,
) {
    assert!(m > 0 && n > 0 && k > 0);
    assert!((m - 1) * c_stride + n <= c.len() && (m == 1 || c_stride >= n));
    a.check(m, k);
    b.check(k, n);
    let product = Product {
        m,
        n,
        k,
        alpha: 1.0,
        a,
        b,
        start: Start::Scaled(beta),
        c_stride,
    };
    blocked::run(&product, c, shared && m * n * k >= SHARED);
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
