use super::*;
use crate::{
    cpu::{
        self, AttentionBias, AttentionDropout, AttentionGradients, AttentionRule, AttentionShape,
        DecodeRow, DecodeShape, Heads, HeadsMut,
    },
    rng,
};

/// Output, lse, dq, dk and dv by the definition, all contiguous.
fn exact(s: &AttentionShape, rule: &AttentionRule, [q, k, v, dout]: [&[f32]; 4]) -> [Vec<f64>; 5] {
    let [q, k, v, dout] = [q, k, v, dout].map(wide);
    let d = s.head_dim;
    let at_q = |b: usize, t: usize, h: usize| ((b * s.queries + t) * s.heads + h) * d;
    let at_k = |b: usize, t: usize, h: usize| ((b * s.keys + t) * s.kv_heads + h) * d;
    let (mut out, mut dq) = (vec![0.0; q.len()], vec![0.0; q.len()]);
    let (mut dk, mut dv) = (vec![0.0; k.len()], vec![0.0; k.len()]);
    let mut lse = Vec::new();
    for b in 0..s.batch {
        for h in 0..s.heads {
            let kv = h / (s.heads / s.kv_heads);
            for t in 0..s.queries {
                let range = rule.ranges.map_or(0..s.keys, |r| {
                    let [start, end] = r[b * s.queries + t];
                    start as usize..end as usize
                });
                let scores: Vec<f64> = range
                    .clone()
                    .map(|j| {
                        let dot: f64 = (0..d)
                            .map(|i| q[at_q(b, t, h) + i] * k[at_k(b, j, kv) + i])
                            .sum();
                        let bias = rule.bias.map_or(0.0, |bias| {
                            let [sb, sh, sq, sk] = bias.strides;
                            f64::from(bias.data[b * sb + h * sh + t * sq + j * sk])
                        });
                        dot * f64::from(rule.scale) + bias
                    })
                    .collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|x| (x - largest).exp()).sum();
                lse.push(if range.is_empty() {
                    f64::NEG_INFINITY
                } else {
                    largest + sum.ln()
                });
                let mut dp = Vec::new();
                let mut weights = Vec::new();
                for (x, j) in scores.iter().zip(range.clone()) {
                    let p = (x - largest).exp() / sum;
                    let row = (b * s.heads + h) * s.queries + t;
                    let factor = rule.dropout.map_or(1.0, |drop| {
                        let u = rng::uniform_at(drop.key, (row * s.keys + j) as u64);
                        if u < drop.p {
                            0.0
                        } else {
                            1.0 / (1.0 - f64::from(drop.p))
                        }
                    });
                    let mut d_weight = 0.0;
                    for i in 0..d {
                        out[at_q(b, t, h) + i] += p * factor * v[at_k(b, j, kv) + i];
                        dv[at_k(b, j, kv) + i] += p * factor * dout[at_q(b, t, h) + i];
                        d_weight += dout[at_q(b, t, h) + i] * v[at_k(b, j, kv) + i];
                    }
                    weights.push(p);
                    dp.push(d_weight * factor);
                }
                let mean: f64 = weights.iter().zip(&dp).map(|(p, d)| p * d).sum();
                for ((p, d_weight), j) in weights.iter().zip(&dp).zip(range) {
                    let ds = p * (d_weight - mean) * f64::from(rule.scale);
                    for i in 0..d {
                        dq[at_q(b, t, h) + i] += ds * k[at_k(b, j, kv) + i];
                        dk[at_k(b, j, kv) + i] += ds * q[at_q(b, t, h) + i];
                    }
                }
            }
        }
    }
    [out, lse, dq, dk, dv]
}

fn check(s: &AttentionShape, rule: &AttentionRule) {
    let (nq, nk) = (
        s.batch * s.queries * s.heads * s.head_dim,
        s.batch * s.keys * s.kv_heads * s.head_dim,
    );
    let (q, k, v) = (values(1, nq, 2.0), values(2, nk, 2.0), values(3, nk, 1.0));
    let dout = values(4, nq, 1.0);
    let rows = s.batch * s.heads * s.queries;
    let (width, stride) = (s.heads * s.head_dim, s.head_dim);
    let strides = [s.queries * width, width, stride];
    let keys = |x| Heads::contiguous(x, s.keys, s.kv_heads, s.head_dim);
    let all = on_any_pool(|| {
        let (mut out, mut lse, mut dq) = (output(nq), output(rows), output(nq));
        let (mut dk, mut dv) = (output(nk), output(nk));
        let into = HeadsMut::contiguous(&mut out, s.queries, s.heads, s.head_dim);
        cpu::attention(
            s,
            rule,
            Heads::new(&q, strides),
            keys(&k),
            keys(&v),
            into,
            &mut lse,
        );
        let gradients = AttentionGradients {
            q: HeadsMut::contiguous(&mut dq, s.queries, s.heads, s.head_dim),
            k: HeadsMut::contiguous(&mut dk, s.keys, s.kv_heads, s.head_dim),
            v: HeadsMut::contiguous(&mut dv, s.keys, s.kv_heads, s.head_dim),
        };
        cpu::attention_backward(
            s,
            rule,
            Heads::new(&q, strides),
            keys(&k),
            keys(&v),
            Heads::new(&out, strides),
            &lse,
            Heads::new(&dout, strides),
            gradients,
        );
        [out, lse, dq, dk, dv].concat()
    });
    let expected = exact(s, rule, [&q, &k, &v, &dout]).concat();
    close(&all, &expected, 1e-4, 3e-5);
}

