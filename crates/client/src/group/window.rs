//! Which records of a partition were handed out and are not done, and how far may be committed because of that.

use std::collections::{BTreeMap, VecDeque};

use corduroy_types::{LeaderEpoch, Offset};

/// How many changes of the leader epoch are remembered between the committed position and the newest record. Beyond
/// that a commit may name an older epoch than it could, which is safe.
const EPOCHS_MAX: usize = 16;

/// A moment on the coarse clock by which records that are not done for long are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) u64);

/// A place to commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommitPosition {
    /// Everything below is done.
    pub(crate) offset: Offset,
    /// The leader epoch of the last record below, if one is known.
    pub(crate) epoch: Option<LeaderEpoch>,
}

/// Records in a row that were handed out at the same tick.
#[derive(Debug, Clone, Copy)]
struct Run {
    end: u64,
    tick: Tick,
}

/// The bookkeeping of one partition.
///
/// It keeps the records that are *not* done, as runs of successive offsets: a record that is done costs nothing,
/// however long one before it takes. There are never more runs than such records, and of those the consumer hands
/// out no more than `in_flight_max`.
#[derive(Debug)]
pub(crate) struct Window {
    /// First offset to the run that begins there.
    runs: BTreeMap<u64, Run>,
    open_count: u64,
    /// Everything below was handed out, or is not there to be handed out.
    passed: Offset,
    /// The epoch before the first of `epochs`.
    epoch: Option<LeaderEpoch>,
    /// From which record on which epoch holds.
    epochs: VecDeque<(Offset, LeaderEpoch)>,
}

impl Window {
    /// Begins at a position, of whose last record the epoch may be known.
    pub(crate) fn new(position: Offset, epoch: Option<LeaderEpoch>) -> Self {
        Self { runs: BTreeMap::new(), open_count: 0, passed: position, epoch, epochs: VecDeque::new() }
    }

    /// A record is handed out. Offsets only grow.
    pub(crate) fn hand_out(&mut self, offset: Offset, epoch: Option<LeaderEpoch>, tick: Tick) {
        if offset < self.passed {
            return;
        }
        self.note_epoch(offset, epoch);
        let at = offset.get();
        match self.runs.last_entry() {
            Some(mut last) if last.get().end == at && last.get().tick == tick => last.get_mut().end += 1,
            _ => drop(self.runs.insert(at, Run { end: at + 1, tick })),
        }
        self.open_count += 1;
        self.passed = offset.saturating_add(1);
    }

    /// Nothing below `to` will be handed out any more.
    pub(crate) fn pass(&mut self, to: Offset) {
        self.passed = self.passed.max(to);
    }

    /// A record is handed out, and counts as done already.
    pub(crate) fn hand_out_done(&mut self, offset: Offset, epoch: Option<LeaderEpoch>) {
        if offset >= self.passed {
            self.note_epoch(offset, epoch);
            self.passed = offset.saturating_add(1);
            self.forget_epochs();
        }
    }

    /// A record is done. Returns whether it was not before.
    pub(crate) fn done(&mut self, offset: Offset) -> bool {
        let at = offset.get();
        let Some((start, run)) = self.runs.range(..=at).next_back().map(|(start, run)| (*start, *run)) else {
            return false;
        };
        if run.end <= at {
            return false;
        }
        if start < at {
            self.runs.insert(start, Run { end: at, ..run });
        } else {
            self.runs.remove(&start);
        }
        if at + 1 < run.end {
            self.runs.insert(at + 1, run);
        }
        self.open_count -= 1;
        self.forget_epochs();
        true
    }

    /// Everything below `offset` is done. Returns how many records that were not are now.
    pub(crate) fn done_below(&mut self, offset: Offset) -> u64 {
        let before = self.open_count;
        let rest = self.runs.split_off(&offset.get());
        for (start, run) in std::mem::replace(&mut self.runs, rest) {
            self.open_count -= run.end.min(offset.get()) - start;
            if run.end > offset.get() {
                self.runs.insert(offset.get(), run);
            }
        }
        self.forget_epochs();
        before - self.open_count
    }

    /// How far may be committed.
    pub(crate) fn place(&self) -> CommitPosition {
        let offset = self.low();
        let newest = self.epochs.iter().take_while(|(from, _)| *from < offset).last();
        CommitPosition { offset, epoch: newest.map(|(_, epoch)| *epoch).or(self.epoch) }
    }

    /// How many records were handed out and are not done.
    pub(crate) fn open_count(&self) -> u64 {
        self.open_count
    }

    /// The first record that is not done, and when it was handed out.
    pub(crate) fn oldest(&self) -> Option<(Offset, Tick)> {
        let (start, run) = self.runs.first_key_value()?;
        Some((Offset::new(*start)?, run.tick))
    }

    fn low(&self) -> Offset {
        self.runs.first_key_value().and_then(|(start, _)| Offset::new(*start)).unwrap_or(self.passed)
    }

    fn note_epoch(&mut self, offset: Offset, epoch: Option<LeaderEpoch>) {
        let newest = self.epochs.back().map(|(_, epoch)| *epoch).or(self.epoch);
        let Some(epoch) = epoch.filter(|epoch| Some(*epoch) != newest) else { return };
        if self.epochs.len() >= EPOCHS_MAX {
            return;
        }
        self.epochs.push_back((offset, epoch));
    }

