//! tenon-train
