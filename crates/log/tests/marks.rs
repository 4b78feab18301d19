//! The durable mark: what lies before it is never cut, what lies behind it may be; and damage, wherever it is,
//! costs the batch that it hits and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a test may stop, and its numbers are small"
)]

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::{Model, NOW, at, batch, compare, dir, new_disk, read_all, small_config};
use corduroy_log::disk::{Disk, Kept, OpenMode};
use corduroy_log::{
    DamageReason, DurableMark, Known, Log, LogConfig, ReadError, RecoveryReport, SalvagePlan, SimDisk,
};
use corduroy_types::{LeaderEpoch, Offset};
use proptest::prelude::*;

/// One long segment, so that everything happens in the one that is appended to.
fn one_segment() -> LogConfig {
    LogConfig { segment_bytes: 1 << 30, ..small_config() }
}

struct World {
    disk: SimDisk,
    config: LogConfig,
    model: Model,
    mark: Option<DurableMark>,
}

impl World {
    fn new(config: LogConfig) -> Self {
        Self { disk: new_disk(), config, model: Model::default(), mark: None }
    }

    fn open(&self, known: Known) -> (Log, RecoveryReport) {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        Log::open(disk, dir(), self.config, known, NOW).unwrap()
    }

    fn marked(&self) -> Known {
        Known { clean: false, mark: self.mark, ..Known::default() }
    }

    fn append(&mut self, log: &mut Log, batches: u64) {
        for _ in 0..batches {
            let seed = self.model.log_end;
            let timestamps = vec![seed as i64 * 3 % 50, 7];
            let batch = batch(&timestamps, 150 + (seed as usize * 37) % 300, seed);
            let appended = log.append(batch.clone(), LeaderEpoch::ZERO, NOW).unwrap();
            self.model.append(batch, timestamps, LeaderEpoch::ZERO, appended);
        }
    }

    fn commit(&mut self, log: &mut Log) {
        common::commit(log, &self.disk);
        self.mark = Some(log.durable_mark());
    }

    /// The batch of the model that the byte at `position` of the only segment belongs to, and where in it.
    fn batch_at(&self, position: u64) -> (u64, u64, u64) {
        let mut from = 0;
        for (base, kept) in &self.model.batches {
            let end = from + kept.bytes.len() as u64;
            if position < end {
                return (*base, kept.next, position - from);
            }
            from = end;
        }
        panic!("no batch at {position}")
    }

    fn flip(&self, path: &std::path::Path, position: u64, bit: u8) {
        assert!(
            self.disk
                .damage(path, position, |bytes| bytes.iter_mut().take(1).for_each(|byte| *byte ^= 1 << bit))
        );
    }
}

fn segment(base: u64) -> PathBuf {
    dir().join(format!("{base:020}.log"))
}

/// Reads all there is, going on behind damage where the log says; what was read, and the ranges that were not.
fn read_around(log: &Log, max_bytes: u32) -> (Vec<u8>, Vec<(u64, u64)>) {
    let (mut all, mut missing) = (Vec::new(), Vec::new());
    let (mut from, end) = (log.cursors().log_start(), log.cursors().log_end());
    while from < end {
        match log.plan_read(from, max_bytes, end).unwrap().perform() {
            Ok(read) => {
                assert!(read.next_offset > from, "a read does not advance");
                all.extend_from_slice(&read.bytes);
                from = read.next_offset;
            }
            Err(ReadError::Corrupt { next_good: Some(next), .. }) => {
                assert!(next > from, "the next good offset is not behind the damage");
                missing.push((from.get(), next.get()));
                from = next;
            }
            Err(other) => panic!("{other}"),
        }
    }
    (all, missing)
}

/// All of the model but one batch.
fn without(model: &Model, base: Option<u64>) -> Vec<u8> {
    let kept = model.batches.iter().filter(|(at, _)| Some(**at) != base);
    kept.flat_map(|(_, kept)| kept.bytes.iter().copied()).collect()
}

