//! Looking after groups, against the real engine, in memory.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may stop")]

mod common;

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
};

use common::{Home, Ran, signal};
use corduroy_broker::config::{BrokerConfig, Watermark};
use corduroy_client::{Offset, OffsetToCommit, PartitionIndex};
use corduroy_log::Disk as _;
use corduroy_testing::Broker;
use rustix::process::Signal;
use serde_json::{Value, json};

/// A broker with topic `orders` of two partitions, ten records in the first and none in the second.
async fn broker() -> (Broker, Home) {
    broker_with(|_| ()).await
}

/// The same with a configuration that was changed before.
async fn broker_with(change: impl FnOnce(&mut BrokerConfig)) -> (Broker, Home) {
    let broker = Broker::start_with(change).await.unwrap();
    let home = Home::at(broker.url());
    home.ok(&["topic", "create", "orders", "-p", "2", "-q"]);
    home.ok_with(&["produce", "orders", "-p", "0", "-q"], b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    (broker, home)
}

async fn commit(broker: &Broker, group: &str, offsets: &[(u32, u64)]) {
    let offsets = offsets.iter().map(|(partition, offset)| {
        OffsetToCommit::new("orders", PartitionIndex(*partition), Offset::new(*offset).unwrap())
    });
    for result in broker.client().admin().commit_offsets(group, offsets).await.unwrap() {
        result.unwrap();
    }
}

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Partition to offset, as `describe` has it.
fn committed(home: &Home, group: &str) -> Vec<(u64, Option<u64>)> {
    let described = json_of(&home.ok(&["group", "describe", group, "-o", "json"]));
    let offsets = described[0]["offsets"].as_array().unwrap();
    offsets.iter().map(|row| (row["partition"].as_u64().unwrap(), row["committed"].as_u64())).collect()
}

#[tokio::test]
async fn tables_have_stable_columns() {
    let (broker, home) = broker().await;
    commit(&broker, "billing", &[(0, 4)]).await;
    let reset = ["group", "reset", "billing", "--topics", "orders", "--to", "start"];
    let cases: [(&[&str], &str); 6] = [
        (&["group", "ls"], "GROUP STATE MEMBERS TOPICS LAG LAG-TIME LOST"),
        (&["group", "lag", "billing"], "TOPIC PARTITION COMMITTED END LAG LAG-TIME LOST OWNER"),
        (
            &["group", "lag", "billing", "-o", "wide"],
            "TOPIC PARTITION COMMITTED END LAG LAG-TIME LOST OWNER STATE",
        ),
        (&["group", "describe", "billing"], "TOPIC PARTITION COMMITTED START END LAG STATE OWNER"),
        (
            &["group", "describe", "billing", "--offsets", "-o", "wide"],
            "TOPIC PARTITION COMMITTED START END LAG STATE OWNER EPOCH COMMITTED-AT METADATA",
        ),
        (&reset, "TOPIC PARTITION COMMITTED NEW CHANGE START END NOTE"),
    ];
    for (args, expected) in cases {
        let stdout = home.ok(args).stdout;
        let header = stdout.lines().find(|line| line.split_whitespace().eq(expected.split(' ')));
        assert!(header.is_some(), "{args:?}:\n{stdout}");
    }
    assert_eq!(home.ok(&["group", "ls", "-o", "name"]).stdout, "billing\n");
    let listed = json_of(&home.ok(&["group", "ls", "-o", "json"]));
    assert_eq!((&listed[0]["lag_records"], &listed[0]["state"]), (&json!(6), &json!("empty")));
}

#[tokio::test]
async fn lists_are_filtered_and_lead_on() {
    let (broker, home) = broker().await;
    let none = home.ok(&["group", "ls"]);
    assert!(none.stderr.starts_with("no groups; "), "{}", none.stderr);
    commit(&broker, "billing", &[(0, 4)]).await;
    commit(&broker, "audit", &[(0, 10)]).await;
    assert_eq!(home.ok(&["group", "ls", "--lag-over", "5", "-o", "name"]).stdout, "billing\n");
    assert_eq!(home.ok(&["group", "ls", "--lag-over", "6", "-o", "name"]).stdout, "");
    assert_eq!(home.ok(&["group", "ls", "--state", "empty", "-o", "name"]).stdout, "audit\nbilling\n");
    assert_eq!(home.ok(&["group", "ls", "--state", "stable", "-o", "name"]).stdout, "");
    let all = home.ok(&["group", "ls"]);
    assert_eq!(all.stderr, "details: logctl group lag billing\n");
    let status = home.ok(&["status"]);
    assert!(status.stdout.contains("  worst lag: group billing, 6 records, "), "{}", status.stdout);
    let status = json_of(&home.ok(&["status", "-o", "json"]));
    assert_eq!(status["worst_lag"]["group"], "billing");
    for command in ["lag", "describe", "export"] {
        let ran = home.fails(3, &["group", command, "biling"]);
        assert!(ran.stderr.starts_with("error[E1701]: "), "{}", ran.stderr);
        assert!(ran.stderr.contains("did you mean \"billing\"?"), "{}", ran.stderr);
        assert!(ran.stderr.contains("hint: logctl group ls"), "{}", ran.stderr);
    }
    let partly = home.run(&["group", "describe", "billing", "missing"]);
    assert_eq!(partly.code, 7, "{}", partly.stderr);
    assert!(partly.stdout.starts_with("billing  empty  members 0  "), "{}", partly.stdout);
}

#[tokio::test]
async fn lag_is_shown_and_waited_for() {
    let (broker, home) = broker().await;
    commit(&broker, "billing", &[(0, 7), (1, 0)]).await;
    let rows = json_of(&home.ok(&["group", "lag", "billing", "-o", "json"]));
    assert_eq!((&rows[0]["committed"], &rows[0]["high_watermark"]), (&json!(7), &json!(10)));
    assert_eq!((&rows[0]["lag_records"], &rows[1]["lag_records"]), (&json!(3), &json!(0)));
    assert!(rows[0]["lag_ms"].is_u64() && rows[0]["owner"].is_null(), "{rows}");
    let late = home.fails(6, &["group", "lag", "billing", "--wait-for", "caught-up", "--timeout", "300ms"]);
    assert!(
        late.stderr.contains("was not caught up within 300 ms: 3 records behind in 1 partition"),
        "{}",
        late.stderr
    );
    // It comes true while someone waits.
    let waiting = home.spawn(&["group", "lag", "billing", "--wait-for", "caught-up", "--timeout", "60s"]);
    commit(&broker, "billing", &[(0, 10)]).await;
    let ran: Ran = waiting.wait_with_output().unwrap().into();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "billing has caught up\n"));
    // Its first member may just be starting.
    let waiting = home.spawn(&["group", "lag", "audit", "--wait-for", "caught-up", "--timeout", "60s"]);
    commit(&broker, "audit", &[(0, 10)]).await;
    let ran: Ran = waiting.wait_with_output().unwrap().into();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    home.fails(3, &["group", "lag", "biling", "--wait-for", "caught-up", "--timeout", "300ms"]);
    let both = home.fails(2, &["group", "lag", "billing", "--wait-for", "caught-up", "--watch"]);
    assert!(both.stderr.contains("--watch"), "{}", both.stderr);
}