    /// Drops epochs that no place can name any more.
    fn forget_epochs(&mut self) {
        let low = self.low();
        while let Some((_, epoch)) = self.epochs.front().filter(|(from, _)| *from < low) {
            self.epoch = Some(*epoch);
            self.epochs.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offset(at: u64) -> Offset {
        Offset::new(at).unwrap()
    }

    fn epoch(number: u32) -> Option<LeaderEpoch> {
        LeaderEpoch::new(number)
    }

    /// Every record ever handed out: offset, epoch, done, tick.
    #[derive(Default)]
    struct Naive {
        records: Vec<(u64, u32, bool, u64)>,
        passed: u64,
    }

    impl Naive {
        fn low(&self) -> u64 {
            let open = self.records.iter().filter(|record| !record.2).map(|record| record.0).min();
            open.unwrap_or(self.passed)
        }

        fn epoch(&self) -> Option<u32> {
            let low = self.low();
            self.records.iter().rfind(|record| record.0 < low).map(|record| record.1)
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        HandOut { gap: u64, new_epoch: bool, new_tick: bool },
        HandOutDone { gap: u64, new_epoch: bool },
        Pass(u64),
        Done(usize),
        DoneAnywhere(u64),
        DoneBelow(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..3_u64, prop::bool::weighted(0.02), prop::bool::weighted(0.1)).prop_map(
                |(gap, new_epoch, new_tick)| Step::HandOut { gap: gap.saturating_sub(1), new_epoch, new_tick }),
            1 => (0..3_u64, prop::bool::weighted(0.1))
                .prop_map(|(gap, new_epoch)| Step::HandOutDone { gap, new_epoch }),
            1 => (0..4_u64).prop_map(Step::Pass),
            6 => any::<usize>().prop_map(Step::Done),
            1 => (0..200_u64).prop_map(Step::DoneAnywhere),
            1 => (0..200_u64).prop_map(Step::DoneBelow),
        ]
    }

    proptest! {
        /// At every step it says what a list of all records would say.
        #[test]
        fn it_says_what_is_done(steps in prop::collection::vec(step(), 0..200)) {
            let (mut window, mut naive) = (Window::new(offset(0), None), Naive::default());
            let (mut term, mut tick) = (0_u32, 0_u64);
            for step in steps {
                match step {
                    Step::HandOut { gap, new_epoch, new_tick } => {
                        term += u32::from(new_epoch);
                        tick += u64::from(new_tick);
                        let at = naive.passed + gap;
                        window.hand_out(offset(at), epoch(term), Tick(tick));
                        naive.records.push((at, term, false, tick));
                        naive.passed = at + 1;
                    }
                    Step::HandOutDone { gap, new_epoch } => {
                        term += u32::from(new_epoch);
                        let at = naive.passed + gap;
                        window.hand_out_done(offset(at), epoch(term));
                        naive.records.push((at, term, true, tick));
                        naive.passed = at + 1;
                    }
                    Step::Pass(count) => {
                        naive.passed += count;
                        window.pass(offset(naive.passed));
                    }
                    Step::Done(_) if naive.records.is_empty() => {}
                    Step::Done(which) => {
                        let count = naive.records.len();
                        let record = &mut naive.records[which % count];
                        prop_assert_eq!(window.done(offset(record.0)), !record.2);
                        record.2 = true;
                    }
                    Step::DoneAnywhere(at) => {
                        let record = naive.records.iter_mut().find(|record| record.0 == at);
                        let was_open = record.is_some_and(|record| !std::mem::replace(&mut record.2, true));
                        prop_assert_eq!(window.done(offset(at)), was_open);
                    }
                    Step::DoneBelow(at) => {
                        let mut count = 0;
                        for record in naive.records.iter_mut().filter(|record| record.0 < at && !record.2) {
                            record.2 = true;
                            count += 1;
                        }
                        prop_assert_eq!(window.done_below(offset(at)), count);
                    }
                }
                let open: Vec<_> = naive.records.iter().filter(|record| !record.2).collect();
                prop_assert_eq!(window.open_count(), open.len() as u64);
                prop_assert!(window.runs.len() <= open.len());
                let oldest = open.first().map(|record| (offset(record.0), Tick(record.3)));
                prop_assert_eq!(window.oldest(), oldest);
                let place = window.place();
                prop_assert_eq!(place.offset.get(), naive.low());
                prop_assert_eq!(place.epoch.map(LeaderEpoch::get), naive.epoch());
            }
        }
    }

    #[test]
    fn a_record_that_is_never_done_costs_one_run() {
        let mut window = Window::new(offset(0), None);
        window.hand_out(offset(0), epoch(0), Tick(0));
        for at in 1..100_000 {
            window.hand_out(offset(at), epoch(0), Tick(at));
            assert!(window.done(offset(at)));
        }
        assert_eq!((window.runs.len(), window.place().offset), (1, offset(0)));
        assert!(window.done(offset(0)));
        assert_eq!(window.place().offset, offset(100_000));
    }

    #[test]
    fn epochs_are_bounded_and_never_too_new() {
        let mut window = Window::new(offset(0), epoch(1));
        for at in 0..1000_u32 {
            window.hand_out(offset(at.into()), epoch(at + 2), Tick(0));
        }
        assert!(window.epochs.len() <= EPOCHS_MAX);
        for at in 0..1000_u32 {
            window.done(offset(at.into()));
            let named = window.place().epoch.unwrap().get();
            assert!(named <= at + 2, "{named} after record {at}");
        }
    }
}
