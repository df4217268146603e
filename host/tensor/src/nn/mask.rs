//! Which keys each query may attend to. Documents are contiguous, so padding, packing, causality and
//! windows all leave a query one range of keys.

use std::ops::Range;

use super::{attention::AttentionKind, sequence::SequenceInfo};

/// Added to the score of a key that may not be seen. Finite, so that a query without any key gives
/// numbers and not NaN.
const HIDDEN: f32 = -1e9;

/// The keys [start, end) that each query of a batch sees, [batch, queries].
pub(super) type Ranges = Vec<[u32; 2]>;

/// What the ranges over given keys depend on within a pass.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(super) struct MaskKey {
    pub kind: AttentionKind,
    pub queries: String,
    pub keys: String,
    pub window: Option<u32>,
}

fn range(range: Range<usize>) -> [u32; 2] {
    [range.start as u32, range.end.max(range.start) as u32]
}

/// The places of a row's documents.
fn documents(lengths: &[usize]) -> impl Iterator<Item = Range<usize>> {
    lengths.iter().scan(0, |at, length| {
        let start = *at;
        *at += length;
        Some(start..*at)
    })
}

/// The ranges of attention over the keys of the batch itself.
pub(super) fn over_batch(
    kind: AttentionKind,
    window: Option<u32>,
    queries: &SequenceInfo,
    keys: &SequenceInfo,
) -> Ranges {
    let window = window.map_or(usize::MAX, |window| window as usize);
    let mut out = vec![[0; 2]; queries.batch() * queries.tokens];
    for (row, lengths) in queries.rows.iter().enumerate() {
        let sources: Vec<Range<usize>> = documents(&keys.rows[row]).collect();
        let out = &mut out[row * queries.tokens..][..queries.tokens];
        for (number, document) in documents(lengths).enumerate() {
            for at in document.clone() {
                let first = at.saturating_sub(window).max(document.start);
                out[at] = range(match kind {
                    AttentionKind::Causal => first..at + 1,
                    AttentionKind::Bidirectional => {
                        first
                            ..at.saturating_add(window)
                                .saturating_add(1)
                                .min(document.end)
                    }
                    // The n-th document of a packed row has the n-th source; a row with one source
                    // has it for all its documents.
                    AttentionKind::Cross => match sources.as_slice() {
                        [only] => only.clone(),
                        several => several.get(number).cloned().unwrap_or(0..0),
                    },
                });
            }
        }
    }
    out
}

/// The ranges of attention over cached keys, `cached[row]` of them; row `row`'s first query is at
/// position `starts[row]`.
pub(super) fn over_cache(
    kind: AttentionKind,
    window: Option<u32>,
    queries: &SequenceInfo,
    starts: &[usize],
    cached: &[usize],
) -> Ranges {
    let mut out = vec![[0; 2]; queries.batch() * queries.tokens];
    for (row, keys) in cached.iter().enumerate() {
        for i in 0..queries.real(row) {
            let position = starts[row] + i;
            let first = window.map_or(0, |window| position.saturating_sub(window as usize));
            out[row * queries.tokens + i] = range(match kind {
                AttentionKind::Cross => 0..*keys,
                _ => first..(position + 1).min(*keys),
            });
        }
    }
    out
}

/// The additive mask of ranges, [batch, 1, queries, keys].
pub(super) fn additive(ranges: &[[u32; 2]], keys: usize) -> Vec<f32> {
    let mut out = vec![HIDDEN; ranges.len() * keys];
    for (row, [start, end]) in out.chunks_exact_mut(keys.max(1)).zip(ranges) {
        row[*start as usize..*end as usize].fill(0.0);
    }
    out
}

/// Which queries see no key at all, [batch, queries].
pub(super) fn blind(ranges: &[[u32; 2]]) -> Vec<u8> {
    ranges
        .iter()
        .map(|[start, end]| u8::from(start >= end))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(rows: Vec<Vec<usize>>, tokens: usize) -> SequenceInfo {
        let name = String::new();
        SequenceInfo { name, tokens, rows }
    }

    fn picture(ranges: &[[u32; 2]], keys: u32) -> Vec<String> {
        ranges
            .iter()
            .map(|[start, end]| {
                (0..keys)
                    .map(|key| {
                        if (*start..*end).contains(&key) {
                            'x'
                        } else {
                            '.'
                        }
                    })
                    .collect()
            })
            .collect()
    }

    #[test]
    fn packed_documents_do_not_see_each_other_and_padding_sees_nothing() {
        let rows = info(vec![vec![2, 2]], 5);
        let over = |kind| over_batch(kind, None, &rows, &rows);
        let causal = over(AttentionKind::Causal);
        assert_eq!(
            picture(&causal, 5),
            ["x....", "xx...", "..x..", "..xx.", "....."]
        );
        assert_eq!(
            picture(&over(AttentionKind::Bidirectional), 5),
            ["xx...", "xx...", "..xx.", "..xx.", "....."]
        );
        assert_eq!(blind(&causal), [0, 0, 0, 0, 1]);
        let additive = additive(&causal, 5);
        assert_eq!(additive[5..10], [0.0, 0.0, HIDDEN, HIDDEN, HIDDEN]);
        assert_eq!(additive[20..], [HIDDEN; 5]);
    }

    #[test]
    fn a_window_is_a_distance() {
        let rows = info(vec![vec![4]], 4);
        let over = |kind| over_batch(kind, Some(1), &rows, &rows);
        assert_eq!(
            picture(&over(AttentionKind::Causal), 4),
            ["x...", "xx..", ".xx.", "..xx"]
        );
        assert_eq!(
            picture(&over(AttentionKind::Bidirectional), 4),
            ["xx..", "xxx.", ".xxx", "..xx"]
        );
    }

    #[test]
    fn sources_follow_their_documents() {
        let queries = info(vec![vec![1, 2], vec![2, 1]], 3);
        let keys = info(vec![vec![2, 1], vec![2]], 3);
        let ranges = over_batch(AttentionKind::Cross, None, &queries, &keys);
        assert_eq!(
            picture(&ranges, 3),
            ["xx.", "..x", "..x", "xx.", "xx.", "xx."]
        );
    }

    #[test]
    fn cached_keys_are_seen_up_to_the_query() {
        let queries = info(vec![vec![2], vec![1]], 2);
        let over = |kind, window| over_cache(kind, window, &queries, &[3, 0], &[5, 1]);
        assert_eq!(
            picture(&over(AttentionKind::Causal, None), 5),
            ["xxxx.", "xxxxx", "x....", "....."]
        );
        assert_eq!(
            picture(&over(AttentionKind::Causal, Some(2)), 5),
            [".xxx.", "..xxx", "x....", "....."]
        );
        assert_eq!(
            picture(&over(AttentionKind::Cross, None), 5),
            ["xxxxx", "xxxxx", "x....", "....."]
        );
    }
}
