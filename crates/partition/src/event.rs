//! What happens to a partition, and what it wants done.

use std::sync::Arc;

use corduroy_types::{
    Acks, BrokerId, EpochEntry, EpochHistory, Incarnation, LeaderEpoch, MonotonicMs, Offset,
};

use crate::{
    Ack, Acknowledged, BatchSpan, FenceRefused, Hello, Invariant, NotLeading, Push, Report, ResignReason,
    UnknownReason, Welcome,
};

/// Which append an answer is for. The broker chooses it; two waiting appends have two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The cursors of the partition's own log at one moment: `log_start`, `counted_end` and `durable_end` are all
/// at most `log_end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogEnds {
    /// The first offset that can be read.
    pub log_start: Offset,
    /// The offset that the next record gets.
    pub log_end: Offset,
    /// What counts here: `durable_end` with durability `sync`, `log_end` with `background`.
    pub counted_end: Offset,
    /// The end of what is on stable storage here.
    pub durable_end: Offset,
}

/// The partition's own log, with its durable epoch history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// Its cursors.
    pub ends: LogEnds,
    /// Which epoch wrote which offsets.
    pub history: EpochHistory,
}

/// Something that happened. Those that name an epoch are dropped once another is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The controller begins an election: promise its epoch, and report.
    Fence {
        /// The attempt's epoch.
        epoch: LeaderEpoch,
    },
    /// The promise that [`Action::Promise`] asked for is durable, and so is the whole log.
    Promised {
        /// The epoch promised.
        epoch: LeaderEpoch,
        /// The log, all of it durable.
        log: LogState,
    },
    /// Another broker leads, as the metadata says. Ignored unless the epoch is at least the promised one.
    Follow {
        /// The leadership's number.
        epoch: LeaderEpoch,
        /// Who leads.
        leader: BrokerId,
    },
    /// The log was opened again after a failure, or has been proved to be whole.
    Reopened {
        /// Which run of the log it is now: it never leads again in an epoch of an earlier one (rule R3).
        incarnation: Incarnation,
        /// It may have lost data (rule R14).
        suspect: bool,
    },
    /// This broker leads. The epoch's entry is durable here, and the log is as the last run of it left it.
    ///
    /// Ignored unless `epoch` is greater than every epoch led before (replication rule R3), and at least the promised one.
    Lead {
        /// The leadership's number.
        epoch: LeaderEpoch,
        /// The replica set; this broker is in it.
        replicas: Arc<[BrokerId]>,
        /// The log; its history ends with the epoch's own entry.
        log: LogState,
    },
    /// The least number of replicas that `acks=all` waits for; never fewer than a quorum.
    MinInSync(u32),
    /// Leader of the metadata log: the record that changes its voters is appended, and from here on this set counts (rule V6). All
    /// other partitions keep their set as long as an epoch lasts (rule R17).
    ReplicaSet {
        /// The epoch in which it was appended.
        epoch: LeaderEpoch,
        /// The set from now on. A leader that it does not name leads on, and counts no more.
        replicas: Arc<[BrokerId]>,
    },
    /// Leader: a follower opens its stream.
    Hello {
        /// Which.
        from: BrokerId,
        /// What it says.
        hello: Hello,
    },
    /// Leader: what [`Action::Push`] asked for is on its way.
    Pushed {
        /// To which follower.
        to: BrokerId,
        /// The offset after the last batch that was sent; `from` of the action where none was.
        end: Offset,
        /// How many bytes of batches.
        bytes: u64,
    },
    /// Leader: a follower says what it holds.
    Acked {
        /// Which.
        from: BrokerId,
        /// What it says.
        ack: Ack,
    },
    /// Follower: the stream to the leader is open.
    Connected {
        /// To which broker.
        leader: BrokerId,
    },
    /// Follower: the leader answers.
    Welcomed {
        /// Which broker.
        from: BrokerId,
        /// What it says.
        welcome: Welcome,
    },
    /// Follower: the log is as [`Action::Reconcile`] asked for, durably.
    Reconciled {
        /// The epoch of the action.
        epoch: LeaderEpoch,
        /// The log now.
        log: LogState,
    },
    /// Follower: the entry that [`Action::Adopt`] asked for is durable, and so is the log below it.
    Adopted {
        /// The epoch that is followed.
        epoch: LeaderEpoch,
        /// The entry.
        entry: EpochEntry,
    },
    /// Follower: the leader has sent this.
    Received {
        /// Which broker.
        from: BrokerId,
        /// Its head.
        push: Push,
        /// Its batches, in their order.
        batches: Vec<BatchSpan>,
    },
    /// A stream of this partition is closed.
    Disconnected {
        /// The broker at its other end.
        peer: BrokerId,
    },
    /// The log has taken a batch into memory: from here on the request is acknowledged or unknown.
    Appended {
        /// The request to answer.
        request: RequestId,
        /// The epoch that the batch was stamped with.
        epoch: LeaderEpoch,
        /// The batch's first offset: the log end before it.
        base: Offset,
        /// The offset after its last one, which is the log end now.
        end: Offset,
        /// What the producer waits for.
        acks: Acks,
        /// When the wait ends as unknown.
        deadline: MonotonicMs,
    },
    /// A producer sent a batch again that the log has: the request waits for what the first one waits for, and is
    /// acknowledged when that batch counts.
    Duplicate {
        /// The request to answer.
        request: RequestId,
        /// The epoch in which the log was asked; the batch may be of an earlier one.
        epoch: LeaderEpoch,
        /// The batch's first offset.
        base: Offset,
        /// The offset after its last one: at most the log end.
        end: Offset,
        /// What the producer waits for.
        acks: Acks,
        /// When the wait ends as unknown.
        deadline: MonotonicMs,
    },
    /// A commit round ended well, or (with durability `background`) an append counts at once.
    Counted {
        /// The epoch in which the log was asked.
        epoch: LeaderEpoch,
        /// What counts here now.
        counted_end: Offset,
        /// What is on stable storage here now.
        durable_end: Offset,
    },
    /// The log start was raised, by retention or by delete-records. It never passes the high watermark.
    LogStartRaised {
        /// The first offset that can be read now.
        log_start: Offset,
    },
    /// A write or sync failed and the log takes no more appends: the leadership ends.
    LogFailed {
        /// The epoch in which it failed.
        epoch: LeaderEpoch,
        /// The end of what is certainly on stable storage; the log will be cut there.
        durable_end: Offset,
    },
    /// The shell has read the log's cursors: log and partition must agree ([`Invariant::LogAgrees`]).
    LogSeen {
        /// The epoch in which it read them.
        epoch: LeaderEpoch,
        /// The log's start.
        log_start: Offset,
        /// The log's end.
        log_end: Offset,
    },
    /// Leader: hand the leadership to this replica. Produces are refused until it has everything.
    Transfer {
        /// Which replica.
        target: BrokerId,
        /// When the attempt is given up.
        deadline: MonotonicMs,
    },
    /// Leader: it cannot serve any more; another one is asked for.
    Resign {
        /// Why.
        reason: ResignReason,
    },
    /// The broker gives the leadership up.
    Stop {
        /// Why.
        reason: NotLeading,
    },
    /// Nothing but time passed.
    Tick,
}

