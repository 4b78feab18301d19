//! What the offline tools say of segments that are not brought up to date yet.

use corduroy_batch::DecompressLimits;
use corduroy_log::JournalConfig;
use corduroy_log::disk::Kept;
use corduroy_log::offline::{self, Finding};

use crate::common::{new_disk, small_config};
use crate::node::{AllPromised, Node, check, data_dir, key, small_journal};

#[test]
fn what_only_the_journal_holds_is_told_and_no_damage() {
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
