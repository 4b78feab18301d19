//! `logctl log ..` on a real directory.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may stop")]

mod common;

use std::{fs, path::PathBuf};

use common::Home;
use corduroy_batch::{Batch, BatchBuilder, Compression, crc32c};
use corduroy_log::{CompactionConfig, CompactionProgress, CompactionStep, Known, Log, LogConfig, RealDisk};
use corduroy_types::{LeaderEpoch, TimestampMs};

const NOW: TimestampMs = TimestampMs(1_795_165_200_000);
const TOPIC_ID: &str = "5f0c54b6-0f0e-4d2c-9a43-6f4e0f1a2b3c";

/// A data directory with one partition of three batches.
fn partition(home: &Home) -> PathBuf {
    let dir = home.path().join("data").join(TOPIC_ID).join("0");
    fs::create_dir_all(dir.parent().unwrap()).unwrap();
    let disk = RealDisk::shared();
    let (mut log, _) =
        Log::open(disk.clone(), dir.clone(), LogConfig::default(), Known::default(), NOW).unwrap();
    for value in ["one", "two", "three"] {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
        let _ = builder.push(NOW, Some(b"key"), Some(value.as_bytes()), std::iter::empty()).unwrap();
        let batch = Batch::parse(builder.build().unwrap()).unwrap();
        log.append(batch, LeaderEpoch::ZERO, NOW).unwrap();
    }
    while let Some(round) = log.take_round() {
        let result = round.perform(disk.as_ref());
        log.round_done(result).unwrap();
    }
    log.close().unwrap();
    dir
}

#[test]
fn a_sound_directory_is_listed_counted_and_verified() {
    let home = Home::new();
    let dir = partition(&home);
    let listed = home.ok(&["log", "ls", "data"]).stdout;
    assert!(listed.starts_with("TOPIC "), "{listed}");
    assert!(listed.contains(TOPIC_ID) && listed.contains("00000000000000000000"), "{listed}");
    let header: Vec<&str> = listed.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["TOPIC", "PARTITION", "SEGMENT", "SIZE", "INDEX"]);
    let stats: serde_json::Value =
        serde_json::from_str(&home.ok(&["log", "stats", "data", "-o", "json"]).stdout).unwrap();
    assert_eq!((stats[0]["records"].as_u64(), stats[0]["log_end"].as_u64()), (Some(3), Some(3)));
    for place in ["data", dir.to_str().unwrap()] {
        let verified = home.ok(&["log", "verify", place]);
        assert!(verified.stdout.contains(TOPIC_ID), "{}", verified.stdout);
    }
}

#[test]
fn a_segment_is_dumped_as_batches_and_records() {
    let home = Home::new();
    let segment = partition(&home).join("00000000000000000000.log");
    let segment = segment.to_str().unwrap();
    let batches = home.ok(&["log", "dump", segment]).stdout;
    let header: Vec<&str> = batches.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["POSITION", "FIRST", "LAST", "RECORDS", "BYTES", "CODEC", "MAX-TIMESTAMP", "EPOCH"]);
    assert_eq!(batches.lines().count(), 4, "{batches}");
    let records = home.ok(&["log", "dump", segment, "--records", "--from", "1", "--to", "2"]).stdout;
    let record: serde_json::Value = serde_json::from_str(&records).unwrap();
    assert_eq!((record["offset"].as_u64(), record["value"].as_str()), (Some(1), Some("two")));
    let ran = home.fails(1, &["log", "dump", "none.log"]);
    assert!(ran.stderr.starts_with("error[E1904]"), "{}", ran.stderr);
}

#[test]
fn damage_is_found() {
    let home = Home::new();
    let dir = partition(&home);
    let segment = dir.join("00000000000000000000.log");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let found = home.run(&["log", "verify", "data"]);
    assert_eq!(found.code, 9, "{}", found.stderr);
    assert!(found.stdout.contains("00000000000000000000.log"), "{}", found.stdout);
    assert!(found.stderr.starts_with("error[E1909]: 1 finding of damage\n"), "{}", found.stderr);
    assert!(!found.stderr.contains("nothing is lost"), "{}", found.stderr);
    assert!(
        found.stdout.contains("\ndamage: ")
            && found.stdout.contains("1 sound record follows from offset 2 on"),
        "{}",
        found.stdout
    );
    let dumped = home.run(&["log", "dump", segment.to_str().unwrap()]);
    assert_eq!(dumped.code, 1);
    assert!(dumped.stderr.starts_with("error[E1103]: "), "{}", dumped.stderr);
    assert_eq!(dumped.stdout.lines().count(), 2, "what is sound is shown: {}", dumped.stdout);
}

