//! Products, normalisation, losses, convolutions and the other coarse operations.

use tenon_tensor::{ConvOptions, PoolOptions, Reduction, RotaryStyle, Tensor};

use super::{
    case::Case,
    nd::{Nd, sigmoid},
};

fn ids(shape: &[usize], values: &[i64], like: &Tensor) -> Tensor {
    Tensor::from_i64(shape, values, &like.device()).unwrap()
}

pub fn indexing() -> Vec<Case> {
    let mut cases = vec![
        Case::new(
            "index-select",
            |x| x[0].index_select(1, &ids(&[4], &[2, 0, 2, 1], &x[0])),
            |x| Nd::make(&[2, 4, 4], |i| x[0].at(&[i[0], [2, 0, 2, 1][i[1]], i[2]])),
        )
        .input(&[2, 3, 4]),
        Case::new(
            "index-select last",
            |x| x[0].index_select(-1, &ids(&[2], &[1, 1], &x[0])),
            |x| Nd::make(&[2, 2], |i| x[0].at(&[i[0], 1])),
        )
        .input(&[2, 3]),
        Case::new(
            "embedding",
            |x| x[0].embedding(&ids(&[2, 3], &[4, 0, 1, 4, 4, 2], &x[0])),
            |x| {
                Nd::make(&[2, 3, 3], |i| {
                    x[0].at(&[[4, 0, 1, 4, 4, 2][i[0] * 3 + i[1]], i[2]])
                })
            },
        )
        .input(&[5, 3]),
    ];
    const AT: [i64; 6] = [1, 0, 2, 2, 1, 0];
    cases.push(
        Case::new(
            "gather",
            |x| x[0].gather(1, &ids(&[2, 3], &AT, &x[0])),
            |x| Nd::make(&[2, 3], |i| x[0].at(&[i[0], AT[i[0] * 3 + i[1]] as usize])),
        )
        .input(&[2, 4]),
    );
    cases.push(
        Case::new(
            "gather smaller index",
            |x| x[0].gather(0, &ids(&[3, 2], &AT, &x[0])),
            |x| Nd::make(&[3, 2], |i| x[0].at(&[AT[i[0] * 2 + i[1]] as usize, i[1]])),
        )
        .input(&[3, 4]),
    );
    let scatter = |x: &Nd, source: &Nd, index_shape: [usize; 2]| {
        let mut out = x.clone();
        for (n, i) in super::nd::indices(&index_shape).iter().enumerate() {
            out.data[AT[n] as usize * x.shape[1] + i[1]] += source.at(i);
        }
        out
    };
    cases.push(
        Case::new(
            "scatter-add",
            |x| x[0].scatter_add(0, &ids(&[3, 2], &AT, &x[0]), &x[1]),
            move |x| scatter(&x[0], &x[1], [3, 2]),
        )
        .input(&[4, 2])
        .input(&[3, 2]),
    );
    cases.push(
        Case::new(
            "scatter-add smaller index",
            |x| x[0].scatter_add(0, &ids(&[3, 2], &AT, &x[0]), &x[1]),
            move |x| scatter(&x[0], &x[1], [3, 2]),
        )
        .input(&[4, 3])
        .input(&[5, 4]),
    );
    cases
}

