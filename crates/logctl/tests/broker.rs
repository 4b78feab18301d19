//! The command line against the real engine, in memory.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may stop")]

mod common;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::Child,
};

use common::{Home, Ran, signal};
use corduroy_testing::Broker;
use rustix::process::Signal;

async fn broker() -> (Broker, Home) {
    let broker = Broker::start().await.unwrap();
    let home = Home::at(broker.url());
    (broker, home)
}

fn first_line(child: &mut Child) -> (String, BufReader<std::process::ChildStdout>) {
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    (line, reader)
}

fn ended(child: Child) -> Ran {
    child.wait_with_output().unwrap().into()
}

#[tokio::test]
async fn the_tour_of_one_node() {
    let (broker, home) = broker().await;
    let status = home.ok(&["status"]);
    assert!(status.stdout.starts_with("HEALTHY  1 broker, 0 topics, disk "), "{}", status.stdout);
    let created = home.ok(&["topic", "create", "orders", "-p", "3"]);
    assert_eq!(created.stdout, "created orders  partitions 3  replication 1  retention 7d\n");
    assert_eq!(
        created.stderr,
        "note: replication 1 means this disk holds the only copy (fine for development)\n"
    );
    let produced = home.ok_with(&["produce", "orders", "-f", "%k:%v\\n"], b"alice:1\nbob:2\nalice:3\n");
    assert_eq!(produced.stdout, "");
    assert!(produced.stderr.starts_with("3 records acknowledged in "), "{}", produced.stderr);
    let consumed = home.ok(&["consume", "orders", "--to", "end", "-f", "%k=%v\\n"]);
    let mut lines: Vec<&str> = consumed.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["alice=1", "alice=3", "bob=2"]);
    assert!(consumed.stderr.starts_with("3 records, next offsets 0:"), "{}", consumed.stderr);
    let ran = home.fails(3, &["consume", "ordres"]);
    let url = broker.url();
    assert_eq!(
        ran.stderr,
        format!(
            "error[E1203]: topic \"ordres\" does not exist\n  context: {url} (chosen by LOGCTL_SERVER)\n  \
             did you mean \"orders\"?\n  hint: logctl topic create ordres\n  more: logctl explain E1203\n"
        )
    );
    assert!(broker.stop().await);
}

#[tokio::test]
async fn tables_have_stable_columns() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "orders"]);
    home.ok_with(&["produce", "orders"], b"x\n");
    let cases: [(&[&str], &str); 6] = [
        (&["topic", "ls"], "TOPIC PARTITIONS REPLICATION RECORDS SIZE"),
        (&["topic", "ls", "-o", "wide"], "TOPIC PARTITIONS REPLICATION RECORDS SIZE INTERNAL ID"),
        (&["topic", "describe", "orders"], "PARTITION LEADER EPOCH REPLICAS IN-SYNC START END RECORDS STATE"),
        (&["topic", "describe", "orders", "--configs"], "CONFIG VALUE DEFAULT SOURCE"),
        (&["topic", "describe", "orders", "--storage"], "PARTITION SEGMENTS SIZE LOG-END"),
        (
            &["status", "-o", "wide"],
            "BROKER ADDRESS VERSION STARTED RECOVERY DISK-FREE STORED MEMORY CONNECTIONS",
        ),
    ];
    for (args, expected) in cases {
        let stdout = home.ok(args).stdout;
        let header = stdout.lines().find(|line| line.split_whitespace().eq(expected.split(' ')));
        assert!(header.is_some(), "{args:?}:\n{stdout}");
        assert!(!stdout.contains('\u{1b}'), "no colour without a terminal");
    }
    assert_eq!(home.ok(&["topic", "ls", "-o", "name"]).stdout, "orders\n");
    let listed: serde_json::Value =
        serde_json::from_str(&home.ok(&["topic", "ls", "-o", "json"]).stdout).unwrap();
    assert_eq!(listed[0]["record_count"], 1);
    assert!(home.ok(&["topic", "ls", "--color", "always"]).stdout.contains('\u{1b}'));
}

