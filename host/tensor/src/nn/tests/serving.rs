//! Prefill and decoding over caches equal scoring the whole sequence.

use super::*;

const HEADS: usize = 4;
const DIM: usize = 8;

/// What a test of causal decoding varies.
#[derive(Clone, Copy)]
struct Setting {
    kv_heads: usize,
    window: Option<u32>,
    bias: bool,
}

const SETTINGS: [Setting; 3] = [
    Setting {
        kv_heads: 4,
        window: None,
        bias: false,
    },
    Setting {
        kv_heads: 2,
        window: Some(5),
        bias: false,
    },
    Setting {
        kv_heads: 1,
        window: None,
        bias: true,
    },
];

/// q, k, v of whole sequences: one row each, [1, length, heads, dim].
fn whole(row: usize, length: usize, kv_heads: usize) -> [Tensor; 3] {
    let row = row as u64 * 10;
    [
        random(row + 1, &[1, length, HEADS, DIM]),
        random(row + 2, &[1, length, kv_heads, DIM]),
        random(row + 3, &[1, length, kv_heads, DIM]),
    ]
}

/// A bias that depends on the distance of query and key, as T5's does: [1, heads, tokens, keys].
fn relative_bias(queries: &Tensor, keys: &Tensor) -> Tensor {
    let (q, k) = (queries.to_i64_vec().unwrap(), keys.to_i64_vec().unwrap());
    let (batch, tokens, width) = (queries.shape()[0], queries.shape()[1], keys.shape()[1]);
    let mut out = Vec::new();
    for row in 0..batch {
        for head in 0..HEADS {
            for i in 0..tokens {
                for j in 0..width {
                    let distance = q[row * tokens + i] - k[row * width + j];
                    out.push((distance as f32 * 0.3 + head as f32).sin());
                }
            }
        }
    }
    Tensor::from_f32(&[batch, HEADS, tokens, width], &out, &Device::cpu()).unwrap()
}

fn attend(pass: &Pass, [q, k, v]: &[Tensor; 3], setting: Setting) -> Tensor {
    let options = AttentionOptions {
        window: setting.window,
        ..AttentionOptions::causal(0, "ids")
    };
    let bias = setting.bias.then(|| {
        relative_bias(
            &pass.positions("ids").unwrap(),
            &pass.key_positions("ids").unwrap(),
        )
    });
    pass.attention(q, Some(k), Some(v), bias.as_ref(), &options)
        .unwrap()
}

/// Rows of tensors [1, n, heads, dim], padded to the longest and stacked.
fn batch(rows: &[Tensor]) -> Tensor {
    let longest = rows.iter().map(|x| x.shape()[1]).max().unwrap();
    let padded: Vec<Tensor> = rows
        .iter()
        .map(|x| {
            let missing = longest - x.shape()[1];
            x.pad(&[(0, 0), (0, missing), (0, 0), (0, 0)], 7.0).unwrap()
        })
        .collect();
    Tensor::cat(&padded.iter().collect::<Vec<_>>(), 0).unwrap()
}

