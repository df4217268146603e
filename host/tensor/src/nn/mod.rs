//! What a model is made of: named parameters and layers ([`Scope`]), and the run that it is computed
//! in ([`Pass`]), whose attention knows padding, packed documents and the cache of generated
//! sequences. Names and meaning are those of the contract's `model-host` interface.

mod attention;
mod cache;
mod composite;
mod convolution;
mod host;
mod mask;
mod pass;
mod scope;
mod sequence;

pub use attention::{AttentionKind, AttentionOptions};
pub use cache::{SequenceCache, SharedCache, reorder};
pub use convolution::ConvLayerOptions;
pub use pass::{Pass, Stage};
pub use scope::{Activation, LinearOptions, NormKind, Scope, WeightLayout};
pub use sequence::SequenceInfo;

pub use crate::params::Init;

#[cfg(test)]
mod tests;
