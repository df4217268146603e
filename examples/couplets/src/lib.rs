//! A synthetic corpus for the couplet demo.
//!
//! It is made by rules from a small lexicon, so a model that has learnt it has learnt these rules and
//! not Chinese poetry: it shows the platform at work without any outside data. Real text is better;
//! the demo takes it with `--data FOLDER`, in the files that [`corpus::write`] writes.

pub mod corpus;
pub mod demo;
pub mod grammar;
pub mod lexicon;
pub mod rng;
