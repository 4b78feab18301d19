//! How much memory this process may take, and how it is divided.

use corduroy_types::{GIB, MIB};

use super::BrokerConfig;

/// What the broker assumes where the system does not say how much memory it has.
const UNKNOWN_HOST_BYTES: u64 = 4 * GIB;

/// A quarter of the memory that the control group, or else the host, allows; at least 64 MiB.
///
/// The rest belongs to the page cache, which serves cold reads.
pub(super) fn auto_limit_bytes() -> u64 {
    let host = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of_meminfo(&text));
    let group = cgroup_limit_bytes();
    let allowed = match (host, group) {
        (Some(host), Some(group)) => host.min(group),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => UNKNOWN_HOST_BYTES,
    };
    (allowed / 4).max(64 * MIB)
}

fn total_of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The least `memory.max` on the way from this process's group to the root (version 2), or version 1's limit.
fn cgroup_limit_bytes() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let version_2 = own.and_then(|path| {
        let mut group = std::path::PathBuf::from("/sys/fs/cgroup").join(path.trim_start_matches('/'));
        let mut least: Option<u64> = None;
        while group.starts_with("/sys/fs/cgroup") {
            let limit = std::fs::read_to_string(group.join("memory.max")).ok().and_then(|text| number(&text));
            least = [least, limit].into_iter().flatten().min();
            if !group.pop() {
                break;
            }
        }
        least
    });
    version_2
        .or_else(|| number(&std::fs::read_to_string("/sys/fs/cgroup/memory/memory.limit_in_bytes").ok()?))
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// How [`BrokerConfig::node`]'s memory limit is divided among the buffers that grow with load: in four equal parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudgets {
    /// The tail cache: batches just appended, served to consumers without a disk read.
    pub tail_cache_bytes: u64,
    /// Requests that are being received: `limits.inflight_produce_bytes`, at most a part.
    pub receive_bytes: u64,
    /// Produce requests that are received and not yet answered: the same again.
    pub append_bytes: u64,
    /// Fetch answers not yet sent: `limits.inflight_fetch_bytes`, at most a part.
    pub fetch_bytes: u64,
}

impl MemoryBudgets {
    /// Divides the limit that `config` sets.
    pub fn of(config: &BrokerConfig) -> Self {
        let part = config.node.memory_limit_bytes() / 4;
        Self {
            tail_cache_bytes: part,
            receive_bytes: config.limits.inflight_produce_bytes.min(part),
            append_bytes: config.limits.inflight_produce_bytes.min(part),
            fetch_bytes: config.limits.inflight_fetch_bytes.min(part),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_says_how_much_memory_it_has() {
        assert_eq!(total_of_meminfo("MemTotal:       24000 kB\nMemFree: 1 kB\n"), Some(24_000 * 1024));
        assert_eq!(total_of_meminfo("MemFree: 1 kB\n"), None);
        assert_eq!(number("max\n"), None);
        assert!(auto_limit_bytes() >= 64 * MIB);
    }

    #[test]
    fn budgets_stay_within_the_limit() {
        let config = BrokerConfig::for_tests("/nowhere");
        let MemoryBudgets { tail_cache_bytes, receive_bytes, append_bytes, fetch_bytes } =
            MemoryBudgets::of(&config);
        let sum = tail_cache_bytes + receive_bytes + append_bytes + fetch_bytes;
        assert!(sum <= config.node.memory_limit_bytes());
    }
}
