//! What can happen: the alphabet of traces, which a simulator can replay as a script.

use std::fmt;

use crate::log::{Entry, Record};

/// One step of the model. Each is atomic, and durable where it says so.
///
/// Acknowledgements and the high watermark have no step of their own: they follow at once from the step that makes them
/// possible. A later or lost acknowledgement can only commit less, so it cannot break what the model checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A replica steps down, syncs its log and promises an epoch durably (R1). Where the controller elects and the epoch has
    /// no leader yet, it was fenced and reports; otherwise the epoch's leader or candidate has reached it.
    Promise {
        /// Which replica.
        replica: usize,
        /// What it promises.
        epoch: u8,
    },
    /// A replica reports for an epoch without a promise. Only where R1 is removed.
    Report {
        /// Which replica.
        replica: usize,
        /// What it reports for.
        epoch: u8,
    },
    /// A replica syncs its log, promises an epoch durably to itself, and asks for votes (V2).
    Stand {
        /// Which replica.
        replica: usize,
        /// The epoch it wants to lead.
        epoch: u8,
    },
    /// A voter steps down, syncs its log, makes promise and vote durable, and answers yes (V2).
    Vote {
        /// The voter.
        replica: usize,
        /// The epoch of the vote.
        epoch: u8,
        /// Who gets it.
        candidate: usize,
    },
    /// The controller appoints a leader and the replica set of its epoch. Where the set does not change, this is part of
    /// [`Action::Lead`] (R17).
    Appoint {
        /// Who leads.
        replica: usize,
        /// The epoch.
        epoch: u8,
        /// The replica set, one bit for each replica.
        set: u8,
    },
    /// A replica that won begins its epoch: its entry is durable (R3, R4).
    Lead {
        /// Which replica.
        replica: usize,
        /// The epoch it leads from now on.
        epoch: u8,
    },
    /// A leader appends a record to its log, not durably, and sends it.
    Append {
        /// The leader.
        replica: usize,
        /// Where.
        offset: u8,
        /// What.
        record: Record,
        /// Whether a client waits for it and the model follows what the client hears (R13).
        waits: bool,
    },
    /// A replica makes all of its log durable.
    Sync {
        /// Which replica.
        replica: usize,
    },
    /// A follower cuts its log, durably.
    Cut {
        /// The follower.
        replica: usize,
        /// The log's end from now on.
        to: u8,
    },
    /// A follower drops the entries of a dead branch, durably.
    Drop {
        /// The follower.
        replica: usize,
        /// How many entries it keeps.
        keeps: u8,
    },
    /// A follower takes over the next entry of its leader's history, durably.
    Adopt {
        /// The follower.
        replica: usize,
        /// The entry.
        entry: Entry,
    },
    /// A follower appends a record of its leader's, not durably.
    Receive {
        /// The follower.
        replica: usize,
        /// Where.
        offset: u8,
        /// What.
        record: Record,
    },
    /// A follower receives once more what it has already, and cuts its log there. Only where R6 is removed.
    ReceiveAgain {
        /// The follower.
        replica: usize,
        /// Where.
        offset: u8,
    },
    /// A follower learns what is committed. Only where R6 is removed.
    Learn {
        /// The follower.
        replica: usize,
    },
    /// The power of one replica fails and comes back: it keeps any prefix of its log that is not below the durable end.
    Crash {
        /// Which replica.
        replica: usize,
        /// How much of the log is left.
        keeps: u8,
    },
}

impl Action {
    /// The same step with other names for the replicas.
    pub(crate) fn renamed(self, name: impl Fn(usize) -> usize) -> Self {
        let voter = |voter: u8| u8::try_from(name(usize::from(voter))).unwrap_or(voter);
        let record = |record: Record| match record.changes() {
            Some(changed) => Record::change(record.epoch, voter(changed)),
            None => record,
        };
        match self {
            Self::Promise { replica, epoch } => Self::Promise { replica: name(replica), epoch },
            Self::Report { replica, epoch } => Self::Report { replica: name(replica), epoch },
            Self::Stand { replica, epoch } => Self::Stand { replica: name(replica), epoch },
            Self::Vote { replica, epoch, candidate } => {
                Self::Vote { replica: name(replica), epoch, candidate: name(candidate) }
            }
            Self::Appoint { replica, epoch, set } => Self::Appoint { replica: name(replica), epoch, set },
            Self::Lead { replica, epoch } => Self::Lead { replica: name(replica), epoch },
            Self::Append { replica, offset, record: it, waits } => {
                Self::Append { replica: name(replica), offset, record: record(it), waits }
            }
            Self::Sync { replica } => Self::Sync { replica: name(replica) },
            Self::Cut { replica, to } => Self::Cut { replica: name(replica), to },
            Self::Drop { replica, keeps } => Self::Drop { replica: name(replica), keeps },
            Self::Adopt { replica, entry } => Self::Adopt { replica: name(replica), entry },
            Self::Receive { replica, offset, record: it } => {
                Self::Receive { replica: name(replica), offset, record: record(it) }
            }
            Self::ReceiveAgain { replica, offset } => Self::ReceiveAgain { replica: name(replica), offset },
            Self::Learn { replica } => Self::Learn { replica: name(replica) },
            Self::Crash { replica, keeps } => Self::Crash { replica: name(replica), keeps },
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Promise { replica, epoch } => write!(f, "{replica} promises epoch {epoch}"),
            Self::Report { replica, epoch } => {
                write!(f, "{replica} reports for epoch {epoch}, promising nothing")
            }
            Self::Stand { replica, epoch } => write!(f, "{replica} asks for votes in epoch {epoch}"),
            Self::Vote { replica, epoch, candidate } => {
                write!(f, "{replica} votes for {candidate} in epoch {epoch}")
            }
            Self::Appoint { replica, epoch, set } => {
                write!(f, "the controller appoints {replica} for epoch {epoch} with the set {set:b}")
            }
            Self::Lead { replica, epoch } => write!(f, "{replica} leads epoch {epoch}"),
            Self::Append { replica, offset, record, waits } => {
                let waits = if waits { ", and a client waits" } else { "" };
                match record.changes() {
                    Some(voter) => {
                        write!(
                            f,
                            "{replica} appends at {offset} that {voter} becomes a voter, or is none any more"
                        )
                    }
                    None => write!(f, "{replica} appends {record:?} at {offset}{waits}"),
                }
            }
            Self::Sync { replica } => write!(f, "{replica} syncs its log"),
            Self::Cut { replica, to } => write!(f, "{replica} cuts its log at {to}"),
            Self::Drop { replica, keeps } => write!(f, "{replica} keeps {keeps} entries and drops the rest"),
            Self::Adopt { replica, entry } => write!(f, "{replica} adopts the entry {entry:?}"),
            Self::Receive { replica, offset, record } => {
                write!(f, "{replica} receives {record:?} at {offset}")
            }
            Self::ReceiveAgain { replica, offset } => write!(f, "{replica} receives offset {offset} again"),
            Self::Learn { replica } => write!(f, "{replica} learns the high watermark"),
            Self::Crash { replica, keeps } => {
                write!(f, "{replica} loses power and keeps its log up to {keeps}")
            }
        }
    }
}
