//! Epoch histories and cuts: durable before they count, and finished after a crash between any two calls.

use corduroy_log::disk::Kept;
use corduroy_log::{
    DamageReason, Disk, EpochHistory, JournalConfig, Known, Log, LogError, RecoveryReport, SimDisk,
    TruncateError,
};
use corduroy_types::LeaderEpoch;

use crate::common::{NOW, at, new_disk, small_config};
use crate::node::{AllPromised, Node, check, data_dir, key, small_journal};

const KEYS: u32 = 2;

fn start(disk: &SimDisk) -> Result<Node, LogError> {
    // Room for everything, so that the journal still holds what is cut.
    let journal = JournalConfig { file_bytes: 1 << 20, ..small_journal() };
    Node::start(disk, journal, small_config(), &[key(0), key(1)])
}

fn append_rounds(
    node: &mut Node,
    seeds: std::ops::Range<u64>,
    promised: &mut AllPromised,
) -> Result<(), LogError> {
    for seed in seeds {
        for partition in 0..KEYS {
            node.append(key(partition), 220, seed, promised);
        }
        node.commit_all(promised)?;
    }
    Ok(())
}

/// Appends in two epochs, cuts into the first, and appends others at the same offsets in a third.
fn workload(disk: &SimDisk, promised: &mut AllPromised, cut_to: u64) -> Result<Node, LogError> {
    let mut node = start(disk)?;
    node.begin_epoch(1, promised)?;
    append_rounds(&mut node, 0..12, promised)?;
    node.begin_epoch(2, promised)?;
    append_rounds(&mut node, 20..26, promised)?;
    let history = node.logs[&key(0)].history().cut_at(at(cut_to));
    node.truncate(key(0), cut_to, history, promised)?;
    node.begin_epoch(3, promised)?;
    append_rounds(&mut node, 40..44, promised)?;
    Ok(node)
}

/// The epoch that wrote each batch is the one that the history gives its offset.
pub fn check_epochs(node: &Node, promised: &AllPromised, what: &str) {
    for (key, log) in &node.logs {
        let history = log.history();
        for (base, kept) in promised.get(key).map(|promised| &promised.model.batches).into_iter().flatten() {
            let stored = u32::from_be_bytes(kept.bytes[12..16].try_into().unwrap());
            let epoch = history.epoch_at(at(*base)).map(LeaderEpoch::get);
            assert_eq!(epoch, Some(stored), "{what}: {key:?} at {base}, {history:?}");
        }
    }
}

#[test]
fn a_cut_survives_a_crash_between_any_two_calls_and_nothing_of_it_comes_back() {
    // In the active segment, at the beginning of a sealed one's last batches, and far back; never inside a batch.
    for cut_to in [34, 24, 6] {
        let disk = new_disk();
        let before = disk.calls();
        let node = workload(&disk, &mut AllPromised::new(), cut_to).unwrap();
        check_epochs(&node, &AllPromised::new(), "whole");
        let calls = disk.calls() - before;
        for stop in 0..calls {
            for kept in [Kept::Nothing, Kept::Everything, Kept::Subset { seed: stop }] {
                let what = format!("cut to {cut_to}, stop={stop} {kept:?}");
                let disk = new_disk();
                disk.stop_after(stop);
                let mut promised = AllPromised::new();
                assert!(workload(&disk, &mut promised, cut_to).is_err());
                disk.lose_power(kept);
                for second_stop in if stop % 5 == 0 { &[1_u64, 3, 6, 10][..] } else { &[] } {
                    let again = disk.fork();
                    again.stop_after(*second_stop);
                    let _ = start(&again);
                    again.lose_power(Kept::Subset { seed: *second_stop });
                    check(&start(&again).unwrap(), &mut promised.clone(), &format!("{what}, {second_stop}"));
                }
                let mut node = start(&disk).unwrap();
                check(&node, &mut promised, &what);
                check_epochs(&node, &promised, &what);
                let epoch = node.logs.values().filter_map(|log| log.history().last()).map(|e| e.epoch.get());
                node.begin_epoch(epoch.max().unwrap_or(0) + 1, &mut promised).unwrap();
                append_rounds(&mut node, 90..92, &mut promised).unwrap();
                disk.lose_power(Kept::Nothing);
                let node = start(&disk).unwrap();
                check(&node, &mut promised, &format!("{what}, and once more"));
                check_epochs(&node, &promised, &format!("{what}, and once more"));
            }
        }
    }
}

fn open_with(node: &Node, known: Known) -> Result<(Log, RecoveryReport), LogError> {
    let shared = std::sync::Arc::clone(&node.shared);
    Log::open(shared, key(0).dir(data_dir()), small_config(), known, NOW)
}