#[test]
fn decoding_equals_scoring() {
    // Prompts of different lengths around the cache's block size, then steps of one token.
    let prompts = [3, 31, 32, 40];
    let steps = 6;
    for setting in SETTINGS {
        let rows: Vec<[Tensor; 3]> = prompts
            .iter()
            .enumerate()
            .map(|(row, prompt)| whole(row, prompt + steps, setting.kv_heads))
            .collect();
        let expected: Vec<Vec<f32>> = rows
            .iter()
            .map(|row| {
                let info = SequenceInfo::full("ids", 1, row[0].shape()[1]);
                let out = attend(&pass(Stage::Evaluate, vec![info]), row, setting);
                out.to_f32_vec().unwrap()
            })
            .collect();
        let caches: Vec<SharedCache> = prompts.iter().map(|_| SequenceCache::shared()).collect();
        let run = |stage: Stage, starts: &[usize], lengths: &[usize]| {
            let qkv = [0, 1, 2].map(|which| {
                let parts: Vec<Tensor> = rows
                    .iter()
                    .zip(starts.iter().zip(lengths))
                    .map(|(row, (start, len))| row[which].narrow(1, *start, *len).unwrap())
                    .collect();
                batch(&parts)
            });
            let info = SequenceInfo::padded("ids", lengths);
            let width = info.tokens;
            let pass = pass(stage, vec![info]).with_cache(caches.clone()).unwrap();
            let out = attend(&pass, &qkv, setting).to_f32_vec().unwrap();
            for (row, (start, len)) in starts.iter().zip(lengths).enumerate() {
                let token = HEADS * DIM;
                let got = &out[row * width * token..][..len * token];
                close(got, &expected[row][start * token..][..len * token], 1e-5);
            }
        };
        run(Stage::Prefill, &[0; 4], &prompts);
        for step in 0..4 {
            let starts = prompts.map(|prompt| prompt + step);
            run(Stage::Decode, &starts, &[1; 4]);
        }
        // Two tokens at once, as a second prefill (a prefix that was cached) does.
        run(Stage::Prefill, &prompts.map(|prompt| prompt + 4), &[2; 4]);
        for (cache, prompt) in caches.iter().zip(prompts) {
            assert_eq!(cache.lock().len(), prompt + steps);
        }
    }
}

#[test]
fn positions_go_on_from_the_cache() {
    let caches: Vec<SharedCache> = (0..2).map(|_| SequenceCache::shared()).collect();
    let prefill = pass(Stage::Prefill, vec![SequenceInfo::padded("ids", &[3, 1])])
        .with_cache(caches.clone())
        .unwrap();
    let read = |t: Tensor| (t.shape().to_vec(), t.to_i64_vec().unwrap());
    let expected = (vec![2, 3], vec![0, 1, 2, 0, 0, 0]);
    assert_eq!(read(prefill.positions("ids").unwrap()), expected);
    assert_eq!(read(prefill.key_positions("ids").unwrap()), expected);
    let decode = pass(Stage::Decode, vec![SequenceInfo::full("ids", 2, 1)])
        .with_cache(caches)
        .unwrap();
    assert_eq!(
        read(decode.positions("ids").unwrap()),
        (vec![2, 1], vec![3, 1])
    );
    let keys = read(decode.key_positions("ids").unwrap());
    assert_eq!(keys, (vec![2, 4], vec![0, 1, 2, 3, 0, 1, 0, 0]));
}

#[test]
fn cross_attention_reads_the_cached_source() {
    let sources = [5, 2];
    let kv_heads = 2;
    let kv = [(1, 0), (2, 1)].map(|(key, _)| random(key, &[2, 5, kv_heads, DIM]));
    let q = random(3, &[2, 3, HEADS, DIM]);
    let options = AttentionOptions::cross(4, "tgt", "src");
    let source = || SequenceInfo::padded("src", &sources);
    let scoring = pass(
        Stage::Evaluate,
        vec![SequenceInfo::full("tgt", 2, 3), source()],
    );
    let expected = scoring
        .attention(&q, Some(&kv[0]), Some(&kv[1]), None, &options)
        .unwrap();

    let caches: Vec<SharedCache> = (0..2).map(|_| SequenceCache::shared()).collect();
    let prefill = pass(
        Stage::Prefill,
        vec![SequenceInfo::full("tgt", 2, 1), source()],
    )
    .with_cache(caches.clone())
    .unwrap();
    let first = q.narrow(1, 0, 1).unwrap();
    let got = prefill
        .attention(&first, Some(&kv[0]), Some(&kv[1]), None, &options)
        .unwrap();
    let part = |t: &Tensor, at| t.narrow(1, at, 1).unwrap().to_f32_vec().unwrap();
    close(&got.to_f32_vec().unwrap(), &part(&expected, 0), 1e-5);
    for step in 1..3 {
        let decode = pass(Stage::Decode, vec![SequenceInfo::full("tgt", 2, 1)])
            .with_cache(caches.clone())
            .unwrap();
        let q = q.narrow(1, step, 1).unwrap();
        assert_eq!(decode.key_positions("src").unwrap().shape(), [2, 5]);
        let got = decode.attention(&q, None, None, None, &options).unwrap();
        close(&got.to_f32_vec().unwrap(), &part(&expected, step), 1e-5);
    }
    assert_eq!(caches[1].lock().input_len("src"), 2);
    // Truncating the growing sequence leaves the source alone.
    caches[1].lock().truncate(0).unwrap();
    assert_eq!(caches[1].lock().input_len("src"), 2);
}