#[tokio::test]
async fn lost_positions_are_marked() {
    let (broker, home) = broker().await;
    commit(&broker, "billing", &[(0, 2)]).await;
    home.ok(&["topic", "delete-records", "orders", "-p", "0", "--before", "5", "--yes"]);
    let lag = home.ok(&["group", "lag", "billing"]);
    assert!(
        lag.stderr.contains("lost 3 offsets")
            && lag.stderr.contains("logctl group reset billing --topics orders:0 --to start"),
        "{}",
        lag.stderr
    );
    let described = home.ok(&["group", "describe", "billing"]);
    assert!(described.stdout.contains("position lost: 3 offsets gone"), "{}", described.stdout);
    let listed = json_of(&home.ok(&["group", "ls", "-o", "json"]));
    assert_eq!((&listed[0]["lost_partition_count"], &listed[0]["lag_records"]), (&json!(1), &json!(5)));
    // What the hint says puts it right.
    home.ok(&["group", "reset", "billing", "--topics", "orders:0", "--to", "start", "--execute"]);
    assert_eq!(committed(&home, "billing"), [(0, Some(5))]);
    assert!(!home.ok(&["group", "describe", "billing"]).stdout.contains("position lost"));
}

/// Offset and note of partition 0 in a plan.
fn planned(home: &Home, to: &str) -> (u64, Option<i64>, String) {
    let args = ["group", "reset", "billing", "--topics", "orders:0", "--to", to, "-o", "json"];
    let rows = json_of(&home.ok(&args));
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["dry_run"]), (1, &json!(true)), "{rows}");
    let row = &rows[0];
    let note = row["note"].as_str().unwrap_or_default().to_owned();
    (row["offset"].as_u64().unwrap(), row["change"].as_i64(), note)
}

