//! What the end of a run shows of each partition: its final reads, its log start, and what may explain that start.

use crate::{
    history::{Op, PartitionInfo},
    index::{Index, fetch},
    line::{Call, End, Spec},
    spans::Spans,
};

const NS_PER_MS: u64 = 1_000_000;

/// One partition after the run.
#[derive(Debug, Default)]
pub(crate) struct Final {
    /// The greatest log start that a final read or a final look at the start showed, by which operation, and when.
    pub(crate) start: Option<(u64, u32, u64)>,
    /// The greatest end that a final look showed, by which operation, and when it was asked for.
    pub(crate) end: Option<(u64, u32, u64)>,
    /// The offsets that final reads went through.
    pub(crate) covered: Spans,
    /// What they returned, as (offset, value), sorted.
    pub(crate) records: Vec<(u64, u64)>,
    /// The offsets that other reads went through.
    pub(crate) covered_before: Spans,
    /// The greatest offset below which someone asked to delete records, refused requests left out.
    pub(crate) deleted_below: u64,
    /// The greatest leader epoch that any answer showed.
    pub(crate) epoch_max: u32,
}

impl Final {
    /// Whether a final read returned this value at this offset.
    pub(crate) fn has(&self, offset: u64, value: u64) -> bool {
        self.records.binary_search(&(offset, value)).is_ok()
    }

    /// Whether this record may be below the log start: someone asked for its deletion, or it had the age for retention,
    /// or the partition has a limit by size (whose effect a history cannot compute, since it does not know batches).
    pub(crate) fn may_be_gone(&self, offset: u64, sent_ns: u64, partition: &PartitionInfo) -> bool {
        let seen_ns = self.start.map_or(u64::MAX, |start| start.2);
        let age_ms = seen_ns.saturating_sub(sent_ns) / NS_PER_MS;
        offset < self.deleted_below
            || partition.retention_bytes.is_some()
            || partition.retention_ms.is_some_and(|retention_ms| age_ms >= retention_ms)
    }
}

/// What each partition looks like after the run, in their order.
pub(crate) fn finals(index: &Index<'_>) -> Vec<Final> {
    let partitions = index.history.partitions.len();
    let mut finals: Vec<Final> = (0..partitions).map(|_| Final::default()).collect();
    let mut ranges = vec![(Vec::new(), Vec::new()); partitions];
    for (number, op) in index.ops() {
        let Some(at) = op.partition.map(|partition| partition as usize) else { continue };
        let (Some(view), Some((covered, before))) = (finals.get_mut(at), ranges.get_mut(at)) else {
            continue;
        };
        note(view, number, op);
        let Some(fetch) = fetch(op) else { continue };
        let last = fetch.records.iter().map(|read| read.offset.get()).max();
        let next = fetch.next_offset.map_or(0, |next| next.get());
        let behind = last.map_or(0, |last| last.saturating_add(1)).max(next);
        let range = (fetch.from.max(fetch.log_start), behind);
        if fetch.is_final {
            covered.push(range);
            view.records.extend(fetch.records.iter().map(|read| (read.offset.get(), read.value)));
            view.raise_start(fetch.log_start, number, op.completed_ns);
        } else {
            before.push(range);
        }
    }
    for (view, (covered, before)) in finals.iter_mut().zip(ranges) {
        (view.covered, view.covered_before) = (Spans::new(covered), Spans::new(before));
        view.records.sort();
        view.records.dedup();
    }
    finals
}

impl Final {
    fn raise_start(&mut self, start: u64, op: u32, at_ns: u64) {
        self.start = self.start.max(Some((start, op, at_ns)));
    }
}

/// Takes what an operation shows besides records.
fn note(view: &mut Final, number: u32, op: &Op) {
    let epoch = match &op.end {
        End::Produced { leader_epoch, .. }
        | End::Fetched { leader_epoch, .. }
        | End::Listed { leader_epoch, .. }
        | End::Probed { leader_epoch, .. } => leader_epoch.get(),
        _ => 0,
    };
    view.epoch_max = view.epoch_max.max(epoch);
    match (&op.call, &op.end) {
        (Call::DeleteRecords { .. }, End::Refused) => {}
        (Call::DeleteRecords { before }, _) => view.deleted_below = view.deleted_below.max(before.get()),
        (Call::ListOffsets { spec: Spec::End, is_final: true }, End::Listed { offset, .. }) => {
            view.end = view.end.max(Some((offset.get(), number, op.invoked_ns)));
        }
        (Call::ListOffsets { spec: Spec::Start, is_final: true }, End::Listed { offset, .. }) => {
            view.raise_start(offset.get(), number, op.completed_ns);
        }
        _ => {}
    }
}