#[tokio::test]
async fn topics_are_administered() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "a", "b", "c", "--set", "retention.ms=1h", "-q"]);
    let dry = home.ok(&["topic", "create", "d", "--dry-run"]);
    assert!(dry.stdout.starts_with("would create d  "), "{}", dry.stdout);
    assert_eq!(home.ok(&["topic", "ls", "--like", "[ab]", "-o", "name"]).stdout, "a\nb\n");
    home.fails(4, &["topic", "create", "a"]);
    assert!(home.ok(&["topic", "create", "a", "--if-not-exists"]).stdout.starts_with("exists already a  "));
    let partly = home.run(&["topic", "create", "a", "e"]);
    assert_eq!(partly.code, 7, "{}", partly.stderr);
    assert!(
        partly.stdout.starts_with("created e  ") && partly.stderr.contains("error[E1202]: "),
        "{}",
        partly.stderr
    );
    let set = home.ok(&["topic", "set", "a", "retention.ms=7d", "-o", "jsonl"]).stdout;
    assert!(set.contains("\"previous_value\":\"1h\",\"value\":\"7d\""), "{set}");
    home.ok(&["topic", "unset", "a", "retention.ms"]);
    let ran = home.fails(2, &["topic", "set", "a", "retention.mss=7d"]);
    assert!(ran.stderr.contains("did you mean \"retention.ms\"?"), "{}", ran.stderr);
    let ran = home.fails(2, &["topic", "set", "a", "retention.ms=soon"]);
    assert!(ran.stderr.contains("logctl explain retention.ms"), "{}", ran.stderr);
    assert_eq!(home.ok(&["topic", "add-partitions", "a", "--to", "3"]).stdout, "a  partitions 1 -> 3\n");
    home.fails(2, &["topic", "add-partitions", "a", "--to", "2"]);
    home.ok(&["topic", "delete", "a", "b", "--dry-run"]);
    let asked = home.fails(8, &["topic", "delete", "a"]);
    assert!(asked.stderr.contains("error[E1905]") && asked.stderr.contains("--yes"), "{}", asked.stderr);
    assert_eq!(home.ok(&["topic", "delete", "a", "b", "--yes"]).stdout, "deleted a\ndeleted b\n");
    home.fails(3, &["topic", "describe", "a"]);
    home.fails(3, &["topic", "delete", "a", "--yes"]);
}

#[tokio::test]
async fn records_are_deleted_before_a_place() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    home.ok_with(&["produce", "t"], b"a\nb\nc\n");
    home.fails(8, &["topic", "delete-records", "t", "--before", "2"]);
    let dry = home.ok(&["topic", "delete-records", "t", "--before", "2", "--dry-run"]);
    assert!(dry.stderr.contains("dry run"), "{}", dry.stderr);
    home.ok(&["topic", "delete-records", "t", "--before", "2", "--yes"]);
    assert_eq!(home.ok(&["consume", "t", "--to", "end"]).stdout, "c\n");
    let ran = home.fails(3, &["consume", "t", "--from", "0"]);
    assert!(ran.stderr.starts_with("error[E1401]"), "{}", ran.stderr);
}

#[tokio::test]
async fn whatever_lines_hold_comes_back() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    let mut input = b"\n\nplain\r\n\xff\xfe\0\n".to_vec();
    input.extend(vec![b'x'; 1_048_576 - 200]);
    input.extend(b"\n\nlast without a newline");
    home.ok_with(&["produce", "t"], &input);
    let mut output = home.command(&["consume", "t", "--to", "end"]).output().unwrap().stdout;
    input.push(b'\n');
    assert!(output == input, "{} and {} bytes", output.len(), input.len());
    output.clear();
    let limit = home.run_with(&["produce", "t"], &vec![b'x'; 5 << 20]);
    assert_eq!(limit.code, 1);
    assert!(
        limit.stderr.contains("error[E1302]: stdin:1: the record is larger than topic \"t\" takes: 1MiB"),
        "{}",
        limit.stderr
    );
}

#[tokio::test]
async fn hints_lead_on() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    for args in [&["produce", "t"][..], &["produce", "t", "-f", "raw"], &["produce", "t", "-f", "jsonl"]] {
        let line = if args.contains(&"jsonl") {
            format!("{{\"value\":\"{}\"}}\n", "x".repeat(3_000_000))
        } else {
            format!("{}\n", "x".repeat(3_000_000))
        };
        let ran = home.run_with(args, line.as_bytes());
        assert_eq!(ran.code, 1, "{args:?}");
        assert!(ran.stderr.contains("hint: logctl topic set t max.message.bytes=4MiB\n"), "{}", ran.stderr);
    }
    home.ok(&["topic", "set", "t", "max.message.bytes=4MiB"]);
    home.ok_with(&["produce", "t"], format!("{}\n", "x".repeat(3_000_000)).as_bytes());
    let ran = home.run_with(&["produce", "t"], &vec![b'x'; 70 << 20]);
    assert!(ran.stderr.contains("hint: no topic takes records that large"), "{}", ran.stderr);
    let ran = home.run(&["consume", "__grups"]);
    assert!(ran.stderr.contains("logctl topic ls --internal"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("topic create"), "{}", ran.stderr);
    let ran = home.ok(&["topic", "create", "t", "-p", "4", "--if-not-exists"]);
    assert!(ran.stdout.starts_with("exists already t  partitions 1 "), "{}", ran.stdout);
    assert_eq!(
        ran.stderr,
        "warning: t has 1 partition, not 4; to grow it: logctl topic add-partitions t --to 4\n"
    );
    assert_eq!(home.ok(&["topic", "create", "t", "-p", "1", "--if-not-exists"]).stderr, "");
    let ran = home.ok(&["consume", "t", "--from", "@1000000000000", "--to", "end", "-f", "%V\\n"]);
    assert_eq!(ran.stdout, "3000000\n");
}