#[tokio::test]
async fn a_reset_is_a_plan_until_it_is_executed() {
    let (broker, home) = broker().await;
    home.ok(&["topic", "delete-records", "orders", "-p", "0", "--before", "1", "--yes"]);
    commit(&broker, "billing", &[(0, 4)]).await;
    let plain = |offset, change| (offset, Some(change), String::new());
    assert_eq!(planned(&home, "start"), plain(1, -3));
    assert_eq!(planned(&home, "end"), plain(10, 6));
    assert_eq!(planned(&home, "7"), plain(7, 3));
    assert_eq!(planned(&home, "+2"), plain(6, 2));
    assert_eq!(planned(&home, "-2"), plain(2, -2));
    assert_eq!(planned(&home, "@-1h"), plain(1, -3));
    assert_eq!(planned(&home, "@2999-01-01T00:00Z"), plain(10, 6));
    let moved = |offset, change, note: &str| (offset, Some(change), note.to_owned());
    assert_eq!(planned(&home, "+7"), moved(10, 6, "moved to the end: 11 lies behind it"));
    assert_eq!(planned(&home, "-4"), moved(1, -3, "moved to the start: 0 lies before it"));
    assert_eq!(planned(&home, "-5"), moved(1, -3, "moved to the start: no offset lies so far back"));
    assert_eq!(planned(&home, "99"), moved(10, 6, "moved to the end: 99 lies behind it"));
    assert_eq!(committed(&home, "billing"), [(0, Some(4))], "a plan changes nothing");

    let reset = ["group", "reset", "billing", "--topics", "orders", "--to", "end"];
    let plan = home.ok(&reset);
    assert!(
        plan.stderr.ends_with(
            "nothing was changed; to apply the plan: logctl group reset billing --topics orders --to end --execute\n"
        ),
        "{}",
        plan.stderr
    );
    let done = home.ok(&[&reset[..], &["--execute"]].concat());
    assert!(done.stderr.starts_with("2 offsets committed\n"), "{}", done.stderr);
    assert_eq!(committed(&home, "billing"), [(0, Some(10)), (1, Some(0))]);
    let both = home.fails(2, &[&reset[..], &["--execute", "--dry-run"]].concat());
    assert!(both.stderr.contains("--dry-run"), "{}", both.stderr);
}

