//! A crash between any two disk calls of commits, checkpoints, changes of generation, failures and restarts.

use std::sync::Arc;

use corduroy_log::disk::{HandleCache, Kept, SimCall};
use corduroy_log::journal::{CommitKind, Replay};
use corduroy_log::{Disk, JournalConfig, LogConfig, LogError, SimDisk};

use crate::common::{new_disk, small_config};
use crate::node::{AllPromised, Node, check, data_dir, key, small_journal};

fn config() -> LogConfig {
    LogConfig { segment_bytes: 3_000, ..small_config() }
}

fn workload(disk: &SimDisk, promised: &mut AllPromised) -> Result<Vec<CommitKind>, LogError> {
    let keys = [key(0), key(1), key(2)];
    let mut node = Node::start(disk, small_journal(), config(), &keys)?;
    let mut kinds = Vec::new();
    for round in 0..24_u64 {
        for (index, key) in keys.into_iter().enumerate() {
            // Sometimes one log alone, so that it is synced directly on top of what the journal holds.
            if index == 0 || round % 4 != 3 {
                node.append(
                    key,
                    60 + usize::try_from(round).unwrap() * 5,
                    round * 10 + index as u64,
                    promised,
                );
            }
        }
        node.commit_all(promised)?;
        match round {
            5 | 9 | 16 => node.checkpoint()?,
            12 => {
                kinds.append(&mut node.kinds);
                node = Node::start(disk, small_journal(), config(), &keys)?;
            }
            19 => {
                kinds.append(&mut node.kinds);
                node.stop(promised)?;
                assert_eq!(
                    Replay::read(disk, data_dir())?.report().data_bytes,
                    0,
                    "a clean stop leaves data"
                );
                node = Node::start(disk, small_journal(), config(), &keys)?;
            }
            _ => {}
        }
    }
    kinds.append(&mut node.kinds);
    Ok(kinds)
}

#[test]
fn the_workload_reaches_what_it_should() {
    let disk = new_disk();
    let kinds = workload(&disk, &mut AllPromised::new()).unwrap();
    let count = |kind| kinds.iter().filter(|found| **found == kind).count();
    assert!(count(CommitKind::Journal) > 8 && count(CommitKind::Direct) > 5, "{kinds:?}");
    let files = disk.files();
    assert!(files.iter().filter(|path| path.extension().is_some_and(|ext| ext == "log")).count() > 6);
}

#[test]
fn acknowledged_appends_survive_a_crash_between_any_two_calls() {
    let disk = new_disk();
    let before = disk.calls();
    workload(&disk, &mut AllPromised::new()).unwrap();
    let calls = disk.calls() - before;
    for stop in 0..calls {
        for kept in
            [Kept::Nothing, Kept::Everything, Kept::Subset { seed: stop }, Kept::Subset { seed: !stop }]
        {
            let what = format!("stop={stop} {kept:?}");
            let disk = new_disk();
            disk.stop_after(stop);
            let mut promised = AllPromised::new();
            assert!(workload(&disk, &mut promised).is_err());
            disk.lose_power(kept);
            // The start may be cut short anywhere, too.
            let second_stops: &[u64] = if stop % 4 == 0 { &[0, 1, 2, 3, 5, 8, 13, 21] } else { &[] };
            for &second_stop in second_stops {
                let again = disk.fork();
                again.stop_after(second_stop);
                let _ = Node::start(&again, small_journal(), config(), &[key(0), key(1), key(2)]);
                again.lose_power(Kept::Subset { seed: second_stop });
                let node = Node::start(&again, small_journal(), config(), &[key(0), key(1), key(2)]).unwrap();
                check(&node, &mut promised.clone(), &format!("{what}, again after {second_stop}"));
            }
            let mut node = Node::start(&disk, small_journal(), config(), &[key(0), key(1), key(2)]).unwrap();
            check(&node, &mut promised, &what);
            // What is appended from here on must not be overwritten by what the journal held before.
            for partition in 0..3 {
                node.append(key(partition), 200, 900 + u64::from(partition), &mut promised);
            }
            node.commit_all(&mut promised).unwrap();
            disk.lose_power(kept);
            let node = Node::start(&disk, small_journal(), config(), &[key(0), key(1), key(2)]).unwrap();
            check(&node, &mut promised, &format!("{what}, and once more"));
        }
    }
}

/// One call fails, at any point; the broker goes on after reopening what has stopped, and then the power goes.
#[test]
fn after_a_failed_write_or_sync_nothing_acknowledged_is_lost() {
    one_call_fails(|disk| Arc::new(disk.clone()), "plain");
    // What a broker runs on. Handles there refuse everything once a sync has failed.
    one_call_fails(|disk| Arc::new(HandleCache::new(Arc::new(disk.clone()), 100)), "handle cache");
}

