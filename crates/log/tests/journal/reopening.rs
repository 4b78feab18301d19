//! Reopening a stopped log: what is read meanwhile, what a checkpoint at the same time proves, and what it never makes up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use corduroy_log::disk::{Disk, Kept, OpenMode, SimCall};
use corduroy_log::journal::Rewrite;
use corduroy_log::{DamageReason, LogConfig, ReadError, SimDisk};
use parking_lot::Mutex;

use crate::common::{NOW, at, compare, new_disk, small_config};
use crate::node::{AllPromised, Node, check, data_dir, key, small_journal};

fn start(disk: &SimDisk) -> Node {
    let journal = corduroy_log::JournalConfig { file_bytes: 1 << 20, ..small_journal() };
    let config = LogConfig { segment_bytes: 1 << 20, ..small_config() };
    Node::start(disk, journal, config, &[key(0), key(1)]).unwrap()
}

/// Both logs have a batch that was synced, and some that only the journal made durable.
fn journaled(disk: &SimDisk, promised: &mut AllPromised) -> Node {
    let mut node = start(disk);
    for seed in 0..5 {
        node.append(key(0), 200, seed, promised);
        node.append(key(1), 200, seed, promised);
        node.commit(promised).unwrap();
    }
    node
}

fn segment() -> std::path::PathBuf {
    key(0).dir(data_dir()).join("00000000000000000000.log")
}

/// Before every call of a reopening, everything that is acknowledged is read.
#[test]
fn what_is_acknowledged_can_be_read_while_a_log_is_reopened() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = journaled(&disk, &mut promised);
    let log = node.logs.get_mut(&key(0)).unwrap();
    log.journal_failed("of a test");
    let end = log.cursors().durable_end();
    let plan = log.plan_read(at(0), 1 << 20, end).unwrap();
    let reopen = log.plan_reopen().unwrap();
    let rewrite = Rewrite::read(&disk, data_dir()).unwrap();
    let (wrong, reads, reading) = (Arc::default(), Arc::new(AtomicU64::new(0)), AtomicBool::new(false));
    let (found, count, expected): (Arc<Mutex<Vec<String>>>, _, _) =
        (Arc::clone(&wrong), Arc::clone(&reads), promised[&key(0)].model.bytes(0, end.get()));
    disk.watch(Some(Arc::new(move |event| {
        if reading.swap(true, Ordering::SeqCst) {
            return; // the read's own calls
        }
        count.fetch_add(1, Ordering::SeqCst);
        match plan.perform() {
            Ok(read) if read.bytes == expected => {}
            other => found.lock().push(format!("before {event:?}: {other:?}")),
        }
        reading.store(false, Ordering::SeqCst);
    })));
    let (log, report) = reopen.perform_with(&node.shared, &rewrite, NOW).unwrap();
    disk.watch(None);
    assert_eq!(*wrong.lock(), Vec::<String>::new());
    assert!(reads.load(Ordering::SeqCst) > 5 && report.damages.is_empty());
    compare(&log, &promised[&key(0)].model);
}

/// After a failed sync the kernel may drop pages. What they held comes back from the journal, so it is no damage.
#[test]
fn lost_pages_of_a_stopped_log_are_no_damage() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = journaled(&disk, &mut promised);
    node.logs.get_mut(&key(0)).unwrap().journal_failed("of a test");
    let log = &node.logs[&key(0)];
    let bytes = disk.open(&segment(), OpenMode::Read).unwrap().len().unwrap();
    assert!(disk.damage(&segment(), bytes - 100, |bytes| bytes[..100].fill(0)));
    let end = log.cursors().durable_end();
    let last = at(end.get() - 2);
    let read = log.plan_read(last, 1 << 20, end).unwrap().perform();
    assert!(matches!(read, Err(ReadError::Io { .. })), "{read:?}");
    assert_eq!(log.damages(), []);
    let rewrite = Rewrite::read(&disk, data_dir()).unwrap();
    let (log, report) = log.plan_reopen().unwrap().perform_with(&node.shared, &rewrite, NOW).unwrap();
    assert_eq!(report.damages, []);
    compare(&log, &promised[&key(0)].model);
}

/// A log stops because its segment cannot be written, and reopening fails in a sync. The checkpoint that runs meanwhile
/// then syncs the same file, which reports success.
#[test]
fn a_checkpoint_during_a_reopening_gives_up_no_copy() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = journaled(&disk, &mut promised);
    let before = node.journal.plan_checkpoint().unwrap();
    node.append(key(0), 300, 9, &mut promised);
    disk.fail_nth(SimCall::Write, 0);
    node.commit(&mut promised).unwrap_err();
    let reopen = node.logs[&key(0)].plan_reopen().unwrap();
    let rewrite = Rewrite::read(&disk, data_dir()).unwrap();
    disk.failed_syncs_keep(Kept::Nothing);
    // The first is of the file that was cut, the second of what was written to it again.
    for nth in [1, 0] {
        disk.fail_nth(SimCall::Sync, nth);
        reopen.perform_with(&node.shared, &rewrite, NOW).unwrap_err();
        if let Some(checkpoint) = node.journal.plan_checkpoint() {
            checkpoint.perform(&disk);
            assert!(node.journal.checkpointed(checkpoint).is_empty());
        }
    }
    before.perform(&disk);
    assert!(node.journal.checkpointed(before).is_empty());
    node.commit(&mut promised).unwrap();
    assert_eq!(node.journal.unsynced_segments(), 1, "that of the log which has stopped");
    let rewrite = Rewrite::read(&disk, data_dir()).unwrap();
    let (log, _) = reopen.perform_with(&node.shared, &rewrite, NOW).unwrap();
    node.journal.reopened(key(0));
    node.logs.insert(key(0), log);
    node.commit(&mut promised).unwrap();
    drop(node);
    disk.lose_power(Kept::Nothing);
    check(&start(&disk), &mut promised, "after the crash");
}

/// What was synced and is gone is not made up with zeros.
#[test]
fn a_file_that_has_become_shorter_is_reported() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = start(&disk);
    for seed in 0..4 {
        node.append(key(0), 200, seed, &mut promised);
        node.commit(&mut promised).unwrap();
    }
    node.logs.get_mut(&key(0)).unwrap().journal_failed("of a test");
    let file = disk.open(&segment(), OpenMode::ReadWrite).unwrap();
    file.set_len(file.len().unwrap() - 50).unwrap();
    let rewrite = Rewrite::read(&disk, data_dir()).unwrap();
    let reopen = node.logs[&key(0)].plan_reopen().unwrap();
    let (log, report) = reopen.perform_with(&node.shared, &rewrite, NOW).unwrap();
    let reasons: Vec<_> = report.damages.iter().map(|range| range.damage.reason.clone()).collect();
    assert!(matches!(reasons.as_slice(), [DamageReason::Truncated { .. }]), "{reasons:?}");
    assert_eq!(log.cursors().log_end(), at(promised[&key(0)].durable_end));
}
