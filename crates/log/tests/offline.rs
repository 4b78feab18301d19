//! The offline tools on segments, indexes and the journal.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    reason = "a test may stop, and its numbers are small"
)]

mod common;

use std::path::Path;

use bytes::Bytes;
use common::{NOW, at, batch, commit, dir, new_disk, open, small_config};
use corduroy_batch::DecompressLimits;
use corduroy_log::disk::OpenMode;
use corduroy_log::offline::{self, Finding, IndexState, Note, SegmentFiles, Verification};
use corduroy_log::{DamageReason, Disk, Log, SimDisk};
use corduroy_types::LeaderEpoch;

fn verify(disk: &SimDisk) -> Verification {
    offline::verify(disk, &dir(), DecompressLimits::default()).unwrap()
}

/// Some segments, all committed.
fn filled(disk: &SimDisk) -> (Log, Vec<SegmentFiles>) {
    let (mut log, _) = open(disk, small_config(), false);
    for seed in 0..60 {
        log.append(batch(&[seed as i64, 7], 200, seed), LeaderEpoch::ZERO, NOW).unwrap();
        commit(&mut log, disk);
    }
    let segments = offline::list(disk, &dir()).unwrap().segments;
    assert!(segments.len() > 3);
    (log, segments)
}

fn state_of(disk: &SimDisk, segment: &SegmentFiles) -> IndexState {
    offline::check_indexes(disk, &dir(), segment, false).unwrap()
}

/// The segment as it is listed now.
fn again(disk: &SimDisk, segment: &SegmentFiles) -> SegmentFiles {
    let listing = offline::list(disk, &dir()).unwrap();
    listing.segments.into_iter().find(|other| other.base_offset == segment.base_offset).unwrap()
}

#[test]
fn sealed_segments_are_held_to_the_catalogue() {
    let disk = new_disk();
    let (_log, segments) = filled(&disk);
    assert!(segments.iter().rev().skip(1).all(SegmentFiles::is_catalogued));
    let (path, bytes) = (&segments[1].path, segments[1].bytes);
    let sound = disk.fork();
    // The leader epoch is in no batch's own checksum.
    assert!(disk.damage(path, 15, |bytes| bytes[0] ^= 1));
    let found = verify(&disk).findings;
    let [finding @ Finding::Damage(damage)] = &found[..] else { panic!("{found:?}") };
    assert!(finding.is_damage() && damage.file == *path);
    assert!(matches!(damage.reason, DamageReason::WrongChecksum { .. }), "{damage}");
    // Cut between two batches.
    let disk = sound.fork();
    let last = offline::SegmentReader::open(&disk, path).unwrap().last().unwrap().unwrap();
    disk.open(path, OpenMode::ReadWrite).unwrap().set_len(last.position).unwrap();
    let found = verify(&disk).findings;
    let shortened = |damage: &corduroy_log::Damage| {
        damage.reason == DamageReason::Shortened { stored_bytes: bytes } && damage.position == last.position
    };
    assert!(matches!(&found[..], [Finding::Damage(damage), ..] if shortened(damage)), "{found:?}");
    // Bytes behind its end are no one's.
    let disk = sound.fork();
    let file = disk.open(path, OpenMode::ReadWrite).unwrap();
    file.write_at(&[Bytes::from_static(b"surplus")], bytes).unwrap();
    let found = verify(&disk).findings;
    assert!(matches!(&found[..], [Finding::Surplus { sealed_bytes, .. }] if *sealed_bytes == bytes));
    assert!(!found[0].is_damage());
    // Gone altogether, the first one too.
    for gone in [0, 2] {
        let disk = sound.fork();
        disk.remove_file(&segments[gone].path).unwrap();
        let found = verify(&disk).findings;
        let reason = DamageReason::Missing { next: segments[gone + 1].base_offset };
        let [Finding::Damage(damage)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&damage.file, &damage.reason), (&segments[gone].path, &reason));
        assert_eq!(offline::stats(&disk, &dir()).unwrap().log_end, at(120));
    }
}

#[test]
fn an_index_that_is_not_there_is_no_finding() {
    let disk = new_disk();
    let (_log, segments) = filled(&disk);
    assert_eq!(verify(&disk).notes, []);
    disk.remove_file(&segments[1].index_path()).unwrap();
    disk.remove_file(&segments[1].time_index_path()).unwrap();
    let verified = verify(&disk);
    assert_eq!(verified.findings, []);
    let expected = [segments[1].index_path(), segments[1].time_index_path()];
    assert_eq!(verified.notes, expected.map(|file| Note::NoIndex { file }));
    assert_eq!(state_of(&disk, &again(&disk, &segments[1])), IndexState::Missing);
}

