//! Shared by the integration tests and, by path, by the fuzz target.

#[allow(dead_code, reason = "each test file uses its part")]
pub(crate) mod exercise;
#[allow(dead_code, reason = "each test file uses its part")]
pub(crate) mod owned;
