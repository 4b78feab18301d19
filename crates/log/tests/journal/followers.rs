//! What a follower asks of its log: a leader's batches at their own offsets and epochs, cuts and resets, promises, suspicion.

use std::collections::BTreeMap;

use corduroy_batch::Batch;
use corduroy_log::disk::{Kept, SimCall};
use corduroy_log::journal::{JournalRequest, Promise, Rewrite, Vote};
use corduroy_log::{
    AppendError, DeleteRecordsError, EpochHistory, JournalConfig, LogError, PartitionKey, SimDisk,
    TruncateError,
};
use corduroy_types::{BrokerId, EpochEntry, Incarnation, LeaderEpoch};

use crate::common::{NOW, at, batch, compare, new_disk, small_config};
use crate::epochs::check_epochs;
use crate::node::{AllPromised, Node, check, data_dir, key, small_journal};

const KEYS: [u32; 2] = [0, 1];

fn start(disk: &SimDisk, journal: JournalConfig) -> Result<Node, LogError> {
    Node::start(disk, journal, small_config(), &KEYS.map(key))
}

fn epoch(number: u32) -> LeaderEpoch {
    LeaderEpoch::new(number).unwrap()
}

fn history(entries: &[(u32, u64)]) -> EpochHistory {
    let entry = |(number, start): &(u32, u64)| EpochEntry { epoch: epoch(*number), start: at(*start) };
    EpochHistory::from_entries(entries.iter().map(entry)).unwrap()
}

fn vote_for(number: u32, candidate: u32) -> Promise {
    let vote = Vote { candidate: BrokerId(candidate), incarnation: Incarnation(u64::from(number) * 7) };
    Promise { epoch: epoch(number), vote: Some(vote) }
}

/// What was acknowledged of one replica, in addition to its records.
#[derive(Clone, Debug, Default)]
struct Said {
    promise: Option<Promise>,
    /// `None`: a change was asked for, and may have been made.
    suspect: Option<bool>,
}

#[derive(Clone, Debug, Default)]
struct World {
    promised: AllPromised,
    said: BTreeMap<PartitionKey, Said>,
}

impl World {
    fn promise(&mut self, node: &mut Node, promise: Promise) -> Result<(), LogError> {
        let requests = KEYS.map(|n| JournalRequest::Promise(key(n), promise)).into();
        node.commit_with(requests, &mut self.promised)?;
        KEYS.iter().for_each(|n| self.said.entry(key(*n)).or_default().promise = Some(promise));
        Ok(())
    }

    fn suspect(&mut self, node: &mut Node, of: PartitionKey, suspect: bool) -> Result<(), LogError> {
        self.said.entry(of).or_default().suspect = None;
        node.commit_with(vec![JournalRequest::Suspect(of, suspect)], &mut self.promised)?;
        self.said.entry(of).or_default().suspect = Some(suspect);
        Ok(())
    }

    fn adopt(&mut self, node: &mut Node, of: PartitionKey, number: u32) -> Result<(), LogError> {
        node.commit_all(&mut self.promised)?;
        node.begin_epoch_in(&[of], epoch(number), &mut self.promised)
    }

    fn replicate(
        &mut self,
        node: &mut Node,
        of: PartitionKey,
        number: u32,
        seeds: std::ops::Range<u64>,
    ) -> Result<(), LogError> {
        for seed in seeds {
            node.replicate(of, number, seed, &mut self.promised);
            if seed % 2 == 0 {
                node.commit_all(&mut self.promised)?;
            }
        }
        node.commit_all(&mut self.promised)
    }

    /// Checks what is there after a crash, and takes it for the truth.
    fn check(&mut self, node: &Node, what: &str) {
        check(node, &mut self.promised, what);
        check_epochs(node, &self.promised, what);
        for n in KEYS {
            let said = self.said.entry(key(n)).or_default();
            let kept = node.journal.promise(key(n));
            let (kept_epoch, said_epoch) = (kept.map(|it| it.epoch), said.promise.map(|it| it.epoch));
            assert!(kept_epoch >= said_epoch, "{what}: {kept:?} is less than {:?}", said.promise);
            if kept_epoch == said_epoch {
                assert_eq!(kept, said.promise, "{what}: a vote is given once");
            }
            let suspect = node.journal.is_suspect(key(n));
            assert!(said.suspect.is_none_or(|said| said == suspect), "{what}: suspect {suspect}");
        }
    }
}

