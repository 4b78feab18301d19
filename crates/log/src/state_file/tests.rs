//! The state's bytes, and which of two copies counts.

use std::path::Path;

use super::*;
use crate::catalogue::CatalogueEntry;
use crate::disk::{Disk, OpenMode, read_file};
use crate::error::LogError;
use crate::{PartitionKey, SimDisk};

const DIR: &str = "/5f0c54b6-0f0e-4d2c-9a43-6f4e0f1a2b3c/3";

fn entry(base: u64) -> CatalogueEntry {
    CatalogueEntry {
        base: Offset::new(base).unwrap(),
        end: Offset::new(base + 800).unwrap(),
        bytes: 4_000,
        checksum: 7,
        max_timestamp: None,
        gaps: true,
        records: Some(5),
        first_crc: Some(6),
        index_checksum: None,
        suspect: false,
    }
}

fn state() -> PartitionState {
    let offset = |offset| Offset::new(offset).unwrap();
    let mut state = PartitionState {
        log_start: offset(1_234_567),
        compacted_end: offset(1_234_600),
        doubtful_end: offset(1_234_580),
        catalogue: Catalogue::default(),
    };
    for base in [1_234_000, 1_234_800] {
        state.catalogue.put(entry(base));
    }
    state
}

fn decoded() -> Decoded {
    Decoded { state: state(), generation: 3, partition: PartitionKey::of_dir(Path::new(DIR)) }
}

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    crate::disk::create_partition_dir(&disk, Path::new(DIR)).unwrap();
    disk
}

fn found(disk: &SimDisk) -> Stored {
    match read(disk, Path::new(DIR)).unwrap() {
        Found::Whole(stored) => stored,
        other => panic!("{other:?}"),
    }
}

fn write(disk: &SimDisk, name: &str, bytes: Bytes) {
    let file = disk.open(&Path::new(DIR).join(name), OpenMode::Truncate).unwrap();
    file.write_at(&[bytes], 0).unwrap();
}

#[test]
fn every_change_of_the_file_is_noticed() {
    let bytes = decoded().encode();
    assert_eq!(Decoded::decode(&bytes), Ok(Some(decoded())));
    for at in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 0x10;
        assert_eq!(Decoded::decode(&damaged), Ok(None), "byte {at}");
        assert_eq!(Decoded::decode(&bytes[..at]), Ok(None), "cut at {at}");
    }
}

#[test]
fn files_of_older_versions_are_still_read() {
    let with_crc = |mut bytes: Vec<u8>| {
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        Decoded::decode(&bytes)
    };
    let of = |state| Ok(Some(Decoded { state, generation: 0, partition: None }));
    let start = PartitionState { log_start: Offset::new(42).unwrap(), ..PartitionState::default() };
    let first = b"CDPS\x00\x01\x00\x00\x00\x00\x00\x00\x00\x2a".to_vec();
    assert_eq!(with_crc(first), of(start.clone()), "without a catalogue");
    let mut second = b"CDPS\x00\x02\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
    second.extend_from_slice(&[0, 0, 0, 1]);
    let mut catalogue = Catalogue::default();
    let old = CatalogueEntry { records: None, first_crc: None, ..entry(40) };
    for number in [old.base.get(), old.end.get(), old.bytes] {
        second.extend_from_slice(&number.to_be_bytes());
    }
    second.extend_from_slice(&7_u32.to_be_bytes());
    second.extend_from_slice(&[0; 8]);
    second.push(1);
    catalogue.put(old);
    assert_eq!(with_crc(second), of(PartitionState { catalogue, ..start }), "with short entries");
}

#[test]
fn a_newer_format_is_refused_and_not_taken_for_damage() {
    let mut bytes = b"CDPS\x00\x04\x00\x00\x00\x00\x00\x00\x00\x2asomething else".to_vec();
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    assert_eq!(Decoded::decode(&bytes), Err(4));
}

