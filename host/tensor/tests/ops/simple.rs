//! Operations on elements, reductions and shapes.

use tenon_tensor::{DType, Tensor};

use super::{
    case::Case,
    nd::{Nd, erf, sigmoid},
};

fn unary(
    name: &'static str,
    run: impl Fn(&Tensor) -> Result<Tensor, tenon_tensor::TensorError> + 'static,
    reference: impl Fn(f64) -> f64 + 'static,
) -> Case {
    Case::new(name, move |x| run(&x[0]), move |x| x[0].map(&reference))
}

pub fn elements() -> Vec<Case> {
    let shape = &[3, 5];
    let gelu_tanh = |x: f64| {
        0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
    };
    let gelu = |x: f64| 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2));
    let mut cases = vec![
        unary("neg", Tensor::neg, |x| -x).input(shape),
        unary("abs", Tensor::abs, f64::abs).input(shape),
        unary("sign", Tensor::sign, f64::signum).input(shape),
        unary("exp", Tensor::exp, f64::exp).input(shape),
        unary("log", Tensor::log, f64::ln).range(shape, 0.2, 3.0),
        unary("sqrt", Tensor::sqrt, f64::sqrt).range(shape, 0.2, 3.0),
        unary("rsqrt", Tensor::rsqrt, |x| 1.0 / x.sqrt()).range(shape, 0.2, 3.0),
        unary("sin", Tensor::sin, f64::sin).range(shape, -7.0, 7.0),
        unary("cos", Tensor::cos, f64::cos).range(shape, -7.0, 7.0),
        unary("tanh", Tensor::tanh, f64::tanh).input(shape),
        unary("sigmoid", Tensor::sigmoid, sigmoid).range(shape, -4.0, 4.0),
        unary("erf", Tensor::erf, erf).input(shape),
        unary("floor", Tensor::floor, f64::floor).range(shape, -4.0, 4.0),
        unary("relu", Tensor::relu, |x| x.max(0.0)).input(shape),
        unary("gelu tanh", |x| x.gelu(true), gelu_tanh).range(shape, -3.5, 3.5),
        unary("gelu exact", |x| x.gelu(false), gelu).range(shape, -3.5, 3.5),
        unary("silu", Tensor::silu, |x| x * sigmoid(x)).range(shape, -4.0, 4.0),
        unary(
            "clamp both",
            |x| x.clamp(Some(-0.5), Some(1.0)),
            |x| x.clamp(-0.5, 1.0),
        )
        .input(shape),
        unary("clamp low", |x| x.clamp(Some(-0.5), None), |x| x.max(-0.5)).input(shape),
        unary("clamp high", |x| x.clamp(None, Some(0.5)), |x| x.min(0.5)).input(shape),
        unary("add-scalar", |x| x.add_scalar(1.5), |x| x + 1.5).input(shape),
        unary("mul-scalar", |x| x.mul_scalar(-2.5), |x| x * -2.5).input(shape),
        unary("pow-scalar square", |x| x.pow_scalar(2.0), |x| x * x).input(shape),
        unary("pow-scalar cube", |x| x.pow_scalar(3.0), |x| x.powi(3)).input(shape),
        unary("pow-scalar inverse", |x| x.pow_scalar(-1.0), |x| 1.0 / x).range(shape, 0.5, 2.0),
        unary("pow-scalar root", |x| x.pow_scalar(0.3), |x| x.powf(0.3)).range(shape, 0.2, 3.0),
        unary("pow-scalar nothing", |x| x.pow_scalar(0.0), |_| 1.0).input(shape),
        unary("exp scalar", Tensor::exp, f64::exp).input(&[]),
        unary("alias", |x| Ok(x.clone()), |x| x).input(shape),
        unary(
            "cast there and back",
            |x| x.cast(DType::F32)?.cast(x.dtype()),
            |x| x,
        )
        .input(shape),
    ];
    type Binary = fn(&Tensor, &Tensor) -> Result<Tensor, tenon_tensor::TensorError>;
    type Expected = fn(f64, f64) -> f64;
    let binaries: [(&'static str, Binary, Expected); 6] = [
        ("add", Tensor::add, |a, b| a + b),
        ("sub", Tensor::sub, |a, b| a - b),
        ("mul", Tensor::mul, |a, b| a * b),
        ("div", Tensor::div, |a, b| a / b),
        ("maximum", Tensor::maximum, f64::max),
        ("minimum", Tensor::minimum, f64::min),
    ];
    let shapes: [[&[usize]; 2]; 9] = [
        [&[3, 5], &[3, 5]],
        [&[2, 3, 4], &[4]],
        [&[2, 3, 4], &[2, 3, 1]],
        [&[2, 1, 4], &[1, 3, 1]],
        [&[4], &[2, 3, 4]],
        [&[2, 3, 4], &[3, 1]],
        [&[2, 3], &[]],
        [&[], &[]],
        [&[1], &[2, 1]],
    ];
    for (name, run, reference) in binaries {
        for [a, b] in shapes {
            let case = Case::new(
                name,
                move |x| run(&x[0], &x[1]),
                move |x| x[0].zip(&x[1], reference),
            );
            // Away from 0, which is divided by.
            cases.push(case.input(a).range(b, 0.4, 2.0));
        }
    }
    cases.push(
        Case::new(
            "mul with itself",
            |x| x[0].mul(&x[0]),
            |x| x[0].map(|x| x * x),
        )
        .input(shape),
    );
    cases.push(
        Case::new(
            "silu-mul",
            |x| x[0].silu_mul(&x[1]),
            |x| x[0].zip(&x[1], |gate, up| gate * sigmoid(gate) * up),
        )
        .input(shape)
        .input(shape),
    );
    cases
}

