//! Exit statuses. 2, for a wrong command line, is clap's.

use std::process::ExitCode;

/// It failed.
pub(crate) const FAILED: ExitCode = ExitCode::FAILURE;

/// The configuration is wrong (`EX_CONFIG` of sysexits).
pub(crate) fn wrong_config() -> ExitCode {
    ExitCode::from(78)
}
