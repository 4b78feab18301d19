//! A log that cannot be reopened holds data in the journal. It must neither lose that nor hold up the others.

use corduroy_log::disk::{Disk, Kept, OpenMode, SimCall};
use corduroy_log::journal::{CommitKind, JOURNAL_DIR, Rewrite};
use corduroy_log::{JournalConfig, LogConfig, PartitionKey, SimDisk};

use crate::common::{NOW, compare, new_disk, small_config};
use crate::node::{AllPromised, Node, check, data_dir, key, small_journal};

const FILE_BYTES: u64 = 8_000;

fn keys() -> Vec<PartitionKey> {
    (0..3).map(key).collect()
}

fn start(disk: &SimDisk) -> Node {
    let journal = JournalConfig { file_bytes: FILE_BYTES, ..small_journal() };
    let config = LogConfig { segment_bytes: 1 << 20, ..small_config() };
    Node::start(disk, journal, config, &keys()).unwrap()
}

/// Three logs, of which the second has stopped with data in the journal.
fn one_stopped(disk: &SimDisk, promised: &mut AllPromised) -> Node {
    let mut node = start(disk);
    for seed in 0..4 {
        keys().into_iter().for_each(|key| node.append(key, 100, seed, promised));
        node.commit(promised).unwrap();
    }
    node.append(key(1), 100, 10, promised);
    disk.fail_nth(SimCall::Write, 0);
    node.commit(promised).unwrap_err();
    let stopped = promised.get_mut(&key(1)).unwrap();
    stopped.model.cut(stopped.durable_end);
    node
}

/// What housekeeping does with it, when reopening has failed.
fn carry(node: &mut Node) {
    let rewrite = match node.journal.carried(&[key(1)]) {
        Some(kept) => kept,
        None => Rewrite::read(&*node.shared, data_dir()).unwrap(),
    };
    let durable_end = node.logs[&key(1)].cursors().durable_end();
    node.journal.carry(key(1), &rewrite, durable_end);
}

/// A round of the other two logs, with what goes on at the same time.
fn round(node: &mut Node, seed: u64, promised: &mut AllPromised) {
    for key in [key(0), key(2)] {
        node.append(key, 100, seed, promised);
    }
    node.commit(promised).unwrap();
    if node.journal.wants_checkpoint() {
        node.checkpoint().unwrap();
    }
}

fn length(disk: &SimDisk, name: &str) -> u64 {
    let path = data_dir().join(JOURNAL_DIR).join(name);
    disk.open(&path, OpenMode::Read).unwrap().len().unwrap()
}

#[test]
fn a_log_that_stays_stopped_holds_up_no_other_and_loses_nothing() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = one_stopped(&disk, &mut promised);
    carry(&mut node);
    let (logs, bytes) = node.journal.carried_bytes();
    assert!(logs == 1 && bytes > 300, "{logs} logs with {bytes} bytes");
    let before = node.kinds.len();
    for seed in 100..220 {
        round(&mut node, seed, &mut promised);
        carry(&mut node);
        for kept in [Kept::Nothing, Kept::Subset { seed }] {
            let crashed = disk.fork();
            crashed.lose_power(kept);
            check(&start(&crashed), &mut promised.clone(), &format!("round {seed}, {kept:?}"));
        }
    }
    let journaled = node.kinds[before..].iter().filter(|kind| **kind == CommitKind::Journal).count();
    assert!(journaled > 90, "{journaled} of 120 rounds went through the journal");
    for name in ["a.journal", "b.journal"] {
        assert!(length(&disk, name) < 2 * FILE_BYTES, "{name} has {} bytes", length(&disk, name));
    }
    // It is reopened from memory, without a look at the journal's files.
    disk.record();
    let kept = node.journal.carried(&keys()[1..2]).unwrap();
    assert_eq!(disk.take_record(), []);
    let reopen = node.logs[&key(1)].plan_reopen().unwrap();
    let (log, report) = reopen.perform_with(&node.shared, &kept, NOW).unwrap();
    assert_eq!(report.damages, []);
    compare(&log, &promised[&key(1)].model);
    node.journal.reopened(key(1));
    assert_eq!(node.journal.carried_bytes(), (0, 0));
    node.logs.insert(key(1), log);
    for seed in 300..340 {
        node.append(key(1), 100, seed, &mut promised);
        round(&mut node, seed, &mut promised);
    }
    drop(node);
    disk.lose_power(Kept::Nothing);
    check(&start(&disk), &mut promised, "reopened");
}

/// A crash between any two calls while the journal begins again with what it carries.
#[test]
fn a_restart_with_carried_data_loses_nothing_wherever_it_is_cut_short() {
    let mut restarted = 0;
    for stop in 0..20 {
        for kept in [Kept::Nothing, Kept::Everything, Kept::Subset { seed: stop }] {
            let disk = new_disk();
            let mut promised = AllPromised::new();
            let mut node = one_stopped(&disk, &mut promised);
            // So that some of it is in the file that is not in use.
            for seed in 20..20 + stop {
                round(&mut node, seed, &mut promised);
            }
            disk.fail_nth(SimCall::Sync, 0);
            keys()
                .into_iter()
                .filter(|of| *of != key(1))
                .for_each(|key| node.append(key, 100, 90, &mut promised));
            node.commit(&mut promised).unwrap_err();
            disk.stop_after(stop);
            restarted += u32::from(node.journal.restart().is_ok());
            drop(node);
            disk.lose_power(kept);
            check(&start(&disk), &mut promised, &format!("stop={stop} {kept:?}"));
        }
    }
    assert!((20..50).contains(&restarted), "{restarted}");
}