fn one_call_fails(view: fn(&SimDisk) -> Arc<dyn Disk>, named: &str) {
    for call in [SimCall::Sync, SimCall::Write] {
        for nth in 0..60 {
            for kept in [Kept::Nothing, Kept::Subset { seed: nth }] {
                let what = format!("{named}: {call:?} {nth} {kept:?}");
                let disk = new_disk();
                let mut promised = AllPromised::new();
                let keys = [key(0), key(1), key(2)];
                let mut node = Node::start_on(view(&disk), small_journal(), config(), &keys).unwrap();
                disk.failed_syncs_keep(kept);
                disk.fail_nth(call, nth);
                let mut failures = 0;
                for round in 0..18_u64 {
                    for (index, key) in keys.into_iter().enumerate() {
                        if index == 0 || round % 4 != 3 {
                            node.append(key, 100, round * 10 + index as u64, &mut promised);
                        }
                    }
                    let done = node.commit_all(&mut promised);
                    let done = done.and_then(|()| if round % 6 == 5 { node.checkpoint() } else { Ok(()) });
                    if done.is_err() {
                        failures += 1;
                        assert_eq!(failures, 1, "{what}: a failure that was not asked for: {done:?}");
                        node.reopen(&mut promised).unwrap();
                    }
                }
                drop(node);
                disk.lose_power(Kept::Nothing);
                let node = Node::start(&disk, small_journal(), config(), &keys).unwrap();
                check(&node, &mut promised, &what);
            }
        }
    }
}

/// What is committed while a checkpoint runs is not covered by it.
#[test]
fn a_checkpoint_covers_nothing_that_came_after_its_syncs() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let config = LogConfig { segment_bytes: 1 << 20, ..small_config() };
    let keys = [key(0), key(1)];
    let journal = JournalConfig { segments_min: 2, ..JournalConfig::default() };
    let mut node = Node::start(&disk, journal, config, &keys).unwrap();
    let round = |node: &mut Node, seed, promised: &mut AllPromised| {
        keys.iter().for_each(|key| node.append(*key, 100, seed, promised));
        node.commit(promised).unwrap();
    };
    (0..4).for_each(|seed| round(&mut node, seed, &mut promised));
    let checkpoint = node.journal.plan_checkpoint().unwrap();
    checkpoint.perform(&disk);
    round(&mut node, 5, &mut promised);
    assert_eq!(node.journal.checkpointed(checkpoint).len(), 0);
    // The journal says how far it was.
    node.commit(&mut promised).unwrap();
    disk.crash();
    check(&Node::start(&disk, journal, config, &keys).unwrap(), &mut promised, "after the crash");
}

/// A direct round meets the failure, and a checkpoint syncs the same file before the failure is known elsewhere: the kernel says
/// that all is well then.
#[test]
fn a_sync_after_a_failed_one_proves_nothing() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let config = LogConfig { segment_bytes: 1 << 20, ..small_config() };
    let journal = JournalConfig { segments_min: 2, ..JournalConfig::default() };
    let keys = [key(0), key(1)];
    let mut node = Node::start(&disk, journal, config, &keys).unwrap();
    for seed in 0..4 {
        keys.iter().for_each(|key| node.append(*key, 100, seed, &mut promised));
        node.commit(&mut promised).unwrap();
    }
    node.append(key(0), 100, 9, &mut promised);
    let mut commit = node.plan_commit();
    disk.failed_syncs_keep(Kept::Nothing);
    // The journal's own sync, of marks, comes first if there is one.
    disk.fail_nth(SimCall::Sync, commit.syncs() as u64 - 1);
    commit.perform(&disk);
    let _failed = node.checkpoint();
    let results = node.journal.finish(commit).results;
    node.report(results, &mut promised).unwrap_err();
    node.commit(&mut promised).unwrap();
    node.reopen(&mut promised).unwrap();
    disk.crash();
    check(&Node::start(&disk, journal, config, &keys).unwrap(), &mut promised, "after the crash");
}

/// The tests above must notice a sync that does nothing.
#[test]
#[should_panic(expected = "taken for none")]
fn a_lying_disk_is_noticed() {
    let disk = new_disk();
    disk.ignore_syncs(SimCall::Sync);
    let mut promised = AllPromised::new();
    workload(&disk, &mut promised).unwrap();
    disk.crash();
    let node = Node::start(&disk, small_journal(), config(), &[key(0)]).unwrap();
    check(&node, &mut promised, "StateLost: nothing was synced");
}