#[test]
fn indexes_are_checked_and_written_again() {
    let disk = new_disk();
    let (_log, segments) = filled(&disk);
    let (segment, last) = (&segments[1], segments.last().unwrap());
    for sealed in segments.iter().filter(|segment| segment.end_offset.is_some()) {
        assert_eq!(state_of(&disk, sealed), IndexState::Agree);
    }
    assert_eq!(state_of(&disk, last), IndexState::Unused, "it was not closed");
    assert!(disk.damage(&segment.index_path(), 3, |bytes| bytes[0] ^= 1));
    disk.remove_file(&segments[2].time_index_path()).unwrap();
    let IndexState::Doubtful(doubts) = state_of(&disk, segment) else { panic!("not noticed") };
    assert!(doubts.iter().all(|doubt| doubt.file == segment.index_path()), "{doubts:?}");
    let rebuild = |segment: &SegmentFiles, dry_run| {
        offline::rebuild_indexes(&disk, &dir(), segment, false, dry_run).unwrap()
    };
    let calls = disk.calls();
    let files = disk.files();
    assert_eq!(rebuild(segment, true), IndexState::Agree);
    assert_eq!(disk.files(), files);
    assert!(matches!(state_of(&disk, segment), IndexState::Doubtful(_)), "a dry run changes nothing");
    assert!(disk.calls() >= calls);
    for segment in &segments[1..3] {
        assert_eq!(rebuild(segment, false), IndexState::Agree);
    }
    disk.crash();
    for segment in &segments[1..3] {
        assert_eq!(state_of(&disk, &again(&disk, segment)), IndexState::Agree, "it was not durable");
    }
    assert_eq!(verify(&disk).findings, []);
    assert_eq!(rebuild(last, false), IndexState::Unused);
    // A damaged segment gets none: they would be believed.
    assert!(disk.damage(&segment.path, 100, |bytes| bytes[0] ^= 1));
    disk.remove_file(&segment.index_path()).unwrap();
    assert!(matches!(rebuild(&again(&disk, segment), false), IndexState::Damaged(_)));
    assert!(!again(&disk, segment).has_index);
}

#[test]
fn a_crash_while_indexes_are_written_leaves_the_old_or_the_new() {
    let disk = new_disk();
    let (log, segments) = filled(&disk);
    drop(log);
    assert!(disk.damage(&segments[1].index_path(), 3, |bytes| bytes[0] ^= 1));
    let mut left = 0;
    for stop in 0.. {
        let disk = disk.fork();
        disk.stop_after(stop);
        let done = offline::rebuild_indexes(&disk, &dir(), &segments[1], false, false).is_ok();
        disk.heal();
        disk.crash();
        let state = state_of(&disk, &again(&disk, &segments[1]));
        assert!(matches!(state, IndexState::Agree | IndexState::Doubtful(_)), "after {stop}: {state:?}");
        let verified = verify(&disk);
        assert!(verified.findings.iter().all(|f| matches!(f, Finding::Index(_))), "{:?}", verified.findings);
        left += verified.notes.len();
        if done {
            assert_eq!(state, IndexState::Agree);
            break;
        }
    }
    let file = segments[1].index_path().with_extension("index.tmp");
    disk.open(&file, OpenMode::Truncate).unwrap();
    assert_eq!(verify(&disk).notes, [Note::Leftover { file }], "{left}");
}

#[test]
fn no_journal_an_unreadable_one_and_files_of_a_data_directory() {
    let disk = new_disk();
    assert_eq!(offline::journal(&disk, Path::new("/data")).unwrap(), None);
    disk.create_dir_all(Path::new("/data/journal")).unwrap();
    let path = Path::new("/data/journal/a.journal");
    disk.open(path, OpenMode::CreateNew)
        .unwrap()
        .write_at(&[Bytes::from_static(b"what is this")], 0)
        .unwrap();
    let found = offline::journal(&disk, Path::new("/data")).unwrap().unwrap();
    assert_eq!(found.files, [(path.to_owned(), 12)]);
    assert!(found.replay.unreadable);
}
