//! Masked attention against a naive reference in double precision.

use super::*;
use crate::Tape;

struct Case {
    queries: SequenceInfo,
    keys: SequenceInfo,
    options: AttentionOptions,
    heads: usize,
    kv_heads: usize,
    dim: usize,
    bias: Option<Vec<usize>>,
}

impl Case {
    fn causal(tokens: usize, rows: &[&[usize]]) -> Self {
        Self {
            queries: sequence("ids", tokens, rows),
            keys: sequence("ids", tokens, rows),
            options: AttentionOptions::causal(0, "ids"),
            heads: 4,
            kv_heads: 4,
            dim: 8,
            bias: None,
        }
    }

    fn inputs(&self) -> Vec<SequenceInfo> {
        match self.queries.name == self.keys.name {
            true => vec![self.queries.clone()],
            false => vec![self.queries.clone(), self.keys.clone()],
        }
    }

    fn tensors(&self) -> [Tensor; 3] {
        let batch = self.queries.batch();
        let kv = [batch, self.keys.tokens, self.kv_heads, self.dim];
        [
            random(1, &[batch, self.queries.tokens, self.heads, self.dim]),
            random(2, &kv),
            random(3, &kv),
        ]
    }

    fn run(&self, stage: Stage) -> Vec<f32> {
        let [q, k, v] = self.tensors();
        let bias = self.bias.as_ref().map(|shape| random(4, shape));
        pass(stage, self.inputs())
            .attention(&q, Some(&k), Some(&v), bias.as_ref(), &self.options)
            .unwrap()
            .to_f32_vec()
            .unwrap()
    }

    /// The document of every token, and its position there, written again from the definition.
    fn places(info: &SequenceInfo, row: usize) -> Vec<Option<(usize, i64)>> {
        let mut out = Vec::new();
        for (number, length) in info.rows[row].iter().enumerate() {
            out.extend((0..*length).map(|at| Some((number, at as i64))));
        }
        out.resize(info.tokens, None);
        out
    }

    fn sees(&self, query: Option<(usize, i64)>, key: Option<(usize, i64)>) -> bool {
        let (Some((query, at)), Some((key, to))) = (query, key) else {
            return false;
        };
        let window = self.options.window.map_or(i64::MAX, i64::from);
        query == key
            && match self.options.kind {
                AttentionKind::Cross => true,
                AttentionKind::Causal => to <= at && at - to <= window,
                AttentionKind::Bidirectional => (at - to).abs() <= window,
            }
    }

    fn expected(&self) -> Vec<f32> {
        let [q, k, v] = self.tensors().map(|t| t.to_f32_vec().unwrap());
        let bias = self
            .bias
            .as_ref()
            .map(|shape| random(4, shape).to_f32_vec().unwrap());
        let scale = f64::from(self.options.scale.unwrap_or(1.0 / (self.dim as f32).sqrt()));
        let (t, s, d) = (self.queries.tokens, self.keys.tokens, self.dim);
        let mut out = Vec::new();
        for row in 0..self.queries.batch() {
            let queries = Self::places(&self.queries, row);
            let keys = Self::places(&self.keys, row);
            for i in 0..t {
                for h in 0..self.heads {
                    let kv = h * self.kv_heads / self.heads;
                    let at = |x: &[f32], j: usize, e: usize| {
                        f64::from(x[((row * s + j) * self.kv_heads + kv) * d + e])
                    };
                    let seen: Vec<usize> =
                        (0..s).filter(|j| self.sees(queries[i], keys[*j])).collect();
                    let score = |j: usize| {
                        let dot: f64 = (0..d)
                            .map(|e| {
                                f64::from(q[((row * t + i) * self.heads + h) * d + e])
                                    * at(&k, j, e)
                            })
                            .sum();
                        let extra = match (&bias, self.bias.as_deref()) {
                            // [1, heads, tokens, keys] or [heads, 1, keys].
                            (Some(b), Some([_, _, _, _])) => b[(h * t + i) * s + j],
                            (Some(b), Some(_)) => b[h * s + j],
                            _ => 0.0,
                        };
                        dot * scale + f64::from(extra)
                    };
                    let weights: Vec<f64> = seen.iter().map(|j| score(*j).exp()).collect();
                    let sum: f64 = weights.iter().sum();
                    for e in 0..d {
                        let mixed: f64 = seen
                            .iter()
                            .zip(&weights)
                            .map(|(j, w)| w * at(&v, *j, e))
                            .sum();
                        out.push(if seen.is_empty() {
                            0.0
                        } else {
                            (mixed / sum) as f32
                        });
                    }
                }
            }
        }
        out
    }
}

