//! Compatibility harness.