/// Everything that the log was made to find is found by the scrub too, in steps of any size.
fn scrub(log: &Log, step_bytes: u64) -> usize {
    let mut scrub = log.plan_scrub();
    let mut found = 0;
    loop {
        let step = scrub.step(step_bytes).unwrap();
        found += step.found.len();
        if step.done {
            return found;
        }
        assert!(step.bytes > 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever of the unsynced bytes survives a power loss, torn or not: nothing before the mark goes, what is left
    /// is a prefix, and nothing counts as damage.
    #[test]
    fn an_unsynced_end_is_cut_behind_the_mark(
        synced in 0_u64..12, unsynced in 1_u64..6, late in 0_u64..2, seed: u64, segment_bytes in prop::sample::select(vec![1_500_u64, 1 << 30]),
    ) {
        let mut world = World::new(LogConfig { segment_bytes, ..small_config() });
        let (mut log, _) = world.open(Known::default());
        world.append(&mut log, synced);
        world.commit(&mut log);
        let mark = world.mark;
        world.append(&mut log, late);
        world.commit(&mut log);
        let durable_end = log.cursors().durable_end();
        // The mark may be the one of a round before.
        world.mark = if late > 0 { mark } else { world.mark };
        world.append(&mut log, unsynced);
        if let Some(round) = log.take_round() {
            // All but the last sync.
            prop_assert!(round.perform_writes(&world.disk).is_none());
        }
        drop(log);
        let loss = world.disk.lose_power(Kept::Subset { seed });
        let (log, report) = world.open(world.marked());
        prop_assert_eq!(&report.damages, &vec![], "{}", loss);
        prop_assert!(log.cursors().log_end() >= durable_end, "{}", loss);
        world.model.cut(log.cursors().log_end().get());
        compare(&log, &world.model);
        drop(log);
        let (log, report) = world.open(world.marked());
        prop_assert_eq!((report.cut, report.damages), (None, vec![]));
        compare(&log, &world.model);
    }

    /// One flipped bit, anywhere in the segment that is appended to, with a mark anywhere.
    #[test]
    fn a_flipped_bit_costs_the_batch_that_it_hits(
        before in 1_u64..12, behind in 0_u64..6, place in 0_u64..10_000, bit in 0_u8..8, max_bytes in prop::sample::select(vec![1_u32, 900, 1 << 20]),
    ) {
        let mut world = World::new(one_segment());
        let (mut log, _) = world.open(Known::default());
        world.append(&mut log, before);
        world.commit(&mut log);
        let mark = world.mark.unwrap();
        world.append(&mut log, behind);
        world.commit(&mut log);
        let bytes = world.mark.unwrap().position;
        drop(log);
        let position = bytes * place / 10_000;
        let (base, next, within) = world.batch_at(position);
        world.flip(&segment(0), position, bit);
        world.mark = Some(mark);
        let (mut log, report) = world.open(world.marked());
        let end = log.cursors().log_end().get();
        // The leader epoch is outside the batch's checksum; only the running checksum covers it. A negative one is seen.
        let unseen = (12..16).contains(&within) && (within, bit) != (12, 7);
        if position < mark.position {
            prop_assert_eq!((report.cut, end), (None, world.model.log_end), "cut below the mark");
            prop_assert!(report.scanned_bytes <= bytes - mark.position, "read what was known to be synced");
            prop_assert!(log.damages().is_empty(), "found without looking");
            let found = scrub(&log, u64::from(max_bytes));
            prop_assert_eq!(found, 1, "the scrub found {} at {}", found, within);
            prop_assert_eq!(scrub(&log, 1 << 30), 0, "found again");
        } else if !unseen {
            prop_assert!(report.cut.is_some());
            prop_assert_eq!(end, base, "cut elsewhere than before the batch that was hit");
            world.model.cut(base);
        }
        world.append(&mut log, 2);
        world.commit(&mut log);
        let (all, missing) = read_around(&log, max_bytes);
        let expected: Vec<(u64, u64)> =
            if position < mark.position && !unseen { vec![(base, next)] } else { vec![] };
        prop_assert_eq!(&missing, &expected, "flipped at {} of {}..{}", within, base, next);
        if !unseen {
            prop_assert_eq!(all, without(&world.model, expected.first().map(|range| range.0)));
        }
        // What was acknowledged after the damage survives the next crash, with the mark and without it.
        drop(log);
        world.disk.crash();
        for known in [world.marked(), Known::default()] {
            let (log, report) = world.open(known);
            prop_assert_eq!((report.cut, log.cursors().log_end().get()), (None, world.model.log_end));
            prop_assert_eq!(read_around(&log, max_bytes).1, expected.clone());
        }
    }

    /// The file is shorter than the mark says: what is missing stays taken, and what is left can be read.
    #[test]
    fn a_file_shorter_than_the_mark_never_gives_offsets_away_again(
        batches in 1_u64..12, place in 0_u64..10_000, append in 1_u64..4,
    ) {
        let mut world = World::new(one_segment());
        let (mut log, _) = world.open(Known::default());
        world.append(&mut log, batches);
        world.commit(&mut log);
        drop(log);
        let mark = world.mark.unwrap();
        let length = mark.position * place / 10_000;
        let file = world.disk.open(&segment(0), OpenMode::ReadWrite).unwrap();
        file.set_len(length).unwrap();
        file.sync().unwrap();
        let (lost_from, ..) = world.batch_at(length);
        let (mut log, report) = world.open(world.marked());
        prop_assert_eq!((report.cut, log.cursors().log_end()), (None, mark.offset));
        prop_assert_eq!(log.damages().len(), 1);
        world.append(&mut log, append);
        world.commit(&mut log);
        let expected: Vec<u8> = world.model.bytes(0, lost_from).into_iter().chain(world.model.bytes(mark.offset.get(), u64::MAX)).collect();
        for known in [world.marked(), Known { mark: Some(mark), ..Known::default() }, Known::default()] {
            let (all, missing) = read_around(&log, 1 << 20);
            prop_assert_eq!(missing, vec![(lost_from, mark.offset.get())]);
            prop_assert_eq!(&all, &expected);
            world.disk.crash();
            log = world.open(known).0;
            prop_assert_eq!(log.cursors().log_end().get(), world.model.log_end);
        }
    }
}

#[test]
fn a_segment_that_is_gone_leaves_a_hole_and_its_offsets_taken() {
    let mut world = World::new(one_segment());
    let (mut log, _) = world.open(Known::default());
    world.append(&mut log, 4);
    world.commit(&mut log);
    drop(log);
    world.disk.remove_file(&segment(0)).unwrap();
    for known in [world.marked(), Known::default()] {
        let (log, report) = world.open(known);
        assert_eq!((log.cursors().log_start(), log.cursors().log_end()), (at(0), at(8)));
        assert!(matches!(report.damages[0].damage.reason, DamageReason::Missing { .. }), "{report:?}");
        assert_eq!(read_around(&log, 100).1, [(0, 8)]);
    }
    let (mut log, _) = world.open(world.marked());
    world.append(&mut log, 1);
    world.commit(&mut log);
    assert_eq!(read_around(&log, 100), (world.model.bytes(8, 10), vec![(0, 8)]));
}

/// A flipped byte, a clean restart, more records acknowledged, a kill: nothing acknowledged may go.
#[test]
fn damage_in_the_last_segment_takes_nothing_acknowledged_with_it() {
    for with_mark in [true, false] {
        let mut world = World::new(one_segment());
        let (mut log, _) = world.open(Known::default());
        world.append(&mut log, 6);
        world.commit(&mut log);
        log.close().unwrap();
        let known = |world: &World, clean| Known {
            clean,
            mark: world.mark.filter(|_| with_mark),
            ..Known::default()
        };
        let (base, next, _) = world.batch_at(800);
        world.flip(&segment(0), 800, 3);
        let (mut log, _) = world.open(known(&world, true));
        world.append(&mut log, 3);
        world.commit(&mut log);
        drop(log);
        let (mut log, report) = world.open(known(&world, false));
        assert_eq!((report.cut, log.cursors().log_end().get()), (None, world.model.log_end));
        let expected = (without(&world.model, Some(base)), vec![(base, next)]);
        assert_eq!(read_around(&log, 1 << 20), expected);
        let [range] = &log.damages()[..] else { panic!("{:?}", log.damages()) };
        assert_eq!((range.damage.offset.get(), range.next_good.get()), (base, next));
        world.append(&mut log, 1);
        world.commit(&mut log);
        assert_eq!(read_all(&log, at(next), Offset::MAX, 1 << 20, true), world.model.bytes(next, u64::MAX));
    }
}

#[test]
fn a_sealed_segment_is_held_to_its_entry_without_being_read() {
    let mut world = World::new(small_config());
    let (mut log, _) = world.open(Known::default());
    for _ in 0..30 {
        world.append(&mut log, 1);
        world.commit(&mut log);
    }
    drop(log);
    let (log, report) = world.open(world.marked());
    assert_eq!(report.scanned_bytes, 0);
    assert!(log.stats().segments > 2);
    assert_eq!(scrub(&log, 1), 0, "sound segments taken for damaged");
    // A byte that no batch's checksum covers: the epoch of the first batch.
    world.flip(&segment(0), 13, 0);
    assert_eq!(scrub(&log, 1_000), 1);
    let reason = log.damages()[0].damage.reason.clone();
    assert!(matches!(reason, DamageReason::WrongChecksum { .. }), "{reason}");
}

/// Damage is given up: what could be read stays where it was, reads pass over the rest, whatever comes after.
#[test]
fn what_cannot_be_read_is_given_up_and_passed_over() {
    for position in [70, 900, 3_000, 5_500] {
        let mut world = World::new(LogConfig { segment_bytes: 4_000, ..small_config() });
        let (mut log, _) = world.open(Known::default());
        for _ in 0..7 {
            world.append(&mut log, 3);
            world.commit(&mut log);
        }
        let whole = world.model.clone();
        let (base, next, within) = world.batch_at(position);
        let segments = corduroy_log::offline::list(&world.disk, &dir()).unwrap().segments;
        let file = segments.iter().rev().find(|segment| segment.base_offset.get() <= base).unwrap();
        let first = whole.batches.range(file.base_offset.get()..base);
        let at_in_file: u64 = first.map(|(_, kept)| kept.bytes.len() as u64).sum();
        world.flip(&file.path, at_in_file + within, 2);
        assert_eq!(scrub(&log, 1 << 20), 1);
        let mut salvage = loop {
            match log.plan_salvage() {
                SalvagePlan::Ready(salvage) => break salvage,
                SalvagePlan::AfterRound => world.commit(&mut log),
                SalvagePlan::Nothing => panic!("nothing to give up"),
            }
        };
        while let Some(salvaged) = salvage.write_next().unwrap() {
            let given_up = &salvaged.given_up;
            assert_eq!(
                given_up.iter().map(|r| (r.damage.offset.get(), r.next_good.get())).collect::<Vec<_>>(),
                [(base, next)]
            );
            assert!(log.may_swap(&salvaged.swap));
            salvaged.swap.commit(&world.disk).unwrap();
            assert!(log.apply_swap(&salvaged.swap));
            salvaged.swap.finish(&world.disk).unwrap();
        }
        assert_eq!(log.damages(), []);
        world.append(&mut log, 2);
        world.commit(&mut log);
        let expected = (without(&world.model, Some(base)), vec![]);
        assert_eq!(read_around(&log, 1_000), expected);
        assert_eq!(scrub(&log, 1 << 20), 0, "sound after it was given up");
        drop(log);
        world.disk.crash();
        let (log, report) = world.open(world.marked());
        assert_eq!((report.cut, report.damages), (None, vec![]));
        assert_eq!(log.cursors().log_end().get(), world.model.log_end);
        assert_eq!(read_around(&log, 1_000), expected);
    }
}
