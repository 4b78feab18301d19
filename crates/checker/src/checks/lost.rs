//! C3: what a quorum acknowledged is there, at the offset that the acknowledgement names.

use corduroy_types::Acks;

use crate::{
    finals::Final,
    finding::{Check, Finding, Report, Weight},
    history::{Op, PartitionInfo},
    index::{Index, PartitionLog, Source, acknowledged, produce},
    line::Call,
};

/// Why a record counts as lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// A final read went over its offset and did not return it.
    NotRead,
    /// The final end is not behind it.
    AboveEnd,
    /// The final log start is behind it, and nothing explains that.
    BelowStart,
    /// Readers went over its offset during the run, and none of them got it.
    PassedOver,
}

/// C3 for every acknowledged record: by the final reads where they cover its offset, and by all other reads.
pub(crate) fn check(index: &Index<'_>, finals: &[Final], report: &mut Report) {
    let last_fault_ns = last_fault_ns(index);
    for (number, op) in index.ops() {
        let (Some((base, epoch)), Some(produce)) = (acknowledged(op), produce(op)) else { continue };
        let Some(at) = op.partition.map(|partition| partition as usize) else { continue };
        let (Some(log), Some(view), Some(info)) =
            (index.logs.get(at), finals.get(at), index.history.partitions.get(at))
        else {
            continue;
        };
        let partition = Partition { log, view, info };
        let places = (base..).zip(produce.records.iter().map(|sent| sent.value));
        if produce.acks == Acks::One {
            let missing: Vec<_> = places.filter(|place| partition.is_unread(place.0, place.1)).collect();
            let is_excused = view.epoch_max > epoch.get() || last_fault_ns >= Some(op.invoked_ns);
            match (missing.first(), is_excused) {
                (None, _) => {}
                (Some(_), true) => report.losses_allowed += missing.len() as u64,
                (Some(_), false) => {
                    let offsets: Vec<_> = missing.into_iter().map(|place| place.0).collect();
                    add(report, info, &offsets, &[number], &text_of_one());
                }
            }
            continue;
        }
        let lost: Vec<_> =
            places.filter_map(|(offset, value)| Some((offset, partition.loss(op, offset, value)?))).collect();
        if let Some((_, loss)) = lost.first() {
            let offsets: Vec<_> = lost.iter().map(|lost| lost.0).collect();
            let (text, other) = text(*loss, view);
            let ops: Vec<_> = [number].into_iter().chain(other).collect();
            add(report, info, &offsets, &ops, &text);
        }
    }
}

/// One partition, as C3 needs it.
struct Partition<'a> {
    log: &'a PartitionLog,
    view: &'a Final,
    info: &'a PartitionInfo,
}

impl Partition<'_> {
    /// Why the record is lost; `None` where it is there, or may rightly be gone, or nothing shows that it is not there.
    fn loss(&self, op: &Op, offset: u64, value: u64) -> Option<Loss> {
        let view = self.view;
        if view.start.is_some_and(|start| offset < start.0) {
            let is_explained = view.may_be_gone(offset, op.invoked_ns, self.info);
            return (!is_explained).then_some(Loss::BelowStart);
        }
        if view.covered.contain(offset) {
            return (!view.has(offset, value)).then_some(Loss::NotRead);
        }
        // The end was asked for after the acknowledgement, and is confirmed by a quorum.
        if view.end.is_some_and(|(end, _, asked_ns)| offset >= end && op.completed_ns < asked_ns) {
            return Some(Loss::AboveEnd);
        }
        let was_read = self.log.find(offset, value).is_some_and(|entry| entry.source == Source::Read);
        (!was_read && view.covered_before.contain(offset)).then_some(Loss::PassedOver)
    }

    /// Whether the final reads went over the offset of a record of `acks=one` without returning it.
    fn is_unread(&self, offset: u64, value: u64) -> bool {
        let is_below = self.view.start.is_some_and(|start| offset < start.0);
        !is_below && self.view.covered.contain(offset) && !self.view.has(offset, value)
    }
}

/// When the last fault ended, in nanoseconds. Until then `acks=one` promises nothing.
fn last_fault_ns(index: &Index<'_>) -> Option<u64> {
    let faults = index.ops().filter(|(_, op)| matches!(op.call, Call::Nemesis { .. }));
    faults.map(|(_, op)| op.completed_ns).max()
}

fn text_of_one() -> String {
    "what acks=one acknowledged stays while no leader changes and no fault strikes, and final reads lack it"
        .to_owned()
}

/// The sentence for a loss, and the operation that shows it.
fn text(loss: Loss, view: &Final) -> (String, Option<u32>) {
    match loss {
        Loss::NotRead => {
            ("what a quorum acknowledged is read in the end, and final reads lack it there".to_owned(), None)
        }
        Loss::PassedOver => {
            ("what a quorum acknowledged is read, and readers passed over it without it".to_owned(), None)
        }
        Loss::AboveEnd => {
            let (end, by) = view.end.map_or((0, None), |end| (end.0, Some(end.1)));
            (format!("what a quorum acknowledged is below the final end, and that is {end}"), by)
        }
        Loss::BelowStart => {
            let (start, by) = view.start.map_or((0, None), |start| (start.0, Some(start.1)));
            let why = "neither a deletion nor retention explains that";
            (format!("what a quorum acknowledged stays readable, and the log starts at {start}: {why}"), by)
        }
    }
}

fn add(report: &mut Report, info: &PartitionInfo, offsets: &[u64], ops: &[u32], text: &str) {
    report.add(Check::LostWrite, Weight::Violation, || {
        Finding::new(Check::LostWrite, text.to_owned()).partition(&info.name).offsets(offsets).ops(ops)
    });
}
