//! What the offline tools say of segments that are not brought up to date yet.

use corduroy_batch::DecompressLimits;
use corduroy_log::disk::{Disk, Kept, OpenMode};
use corduroy_log::journal::Replay;
use corduroy_log::offline::{self, Finding, Note};
use corduroy_log::{JournalConfig, LogConfig};

use crate::common::{new_disk, small_config};
use crate::node::{AllPromised, Node, check, data_dir, key, small_journal};

#[test]
fn what_only_the_journal_holds_is_reported_and_is_no_damage() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let journal = JournalConfig { file_bytes: 1 << 20, ..small_journal() };
    let keys = [key(0), key(1)];
    let mut node = Node::start(&disk, journal, small_config(), &keys).unwrap();
    for seed in 0..5 {
        node.append(key(0), 200, seed, &mut promised);
        node.append(key(1), 200, seed, &mut promised);
        node.commit(&mut promised).unwrap();
    }
    disk.lose_power(Kept::Nothing);
    let found = offline::journal(&disk, data_dir()).unwrap().unwrap();
    assert!(found.replay.data_bytes > 0 && found.replay.segments == 2 && !found.replay.unreadable);
    let mut short = 0;
    for key in keys {
        let dir = key.dir(data_dir());
        let findings = offline::verify(&disk, &dir, DecompressLimits::default()).unwrap().findings;
        assert!(!findings.iter().any(Finding::is_damage), "{findings:?}");
        let stored = offline::stats(&disk, &dir).unwrap();
        short += promised[&key].durable_end - stored.log_end.get();
    }
    assert!(short > 0, "the segments have all of it");
    let before = disk.files();
    drop(offline::journal(&disk, data_dir()));
    assert_eq!(disk.files(), before);
    let node = Node::start(&disk, journal, small_config(), &keys).unwrap();
    check(&node, &mut promised, "after the crash");
}

/// What the file of the only segment of a log holds beyond `position` is gone.
fn cut(disk: &corduroy_log::SimDisk, partition: u32, position: u64) {
    let path = key(partition).dir(data_dir()).join("00000000000000000000.log");
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    file.set_len(position).unwrap();
    file.sync().unwrap();
}

#[test]
fn a_loss_below_the_durable_mark_is_no_torn_tail() {
    let config = LogConfig { segment_bytes: 1 << 20, ..small_config() };
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let journal = JournalConfig { file_bytes: 1 << 20, ..small_journal() };
    let mut node = Node::start(&disk, journal, config, &[key(0), key(1)]).unwrap();
    let append = |node: &mut Node, seed, promised: &mut AllPromised| {
        node.append(key(0), 200, seed, promised);
        node.commit(promised).unwrap();
    };
    (0..4).for_each(|seed| append(&mut node, seed, &mut promised));
    // The mark of what was synced so far goes on record.
    node.commit(&mut promised).unwrap();
    let marked = node.logs[&key(0)].stats().bytes;
    append(&mut node, 5, &mut promised);
    let all = node.logs[&key(0)].stats().bytes;
    drop(node);
    disk.lose_power(Kept::Everything);
    let verify = |disk: &corduroy_log::SimDisk| {
        let (dir, limits) = (key(0).dir(data_dir()), DecompressLimits::default());
        let journal = Replay::read(disk, data_dir()).unwrap();
        let alone = offline::verify(disk, &dir, limits).unwrap().findings;
        (alone, offline::verify_against(disk, &dir, limits, &journal, key(0)).unwrap())
    };
    assert_eq!(verify(&disk).1.findings, []);
    for (position, is_lost) in
        [(all - 10, false), (marked, false), (marked - 10, true), (marked / 4, true), (0, true)]
    {
        let disk = disk.fork();
        cut(&disk, 0, position);
        let (alone, found) = verify(&disk);
        assert!(!alone.iter().any(Finding::is_damage), "{position}: without the journal it looks torn");
        assert_eq!(
            found.findings.iter().any(Finding::is_damage),
            is_lost,
            "{position}: {:?}",
            found.findings
        );
    }
    // The running checksum of the mark covers what no batch's own does.
    let path = key(0).dir(data_dir()).join("00000000000000000000.log");
    assert!(disk.damage(&path, 12, |bytes| bytes[0] ^= 1));
    let (alone, found) = verify(&disk);
    assert!(alone.is_empty() && found.findings.iter().any(Finding::is_damage), "{:?}", found.findings);
}

#[test]
fn what_a_start_restores_is_no_damage() {
    let config = LogConfig { segment_bytes: 1 << 20, ..small_config() };
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let journal = JournalConfig { file_bytes: 1 << 20, ..small_journal() };
    let mut node = Node::start(&disk, journal, config, &[key(0), key(1)]).unwrap();
    for seed in 0..5 {
        node.append(key(0), 200, seed, &mut promised);
        node.append(key(1), 200, seed, &mut promised);
        node.commit(&mut promised).unwrap();
    }
    let all = node.logs[&key(0)].stats().bytes;
    drop(node);
    disk.lose_power(Kept::Everything);
    // The mark that the journal's entries bring is behind what the file has without them.
    cut(&disk, 0, all - 10);
    let journal = Replay::read(&disk, data_dir()).unwrap();
    let (dir, limits) = (key(0).dir(data_dir()), DecompressLimits::default());
    let found = offline::verify_against(&disk, &dir, limits, &journal, key(0)).unwrap();
    assert_eq!(found.findings, []);
    assert!(matches!(found.notes.as_slice(), [Note::Restored { .. }]), "{:?}", found.notes);
}