/// Something to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The high watermark was raised to here: waiting fetches may have something to read.
    HighWatermark(Offset),
    /// Answer the producer.
    Answer {
        /// Which request.
        request: RequestId,
        /// Acknowledged, or why it is not known whether the records will stay.
        result: Result<Acknowledged, UnknownReason>,
    },
    /// A rule is broken; the leadership ends with [`NotLeading::Contradiction`]. Report it: it is a fault of the broker.
    Contradiction(Invariant),
    /// The leadership ended: waiting fetches end too, and another broker, or this one in a later epoch,
    /// leads next.
    LeadershipEnded {
        /// The leadership's number.
        epoch: LeaderEpoch,
        /// Why.
        reason: NotLeading,
    },
    /// Records that could be seen are gone: the log came back shorter than the high watermark. With
    /// durability `sync` that means a disk that lost what it had confirmed.
    VisibleRecordsLost {
        /// The first offset lost: the log end now.
        from: Offset,
        /// The high watermark as it was.
        to: Offset,
    },
    /// Make the log durable up to its end, then the promise; then [`Event::Promised`].
    Promise {
        /// The epoch to promise.
        epoch: LeaderEpoch,
    },
    /// Report to the controller what is here.
    Report(Report),
    /// Report to the controller that a newer epoch is promised.
    RefuseFence(FenceRefused),
    /// Follower: open a stream to the leader; then [`Event::Connected`].
    Connect {
        /// The leader.
        leader: BrokerId,
    },
    /// Follower: send this first.
    SendHello {
        /// The leader.
        to: BrokerId,
        /// The message.
        hello: Hello,
    },
    /// Follower: finish what is being written, then make the cut and the history after it durable as one, and cut the log there (rule
    /// R7); then [`Event::Reconciled`].
    Reconcile {
        /// The epoch that is followed.
        epoch: LeaderEpoch,
        /// Where the log starts, ends, and which history it has afterwards.
        agreement: crate::Agreement,
    },
    /// Follower: make the log durable up to the entry's start, which is its end, then the entry; then [`Event::Adopted`].
    Adopt {
        /// The epoch that is followed.
        epoch: LeaderEpoch,
        /// The entry.
        entry: EpochEntry,
    },
    /// Follower: append the batches of the push that was just received, from this offset on.
    Replicate {
        /// The first batch to append; those before it are there already.
        from: Offset,
    },
    /// Follower: raise the log start, as the leader has.
    RaiseLogStart {
        /// The leader's log start.
        log_start: Offset,
    },
    /// Follower: say what it holds.
    SendAck {
        /// The leader.
        to: BrokerId,
        /// The message.
        ack: Ack,
    },
    /// Leader: answer a hello.
    SendWelcome {
        /// The follower.
        to: BrokerId,
        /// The message.
        welcome: Welcome,
    },
    /// Leader: send what lies from `push.from` on, at least one batch and at most up to `up_to`, with the push's head; then [`Event::Pushed`].
    Push {
        /// The follower.
        to: BrokerId,
        /// Its head.
        push: Push,
        /// No batch behind this offset; the push has no batch where it is `push.from`.
        up_to: Offset,
    },
    /// Close the stream of this partition; the other side begins again with a hello.
    CloseStream {
        /// The broker at its other end.
        peer: BrokerId,
    },
    /// A quorum holds the epoch's entry: report it to the controller, until that is recorded.
    Activated {
        /// The epoch.
        epoch: LeaderEpoch,
    },
    /// Who keeps up has changed. Operators watch it; safety does not rest on it (rule R9).
    InSync(Vec<BrokerId>),
    /// A suspect replica has everything that the leader had when it appeared: report it to the controller (rule R14).
    ReplicaClean {
        /// Which.
        replica: BrokerId,
        /// In which run.
        incarnation: Incarnation,
    },
    /// Ask the controller for another leader.
    Resign {
        /// The epoch that is led in.
        epoch: LeaderEpoch,
        /// Why.
        reason: ResignReason,
    },
    /// Agreeing with the leader would cut records that were committed (rule R6). The replica stops; an operator must look.
    Quarantined {
        /// Where it would be cut.
        cut_to: Offset,
        /// The high watermark that it knows.
        high_watermark: Offset,
    },
}
