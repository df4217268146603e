//! tenon-api
