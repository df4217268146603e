//! Arrays of doubles, written for clarity: what the operations are compared with.

/// A row-major array.
#[derive(Clone, Debug)]
pub struct Nd {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

/// All index tuples of a shape, row-major.
pub fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for dim in shape {
        all = all
            .into_iter()
            .flat_map(|index: Vec<usize>| {
                (0..*dim).map(move |i| index.iter().copied().chain([i]).collect())
            })
            .collect();
    }
    all
}

impl Nd {
    pub fn make(shape: &[usize], f: impl Fn(&[usize]) -> f64) -> Self {
        Self {
            shape: shape.to_vec(),
            data: indices(shape).iter().map(|index| f(index)).collect(),
        }
    }

    pub fn scalar(value: f64) -> Self {
        Self {
            shape: vec![],
            data: vec![value],
        }
    }

    /// The element at `index`; dimensions of size 1 take any index, and leading ones are skipped.
    pub fn at(&self, index: &[usize]) -> f64 {
        let skip = index.len() - self.shape.len();
        let mut offset = 0;
        for (dim, i) in self.shape.iter().zip(&index[skip..]) {
            offset = offset * dim + if *dim == 1 { 0 } else { *i };
        }
        self.data[offset]
    }

    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self {
            shape: self.shape.clone(),
            data: self.data.iter().map(|x| f(*x)).collect(),
        }
    }

    pub fn zip(&self, other: &Nd, f: impl Fn(f64, f64) -> f64) -> Self {
        let rank = self.shape.len().max(other.shape.len());
        let dim = |nd: &Nd, i: usize| {
            let skip = rank - nd.shape.len();
            if i < skip { 1 } else { nd.shape[i - skip] }
        };
        let shape: Vec<usize> = (0..rank).map(|i| dim(self, i).max(dim(other, i))).collect();
        Self::make(&shape, |index| f(self.at(index), other.at(index)))
    }

    /// Brings the elements along one dimension together.
    pub fn fold(&self, dim: usize, keep: bool, f: impl Fn(&[f64]) -> f64) -> Self {
        let mut shape = self.shape.clone();
        shape[dim] = 1;
        let mut out = Self::make(&shape, |index| f(&self.line(index, dim)));
        if !keep {
            out.shape.remove(dim);
        }
        out
    }

    /// The elements along one dimension.
    pub fn line(&self, index: &[usize], dim: usize) -> Vec<f64> {
        let mut index = index.to_vec();
        (0..self.shape[dim])
            .map(|i| {
                index[dim] = i;
                self.at(&index)
            })
            .collect()
    }

    pub fn reshape(&self, shape: &[usize]) -> Self {
        Self {
            shape: shape.to_vec(),
            data: self.data.clone(),
        }
    }

    /// Dimension i of the result is dimension axes[i].
    pub fn permute(&self, axes: &[usize]) -> Self {
        let shape: Vec<usize> = axes.iter().map(|axis| self.shape[*axis]).collect();
        Self::make(&shape, |index| {
            let mut from = vec![0; axes.len()];
            for (i, axis) in index.iter().zip(axes) {
                from[*axis] = *i;
            }
            self.at(&from)
        })
    }

    pub fn matmul(&self, other: &Nd) -> Self {
        let (a, b) = (&self.shape, &other.shape);
        let (m, k, n) = (a[a.len() - 2], a[a.len() - 1], b[b.len() - 1]);
        let lead = |shape: &[usize]| Nd::make(&shape[..shape.len() - 2], |_| 0.0);
        let mut shape = lead(a).zip(&lead(b), |_, _| 0.0).shape;
        shape.extend([m, n]);
        Self::make(&shape, |index| {
            let (row, col) = (index[index.len() - 2], index[index.len() - 1]);
            let with = |x: usize, y: usize| {
                let mut full = index.to_vec();
                let at = full.len() - 2;
                (full[at], full[at + 1]) = (x, y);
                full
            };
            (0..k)
                .map(|i| self.at(&with(row, i)) * other.at(&with(i, col)))
                .sum()
        })
    }

    pub fn sum(&self) -> Self {
        Self::scalar(self.data.iter().sum())
    }

    pub fn softmax(&self, dim: usize) -> Self {
        let top = self.fold(dim, true, |x| x.iter().copied().fold(f64::MIN, f64::max));
        let e = self.zip(&top, |x, top| (x - top).exp());
        let total = e.fold(dim, true, |x| x.iter().sum());
        e.zip(&total, |e, total| e / total)
    }
}

/// The error function by its series; exact enough for |x| < 4.
pub fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..120 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// A number in [-1, 1) that follows from a seed and an index.
pub fn noise(seed: u64, index: usize) -> f64 {
    let mut z = (seed << 32 | index as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}