fn cases() -> Vec<(&'static str, Case)> {
    let packed: &[&[usize]] = &[&[3, 4], &[7], &[2, 1], &[]];
    let causal = || Case::causal(7, packed);
    let bidirectional = || Case {
        options: AttentionOptions::bidirectional(0, "ids"),
        ..causal()
    };
    let cross = || Case {
        keys: sequence("src", 9, &[&[2, 5], &[9], &[4, 4], &[3]]),
        options: AttentionOptions::cross(0, "ids", "src"),
        ..causal()
    };
    vec![
        ("dense", Case::causal(40, &[&[40], &[40]])),
        ("packed", causal()),
        ("one token", Case::causal(1, &[&[1]])),
        (
            "window",
            Case {
                options: AttentionOptions {
                    window: Some(2),
                    ..AttentionOptions::causal(0, "ids")
                },
                ..causal()
            },
        ),
        (
            "grouped, scaled",
            Case {
                kv_heads: 2,
                options: AttentionOptions {
                    scale: Some(0.7),
                    ..AttentionOptions::causal(0, "ids")
                },
                ..causal()
            },
        ),
        ("bidirectional", bidirectional()),
        (
            "bidirectional window",
            Case {
                options: AttentionOptions {
                    window: Some(1),
                    ..AttentionOptions::bidirectional(0, "ids")
                },
                ..bidirectional()
            },
        ),
        ("cross", cross()),
        (
            "grouped cross with bias",
            Case {
                kv_heads: 1,
                bias: Some(vec![4, 1, 9]),
                ..cross()
            },
        ),
        (
            "bias",
            Case {
                bias: Some(vec![1, 4, 7, 7]),
                ..causal()
            },
        ),
        (
            "odd sizes",
            Case {
                heads: 3,
                kv_heads: 3,
                dim: 5,
                ..causal()
            },
        ),
    ]
}

#[test]
fn equals_the_reference_in_training_and_scoring() {
    for (name, case) in cases() {
        let expected = case.expected();
        for stage in [Stage::Train, Stage::Evaluate] {
            let got = case.run(stage);
            let worst = got
                .iter()
                .zip(&expected)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(
                worst < 2e-6 && got.len() == expected.len(),
                "{name}: {worst}"
            );
        }
    }
}

#[test]
fn a_packed_row_equals_two_rows() {
    let [q, k, v] = [1, 2, 3].map(|key| random(key, &[1, 7, 4, 8]));
    let options = AttentionOptions::causal(0, "ids");
    let packed = pass(Stage::Train, vec![sequence("ids", 7, &[&[3, 4]])])
        .attention(&q, Some(&k), Some(&v), None, &options)
        .unwrap();
    for (start, len) in [(0, 3), (3, 4)] {
        let [q, k, v] = [&q, &k, &v].map(|x| x.narrow(1, start, len).unwrap());
        let alone = pass(Stage::Train, vec![SequenceInfo::full("ids", 1, len)])
            .attention(&q, Some(&k), Some(&v), None, &options)
            .unwrap();
        let part = packed.narrow(1, start, len).unwrap();
        close(
            &part.to_f32_vec().unwrap(),
            &alone.to_f32_vec().unwrap(),
            1e-6,
        );
    }
}

