//! Every way in which something that the journal still holds could overwrite newer bytes. Each test brings it about,
//! takes the power away, and starts again; the entries concerned are still in the journal then.

use corduroy_log::disk::{Disk, Kept, OpenMode};
use corduroy_log::journal::{CommitKind, JOURNAL_DIR, JournalRequest, Replay};
use corduroy_log::{JournalConfig, LogConfig, SimDisk};

use crate::common::{NOW, new_disk, small_config};
use crate::node::{AllPromised, Node, check, data_dir, key, small_journal};

/// Room for everything, so that nothing is forgotten because a generation ends.
fn large_journal() -> JournalConfig {
    JournalConfig { file_bytes: 1 << 20, ..small_journal() }
}

fn start(disk: &SimDisk) -> Node {
    Node::start(disk, large_journal(), small_config(), &[key(0), key(1)]).unwrap()
}

/// Both logs get a batch, and the journal makes them durable; the first round of a log makes its file, directly.
fn journaled(node: &mut Node, seeds: std::ops::Range<u64>, promised: &mut AllPromised) {
    for seed in seeds {
        node.append(key(0), 200, seed, promised);
        node.append(key(1), 200, seed, promised);
        node.commit(promised).unwrap();
    }
}

fn data_bytes(disk: &SimDisk) -> u64 {
    Replay::read(disk, data_dir()).unwrap().report().data_bytes
}

fn crash_and_check(disk: &SimDisk, promised: &mut AllPromised) -> Node {
    disk.lose_power(Kept::Nothing);
    let node = start(disk);
    check(&node, promised, "after the crash");
    node
}

#[test]
fn a_direct_round_on_top_of_journaled_ones_is_kept() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = start(&disk);
    journaled(&mut node, 0..4, &mut promised);
    node.append(key(0), 300, 50, &mut promised);
    node.commit(&mut promised).unwrap();
    journaled(&mut node, 60..62, &mut promised);
    assert!(data_bytes(&disk) > 0);
    crash_and_check(&disk, &mut promised);
}

#[test]
fn what_is_appended_after_a_failure_is_not_overwritten_by_what_failed() {
    use corduroy_log::disk::SimCall;
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = start(&disk);
    journaled(&mut node, 0..3, &mut promised);
    // The journal's sync fails, but its bytes reach the disk all the same.
    node.append(key(0), 250, 70, &mut promised);
    node.append(key(1), 250, 71, &mut promised);
    disk.failed_syncs_keep(Kept::Everything);
    disk.fail_nth(SimCall::Sync, 0);
    node.commit(&mut promised).unwrap_err();
    node.reopen(&mut promised).unwrap();
    // At the same offsets, others.
    node.append(key(0), 180, 80, &mut promised);
    node.append(key(1), 180, 81, &mut promised);
    node.commit_all(&mut promised).unwrap();
    crash_and_check(&disk, &mut promised);
}

/// The same, with what failed right behind an entry of the same size, and what replaces it not in the journal at all.
#[test]
fn the_rest_of_a_failed_commit_is_not_taken_for_part_of_a_later_one() {
    use corduroy_log::disk::SimCall;
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let journal = JournalConfig { segments_min: 1, segment_bytes_max: 2_000, ..large_journal() };
    let config = LogConfig { segment_bytes: 1 << 20, ..small_config() };
    let mut node = Node::start(&disk, journal, config, &[key(0), key(1)]).unwrap();
    journaled(&mut node, 0..3, &mut promised);
    node.append(key(0), 250, 70, &mut promised);
    node.append(key(1), 250, 71, &mut promised);
    disk.failed_syncs_keep(Kept::Everything);
    disk.fail_nth(SimCall::Sync, 0);
    node.commit(&mut promised).unwrap_err();
    node.reopen(&mut promised).unwrap();
    node.append(key(0), 250, 80, &mut promised);
    node.commit(&mut promised).unwrap();
    node.append(key(1), 2_500, 81, &mut promised);
    node.commit(&mut promised).unwrap();
    assert_eq!(node.kinds.split_off(node.kinds.len() - 2), [CommitKind::Journal, CommitKind::Direct]);
    disk.lose_power(Kept::Nothing);
    let node = Node::start(&disk, journal, config, &[key(0), key(1)]).unwrap();
    check(&node, &mut promised, "after the crash");
}

#[test]
fn what_is_appended_after_a_restart_is_not_overwritten_by_what_was_torn() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = start(&disk);
    journaled(&mut node, 0..3, &mut promised);
    for round in 0..6 {
        node.append(key(0), 150 + round, 100 + round as u64, &mut promised);
        node.append(key(1), 150 + round, 200 + round as u64, &mut promised);
        // Written, not synced: the power goes, and any part of it is left.
        let calls = disk.calls();
        disk.stop_after(3 + round as u64 % 2);
        let _ = node.commit(&mut promised);
        assert!(disk.calls() > calls);
        disk.lose_power(Kept::Subset { seed: round as u64 });
        node = start(&disk);
        check(&node, &mut promised, "torn");
        journaled(&mut node, 300 + round as u64..301 + round as u64, &mut promised);
        node = crash_and_check(&disk, &mut promised);
    }
}