pub fn products() -> Vec<Case> {
    let shapes: [[&[usize]; 2]; 7] = [
        [&[3, 4], &[4, 5]],
        [&[2, 3, 4], &[2, 4, 5]],
        [&[2, 3, 4], &[4, 5]],
        [&[3, 4], &[2, 4, 5]],
        [&[2, 1, 3, 4], &[3, 4, 2]],
        [&[2, 2, 3, 4], &[1, 1, 4, 2]],
        [&[1, 1], &[1, 1]],
    ];
    let mut cases: Vec<Case> = shapes
        .into_iter()
        .map(|[a, b]| {
            Case::new("matmul", |x| x[0].matmul(&x[1]), |x| x[0].matmul(&x[1]))
                .input(a)
                .input(b)
        })
        .collect();
    let linear = |x: &[Nd]| x[0].matmul(&x[1].permute(&[1, 0]));
    for shape in [&[6, 4][..], &[2, 3, 4], &[4]] {
        let flat = move |x: &[Nd]| {
            let rows = x[0].data.len() / 4;
            let mut out = linear(&[x[0].reshape(&[rows, 4]), x[1].clone()]);
            out.shape = shape[..shape.len() - 1]
                .iter()
                .copied()
                .chain([5])
                .collect();
            out
        };
        cases.push(
            Case::new("linear", |x| x[0].linear(&x[1], None), flat)
                .input(shape)
                .input(&[5, 4]),
        );
        cases.push(
            Case::new(
                "linear bias",
                |x| x[0].linear(&x[1], Some(&x[2])),
                move |x| flat(x).zip(&x[2], |y, b| y + b),
            )
            .input(shape)
            .input(&[5, 4])
            .input(&[5]),
        );
    }
    cases
}

/// (x − mean)/√(variance + eps) over the last dimension; without the mean for the root mean square.
fn normal(x: &Nd, eps: f64, centre: bool) -> Nd {
    let last = x.shape.len() - 1;
    let mean = |x: &Nd| {
        x.fold(last, true, |line| {
            line.iter().sum::<f64>() / line.len() as f64
        })
    };
    let x = if centre {
        x.zip(&mean(x), |x, m| x - m)
    } else {
        x.clone()
    };
    let square = mean(&x.map(|x| x * x));
    x.zip(&square, |x, s| x / (s + eps).sqrt())
}

pub fn normalisation() -> Vec<Case> {
    const EPS: f32 = 1e-3;
    let eps = f64::from(EPS);
    let mut cases = vec![];
    for (given, dim) in [(-1, 2), (0, 0), (1, 1)] {
        cases.push(
            Case::new(
                "softmax",
                move |x| x[0].softmax(given),
                move |x| x[0].softmax(dim),
            )
            .input(&[3, 4, 5]),
        );
        cases.push(
            Case::new(
                "log-softmax",
                move |x| x[0].log_softmax(given),
                move |x| x[0].softmax(dim).map(f64::ln),
            )
            .input(&[3, 4, 5]),
        );
    }
    let affine = |y: Nd, x: &[Nd]| {
        let y = x.get(1).map_or(y.clone(), |w| y.zip(w, |y, w| y * w));
        x.get(2).map_or(y.clone(), |b| y.zip(b, |y, b| y + b))
    };
    for extras in 0..3 {
        let add = |mut case: Case, size: usize| {
            for _ in 0..extras {
                case = case.input(&[size]);
            }
            case
        };
        cases.push(add(
            Case::new(
                "layer-norm",
                |x| x[0].layer_norm(x.get(1), x.get(2), EPS),
                move |x| affine(normal(&x[0], eps, true), x),
            )
            .input(&[2, 3, 6]),
            6,
        ));
        if extras < 2 {
            cases.push(add(
                Case::new(
                    "rms-norm",
                    |x| x[0].rms_norm(x.get(1), EPS),
                    move |x| affine(normal(&x[0], eps, false), x),
                )
                .input(&[2, 3, 6]),
                6,
            ));
        }
        for shape in [&[2, 6][..], &[2, 6, 5], &[2, 6, 2, 3]] {
            let rank = shape.len();
            cases.push(add(
                Case::new(
                    "group-norm",
                    |x| x[0].group_norm(3, x.get(1), x.get(2), EPS),
                    move |x| {
                        let places: usize = x[0].shape[1..].iter().product();
                        let y = normal(&x[0].reshape(&[2, 3, places / 3]), eps, true);
                        let mut extras = vec![x[0].clone()];
                        for extra in &x[1..] {
                            let mut column = extra.clone();
                            column.shape.resize(rank - 1, 1);
                            extras.push(column);
                        }
                        affine(y.reshape(&x[0].shape), &extras)
                    },
                )
                .input(shape),
                6,
            ));
        }
    }
    cases
}

