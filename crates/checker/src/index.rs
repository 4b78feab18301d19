//! The index that all checks share: who sent what, which value stands where, and all operations in the order of time.

use std::collections::HashSet;

use corduroy_types::{Acks, LeaderEpoch, Offset};

use crate::{
    history::{History, Op},
    line::{Call, End, ProducerNumbers, Read, Sent},
    writers::{Attempt, Writers},
};

/// One value at one offset, as an answer showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) offset: u64,
    pub(crate) value: u64,
    /// From where this is known.
    pub(crate) source: Source,
    /// The operation whose answer showed it, or whose batch implies it.
    pub(crate) op: u32,
    /// The epoch of the record that was read, or of the acknowledgement.
    pub(crate) epoch: u32,
}

/// How an entry is known, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// A fetch returned it.
    Read,
    /// An acknowledgement of a quorum names it.
    Acknowledged,
    /// Another record of the same batch was read, so this one is there too.
    Implied,
}

/// What is known of one partition's log.
#[derive(Debug, Default)]
pub(crate) struct PartitionLog {
    /// Each value at each offset once, by offset. An entry that was read stands for one that was acknowledged too.
    pub(crate) entries: Vec<Entry>,
    /// The offsets of `entries`, each once: the rank of a visible record is its place here.
    pub(crate) offsets: Vec<u64>,
    /// The values that stand at more than one offset.
    pub(crate) copied: HashSet<u64>,
    /// What `acks=one` acknowledged and no one read: (offset, epoch, value, operation). It promises nothing.
    pub(crate) weak: Vec<(u64, u32, u64, u32)>,
}

impl PartitionLog {
    /// Whether this value is known to stand at this offset.
    pub(crate) fn find(&self, offset: u64, value: u64) -> Option<&Entry> {
        let at = self.entries.partition_point(|entry| (entry.offset, entry.value) < (offset, value));
        self.entries.get(at).filter(|entry| (entry.offset, entry.value) == (offset, value))
    }

    /// The entries at this offset: more than one where the log is divergent (C1).
    pub(crate) fn at(&self, offset: u64) -> impl Iterator<Item = &Entry> {
        let at = self.entries.partition_point(|entry| entry.offset < offset);
        self.entries.iter().skip(at).take_while(move |entry| entry.offset == offset)
    }
}

/// A moment of an operation, for sweeps over the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    pub(crate) at_ns: u64,
    /// Beginnings come before ends of the same time: only what ended strictly earlier came before.
    pub(crate) is_end: bool,
    pub(crate) op: u32,
}

/// A produce with what it asked for.
pub(crate) struct Produce<'h> {
    pub(crate) acks: Acks,
    pub(crate) producer: Option<ProducerNumbers>,
    pub(crate) records: &'h [Sent],
}

/// A fetch that was answered.
pub(crate) struct Fetch<'h> {
    pub(crate) from: u64,
    pub(crate) follower: bool,
    pub(crate) is_final: bool,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) high_watermark: Option<Offset>,
    pub(crate) log_start: u64,
    pub(crate) next_offset: Option<Offset>,
    pub(crate) records: &'h [Read],
}

/// Everything the checks look things up in. It is built once, in time and memory proportional to the history, but for
/// the factor that sorting costs.
pub(crate) struct Index<'h> {
    pub(crate) history: &'h History,
    pub(crate) writers: Writers,
    pub(crate) logs: Vec<PartitionLog>,
    /// The beginnings and ends of all operations, by time.
    pub(crate) moments: Vec<Moment>,
    /// For each produce that is in the log, the least offset its first record has; [`NOWHERE`] for every other operation.
    pub(crate) bases: Vec<u64>,
}

/// No offset: greater than each of them.
pub(crate) const NOWHERE: u64 = u64::MAX;

impl<'h> Index<'h> {
    pub(crate) fn new(history: &'h History) -> Self {
        let writers = Writers::new(history);
        let logs = history.partitions.iter().map(|_| PartitionLog::default()).collect();
        let bases = vec![NOWHERE; history.ops.len()];
        let mut index = Self { history, writers, logs, moments: Vec::new(), bases };
        // One partition after the other, so that what all fetches of one returned is in memory at a time, not of all.
        for (at, ops) in index.ops_by_partition().into_iter().enumerate() {
            index.gather(&ops);
            index.complete(at);
        }
        index.moments = index.moments();
        index
    }

