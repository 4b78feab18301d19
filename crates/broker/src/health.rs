//! Whether this broker can serve, and why not: what `/readyz` answers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use arc_swap::ArcSwapOption;

/// One thing that must hold for the broker to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Its logs are recovered and open.
    Recovery,
    /// It is not stopping.
    Draining,
    /// Logs can be written: see [`DiskTrouble`].
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

/// Why no log can be written. `/readyz` and `status` say the same, because both ask for these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskTrouble {
    /// The data directory is no longer the one that was locked: what happened to it.
    DirectoryLost(Arc<String>),
    /// Free space is below `storage.disk_block_watermark`.
    Blocked,
    /// A commit round has been under way for longer than `storage.disk_stall_timeout`.
    Stalled,
    /// Every log has met a failed write or sync and is not reopened yet.
    AllLogsStopped,
}

impl DiskTrouble {
    /// What is wrong.
    pub fn message(&self) -> String {
        match self {
            Self::DirectoryLost(reason) => format!("{reason}; nothing can be written"),
            Self::Blocked => {
                "free space is below storage.disk_block_watermark; produce requests are refused".to_owned()
            }
            Self::Stalled => {
                "a commit round has not ended within storage.disk_stall_timeout: the disk hangs".to_owned()
            }
            Self::AllLogsStopped => {
                "no log can be written since a write or sync failed; they are reopened when that succeeds"
                    .to_owned()
            }
        }
    }

    /// What to do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::DirectoryLost(_) => {
                "put the same directory back, and the broker goes on by itself; else stop it and restore the data: \
                 what was acknowledged in the second before this was noticed may be lost with the directory"
            }
            Self::Blocked => "free space, shorten retention or delete records; it recovers by itself",
            Self::Stalled => "check the disk; appends wait for it and end as unknown at their time-out",
            Self::AllLogsStopped => "check the disk and the broker's log",
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
    all_logs_stopped: AtomicBool,
    data_dir_lost: ArcSwapOption<String>,
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

    /// How many logs of this broker take no appends since a write or sync failed, of how many; the metadata log is one
    /// of them.
    pub fn set_partitions_down(&self, count: u64, of: u64) {
        self.partitions_down.store(count, Relaxed);
        self.all_logs_stopped.store(count == of && of > 0, Relaxed);
    }

    /// What happened to the data directory, if it is no longer the one that was locked.
    pub fn set_data_dir_lost(&self, reason: Option<String>) {
        self.data_dir_lost.store(reason.map(Arc::new));
    }

    /// What happened to the data directory, if it is no longer the one that was locked.
    pub fn data_dir_lost(&self) -> Option<Arc<String>> {
        self.data_dir_lost.load_full()
    }

    /// Everything that keeps all logs from being written, the worst first.
    pub fn disk_troubles(&self) -> Vec<DiskTrouble> {
        let lost = self.data_dir_lost().map(DiskTrouble::DirectoryLost);
        let flags = [
            (&self.disk_blocked, DiskTrouble::Blocked),
            (&self.disk_stalled, DiskTrouble::Stalled),
            (&self.all_logs_stopped, DiskTrouble::AllLogsStopped),
        ];
        let flagged = flags.into_iter().filter(|(flag, _)| flag.load(Relaxed)).map(|(_, trouble)| trouble);
        lost.into_iter().chain(flagged).collect()
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
            Check::Disk => {
                let troubles = self.disk_troubles();
                let messages: Vec<_> = troubles.iter().map(DiskTrouble::message).collect();
                (!messages.is_empty()).then(|| messages.join("; "))
            }
            Check::Recovery | Check::Draining => None,
        }
    }
}
