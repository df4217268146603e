//! The REST control plane.

pub mod types;
