//! C4, C5 and C6: each record that was read was sent like this, did not fail, and stands next to those it was sent with.

use crate::{
    finding::{Check, Finding, Report, Weight},
    history::Op,
    index::{Fetch, Index, fetch},
    line::{End, Read},
};

/// C4, C5 and C6 for every record of every fetch.
pub(crate) fn check(index: &Index<'_>, report: &mut Report) {
    for (number, op) in index.ops() {
        let (Some(fetch), Some(partition)) = (fetch(op), op.partition) else { continue };
        report.records_read += fetch.records.len() as u64;
        for read in fetch.records {
            phantom(index, number, partition, op, read, report);
        }
        neighbours(index, number, partition, &fetch, report);
    }
    torn_in_log(index, report);
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
    }
    let value = read.value;
    let fault = match (was_sent, in_time, same_body) {
        (true, true, true) if may_be_there => return,
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

/// C6 inside one fetch: offsets grow, and a batch is not left in its middle or entered there without its beginning.
fn neighbours(index: &Index<'_>, number: u32, partition: u32, fetch: &Fetch<'_>, report: &mut Report) {
    let mut add = |offsets: [u64; 2], expected: String| {
        report.add(Check::BatchIntegrity, Weight::Violation, || {
            let name = index.name(partition);
            Finding::new(Check::BatchIntegrity, expected).partition(name).offsets(&offsets).ops(&[number])
        });
    };
    for (a, b) in fetch.records.iter().zip(fetch.records.iter().skip(1)) {
        let offsets = [a.offset.get(), b.offset.get()];
        if b.offset <= a.offset {
            add(offsets, "offsets grow inside one fetch".to_owned());
        } else if b.offset.distance_from(a.offset) > 1 && !ends_and_begins(index, partition, a.value, b.value)
        {
            // The log start may have been raised into a batch, so what is below it may lack its beginning.
            if b.offset.get() > fetch.log_start {
                let pair = (a.value, b.value);
                add(offsets, format!("the records of one produce stand together, and {pair:?} have a gap"));
            }
        }
    }
}

/// C6 over the whole log: what stands at neighbouring offsets was sent together, or one batch ends and another begins.
/// A batch of which one record was read is there as a whole.
fn torn_in_log(index: &Index<'_>, report: &mut Report) {
    for (number, name, log) in index.partitions() {
        for (a, b) in log.entries.iter().zip(log.entries.iter().skip(1)) {
            if a.offset.checked_add(1) != Some(b.offset) || fit(index, number, a.value, b.value) {
                continue;
            }
            report.add(Check::BatchIntegrity, Weight::Violation, || {
                let pair = (a.value, b.value);
                let text = format!("the records of one produce stand together, and {pair:?} tear one apart");
                let offsets = [a.offset, b.offset];
                Finding::new(Check::BatchIntegrity, text).partition(name).offsets(&offsets).ops(&[a.op, b.op])
            });
        }
    }
}

/// Whether `b` may stand right behind `a`. What no one sent is C4's to tell.
fn fit(index: &Index<'_>, partition: u32, a: u64, b: u64) -> bool {
    let follows = index.attempts(partition, a).any(|attempt| {
        let produce = index.produce(attempt.op);
        let next = produce.and_then(|produce| produce.records.get(attempt.at as usize + 1).copied());
        next.is_some_and(|next| next.value == b)
    });
    follows || ends_and_begins(index, partition, a, b)
}

/// Whether some attempt ends with `a`, and some attempt begins with `b`.
fn ends_and_begins(index: &Index<'_>, partition: u32, a: u64, b: u64) -> bool {
    let (mut sent_a, mut ends, mut sent_b, mut begins) = (false, false, false, false);
    for attempt in index.attempts(partition, a) {
        let records = index.produce(attempt.op).map_or(0, |produce| produce.records.len());
        (sent_a, ends) = (true, ends || attempt.at as usize + 1 == records);
    }
    for attempt in index.attempts(partition, b) {
        (sent_b, begins) = (true, begins || attempt.at == 0);
    }
    (ends || !sent_a) && (begins || !sent_b)
}
