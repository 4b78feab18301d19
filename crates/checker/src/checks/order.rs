//! C9 and C10: records stand in the order in which they were sent, as far as there was one.

use std::collections::HashMap;

use corduroy_types::Acks;

use super::rising::Rising;
use crate::{
    finding::{Check, Finding, Report, Weight},
    history::Op,
    index::{Index, NOWHERE, PartitionLog, Source, acknowledged, fetch},
    line::End,
};

/// C9 and C10.
pub(crate) fn check(index: &Index<'_>, report: &mut Report) {
    for (number, name, log) in index.partitions() {
        sequences(index, number, name, log, report);
    }
    real_time(index, report);
}

/// C9 for producers with an id: (producer epoch, sequence) grows with the offset, whatever the outcomes were.
///
/// A value at several offsets is C2's to tell. Where a value was sent under several numbers, any of them will do.
fn sequences(index: &Index<'_>, number: u32, name: &str, log: &PartitionLog, report: &mut Report) {
    let mut last: HashMap<u64, ((u32, u64), u64, u32)> = HashMap::new();
    for entry in log.entries.iter().filter(|entry| entry.source != Source::Implied) {
        if log.copied.contains(&entry.value) {
            continue;
        }
        let numbered = index.attempts(number, entry.value).filter_map(|attempt| {
            let producer = index.produce(attempt.op)?.producer?;
            let sequence = producer.sequence.saturating_add(attempt.at.into());
            Some((producer.id, (producer.epoch, sequence), attempt.op))
        });
        let (mut best, mut fault) = (None, None);
        for (id, numbers, op) in numbered {
            match last.get(&id) {
                Some((before, offset, other)) if numbers <= *before => {
                    fault = Some((id, *offset, [*other, op]))
                }
                _ => best = best.into_iter().chain([(id, numbers, op)]).min(),
            }
        }
        if let Some((id, numbers, op)) = best {
            last.insert(id, (numbers, entry.offset, op));
        } else if let Some((id, offset, ops)) = fault {
            report.add(Check::ProducerOrder, Weight::Violation, || {
                let text = format!("records of producer {id} stand in the order of their sequences");
                let offsets = [offset, entry.offset];
                Finding::new(Check::ProducerOrder, text).partition(name).offsets(&offsets).ops(&ops)
            });
        }
    }
}

/// C10: a record stands behind everything that was known to be in the log before it was sent. C9 for one client: the
/// same for its own produces, with or without a producer id, that it did not send while another was open.
///
/// The sending of a record that was sent again is its first. Produces whose record is not known to be in the log, and
/// those with `acks=one` that no one read, have no place.
fn real_time(index: &Index<'_>, report: &mut Report) {
    let mut known: Vec<Rising> = index.history.partitions.iter().map(|_| Rising::default()).collect();
    let mut own: HashMap<(u32, u32), Rising> = HashMap::new();
    for moment in index.moments.iter().filter(|moment| moment.is_end) {
        let Some((op, partition)) = index.op(moment.op).and_then(|op| Some((op, op.partition?))) else {
            continue;
        };
        let Some(rising) = known.get_mut(partition as usize) else { continue };
        if let Some(fetch) = fetch(op) {
            if let Some(greatest) = fetch.records.iter().map(|read| read.offset.get()).max() {
                rising.note(moment.at_ns, greatest, moment.op);
            }
        } else if let Some(last) = certain_last(index, moment.op, op) {
            rising.note(moment.at_ns, last, moment.op);
            own.entry((op.client, partition)).or_default().note(moment.at_ns, last, moment.op);
        }
    }
    for (number, op) in index.ops() {
        let base = index.bases.get(number as usize).copied().unwrap_or(NOWHERE);
        let Some(partition) = op.partition.filter(|_| base != NOWHERE && op.end != End::NotWritten) else {
            continue;
        };
        let sent_ns = index.first_sent_ns(number);
        let known = known.get(partition as usize).and_then(|known| known.before(sent_ns));
        let own = own.get(&(op.client, partition)).and_then(|own| own.before(sent_ns));
        let who =
            [(Check::RealTimeOrder, known, "what was in the log"), (Check::ProducerOrder, own, "its own")];
        for (check, floor, what) in who {
            if let Some((offset, other)) = floor.filter(|floor| base <= floor.0) {
                report.add(check, Weight::Violation, || {
                    let text =
                        format!("a record stands behind {what} before it was sent, at {offset} or lower");
                    let name = index.name(partition);
                    Finding::new(check, text).partition(name).offsets(&[base, offset]).ops(&[other, number])
                });
            }
        }
    }
}

/// The offset of the last record of a produce that was acknowledged, and that is known to stay: a quorum has it, or
/// someone read it there.
fn certain_last(index: &Index<'_>, number: u32, op: &Op) -> Option<u64> {
    let (base, _) = acknowledged(op)?;
    let produce = index.produce(number)?;
    let stays = match produce.acks {
        Acks::Quorum | Acks::All => true,
        Acks::One => index.bases.get(number as usize) == Some(&base),
    };
    let last = (produce.records.len() as u64).checked_sub(1)?;
    stays.then(|| base.saturating_add(last))
}
