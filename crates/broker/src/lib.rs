//! The shell around the pure cores: tasks, disk threads and listeners. It performs what the cores decide.
//!
//! Never: rules of its own.

mod broker;
pub mod config;
pub mod data_dir;
mod engine;
mod groups;
pub mod health;
pub mod http;
mod limits;
pub mod log_levels;
pub mod metrics;
pub mod open_files;
pub mod parallel;
mod sampling;
mod server;
mod services;

pub use broker::{Broker, HostProcess, Recovery, RunningBroker, StartError};

#[cfg(test)]
mod generated;