/// A sum of the outputs with fixed weights, in double precision.
fn objective(case: &Case, q: &Tensor, k: &Tensor, v: &Tensor, bias: Option<&Tensor>) -> f64 {
    let out = pass(Stage::Train, case.inputs())
        .attention(q, Some(k), Some(v), bias, &case.options)
        .unwrap()
        .to_f32_vec()
        .unwrap();
    let weights = values(9, out.len());
    out.iter()
        .zip(weights)
        .map(|(a, b)| f64::from(*a) * f64::from(b))
        .sum()
}

#[test]
fn gradients_equal_finite_differences() {
    for (name, mut case) in cases() {
        if name == "dense" {
            continue;
        }
        // Few numbers: each costs two forward passes.
        case.dim = case.dim.min(3);
        let inputs = case.tensors();
        let bias = case.bias.as_ref().map(|shape| random(4, shape));
        let tape = Tape::new();
        let [q, k, v] = [0, 1, 2].map(|i| tape.leaf(&inputs[i]).unwrap());
        let tracked_bias = bias.as_ref().map(|bias| tape.leaf(bias).unwrap());
        let out = pass(Stage::Train, case.inputs())
            .attention(&q, Some(&k), Some(&v), tracked_bias.as_ref(), &case.options)
            .unwrap();
        let weights = values(9, out.numel());
        let weights = Tensor::from_f32(out.shape(), &weights, &Device::cpu()).unwrap();
        let loss = out.mul(&weights).unwrap().sum(&[], false).unwrap();
        let mut gradients = tape.backward(&loss).unwrap();
        let mut leaves = vec![q, k, v];
        let mut plain = inputs.to_vec();
        leaves.extend(tracked_bias);
        plain.extend(bias);
        for (which, leaf) in leaves.iter().enumerate() {
            let gradient = gradients.take(leaf).unwrap().to_f32_vec().unwrap();
            let base = plain[which].to_f32_vec().unwrap();
            let step = (base.len() / 24).max(1);
            for index in (0..base.len()).step_by(step) {
                let at = |delta: f32| {
                    let mut moved = base.clone();
                    moved[index] += delta;
                    let mut tensors = plain.clone();
                    let shape = plain[which].shape();
                    tensors[which] = Tensor::from_f32(shape, &moved, &Device::cpu()).unwrap();
                    objective(&case, &tensors[0], &tensors[1], &tensors[2], tensors.get(3))
                };
                let numeric = (at(0.01) - at(-0.01)) / 0.02;
                let error = (numeric - f64::from(gradient[index])).abs();
                assert!(
                    error < 2e-3 * (1.0 + numeric.abs()),
                    "{name}, input {which}, element {index}: {} against {numeric}",
                    gradient[index]
                );
            }
        }
    }
}

#[test]
fn dropout_keeps_the_mean_and_is_reproducible() {
    let case = Case::causal(32, &[&[32]]);
    let [q, k, v] = case.tensors();
    let options = AttentionOptions {
        dropout: 0.25,
        ..case.options.clone()
    };
    let run = |stage, key| {
        Pass::new(stage, case.inputs(), key, &Device::cpu())
            .unwrap()
            .attention(&q, Some(&k), Some(&v), None, &options)
            .unwrap()
            .to_f32_vec()
            .unwrap()
    };
    let plain = case.expected();
    close(&run(Stage::Evaluate, 1), &plain, 1e-5);
    assert_eq!(run(Stage::Train, 1), run(Stage::Train, 1));
    assert_ne!(run(Stage::Train, 1), run(Stage::Train, 2));
    let rounds = 400;
    let mut mean = vec![0.0; plain.len()];
    for key in 0..rounds {
        for (mean, value) in mean.iter_mut().zip(run(Stage::Train, key)) {
            *mean += value / rounds as f32;
        }
    }
    let worst = mean
        .iter()
        .zip(&plain)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    let error = mean
        .iter()
        .zip(&plain)
        .map(|(a, b)| (a - b).powi(2))
        .sum::<f32>();
    let power = plain.iter().map(|b| b * b).sum::<f32>();
    assert!(
        worst < 0.4 && (error / power).sqrt() < 0.05,
        "{worst} {error} {power}"
    );
}

