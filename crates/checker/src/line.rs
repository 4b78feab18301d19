//! The history format: what stands in one line of JSON.
//!
//! A history is a text file of such lines. The first is [`Line::History`]. Each operation has an [`Line::Invoke`] and,
//! somewhere behind it, a [`Line::Complete`]; all times come from one clock. `docs/checker.md` has an example.

use std::borrow::Cow;

use corduroy_types::{Acks, LeaderEpoch, Offset};
use serde::{Deserialize, Serialize};

use crate::wire;

/// The version of the format that this crate reads and writes.
pub const FORMAT_VERSION: u32 = 1;

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line<'a> {
    /// The first line of every history.
    History {
        /// [`FORMAT_VERSION`].
        version: u32,
    },
    /// What is known of a partition in advance. A partition without such a line has no retention.
    Partition {
        /// `topic/index`, like `orders/0`.
        name: Cow<'a, str>,
        /// Records may be removed once they are this old, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retention_ms: Option<u64>,
        /// Records may be removed once the partition is larger, in bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retention_bytes: Option<u64>,
    },
    /// A client begins an operation.
    Invoke {
        /// The operation's number: 0 for the first invocation in the file, 1 for the next.
        op: u64,
        /// When it began, in nanoseconds of the harness's one clock.
        at_ns: u64,
        /// The client that began it. A client polls a partition with one fetch at a time.
        client: u32,
        /// The broker that was asked, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<u32>,
        /// The partition it is about, as `topic/index`; absent for what is about none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partition: Option<Cow<'a, str>>,
        /// What was asked.
        call: Call,
    },
    /// An operation ended. Each operation has exactly one such line, also when no answer came.
    Complete {
        /// The number of its invocation.
        op: u64,
        /// When it ended, in nanoseconds of the same clock.
        at_ns: u64,
        /// How it ended.
        end: End,
    },
    /// A process of the system under test panicked or failed an assertion.
    Panic {
        /// When, in nanoseconds.
        at_ns: u64,
        /// Which broker.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<u32>,
        /// What it said.
        message: Cow<'a, str>,
    },
}

/// What a client, or the harness, asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Call {
    /// To append one batch.
    Produce {
        /// When the broker may answer.
        #[serde(with = "wire::acks")]
        acks: Acks,
        /// The numbers of an idempotent producer; absent where the batch has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        producer: Option<ProducerNumbers>,
        /// The records, in the order of the batch.
        records: Box<[Sent]>,
    },
    /// To read records.
    Fetch {
        /// The first offset wanted.
        #[serde(with = "wire::offset")]
        from: Offset,
        /// The leader epoch that the client knew.
        #[serde(default, with = "wire::epoch_option", skip_serializing_if = "Option::is_none")]
        from_epoch: Option<LeaderEpoch>,
        /// A follower was asked, not the leader.
        #[serde(default, skip_serializing_if = "is_false")]
        follower: bool,
        /// One of the final reads: everything is healed, and no one produces any more.
        #[serde(default, rename = "final", skip_serializing_if = "is_false")]
        is_final: bool,
    },
    /// To learn where a partition starts or ends.
    ListOffsets {
        /// Which of the two.
        spec: Spec,
        /// One of the final reads; the end is confirmed by a quorum.
        #[serde(default, rename = "final", skip_serializing_if = "is_false")]
        is_final: bool,
    },
    /// To remove every record below an offset.
    DeleteRecords {
        /// The first offset that stays.
        #[serde(with = "wire::offset")]
        before: Offset,
    },
    /// The client got the partition to read: its next fetch begins where it likes.
    Assign,
    /// The client had to give the partition back.
    Revoke,
    /// The client chose another position in the partition.
    Seek,
    /// The client ended without a word; its successor begins where it likes.
    Crash,
    /// A fault, from its invocation to its completion.
    Nemesis {
        /// What kind, like `kill` or `cut`.
        kind: String,
        /// What it was aimed at.
        #[serde(default)]
        targets: Vec<String>,
    },
    /// Every fault is healed from this operation's completion on.
    Heal,
    /// To look into one replica, which only a simulator or an operator can.
    Probe,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum End {
    /// A produce was acknowledged.
    Produced {
        /// The offset of its first record.
        #[serde(with = "wire::offset")]
        base_offset: Offset,
        /// The leader epoch of the answer.
        #[serde(with = "wire::epoch")]
        leader_epoch: LeaderEpoch,
    },
    /// A fetch was answered.
    Fetched {
        /// The leader epoch of the answer.
        #[serde(with = "wire::epoch")]
        leader_epoch: LeaderEpoch,
        /// The high watermark of the answer; absent where the client was not shown one.
        #[serde(default, with = "wire::offset_option", skip_serializing_if = "Option::is_none")]
        high_watermark: Option<Offset>,
        /// The log start of the answer.
        #[serde(with = "wire::offset")]
        log_start: Offset,
        /// Where the answer says to go on, if that is behind the last record: offsets up to there have no record.
        #[serde(default, with = "wire::offset_option", skip_serializing_if = "Option::is_none")]
        next_offset: Option<Offset>,
        /// The records, in the order in which the client got them.
        records: Box<[Read]>,
    },
    /// An offset was listed.
    Listed {
        /// The start or the end.
        #[serde(with = "wire::offset")]
        offset: Offset,
        /// The leader epoch of the answer.
        #[serde(with = "wire::epoch")]
        leader_epoch: LeaderEpoch,
    },
    /// Records were deleted.
    Deleted {
        /// The log start afterwards.
        #[serde(with = "wire::offset")]
        log_start: Offset,
    },
    /// What a probe found.
    Probed {
        /// The epoch of the replica.
        #[serde(with = "wire::epoch")]
        leader_epoch: LeaderEpoch,
        /// Its log end.
        #[serde(with = "wire::offset")]
        log_end: Offset,
        /// Its durable end.
        #[serde(with = "wire::offset")]
        durable_end: Offset,
        /// Its high watermark.
        #[serde(with = "wire::offset")]
        high_watermark: Offset,
        /// A hash chained over all its records below the high watermark.
        chain_hash: u64,
    },
    /// What has no answer is done: a seek, an assignment, a crash, a fault, a heal.
    Done,
    /// A produce was answered with *not written*. Nothing but such an answer counts as this.
    NotWritten,
    /// Any other request was refused.
    Refused,
    /// No answer, or one that leaves it open.
    Unknown,
}

