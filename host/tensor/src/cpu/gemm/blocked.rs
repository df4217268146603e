//! Blocks of a product, and who computes them.

use super::{Operand, Product, fallback};
use crate::cpu::simd::{Level, level};

/// Computes the product, on several threads if it is `shared`.
pub(super) fn run<A: Operand, B: Operand>(product: &Product<A, B>, c: &mut [f32], shared: bool) {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::V4 => {
            packed::run::<{ super::kernel::V4.0 }, { super::kernel::V4.1 }, A, B>(
                product, c, shared,
            );
        }
        #[cfg(target_arch = "x86_64")]
        Level::V3 => {
            packed::run::<{ super::kernel::V3.0 }, { super::kernel::V3.1 }, A, B>(
                product, c, shared,
            );
        }
        Level::Base => fallback::run(product, c, shared),
    }
}

#[cfg(target_arch = "x86_64")]
mod packed {
    use std::cell::RefCell;

    use super::super::{
        Operand, Product, Start,
        kernel::{self, Tile, TileStart},
    };
    use crate::cpu::par;

    /// Products that are summed up in registers before they go to c: a panel of a then fits into the
    /// first-level cache next to what passes of b.
    const DEPTH: usize = 384;
    /// Elements of b that are packed at a time.
    const PACKED: usize = 1 << 23;
    /// Panels of a in a block, which stays in the second-level cache.
    const PANELS: usize = 8;
    /// Multiply-adds that are worth a task.
    const TASK: usize = 1 << 18;

    thread_local! {
        static BUFFERS: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
    }

    /// Runs `work` with a buffer of at least `len` elements that the thread keeps. Calls may nest:
    /// a thread that waits for others runs their tasks.
    fn with_buffer(which: usize, len: usize, work: impl FnOnce(&mut [f32])) {
        let mut buffer = BUFFERS.with(|buffers| std::mem::take(&mut buffers.borrow_mut()[which]));
        if buffer.len() < len {
            buffer.resize(len, 0.0);
        }
        work(&mut buffer[..len]);
        BUFFERS.with(|buffers| buffers.borrow_mut()[which] = buffer);
    }

    /// Where c is, for tasks that write different tiles of it.
    #[derive(Clone, Copy)]
    struct Output(*mut f32);

    // SAFETY: it is only a place; tasks write to different parts (see `run`).
    unsafe impl Send for Output {}
    // SAFETY: as above.
    unsafe impl Sync for Output {}

    impl Output {
        /// The element `offset` elements later.
        fn at(self, offset: usize) -> *mut f32 {
            self.0.wrapping_add(offset)
        }
    }

    pub(super) fn run<const MR: usize, const NR: usize, A: Operand, B: Operand>(
        product: &Product<A, B>,
        c: &mut [f32],
        shared: bool,
    ) {
        let columns = (PACKED / product.k).max(NR).next_multiple_of(NR);
        let output = Output(c.as_mut_ptr());
        for first in (0..product.n).step_by(columns) {
            let part = Product {
                n: columns.min(product.n - first),
                b: product.b.from(0, first),
                start: match product.start {
                    Start::Bias(bias) => Start::Bias(&bias[first..]),
                    start => start,
                },
                ..*product
            };
            let panels = part.n.div_ceil(NR);
            with_buffer(0, panels * NR * part.k, |packed| {
                pack_b::<NR, A, B>(&part, packed, shared);
                multiply::<MR, NR, A, B>(&part, packed, Output(output.at(first)), shared);
            });
        }
    }

    /// The ranges of k that are summed up in registers: as equal as they can be.
    fn depths(k: usize) -> impl Iterator<Item = std::ops::Range<usize>> + Clone {
        let depth = k.div_ceil(k.div_ceil(DEPTH));
        (0..k)
            .step_by(depth)
            .map(move |first| first..(first + depth).min(k))
    }

    /// For each range of k, the panels of b's columns.
    fn pack_b<const NR: usize, A: Operand, B: Operand>(
        part: &Product<A, B>,
        packed: &mut [f32],
        shared: bool,
    ) {
        let width = part.n.div_ceil(NR) * NR;
        for depth in depths(part.k) {
            let packed = &mut packed[depth.start * width..depth.end * width];
            let size = depth.len() * NR;
            let grain = if shared {
                par::grain(packed.len(), 1).div_ceil(size)
            } else {
                usize::MAX
            };
            par::chunks(packed, grain.saturating_mul(size), |at, packed| {
                for (i, packed) in packed.chunks_exact_mut(size).enumerate() {
                    let first = (at / size + i) * NR;
                    let columns = NR.min(part.n - first);
                    let b = part.b.from(depth.start, first);
                    b.panel_t::<NR>(columns, depth.len(), packed);
                }
            });
        }
    }