    /// All operations with their numbers.
    pub(crate) fn ops(&self) -> impl Iterator<Item = (u32, &'h Op)> + use<'h> {
        (0..).zip(self.history.ops.iter())
    }

    /// The operation of this number.
    pub(crate) fn op(&self, number: u32) -> Option<&'h Op> {
        self.history.ops.get(number as usize)
    }

    /// The produce of this number.
    pub(crate) fn produce(&self, number: u32) -> Option<Produce<'h>> {
        produce(self.op(number)?)
    }

    /// The log of a partition.
    pub(crate) fn log(&self, partition: u32) -> Option<&PartitionLog> {
        self.logs.get(partition as usize)
    }

    /// Each partition's number, name and log.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = (u32, &'h str, &PartitionLog)> {
        let names = self.history.partitions.iter().map(|partition| partition.name.as_str());
        (0..).zip(names).zip(&self.logs).map(|((number, name), log)| (number, name, log))
    }

    /// The name of a partition.
    pub(crate) fn name(&self, partition: u32) -> &'h str {
        self.history.partitions.get(partition as usize).map_or("", |partition| partition.name.as_str())
    }

    /// The attempts to write this value into this partition.
    pub(crate) fn attempts(&self, partition: u32, value: u64) -> impl Iterator<Item = Attempt> {
        let is_here = move |op: &Op| op.partition == Some(partition);
        self.writers.of(value).filter(move |attempt| self.op(attempt.op).is_some_and(is_here))
    }

    /// When one of this produce's values was first sent by an attempt that did not end *not written*, in nanoseconds:
    /// since then the batch may be in the log.
    pub(crate) fn first_sent_ns(&self, number: u32) -> u64 {
        let records = self.produce(number).map_or(&[][..], |produce| produce.records);
        records.iter().filter_map(|sent| self.writers.sent_ns(sent.value)).min().unwrap_or_default()
    }

    /// The numbers of the operations of each partition.
    fn ops_by_partition(&self) -> Vec<Vec<u32>> {
        let mut numbers = vec![Vec::new(); self.logs.len()];
        for (number, op) in self.ops() {
            if let Some(of_one) = op.partition.and_then(|partition| numbers.get_mut(partition as usize)) {
                of_one.push(number);
            }
        }
        numbers
    }

    /// Puts what the answers to these operations show into the logs.
    fn gather(&mut self, ops: &[u32]) {
        for (number, op) in
            ops.iter().filter_map(|number| Some((*number, self.history.ops.get(*number as usize)?)))
        {
            let Some(log) = op.partition.and_then(|partition| self.logs.get_mut(partition as usize)) else {
                continue;
            };
            if let Some(fetch) = fetch(op) {
                log.entries.extend(fetch.records.iter().map(|read| Entry {
                    offset: read.offset.get(),
                    value: read.value,
                    source: Source::Read,
                    op: number,
                    epoch: read.leader_epoch.get(),
                }));
            } else if let (Some(produce), Some((base, epoch))) = (produce(op), acknowledged(op)) {
                for (offset, sent) in (base..).zip(produce.records) {
                    let (value, epoch) = (sent.value, epoch.get());
                    let source = Source::Acknowledged;
                    match produce.acks {
                        Acks::One => log.weak.push((offset, epoch, value, number)),
                        Acks::Quorum | Acks::All => {
                            log.entries.push(Entry { offset, value, source, op: number, epoch });
                        }
                    }
                }
            }
        }
    }

    /// Sorts a log, adds what is implied, and ranks its offsets.
    fn complete(&mut self, partition: usize) {
        let Some(mut log) = self.logs.get_mut(partition).map(std::mem::take) else { return };
        sort(&mut log.entries);
        let number = u32::try_from(partition).unwrap_or(u32::MAX);
        let implied = self.implied(number, &log);
        if !implied.is_empty() {
            log.entries.extend(implied);
            sort(&mut log.entries);
        }
        log.offsets = log.entries.iter().map(|entry| entry.offset).collect();
        log.offsets.dedup();
        let weak = std::mem::take(&mut log.weak);
        log.weak = weak.into_iter().filter(|weak| log.find(weak.0, weak.2).is_none()).collect();
        log.weak.sort_unstable();
        log.copied = copied(&log.entries);
        self.place(number, &log);
        if let Some(place) = self.logs.get_mut(partition) {
            *place = log;
        }
    }

    /// The other records of batches of which one was read, where nothing else is known to stand in their places.
    ///
    /// Only produces without an acknowledgement that counts need this, and of them only those whose values were sent
    /// once: otherwise it is open which of the attempts was written.
    fn implied(&self, partition: u32, log: &PartitionLog) -> Vec<Entry> {
        let mut implied = Vec::new();
        let mut last = None;
        for entry in log.entries.iter().filter(|entry| entry.source == Source::Read) {
            let mut attempts = self.attempts(partition, entry.value);
            let (Some(attempt), None) = (attempts.next(), attempts.next()) else { continue };
            let (Some(op), Some(produce)) = (self.op(attempt.op), self.produce(attempt.op)) else { continue };
            let is_open = op.end == End::Unknown || produce.acks == Acks::One && acknowledged(op).is_some();
            let Some(base) = entry.offset.checked_sub(attempt.at.into()).filter(|_| is_open) else {
                continue;
            };
            if last.replace((attempt.op, base)) == Some((attempt.op, base)) {
                continue;
            }
            for (offset, sent) in (base..).zip(produce.records) {
                if log.at(offset).next().is_none() {
                    let (value, source) = (sent.value, Source::Implied);
                    implied.push(Entry { offset, value, source, op: attempt.op, epoch: entry.epoch });
                }
            }
        }
        implied
    }

    /// Notes for each produce where its batch begins. The first copy of a value decides, so that each attempt is looked
    /// at once, however often it was sent and written.
    fn place(&mut self, partition: u32, log: &PartitionLog) {
        let mut placed = HashSet::new();
        let mut found = Vec::new();
        for entry in log.entries.iter().filter(|entry| entry.source != Source::Implied) {
            if log.copied.contains(&entry.value) && !placed.insert(entry.value) {
                continue;
            }
            found.extend(self.attempts(partition, entry.value).filter_map(|attempt| {
                let base = entry.offset.checked_sub(attempt.at.into())?;
                Some((attempt.op, base))
            }));
            for (op, base) in found.drain(..) {
                if let Some(least) = self.bases.get_mut(op as usize) {
                    *least = base.min(*least);
                }
            }
        }
    }

    fn moments(&self) -> Vec<Moment> {
        let mut moments = Vec::with_capacity(2 * self.history.ops.len());
        for (number, op) in self.ops() {
            moments.push(Moment { at_ns: op.invoked_ns, is_end: false, op: number });
            moments.push(Moment { at_ns: op.completed_ns, is_end: true, op: number });
        }
        moments.sort_unstable();
        moments
    }
}

