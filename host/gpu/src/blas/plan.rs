//! A product in cuBLASLt's terms: its matrices are stored by columns.

use std::{ffi::c_void, ptr};

use cubecl::zspace::metadata::Metadata;
use cudarc::cublaslt::{
    result::{self as lt, CublasError},
    sys::{
        cublasComputeType_t, cublasLtEpilogue_t, cublasLtHandle_t, cublasLtMatmulAlgo_t,
        cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t as Of,
        cublasLtMatmulPreferenceAttributes_t as Preference, cublasLtMatrixLayout_t,
        cublasLtMatrixLayoutAttribute_t as Layout, cudaDataType, cudaStream_t,
    },
};

use super::library::WORKSPACE;

/// Matrices in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Matrix {
    /// How many.
    pub count: usize,
    pub rows: usize,
    pub cols: usize,
    /// Whether its columns lie together instead of its rows.
    by_columns: bool,
    /// Elements from one row (or column) to the next.
    lead: usize,
    /// Elements from one matrix to the next.
    between: usize,
}

impl Matrix {
    /// [rows, cols] or [count, rows, cols]; nothing if neither rows nor columns lie together.
    pub fn of(meta: &Metadata) -> Option<Self> {
        Self::new(meta.shape(), meta.strides())
    }

    fn new(shape: &[usize], strides: &[usize]) -> Option<Self> {
        let (count, between, shape, strides) = match (shape, strides) {
            ([rows, cols], [down, right]) => (1, 0, [*rows, *cols], [*down, *right]),
            ([count, rows, cols], [between, down, right]) => {
                (*count, *between, [*rows, *cols], [*down, *right])
            }
            _ => return None,
        };
        let ([rows, cols], [down, right]) = (shape, strides);
        // How the elements of a line lie, and how far apart lines are, if that is a line after another.
        let lead = |line: usize, step: usize, lines: usize, apart: usize| {
            let apart = if lines == 1 { line.max(1) } else { apart };
            ((step == 1 || line == 1) && apart >= line).then_some(apart)
        };
        let (by_columns, lead) = match lead(cols, right, rows, down) {
            Some(lead) => (false, lead),
            None => (true, lead(rows, down, cols, right)?),
        };
        Some(Self {
            count,
            rows,
            cols,
            by_columns,
            lead,
            between,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0 || self.rows == 0 || self.cols == 0
    }

    /// Its transpose as it is stored: by columns, what lies together first.
    fn stored(&self) -> (usize, usize) {
        if self.by_columns {
            (self.rows, self.cols)
        } else {
            (self.cols, self.rows)
        }
    }

    fn layout(&self, kind: cudaDataType) -> Result<MatrixLayout, CublasError> {
        let (together, lines) = self.stored();
        let layout = MatrixLayout(lt::create_matrix_layout(
            kind,
            together as u64,
            lines as u64,
            self.lead as i64,
        )?);
        if self.count > 1 {
            let (count, between) = (self.count as i32, self.between as i64);
            layout.set(Layout::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count)?;
            layout.set(
                Layout::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                &between,
            )?;
        }
        Ok(layout)
    }

    /// What is to be done to what is stored, for the transpose of this matrix: CUBLAS_OP_N or CUBLAS_OP_T.
    fn operation(&self) -> i32 {
        i32::from(self.by_columns)
    }
}

/// Problems that are remembered: batches of changing length make new ones all the time.
pub(super) const PROBLEMS: usize = 4096;

/// All that the choice of a kernel depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Problem {
    /// Of the operands, and of the result and the bias.
    kinds: [cudaDataType; 2],
    /// The operands, and the result.
    matrices: [Matrix; 3],
    /// Bytes that divide the addresses of these.
    pub alignments: [u32; 3],
    /// Whether a row of numbers is added to every row of the result.
    bias: bool,
}

impl Problem {
    pub fn new(
        kinds: [cudaDataType; 2],
        matrices: [Matrix; 3],
        alignments: [u32; 3],
        bias: bool,
    ) -> Self {
        Self {
            kinds,
            matrices,
            alignments,
            bias,
        }
    }
}

/// How a problem is solved. Stored by columns, the result is the transpose of what is asked for, and that is
/// the transpose of the right operand times that of the left.
pub(super) struct Plan {
    product: Product,
    lhs: MatrixLayout,
    rhs: MatrixLayout,
    out: MatrixLayout,
    algorithm: cublasLtMatmulAlgo_t,
}

impl Plan {
    pub fn of(
        handle: cublasLtHandle_t,
        problem: &Problem,
        bias: Option<u64>,
    ) -> Result<Self, CublasError> {
        // Sums are in float32 for all types, and products too for float32: as on other devices.
        let product = Product(lt::create_matmul_desc(
            cublasComputeType_t::CUBLAS_COMPUTE_32F,
            cudaDataType::CUDA_R_32F,
        )?);
        let [left, right, result] = &problem.matrices;
        product.set(Of::CUBLASLT_MATMUL_DESC_TRANSA, &right.operation())?;
        product.set(Of::CUBLASLT_MATMUL_DESC_TRANSB, &left.operation())?;
        if let Some(bias) = bias {
            // Stored by columns, a row of the result is a column, to which the bias is added.
            let epilogue = cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            product.set(Of::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
            product.set(Of::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &problem.kinds[1])?;
            product.set(Of::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
        }
        let lhs = left.layout(problem.kinds[0])?;
        let rhs = right.layout(problem.kinds[0])?;
        let out = result.layout(problem.kinds[1])?;
        let choice = Choice(lt::create_matmul_pref()?);
        choice.set(
            Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            &WORKSPACE,
        )?;
        let [left, right, result] = &problem.alignments;
        choice.set(
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            right,
        )?;
        choice.set(Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, left)?;
        choice.set(
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            result,
        )?;
        choice.set(
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
            result,
        )?;
        // SAFETY: all of these were made just now.
        let found = unsafe {
            lt::get_matmul_algo_heuristic(handle, product.0, rhs.0, lhs.0, out.0, out.0, choice.0)?
        };
        Ok(Self {
            product,
            lhs,
            rhs,
            out,
            algorithm: found.algo,
        })
    }

    /// # Safety
    /// The pointers must be to the problem's matrices (operands, then the result) and to its bias, where it has
    /// one, on the device whose context is current, the workspace of its size there, and the stream one of that
    /// context.
    pub unsafe fn launch(
        &self,
        handle: cublasLtHandle_t,
        [lhs, rhs, out]: [u64; 3],
        bias: Option<u64>,
        workspace: u64,
        stream: cudaStream_t,
    ) -> Result<(), CublasError> {
        if let Some(bias) = bias {
            self.product
                .set(Of::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
        }
        let (one, zero) = (1_f32, 0_f32);
        let address = |pointer: u64| pointer as *mut c_void;
        // SAFETY: the caller's promise; one and zero are read before this returns.
        unsafe {
            lt::matmul(
                handle,
                self.product.0,
                ptr::from_ref(&one).cast(),
                ptr::from_ref(&zero).cast(),
                address(rhs),
                self.rhs.0,
                address(lhs),
                self.lhs.0,
                address(out),
                self.out.0,
                address(out),
                self.out.0,
                &self.algorithm,
                address(workspace),
                WORKSPACE,
                stream,
            )
        }
    }
}

/// A description that the library keeps, with attributes.
macro_rules! described {
    ($name:ident($handle:ty), $attribute:ty, $set:path, $destroy:path) => {
        struct $name($handle);

        impl $name {
            fn set<T>(&self, attribute: $attribute, value: &T) -> Result<(), CublasError> {
                // SAFETY: the description lives as long as this, and the library copies the value.
                unsafe {
                    $set(
                        self.0,
                        attribute,
                        ptr::from_ref(value).cast(),
                        size_of::<T>(),
                    )
                }
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: it was made with this, and is destroyed once. It cannot fail otherwise.
                let _ = unsafe { $destroy(self.0) };
            }
        }
    };
}

use lt::{
    destroy_matmul_desc, destroy_matmul_pref, destroy_matrix_layout, set_matmul_desc_attribute,
    set_matmul_pref_attribute, set_matrix_layout_attribute,
};

described!(
    MatrixLayout(cublasLtMatrixLayout_t),
    Layout,
    set_matrix_layout_attribute,
    destroy_matrix_layout
);
described!(
    Product(cublasLtMatmulDesc_t),
    Of,
    set_matmul_desc_attribute,
    destroy_matmul_desc
);
described!(
    Choice(cudarc::cublaslt::sys::cublasLtMatmulPreference_t),
    Preference,
    set_matmul_pref_attribute,
    destroy_matmul_pref
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::Matrix;

    /// Where each element of matrices is, as the library reads what `layout` describes.
    fn places(matrix: &Matrix) -> Vec<usize> {
        let (together, lines) = matrix.stored();
        assert!(matrix.lead >= together);
        let place = |index, row, col| {
            let (i, j) = match matrix.operation() {
                0 => (col, row),
                _ => (row, col),
            };
            assert!(i < together && j < lines);
            index * matrix.between + i + j * matrix.lead
        };
        each(matrix.count, matrix.rows, matrix.cols, place)
    }

    fn each(
        count: usize,
        rows: usize,
        cols: usize,
        place: impl Fn(usize, usize, usize) -> usize,
    ) -> Vec<usize> {
        let all = (0..count * rows * cols).map(|n| (n / cols / rows, n / cols % rows, n % cols));
        all.map(|(index, row, col)| place(index, row, col))
            .collect()
    }

    #[test]
    fn elements_are_where_the_strides_say() {
        let cases: [([usize; 3], [usize; 3]); 15] = [
            ([1, 3, 4], [0, 4, 1]),
            ([1, 3, 4], [0, 7, 1]),
            ([1, 3, 4], [0, 1, 3]),
            ([1, 3, 4], [0, 1, 5]),
            ([1, 1, 4], [0, 9, 1]),
            ([1, 1, 4], [0, 1, 1]),
            ([1, 1, 4], [0, 1, 6]),
            ([1, 4, 1], [0, 1, 4]),
            ([1, 4, 1], [0, 1, 1]),
            ([1, 4, 1], [0, 3, 7]),
            ([1, 1, 1], [9, 5, 8]),
            ([2, 3, 4], [12, 4, 1]),
            ([2, 3, 4], [0, 4, 1]),
            ([2, 3, 4], [4, 8, 1]),
            ([2, 3, 4], [30, 1, 6]),
        ];
        for (shape, strides) in cases {
            let [count, rows, cols] = shape;
            let [between, down, right] = strides;
            let expected = each(count, rows, cols, |index, row, col| {
                index * between + row * down + col * right
            });
            let batched = Matrix::new(&shape, &strides).unwrap();
            assert_eq!(places(&batched), expected, "{shape:?} by {strides:?}");
            if count == 1 {
                let single = Matrix::new(&shape[1..], &strides[1..]).unwrap();
                assert_eq!(places(&single), expected, "{shape:?} by {strides:?}");
            }
        }
    }

    #[test]
    fn lines_that_do_not_lie_together_are_none() {
        for strides in [[8, 2], [0, 1], [1, 0], [2, 1]] {
            assert_eq!(Matrix::new(&[3, 4], &strides), None, "{strides:?}");
        }
    }
}
