//! C4, C5 and C6: each record that was read was sent like this, did not fail, and stands next to those it was sent with.

use std::collections::{HashMap, HashSet};

use crate::{
    finals::Final,
    finding::{Check, Finding, Report, Weight},
    history::Op,
    index::{Entry, Fetch, Index, Source, fetch},
    line::{End, Read, Sent},
};

/// C4, C5 and C6 for every record of every fetch.
pub(crate) fn check(index: &Index<'_>, finals: &[Final], report: &mut Report) {
    for (number, op) in index.ops() {
        let (Some(fetch), Some(partition)) = (fetch(op), op.partition) else { continue };
        report.records_read += fetch.records.len() as u64;
        for read in fetch.records {
            phantom(index, number, partition, op, read, report);
        }
        offsets_grow(index, number, partition, &fetch, report);
    }
    whole_batches(index, finals, report);
}

/// C4: the value was never sent, not yet, to another partition, or with another body. C5: every attempt to write it
/// ended *not written*. One unknown attempt is enough for it to be there rightly (R12).
fn phantom(index: &Index<'_>, number: u32, partition: u32, op: &Op, read: &Read, report: &mut Report) {
    let mut was_sent = false;
    let (mut in_time, mut same_body, mut may_be_there) = (false, false, false);
    for attempt in index.attempts(partition, read.value) {
        let (Some(sender), Some(produce)) = (index.op(attempt.op), index.produce(attempt.op)) else {
            continue;
        };
        let sent = produce.records.get(attempt.at as usize);
        was_sent = true;
        in_time |= sender.invoked_ns <= op.completed_ns;
        same_body |= sent.is_some_and(|sent| (sent.bytes, sent.hash) == (read.bytes, read.hash));
        may_be_there |= sender.end != End::NotWritten;
        if in_time && same_body && may_be_there {
            return;
        }
    }
    let value = read.value;
    let fault = match (was_sent, in_time, same_body) {
        (true, true, true) => (Check::FailedRead, "a produce that ended not written is never read"),
        (true, true, false) => (Check::Phantom, "a record is read with the body that was sent"),
        (true, false, _) => (Check::Phantom, "a record is read only after it was sent"),
        (false, _, _) => {
            let elsewhere = index.writers.of(value).next().is_some();
            let other = "a record is read from the partition only that it was sent to";
            (Check::Phantom, if elsewhere { other } else { "only what someone sent is read" })
        }
    };
    let (check, expected) = fault;
    report.add(check, Weight::Violation, || {
        let mut ops = vec![number];
        ops.extend(index.writers.of(value).map(|attempt| attempt.op));
        Finding::new(check, format!("{expected}, and here is value {value}"))
            .partition(index.name(partition))
            .offsets(&[read.offset.get()])
            .ops(&ops)
    });
}

/// C6 inside one fetch: offsets grow.
fn offsets_grow(index: &Index<'_>, number: u32, partition: u32, fetch: &Fetch<'_>, report: &mut Report) {
    for (a, b) in fetch.records.iter().zip(fetch.records.iter().skip(1)) {
        if b.offset <= a.offset {
            let offsets = [a.offset.get(), b.offset.get()];
            let text = || "offsets grow inside one fetch".to_owned();
            add(index, partition, &offsets, &[number], text, report);
        }
    }
}

/// C6 over the whole log: a batch of which one record was read or acknowledged is there as a whole, as far as anyone
/// read over its offsets. A batch that ends *unknown* has no other measure than this.
fn whole_batches(index: &Index<'_>, finals: &[Final], report: &mut Report) {
    for ((partition, _, log), view) in index.partitions().zip(finals) {
        let (mut last, mut known) = (None, HashMap::new());
        for (entry, next) in log.entries.iter().zip(log.entries.iter().skip(1).map(Some).chain([None])) {
            let mut attempts = index.attempts(partition, entry.value);
            let (Some(attempt), None) = (attempts.next(), attempts.next()) else {
                neighbours(index, partition, (entry, next), &mut known, report);
                continue;
            };
            let base = entry.offset.checked_sub(attempt.at.into());
            if entry.source == Source::Implied || last.replace((attempt.op, base)) == Some((attempt.op, base))
            {
                continue;
            }
            let records = index.produce(attempt.op).map_or(&[][..], |produce| produce.records);
            let Some(base) = base else {
                let text = || format!("value {} stands behind the records it was sent behind", entry.value);
                add(index, partition, &[entry.offset], &[entry.op, attempt.op], text, report);
                continue;
            };
            let is_missing = |(offset, sent): &(u64, Sent)| {
                let is_there =
                    log.find(*offset, sent.value).is_some_and(|found| found.source != Source::Implied);
                !is_there && (view.covered.contain(*offset) || view.covered_before.contain(*offset))
            };
            if let Some((offset, sent)) = (base..).zip(records.iter().copied()).find(is_missing) {
                let pair = [entry.value, sent.value];
                let text = || {
                    format!("values {pair:?} of one produce stand in one batch, and here is only the first")
                };
                add(index, partition, &[entry.offset, offset], &[entry.op, attempt.op], text, report);
            }
        }
    }
}

/// Where a value stands in the batches that it was sent in.
#[derive(Default)]
struct InBatches {
    was_sent: bool,
    begins: bool,
    ends: bool,
    followed_by: HashSet<u64>,
}

impl InBatches {
    fn new(index: &Index<'_>, partition: u32, value: u64) -> Self {
        let mut place = Self::default();
        for attempt in index.attempts(partition, value) {
            place.was_sent = true;
            place.begins |= attempt.at == 0;
            let records = index.produce(attempt.op).map_or(&[][..], |produce| produce.records);
            match records.get(attempt.at as usize + 1) {
                Some(next) => drop(place.followed_by.insert(next.value)),
                None => place.ends = true,
            }
        }
        place
    }
}

/// C6 where a value was sent more than once, so that it is open which batch it stands in: what stands right behind it was
/// sent behind it, or one batch ends and another begins. What no one sent is C4's to tell.
///
/// Each value is looked up once, however often it stands in the log.
fn neighbours(
    index: &Index<'_>,
    partition: u32,
    (a, b): (&Entry, Option<&Entry>),
    known: &mut HashMap<u64, InBatches>,
    report: &mut Report,
) {
    let Some(b) = b.filter(|b| a.offset.checked_add(1) == Some(b.offset)) else { return };
    for value in [a.value, b.value] {
        known.entry(value).or_insert_with(|| InBatches::new(index, partition, value));
    }
    let (Some(first), Some(second)) = (known.get(&a.value), known.get(&b.value)) else { return };
    let fits = first.followed_by.contains(&b.value)
        || (first.ends || !first.was_sent) && (second.begins || !second.was_sent);
    if !fits {
        let pair = [a.value, b.value];
        let text =
            || format!("the records of one produce stand together, and values {pair:?} tear one apart");
        add(index, partition, &[a.offset, b.offset], &[a.op, b.op], text, report);
    }
}

fn add(
    index: &Index<'_>,
    partition: u32,
    offsets: &[u64],
    ops: &[u32],
    expected: impl FnOnce() -> String,
    report: &mut Report,
) {
    report.add(Check::BatchIntegrity, Weight::Violation, || {
        let name = index.name(partition);
        Finding::new(Check::BatchIntegrity, expected()).partition(name).offsets(offsets).ops(ops)
    });
}
