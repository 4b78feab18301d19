//! A disk that is slow, or hangs: noticed by how long the oldest commit round has been under way.

use std::time::Duration;

use super::Maintenance;

/// A round that takes longer is said once, and once when it is over.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// What is known of the disk's speed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DiskHealth {
    #[default]
    Fine,
    /// A round has taken longer than [`SLOW_AFTER`].
    Slow,
    /// A round has taken longer than `storage.disk_stall_timeout`.
    Stalled,
}

impl DiskHealth {
    fn of(age: Option<Duration>, stall_timeout: Duration) -> Self {
        match age {
            Some(age) if age >= stall_timeout => Self::Stalled,
            Some(age) if age >= SLOW_AFTER => Self::Slow,
            _ => Self::Fine,
        }
    }
}

impl Maintenance {
    /// For how long the oldest commit round has been on its way to disk; `None` while there is none.
    pub(crate) fn oldest_round_age(&self) -> Option<Duration> {
        self.replicas.oldest_round_age()
    }

    /// What an operator is shown of a round that takes long. [`crate::health`] reports a disk that hangs.
    pub(crate) fn slow_round(&self) -> Option<String> {
        let age = self.oldest_round_age()?;
        let is_slow =
            DiskHealth::of(Some(age), self.context.config.storage.disk_stall_timeout) != DiskHealth::Fine;
        is_slow.then(|| format!("a commit round has been on its way to disk for {} ms", age.as_millis()))
    }

    /// Checks how fast the disk is, and returns it. Uses neither the disk nor a lock that is held during I/O.
    pub(super) fn watch_disk_health(&self, before: DiskHealth) -> DiskHealth {
        let age = self.oldest_round_age();
        let health = DiskHealth::of(age, self.context.config.storage.disk_stall_timeout);
        let age_ms = age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        match (before, health) {
            (DiskHealth::Fine, DiskHealth::Slow) => {
                tracing::warn!(event = "B0208", age_ms, "the disk is slow")
            }
            (DiskHealth::Fine | DiskHealth::Slow, DiskHealth::Stalled) => {
                tracing::error!(event = "B0210", age_ms, "the disk hangs");
            }
            (DiskHealth::Slow | DiskHealth::Stalled, DiskHealth::Fine) => {
                tracing::info!(event = "B0209", "the disk goes on")
            }
            _ => {}
        }
        self.context.health.set_disk_stalled(health == DiskHealth::Stalled);
        health
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_slow_and_then_stalled() {
        let of = |ms| DiskHealth::of(Some(Duration::from_millis(ms)), Duration::from_secs(5));
        assert_eq!(
            [of(0), of(999), of(1_000), of(4_999), of(5_000)],
            [DiskHealth::Fine, DiskHealth::Fine, DiskHealth::Slow, DiskHealth::Slow, DiskHealth::Stalled]
        );
        assert_eq!(DiskHealth::of(None, Duration::ZERO), DiskHealth::Fine);
        let impatient = DiskHealth::of(Some(Duration::from_millis(600)), Duration::from_millis(500));
        assert_eq!(impatient, DiskHealth::Stalled);
    }
}
