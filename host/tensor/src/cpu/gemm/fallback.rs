//! Products on processors that have no kernel of ours.

use gemm::{Parallelism, gemm};

use super::{Matrix, Operand, Product, Start, begin};

/// Computes the product.
pub(super) fn run<A: Operand, B: Operand>(product: &Product<A, B>, c: &mut [f32], shared: bool) {
    let Product { m, n, k, .. } = *product;
    product.a.as_matrix(m, k, |a| {
        product
            .b
            .as_matrix(k, n, |b| dense(product, a, b, c, shared))
    });
}

fn dense<A: Operand, B: Operand>(
    p: &Product<A, B>,
    a: Matrix,
    b: Matrix,
    c: &mut [f32],
    shared: bool,
) {
    let beta = match p.start {
        Start::Scaled(beta) => beta,
        Start::Bias(_) => {
            for row in c.chunks_mut(p.c_stride).take(p.m) {
                begin(p.start, &mut row[..p.n]);
            }
            1.0
        }
    };
    let parallelism = if shared && rayon::current_num_threads() > 1 {
        Parallelism::Rayon(0)
    } else {
        Parallelism::None
    };
    // SAFETY: a `Product` was checked: the last element of each matrix lies in its slice and rows of
    // c do not overlap; strides are not negative.
    unsafe {
        gemm(
            p.m,
            p.n,
            p.k,
            c.as_mut_ptr(),
            1,
            p.c_stride as isize,
            beta != 0.0,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            beta,
            p.alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}
