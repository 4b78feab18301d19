//! What has been seen: the history of the clients for the checker, and what the replicas themselves may never take back.

use std::borrow::Cow;
use std::collections::BTreeMap;

use corduroy_checker::line::{Call, End, FORMAT_VERSION, Line, Read};
use corduroy_checker::{Builder, History};
use corduroy_types::{Incarnation, LeaderEpoch};

/// Records what clients do and see.
#[derive(Debug)]
pub(crate) struct Recorder {
    builder: Builder,
    ops: u64,
    problem: Option<String>,
}

pub(crate) fn partition_name(partition: u32) -> String {
    format!("t/{partition}")
}

impl Recorder {
    pub(crate) fn new() -> Self {
        let mut recorder = Self { builder: Builder::new(), ops: 0, problem: None };
        recorder.push(Line::History { version: FORMAT_VERSION });
        recorder
    }

    fn push(&mut self, line: Line<'_>) {
        if let Err(problem) = self.builder.push(line) {
            self.problem.get_or_insert_with(|| problem.to_string());
        }
    }

    /// An operation begins. Returns its number.
    pub(crate) fn invoke(
        &mut self,
        at_us: u64,
        client: u32,
        node: Option<usize>,
        partition: Option<u32>,
        call: Call,
    ) -> u64 {
        let op = self.ops;
        self.ops += 1;
        let node = node.and_then(|node| u32::try_from(node).ok());
        let partition = partition.map(|partition| Cow::Owned(partition_name(partition)));
        self.push(Line::Invoke { op, at_ns: at_us * 1_000, client, node, partition, call });
        op
    }

    pub(crate) fn complete(&mut self, op: u64, at_us: u64, end: End) {
        self.push(Line::Complete { op, at_ns: at_us * 1_000, end });
    }

    /// The whole history.
    ///
    /// # Errors
    /// A text: the simulator has recorded something that is no history.
    pub(crate) fn finish(self) -> Result<History, String> {
        match self.problem {
            Some(problem) => Err(problem),
            None => self.builder.finish().map_err(|(line, problem)| format!("line {line}: {problem}")),
        }
    }
}

/// What the replicas of one partition may never take back (invariants I1, I4, I5 and I9).
#[derive(Debug, Default)]
pub(crate) struct Truth {
    leaders: BTreeMap<LeaderEpoch, (usize, Incarnation)>,
    /// By offset: its epoch and number, and the epoch in which it was first known to be committed.
    committed: Vec<(LeaderEpoch, u64, LeaderEpoch)>,
}

impl Truth {
    /// I1: one incarnation leads in an epoch.
    pub(crate) fn led(
        &mut self,
        epoch: LeaderEpoch,
        broker: usize,
        incarnation: Incarnation,
    ) -> Result<(), String> {
        match *self.leaders.entry(epoch).or_insert((broker, incarnation)) {
            first if first == (broker, incarnation) => Ok(()),
            first => Err(format!("I1: epoch {epoch} is led by {first:?} and by {:?}", (broker, incarnation))),
        }
    }

    /// I5: what is committed at an offset stays. `records` follow each other in the log of a replica that is in `epoch`.
    pub(crate) fn committed(
        &mut self,
        broker: usize,
        epoch: LeaderEpoch,
        records: &[Read],
    ) -> Result<(), String> {
        for record in records {
            let at = usize::try_from(record.offset.get()).unwrap_or(usize::MAX);
            let found = (record.leader_epoch, record.value);
            match self.committed.get(at) {
                Some((first, value, _)) if (*first, *value) == found => {}
                None if at == self.committed.len() => self.committed.push((found.0, found.1, epoch)),
                first => {
                    return Err(format!(
                        "I5: broker {broker} has {found:?} committed at offset {at}, and it was {first:?} of {}",
                        self.committed.len()
                    ));
                }
            }
        }
        Ok(())
    }

    /// Up to where records were committed in epochs before this one: its leader has to hold them (I4).
    pub(crate) fn committed_before(&self, epoch: LeaderEpoch) -> u64 {
        self.committed
            .iter()
            .rposition(|(_, _, committed_in)| *committed_in < epoch)
            .map_or(0, |at| at as u64 + 1)
    }

    /// I9: what is acknowledged by a quorum is committed.
    pub(crate) fn check_acknowledged(&self, end: u64) -> Result<(), String> {
        match self.committed_end() {
            committed if end <= committed => Ok(()),
            committed => Err(format!("I9: acknowledged up to {end}, and {committed} records are committed")),
        }
    }

    pub(crate) fn committed_end(&self) -> u64 {
        self.committed.len() as u64
    }
}
