//! `logctl log ..` on a real directory.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may stop")]

mod common;

use std::{fs, path::PathBuf};

use common::Home;
use corduroy_batch::{Batch, BatchBuilder, Compression};
use corduroy_log::{Known, Log, LogConfig, RealDisk};
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
    assert!(listed.starts_with("TOPIC-ID"), "{listed}");
    assert!(listed.contains(TOPIC_ID) && listed.contains("00000000000000000000"), "{listed}");
    let header: Vec<&str> = listed.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["TOPIC-ID", "PARTITION", "SEGMENT", "SIZE", "INDEX"]);
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