#[test]
fn dropout_of_weights_has_the_gradient_of_its_own_mask() {
    let case = Case::causal(6, &[&[6]]);
    let inputs = case.tensors();
    let options = AttentionOptions {
        dropout: 0.4,
        ..case.options.clone()
    };
    let run = |q: &Tensor, k: &Tensor, v: &Tensor| {
        pass(Stage::Train, case.inputs())
            .attention(q, Some(k), Some(v), None, &options)
            .unwrap()
    };
    let tape = Tape::new();
    let leaves: Vec<Tensor> = inputs.iter().map(|x| tape.leaf(x).unwrap()).collect();
    let loss = run(&leaves[0], &leaves[1], &leaves[2])
        .sum(&[], false)
        .unwrap();
    let mut gradients = tape.backward(&loss).unwrap();
    for which in 0..3 {
        let gradient = gradients
            .take(&leaves[which])
            .unwrap()
            .to_f32_vec()
            .unwrap();
        let base = inputs[which].to_f32_vec().unwrap();
        for index in (0..base.len()).step_by(11) {
            let at = |delta: f32| -> f64 {
                let mut moved = base.clone();
                moved[index] += delta;
                let mut x = inputs.clone();
                x[which] = Tensor::from_f32(inputs[which].shape(), &moved, &Device::cpu()).unwrap();
                let out = run(&x[0], &x[1], &x[2]).to_f32_vec().unwrap();
                out.iter().map(|v| f64::from(*v)).sum()
            };
            let numeric = (at(0.01) - at(-0.01)) / 0.02;
            let error = (numeric - f64::from(gradient[index])).abs();
            assert!(
                error < 2e-3 * (1.0 + numeric.abs()),
                "input {which}, element {index}"
            );
        }
    }
}

#[test]
fn misuse_is_explained() {
    let case = Case::causal(7, &[&[7]]);
    let [q, k, v] = case.tensors();
    let train = || pass(Stage::Train, case.inputs());
    let options = &case.options;
    let unknown = AttentionOptions::causal(0, "tokens");
    fails(
        train().attention(&q, Some(&k), Some(&v), None, &unknown),
        &["`tokens`", "\"ids\"", "train"],
    );
    let pass = train();
    pass.attention(&q, Some(&k), Some(&v), None, options)
        .unwrap();
    fails(
        pass.attention(&q, Some(&k), Some(&v), None, options),
        &["layer 0", "used already"],
    );
    fails(
        train().attention(&q, None, None, None, options),
        &["k and v are needed"],
    );
    fails(
        train().attention(&q, Some(&k), None, None, options),
        &["both k and v"],
    );
    let short = k.narrow(1, 0, 3).unwrap();
    fails(
        train().attention(&q, Some(&short), Some(&short), None, options),
        &["[1, 3, 4, 8]", "[1, 7, kv-heads, 8]"],
    );
    let odd = random(1, &[1, 7, 3, 8]);
    fails(
        train().attention(&q, Some(&odd), Some(&odd), None, options),
        &["divides the 4 heads"],
    );
    let bias = random(1, &[7, 6]);
    fails(
        train().attention(&q, Some(&k), Some(&v), Some(&bias), options),
        &["[7, 6]", "[1, 4, 7, 7]"],
    );
    let flat = random(1, &[7, 32]);
    fails(
        train().attention(&flat, Some(&k), Some(&v), None, options),
        &["[batch, tokens, heads"],
    );
    let window = AttentionOptions {
        window: Some(2),
        ..AttentionOptions::cross(0, "ids", "ids")
    };
    fails(
        train().attention(&q, Some(&k), Some(&v), None, &window),
        &["no window"],
    );
    let dropout = AttentionOptions {
        dropout: 1.0,
        ..options.clone()
    };
    fails(
        train().attention(&q, Some(&k), Some(&v), None, &dropout),
        &["probability is 1"],
    );
}
