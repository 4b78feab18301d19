//! A metadata log that is damaged: the broker says what to do, and the repair says first what it would lose.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use support::{Brokerd, logctl, succeed};

const METADATA: &str = "00000000-0000-0000-0000-000000000001";

/// All files below a directory, with their contents.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.path() {
            path if path.is_dir() => found.extend(contents(&path)),
            path => drop(found.insert(path.clone(), fs::read(path).unwrap())),
        }
    }
    found
}

/// Topics with a record each, and what the broker left when it stopped.
fn setup(home: &Path) -> PathBuf {
    let data = home.join("data");
    let broker = Brokerd::start(&data, &[]);
    for topic in ["first", "second", "third"] {
        succeed(broker.logctl(home).args(["topic", "create", topic, "-p", "2"]));
        let value = home.join("value");
        fs::write(&value, format!("of {topic}\n")).unwrap();
        succeed(broker.logctl(home).args(["produce", topic, "-p", "0"]).arg(&value));
    }
    assert!(broker.terminate().success());
    data
}

fn repair(home: &Path, data: &Path, more: &[&str]) -> String {
    let output = succeed(logctl(home).args(["log", "metadata", "repair"]).arg(data).args(more));
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

fn topics(broker: &Brokerd, home: &Path) -> Vec<String> {
    let listed = succeed(broker.logctl(home).args(["topic", "ls", "-o", "name"])).stdout;
    String::from_utf8(listed).unwrap().lines().map(str::to_owned).collect()
}

fn read(broker: &Brokerd, home: &Path, topic: &str) -> String {
    let read = succeed(broker.logctl(home).args(["consume", topic, "--from", "start", "--to", "end"]));
    String::from_utf8(read.stdout).unwrap()
}

#[test]
fn a_record_that_is_lost_takes_a_topics_name_and_nothing_else() {
    let (_dir, home) = support::scratch();
    let data = setup(&home);
    let sound = repair(&home, &data, &[]);
    assert!(sound.contains("is sound"), "{sound}");
    // The name of the second topic, in the record that created it.
    let segment = data.join(METADATA).join("0/00000000000000000000.log");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(6).position(|window| window == b"second").unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();

    let refused = Brokerd::try_start(&data, &[]).err().unwrap();
    assert!(refused.contains("logctl log metadata repair"), "{refused}");
    let before = contents(&data);
    let planned = repair(&home, &data, &[]);
    assert!(planned.contains("dry run") && planned.contains("recovered-"), "{planned}");
    assert_eq!(contents(&data), before, "a dry run changes nothing");

    let running = logctl(&home).args(["log", "metadata", "repair", "--accept-data-loss"]).arg(&data).output();
    assert_eq!(running.unwrap().status.code(), Some(8), "there is no terminal to confirm it on");
    let repaired = repair(&home, &data, &["--accept-data-loss", "--yes"]);
    assert!(repaired.contains("metadata.backup-"), "{repaired}");
    assert!(repair(&home, &data, &[]).contains("is sound"));

    let broker = Brokerd::start(&data, &[]);
    let listed = topics(&broker, &home);
    let [first, recovered, third] = listed.as_slice() else { panic!("{listed:?}") };
    assert!(first == "first" && recovered.starts_with("recovered-") && third == "third", "{listed:?}");
    for (topic, value) in [(first, "of first\n"), (recovered, "of second\n"), (third, "of third\n")] {
        assert_eq!(read(&broker, &home, topic), value);
    }
    // It is led on: in a later epoch, and across another restart.
    let value = home.join("more");
    fs::write(&value, "more\n").unwrap();
    succeed(broker.logctl(&home).args(["produce", recovered, "-p", "0"]).arg(&value));
    broker.kill();
    let broker = Brokerd::start(&data, &[]);
    assert_eq!(read(&broker, &home, recovered), "of second\nmore\n");
}

#[test]
fn without_any_metadata_every_record_is_still_there() {
    let (_dir, home) = support::scratch();
    let data = setup(&home);
    fs::remove_dir_all(data.join(METADATA)).unwrap();
    let refused = Brokerd::try_start(&data, &[]).err().unwrap();
    assert!(refused.contains("logctl log metadata repair"), "{refused}");
    repair(&home, &data, &["--accept-data-loss", "--yes"]);
    let broker = Brokerd::start(&data, &[]);
    let listed = topics(&broker, &home);
    let mut values: Vec<_> = listed.iter().map(|topic| read(&broker, &home, topic)).collect();
    values.sort();
    assert_eq!(values, ["of first\n", "of second\n", "of third\n"], "{listed:?}");
}

#[test]
fn offline_commands_know_topics_by_name() {
    let (_dir, home) = support::scratch();
    let data = setup(&home);
    for command in ["ls", "verify", "stats"] {
        let listed = succeed(logctl(&home).args(["log", command]).arg(&data)).stdout;
        let listed = String::from_utf8(listed).unwrap();
        for name in ["first", "second", "third", "__metadata"] {
            assert!(listed.contains(name), "log {command}: {listed}");
        }
    }
}