pub fn losses() -> Vec<Case> {
    let mut cases = vec![];
    const TARGETS: [i64; 6] = [2, 0, -100, 3, 1, 2];
    for reduction in [Reduction::None, Reduction::Mean, Reduction::Sum] {
        let bring = move |losses: Nd, count: f64| match reduction {
            Reduction::None => losses,
            Reduction::Mean => losses.sum().map(|sum| sum / count),
            Reduction::Sum => losses.sum(),
        };
        for smoothing in [0.0_f32, 0.25] {
            cases.push(
                Case::new(
                    "cross-entropy",
                    move |x| {
                        let targets = ids(&[2, 3], &TARGETS, &x[0]);
                        x[0].cross_entropy(&targets, -100, smoothing, reduction)
                    },
                    move |x| {
                        let logs = x[0].softmax(2).map(f64::ln);
                        let s = f64::from(smoothing);
                        let losses = Nd::make(&[2, 3], |i| {
                            let target = TARGETS[i[0] * 3 + i[1]];
                            if target == -100 {
                                return 0.0;
                            }
                            let line = logs.line(&[i[0], i[1], 0], 2);
                            let mean = line.iter().sum::<f64>() / line.len() as f64;
                            -(1.0 - s) * line[target as usize] - s * mean
                        });
                        bring(losses, 5.0)
                    },
                )
                .input(&[2, 3, 4]),
            );
        }
        cases.push(
            Case::new(
                "binary-cross-entropy-with-logits",
                move |x| x[0].binary_cross_entropy_with_logits(&x[1], reduction),
                move |x| {
                    let losses = x[0].zip(&x[1], |x, t| {
                        -t * sigmoid(x).ln() - (1.0 - t) * (1.0 - sigmoid(x)).ln()
                    });
                    bring(losses, 6.0)
                },
            )
            .range(&[2, 3], -3.0, 3.0)
            .range(&[2, 3], 0.1, 0.9),
        );
        for shape in [&[2, 3][..], &[3]] {
            cases.push(
                Case::new(
                    "mse-loss",
                    move |x| x[0].mse_loss(&x[1], reduction),
                    move |x| bring(x[0].zip(&x[1], |x, t| (x - t).powi(2)), 6.0),
                )
                .input(&[2, 3])
                .input(shape),
            );
        }
    }
    cases
}

pub fn rotations() -> Vec<Case> {
    let mut cases = vec![];
    for style in [RotaryStyle::Half, RotaryStyle::Interleaved] {
        for head_dim in [4, 7] {
            const AT: [i64; 6] = [0, 1, 5, 3, 2, 9];
            let mut case = Case::new(
                "rotary",
                move |x| x[0].rotary(&ids(&[2, 3], &AT, &x[0]), &x[1], style),
                move |x| {
                    Nd::make(&x[0].shape, |i| {
                        let (d, position) = (i[3], AT[i[0] * 3 + i[1]] as f64);
                        if d >= 4 {
                            return x[0].at(i);
                        }
                        let (pair, other, first) = match style {
                            RotaryStyle::Half => (d % 2, (d + 2) % 4, d < 2),
                            RotaryStyle::Interleaved => (d / 2, d ^ 1, d % 2 == 0),
                        };
                        let angle = position * x[1].data[pair];
                        let partner = x[0].at(&[i[0], i[1], i[2], other]);
                        let sign = if first { -1.0 } else { 1.0 };
                        x[0].at(i) * angle.cos() + sign * partner * angle.sin()
                    })
                },
            )
            .input(&[2, 3, 2, head_dim])
            .range(&[2], 0.1, 0.3);
            case.inputs[1].always_f32 = true;
            case.inputs[1].differentiable = false;
            cases.push(case);
            if head_dim == 4 {
                let mut learned = Case::new(
                    "rotary learned frequencies",
                    move |x| x[0].rotary(&ids(&[1, 1], &[3], &x[0]), &x[1], RotaryStyle::Half),
                    |x| {
                        Nd::make(&[1, 1, 1, 4], |i| {
                            let (d, angle) = (i[3], 3.0 * x[1].data[i[3] % 2]);
                            let partner = x[0].data[(d + 2) % 4];
                            let sign = if d < 2 { -1.0 } else { 1.0 };
                            x[0].data[d] * angle.cos() + sign * partner * angle.sin()
                        })
                    },
                )
                .input(&[1, 1, 1, 4])
                .range(&[2], 0.1, 0.3);
                learned.inputs[1].always_f32 = true;
                learned.only_f32 = true;
                cases.push(learned);
            }
        }
    }
    cases
}

