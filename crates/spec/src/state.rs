//! A state of the model: replicas, what was said in each epoch, and what was committed.

use crate::{
    Rule, Rules,
    log::{Entry, History, List, Log, Record},
};

/// The most replicas that a model has.
pub const REPLICAS_MAX: usize = 5;
/// The most epochs that a model has.
pub const EPOCHS_MAX: usize = 6;

/// What a replica is, beyond following whatever epoch it promised. A crash ends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// It follows, or waits for a leader.
    #[default]
    Follows,
    /// It reported, or asked for votes, for the epoch it promised, in this incarnation: it may lead.
    MayLead,
    /// It leads the epoch it promised.
    Leads,
}

/// One replica. All but `role`, `unfinished_cut`, `high_watermark` and `waiter` survives a crash, as far as it is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Replica {
    /// The greatest epoch it promised (R1).
    pub promised: u8,
    /// Whom it gave its vote in that epoch, plus one; 0 for no one (V2).
    pub vote: u8,
    /// Its epoch history (R4).
    pub history: History,
    /// How many entries of the history are durable. All, as long as R4 holds.
    pub durable_entries: u8,
    /// Its log.
    pub log: Log,
    /// How much of the log is durable.
    pub durable_end: u8,
    /// What it does.
    pub role: Role,
    /// A cut that is still to do, where R6 or R7 is removed: a crash forgets it.
    pub unfinished_cut: Option<u8>,
    /// What it knows to be committed. Kept only where R6 is removed: nothing else depends on it.
    pub high_watermark: u8,
    /// An append that waits for its acknowledgement: its offset and its record (R13).
    pub waiter: Option<Waiter>,
}

/// An append that waits, or that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Waiter {
    /// Where the record was appended.
    pub offset: u8,
    /// The epoch of the append.
    pub epoch: u8,
    /// Which append of the epoch it was.
    pub value: u8,
}

impl Replica {
    /// (last epoch, log end) as one number, in the order of R2; never 0.
    #[must_use]
    pub fn position(&self) -> u8 {
        position(self.history.last_epoch(), self.log.len())
    }

    /// Cuts the log.
    pub fn cut(&mut self, to: u8) {
        self.log.truncate(to);
        self.durable_end = self.durable_end.min(to);
        self.high_watermark = self.high_watermark.min(to);
    }

    /// Takes an entry into the history; it is durable unless R4 is removed.
    pub fn adopt(&mut self, entry: Entry, rules: Rules) {
        self.history.push(entry);
        if rules.has(Rule::EntryIsDurable) {
            self.durable_entries = self.history.len();
        }
    }

    /// Makes the whole log durable.
    pub fn sync(&mut self) {
        self.durable_end = self.log.len();
    }
}

/// (last epoch, log end) as one number that compares as R2 says.
#[must_use]
pub fn position(last_epoch: u8, end: u8) -> u8 {
    1 + (last_epoch << 4 | end)
}

/// The log end of a [`position`].
#[must_use]
pub fn end_of(position: u8) -> u8 {
    (position - 1) & 15
}

/// What was said in one epoch. It only grows, so no message needs to be kept: what can be received is any part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// Who leads it, plus one; 0 for no one.
    pub leader: u8,
    /// Whom the controller appointed, plus one; 0 for no one. Kept only where the replica set changes (R17).
    pub appointed: u8,
    /// The replica set of the epoch, one bit each. Kept only where it changes (R17).
    pub set: u8,
    /// The leader's history, which stays as it was when the epoch began.
    pub history: History,
    /// The leader's log, which grows.
    pub log: Log,
    /// How many appends there were.
    pub appends: u8,
    /// How far the leader has committed. Kept only where R6 is removed.
    pub high_watermark: u8,
    /// For each replica the position that it reported, or with which it asked for votes; 0 for none.
    pub reports: [u8; REPLICAS_MAX],
    /// For each candidate the set of those who voted for it, one bit each.
    pub votes: [u8; REPLICAS_MAX],
    /// For each replica the greatest end that it acknowledged, plus one; 0 for none.
    pub acks: [u8; REPLICAS_MAX],
}

impl Epoch {
    /// Whether this replica leads it.
    #[must_use]
    pub fn is_led_by(&self, replica: usize) -> bool {
        usize::from(self.leader) == replica + 1
    }
}

/// A state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// The replicas; those above the model's number are not used.
    pub replicas: [Replica; REPLICAS_MAX],
    /// What was said in epoch 1, 2 and so on.
    pub epochs: [Epoch; EPOCHS_MAX],
    /// What was committed, in the order of offsets. No replica knows it.
    pub committed: Log,
    /// For each of those the epoch in which it was committed first.
    pub committed_in: List<CommittedIn>,
    /// How many records were appended.
    pub records: u8,
    /// How many crashes there were.
    pub crashes: u8,
    /// How many changes of the voters were appended.
    pub changes: u8,
    /// The greatest epoch whose entry a quorum of its set held (R17). Kept only where the set changes.
    pub active: u8,
    /// Whether the append that waits was made.
    pub waited: bool,
    /// What a client heard: its append is acknowledged.
    pub acknowledged: Option<Waiter>,
    /// Two incarnations led one epoch.
    pub led_twice: bool,
    /// Two leaders committed different records at one offset.
    pub committed_twice: bool,
}

/// The epoch in which a record was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedIn(pub u8);

impl crate::log::Packed for CommittedIn {
    fn pack(self) -> u8 {
        self.0
    }

    fn unpack(byte: u8) -> Self {
        Self(byte)
    }
}

impl State {
    /// What was said in an epoch, which counts from 1.
    #[must_use]
    pub fn epoch(&self, epoch: u8) -> &Epoch {
        &self.epochs[usize::from(epoch) - 1]
    }

    /// What was said in an epoch, which counts from 1.
    pub fn epoch_mut(&mut self, epoch: u8) -> &mut Epoch {
        &mut self.epochs[usize::from(epoch) - 1]
    }

    /// Notes that a leader has committed its log up to `end`.
    pub fn commit(&mut self, epoch: u8, log: Log, end: u8) {
        for (record, offset) in log.prefix(end).iter().zip(0..) {
            match self.committed.get(offset) {
                Some(committed) => self.committed_twice |= committed != record,
                None => {
                    self.committed.push(record);
                    self.committed_in.push(CommittedIn(epoch));
                }
            }
        }
    }

    /// The committed records with their offsets and the epochs in which they were committed.
    pub fn committed(&self) -> impl Iterator<Item = (u8, Record, u8)> {
        let both = self.committed.iter().zip(self.committed_in.iter());
        both.zip(0..).map(|((record, epoch), offset)| (offset, record, epoch.0))
    }
}
