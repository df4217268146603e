//! Kernels of our own.