#[test]
fn a_directory_in_use_is_left_alone() {
    let home = Home::new();
    let segment = partition(&home).join("00000000000000000000.log");
    let lock = fs::File::create(home.path().join("data").join("LOCK")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    for args in [["log", "ls", "data"], ["log", "verify", "data"], ["log", "dump", segment.to_str().unwrap()]]
    {
        let ran = home.fails(4, &args);
        assert!(ran.stderr.contains("is in use by a broker"), "{}", ran.stderr);
    }
    drop(lock);
    home.ok(&["log", "ls", "data"]);
    let ran = home.fails(1, &["log", "ls", "."]);
    assert!(ran.stderr.contains("neither a data directory nor a partition's"), "{}", ran.stderr);
}

/// The same directory with sealed segments and a producer, some of it compacted, left by a clean stop.
fn compacted(home: &Home) -> PathBuf {
    let dir = home.path().join("data").join(TOPIC_ID).join("0");
    fs::create_dir_all(dir.parent().unwrap()).unwrap();
    let disk = RealDisk::shared();
    let compaction = CompactionConfig::default();
    let config = LogConfig { segment_bytes: 1_000, compaction: Some(compaction), ..LogConfig::default() };
    let (mut log, _) = Log::open(disk.clone(), dir.clone(), config, Known::default(), NOW).unwrap();
    for sequence in 0..60 {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
        let value = (sequence != 7).then_some(&[b'v'; 50][..]);
        let key = format!("key-{}", sequence % 3);
        let _ = builder.push(NOW, Some(key.as_bytes()), value, std::iter::empty()).unwrap();
        let mut bytes = builder.build().unwrap().to_vec();
        bytes[43..51].copy_from_slice(&4711_i64.to_be_bytes());
        bytes[51..53].copy_from_slice(&2_i16.to_be_bytes());
        bytes[53..57].copy_from_slice(&i32::to_be_bytes(sequence));
        let crc = crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        log.append(Batch::parse(bytes.into()).unwrap(), LeaderEpoch::ZERO, NOW).unwrap();
        while let Some(round) = log.take_round() {
            log.round_done(round.perform(disk.as_ref())).unwrap();
        }
    }
    let mut pass = log.plan_compaction(NOW, log.cursors().counted_end(), 1 << 20).unwrap();
    loop {
        match pass.step(CompactionStep { max_bytes: u64::MAX }).unwrap() {
            CompactionProgress::More => {}
            CompactionProgress::Swap(swap) => {
                swap.commit(disk.as_ref()).unwrap();
                assert!(log.apply_swap(&swap));
                swap.finish(disk.as_ref()).unwrap();
            }
            CompactionProgress::Done(compacted) => {
                compacted.persist(disk.as_ref()).unwrap();
                log.apply_compacted(&compacted);
                break;
            }
        }
    }
    log.close().unwrap();
    dir
}

fn json(home: &Home, args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&home.ok(&[args, &["-o", "json"]].concat()).stdout).unwrap()
}