#[tokio::test]
async fn a_trace_names_each_call_and_has_no_colour_off_a_terminal() {
    let (_broker, home) = broker().await;
    let ran = home.ok(&["topic", "ls", "-vv"]);
    assert!(ran.stderr.contains("answered rpc=\"ListTopics\""), "{}", ran.stderr);
    assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
}

#[tokio::test]
async fn consume_follows_the_growth_of_its_topic() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    home.ok_with(&["produce", "t"], b"0\n");
    let mut child = home.spawn(&["consume", "t", "--from", "end", "-n", "2"]);
    // It follows by the time it says that there is nothing to read.
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.next().unwrap().starts_with("waiting for records in t, at end"));
    home.ok(&["topic", "add-partitions", "t", "--to", "3"]);
    home.ok_with(&["produce", "t", "-p", "2"], b"2\n");
    assert_eq!(said.next().unwrap(), "partitions were added; reading t:1 t:2, too");
    home.ok_with(&["produce", "t", "-p", "1"], b"1\n");
    let ran: Ran = child.wait_with_output().unwrap().into();
    let mut lines: Vec<&str> = ran.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["1", "2"]);
    assert_eq!(said.last().unwrap(), "2 records, next offsets 0:1 1:1 2:1");
    // Chosen partitions stay the chosen ones, and what has an end does not grow.
    assert_eq!(home.ok(&["consume", "t", "-p", "0", "--to", "end"]).stdout, "0\n");
}

#[tokio::test]
async fn binary_survives_framing_and_jsonl() {
    let (_broker, home) = broker().await;
    let values: Vec<Vec<u8>> = (0..=255_u8).map(|byte| vec![byte, b'\n', 0, byte]).collect();
    let framed: Vec<u8> = values.iter().flat_map(|value| [&[0, 0, 0, 4][..], value].concat()).collect();
    let framing = "%V{big32}%v";
    for topic in ["framed", "copied"] {
        home.ok(&["topic", "create", topic]);
    }
    home.ok_with(&["produce", "framed", "-f", framing], &framed);
    let jsonl = home.command(&["consume", "framed", "--to", "end", "-f", "jsonl"]).output().unwrap().stdout;
    assert_eq!(jsonl.iter().filter(|byte| **byte == b'\n').count(), 256);
    home.ok_with(&["produce", "copied", "-f", "jsonl"], &jsonl);
    let copied = home.command(&["consume", "copied", "--to", "end", "-f", framing]).output().unwrap().stdout;
    assert!(copied == framed);
}

#[tokio::test]
async fn every_record_gets_key_headers_and_partition() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t", "-p", "3"]);
    home.ok_with(
        &["produce", "t", "-k", "me", "-H", "a=1", "-H", "b=x=y", "-p", "2", "--tombstone-empty"],
        b"v\n\n",
    );
    let out = home.ok(&["consume", "t", "--to", "end", "-f", "jsonl", "-p", "2"]).stdout;
    let records: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["key"], "me");
    assert_eq!(records[0]["headers"][1]["value"], "x=y");
    assert_eq!(records[1]["value"], serde_json::Value::Null);
    home.fails(3, &["produce", "t", "-p", "7"]);
    home.fails(3, &["consume", "t", "-p", "7", "--to", "end"]);
}

