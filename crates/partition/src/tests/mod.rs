//! The partition against a naive model, and each rule once by hand.

mod model;
mod rules;

use corduroy_types::{LeaderEpoch, Offset};

use crate::{Action, Event, LogEnds, MonotonicMs, Partition};

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

fn step(partition: &mut Partition, now: u64, event: Event) -> Vec<Action> {
    let mut out = Vec::new();
    partition.step(MonotonicMs(now), event, &mut out);
    out
}
