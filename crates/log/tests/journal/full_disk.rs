//! The journal on a disk with little room.

use corduroy_log::disk::Kept;
use corduroy_log::{Disk, JournalConfig, LogConfig};

use crate::common::{new_disk, small_config};
use crate::node::{AllPromised, Node, check, data_dir, key, small_journal};

/// There is room for what is committed, but not for filling the file with zeros ahead of it.
#[test]
fn commits_go_on_without_room_for_zeros() {
    let disk = new_disk();
    let journal = JournalConfig { grow_bytes: 200_000, file_bytes: 1 << 20, ..small_journal() };
    let config = LogConfig { segment_bytes: 1 << 20, ..small_config() };
    let keys = [key(0), key(1)];
    let mut promised = AllPromised::new();
    disk.set_capacity(Some(60_000));
    let mut node = Node::start(&disk, journal, config, &keys).unwrap();
    // Both segments exist; nothing is in the journal beyond its beginning.
    for key in keys {
        node.append(key, 100, 1, &mut promised);
    }
    for round in 0..20 {
        for key in keys {
            node.append(key, 100, round, &mut promised);
        }
        node.commit(&mut promised).unwrap();
    }
    assert!(node.journal.failure().is_none() && node.journal.used_bytes() > 4_000);
    assert!(disk.space(data_dir()).unwrap().free_bytes > 20_000, "zeros take up what room there is");
    drop(node);
    disk.lose_power(Kept::Nothing);
    let node = Node::start(&disk, journal, config, &keys).unwrap();
    check(&node, &mut promised, "after a crash on a full disk");
}