/// Sorts entries and keeps the surest of each (offset, value). Answers are sorted runs, which a stable sort merges.
fn sort(entries: &mut Vec<Entry>) {
    entries.sort();
    entries.dedup_by_key(|entry| (entry.offset, entry.value));
    entries.shrink_to_fit();
}

/// The values that stand at more than one offset.
fn copied(entries: &[Entry]) -> HashSet<u64> {
    let shown = entries.iter().filter(|entry| entry.source != Source::Implied);
    let mut values: Vec<_> = shown.map(|entry| entry.value).collect();
    values.sort_unstable();
    let pairs = values.windows(2).filter(|pair| pair.first() == pair.last());
    pairs.filter_map(|pair| pair.first().copied()).collect()
}

/// What a produce asked for.
pub(crate) fn produce(op: &Op) -> Option<Produce<'_>> {
    match &op.call {
        Call::Produce { acks, producer, records } => {
            Some(Produce { acks: *acks, producer: *producer, records })
        }
        _ => None,
    }
}

/// Where an acknowledged produce begins, and the epoch of the answer.
pub(crate) fn acknowledged(op: &Op) -> Option<(u64, LeaderEpoch)> {
    match op.end {
        End::Produced { base_offset, leader_epoch } => Some((base_offset.get(), leader_epoch)),
        _ => None,
    }
}

/// An answered fetch.
pub(crate) fn fetch(op: &Op) -> Option<Fetch<'_>> {
    match (&op.call, &op.end) {
        (
            Call::Fetch { from, follower, is_final, .. },
            End::Fetched { leader_epoch, high_watermark, log_start, next_offset, records },
        ) => Some(Fetch {
            from: from.get(),
            follower: *follower,
            is_final: *is_final,
            epoch: *leader_epoch,
            high_watermark: *high_watermark,
            log_start: log_start.get(),
            next_offset: *next_offset,
            records,
        }),
        _ => None,
    }
}