    /// Rows and columns of the blocks that tasks compute.
    fn block<const MR: usize, const NR: usize, A: Operand, B: Operand>(
        part: &Product<A, B>,
        shared: bool,
    ) -> (usize, usize) {
        let (mut rows, mut columns) = (PANELS * MR, part.n.next_multiple_of(NR));
        if !shared {
            return (rows, columns);
        }
        // Enough tasks that threads end together, of a size that is worth it.
        let wanted = (part.m * part.n * part.k / TASK).min(8 * rayon::current_num_threads());
        let tasks = |rows: usize, columns: usize| part.m.div_ceil(rows) * part.n.div_ceil(columns);
        while tasks(rows, columns) < wanted {
            if columns > 512 {
                columns = (columns / 2).next_multiple_of(NR);
            } else if rows > 4 * MR {
                rows = (rows / 2).next_multiple_of(MR);
            } else if columns > 4 * NR {
                columns = (columns / 2).next_multiple_of(NR);
            } else if rows > MR {
                rows = (rows / 2).next_multiple_of(MR);
            } else {
                break;
            }
        }
        (rows, columns)
    }

    fn multiply<const MR: usize, const NR: usize, A: Operand, B: Operand>(
        part: &Product<A, B>,
        packed: &[f32],
        output: Output,
        shared: bool,
    ) {
        let (rows, columns) = block::<MR, NR, A, B>(part, shared);
        let across = part.n.div_ceil(columns);
        let task = |at: usize| {
            let (row, column) = (at / across * rows, at % across * columns);
            let size = (rows.min(part.m - row), columns.min(part.n - column));
            one_block::<MR, NR, A, B>(part, packed, (row, column), size, output);
        };
        let tasks = part.m.div_ceil(rows) * across;
        if shared {
            par::tasks(tasks, task);
        } else {
            (0..tasks).for_each(task);
        }
    }

    /// Computes one block of c. Each element is summed in the order of k, wherever blocks begin.
    fn one_block<const MR: usize, const NR: usize, A: Operand, B: Operand>(
        part: &Product<A, B>,
        packed: &[f32],
        (row, column): (usize, usize),
        (rows, columns): (usize, usize),
        output: Output,
    ) {
        let width = part.n.div_ceil(NR) * NR;
        let panels = rows.div_ceil(MR);
        with_buffer(1, panels * MR * part.k.min(DEPTH), |a| {
            for depth in depths(part.k) {
                let size = depth.len() * MR;
                for (i, a) in a.chunks_exact_mut(size).take(panels).enumerate() {
                    let count = MR.min(rows - i * MR);
                    let x = part.a.from(row + i * MR, depth.start);
                    x.panel::<MR>(count, depth.len(), a);
                }
                for j in (0..columns).step_by(NR) {
                    let at = depth.start * width + (column + j) * depth.len();
                    let b = &packed[at..][..depth.len() * NR];
                    for (i, a) in a.chunks_exact(size).take(panels).enumerate() {
                        let tile = Tile {
                            c: output.at((row + i * MR) * part.c_stride + column + j),
                            c_stride: part.c_stride,
                            rows: MR.min(rows - i * MR),
                            cols: NR.min(columns - j),
                            alpha: part.alpha,
                            start: match part.start {
                                _ if depth.start > 0 => TileStart::Scaled(1.0),
                                Start::Scaled(0.0) => TileStart::Nothing,
                                Start::Scaled(beta) => TileStart::Scaled(beta),
                                Start::Bias(bias) => TileStart::Bias(bias[column + j..].as_ptr()),
                            },
                        };
                        // SAFETY: `run` was called for a level that has this kernel's
                        // instructions. The panels were packed for its tile; the tile lies within
                        // the rows and columns of c, which `Product` was checked for, and no other
                        // task has it. A bias has as many numbers as c columns.
                        unsafe {
                            match MR {
                                12 => kernel::v4(depth.len(), a.as_ptr(), b.as_ptr(), &tile),
                                _ => kernel::v3(depth.len(), a.as_ptr(), b.as_ptr(), &tile),
                            }
                        }
                    }
                }
            }
        });
    }
}
