//! Damage in the journal's own files: what it held twice is not lost, and what is damaged is reported.

use std::path::PathBuf;
use std::sync::Arc;

use corduroy_log::disk::{Disk, Kept, OpenMode};
use corduroy_log::journal::{JOURNAL_DIR, JournalDamage, Replay};
use corduroy_log::{Journal, JournalConfig, Log, LogConfig, LogError, SimDisk};

use crate::common::{NOW, compare, new_disk, small_config};
use crate::node::{AllPromised, Node, data_dir, key, small_journal};

const KEYS: u32 = 3;

fn journal() -> JournalConfig {
    JournalConfig { file_bytes: 1 << 20, ..small_journal() }
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 3_000, ..small_config() }
}

fn file(name: &str) -> PathBuf {
    data_dir().join(JOURNAL_DIR).join(name)
}

/// Two starts with an epoch each, so that the newest generation is in the second file and knows more than the first.
/// At the end all data is checkpointed, or not.
fn lived(checkpointed: bool) -> (SimDisk, AllPromised) {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let keys: Vec<_> = (0..KEYS).map(key).collect();
    for epoch in 1..3 {
        let mut node = Node::start(&disk, journal(), config(), &keys).unwrap();
        node.begin_epoch(epoch, &mut promised).unwrap();
        for round in 0..8 {
            for key in &keys {
                node.append(*key, 200, u64::from(epoch) * 100 + round, &mut promised);
            }
            node.commit_all(&mut promised).unwrap();
        }
        if checkpointed {
            node.checkpoint().unwrap();
        }
        node.commit(&mut promised).unwrap();
        drop(node);
        disk.lose_power(if checkpointed { Kept::Nothing } else { Kept::Everything });
    }
    (disk, promised)
}

/// Starts, and compares everything that was acknowledged. Returns what was said of the journal.
fn start_and_compare(
    disk: &SimDisk,
    promised: &AllPromised,
    what: &str,
) -> Result<(Vec<JournalDamage>, bool), LogError> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let replay = Replay::read(disk, data_dir())?;
    let report = replay.report();
    replay.perform(disk)?;
    let mut journal = Journal::begin(&shared, &replay, journal())?;
    for (key, promised) in promised {
        let known = journal.known(*key, false);
        let (log, opened) = Log::open(Arc::clone(&shared), key.dir(data_dir()), config(), known, NOW)?;
        assert_eq!((opened.damages, opened.cut), (vec![], None), "{what}: {key:?}");
        compare(&log, &promised.model);
        let epochs = log.history().entries().len();
        assert!(epochs == 2 || report.unreadable, "{what}: {key:?} has {epochs} epochs");
        journal.opened(*key, &log);
    }
    Ok((report.damages, report.unreadable))
}

fn length(disk: &SimDisk, path: &std::path::Path) -> u64 {
    disk.open(path, OpenMode::Read).unwrap().len().unwrap()
}

#[test]
fn one_flipped_bit_anywhere_loses_nothing() {
    for checkpointed in [true, false] {
        let (disk, promised) = lived(checkpointed);
        let (damages, _) = start_and_compare(&disk.fork(), &promised, "as it was").unwrap();
        assert_eq!(damages, []);
        let mut reported = 0;
        for name in ["a.journal", "b.journal"] {
            let end = length(&disk, &file(name)).min(9_000);
            // Every byte of the header, and some of all others.
            for position in (0..24).chain((24..end).step_by(13)) {
                let disk = disk.fork();
                let mask = 1_u8 << (position % 8);
                assert!(disk.damage(&file(name), position, |bytes| bytes[0] ^= mask));
                let what = format!("{name}, byte {position}, checkpointed: {checkpointed}");
                let (damages, unreadable) = start_and_compare(&disk, &promised, &what).unwrap();
                assert!(!unreadable, "{what}");
                // Of the newest generation everything but the last commit is known to have been synced.
                let header = position < 22;
                assert!(!header || !damages.is_empty(), "{what}");
                reported += usize::from(!damages.is_empty());
            }
        }
        assert!(reported > 300, "{reported}");
    }
}

/// A sector that cannot be read any more, or was never written.
#[test]
fn one_lost_sector_of_the_newest_file_loses_nothing() {
    let (disk, promised) = lived(true);
    let end = length(&disk, &file("b.journal")).min(9_000);
    for (at, position) in (0..end).step_by(512).enumerate() {
        for fill in [0, 0xff] {
            let disk = disk.fork();
            disk.damage(&file("b.journal"), position, |bytes| {
                bytes.iter_mut().take(512).for_each(|byte| *byte = fill)
            });
            let what = format!("sector {at} filled with {fill:#x}");
            let (damages, _) = start_and_compare(&disk, &promised, &what).unwrap();
            assert!(at > 0 || !damages.is_empty(), "{what}");
        }
    }
}

/// Both copies are gone: what is left would be taken for the whole truth, and the logs say that it is not.
#[test]
fn a_history_that_is_older_than_its_log_cuts_nothing() {
    let (disk, promised) = lived(true);
    let end = length(&disk, &file("b.journal"));
    assert!(disk.damage(&file("b.journal"), 0, |bytes| bytes.iter_mut().for_each(|byte| *byte = 0xaa)));
    let refused = start_and_compare(&disk.fork(), &promised, "newest lost");
    assert!(matches!(refused, Err(LogError::StaleHistory { .. })), "{refused:?}");
    let report = Replay::read(&disk, data_dir()).unwrap().report();
    assert_eq!(report.damages, [JournalDamage::Header { file: file("b.journal") }], "{end}");
    // Without any journal everything is there, and it is said that there is none.
    for name in ["a.journal", "b.journal"] {
        disk.remove_file(&file(name)).unwrap();
    }
    let (_, unreadable) = start_and_compare(&disk, &promised, "no journal").unwrap();
    assert!(unreadable);
}

#[test]
fn a_file_that_is_gone_is_missed_where_it_is_needed() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let keys: Vec<_> = (0..KEYS).map(key).collect();
    let small = JournalConfig { file_bytes: 6_000, ..small_journal() };
    let large = LogConfig { segment_bytes: 1 << 20, ..small_config() };
    let mut node = Node::start(&disk, small, large, &keys).unwrap();
    let mut used = 0;
    // Until a second generation has begun, with data in the first that is not checkpointed.
    for round in 0.. {
        keys.iter().for_each(|key| node.append(*key, 150, round, &mut promised));
        node.commit(&mut promised).unwrap();
        if node.journal.used_bytes() < used {
            break;
        }
        used = node.journal.used_bytes();
    }
    drop(node);
    disk.lose_power(Kept::Everything);
    assert_eq!(Replay::read(&disk, data_dir()).unwrap().report().damages, []);
    disk.remove_file(&file("a.journal")).unwrap();
    let damages = Replay::read(&disk, data_dir()).unwrap().report().damages;
    let expected = [JournalDamage::Gone { file: file("a.journal") }];
    assert!(damages.starts_with(&expected), "{damages:?}");
    assert!(matches!(damages.as_slice(), [_, JournalDamage::Missing { .. }]), "{damages:?}");
}