/// Two followers: one is cut and goes on in a later epoch, the other falls behind its leader's log start.
fn workload(disk: &SimDisk, journal: JournalConfig, world: &mut World) -> Result<Node, LogError> {
    let [first, second] = KEYS.map(key);
    let mut node = start(disk, journal)?;
    KEYS.iter().for_each(|n| world.said.entry(key(*n)).or_default().suspect = Some(false));
    world.promise(&mut node, Promise::of_epoch(epoch(1)))?;
    world.adopt(&mut node, first, 1)?;
    world.adopt(&mut node, second, 1)?;
    world.replicate(&mut node, first, 1, 0..9)?;
    world.replicate(&mut node, second, 1, 10..16)?;
    world.promise(&mut node, vote_for(2, 3))?;
    world.adopt(&mut node, first, 2)?;
    world.replicate(&mut node, first, 2, 20..27)?;
    node.checkpoint()?;
    world.promise(&mut node, vote_for(3, 1))?;
    world.suspect(&mut node, second, true)?;
    // Epoch 2 is a dead branch from offset 18 on.
    node.truncate(first, 18, history(&[(1, 0)]), &mut world.promised)?;
    world.adopt(&mut node, first, 3)?;
    world.replicate(&mut node, first, 3, 30..34)?;
    node.reset(second, 100, history(&[(2, 90)]), &mut world.promised)?;
    world.adopt(&mut node, second, 3)?;
    world.replicate(&mut node, second, 3, 40..44)?;
    world.suspect(&mut node, second, false)?;
    Ok(node)
}

#[test]
fn a_follower_keeps_what_it_said_after_a_crash_between_any_two_calls() {
    // Once with room for everything, so that the journal still holds what is cut; once with many generations.
    for journal in [JournalConfig { file_bytes: 1 << 20, ..small_journal() }, small_journal()] {
        let disk = new_disk();
        let before = disk.calls();
        let mut world = World::default();
        let node = workload(&disk, journal, &mut world).unwrap();
        world.check(&node, "whole");
        let calls = disk.calls() - before;
        assert!(calls > 100, "{calls}");
        for stop in 0..calls {
            for kept in [Kept::Nothing, Kept::Everything, Kept::Subset { seed: stop }] {
                let what = format!("stop={stop} {kept:?} {}", journal.file_bytes);
                let disk = new_disk();
                disk.stop_after(stop);
                let mut world = World::default();
                assert!(workload(&disk, journal, &mut world).is_err());
                disk.lose_power(kept);
                for second_stop in if stop % 5 == 0 { &[1_u64, 3, 6, 10][..] } else { &[] } {
                    let again = disk.fork();
                    again.stop_after(*second_stop);
                    let _ = start(&again, journal);
                    again.lose_power(Kept::Subset { seed: *second_stop });
                    world.clone().check(&start(&again, journal).unwrap(), &format!("{what}, {second_stop}"));
                }
                let mut node = start(&disk, journal).unwrap();
                world.check(&node, &what);
                for n in KEYS {
                    world.adopt(&mut node, key(n), 9).unwrap();
                    world.replicate(&mut node, key(n), 9, 90..92).unwrap();
                }
                disk.lose_power(Kept::Nothing);
                world.check(&start(&disk, journal).unwrap(), &format!("{what}, and once more"));
            }
        }
    }
}

/// The disk fails once in it, anywhere: trying again gives the same.
#[test]
fn a_cut_or_a_reset_that_fails_is_performed_again() {
    let journal = JournalConfig { file_bytes: 1 << 20, ..small_journal() };
    for resets in [false, true] {
        let mut failures = 0;
        for call in [SimCall::Open, SimCall::Write, SimCall::Sync, SimCall::SyncDir, SimCall::Remove] {
            for nth in 0..12 {
                let disk = new_disk();
                let mut world = World::default();
                let mut node = start(&disk, journal).unwrap();
                world.adopt(&mut node, key(0), 1).unwrap();
                world.replicate(&mut node, key(0), 1, 0..20).unwrap();
                let log = node.logs.get_mut(&key(0)).unwrap();
                let truncation = match resets {
                    true => log.plan_reset(at(50), history(&[(1, 0)])).unwrap(),
                    false => log.plan_truncation(at(10), history(&[(1, 0)])).unwrap(),
                };
                node.commit_with(vec![truncation.begin(key(0))], &mut world.promised).unwrap();
                let rewrite = Rewrite::read(&*node.shared, data_dir()).unwrap();
                disk.fail_nth(call, nth);
                let (log, report) = truncation.perform(&node.shared, &rewrite, NOW).unwrap_or_else(|_| {
                    failures += 1;
                    truncation.perform(&node.shared, &rewrite, NOW).unwrap()
                });
                assert_eq!(report.damages, [], "{call:?} {nth}");
                let ends = (log.cursors().log_start().get(), log.cursors().log_end().get());
                assert_eq!(ends, if resets { (50, 50) } else { (0, 10) }, "{call:?} {nth}");
            }
        }
        assert!(failures > 10, "{failures} calls failed");
    }
}

fn replicated(number: Option<u32>, base: u64) -> Batch {
    let batch = batch(&[1], 10, 1);
    match number {
        Some(number) => Batch::parse(batch.stamp(at(base), epoch(number)).to_bytes()).unwrap(),
        None => batch,
    }
}

