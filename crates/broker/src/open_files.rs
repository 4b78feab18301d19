//! How many files this process may have open, and who gets them: sockets first, the rest is the log's.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are neither a connection's nor the log's: listeners, the scrapes of `listen.http`, the lock, pipes, what
/// is open for the moment of a directory's sync.
const APART: u64 = 256;
/// More handles than this gain nothing: what was not used for that long can be opened again.
const LOG_FILES_MAX: u64 = 16_384;

/// A division of the files that may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// The limit of the process.
    pub limit: u64,
    /// For segments and their like: the capacity of a [`corduroy_log::disk::HandleCache`]. At least 1.
    pub log_files: usize,
    /// Connections to `listen.grpc`: as many as configured, or what the limit leaves. At least 1.
    pub connections: u32,
}

impl OpenFiles {
    /// Divides `limit` files. Connections get at most half of what there is, so that neither side starves the other.
    pub fn divide(limit: u64, max_connections: u32) -> Self {
        let shared = limit.saturating_sub(APART.min(limit / 4));
        let connections = u64::from(max_connections).min(shared / 2).max(1);
        let log_files = shared.saturating_sub(connections).clamp(1, LOG_FILES_MAX);
        Self {
            limit,
            log_files: usize::try_from(log_files).unwrap_or(usize::MAX),
            connections: u32::try_from(connections).unwrap_or(u32::MAX),
        }
    }
}

/// Raises the soft limit of open files to the hard one, and returns what may be open then.
pub fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum || setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        return current.unwrap_or(u64::MAX);
    }
    maximum.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_logs_share_what_there_is() {
        let of = |limit, connections| {
            let OpenFiles { log_files, connections, .. } = OpenFiles::divide(limit, connections);
            (log_files, connections)
        };
        assert_eq!(of(1_048_576, 10_000), (16_384, 10_000));
        assert_eq!(of(20_256, 10_000), (10_000, 10_000));
        assert_eq!(of(1_024, 10_000), (384, 384));
        assert_eq!(of(1_024, 100), (668, 100));
        assert_eq!(of(64, 10_000), (24, 24));
        assert_eq!(of(0, 1), (1, 1));
        assert_eq!(of(u64::MAX, u32::MAX), (16_384, u32::MAX));
    }
}