#[tokio::test]
async fn a_reset_names_partitions_that_exist() {
    let (broker, home) = broker().await;
    commit(&broker, "billing", &[(0, 4)]).await;
    let reset = |topics: &str, to: &str, code| {
        home.fails(code, &["group", "reset", "billing", "--topics", topics, "--to", to])
    };
    let ran = reset("ordres", "start", 3);
    assert!(ran.stderr.contains("did you mean \"orders\"?"), "{}", ran.stderr);
    assert!(
        reset("orders:2", "start", 3).stderr.starts_with("error[E1204]: topic \"orders\" has no partition 2")
    );
    assert!(reset("orders", "first", 2).stderr.contains("group:OTHER"));
    assert!(reset("orders:1", "+1", 2).stderr.contains("has none there"));
    let ran = home.fails(2, &["group", "reset", "billing", "--to", "start"]);
    assert!(ran.stderr.contains("--to start needs --topics"), "{}", ran.stderr);
    // Where something is committed, it is done; where nothing is, it says so.
    let ran = home.ok(&["group", "reset", "billing", "--topics", "orders", "--to", "+1", "-o", "name"]);
    assert_eq!(ran.stdout, "orders:0\n");
    assert!(ran.stderr.contains("nothing can be counted from, in orders:1"), "{}", ran.stderr);
}

#[tokio::test]
async fn groups_are_copied_by_name_and_by_file() {
    let (broker, home) = broker().await;
    let offset = OffsetToCommit::new("orders", PartitionIndex(0), Offset::new(4).unwrap())
        .leader_epoch(corduroy_client::LeaderEpoch::new(0))
        .metadata("a \"note\"\n");
    let other = OffsetToCommit::new("orders", PartitionIndex(1), Offset::ZERO);
    for result in broker.client().admin().commit_offsets("billing", [offset, other]).await.unwrap() {
        result.unwrap();
    }
    let exported = home.ok(&["group", "export", "billing"]);
    assert_eq!(
        exported.stdout,
        "{\"topic\":\"orders\",\"partition\":0,\"offset\":4,\"leader_epoch\":0,\"metadata\":\"a \\\"note\\\"\\n\"}\n\
         {\"topic\":\"orders\",\"partition\":1,\"offset\":0,\"leader_epoch\":null,\"metadata\":\"\"}\n"
    );
    std::fs::write(home.path().join("billing.jsonl"), &exported.stdout).unwrap();

    let made = home.ok(&["group", "reset", "second", "--to", "group:billing", "--execute"]);
    assert!(made.stderr.contains("note: group \"second\" does not exist yet"), "{}", made.stderr);
    assert_eq!(home.ok(&["group", "export", "second"]).stdout, exported.stdout);
    home.ok(&["group", "reset", "third", "--topics", "orders:1", "--to", "file:billing.jsonl", "--execute"]);
    assert_eq!(committed(&home, "third"), [(1, Some(0))]);
    home.fails(3, &["group", "reset", "fourth", "--to", "group:missing"]);

    let dry = home.ok(&["group", "import", "fifth", "billing.jsonl", "--dry-run"]);
    assert!(dry.stderr.contains("dry run: nothing was changed"), "{}", dry.stderr);
    home.fails(3, &["group", "describe", "fifth"]);
    home.ok(&["group", "import", "fifth", "billing.jsonl"]);
    assert_eq!(home.ok(&["group", "export", "fifth"]).stdout, exported.stdout);
    home.ok_with(&["group", "import", "sixth", "-"], exported.stdout.as_bytes());
    assert_eq!(home.ok(&["group", "export", "sixth"]).stdout, exported.stdout);
}