#[test]
fn only_what_comes_next_in_the_adopted_epoch_is_appended() {
    let mut node = start(&new_disk(), small_journal()).unwrap();
    let mut promised = AllPromised::new();
    let refused = |node: &mut Node, number, base| {
        node.logs.get_mut(&key(0)).unwrap().append_replicated(replicated(number, base), NOW).unwrap_err()
    };
    assert_eq!(refused(&mut node, Some(1), 0), AppendError::EpochNotBegun { epoch: epoch(1) });
    node.begin_epoch(2, &mut promised).unwrap();
    assert_eq!(refused(&mut node, None, 0), AppendError::WithoutEpoch);
    for number in [1, 3] {
        let expected = AppendError::WrongEpoch { epoch: epoch(number), current: epoch(2) };
        assert_eq!(refused(&mut node, Some(number), 0), expected);
    }
    node.replicate(key(0), 2, 1, &mut promised);
    for base in [0, 1, 3] {
        let error = refused(&mut node, Some(2), base);
        assert_eq!(error, AppendError::OffsetMismatch { expected_offset: at(base), next_offset: at(2) });
    }
    node.logs.get_mut(&key(0)).unwrap().append_replicated(replicated(Some(2), 2), NOW).unwrap();
}

#[test]
fn a_log_that_is_being_cut_serves_what_stays_and_accepts_nothing() {
    let mut node = start(&new_disk(), small_journal()).unwrap();
    let mut world = World::default();
    world.adopt(&mut node, key(0), 1).unwrap();
    world.replicate(&mut node, key(0), 1, 0..9).unwrap();
    let log = node.logs.get_mut(&key(0)).unwrap();
    let truncation = log.plan_truncation(at(4), history(&[(1, 0)])).unwrap();
    assert!(log.is_cutting());
    let read = log.plan_read(at(0), 1 << 20, at(18)).unwrap().perform().unwrap();
    assert_eq!(read.bytes, world.promised[&key(0)].model.bytes(0, 4));
    assert_eq!(log.append_replicated(replicated(Some(1), 18), NOW), Err(AppendError::Cutting));
    assert_eq!(log.plan_delete_records(at(2), at(18)).unwrap_err(), DeleteRecordsError::Cutting);
    let error = log.plan_reset(at(30), history(&[(1, 0)])).unwrap_err();
    assert!(matches!(error, TruncateError::Cutting), "{error}");
    drop(truncation);
}

#[test]
fn a_reset_log_begins_where_it_is_asked_to_and_knows_no_producer() {
    let mut node = start(&new_disk(), small_journal()).unwrap();
    let mut world = World::default();
    world.adopt(&mut node, key(0), 1).unwrap();
    world.replicate(&mut node, key(0), 1, 0..30).unwrap();
    let log = node.logs.get_mut(&key(0)).unwrap();
    let error = log.plan_reset(at(70), history(&[(1, 71)])).unwrap_err();
    assert!(matches!(error, TruncateError::Epoch(_)), "{error}");
    node.reset(key(0), 70, history(&[(1, 0)]), &mut world.promised).unwrap();
    let log = node.logs.get_mut(&key(0)).unwrap();
    compare(log, &world.promised[&key(0)].model);
    let error = log.plan_reset(at(69), EpochHistory::default()).unwrap_err();
    assert!(matches!(error, TruncateError::BelowStart { .. }), "{error}");
    world.replicate(&mut node, key(0), 1, 30..32).unwrap();
    compare(&node.logs[&key(0)], &world.promised[&key(0)].model);
}

/// Nothing of the write was acknowledged, so what is torn of it is cut and no damage, although sound batches may follow it.
#[test]
fn what_is_torn_of_the_first_write_after_a_cut_is_no_damage() {
    // Whether the log is as it was made, or was cut to this offset, or emptied.
    for begun in [None, Some(6), Some(50)] {
        for seed in 0..40 {
            let disk = new_disk();
            let mut world = World::default();
            let mut node = start(&disk, small_journal()).unwrap();
            world.adopt(&mut node, key(0), 1).unwrap();
            match begun {
                None => {}
                Some(6) => {
                    world.replicate(&mut node, key(0), 1, 0..9).unwrap();
                    node.truncate(key(0), 6, history(&[(1, 0)]), &mut world.promised).unwrap();
                }
                Some(start) => {
                    node.reset(key(0), start, history(&[(1, 0)]), &mut world.promised).unwrap();
                }
            }
            // The file is there before: making one is synced by itself.
            let synced = if begun.is_none() { 1 } else { 0 };
            world.replicate(&mut node, key(0), 1, 20..20 + synced).unwrap();
            for nth in 30..38 {
                node.replicate(key(0), 1, nth, &mut world.promised);
            }
            let mut commit = node.plan_commit();
            commit.perform_writes(&disk);
            drop((commit, node));
            disk.lose_power(Kept::Subset { seed });
            let node = start(&disk, small_journal()).unwrap();
            world.check(&node, &format!("{begun:?}, seed {seed}"));
        }
    }
}
