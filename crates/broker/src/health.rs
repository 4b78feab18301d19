//! Whether this broker can serve, and why not: what `/readyz` answers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// One thing that must hold for the broker to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Its logs are recovered and open.
    Recovery,
    /// It is not stopping.
    Draining,
    /// Its disk has room for appends, and does not hang.
    Disk,
}

impl Check {
    /// Every check.
    pub const ALL: [Self; 3] = [Self::Recovery, Self::Draining, Self::Disk];

    /// Its name in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recovery => "recovery",
            Self::Draining => "draining",
            Self::Disk => "disk",
        }
    }
}

/// The state of the checks, shared by everybody; no locks.
#[derive(Debug, Default)]
pub struct Health {
    recovered: AtomicBool,
    draining: AtomicBool,
    disk_blocked: AtomicBool,
    disk_stalled: AtomicBool,
    partitions_open: AtomicU64,
    partitions_total: AtomicU64,
    partitions_down: AtomicU64,
}

impl Health {
    /// Not ready: recovery has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// How far recovery has come, in partitions.
    pub fn set_recovery_progress(&self, open: u64, total: u64) {
        self.partitions_total.store(total, Relaxed);
        self.partitions_open.store(open, Relaxed);
    }

    /// Recovery is done.
    pub fn set_recovered(&self) {
        self.recovered.store(true, Relaxed);
    }

    /// The broker is stopping; there is no way back.
    pub fn set_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether free space is below `storage.disk_block_watermark`.
    pub fn set_disk_blocked(&self, blocked: bool) {
        self.disk_blocked.store(blocked, Relaxed);
    }

    /// Whether a commit round has been under way for longer than `storage.disk_stall_timeout`.
    pub fn set_disk_stalled(&self, stalled: bool) {
        self.disk_stalled.store(stalled, Relaxed);
    }

    /// How many partitions of this broker take no appends since a write or sync failed.
    pub fn set_partitions_down(&self, count: u64) {
        self.partitions_down.store(count, Relaxed);
    }

    /// How many partitions take no appends since a write or sync failed.
    pub fn partitions_down(&self) -> u64 {
        self.partitions_down.load(Relaxed)
    }

    /// Whether every check passes.
    pub fn is_ready(&self) -> bool {
        Check::ALL.iter().all(|check| self.failure(*check).is_none())
    }

    /// Why a check fails; `None` when it passes.
    pub fn failure(&self, check: Check) -> Option<String> {
        match check {
            Check::Recovery if !self.recovered.load(Relaxed) => {
                let (open, total) = (self.partitions_open.load(Relaxed), self.partitions_total.load(Relaxed));
                Some(format!("recovering {open}/{total} partitions"))
            }
            Check::Draining if self.draining.load(Relaxed) => Some("stopping".to_owned()),
            Check::Disk if self.disk_blocked.load(Relaxed) => Some(
                "free space is below storage.disk_block_watermark; produce requests are refused".to_owned(),
            ),
            Check::Disk if self.disk_stalled.load(Relaxed) => Some(
                "a commit round has not ended within storage.disk_stall_timeout: the disk hangs".to_owned(),
            ),
            Check::Recovery | Check::Draining | Check::Disk => None,
        }
    }
}