#[test]
fn forks_go_their_own_ways() {
    let setting = SETTINGS[0];
    let row = whole(0, 10, 4);
    let other = whole(1, 10, 4);
    let part = |row: &[Tensor; 3], start, len| {
        [0, 1, 2].map(|which: usize| row[which].narrow(1, start, len).unwrap())
    };
    let run = |stage, cache: &SharedCache, qkv: &[Tensor; 3]| {
        let info = SequenceInfo::full("ids", 1, qkv[0].shape()[1]);
        let pass = pass(stage, vec![info])
            .with_cache(vec![cache.clone()])
            .unwrap();
        attend(&pass, qkv, setting).to_f32_vec().unwrap()
    };
    let cache = SequenceCache::shared();
    run(Stage::Prefill, &cache, &part(&row, 0, 6));
    let beams = reorder(&[cache], &[0, 0]).unwrap();
    run(Stage::Decode, &beams[1], &part(&other, 6, 1));
    let first = run(Stage::Decode, &beams[0], &part(&row, 6, 1));
    let info = SequenceInfo::full("ids", 1, 10);
    let expected = attend(&pass(Stage::Evaluate, vec![info]), &row, setting);
    let expected = expected.narrow(1, 6, 1).unwrap().to_f32_vec().unwrap();
    close(&first, &expected, 1e-5);
    let second = run(Stage::Decode, &beams[1], &part(&row, 6, 1));
    assert_ne!(first, second);
}

#[test]
fn misuse_is_explained() {
    let [q, k, v] = whole(0, 4, 4);
    let options = AttentionOptions::causal(0, "ids");
    let info = || vec![SequenceInfo::full("ids", 1, 4)];
    let call = |pass: &Pass| pass.attention(&q, Some(&k), Some(&v), None, &options);
    fails(call(&pass(Stage::Prefill, info())), &["no cache"]);
    let train = pass(Stage::Train, info()).with_cache(vec![SequenceCache::shared()]);
    assert!(train.is_err());
    let few = pass(Stage::Decode, info()).with_cache(Vec::new());
    assert!(
        few.map(|_| ())
            .unwrap_err()
            .to_string()
            .contains("0 caches for 1 rows")
    );
    let cache = SequenceCache::shared();
    let twice = vec![SequenceInfo::full("ids", 2, 4)];
    let twice = pass(Stage::Decode, twice).with_cache(vec![cache.clone(), cache.clone()]);
    assert!(
        twice
            .map(|_| ())
            .unwrap_err()
            .to_string()
            .contains("fork it")
    );
    let packed = vec![sequence("ids", 4, &[&[2, 2]])];
    let packed = pass(Stage::Prefill, packed).with_cache(vec![cache.clone()]);
    assert!(
        packed
            .map(|_| ())
            .unwrap_err()
            .to_string()
            .contains("packs 2 documents")
    );

    // A pass that failed before this layer leaves it behind the others.
    drop(
        pass(Stage::Prefill, info())
            .with_cache(vec![cache.clone()])
            .unwrap(),
    );
    let next = pass(Stage::Prefill, info())
        .with_cache(vec![cache.clone()])
        .unwrap();
    fails(call(&next), &["holds 0 tokens", "starts at 4", "Truncate"]);

    let decode = || {
        pass(Stage::Decode, info())
            .with_cache(vec![SequenceCache::shared()])
            .unwrap()
    };
    let cross = AttentionOptions::cross(1, "ids", "src");
    fails(
        decode().attention(&q, None, None, None, &cross),
        &["`src`", "run prefill"],
    );
    let both = AttentionOptions::bidirectional(1, "ids");
    fails(
        decode().attention(&q, Some(&k), Some(&v), None, &both),
        &["bidirectional"],
    );
}
