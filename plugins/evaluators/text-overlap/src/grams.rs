//! Variety and repetition.

use std::collections::{HashMap, HashSet};

use tenon_sdk::{
    host::Random,
    stats::{self, Interval},
};

/// The n-grams of every text as numbers; equal ones have the same.
pub(crate) fn ids(texts: &[Vec<u32>], order: usize) -> Vec<Vec<u32>> {
    let mut known: HashMap<&[u32], u32> = HashMap::new();
    let mut id = |gram| {
        let next = known.len() as u32;
        *known.entry(gram).or_insert(next)
    };
    texts
        .iter()
        .map(|text| text.windows(order).map(&mut id).collect())
        .collect()
}

/// Whole texts as numbers.
pub(crate) fn whole(texts: &[String]) -> Vec<Vec<u32>> {
    let mut known: HashMap<&str, u32> = HashMap::new();
    let mut rows = Vec::with_capacity(texts.len());
    for text in texts {
        let next = known.len() as u32;
        rows.push(vec![*known.entry(text).or_insert(next)]);
    }
    rows
}

/// The share of different ones among all (distinct-n, Li et al. 2016), with its interval; nothing where
/// there are none.
///
/// A draw with replacement has the same text twice and so is always less varied than the texts
/// themselves. What the bootstrap gives is how much the share varies: the interval lies around the
/// value as the draws lie around their mean.
pub(crate) fn distinct(
    rows: &[Vec<u32>],
    resamples: usize,
    random: &mut Random,
) -> Option<(f64, Option<Interval>)> {
    let ids = rows.iter().flatten().max()? + 1;
    // The last draw that had each.
    let mut seen = vec![0_u32; ids as usize];
    let mut draw = 0;
    let mut share = |rows: &mut dyn Iterator<Item = &Vec<u32>>| {
        draw += 1;
        let (mut different, mut all) = (0_u64, 0_u64);
        for id in rows.flatten() {
            all += 1;
            let last = &mut seen[*id as usize];
            different += u64::from(*last != draw);
            *last = draw;
        }
        different as f64 / all as f64
    };
    let value = share(&mut rows.iter());
    let mut sum = 0.0;
    let interval = stats::bootstrap(rows.len(), resamples, random, |drawn| {
        let share = share(&mut drawn.iter().map(|&row| &rows[row]));
        sum += share;
        share
    });
    let shift = value - sum / resamples.max(1) as f64;
    let around = interval.map(|interval| Interval {
        low: (interval.low + shift).clamp(0.0, 1.0),
        high: (interval.high + shift).clamp(0.0, 1.0),
    });
    Some((value, around))
}

/// For each text, how many n-grams stood in it before, and how many there are.
pub(crate) fn repeated(texts: &[Vec<u32>], order: usize) -> (Vec<f64>, Vec<f64>) {
    texts
        .iter()
        .map(|text| {
            let grams = text.windows(order);
            let all = grams.len();
            let different: HashSet<&[u32]> = grams.collect();
            ((all - different.len()) as f64, all as f64)
        })
        .unzip()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn distinct_grams_are_counted_over_all_texts() {
        // ab ba ab | ab: 2 different of 4.
        let texts = [vec![0, 1, 0, 1], vec![0, 1], vec![5]];
        let (value, interval) = distinct(&ids(&texts, 2), 0, &mut Random::new(1)).unwrap();
        assert_eq!((value, interval), (0.5, None));
        assert!(distinct(&ids(&texts, 5), 10, &mut Random::new(1)).is_none());
        let whole = whole(&["a".into(), "b".into(), "a".into(), "a".into()]);
        assert_eq!(distinct(&whole, 0, &mut Random::new(1)).unwrap().0, 0.5);
    }

    #[test]
    fn the_interval_lies_around_the_value() {
        let mut random = Random::new(3);
        let texts: Vec<Vec<u32>> = (0..400)
            .map(|_| (0..5).map(|_| random.below(200) as u32).collect())
            .collect();
        let (value, interval) = distinct(&ids(&texts, 2), 500, &mut random).unwrap();
        let interval = interval.unwrap();
        assert!(
            interval.low < value && value < interval.high,
            "{interval:?} of {value}"
        );
        assert!(interval.high - interval.low < 0.05, "{interval:?}");
    }

    #[test]
    fn repetition_is_within_a_text() {
        let texts = [vec![0, 1, 0, 1], vec![0, 1], vec![]];
        assert_eq!(
            repeated(&texts, 2),
            (vec![1.0, 0.0, 0.0], vec![3.0, 1.0, 0.0])
        );
        assert_eq!(repeated(&texts, 1).0, [2.0, 0.0, 0.0]);
    }
}