#[test]
fn no_change_undoes_another() {
    let disk = disk();
    let writer = StateWriter::new(Path::new(DIR), None);
    writer.raise_log_start(&disk, Offset::new(10).unwrap()).unwrap();
    let entry = entry(1_000);
    writer.enter(&disk, entry).unwrap();
    writer.raise_log_start(&disk, Offset::new(5).unwrap()).unwrap();
    let state = found(&disk).state;
    assert_eq!((state.log_start.get(), state.catalogue.entries()), (10, &[entry][..]));
    let calls = disk.calls();
    writer.enter(&disk, entry).unwrap();
    assert_eq!(disk.calls(), calls, "nothing to change, nothing written");
    writer.raise_log_start(&disk, entry.end).unwrap();
    let state = found(&disk).state;
    assert_eq!((state.log_start, state.catalogue.entries().len()), (entry.end, 0));
}

#[test]
fn one_copy_is_enough_and_what_is_wrong_with_the_other_is_reported() {
    for (name, other) in [(STATE_FILE, STATE_COPY), (STATE_COPY, STATE_FILE)] {
        let fault = |break_it: &dyn Fn(&SimDisk)| {
            let disk = disk();
            let writer = StateWriter::new(Path::new(DIR), None);
            for log_start in [7, 8, 9] {
                writer.raise_log_start(&disk, Offset::new(log_start).unwrap()).unwrap();
            }
            assert_eq!(found(&disk).fault, None);
            break_it(&disk);
            let stored = found(&disk);
            assert_eq!(stored.state.log_start.get(), 9, "{other} has it");
            let fault = stored.fault.clone().map(|fault| (fault.file, fault.reason));
            // It is written again.
            StateWriter::new(Path::new(DIR), Some(stored)).settle(&disk).unwrap();
            assert_eq!((found(&disk).fault, found(&disk).doubtful), (None, false));
            let (file, reason) = fault.unwrap();
            assert_eq!(file, Path::new(DIR).join(name));
            reason
        };
        let path = Path::new(DIR).join(name);
        let cut = |disk: &SimDisk| disk.open(&path, OpenMode::ReadWrite).unwrap().set_len(20).unwrap();
        assert_eq!(fault(&cut), StateFaultReason::Damaged);
        assert_eq!(fault(&|disk| disk.remove_file(&path).unwrap()), StateFaultReason::Missing);
        let older = |disk: &SimDisk| write(disk, name, Decoded { generation: 1, ..decoded() }.encode());
        assert_eq!(fault(&older), StateFaultReason::Older);
        let partition = PartitionKey::of_dir(Path::new("/5f0c54b6-0f0e-4d2c-9a43-6f4e0f1a2b3c/4"));
        let of_another = |disk: &SimDisk| {
            write(disk, name, Decoded { generation: 99, partition, ..decoded() }.encode());
        };
        assert_eq!(fault(&of_another), StateFaultReason::OtherPartition);
    }
}

#[test]
fn a_directory_of_another_partition_is_refused() {
    let disk = disk();
    StateWriter::new(Path::new(DIR), None).raise_log_start(&disk, Offset::new(7).unwrap()).unwrap();
    let moved = "/5f0c54b6-0f0e-4d2c-9a43-6f4e0f1a2b3c/4";
    disk.create_dir_all(Path::new(moved)).unwrap();
    for name in [STATE_FILE, STATE_COPY] {
        disk.rename(&Path::new(DIR).join(name), &Path::new(moved).join(name)).unwrap();
    }
    let refused = read(&disk, Path::new(moved)).unwrap_err();
    assert!(matches!(refused, LogError::OtherPartition { .. }), "{refused}");
}

#[test]
fn an_interrupted_change_is_no_fault() {
    for failing in 0..20 {
        let disk = disk();
        let writer = StateWriter::new(Path::new(DIR), None);
        writer.raise_log_start(&disk, Offset::new(7).unwrap()).unwrap();
        let before = read_file(&disk, &Path::new(DIR).join(STATE_FILE), 1 << 20).unwrap();
        disk.stop_after(failing);
        let done = writer.raise_log_start(&disk, Offset::new(8).unwrap()).is_ok();
        disk.crash();
        let stored = found(&disk);
        assert_eq!(stored.fault, None, "stopped after {failing} calls");
        assert!(!done || stored.state.log_start.get() == 8);
        assert!(stored.state.log_start.get() == 8 || !before.is_empty());
        StateWriter::new(Path::new(DIR), Some(stored)).settle(&disk).unwrap();
        assert_eq!((found(&disk).fault, found(&disk).doubtful), (None, false));
    }
}
