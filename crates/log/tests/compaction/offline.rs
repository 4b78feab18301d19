//! What the offline tools say of compacted logs, and of swaps that were interrupted.

use corduroy_batch::{Compression, DecompressLimits};
use corduroy_log::SimDisk;
use corduroy_log::offline::{self, IndexState, Note, Verification};

use crate::common::{NOW, dir, new_disk, open};
use crate::model::{Model, Put, UNLIMITED, append, commit, config, perform, plan};

fn verify(disk: &SimDisk) -> Verification {
    offline::verify(disk, &dir(), DecompressLimits::default()).unwrap()
}

fn filled(disk: &SimDisk) -> (corduroy_log::Log, Model) {
    let (mut log, _) = open(disk, config(), false);
    let mut model = Model::default();
    for seed in 0..60 {
        let puts = [Put { key: Some((seed % 5) as u8), value: seed % 7 != 0 }; 2];
        append(&mut log, &mut model, &puts, Compression::None, seed, NOW.0);
    }
    commit(&mut log, disk).unwrap();
    (log, model)
}

#[test]
fn a_compacted_log_is_sound_and_its_gaps_are_counted() {
    let disk = new_disk();
    let (mut log, mut model) = filled(&disk);
    let pass = plan(&log, NOW.0, UNLIMITED).unwrap();
    let end = perform(&mut log, &disk, pass, UNLIMITED, |_| {}).unwrap();
    model.compact(end.get(), NOW.0);
    let stretches = log.stretches_with_gaps(corduroy_types::Offset::ZERO);
    let counted: u64 = stretches.iter().map(|stretch| stretch.records.unwrap()).sum();
    let dense = log.cursors().log_end().distance_from(stretches.last().unwrap().end);
    assert_eq!(counted + dense, model.kept.len() as u64, "the catalogue counts records");
    let verified = verify(&disk);
    assert_eq!((verified.findings, verified.notes), (vec![], vec![]));
    let stats = offline::stats(&disk, &dir()).unwrap();
    assert_eq!(stats.damages, []);
    assert_eq!(stats.records, model.kept.len() as u64);
    assert_eq!(stats.missing_offsets, (model.all.len() - model.kept.len()) as u64);
    assert!(stats.segments_with_gaps > 0 && stats.horizon_batches > 0, "{stats:?}");
    let listing = offline::list(&disk, &dir()).unwrap();
    for segment in &listing.segments {
        let batches = offline::SegmentReader::open(&disk, &segment.path).unwrap();
        assert!(batches.map(Result::unwrap).count() > 0, "{segment:?}");
        let state = offline::check_indexes(&disk, &dir(), segment, false).unwrap();
        let expected = segment.end_offset.map_or(IndexState::Unused, |_| IndexState::Agree);
        assert_eq!(state, expected, "{segment:?}");
    }
    // Without the catalogue no one knows where offsets may be missing: that, and nothing else, is found.
    for name in ["partition.state", "partition.state.copy"] {
        corduroy_log::Disk::remove_file(&disk, &dir().join(name)).unwrap();
    }
    let found = verify(&disk).findings;
    assert!(matches!(&found[..], [offline::Finding::State { .. }]), "{found:?}");
}

#[test]
fn an_interrupted_swap_is_a_note_wherever_it_stopped() {
    let disk = new_disk();
    let (mut log, _) = filled(&disk);
    let before = disk.calls();
    let whole = disk.fork();
    let pass = plan(&log, NOW.0, UNLIMITED).unwrap();
    perform(&mut log, &disk, pass, UNLIMITED, |_| {}).unwrap();
    let calls = disk.calls() - before;
    let mut noted = 0;
    for stop in 0..calls {
        let disk = whole.fork();
        let (mut log, _) = open(&disk, config(), false);
        let Some(pass) = plan(&log, NOW.0, UNLIMITED) else { panic!("nothing to compact") };
        disk.stop_after(stop);
        let stopped = perform(&mut log, &disk, pass, UNLIMITED, |_| {}).is_err();
        drop(log);
        disk.heal();
        disk.crash();
        let verified = verify(&disk);
        assert_eq!(verified.findings, [], "stopped: {stopped}, after {stop} calls");
        let listing = offline::list(&disk, &dir()).unwrap();
        assert_eq!(listing.missing, [], "after {stop} calls");
        noted += usize::from(verified.notes.iter().any(|note| matches!(note, Note::Leftover { .. })));
        // What the tools read is what opening the log leaves.
        let stats = offline::stats(&disk, &dir()).unwrap();
        let (log, report) = open(&disk, config(), false);
        assert_eq!(report.damages, []);
        drop(log);
        let opened = offline::stats(&disk, &dir()).unwrap();
        assert_eq!((stats.records, stats.log_end), (opened.records, opened.log_end), "after {stop} calls");
    }
    assert!(noted > 10, "{noted} of {calls}");
}

#[test]
fn a_snapshot_of_producers_that_is_damaged_is_a_note() {
    let disk = new_disk();
    let (log, _) = filled(&disk);
    drop(log);
    let listing = offline::list(&disk, &dir()).unwrap();
    let [first, ..] = &listing.snapshots[..] else { panic!("no snapshot: {listing:?}") };
    let snapshot = offline::read_snapshot(&disk, first).unwrap();
    assert!(snapshot.producers.is_empty() && snapshot.offset.get() > 0);
    assert!(disk.damage(first, 9, |bytes| bytes[0] ^= 1));
    assert!(offline::read_snapshot(&disk, first).is_err());
    let found = verify(&disk);
    assert!(found.findings.is_empty(), "{found:?}");
    assert!(matches!(&found.notes[..], [Note::Snapshot { file, .. }] if file == first), "{found:?}");
}