#[tokio::test]
async fn files_and_reports() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    std::fs::write(home.path().join("one"), "1\n2\n").unwrap();
    std::fs::write(home.path().join("two"), "3").unwrap();
    let each = home.ok_with(&["produce", "t", "one", "-", "two", "--report", "each"], b"x\n");
    assert_eq!(each.stdout, "0 0\n0 1\n0 2\n0 3\n");
    assert_eq!(home.ok(&["consume", "t", "--to", "end"]).stdout, "1\n2\nx\n3\n");
    assert_eq!(home.ok(&["produce", "t", "two", "--report", "none"]).stderr, "");
    let json: serde_json::Value =
        serde_json::from_str(&home.ok(&["produce", "t", "one", "-o", "json"]).stdout).unwrap();
    assert_eq!((json["acked"].as_u64(), json["partition_count"].as_u64()), (Some(2), Some(1)));
    home.ok(&["produce", "t", "one", "two", "-f", "raw"]);
    assert_eq!(home.ok(&["consume", "t", "--from", "-2", "--to", "end", "-f", "raw"]).stdout, "1\n2\n3");
    let dry = home.ok(&["produce", "t", "one", "--dry-run"]);
    assert_eq!(dry.stderr, "would send 2 records to t (dry run)\n");
    let missing = home.fails(1, &["produce", "t", "none"]);
    assert!(missing.stderr.starts_with("error[E1904]: cannot open none: "), "{}", missing.stderr);
}

#[tokio::test]
async fn input_that_does_not_match_stops_or_is_skipped() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    let input = b"{\"value\":\"1\"}\nnonsense\n{\"value\":\"2\"}\n";
    let stopped = home.run_with(&["produce", "t", "-f", "jsonl"], input);
    assert_eq!(stopped.code, 1);
    assert!(stopped.stderr.contains("error[E1903]: stdin:2: "), "{}", stopped.stderr);
    assert_eq!(home.ok(&["consume", "t", "--to", "end"]).stdout, "1\n");
    let skipped = home.run_with(&["produce", "t", "-f", "jsonl", "--on-error", "skip"], input);
    assert_eq!(skipped.code, 7, "{}", skipped.stderr);
    assert!(
        skipped.stderr.contains("error[E1903]: stdin:2: ")
            && skipped.stderr.contains("1 of 3 records was left out")
    );
    let error = home.run_with(&["produce", "t", "-f", "jsonl", "--on-error", "skip", "-o", "json"], input);
    assert_eq!(error.error()["details"]["skipped"], 1);
    assert_eq!(home.ok(&["consume", "t", "--to", "end"]).stdout, "1\n1\n2\n1\n2\n");
    let stopped = home.run_with(&["produce", "t", "-f", "%k:%v\\n"], b"a:b\nnocolon\nc:d\n");
    assert_eq!(stopped.code, 1);
    assert!(
        stopped.stderr.contains("error[E1903]: stdin:2: the line ends before \":\""),
        "{}",
        stopped.stderr
    );
    assert_eq!(home.ok(&["consume", "t", "--from", "5", "--to", "end"]).stdout, "b\n");
    let long = [&b"a\n"[..], &vec![b'x'; 3 << 20], b"\nb\n"].concat();
    assert_eq!(home.run_with(&["produce", "t", "--on-error", "skip"], &long).code, 7);
    assert_eq!(home.ok(&["consume", "t", "--from", "-2", "--to", "end"]).stdout, "a\nb\n");
}

#[tokio::test]
async fn records_that_a_broker_refuses_are_kept_for_replay() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "strict"]);
    home.ok(&["topic", "create", "plain", "--set", "message.timestamp.after.max.ms=36500d"]);
    let args = ["produce", "strict", "-f", "%d %v\\n", "-H", "h=1", "--failed", "failed.jsonl"];
    let failed = home.run_with(&args, b"3000000000000 a\n3000000000001 b\n");
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    assert!(
        failed.stderr.contains("error[E1305]: 2 of 2 records were not acknowledged: "),
        "{}",
        failed.stderr
    );
    assert!(failed.stderr.contains("outcome: not-written"), "{}", failed.stderr);
    home.ok(&["produce", "plain", "failed.jsonl", "-f", "jsonl"]);
    let replayed = home.ok(&["consume", "plain", "--to", "end", "-f", "%d %v%h{ %k=%v;}\\n"]).stdout;
    assert_eq!(replayed, "3000000000000 a h=1;\n3000000000001 b h=1;\n");
}