pub fn attentions() -> Vec<Case> {
    let reference = |x: &[Nd], scale: f64| {
        let heads = x[0].shape[2];
        let group = heads / x[1].shape[2];
        let by_head = |nd: &Nd| {
            let [b, t, _, d] = [0, 1, 2, 3].map(|axis| nd.shape[axis]);
            let each = if nd.shape[2] == heads { 1 } else { group };
            Nd::make(&[b, heads, t, d], |i| {
                nd.at(&[i[0], i[2], i[1] / each, i[3]])
            })
        };
        let (q, k, v) = (by_head(&x[0]), by_head(&x[1]), by_head(&x[2]));
        let mut scores = q.matmul(&k.permute(&[0, 1, 3, 2])).map(|s| s * scale);
        if let Some(bias) = x.get(3) {
            scores = scores.zip(bias, |s, b| s + b);
        }
        scores.softmax(3).matmul(&v).permute(&[0, 2, 1, 3])
    };
    let mut cases = vec![];
    for kv_heads in [1, 2, 4] {
        for bias in [
            None,
            Some(&[2, 4, 3, 5][..]),
            Some(&[4, 1, 5]),
            Some(&[3, 1]),
        ] {
            for fixed in [false, true] {
                if fixed && bias.is_none() {
                    continue;
                }
                let mut case = Case::new(
                    "scaled-dot-product-attention",
                    |x| {
                        Tensor::scaled_dot_product_attention(
                            &x[0],
                            &x[1],
                            &x[2],
                            x.get(3),
                            Some(0.7),
                        )
                    },
                    move |x| reference(x, f64::from(0.7_f32)),
                )
                .input(&[2, 3, 4, 2])
                .input(&[2, 5, kv_heads, 2])
                .input(&[2, 5, kv_heads, 2]);
                if let Some(shape) = bias {
                    case = case.input(shape);
                    case.inputs[3].differentiable = !fixed;
                }
                cases.push(case);
            }
        }
    }
    cases.push(
        Case::new(
            "scaled-dot-product-attention own scale",
            |x| Tensor::scaled_dot_product_attention(&x[0], &x[1], &x[2], None, None),
            move |x| reference(x, 0.5),
        )
        .input(&[1, 3, 1, 4])
        .input(&[1, 3, 1, 4])
        .input(&[1, 3, 1, 4]),
    );
    cases
}

struct Geometry {
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
}

fn convolution(x: &[Nd], g: &Geometry) -> Nd {
    let (input, weight) = (&x[0], &x[1]);
    let size = |axis: usize| {
        let span = (weight.shape[axis + 2] - 1) * g.dilation[axis] + 1;
        (input.shape[axis + 2] + 2 * g.padding[axis] - span) / g.stride[axis] + 1
    };
    let (outputs, inner) = (weight.shape[0], weight.shape[1]);
    Nd::make(&[input.shape[0], outputs, size(0), size(1)], |i| {
        let first = i[1] / (outputs / g.groups) * inner;
        let mut sum = x.get(2).map_or(0.0, |bias| bias.data[i[1]]);
        for tap in super::nd::indices(&weight.shape[1..]) {
            let place = |axis: usize| {
                (i[axis + 2] * g.stride[axis] + tap[axis + 1] * g.dilation[axis])
                    .checked_sub(g.padding[axis])
                    .filter(|place| *place < input.shape[axis + 2])
            };
            if let (Some(y), Some(x)) = (place(0), place(1)) {
                sum += input.at(&[i[0], first + tap[0], y, x])
                    * weight.at(&[i[1], tap[0], tap[1], tap[2]]);
            }
        }
        sum
    })
}