/// Which end of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spec {
    /// The first offset that can be read.
    Start,
    /// The offset after the last one.
    End,
}

/// What an idempotent producer puts into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProducerNumbers {
    /// The producer id.
    pub id: u64,
    /// The producer epoch.
    pub epoch: u32,
    /// The sequence of the batch's first record, counted from 0 in this epoch and never wrapped.
    pub sequence: u64,
}

/// A record as it was sent: `[value, bytes, hash]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u32, u64)", into = "(u64, u32, u64)")]
pub struct Sent {
    /// The record's number, drawn by the harness. It is never used for another record, in no partition.
    pub value: u64,
    /// The length of its body in bytes.
    pub bytes: u32,
    /// The XXH3 hash of its body.
    pub hash: u64,
}

impl From<(u64, u32, u64)> for Sent {
    fn from((value, bytes, hash): (u64, u32, u64)) -> Self {
        Self { value, bytes, hash }
    }
}

impl From<Sent> for (u64, u32, u64) {
    fn from(sent: Sent) -> Self {
        (sent.value, sent.bytes, sent.hash)
    }
}

/// A record as it was read: `[offset, leader epoch, value, bytes, hash]`. The last three are taken from the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(u64, u32, u64, u32, u64)", into = "(u64, u32, u64, u32, u64)")]
pub struct Read {
    /// Where it stood.
    pub offset: Offset,
    /// The leader epoch of its batch.
    pub leader_epoch: LeaderEpoch,
    /// The number that its body carries.
    pub value: u64,
    /// The length of its body in bytes.
    pub bytes: u32,
    /// The XXH3 hash of its body.
    pub hash: u64,
}

impl TryFrom<(u64, u32, u64, u32, u64)> for Read {
    type Error = String;

    fn try_from(fields: (u64, u32, u64, u32, u64)) -> Result<Self, String> {
        let (offset, epoch, value, bytes, hash) = fields;
        let offset = Offset::try_from(offset).map_err(|error| error.to_string())?;
        Ok(Self { offset, leader_epoch: wire::leader_epoch(epoch)?, value, bytes, hash })
    }
}

impl From<Read> for (u64, u32, u64, u32, u64) {
    fn from(read: Read) -> Self {
        (read.offset.get(), read.leader_epoch.get(), read.value, read.bytes, read.hash)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}