#[tokio::test]
async fn records_are_appended_at_the_expected_offset_only() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t", "-p", "2"]);
    let produce = |offset: &str, more: &[&str], input: &[u8]| {
        home.run_with(&[&["produce", "t", "-p", "1", "--expect-offset", offset], more].concat(), input)
    };
    let there = || home.ok(&["consume", "t", "-p", "1", "--to", "end"]).stdout;
    let first = produce("0", &["--report", "each"], b"a\nb");
    assert_eq!((first.code, first.stdout.as_str()), (0, "1 0\n1 1\n"), "{}", first.stderr);
    let jsonl = produce("2", &["-f", "jsonl"], b"{\"value\":\"c\"}\n{\"value\":\"d\",\"partition\":0}\n");
    assert_eq!(jsonl.code, 0, "{}", jsonl.stderr);
    assert_eq!(there(), "a\nb\nc\nd\n");
    for offset in ["0", "3", "5", "9223372036854775807"] {
        let refused = produce(offset, &[], b"x\ny\n");
        assert_eq!((refused.code, refused.stdout.as_str()), (4, ""), "{}", refused.stderr);
        let mismatch = format!("expected offset {offset}, but the next offset is 4");
        let stderr = refused.stderr;
        assert!(stderr.starts_with("error[E1404]: 2 of 2 records were not acknowledged: "), "{stderr}");
        assert!(stderr.contains(&mismatch) && stderr.contains("outcome: not-written"), "{stderr}");
    }
    let error = produce("3", &["-o", "json", "--on-error", "skip"], b"x\ny\n").error();
    assert_eq!((&error["code"], &error["kind"]), (&"E1404".into(), &"OFFSET_MISMATCH".into()), "{error}");
    let details = &error["details"];
    assert_eq!(details["outcome"], "not-written");
    let counts = ["next_offset", "acked", "unknown", "unsent"].map(|key| details[key].as_u64());
    assert_eq!(counts, [4, 0, 0, 2].map(Some));
    let dry = produce("3", &["--dry-run"], b"x\n");
    assert!(dry.code == 4 && dry.stderr.contains("the next offset is 4"), "{}", dry.stderr);
    assert_eq!(produce("4", &["--dry-run"], b"x\n").code, 0);
    assert_eq!(there(), "a\nb\nc\nd\n");
    let usage = home.fails(2, &["produce", "t", "--expect-offset", "4"]);
    assert!(usage.stderr.contains("--expect-offset needs --partition"), "{}", usage.stderr);
    let usage = home.fails(2, &["produce", "t", "-p", "1", "--expect-offset", "end"]);
    assert!(usage.stderr.contains("an offset is a whole number from 0 to "), "{}", usage.stderr);
}

#[tokio::test]
async fn nothing_is_sent_behind_a_record_that_missed_its_offset() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    let args = ["produce", "t", "-p", "0", "--expect-offset", "0", "--report", "each", "-o", "json"];
    let mut child = home.spawn(&args);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"mine\n").unwrap();
    let (line, _stdout) = first_line(&mut child);
    assert_eq!(line, "{\"partition\":0,\"offset\":0}\n");
    home.ok_with(&["produce", "t"], b"theirs\n");
    // The second of these has a batch of its own, and would be at its right place.
    let large = [b"x".repeat(700 << 10), b"\n".to_vec()].concat();
    stdin.write_all(&large).unwrap();
    // No one reads it any more once the command has ended.
    let _ = stdin.write_all(&large);
    drop(stdin);
    let ran = ended(child);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let details = &ran.error()["details"];
    let counts = ["next_offset", "acked", "unknown", "unsent"].map(|key| details[key].as_u64());
    assert_eq!(counts, [2, 1, 0, 1].map(Some));
    assert_eq!(home.ok(&["consume", "t", "--to", "end"]).stdout, "mine\ntheirs\n");
    // Many batches, one by one.
    let lines: Vec<u8> = (0..300_000).flat_map(|n: u32| format!("{n}\n").into_bytes()).collect();
    home.ok_with(&["produce", "t", "-p", "0", "--expect-offset", "2", "--acks", "one"], &lines);
    let there = home.ok(&["consume", "t", "--from", "2", "--to", "end"]).stdout;
    assert!(there.as_bytes() == lines, "{} and {} bytes", there.len(), lines.len());
}

#[tokio::test]
async fn ranges_and_filters_choose_records() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t", "u"]);
    home.ok_with(&["produce", "t", "-f", "%d %v\\n"], b"1000 a\n2000 b\n3000 c\n4000 d\n");
    home.ok_with(&["produce", "u"], b"z\n");
    let consume = |args: &[&str]| home.ok(&[&["consume", "t", "-q"], args].concat()).stdout;
    assert_eq!(consume(&["--from", "1", "--to", "3"]), "b\nc\n");
    assert_eq!(consume(&["--from", "-1", "--to", "end"]), "d\n");
    assert_eq!(consume(&["--from", "@1970-01-01T00:00:02Z", "--to", "@1970-01-01T00:00:04Z"]), "b\nc\n");
    assert_eq!(consume(&["-n", "2"]), "a\nb\n");
    assert_eq!(consume(&["--grep", "[ad]", "--to", "end"]), "a\nd\n");
    assert_eq!(consume(&["--to", "start"]), "");
    let next = home.ok(&["consume", "t", "-n", "3"]).stderr;
    assert_eq!(next, "3 records, next offsets 0:3\n");
    let both = home.ok(&["consume", "-e", "[tu]", "--to", "end", "-f", "%t%v "]).stdout;
    let mut both: Vec<&str> = both.split_whitespace().collect();
    both.sort_unstable();
    assert_eq!(both, ["ta", "tb", "tc", "td", "uz"]);
    home.fails(3, &["consume", "-e", "none.*"]);
}

