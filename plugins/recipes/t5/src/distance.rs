//! Kinds of distance: near ones each their own, far ones in ranges that grow with the distance.

use tenon_sdk::{
    Result,
    tensor::{DType, Tensor, where_},
};

/// How distances are told apart.
#[derive(Clone, Copy)]
pub struct Rule {
    /// How many kinds there are.
    pub buckets: u32,
    /// Where the last one begins.
    pub farthest: u32,
    /// Whether keys lie behind the query only; else half of the kinds is for those ahead.
    pub causal: bool,
}

/// The kind of distance from each query to each key, int64 [batch, queries, keys], by their positions
/// [batch, queries] and [batch, keys].
pub fn buckets(queries: &Tensor, keys: &Tensor, rule: Rule) -> Result<Tensor> {
    let ahead =
        keys.cast(DType::Float32)?.unsqueeze(1)? - queries.cast(DType::Float32)?.unsqueeze(2)?;
    let (kinds, distance) = if rule.causal {
        (rule.buckets, (-&ahead).clamp(Some(0.0), None)?)
    } else {
        (rule.buckets / 2, ahead.abs()?)
    };
    let exact = f64::from(kinds / 2);
    let growth = (f64::from(kinds) - exact) / (f64::from(rule.farthest) / exact).ln();
    let far = ((&distance / exact).clamp(Some(1.0), None)?.log()? * growth).floor()? + exact;
    let far = far.clamp(None, Some(f64::from(kinds - 1)))?;
    let mut bucket = where_(&distance.lt_scalar(exact)?, &distance, &far)?;
    if !rule.causal {
        bucket = bucket + ahead.gt_scalar(0.0)?.cast(DType::Float32)? * f64::from(kinds);
    }
    Ok(bucket.cast(DType::Int64)?)
}