#[test]
fn a_compacted_partition_is_sound_and_its_producers_are_shown() {
    let home = Home::new();
    let dir = compacted(&home);
    let verified = &json(&home, &["log", "verify", "data"])[0];
    assert_eq!(verified["findings"], serde_json::json!([]));
    let stats = &json(&home, &["log", "stats", "data"])[0];
    let (records, missing) = (stats["records"].as_u64().unwrap(), stats["missing_offsets"].as_u64().unwrap());
    assert!(missing > 0 && stats["segments_with_gaps"].as_u64() > Some(0), "{stats}");
    assert_eq!(records + missing, 60, "{stats}");
    let listed = home.ok(&["log", "ls", "data"]);
    assert!(listed.stderr.contains("snapshot: snapshot of producers"), "{}", listed.stderr);
    let (mut batches, mut empty) = (0, 0);
    for segment in json(&home, &["log", "ls", "data"]).as_array().unwrap() {
        let dumped = json(&home, &["log", "dump", segment["path"].as_str().unwrap()]);
        for batch in dumped.as_array().unwrap() {
            assert_eq!(
                (batch["producer_id"].as_u64(), batch["producer_epoch"].as_u64()),
                (Some(4711), Some(2))
            );
            assert_eq!(batch["base_sequence"], batch["base_offset"]);
            assert_eq!(batch["tombstones"].as_u64(), Some(0));
            batches += 1;
            empty += u64::from(batch["record_count"] == 0);
        }
    }
    assert_eq!((stats["batches"].as_u64(), stats["empty_batches"].as_u64()), (Some(batches), Some(empty)));
    let snapshots = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let snapshot = snapshots.filter(|path| path.extension().is_some_and(|s| s == "snapshot")).max().unwrap();
    let producers = json(&home, &["log", "dump", snapshot.to_str().unwrap()]);
    let [producer] = &producers.as_array().unwrap()[..] else { panic!("{producers}") };
    assert_eq!(
        (producer["producer_id"].as_u64(), producer["producer_epoch"].as_u64()),
        (Some(4711), Some(2))
    );
    assert_eq!(producer["batches"].as_array().unwrap().len(), 5);
    let mut bytes = fs::read(&snapshot).unwrap();
    bytes[20] ^= 1;
    fs::write(&snapshot, bytes).unwrap();
    let ran = home.fails(1, &["log", "dump", snapshot.to_str().unwrap()]);
    assert!(ran.stderr.starts_with("error[E1103]: "), "{}", ran.stderr);
    let ran = home.ok(&["log", "verify", "data"]);
    assert!(ran.stderr.contains("the snapshot of producers is damaged; the log is read"), "{}", ran.stderr);
}

#[test]
fn indexes_are_checked_and_written_again() {
    let home = Home::new();
    let dir = compacted(&home);
    home.ok(&["log", "index", "check", "data"]);
    let rows = json(&home, &["log", "index", "check", "data"]);
    let rows = rows.as_array().unwrap();
    assert_eq!(rows[0]["state"], "agree");
    assert_eq!(rows.last().unwrap()["state"], "unused", "it is appended to, and was too small for an index");
    let segment = rows[1]["path"].as_str().unwrap();
    let index = home.path().join(segment).with_extension("timeindex");
    fs::remove_file(&index).unwrap();
    assert_eq!(json(&home, &["log", "index", "check", segment])[0]["state"], "missing");
    let verified = home.ok(&["log", "verify", "data"]);
    assert!(verified.stderr.contains("note: ") && verified.stderr.contains(".timeindex is not there"));
    fs::write(&index, [0; 7]).unwrap();
    let ran = home.run(&["log", "index", "check", "data"]);
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("error[E1909]: 1 finding\n"), "{}", ran.stderr);
    assert!(ran.stdout.contains("doubt: ") && ran.stdout.contains(".timeindex: 7 bytes"), "{}", ran.stdout);
    let ran = home.ok(&["log", "index", "rebuild", segment, "--dry-run"]);
    assert!(ran.stdout.contains("would be written") && ran.stderr.contains("nothing was changed"));
    assert_eq!(fs::read(&index).unwrap(), [0; 7]);
    assert_eq!(json(&home, &["log", "index", "rebuild", "data"])[1]["state"], "written");
    home.ok(&["log", "index", "check", "data"]);
    let ran = home.fails(1, &["log", "index", "check", index.to_str().unwrap()]);
    assert!(ran.stderr.contains("is not a segment"), "{}", ran.stderr);
    // No one else may be there meanwhile.
    let lock = fs::File::create(dir.ancestors().nth(2).unwrap().join("LOCK")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockShared).unwrap();
    home.ok(&["log", "index", "check", "data"]);
    home.fails(4, &["log", "index", "rebuild", "data"]);
}

#[test]
fn the_journal_is_named_and_said_to_be_unreadable() {
    let home = Home::new();
    partition(&home);
    let journal = home.path().join("data").join("journal");
    fs::create_dir(&journal).unwrap();
    fs::write(journal.join("a.journal"), b"no one can read this").unwrap();
    let listed = home.ok(&["log", "ls", "data"]);
    assert!(listed.stderr.contains("a.journal: commit journal"), "{}", listed.stderr);
    let verified = home.ok(&["log", "verify", "data"]);
    assert!(verified.stderr.contains("the commit journal cannot be read"), "{}", verified.stderr);
}