pub fn choices() -> Vec<Case> {
    let mask = |shape: &[usize]| Nd::make(shape, |index| (index.iter().sum::<usize>() % 2) as f64);
    let boolean = |nd: &Nd, like: &Tensor| {
        let bytes: Vec<u8> = nd.data.iter().map(|x| *x as u8).collect();
        Tensor::from_bytes(&nd.shape, DType::Bool, &bytes, &like.device())
    };
    let mut cases = vec![];
    let shapes: [[&'static [usize]; 2]; 3] = [[&[3, 4], &[3, 4]], [&[3, 4], &[4]], [&[4], &[3, 4]]];
    for [x, m] in shapes {
        cases.push(
            Case::new(
                "masked-fill",
                move |x| x[0].masked_fill(&boolean(&mask(m), &x[0])?, -1.5),
                move |x| x[0].zip(&mask(m), |x, m| if m == 1.0 { -1.5 } else { x }),
            )
            .input(x),
        );
    }
    let shapes: [[&'static [usize]; 3]; 3] = [
        [&[3, 4], &[3, 4], &[3, 4]],
        [&[3, 1], &[4], &[]],
        [&[4], &[3, 1], &[2, 1, 1]],
    ];
    for [m, a, b] in shapes {
        cases.push(
            Case::new(
                "where",
                move |x| Tensor::where_(&boolean(&mask(m), &x[0])?, &x[0], &x[1]),
                move |x| {
                    let both = x[0].zip(&x[1], |_, _| 0.0);
                    let shape = both.zip(&mask(m), |_, _| 0.0).shape;
                    Nd::make(&shape, |i| {
                        if mask(m).at(i) == 1.0 {
                            x[0].at(i)
                        } else {
                            x[1].at(i)
                        }
                    })
                },
            )
            .input(a)
            .input(b),
        );
    }
    cases
}

/// Sums over several dimensions, as the definition has them.
fn sum_over(x: &Nd, dims: &[usize], keep: bool) -> Nd {
    let mut out = x.clone();
    for dim in dims {
        out = out.fold(*dim, true, |line| line.iter().sum());
    }
    if !keep {
        let kept = (0..x.shape.len()).filter(|dim| !dims.contains(dim));
        out.shape = kept.map(|dim| x.shape[dim]).collect();
    }
    out
}

pub fn reductions() -> Vec<Case> {
    let mut cases = vec![];
    let dims: [(&'static [i32], &'static [usize]); 7] = [
        (&[], &[0, 1, 2]),
        (&[0], &[0]),
        (&[1], &[1]),
        (&[-1], &[2]),
        (&[0, 1], &[0, 1]),
        (&[1, -1], &[1, 2]),
        (&[2, 0], &[0, 2]),
    ];
    for (given, meant) in dims {
        for keep in [true, false] {
            let shape = &[2, 3, 4];
            let count =
                move |x: &Nd| meant.iter().map(|dim| x.shape[*dim]).product::<usize>() as f64;
            cases.push(
                Case::new(
                    "sum",
                    move |x| x[0].sum(given, keep),
                    move |x| sum_over(&x[0], meant, keep),
                )
                .input(shape),
            );
            cases.push(
                Case::new(
                    "mean",
                    move |x| x[0].mean(given, keep),
                    move |x| sum_over(&x[0], meant, keep).map(|sum| sum / count(&x[0])),
                )
                .input(shape),
            );
            for correction in [0_u32, 1] {
                cases.push(
                    Case::new(
                        "variance",
                        move |x| x[0].variance(given, correction, keep),
                        move |x| {
                            let n = count(&x[0]);
                            let mean = sum_over(&x[0], meant, true).map(|sum| sum / n);
                            let squares = x[0].zip(&mean, |x, mean| (x - mean).powi(2));
                            let scale = n - f64::from(correction);
                            sum_over(&squares, meant, keep).map(|sum| sum / scale)
                        },
                    )
                    .input(shape),
                );
            }
        }
    }
    for (given, dim) in [(0, 0), (-2, 1), (2, 2)] {
        for keep in [true, false] {
            let shape = &[3, 4, 5];
            let largest = |line: &[f64]| line.iter().copied().fold(f64::MIN, f64::max);
            let smallest = |line: &[f64]| line.iter().copied().fold(f64::MAX, f64::min);
            let fold = move |f: fn(&[f64]) -> f64| move |x: &[Nd]| x[0].fold(dim, keep, f);
            cases
                .push(Case::new("max", move |x| x[0].max(given, keep), fold(largest)).input(shape));
            cases.push(
                Case::new("min", move |x| x[0].min(given, keep), fold(smallest)).input(shape),
            );
            let lse = |line: &[f64]| line.iter().map(|x| x.exp()).sum::<f64>().ln();
            cases.push(
                Case::new("logsumexp", move |x| x[0].logsumexp(given, keep), fold(lse))
                    .input(shape),
            );
        }
        cases.push(
            Case::new(
                "cumsum",
                move |x| x[0].cumsum(given),
                move |x| Nd::make(&x[0].shape, |i| x[0].line(i, dim)[..=i[dim]].iter().sum()),
            )
            .input(&[2, 3, 4]),
        );
        for k in [1, 3] {
            cases.push(
                Case::new(
                    "topk",
                    move |x| Ok(x[0].topk(k, given)?.0),
                    move |x| {
                        let mut shape = x[0].shape.clone();
                        shape[dim] = k;
                        Nd::make(&shape, |i| {
                            let mut line = x[0].line(i, dim);
                            line.sort_by(|a, b| b.total_cmp(a));
                            line[i[dim]]
                        })
                    },
                )
                .input(&[3, 4, 5]),
            );
        }
    }
    cases
}

pub fn shapes() -> Vec<Case> {
    let s = &[2, 3, 4];
    let at = |x: &Nd, i: &[usize]| x.at(i);
    vec![
        Case::new(
            "reshape",
            |x| x[0].reshape(&[4, -1]),
            |x| x[0].reshape(&[4, 6]),
        )
        .input(s),
        Case::new(
            "reshape flat",
            |x| x[0].reshape(&[24]),
            |x| x[0].reshape(&[24]),
        )
        .input(s),
        Case::new(
            "permute",
            |x| x[0].permute(&[2, 0, -2]),
            |x| x[0].permute(&[2, 0, 1]),
        )
        .input(s),
        Case::new(
            "transpose",
            |x| x[0].transpose(0, -1),
            |x| x[0].permute(&[2, 1, 0]),
        )
        .input(s),
        Case::new(
            "unsqueeze",
            |x| x[0].unsqueeze(-1),
            |x| x[0].reshape(&[2, 3, 4, 1]),
        )
        .input(s),
        Case::new(
            "unsqueeze front",
            |x| x[0].unsqueeze(0),
            |x| x[0].reshape(&[1, 2, 3, 4]),
        )
        .input(s),
        Case::new("squeeze", |x| x[0].squeeze(1), |x| x[0].reshape(&[2, 4])).input(&[2, 1, 4]),
        Case::new("squeeze nothing", |x| x[0].squeeze(0), |x| x[0].clone()).input(&[2, 1, 4]),
        Case::new(
            "expand",
            |x| x[0].expand(&[5, -1, 3, 4]),
            move |x| Nd::make(&[5, 2, 3, 4], |i| at(&x[0], &[i[1], 0, i[3]])),
        )
        .input(&[2, 1, 4]),
        Case::new(
            "narrow",
            |x| x[0].narrow(1, 1, 2),
            move |x| Nd::make(&[2, 2, 4], |i| at(&x[0], &[i[0], i[1] + 1, i[2]])),
        )
        .input(s),
        Case::new(
            "narrow last",
            |x| x[0].narrow(-1, 2, 2),
            move |x| Nd::make(&[2, 3, 2], |i| at(&x[0], &[i[0], i[1], i[2] + 2])),
        )
        .input(s),
        Case::new(
            "flip",
            |x| x[0].flip(&[0, -1]),
            move |x| Nd::make(&[2, 3, 4], |i| at(&x[0], &[1 - i[0], i[1], 3 - i[2]])),
        )
        .input(s),
        Case::new(
            "pad",
            |x| x[0].pad(&[(1, 0), (0, 2)], 0.5),
            move |x| {
                Nd::make(&[3, 5], |i| {
                    if i[0] >= 1 && i[1] < 3 {
                        at(&x[0], &[i[0] - 1, i[1]])
                    } else {
                        0.5
                    }
                })
            },
        )
        .input(&[2, 3]),
        Case::new(
            "tril",
            |x| x[0].tril(0),
            move |x| {
                Nd::make(
                    &[2, 3, 4],
                    |i| if i[2] <= i[1] { at(&x[0], i) } else { 0.0 },
                )
            },
        )
        .input(s),
        Case::new(
            "tril lower",
            |x| x[0].tril(-1),
            move |x| Nd::make(&[3, 3], |i| if i[1] < i[0] { at(&x[0], i) } else { 0.0 }),
        )
        .input(&[3, 3]),
        Case::new(
            "triu",
            |x| x[0].triu(1),
            move |x| Nd::make(&[2, 3, 4], |i| if i[2] > i[1] { at(&x[0], i) } else { 0.0 }),
        )
        .input(s),
        Case::new(
            "cat",
            |x| Tensor::cat(&[&x[0], &x[1], &x[0]], 1),
            move |x| {
                Nd::make(&[2, 8, 4], |i| match i[1] {
                    j @ 0..3 => at(&x[0], &[i[0], j, i[2]]),
                    j @ 3..5 => at(&x[1], &[i[0], j - 3, i[2]]),
                    j => at(&x[0], &[i[0], j - 5, i[2]]),
                })
            },
        )
        .input(s)
        .input(&[2, 2, 4]),
        Case::new(
            "stack",
            |x| Tensor::stack(&[&x[0], &x[1]], -1),
            move |x| Nd::make(&[2, 3, 2], |i| at(&x[i[2]], &i[..2])),
        )
        .input(&[2, 3])
        .input(&[2, 3]),
    ]
}