fn rule(scale: f32) -> AttentionRule<'static> {
    AttentionRule {
        scale,
        ranges: None,
        bias: None,
        dropout: None,
    }
}

fn shape(
    [batch, queries, keys]: [usize; 3],
    [heads, kv_heads, head_dim]: [usize; 3],
) -> AttentionShape {
    AttentionShape {
        batch,
        queries,
        keys,
        heads,
        kv_heads,
        head_dim,
    }
}

/// Causal ranges; the keys come before the queries where there are more of them.
fn causal(s: &AttentionShape) -> Vec<[u32; 2]> {
    let before = s.keys - s.queries;
    (0..s.batch * s.queries)
        .map(|i| [0, (i % s.queries + before + 1) as u32])
        .collect()
}

#[test]
fn all_keys_and_causal() {
    for s in [
        shape([1, 1, 1], [1, 1, 1]),
        shape([2, 5, 5], [3, 3, 7]),
        shape([2, 130, 130], [4, 2, 16]),
        shape([1, 70, 600], [2, 1, 33]),
        shape([3, 64, 64], [2, 2, 64]),
    ] {
        check(&s, &rule(0.3));
        let ranges = causal(&s);
        let rule = AttentionRule {
            ranges: Some(&ranges),
            ..rule(0.3)
        };
        check(&s, &rule);
    }
}

#[test]
fn windows_padding_and_packed_documents() {
    let s = shape([3, 90, 90], [2, 1, 12]);
    let ranges: Vec<[u32; 2]> = (0..3 * 90_u32)
        .map(|i| {
            let (row, t) = (i / 90, i % 90);
            match row {
                // A window of 5 back.
                0 => [t.saturating_sub(5), t + 1],
                // Padding from 37 on, whose queries see nothing.
                1 if t < 37 => [0, t + 1],
                1 => [0, 0],
                // Documents of 20, both ways.
                _ => [t / 20 * 20, (t / 20 * 20 + 20).min(90)],
            }
        })
        .collect();
    check(
        &s,
        &AttentionRule {
            ranges: Some(&ranges),
            ..rule(0.4)
        },
    );
}

#[test]
fn bias_and_dropout() {
    let s = shape([2, 33, 41], [4, 2, 8]);
    let ranges = causal(&s);
    let full = values(9, 2 * 4 * 33 * 41, 1.0);
    for strides in [
        [4 * 33 * 41, 33 * 41, 41, 1],
        [0, 33 * 41, 41, 1],
        [41, 0, 0, 1],
        [0, 33, 1, 0],
        [0, 41 * 33, 1, 33],
    ] {
        let bias = Some(AttentionBias {
            data: &full,
            strides,
        });
        check(&s, &AttentionRule { bias, ..rule(0.5) });
        let rule = AttentionRule {
            bias,
            ranges: Some(&ranges),
            dropout: Some(AttentionDropout { p: 0.3, key: 77 }),
            ..rule(0.5)
        };
        check(&s, &rule);
    }
}