#[test]
fn a_segment_that_retention_removed_does_not_come_back() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = start(&disk);
    journaled(&mut node, 0..30, &mut promised);
    let log = node.logs.get_mut(&key(0)).unwrap();
    let before = log.cursors().durable_end();
    let removal = log.plan_delete_records(before, before).unwrap().unwrap();
    removal.persist(&disk).unwrap();
    let obsolete = log.apply_removal(&removal).unwrap();
    assert!(obsolete.segments() > 0);
    obsolete.remove(&disk).unwrap();
    promised.get_mut(&key(0)).unwrap().model.log_start = before.get();
    let left: Vec<_> = disk.files();
    disk.lose_power(Kept::Nothing);
    let node = start(&disk);
    check(&node, &mut promised, "after retention");
    let back: Vec<_> = disk.files().into_iter().filter(|path| !left.contains(path)).collect();
    assert_eq!(back, Vec::<std::path::PathBuf>::new(), "files that had been removed");
}

/// What compaction does: another file in the place of a sealed segment.
#[test]
fn a_segment_that_was_replaced_keeps_its_new_bytes() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = start(&disk);
    journaled(&mut node, 0..30, &mut promised);
    let path = key(0).dir(data_dir()).join("00000000000000000000.log");
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    let bytes = usize::try_from(file.len().unwrap()).unwrap();
    let replaced = bytes::Bytes::from(vec![0xee; bytes]);
    file.write_at(std::slice::from_ref(&replaced), 0).unwrap();
    file.sync().unwrap();
    drop(node);
    disk.lose_power(Kept::Nothing);
    let replay = Replay::read(&disk, data_dir()).unwrap();
    assert!(replay.report().data_bytes > 0, "nothing is replayed at all");
    replay.perform(&disk).unwrap();
    let mut found = Vec::new();
    disk.open(&path, OpenMode::Read).unwrap().read_at(&mut found, 0, bytes).unwrap();
    assert!(found == replaced, "the journal wrote over a segment that was sealed and replaced");
}

#[test]
fn a_deleted_partition_does_not_come_back_and_one_made_again_is_not_overwritten() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = start(&disk);
    journaled(&mut node, 0..5, &mut promised);
    drop(node.logs.remove(&key(0)));
    node.commit_with(vec![JournalRequest::Drop(key(0))], &mut promised).unwrap();
    let dir = key(0).dir(data_dir());
    for entry in disk.list(&dir).unwrap() {
        disk.remove_file(&dir.join(&entry.name)).unwrap();
    }
    disk.remove_dir(&dir).unwrap();
    disk.sync_dir(dir.parent().unwrap()).unwrap();
    promised.remove(&key(0));
    // The same place, used again, which topic ids rule out.
    let shared = std::sync::Arc::clone(&node.shared);
    let known = node.journal.known(key(0), false);
    assert_eq!((known.mark, known.history.is_empty()), (None, true));
    let (log, _) = corduroy_log::Log::open(shared, dir, small_config(), known, NOW).unwrap();
    node.logs.insert(key(0), log);
    node.append(key(0), 90, 7, &mut promised);
    node.commit(&mut promised).unwrap();
    crash_and_check(&disk, &mut promised);
}

/// Entries of an older filling of the file lie behind those of the present one, whole and in the right place.
#[test]
fn entries_of_an_older_generation_are_not_taken_for_new_ones() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = start(&disk);
    let path = data_dir().join(JOURNAL_DIR).join("a.journal");
    let read = |from: u64, to: u64| {
        let mut bytes = Vec::new();
        let wanted = usize::try_from(to - from).unwrap();
        disk.open(&path, OpenMode::Read).unwrap().read_at(&mut bytes, from, wanted).unwrap();
        bytes::Bytes::from(bytes)
    };
    // The first round of a log makes its file; from then on there is data.
    journaled(&mut node, 0..1, &mut promised);
    let from = node.journal.used_bytes();
    node.append(key(0), 200, 1, &mut promised);
    node.append(key(1), 200, 1, &mut promised);
    let mut commit = node.plan_commit();
    commit.perform(&disk);
    let results = node.journal.finish(commit).results;
    let to = node.journal.used_bytes();
    node.report(results, &mut promised).unwrap();
    let old = read(from, to);
    // The file is filled again twice, once for each start.
    for _ in 0..2 {
        node = start(&disk);
    }
    let at = node.journal.used_bytes();
    let entries = Replay::read(&disk, data_dir()).unwrap().report().entries;
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    file.write_at(&[old], at).unwrap();
    file.sync().unwrap();
    let report = Replay::read(&disk, data_dir()).unwrap().report();
    assert_eq!((report.data_bytes, report.entries), (0, entries));
}

/// The same by itself: the journal is filled many times, and the power goes after each round.
#[test]
fn generations_follow_one_another() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let journal = JournalConfig { grow_bytes: 0, ..small_journal() };
    let config = LogConfig { segment_bytes: 1 << 20, ..small_config() };
    let mut node = Node::start(&disk, journal, config, &[key(0), key(1)]).unwrap();
    let (mut generations, mut used) = (0, 0);
    for seed in 0..60 {
        journaled(&mut node, seed..seed + 1, &mut promised);
        generations += u64::from(node.journal.used_bytes() < used);
        used = node.journal.used_bytes();
        if node.journal.wants_checkpoint() {
            node.checkpoint().unwrap();
        }
        let crashed = disk.fork();
        crashed.lose_power(Kept::Nothing);
        let again = Node::start(&crashed, journal, config, &[key(0), key(1)]).unwrap();
        check(&again, &mut promised.clone(), &format!("round {seed}"));
    }
    assert!(generations > 3);
}