pub fn convolutions() -> Vec<Case> {
    let mut cases = vec![];
    let settings = [
        ([1, 1], [0, 0], [1, 1], 1),
        ([2, 1], [1, 2], [1, 1], 1),
        ([1, 2], [2, 0], [2, 1], 2),
        ([1, 1], [1, 1], [1, 1], 4),
    ];
    for (stride, padding, dilation, groups) in settings {
        for bias in [false, true] {
            let options = ConvOptions {
                stride: stride.to_vec(),
                padding: padding.to_vec(),
                dilation: dilation.to_vec(),
                groups,
            };
            let geometry = Geometry {
                stride,
                padding,
                dilation,
                groups,
            };
            let mut case = Case::new(
                "conv2d",
                move |x| x[0].conv2d(&x[1], x.get(2), &options),
                move |x| convolution(x, &geometry),
            )
            .input(&[2, 4, 5, 6])
            .input(&[4, 4 / groups, 3, 2]);
            if bias {
                case = case.input(&[4]);
            }
            cases.push(case);
        }
        let options = ConvOptions {
            stride: vec![stride[0]],
            padding: vec![padding[0]],
            dilation: vec![dilation[0]],
            groups,
        };
        let geometry = Geometry {
            stride: [1, stride[0]],
            padding: [0, padding[0]],
            dilation: [1, dilation[0]],
            groups,
        };
        let flat = |x: &Nd| x.reshape(&[x.shape[0], x.shape[1], 1, x.shape[2]]);
        cases.push(
            Case::new(
                "conv1d",
                move |x| x[0].conv1d(&x[1], Some(&x[2]), &options),
                move |x| {
                    let out = convolution(&[flat(&x[0]), flat(&x[1]), x[2].clone()], &geometry);
                    out.reshape(&[out.shape[0], out.shape[1], out.shape[3]])
                },
            )
            .input(&[2, 4, 7])
            .input(&[4, 4 / groups, 3])
            .input(&[4]),
        );
    }
    cases
}

pub fn pools() -> Vec<Case> {
    let mut cases = vec![];
    for (kernel, stride, padding) in [
        ([2, 2], [2, 2], [0, 0]),
        ([3, 2], [1, 2], [1, 1]),
        ([3, 3], [2, 1], [0, 1]),
    ] {
        let options = PoolOptions {
            kernel: kernel.to_vec(),
            stride: stride.to_vec(),
            padding: padding.to_vec(),
        };
        let windows = move |x: &Nd, f: fn(&[f64], usize) -> f64| {
            let size = |axis: usize| {
                (x.shape[axis + 2] + 2 * padding[axis] - kernel[axis]) / stride[axis] + 1
            };
            Nd::make(&[x.shape[0], x.shape[1], size(0), size(1)], |i| {
                let taps = super::nd::indices(&kernel);
                let inside: Vec<f64> = taps
                    .iter()
                    .filter_map(|tap| {
                        let place = |axis: usize| {
                            (i[axis + 2] * stride[axis] + tap[axis])
                                .checked_sub(padding[axis])
                                .filter(|place| *place < x.shape[axis + 2])
                        };
                        Some(x.at(&[i[0], i[1], place(0)?, place(1)?]))
                    })
                    .collect();
                f(&inside, taps.len())
            })
        };
        let copy = options.clone();
        cases.push(
            Case::new(
                "max-pool2d",
                move |x| x[0].max_pool2d(&copy),
                move |x| {
                    windows(&x[0], |inside, _| {
                        inside.iter().copied().fold(f64::MIN, f64::max)
                    })
                },
            )
            .input(&[2, 2, 5, 6]),
        );
        cases.push(
            Case::new(
                "avg-pool2d",
                move |x| x[0].avg_pool2d(&options),
                move |x| windows(&x[0], |inside, all| inside.iter().sum::<f64>() / all as f64),
            )
            .input(&[2, 2, 5, 6]),
        );
    }
    cases
}
