//! No generation has the id of an earlier one, although a crash in its first commit may leave any sectors of it: its header
//! and its entries are one write that was not synced. So what is left is never taken for a part of a later generation.

use corduroy_log::disk::{Disk as _, Kept, OpenMode};
use corduroy_log::{JournalConfig, LogConfig, SimDisk};

use crate::common::{new_disk, small_config};
use crate::node::{AllPromised, Node, check, data_dir, key, small_journal};
use corduroy_log::journal::{CommitKind, JOURNAL_DIR};

const FILE_BYTES: u64 = 4_000;
const HEADER_BYTES: usize = 22;
/// As much as one commit of both logs needs at most.
const COMMIT_BYTES: u64 = 1_600;
/// Of what is kept, and of the sizes of what is appended afterwards: for some, an older entry would follow at once.
const VARIANTS: u64 = 1_000;

fn start(disk: &SimDisk) -> Node {
    let journal = JournalConfig { file_bytes: FILE_BYTES, segments_min: 1, grow_bytes: 0, ..small_journal() };
    let config = LogConfig { segment_bytes: 1 << 20, round_bytes: 1 << 20, ..small_config() };
    Node::start(disk, journal, config, &[key(0), key(1)]).unwrap()
}

/// The header of each file: which generation it says is in there.
fn headers(disk: &SimDisk) -> Vec<Vec<u8>> {
    let header = |name: &str| {
        let mut bytes = Vec::new();
        let path = data_dir().join(JOURNAL_DIR).join(name);
        if let Ok(file) = disk.open(&path, OpenMode::Read) {
            file.read_at(&mut bytes, 0, HEADER_BYTES).unwrap();
        }
        bytes
    };
    ["a.journal", "b.journal"].map(header).to_vec()
}

fn append_to_both(node: &mut Node, value_bytes: usize, seed: u64, promised: &mut AllPromised) {
    for of in [key(0), key(1)] {
        node.append(of, value_bytes, seed, promised);
    }
}

/// The next commit does not fit into the generation that is being filled, which nothing else needs any more.
fn before_a_generation(disk: &SimDisk, promised: &mut AllPromised) -> Node {
    let mut node = start(disk);
    append_to_both(&mut node, 100, 0, promised);
    node.commit_all(promised).unwrap();
    node.begin_epoch(1, promised).unwrap();
    for seed in 1.. {
        // Both files have been filled, so that the one that comes next has the header of an older generation.
        let filled = headers(disk).iter().all(|header| header.len() == HEADER_BYTES);
        if filled && node.journal.used_bytes() + COMMIT_BYTES > FILE_BYTES {
            break;
        }
        append_to_both(&mut node, 300, seed, promised);
        node.commit(promised).unwrap();
        node.checkpoint().unwrap();
        node.commit(promised).unwrap();
    }
    node
}

#[test]
fn no_generation_has_the_id_of_a_torn_one() {
    let mut old_headers = 0;
    for seed in 0..VARIANTS {
        let disk = new_disk();
        let mut promised = AllPromised::new();
        let mut node = before_a_generation(&disk, &mut promised);
        let before = headers(&disk);
        append_to_both(&mut node, 300, 7_000, &mut promised);
        // Two segments and the journal are written, and no sync comes any more.
        disk.stop_after(3);
        let _no_power = node.commit(&mut promised);
        drop(node);
        let written = disk.fork();
        written.lose_power(Kept::Everything);
        let torn: Vec<_> = headers(&written).into_iter().filter(|header| !before.contains(header)).collect();
        assert_eq!(torn.len(), 1, "seed {seed}: a generation begins");
        disk.lose_power(Kept::Subset { seed });
        let left = headers(&disk);
        old_headers += u64::from(left == before);
        // What takes the place of the lost batches is of other sizes: by the journal in one log, directly in the other.
        let mut node = start(&disk);
        check(&node, &mut promised, &format!("seed {seed}, after the first crash"));
        let begun: Vec<_> = headers(&disk).into_iter().filter(|header| !left.contains(header)).collect();
        assert!(
            !begun.is_empty() && !begun.contains(&torn[0]),
            "seed {seed}: a generation's id is used twice"
        );
        node.begin_epoch(2, &mut promised).unwrap();
        let value_bytes = usize::try_from(seed % 200).unwrap();
        node.append(key(0), value_bytes, 8_000, &mut promised);
        node.commit(&mut promised).unwrap();
        node.append(key(1), 5_000, 8_001, &mut promised);
        node.commit(&mut promised).unwrap();
        assert_eq!(node.kinds.last(), Some(&CommitKind::Direct), "seed {seed}");
        drop(node);
        disk.lose_power(Kept::Nothing);
        check(&start(&disk), &mut promised, &format!("seed {seed}, after the second crash"));
    }
    assert!(old_headers > VARIANTS / 10, "only {old_headers} times the older header was left");
}
