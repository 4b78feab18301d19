//! What the journal remembers of each log: the newest mark, and no more of the history than is of use.

use corduroy_log::disk::Kept;
use corduroy_log::journal::JournalRequest;
use corduroy_types::LeaderEpoch;

use crate::common::{new_disk, small_config};
use crate::node::{AllPromised, Node, check, key, small_journal};

fn start(disk: &corduroy_log::SimDisk) -> Node {
    let journal = corduroy_log::JournalConfig { file_bytes: 1 << 20, ..small_journal() };
    Node::start(disk, journal, small_config(), &[key(0), key(1)]).unwrap()
}

/// The mark of a round that was synced directly rides along with data of the same log.
#[test]
fn the_mark_of_an_earlier_round_does_not_replace_the_one_of_data() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = start(&disk);
    for round in 0..3 {
        node.append(key(0), 100, round, &mut promised);
        node.append(key(1), 100, round, &mut promised);
        node.commit(&mut promised).unwrap();
        let mark = node.logs[&key(0)].durable_mark();
        let crashed = disk.fork();
        crashed.lose_power(Kept::Nothing);
        if round > 0 {
            assert_eq!(start(&crashed).journal.known(key(0), false).mark, Some(mark), "{round}");
        }
    }
}

#[test]
fn how_far_an_opened_log_is_sound_is_remembered() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = start(&disk);
    for round in 0..3 {
        node.append(key(0), 100, round, &mut promised);
        node.commit(&mut promised).unwrap();
    }
    // The last mark was not written.
    let mark = node.logs[&key(0)].durable_mark();
    assert_ne!(node.journal.known(key(0), false).mark, Some(mark));
    drop(node);
    disk.lose_power(Kept::Everything);
    let mut node = start(&disk);
    check(&node, &mut promised, "opened");
    assert_eq!(node.logs[&key(0)].durable_mark(), mark);
    node.commit(&mut promised).unwrap();
    drop(node);
    disk.lose_power(Kept::Nothing);
    assert_eq!(start(&disk).journal.known(key(0), false).mark, Some(mark));
}

#[test]
fn epochs_of_deleted_records_are_forgotten() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = start(&disk);
    for epoch in 1..=8 {
        let entry = node.logs[&key(0)].plan_epoch(LeaderEpoch::new(epoch).unwrap()).unwrap();
        node.commit_with(vec![JournalRequest::BeginEpoch(key(0), entry)], &mut promised).unwrap();
        node.logs.get_mut(&key(0)).unwrap().begin_epoch(entry).unwrap();
        node.append(key(0), 300, u64::from(epoch), &mut promised);
        node.commit_all(&mut promised).unwrap();
    }
    assert_eq!(node.journal.known(key(0), false).history.entries().len(), 8);
    let log = node.logs.get_mut(&key(0)).unwrap();
    let end = log.cursors().durable_end();
    let removal = log.plan_delete_records(end, end).unwrap().unwrap();
    removal.persist(&disk).unwrap();
    log.apply_removal(&removal).unwrap().remove(&disk).unwrap();
    drop(node);
    disk.lose_power(Kept::Nothing);
    // The first start finds what is too much, the second no more than is left.
    for _ in 0..2 {
        let node = start(&disk);
        assert_eq!(node.journal.known(key(0), false).history, *node.logs[&key(0)].history());
        assert_eq!(node.logs[&key(0)].history().entries().len(), 1);
    }
}