#[tokio::test]
async fn an_interrupted_consume_says_where_to_go_on() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    home.ok_with(&["produce", "t"], b"one\n");
    for (sent, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 143)] {
        let mut child = home.spawn(&["consume", "t"]);
        // The record arrives although more may come: stdout is flushed when nothing is at hand.
        let (line, _stdout) = first_line(&mut child);
        assert_eq!(line, "one\n");
        // Supervisors send a signal twice within moments, and mean it once.
        signal(&child, sent);
        signal(&child, sent);
        let ran = ended(child);
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert_eq!(ran.stderr, "1 record, 4 B, next offsets 0:1\n");
    }
}

#[tokio::test]
async fn an_interrupted_produce_says_what_became_of_the_records() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    let mut child = home.spawn(&["produce", "t", "--report", "each"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    // A line leaves at once, although the input goes on.
    let (line, _stdout) = first_line(&mut child);
    assert_eq!(line, "0 0\n");
    signal(&child, Signal::INT);
    let ran = ended(child);
    assert_eq!(ran.code, 130);
    assert_eq!(ran.stderr, "interrupted: 1 record acknowledged, 0 unknown, 0 unsent\n");
    drop(stdin);
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    let lines: Vec<u8> = (0..200_000).flat_map(|n: u32| format!("{n}\n").into_bytes()).collect();
    home.ok_with(&["produce", "t"], &lines);
    let mut child = home.spawn(&["consume", "t", "--to", "end"]);
    let (line, stdout) = first_line(&mut child);
    assert_eq!(line, "0\n");
    drop(stdout);
    let ran = ended(child);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

#[tokio::test]
async fn a_reader_that_goes_away_is_noticed_on_a_quiet_topic() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    home.ok_with(&["produce", "t"], b"one\ntwo\n");
    let mut child = home.spawn(&["consume", "t"]);
    let (line, stdout) = first_line(&mut child);
    assert_eq!(line, "one\n");
    drop(stdout);
    let ran = ended(child);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

#[tokio::test]
async fn scripts_hear_of_a_signal_and_of_how_far_it_came() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    let mut child = home.spawn(&["produce", "t", "--report", "each", "-o", "json"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    let (_, _stdout) = first_line(&mut child);
    signal(&child, Signal::INT);
    let ran = ended(child);
    assert_eq!((ran.code, ran.error()["kind"].as_str()), (130, Some("INTERRUPTED")));
    assert_eq!(ran.error()["details"]["acked"], 1);
    drop(stdin);
    let mut child = home.spawn(&["consume", "t", "-o", "json"]);
    let (_, _stdout) = first_line(&mut child);
    signal(&child, Signal::TERM);
    let ran = ended(child);
    assert_eq!((ran.code, ran.error()["kind"].as_str()), (143, Some("INTERRUPTED")));
    assert_eq!(ran.error()["details"]["next_offsets"]["t"]["0"], 1);
}

#[tokio::test]
async fn a_failure_leaves_stdout_empty_for_scripts() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    for (on_error, code, acked) in [("stop", 1, 1), ("skip", 7, 2)] {
        let args = ["produce", "t", "-f", "kv", "-o", "json", "--on-error", on_error];
        let ran = home.run_with(&args, b"a\tb\nnonsense\nc\td\n");
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{}", ran.stderr);
        assert_eq!(ran.error()["details"]["acked"], acked);
    }
}

#[tokio::test]
async fn values_too_large_to_send_are_kept_for_replay() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    home.ok(&["topic", "create", "wide", "--set", "max.message.bytes=8MiB"]);
    // One that the producer refuses, and one that is refused before it is read to its end.
    let (long, longer) = (vec![b'x'; 1 << 20], vec![b'\xff'; 3 << 20]);
    let input = [&b"a\n"[..], &long, b"\n", &longer, b"\nb\n"].concat();
    let args = ["produce", "t", "-k", "key", "--on-error", "skip", "--failed", "failed.jsonl"];
    let ran = home.run_with(&args, &input);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    assert!(ran.stderr.contains("stdin:2: ") && ran.stderr.contains("stdin:3: "), "{}", ran.stderr);
    assert_eq!(home.ok(&["consume", "t", "--to", "end"]).stdout, "a\nb\n");
    home.ok(&["produce", "wide", "failed.jsonl", "-f", "jsonl"]);
    let replayed = home.ok(&["consume", "wide", "--to", "end", "-f", "%k %V\\n"]).stdout;
    assert_eq!(replayed, "key 1048576\nkey 3145728\n");
}

#[tokio::test]
async fn sizes_are_those_of_the_batch_as_it_is_sent() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    let large = vec![b'a'; 2_000_000];
    let noise: Vec<u8> = (0_u32..500_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        for extra in [&[][..], &["--dry-run"]] {
            home.ok_with(&[&["produce", "t", "-f", "raw", "-z", codec], extra].concat(), &large);
            let ran = home.run_with(&[&["produce", "t", "-f", "raw", "-z", codec], extra].concat(), &noise);
            assert_eq!(ran.code, 1, "{codec} {extra:?}: {}", ran.stderr);
            assert!(ran.stderr.contains("E1302") && ran.stderr.contains(codec), "{}", ran.stderr);
        }
        let plain = home.run_with(&["produce", "t", "-f", "raw"], &large);
        assert!(plain.stderr.contains("E1302") && plain.stderr.contains("1MiB"), "{}", plain.stderr);
    }
    assert_eq!(home.ok(&["consume", "t", "--to", "end", "-f", "%V\\n"]).stdout, "2000000\n".repeat(4));
}