/// Two batches in epoch 4 and what the journal knows about them; the first byte that is changed is of an epoch field,
/// which is outside a batch's checksum: the history guards it.
fn with_changed_epochs(changes: &[(u64, u8)]) -> (Result<(Log, RecoveryReport), LogError>, u64) {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = start(&disk).unwrap();
    node.begin_epoch(4, &mut promised).unwrap();
    append_rounds(&mut node, 0..2, &mut promised).unwrap();
    let known = Known { mark: None, ..node.journal.known(key(0), false) };
    let path = key(0).dir(data_dir()).join("00000000000000000000.log");
    let second = promised[&key(0)].model.batches[&0].bytes.len() as u64;
    for (batch, mask) in changes {
        assert!(disk.damage(&path, batch * second + 15, |bytes| bytes[0] ^= mask));
    }
    (open_with(&node, known), promised[&key(0)].durable_end)
}

#[test]
fn a_batch_of_an_older_epoch_than_the_history_says_is_not_believed() {
    // 4 becomes 0.
    let (opened, _) = with_changed_epochs(&[(0, 4), (1, 4)]);
    let (_, report) = opened.unwrap();
    let reason = report.cut.map(|cut| cut.damage.reason);
    assert!(matches!(reason, Some(DamageReason::WrongEpoch { .. })), "{reason:?}");
}

/// The history is an older one then, and nothing is cut by it.
#[test]
fn a_log_of_a_later_epoch_than_the_history_knows_is_not_opened() {
    for changes in [&[(0, 1), (1, 1)][..], &[(1, 1)][..]] {
        let (opened, _) = with_changed_epochs(changes);
        let error = opened.unwrap_err();
        assert!(matches!(error, LogError::StaleHistory { .. }), "{error}");
    }
}

#[test]
fn one_changed_epoch_before_a_sound_batch_is_damage_and_cuts_nothing() {
    for mask in [1, 4] {
        let (opened, durable_end) = with_changed_epochs(&[(0, mask)]);
        let (log, report) = opened.unwrap();
        assert_eq!((log.cursors().log_end().get(), report.cut), (durable_end, None));
        let reasons: Vec<_> = report.damages.iter().map(|range| range.damage.reason.clone()).collect();
        assert!(matches!(reasons.as_slice(), [DamageReason::WrongEpoch { .. }]), "{reasons:?}");
    }
}

/// A generation whose beginning was torn says nothing; the one before it still says everything.
#[test]
fn a_torn_beginning_of_a_generation_loses_no_history() {
    let keys: Vec<_> = (0..30).map(key).collect();
    let start = |disk: &SimDisk| Node::start(disk, small_journal(), small_config(), &keys);
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = start(&disk).unwrap();
    for epoch in 1..4 {
        node.begin_epoch(epoch, &mut promised).unwrap();
    }
    assert!(keys.iter().all(|key| node.journal.known(*key, false).history.entries().len() == 3));
    // The epochs that wrote nothing are forgotten when the logs are opened.
    let known = |node: &Node| {
        keys.iter().map(|key| node.journal.known(*key, false).history.last()).collect::<Vec<_>>()
    };
    let histories = known(&node);
    let mut torn = 0;
    for stop in 0..8 {
        for seed in 0..30 {
            let disk = disk.fork();
            disk.stop_after(stop);
            torn += u32::from(start(&disk).is_err());
            disk.lose_power(Kept::Subset { seed });
            let again = start(&disk).unwrap();
            assert!(known(&again) == histories, "stop={stop} seed={seed}");
        }
    }
    assert!(torn > 60, "{torn}");
}

#[test]
fn an_epoch_counts_only_in_the_log_that_has_begun_it() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = start(&disk).unwrap();
    node.begin_epoch(4, &mut promised).unwrap();
    append_rounds(&mut node, 0..1, &mut promised).unwrap();
    let log = node.logs.get_mut(&key(0)).unwrap();
    let batch = crate::common::batch(&[1], 10, 1);
    for other in [3, 5] {
        log.append(batch.clone(), LeaderEpoch::new(other).unwrap(), NOW).unwrap_err();
    }
    let epoch = |number| LeaderEpoch::new(number).unwrap();
    assert!(matches!(log.plan_epoch(epoch(3)), Err(LogError::Epoch(_))));
    log.append(batch, epoch(4), NOW).unwrap();
    assert!(matches!(log.plan_epoch(epoch(5)), Err(LogError::NotDurable { .. })));
}

#[test]
fn a_log_is_cut_only_where_it_may_end_and_only_at_rest() {
    let disk = new_disk();
    let mut promised = AllPromised::new();
    let mut node = start(&disk).unwrap();
    append_rounds(&mut node, 0..3, &mut promised).unwrap();
    let log = node.logs.get_mut(&key(0)).unwrap();
    let end = log.cursors().log_end().get();
    let error = log.plan_truncation(at(end + 1), EpochHistory::default()).unwrap_err();
    assert!(matches!(error, TruncateError::OutOfRange { .. }), "{error}");
    log.append(crate::common::batch(&[1], 10, 1), LeaderEpoch::ZERO, NOW).unwrap();
    let error = log.plan_truncation(at(0), EpochHistory::default()).unwrap_err();
    assert!(matches!(error, TruncateError::NotAtRest { .. }), "{error}");
    assert!(disk.list(data_dir()).is_ok());
}
