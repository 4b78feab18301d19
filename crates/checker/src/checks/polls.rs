//! C7 and C8: a reader meets every visible record, in order, once.
//!
//! *Visible* is what the run shows to be in the log: what was read by anyone, and what a quorum acknowledged. A record
//! below another one that was read is below the high watermark too, so a reader that got the later one was due the
//! earlier.

use std::collections::HashMap;

use crate::{
    finding::{Check, Finding, Report, Weight},
    index::{Fetch, Index, PartitionLog, fetch},
    line::Call,
};

/// Where a reader stands in a partition.
#[derive(Clone, Copy)]
struct Position {
    /// The offset after the last record that it got.
    next: u64,
    /// The fetch that brought that record, and when it ended.
    op: u32,
    completed_ns: u64,
    /// How often the client had crashed by then.
    life: u32,
}

/// C7 and C8 for each client and partition, in the order of the fetches. Final reads are a reader of their own.
pub(crate) fn check(index: &Index<'_>, report: &mut Report) {
    let mut positions: HashMap<(u32, u32, bool), Position> = HashMap::new();
    let mut lives: HashMap<u32, u32> = HashMap::new();
    for moment in index.moments.iter().filter(|moment| !moment.is_end) {
        let Some(op) = index.op(moment.op) else { continue };
        match (&op.call, op.partition) {
            (Call::Crash, _) => *lives.entry(op.client).or_default() += 1,
            (Call::Assign | Call::Revoke | Call::Seek, Some(partition)) => {
                positions.remove(&(op.client, partition, false));
                positions.remove(&(op.client, partition, true));
            }
            (Call::Fetch { .. }, Some(partition)) => {
                // An unknown fetch, and one without records, moves no one.
                let Some(fetch) = fetch(op).filter(|fetch| !fetch.records.is_empty()) else { continue };
                let life = lives.get(&op.client).copied().unwrap_or_default();
                let key = (op.client, partition, fetch.is_final);
                let last = positions.get(&key).filter(|last| {
                    // What ran at the same time has no order.
                    last.life == life && last.completed_ns <= op.invoked_ns
                });
                let next = one_fetch(index, moment.op, partition, &fetch, last, report);
                let completed_ns = op.completed_ns;
                positions.insert(key, Position { next, op: moment.op, completed_ns, life });
            }
            _ => {}
        }
    }
}

/// Compares a fetch with where its reader stood, and its records with each other. Returns where the reader stands then.
fn one_fetch(
    index: &Index<'_>,
    number: u32,
    partition: u32,
    fetch: &Fetch<'_>,
    last: Option<&Position>,
    report: &mut Report,
) -> u64 {
    let Some(log) = index.log(partition) else { return 0 };
    let mut next = last.map_or(fetch.from, |last| last.next);
    let mut before = last.map(|last| last.op);
    for read in fetch.records {
        let offset = read.offset.get();
        let ops: Vec<_> = before.into_iter().chain([number]).collect();
        if offset < next {
            report.add(Check::PollBack, Weight::Violation, || {
                let text = format!("the reader was at offset {next} and goes on from there, or further");
                let name = index.name(partition);
                Finding::new(Check::PollBack, text).partition(name).offsets(&[offset]).ops(&ops)
            });
        } else if let skipped @ [first, ..] = visible(log, next.max(fetch.log_start), offset) {
            report.add(Check::PollSkip, Weight::Violation, || {
                let text =
                    format!("the reader at offset {next} gets the record at {first} before that at {offset}");
                let name = index.name(partition);
                Finding::new(Check::PollSkip, text).partition(name).offsets(skipped).ops(&ops)
            });
        }
        next = offset.saturating_add(1);
        before = None;
    }
    next
}

/// The visible offsets in a range.
fn visible(log: &PartitionLog, from: u64, to: u64) -> &[u64] {
    // Most records follow right behind the one before.
    if from >= to {
        return &[];
    }
    let first = log.offsets.partition_point(|offset| *offset < from);
    let behind = log.offsets.partition_point(|offset| *offset < to);
    log.offsets.get(first..behind).unwrap_or_default()
}