#[tokio::test]
async fn an_offset_beyond_the_end_is_an_error_with_an_end_too() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    home.ok_with(&["produce", "t"], b"a\nb\nc\n");
    let ran = home.fails(3, &["consume", "t", "--from", "50", "--to", "end"]);
    assert!(
        ran.stderr.starts_with("error[E1401]: t/0: offset 50 lies beyond the end, which is offset 3 there"),
        "{}",
        ran.stderr
    );
    assert_eq!(home.ok(&["consume", "t", "--from", "3", "--to", "end"]).stdout, "");
}

#[tokio::test]
async fn a_dry_run_is_marked_for_scripts_and_changes_nothing() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t", "-p", "2"]);
    home.ok_with(&["produce", "t"], b"x\n");
    let changes: [&[&str]; 6] = [
        &["topic", "create", "u"],
        &["topic", "set", "t", "retention.ms=1h"],
        &["topic", "add-partitions", "t", "--to", "3"],
        &["topic", "delete-records", "t", "--before", "end"],
        &["produce", "t", "/dev/null"],
        &["topic", "delete", "t"],
    ];
    for args in changes {
        let dry = home.ok(&[args, &["--dry-run", "-o", "json"]].concat()).stdout;
        let dry: serde_json::Value = serde_json::from_str(&dry).unwrap();
        let first = if dry.is_array() { &dry[0] } else { &dry };
        assert_eq!(first["dry_run"], true, "{args:?}: {dry}");
        let done = home.ok(&[args, &["--yes", "-o", "json"]].concat()).stdout;
        assert!(!done.contains("dry_run"), "{args:?}: {done}");
    }
}

#[tokio::test]
async fn one_is_one() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    let same = home.ok(&["topic", "add-partitions", "t", "--to", "1"]);
    assert_eq!(same.stderr, "nothing to do: t has as many already\n");
    let ran = home.fails(3, &["produce", "t", "-p", "7"]);
    assert!(ran.stderr.contains("topic \"t\" has 1 partition, counted from 0"), "{}", ran.stderr);
    let dry = home.ok_with(&["produce", "t", "--dry-run"], b"x\n");
    assert_eq!(dry.stderr, "would send 1 record to t (dry run)\n");
    let refused = home.run_with(&["produce", "t", "-f", "%d %v\\n"], b"3000000000000 a\n");
    assert!(refused.stderr.contains("1 of 1 record was not acknowledged"), "{}", refused.stderr);
}

