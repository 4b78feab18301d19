//! The partition against a naive model, each rule once by hand, and small clusters in which anything may go wrong.

mod cluster;
mod model;
mod replicas;
mod rules;

use corduroy_types::{EpochEntry, EpochHistory, LeaderEpoch, Offset};

use crate::{Action, Event, LogEnds, LogState, MonotonicMs, Partition};

fn at(n: u64) -> Offset {
    Offset::new(n).unwrap()
}

fn epoch(n: u32) -> LeaderEpoch {
    LeaderEpoch::new(n).unwrap()
}

/// A log of `end` records from 0 on, all durable.
fn log_of(end: u64) -> LogEnds {
    LogEnds { log_start: at(0), log_end: at(end), counted_end: at(end), durable_end: at(end) }
}

/// A log in which `number` begins at its end.
fn log_state(number: u32, ends: LogEnds) -> LogState {
    let entry = EpochEntry { epoch: epoch(number), start: ends.log_end };
    LogState { ends, history: EpochHistory::from_entries([entry]).unwrap() }
}

/// Without the actions that a replica set of one gives at the start of each leadership.
fn step(partition: &mut Partition, now: u64, event: Event) -> Vec<Action> {
    let mut out = Vec::new();
    partition.step(MonotonicMs(now), event, &mut out);
    out.retain(|action| !matches!(action, Action::Activated { .. }));
    out
}
