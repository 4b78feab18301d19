//! What an operator sees in the broker's log: who changed what, and more of it for a while.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

mod support;

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use support::{Brokerd, succeed};

/// The log's lines of this event.
fn lines(log: &Path, event: &str) -> Vec<String> {
    let wanted = format!("\"event\":\"{event}\"");
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().filter(|line| line.contains(&wanted)).map(str::to_owned).collect()
}

fn start() -> (tempfile::TempDir, PathBuf, PathBuf, Brokerd) {
    let (dir, home) = support::scratch();
    let log = home.join("log");
    let broker = Brokerd::start_logging_to(&log, &home.join("data"), &[]);
    (dir, home, log, broker)
}

#[test]
fn each_change_is_logged_with_who_made_it() {
    let (_dir, home, log, broker) = start();
    let run = |args: &[&str]| succeed(broker.logctl(&home).args(args));
    run(&["topic", "create", "orders", "-p", "1", "--dry-run"]);
    run(&["topic", "create", "orders", "-p", "1"]);
    run(&["topic", "create", "orders", "-p", "1", "--if-not-exists"]);
    run(&["topic", "set", "orders", "retention.ms=7200000"]);
    run(&["topic", "set", "orders", "retention.ms=7200000"]);
    run(&["topic", "add-partitions", "orders", "--to", "2"]);
    run(&["topic", "delete-records", "orders", "--before", "0", "-p", "0", "--yes"]);
    run(&["group", "reset", "billing", "--topics", "orders", "--to", "start"]);
    run(&["group", "reset", "billing", "--topics", "orders", "--to", "start", "--execute"]);
    run(&["group", "delete", "billing", "--yes"]);
    run(&["topic", "delete", "orders", "--yes"]);
    let lines = lines(&log, "B0501");
    let expected = [
        "\"change\":\"create topic\",\"name\":\"orders\",\"details\":\"1 partitions\"",
        "\"change\":\"alter topic configs\",\"name\":\"orders\",\"details\":\"retention.ms: ",
        "\"change\":\"add partitions\",\"name\":\"orders\",\"details\":\"1 -> 2\"",
        "\"change\":\"delete records\",\"name\":\"orders\"",
        "\"change\":\"set offsets\",\"name\":\"billing\",\"details\":\"2 partitions\"",
        "\"change\":\"delete group\",\"name\":\"billing\",\"details\":\"2 offsets\"",
        "\"change\":\"delete topic\",\"name\":\"orders\"",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "{expected} is not in {line}");
        assert!(line.contains("\"level\":\"INFO\"") && line.contains("\"peer\":\"127.0.0.1:"), "{line}");
        assert!(line.contains("corduroy-client/"), "{line}");
    }
}

#[test]
fn a_log_level_is_set_while_the_broker_runs_and_reverts_by_itself() {
    let (_dir, home, log, broker) = start();
    let set = |args: &[&str]| {
        let mut command = broker.logctl(&home);
        command.args(["broker", "log-level", "1"]).args(args).output().unwrap()
    };
    let filter = |args: &[&str]| {
        let output = set(&[args, &["-o", "json"]].concat());
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(filter(&["corduroy_broker=trace", "--dry-run"]).contains("\"info\""));
    assert!(filter(&["corduroy_broker=debug"]).contains("\"info,corduroy_broker=debug\""));
    assert!(filter(&["h2=warn", "--for", "1ms"]).contains("\"info,corduroy_broker=debug,h2=warn\""));
    while lines(&log, "B0008").is_empty() {
        std::thread::yield_now();
    }
    assert!(filter(&["--reset", "--dry-run"]).contains("\"info,corduroy_broker=debug\""), "h2 has reverted");
    assert!(filter(&["--reset"]).contains("\"info\""));
    assert!(lines(&log, "B0501").iter().all(|line| line.contains("set log level")));
    for wrong in [&["corduroy_broker=loud"][..], &["x=debug", "--for", "90d"]] {
        let output = set(wrong);
        assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn damage_of_the_commit_journal_is_named_until_it_is_accepted() {
    let (_dir, home) = support::scratch();
    let data_dir = home.join("data");
    Brokerd::start(&data_dir, &[]).kill();
    std::fs::remove_file(data_dir.join("journal/a.journal")).unwrap();
    let broker = Brokerd::start(&data_dir, &[]);
    let run = |args: &[&str]| broker.logctl(&home).args(args).output().unwrap();
    let stdout = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let status = run(&["status"]);
    assert_eq!(status.status.code(), Some(9), "{status:?}");
    assert!(stdout(&status).contains("logctl broker accept-journal-damage 1"), "{status:?}");

    let accept = ["broker", "accept-journal-damage", "1"];
    let refused = run(&accept);
    assert_eq!(refused.status.code(), Some(8), "no one can be asked: {refused:?}");
    let tried = run(&[&accept[..], &["--dry-run"]].concat());
    assert!(stdout(&tried).contains("no commit journal"), "{tried:?}");
    assert_eq!(run(&["status"]).status.code(), Some(9), "nothing was accepted yet");

    let accepted = succeed(broker.logctl(&home).args(accept).arg("--yes"));
    assert!(stdout(&accepted).contains("no commit journal"), "{accepted:?}");
    succeed(broker.logctl(&home).arg("status"));
    let again = succeed(broker.logctl(&home).args(accept));
    assert!(String::from_utf8_lossy(&again.stderr).contains("nothing to accept"), "{again:?}");
}
