//! C11 and C12: the end of a partition never goes back, and an end that is shown is not older than the lease.

use std::collections::BTreeMap;

use corduroy_types::Acks;

use super::rising::Rising;
use crate::{
    Options,
    finding::{Check, Finding, Report, Weight},
    history::Op,
    index::{Index, acknowledged, fetch, produce},
    line::{Call, End, Spec},
};

/// An end that an answer showed.
struct Shown {
    end: u64,
    epoch: u32,
    /// A follower may be behind what the leader has shown to others (R19), so it is held to the lease only.
    by_follower: bool,
    /// `ListOffsets` asked for it, so it was confirmed by a quorum (R18).
    is_listed: bool,
}

/// The greatest ends by epoch, each greater than those of lower epochs: (epoch) → (end, operation).
type ByEpoch = BTreeMap<u32, (u64, u32)>;

/// C11 and C12, and that no fetch returns what is not below its own high watermark (R10).
pub(crate) fn check(index: &Index<'_>, options: &Options, report: &mut Report) {
    let partitions = || index.history.partitions.iter();
    let mut shown: Vec<ByEpoch> = partitions().map(|_| ByEpoch::new()).collect();
    let mut current: Vec<Rising> = partitions().map(|_| Rising::default()).collect();
    let mut acknowledged_ends: Vec<Rising> = partitions().map(|_| Rising::default()).collect();
    for moment in &index.moments {
        let Some((op, partition)) = index.op(moment.op).and_then(|op| Some((op, op.partition?))) else {
            continue;
        };
        let at = partition as usize;
        let (Some(shown), Some(current), Some(acks)) =
            (shown.get_mut(at), current.get_mut(at), acknowledged_ends.get_mut(at))
        else {
            continue;
        };
        let end = shown_end(op);
        if !moment.is_end {
            if let Some(end) = end {
                let floor = acks.before(moment.at_ns).filter(|_| options.linearizable && end.is_listed);
                let finder = Finder { index, number: moment.op, partition, report: &mut *report };
                regress(finder, &end, shown, floor);
                let finder = Finder { index, number: moment.op, partition, report: &mut *report };
                stale(finder, &end, current.first_above(end.end), op.invoked_ns, options.lease_ns);
            }
            continue;
        }
        if let Some(end) = end {
            current.note(moment.at_ns, end.end, moment.op);
            if !end.by_follower {
                note(shown, end.epoch, end.end, moment.op);
            }
        }
        if let Some(end) = proven_end(op) {
            current.note(moment.at_ns, end, moment.op);
            if produce(op).is_some() {
                acks.note(moment.at_ns, end, moment.op);
            }
        }
        above_high_watermark(Finder { index, number: moment.op, partition, report: &mut *report }, op);
    }
}

/// What a finding of one answer is made with.
struct Finder<'a, 'h> {
    index: &'a Index<'h>,
    number: u32,
    partition: u32,
    report: &'a mut Report,
}

impl Finder<'_, '_> {
    fn add(self, check: Check, offsets: &[u64], other: Option<u32>, expected: impl FnOnce() -> String) {
        let ops: Vec<_> = other.into_iter().chain([self.number]).collect();
        self.report.add(check, Weight::Violation, || {
            let name = self.index.name(self.partition);
            Finding::new(check, expected()).partition(name).offsets(offsets).ops(&ops)
        });
    }
}

/// C11: an end below one that was shown before this request began, in the same epoch or a lower one. With `floor`, the
/// end of what was acknowledged before, it must not be below that either.
fn regress(finder: Finder<'_, '_>, end: &Shown, shown: &ByEpoch, floor: Option<(u64, u32)>) {
    let before =
        shown.range(..=end.epoch).next_back().map(|(_, before)| *before).filter(|_| !end.by_follower);
    let greatest = before.into_iter().chain(floor).max();
    if let Some((before, other)) = greatest.filter(|before| end.end < before.0) {
        finder.add(Check::EndRegress, &[before, end.end], Some(other), || {
            format!("an end of {before} was known before this request, so it shows that or more")
        });
    }
}

/// C12: how long before the request the end that it shows had ceased to be the end (Jepsen: realtime lag).
fn stale(finder: Finder<'_, '_>, end: &Shown, above: Option<(u64, u32)>, invoked_ns: u64, lease_ns: u64) {
    let Some((since_ns, other)) = above else { return };
    let lag_ns = invoked_ns.saturating_sub(since_ns);
    if lag_ns > lease_ns {
        finder.add(Check::Staleness, &[end.end], Some(other), || {
            format!("an end that is shown was passed at most {lease_ns} ns before, and this one {lag_ns} ns before")
        });
    }
}

/// R10, reported under C11: nothing at or above the high watermark of an answer is in it.
fn above_high_watermark(finder: Finder<'_, '_>, op: &Op) {
    let Some(fetch) = fetch(op) else { return };
    let Some(mark) = fetch.high_watermark.map(corduroy_types::Offset::get) else { return };
    let offsets: Vec<_> =
        fetch.records.iter().map(|read| read.offset.get()).filter(|at| *at >= mark).collect();
    if !offsets.is_empty() {
        finder.add(Check::EndRegress, &offsets, None, || {
            format!("a fetch with high watermark {mark} returns only what is below it")
        });
    }
}

/// The end that an answer shows to its client.
fn shown_end(op: &Op) -> Option<Shown> {
    if let Some(fetch) = fetch(op) {
        let end = fetch.high_watermark?.get();
        return Some(Shown { end, epoch: fetch.epoch.get(), by_follower: fetch.follower, is_listed: false });
    }
    match (&op.call, &op.end) {
        (Call::ListOffsets { spec: Spec::End, .. }, End::Listed { offset, leader_epoch }) => {
            let (end, epoch) = (offset.get(), leader_epoch.get());
            Some(Shown { end, epoch, by_follower: false, is_listed: true })
        }
        _ => None,
    }
}

/// The end that an answer proves without naming one: behind what a quorum acknowledged, and behind what was read.
fn proven_end(op: &Op) -> Option<u64> {
    if let Some(fetch) = fetch(op) {
        return fetch.records.iter().map(|read| read.offset.get().saturating_add(1)).max();
    }
    let ((base, _), produce) = (acknowledged(op)?, produce(op)?);
    (produce.acks != Acks::One).then(|| base.saturating_add(produce.records.len() as u64))
}

/// Adds an end, and drops those of the same or higher epochs that it makes needless.
fn note(shown: &mut ByEpoch, epoch: u32, end: u64, op: u32) {
    if shown.range(..=epoch).next_back().is_some_and(|(_, before)| before.0 >= end) {
        return;
    }
    while let Some((needless, _)) = shown.range(epoch..).next().filter(|(_, other)| other.0 <= end) {
        let needless = *needless;
        shown.remove(&needless);
    }
    shown.insert(epoch, (end, op));
}