#[test]
fn parts_of_a_joint_projection() {
    let s = shape([2, 40, 40], [3, 3, 10]);
    let (width, rows) = (s.heads * s.head_dim, s.batch * s.queries);
    let joint = values(5, rows * 3 * width, 1.0);
    let dout = values(6, rows * width, 1.0);
    let strides = [40 * 3 * width, 3 * width, s.head_dim];
    let part = |i: usize| Heads::new(&joint[i * width..], strides);
    let copy = |i: usize| -> Vec<f32> {
        joint
            .chunks(3 * width)
            .flat_map(|row| row[i * width..][..width].to_vec())
            .collect()
    };
    let ranges = causal(&s);
    let rule = AttentionRule {
        ranges: Some(&ranges),
        ..rule(0.3)
    };
    let (mut out, mut lse) = (output(rows * width), output(rows * s.heads));
    let into = HeadsMut::contiguous(&mut out, 40, 3, 10);
    cpu::attention(&s, &rule, part(0), part(1), part(2), into, &mut lse);
    let mut d_joint = output(joint.len());
    // Three gradients in one array, as three calls would see it.
    let mut gradients = [
        output(rows * width),
        output(rows * width),
        output(rows * width),
    ];
    let [dq, dk, dv] = &mut gradients;
    let heads = |x| HeadsMut::contiguous(x, 40, 3, 10);
    cpu::attention_backward(
        &s,
        &rule,
        part(0),
        part(1),
        part(2),
        Heads::contiguous(&out, 40, 3, 10),
        &lse,
        Heads::contiguous(&dout, 40, 3, 10),
        AttentionGradients {
            q: heads(dq),
            k: heads(dk),
            v: heads(dv),
        },
    );
    let expected = exact(&s, &rule, [&copy(0), &copy(1), &copy(2), &dout]);
    let all = [&out[..], &lse, &gradients[0], &gradients[1], &gradients[2]].concat();
    close(&all, &expected.concat(), 1e-4, 2e-5);
    // Strided output: the same numbers at other places, and nothing else is touched.
    let into = HeadsMut::new(&mut d_joint[width..], strides);
    cpu::attention(&s, &rule, part(0), part(1), part(2), into, &mut lse);
    for (row, out) in d_joint.chunks(3 * width).zip(out.chunks(width)) {
        assert_eq!(&row[width..2 * width], out);
        assert!(
            row[..width]
                .iter()
                .chain(&row[2 * width..])
                .all(|x| x.is_nan())
        );
    }
}

#[test]
#[should_panic(expected = "overlap")]
fn outputs_must_not_overlap() {
    let s = shape([1, 4, 4], [2, 2, 8]);
    let x = values(1, 64, 1.0);
    let (mut out, mut lse) = (output(64), output(8));
    let heads = |x| Heads::contiguous(x, 4, 2, 8);
    let into = HeadsMut::new(&mut out, [64, 8, 8]);
    cpu::attention(
        &s,
        &rule(1.0),
        heads(&x),
        heads(&x),
        heads(&x),
        into,
        &mut lse,
    );
}

#[test]
fn decoding_is_attention_over_the_cache() {
    let (block, kv_heads, head_dim) = (32, 2, 24);
    let lengths = [1, 32, 77];
    let s = |queries, keys| shape([1, queries, keys], [4, kv_heads, head_dim]);
    for queries in [1, 3] {
        let q = values(1, lengths.len() * queries * 4 * head_dim, 1.0);
        let mut storage = Vec::new();
        for (row, length) in lengths.into_iter().enumerate() {
            let blocks: usize = 77_usize.div_ceil(block);
            let size = kv_heads * block * head_dim;
            let make = |key| -> Vec<Vec<f32>> {
                values(key + row as u64, blocks * size, 1.0)
                    .chunks(size)
                    .map(<[f32]>::to_vec)
                    .collect()
            };
            storage.push((make(20), make(30), length.max(queries)));
        }
        let rows: Vec<DecodeRow> = storage
            .iter()
            .map(|(k, v, length)| DecodeRow {
                k: k.iter().map(Vec::as_slice).collect(),
                v: v.iter().map(Vec::as_slice).collect(),
                ranges: (0..queries).map(|i| 0..length - queries + i + 1).collect(),
            })
            .collect();
        let bias = values(40, 4 * 80, 1.0);
        let bias = AttentionBias {
            data: &bias,
            strides: [0, 80, 0, 1],
        };
        let decode = DecodeShape {
            queries,
            heads: 4,
            kv_heads,
            head_dim,
            block,
        };
        let out = on_any_pool(|| {
            let mut out = output(q.len());
            cpu::attention_decode(&decode, 0.2, Some(bias), &q, &rows, &mut out);
            out
        });
        for (row, (k, v, length)) in storage.iter().enumerate() {
            let plain = |blocks: &[Vec<f32>]| -> Vec<f32> {
                (0..*length)
                    .flat_map(|t| (0..kv_heads).map(move |h| (t, h)))
                    .flat_map(|(t, h)| {
                        blocks[t / block][(h * block + t % block) * head_dim..][..head_dim].to_vec()
                    })
                    .collect()
            };
            let q = &q[row * queries * 4 * head_dim..][..queries * 4 * head_dim];
            let s = s(queries, *length);
            let ranges = causal(&s);
            let rule = AttentionRule {
                bias: Some(bias),
                ranges: Some(&ranges),
                ..rule(0.2)
            };
            let [expected, ..] = exact(&s, &rule, [q, &plain(k), &plain(v), q]);
            close(&out[row * q.len()..][..q.len()], &expected, 1e-5, 1e-5);
        }
    }
}
