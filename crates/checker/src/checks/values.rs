//! C1 and C2: one offset holds one value, and one value of an idempotent producer stands at one offset.

use std::collections::BTreeMap;

use crate::{
    finding::{Check, Finding, Report, Weight},
    index::{Entry, Index, PartitionLog, Source},
};

/// C1 and C2, on what all answers of the run show together: of all brokers, epochs and times.
pub(crate) fn check(index: &Index<'_>, report: &mut Report) {
    for (number, name, log) in index.partitions() {
        divergent(name, log, report);
        divergent_weak(name, log, report);
        duplicates(index, number, name, log, report);
    }
}

/// C1: an offset with two values. `docs/replication.md`, what must always be true, 2 and 5.
///
/// What a batch implies is no evidence here: where one is torn, its records imply different places for it.
fn divergent(name: &str, log: &PartitionLog, report: &mut Report) {
    let shown: Vec<_> = log.entries.iter().filter(|entry| entry.source != Source::Implied).collect();
    for group in shown.chunk_by(|a, b| a.offset == b.offset) {
        let ([first, second, ..], offset) = (group, group.first().map_or(0, |entry| entry.offset)) else {
            continue;
        };
        report.add(Check::DivergentOffset, Weight::Violation, || {
            let text =
                format!("one offset holds one value, and here are {} and {}", first.value, second.value);
            let ops: Vec<_> = group.iter().map(|entry| entry.op).collect();
            Finding::new(Check::DivergentOffset, text).partition(name).offsets(&[offset]).ops(&ops)
        });
    }
}

/// C1 for what `acks=one` acknowledged: another epoch may have another record there, the same epoch may not (what must
/// always be true, 2).
fn divergent_weak(name: &str, log: &PartitionLog, report: &mut Report) {
    let mut add = |offset: u64, ops: [u32; 2], epoch: u32| {
        report.add(Check::DivergentOffset, Weight::Violation, || {
            let text = format!("one offset holds one value in epoch {epoch}, and here are two");
            Finding::new(Check::DivergentOffset, text).partition(name).offsets(&[offset]).ops(&ops)
        });
    };
    for group in log.weak.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        if let (Some(first), Some(last)) = (group.first(), group.last())
            && first.2 != last.2
        {
            add(first.0, [first.3, last.3], first.1);
        }
    }
    for (offset, epoch, value, op) in &log.weak {
        let is_other =
            |entry: &&Entry| entry.source == Source::Read && entry.epoch == *epoch && entry.value != *value;
        if let Some(other) = log.at(*offset).find(is_other) {
            add(*offset, [*op, other.op], *epoch);
        }
    }
}

/// C2: a value at two offsets. Only a producer id promises that there is none; without one it is counted.
fn duplicates(index: &Index<'_>, number: u32, name: &str, log: &PartitionLog, report: &mut Report) {
    if log.copied.is_empty() {
        return;
    }
    let mut places: BTreeMap<u64, (Vec<u64>, Vec<u32>)> = BTreeMap::new();
    for entry in log.entries.iter().filter(|entry| entry.source != Source::Implied) {
        if log.copied.contains(&entry.value) {
            let (offsets, ops) = places.entry(entry.value).or_default();
            offsets.push(entry.offset);
            ops.push(entry.op);
        }
    }
    for (value, (offsets, mut ops)) in places {
        let mut attempts = index.attempts(number, value).filter_map(|attempt| index.produce(attempt.op));
        let Some(producer) = attempts.find_map(|produce| produce.producer) else {
            report.duplicates_allowed += 1;
            continue;
        };
        report.add(Check::Duplicate, Weight::Violation, || {
            ops.extend(index.attempts(number, value).map(|attempt| attempt.op));
            ops.sort_unstable();
            ops.dedup();
            let text = format!("value {value} of producer {} stands at one offset only", producer.id);
            Finding::new(Check::Duplicate, text).partition(name).offsets(&offsets).ops(&ops)
        });
    }
}
