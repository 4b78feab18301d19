//! How large the journal's files become.

use corduroy_log::journal::CommitKind;
use corduroy_log::{JournalConfig, LogConfig};

use crate::common::{new_disk, small_config};
use crate::node::{AllPromised, Node, key, small_journal};

fn config() -> LogConfig {
    LogConfig { segment_bytes: 1 << 20, ..small_config() }
}

/// A commit that is larger than a whole file, each log with little.
#[test]
fn batches_for_which_no_generation_has_room_are_synced_where_they_belong() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let journal = JournalConfig { file_bytes: 4_000, ..small_journal() };
    let keys = [key(0), key(1), key(2)];
    let mut node = Node::start(&disk, journal, config(), &keys).unwrap();
    for round in 0..6 {
        for key in keys {
            node.append(key, 700, round, &mut promised);
        }
        node.commit(&mut promised).unwrap();
        assert!(node.journal.used_bytes() <= 4_000, "{}", node.journal.used_bytes());
    }
    assert!(node.kinds.iter().all(|kind| *kind == CommitKind::Direct), "{:?}", node.kinds);
}

/// The state of all logs alone is more than a file should hold.
#[test]
fn a_large_state_is_not_written_with_each_commit() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let journal = JournalConfig { file_bytes: 700, segments_min: 100, ..small_journal() };
    let keys = [key(0), key(1), key(2)];
    let mut node = Node::start(&disk, journal, config(), &keys).unwrap();
    let (mut generations, mut used) = (0, 0);
    for round in 0..40 {
        node.append(key(0), 10, round, &mut promised);
        node.commit(&mut promised).unwrap();
        generations += u32::from(node.journal.used_bytes() < used);
        used = node.journal.used_bytes();
        assert!(used < 4_000, "{used}");
    }
    assert!((1..10).contains(&generations), "{generations}");
}
