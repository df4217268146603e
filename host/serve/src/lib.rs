//! tenon-serve
