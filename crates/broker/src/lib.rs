//! The shell around the pure cores: tasks, disk threads and listeners. It performs what the cores decide.
//!
//! Never: rules of its own.

pub mod config;
pub mod metrics;

#[cfg(test)]
mod generated;