#[tokio::test]
async fn an_import_checks_everything_before_it_commits_anything() {
    let (_broker, home) = broker().await;
    let good = "{\"topic\":\"orders\",\"partition\":0,\"offset\":4}\n";
    for (code, bad, expected) in [
        (1, "nonsense", "error[E1903]: stdin:2: "),
        (
            1,
            "{\"topic\":\"orders\",\"partition\":0,\"offset\":5}",
            "stdin:2: orders:0 stands in line 1 already",
        ),
        (3, "{\"topic\":\"ordres\",\"partition\":0,\"offset\":5}", "error[E1203]: stdin:2: "),
        (3, "{\"topic\":\"orders\",\"partition\":7,\"offset\":5}", "error[E1204]: stdin:2: "),
    ] {
        let ran = home.run_with(&["group", "import", "billing", "-"], format!("{good}{bad}\n").as_bytes());
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
    home.fails(3, &["group", "describe", "billing"]);
    for dry_run in [&[][..], &["--dry-run"]] {
        let far = home.run_with(
            &[&["group", "import", "billing", "-"], dry_run].concat(),
            b"\n{\"topic\":\"orders\",\"partition\":0,\"offset\":11}\n",
        );
        assert_eq!(far.code, 1, "{}", far.stderr);
        let expected = "stdin:2: offset 11 lies beyond the end of orders:0, which is 10";
        assert!(far.stderr.contains(expected), "{}", far.stderr);
    }
    home.ok_with(
        &["group", "import", "billing", "-"],
        b"{\"topic\":\"orders\",\"partition\":0,\"offset\":10}\n",
    );
    home.fails(1, &["group", "import", "billing", "none.jsonl"]);
}

#[tokio::test]
async fn a_position_beyond_the_end_is_shown_as_one() {
    let (broker, home) = broker().await;
    commit(&broker, "billing", &[(0, 15), (1, 0)]).await;
    let lag = home.ok(&["group", "lag", "billing"]);
    assert!(lag.stdout.contains("5 beyond the end"), "{}", lag.stdout);
    assert!(lag.stderr.contains("logctl group reset billing --topics orders:0 --to end"), "{}", lag.stderr);
    let rows = json_of(&home.ok(&["group", "lag", "billing", "-o", "json"]));
    assert_eq!((&rows[0]["lag_records"], &rows[0]["beyond_end_count"]), (&Value::Null, &json!(5)));
    assert_eq!((&rows[1]["lag_records"], &rows[1]["beyond_end_count"]), (&json!(0), &json!(0)));
    let described = home.ok(&["group", "describe", "billing"]);
    assert!(described.stdout.contains("position beyond the end by 5"), "{}", described.stdout);
    let late = home.fails(6, &["group", "lag", "billing", "--wait-for", "caught-up", "--timeout", "300ms"]);
    assert!(late.stderr.contains("beyond the end in 1 partition"), "{}", late.stderr);
}

#[tokio::test]
async fn a_topic_names_the_groups_that_read_it() {
    let (broker, home) = broker().await;
    home.ok(&["topic", "create", "other", "-q"]);
    commit(&broker, "billing", &[(0, 4), (1, 0)]).await;
    commit(&broker, "audit", &[(0, 10)]).await;
    let columns = "GROUP STATE MEMBERS PARTITIONS LAG LAG-TIME LOST";
    let table = home.ok(&["topic", "describe", "orders", "--groups"]).stdout;
    assert!(table.lines().any(|line| line.split_whitespace().eq(columns.split(' '))), "{table}");
    let described = json_of(&home.ok(&["topic", "describe", "orders", "other", "--groups", "-o", "json"]));
    let groups = described[0]["groups"].as_array().unwrap();
    let names: Vec<_> = groups.iter().map(|row| (&row["group"], &row["lag_records"])).collect();
    assert_eq!(names, [(&json!("audit"), &json!(0)), (&json!("billing"), &json!(6))]);
    assert_eq!(described[1]["groups"], json!([]));
    let none = home.ok(&["topic", "describe", "other", "--groups"]);
    assert!(none.stderr.contains("no group reads other"), "{}", none.stderr);
}

#[tokio::test]
async fn a_topic_names_the_producers_that_it_remembers() {
    let (_broker, home) = broker().await;
    home.ok_with(&["produce", "orders", "-p", "1", "-q"], b"a\nb\n");
    home.ok_with(&["produce", "orders", "-p", "1", "-q", "--acks", "one"], b"c\n");
    let columns = "PARTITION PRODUCER EPOCH LAST-SEQUENCE LAST-OFFSET LAST-WRITTEN";
    let table = home.ok(&["topic", "describe", "orders", "--producers"]).stdout;
    assert!(table.lines().any(|line| line.split_whitespace().eq(columns.split(' '))), "{table}");
    let described = json_of(&home.ok(&["topic", "describe", "orders", "--producers", "-o", "json"]));
    let producers = described[0]["producers"].as_array().unwrap();
    let last =
        |row: &Value| (row["partition"].clone(), row["last_sequence"].clone(), row["last_offset"].clone());
    let expected = [(json!(0), json!(9), json!(9)), (json!(1), json!(1), json!(1))];
    assert_eq!(producers.iter().map(last).collect::<Vec<_>>(), expected);
    assert_ne!(producers[0]["producer_id"], producers[1]["producer_id"]);
    home.ok(&["topic", "create", "other", "-q"]);
    let none = home.ok(&["topic", "describe", "other", "--producers"]);
    assert!(none.stderr.contains("other remembers no producers"), "{}", none.stderr);
}

#[tokio::test]
async fn groups_are_deleted() {
    let (broker, home) = broker().await;
    for group in ["a", "b", "c"] {
        commit(&broker, group, &[(0, 1)]).await;
    }
    let asked = home.fails(8, &["group", "delete", "a"]);
    assert!(asked.stderr.contains("Delete group \"a\" with its 1 committed offset?"), "{}", asked.stderr);
    let dry = home.ok(&["group", "delete", "a", "b", "--dry-run"]);
    assert_eq!(dry.stdout, "would delete a\nwould delete b\n");
    assert_eq!(home.ok(&["group", "delete", "a", "b", "--yes"]).stdout, "deleted a\ndeleted b\n");
    assert_eq!(home.ok(&["group", "ls", "-o", "name"]).stdout, "c\n");
    let partly = home.run(&["group", "delete", "a", "c", "--yes"]);
    assert_eq!((partly.code, partly.stdout.as_str()), (7, "deleted c\n"), "{}", partly.stderr);
    home.fails(3, &["group", "delete", "a", "--yes"]);
}

#[tokio::test]
async fn a_group_with_members_is_left_alone_until_they_are_gone() {
    let (broker, home) = broker().await;
    let builder = broker.client().consumer().group("billing").topics(["orders"]).instance("worker-1");
    let mut member = builder.build().await.unwrap();
    member.next().await.unwrap().unwrap();
    let described = json_of(&home.ok(&["group", "describe", "billing", "-o", "json"]));
    let row = &described[0]["members"][0];
    assert_eq!((&row["instance"], &row["id"]), (&json!("worker-1"), &json!(member.member_id())));
    assert_eq!(row["assigned"], json!(["orders:0", "orders:1"]));
    let members = home.ok(&["group", "describe", "billing", "--members"]);
    let columns = "MEMBER INSTANCE CLIENT ADDRESS EPOCH ASSIGNED REVOKING";
    let header = members.stdout.lines().find(|line| line.split_whitespace().eq(columns.split(' ')));
    assert!(header.is_some() && members.stdout.contains("orders:0,1"), "{}", members.stdout);
    let lag = json_of(&home.ok(&["group", "lag", "billing", "-o", "json"]));
    assert_eq!(lag[0]["owner"], json!(member.member_id()));

    let reset = ["group", "reset", "billing", "--topics", "orders:0", "--to", "end"];
    let plan = home.ok(&reset);
    assert!(plan.stderr.contains("warning: group \"billing\" has 1 member"), "{}", plan.stderr);
    let refused = home.fails(4, &[&reset[..], &["--execute"]].concat());
    assert!(refused.stderr.starts_with("error[E1706]: "), "{}", refused.stderr);
    assert!(refused.stderr.contains("logctl group kick billing MEMBER"), "{}", refused.stderr);
    home.fails(4, &["group", "delete", "billing", "--yes"]);
    let line = b"{\"topic\":\"orders\",\"partition\":0,\"offset\":4}\n";
    assert_eq!(home.run_with(&["group", "import", "billing", "-"], line).code, 4);

    let unknown = home.fails(3, &["group", "kick", "billing", "worker-2"]);
    assert!(unknown.stderr.contains("did you mean \"worker-1\"?"), "{}", unknown.stderr);
    home.fails(3, &["group", "kick", "biling", "worker-1"]);
    let dry = home.ok(&["group", "kick", "billing", "worker-1", "--dry-run"]);
    let expected = format!("would remove {} of billing  had orders:0,1\n", member.member_id());
    assert_eq!(dry.stdout, expected);
    // Stopped, so that it does not come back; a static member stays in the group until its session ends.
    member.close(std::time::Duration::ZERO).await.ok();
    let kicked = json_of(&home.ok(&["group", "kick", "billing", "worker-1", "-o", "json"]));
    assert_eq!(
        (&kicked["group"], &kicked["assigned"]),
        (&json!("billing"), &json!(["orders:0", "orders:1"]))
    );
    home.ok(&[&reset[..], &["--execute"]].concat());
    assert_eq!(committed(&home, "billing")[0], (0, Some(10)));
}

#[tokio::test]
async fn a_member_commits_what_it_printed() {
    let (_broker, home) = broker().await;
    let some = home.ok(&["consume", "orders", "-g", "billing", "-n", "3"]);
    assert_eq!(some.stdout, "0\n1\n2\n");
    assert!(some.stderr.contains("3 records, next offsets 0:3\n"), "{}", some.stderr);
    assert_eq!(committed(&home, "billing")[0], (0, Some(3)));
    let look = home.ok(&["consume", "orders", "-g", "billing", "--no-commit", "-n", "2", "-f", "%o %v\\n"]);
    assert_eq!(look.stdout, "3 3\n4 4\n");
    assert_eq!(committed(&home, "billing")[0], (0, Some(3)));
    let rest = home.ok(&["consume", "-e", "ord.*", "-g", "billing", "--to", "end", "--grep", "[78]"]);
    assert_eq!(rest.stdout, "7\n8\n");
    assert_eq!(committed(&home, "billing"), [(0, Some(10)), (1, Some(0))]);
    assert_eq!(home.ok(&["consume", "orders", "-g", "billing", "--to", "end"]).stdout, "");
    let left = json_of(&home.ok(&["group", "describe", "billing", "-o", "json"]));
    assert_eq!(left[0]["member_count"], 0);
}

#[tokio::test]
async fn an_interrupted_member_commits_and_leaves() {
    let (_broker, home) = broker().await;
    let mut child = home.spawn(&["consume", "orders", "-g", "billing"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for expected in 0..10 {
        assert_eq!(lines.next().unwrap().unwrap(), expected.to_string());
    }
    signal(&child, Signal::INT);
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(ran.code, 130, "{}", ran.stderr);
    assert!(ran.stderr.ends_with("10 records, 20 B, next offsets 0:10\n"), "{}", ran.stderr);
    assert_eq!(committed(&home, "billing")[0], (0, Some(10)));
    let left = json_of(&home.ok(&["group", "describe", "billing", "-o", "json"]));
    assert_eq!(left[0]["member_count"], 0);
}

#[tokio::test]
async fn a_member_without_partitions_has_nothing_to_read_up_to_the_end() {
    let (_broker, home) = broker().await;
    home.ok(&["topic", "create", "one", "-q"]);
    home.ok_with(&["produce", "one", "-q"], b"a\n");
    let mut first = home.spawn(&["consume", "one", "-g", "billing"]);
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "a");
    let second = home.ok(&["consume", "one", "-g", "billing", "--to", "end"]);
    assert_eq!(second.stdout, "");
    assert!(
        second.stderr.contains("no partition is left for this member: 1 other member"),
        "{}",
        second.stderr
    );
    signal(&first, Signal::INT);
    assert_eq!(first.wait().unwrap().code(), Some(130));
}

#[tokio::test]
async fn what_only_the_pipe_has_swallowed_is_not_committed() {
    let (_broker, home) = broker().await;
    let mut child = home.spawn(&["consume", "orders", "-g", "billing"]);
    let mut reader = child.stdout.take().unwrap();
    let mut taken = [0; 6];
    reader.read_exact(&mut taken).unwrap();
    assert_eq!(&taken, b"0\n1\n2\n");
    drop(reader);
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("stdout was closed: "), "{}", ran.stderr);
    assert_eq!(committed(&home, "billing")[0], (0, Some(3)), "{}", ran.stderr);
    let rest = home.ok(&["consume", "orders", "-g", "billing", "--to", "end"]);
    assert_eq!(rest.stdout, "3\n4\n5\n6\n7\n8\n9\n");
}

#[tokio::test]
async fn a_stopped_member_says_that_it_could_not_commit() {
    let (broker, home) = broker().await;
    let mut child = home.spawn(&["consume", "orders", "-g", "billing"]);
    let mut reader = child.stdout.take().unwrap();
    // The end of the last record stays in the pipe, so that it cannot have been committed before the broker is gone.
    let mut taken = [0; 19];
    reader.read_exact(&mut taken).unwrap();
    assert!(broker.stop().await);
    signal(&child, Signal::TERM);
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    assert!(ran.stderr.contains("what was printed last is not committed"), "{}", ran.stderr);
    assert!(ran.stderr.contains("  outcome: "), "{}", ran.stderr);
    drop(reader);
}

#[tokio::test]
async fn a_member_says_what_it_cannot_do() {
    let (broker, home) = broker().await;
    for (flags, expected) in [
        (&["-p", "0"][..], "-p does not go with -g"),
        (&["--from", "end"], "--from does not go with -g"),
        (&["--to", "5"], "only --to end"),
    ] {
        let ran = home.fails(2, &[&["consume", "orders", "-g", "billing"], flags].concat());
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
    home.fails(2, &["consume", "orders", "--no-commit"]);
    let ran = home.fails(3, &["consume", "ordres", "-g", "billing"]);
    assert!(ran.stderr.contains("did you mean \"orders\"?"), "{}", ran.stderr);
    commit(&broker, "billing", &[(0, 2)]).await;
    home.ok(&["topic", "delete-records", "orders", "-p", "0", "--before", "5", "--yes"]);
    let ran = home.fails(1, &["consume", "orders", "-g", "billing", "--to", "end"]);
    assert!(ran.stderr.contains("error[E1709]: ") && ran.stderr.contains("3 offsets"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("logctl group reset billing --topics orders:0 --to start --execute"),
        "{}",
        ran.stderr
    );
    assert_eq!(committed(&home, "billing")[0], (0, Some(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_member_says_that_the_full_disk_did_not_take_its_commit() {
    let (broker, home) = broker_with(|config| {
        config.storage.disk_block_watermark = Watermark::Bytes(1 << 30);
        config.storage.disk_low_watermark = Watermark::Bytes(1 << 30);
    })
    .await;
    let mut child = home.spawn(&["consume", "orders", "-g", "billing", "--timeout", "1s"]);
    let mut reader = child.stdout.take().unwrap();
    // The end of the last record stays in the pipe, so that it is not committed before the disk is full.
    let mut taken = [0; 19];
    reader.read_exact(&mut taken).unwrap();
    // The reserve is gone, and less is left than is kept for deletions; but enough that no write fails before that is seen.
    let disk = broker.disk();
    disk.remove_file(Path::new("/corduroy/full-disk-reserve")).unwrap();
    let space = disk.space(Path::new("/")).unwrap();
    disk.set_capacity(Some(space.total_bytes - space.free_bytes + 400 * 1024));
    while home.run(&["status", "-o", "name"]).stdout != "UNHEALTHY\n" {}
    signal(&child, Signal::TERM);
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    let said = "error[E1102]: what was printed last is not committed, so the group reads it again: ";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    broker.disk().set_capacity(None);
    drop(reader);
}