#[tokio::test]
async fn a_shell_completes_topics_with_the_script() {
    let (broker, home) = broker().await;
    home.ok(&["topic", "create", "orders", "audit"]);
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_logctl")).parent().unwrap();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display());
    // What bash does for a person who presses the tab key behind the blank.
    let script = "source <(logctl completions bash)\n\
        spec=$(complete -p logctl); function=${spec#* -F }; function=${function%% *}\n\
        COMP_WORDS=(logctl topic describe ''); COMP_CWORD=3; COMP_TYPE=9\n\
        COMP_LINE='logctl topic describe '; COMP_POINT=${#COMP_LINE}\n\
        $function logctl '' describe; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = std::process::Command::new("bash")
        .args(["--norc", "-c", script])
        .env_clear()
        .env("HOME", home.path())
        .env("LOGCTL_SERVER", broker.url())
        .env("PATH", path)
        .output()
        .unwrap();
    let offered = String::from_utf8_lossy(&output.stdout);
    let offered: Vec<&str> = offered.lines().map(str::trim).collect();
    assert!(
        offered.contains(&"orders") && offered.contains(&"audit"),
        "{offered:?} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn a_reader_that_never_reads_cannot_hold_an_interrupted_consume() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    home.ok_with(&["produce", "t"], &b"0123456789012345678901234567890123456789\n".repeat(100_000));
    let mut child = home.spawn(&["consume", "t", "--to", "end"]);
    let (_, stdout) = first_line(&mut child);
    signal(&child, Signal::TERM);
    let code = child.wait().unwrap().code();
    assert_eq!(code, Some(143));
    drop(stdout);
}

#[tokio::test]
async fn an_empty_topic_is_waited_for_with_one_note() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    let mut child = home.spawn(&["consume", "t"]);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut note = String::new();
    stderr.read_line(&mut note).unwrap();
    assert_eq!(note, "waiting for records in t, at end; --to end stops there\n");
    home.ok_with(&["produce", "t"], b"x\n");
    let (line, _stdout) = first_line(&mut child);
    assert_eq!(line, "x\n");
    signal(&child, Signal::INT);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "1 record, 2 B, next offsets 0:1\n");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[tokio::test]
async fn a_watch_repeats_until_it_is_interrupted() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    let mut child = home.spawn(&["topic", "ls", "--watch=100ms", "-o", "name"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..3 {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "t\n");
    }
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[tokio::test]
async fn a_lost_connection_is_reported_once_and_reading_goes_on() {
    let (mut broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    home.ok_with(&["produce", "t"], b"one\n");
    let mut child = home.spawn(&["consume", "t"]);
    let (line, _stdout) = first_line(&mut child);
    assert_eq!(line, "one\n");
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    broker.restart().await.unwrap();
    let mut lost = String::new();
    stderr.read_line(&mut lost).unwrap();
    assert!(
        lost.starts_with("connection to http://127.0.0.1:") && lost.ends_with("; reconnecting\n"),
        "{lost}"
    );
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[tokio::test]
async fn topics_are_completed_and_remembered() {
    let (broker, home) = broker().await;
    home.ok(&["topic", "create", "orders"]);
    let complete = || {
        let output = home
            .command(&["--", "logctl", "consume", "or"])
            .envs([
                ("LOGCTL_COMPLETE", "bash"),
                ("_CLAP_COMPLETE_INDEX", "2"),
                ("_CLAP_COMPLETE_COMP_TYPE", "9"),
            ])
            .env("_CLAP_COMPLETE_SPACE", "true")
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(complete().contains("orders"));
    broker.stop().await;
    assert!(complete().contains("orders"), "from the cache");
}

/// Listens on a free port and passes connections on to `address` as long as someone answers there.
fn forward(address: &str) -> String {
    use std::net::{Shutdown, TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let address = address.to_owned();
    std::thread::spawn(move || {
        for inbound in listener.incoming().flatten() {
            let Ok(outbound) = TcpStream::connect(&address) else { continue };
            let ways = [(inbound.try_clone().unwrap(), outbound.try_clone().unwrap()), (outbound, inbound)];
            for (mut from, mut to) in ways {
                std::thread::spawn(move || {
                    let _ended = std::io::copy(&mut from, &mut to);
                    let (_gone, _too) = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                });
            }
        }
    });
    url
}

#[tokio::test]
async fn a_broker_that_goes_away_leaves_a_known_outcome() {
    let (broker, home) = broker().await;
    home.ok(&["topic", "create", "t"]);
    // Through a port that stays this test's own: once the broker is gone, another test's might be found on its port.
    let front = forward(broker.url().trim_start_matches("http://"));
    let mut args = vec!["--server", &front, "produce", "t", "--report", "each", "--timeout", "2s"];
    args.extend(["--failed", "failed.jsonl", "-o", "json"]);
    let mut child = home.spawn(&args);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    let (line, _stdout) = first_line(&mut child);
    assert_eq!(line, "{\"partition\":0,\"offset\":0}\n");
    broker.stop().await;
    stdin.write_all(b"two\n").unwrap();
    drop(stdin);
    let ran = ended(child);
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    let error = ran.error();
    let details = &error["details"];
    assert_eq!((details["acked"].as_u64(), details["outcome"].is_string()), (Some(1), true), "{error}");
    let failed = std::fs::read_to_string(home.path().join("failed.jsonl")).unwrap();
    assert!(failed.contains("\"value\":\"two\""), "{failed}");
}
