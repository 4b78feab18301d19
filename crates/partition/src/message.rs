//! What replicas of a partition say to each other, and to the controller.

use corduroy_types::{BrokerId, EpochHistory, Incarnation, LeaderEpoch, Offset};

/// A follower opens its stream of a partition to the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The epoch that it follows.
    pub epoch: LeaderEpoch,
    /// Which run of its broker, or of its log, it is.
    pub incarnation: Incarnation,
    /// Its log start.
    pub log_start: Offset,
    /// Its log end.
    pub log_end: Offset,
    /// Its epoch history.
    pub history: EpochHistory,
    /// It may have lost data, and has no voice in elections until it is proved again (rule R14).
    pub suspect: bool,
}

/// The leader answers a [`Hello`]. What follows are [`Push`]es.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The epoch that it leads in.
    pub epoch: LeaderEpoch,
    /// Which run of the leader's log it is.
    pub incarnation: Incarnation,
    /// The leader's log start.
    pub log_start: Offset,
    /// The leader's log end.
    pub log_end: Offset,
    /// The leader's epoch history. Its last entry is the epoch's own.
    pub history: EpochHistory,
}

/// The leader sends batches, or only how far the log is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Push {
    /// The epoch that it leads in.
    pub epoch: LeaderEpoch,
    /// The offset of the first batch; the follower's log end where there is none.
    pub from: Offset,
    /// The leader's high watermark.
    pub high_watermark: Offset,
    /// The leader's log start.
    pub log_start: Offset,
}

/// Where one batch of a push lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSpan {
    /// Its first offset.
    pub base: Offset,
    /// The offset after its last one.
    pub end: Offset,
    /// The epoch that it is stamped with.
    pub epoch: LeaderEpoch,
}

/// A follower says what it holds (rule R5). Everything below its ends agrees with the leader's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The epoch that it follows.
    pub epoch: LeaderEpoch,
    /// Which run of its log it is.
    pub incarnation: Incarnation,
    /// The end of what counts there.
    pub counted_end: Offset,
    /// The end of what is on stable storage there.
    pub durable_end: Offset,
    /// The last epoch in its durable history: nothing counts before that is the leader's.
    pub held_epoch: Option<LeaderEpoch>,
    /// Its log start.
    pub log_start: Offset,
}

/// A replica answers the controller's fence (rules R1 and R2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The attempt that it answers.
    pub epoch: LeaderEpoch,
    /// Which run of its log it is: only this one may lead in the epoch (rule R3).
    pub incarnation: Incarnation,
    /// The last epoch in its durable history.
    pub last_epoch: Option<LeaderEpoch>,
    /// Its log end; everything below is on stable storage.
    pub log_end: Offset,
    /// The high watermark that it knows.
    pub high_watermark: Offset,
    /// Its log start.
    pub log_start: Offset,
    /// It may have lost data.
    pub suspect: bool,
}

/// A replica refuses a fence: it has promised a newer epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceRefused {
    /// The attempt that it refuses.
    pub epoch: LeaderEpoch,
    /// What it has promised.
    pub promised: LeaderEpoch,
}

/// Why a leader asks for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResignReason {
    /// Its log takes no appends.
    LogFailed,
    /// A round of writes and syncs hangs longer than `disk_stall_timeout`.
    DiskStalled,
    /// It has heard from no quorum for two leases.
    NoQuorum,
    /// This replica has everything, and is to lead.
    Transfer(BrokerId),
}
