//! A disk that is full, or fails: refusals that say so, nothing acknowledged lost, and recovery without a restart.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

mod support;

use bytes::Bytes;
use corduroy_api::v1::{
    self, admin_client::AdminClient, cluster_client::ClusterClient, produce_client::ProduceClient,
    produce_request::Payload, produce_response,
};
use corduroy_broker::config::Watermark;
use corduroy_log::{
    Disk,
    disk::{SimCall, SimFailure},
};
use corduroy_testing::Broker;
use support::{
    ledger::{Ledger, RecordOutcome},
    stub,
};
use tokio_stream::StreamExt;

/// Produces one value and notes what came of it; returns the refusal, if it was one.
async fn produce_one(broker: &Broker, ledger: &mut Ledger, value: Bytes) -> Option<v1::Error> {
    produce_to(broker, ledger, value, 0, 0).await
}

/// As [`produce_one`], to this partition, with this time-out (0: the default).
async fn produce_to(
    broker: &Broker,
    ledger: &mut Ledger,
    value: Bytes,
    partition: u32,
    timeout_ms: u32,
) -> Option<v1::Error> {
    ledger.send(value.clone());
    let record = v1::Record { value: Some(value.clone()), ..Default::default() };
    let request = v1::ProduceRequest {
        topic: "t".to_owned(),
        partition: Some(partition),
        timeout_ms,
        payload: Some(Payload::Records(v1::PlainRecords { records: vec![record] })),
        ..Default::default()
    };
    let mut client = ProduceClient::new(stub::connect(broker.url()).await);
    let mut answers = client.produce(tokio_stream::once(request)).await.unwrap().into_inner();
    match answers.next().await.unwrap().unwrap().result.unwrap() {
        produce_response::Result::Ok(ack) => {
            ledger.settle(&value, RecordOutcome::Acknowledged(partition, ack.appended[0].base_offset));
            None
        }
        produce_response::Result::Error(error) => {
            if error.outcome() == v1::Outcome::NotWritten {
                ledger.settle(&value, RecordOutcome::NotWritten);
            }
            Some(error)
        }
    }
}

/// Sealed after a dozen values.
const SMALL_SEGMENTS: [(&str, &str); 2] = [("segment.bytes", "64KiB"), ("max.message.bytes", "32KiB")];

fn value(n: u32) -> Bytes {
    format!("{n:0>5000}").into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_reserve_appends_are_refused_and_reads_go_on() {
    let reserve = |config: &mut corduroy_broker::config::BrokerConfig| {
        config.storage.disk_block_watermark = Watermark::Bytes(100_000);
        config.storage.disk_low_watermark = Watermark::Bytes(150_000);
    };
    let mut broker = Broker::start_with(reserve).await.unwrap();
    stub::create_topic(stub::connect(broker.url()).await, "t", 1, &[]).await;
    broker.disk().set_capacity(Some(400_000));
    let mut ledger = Ledger::default();
    let mut n = 0;
    let refusal = loop {
        n += 1;
        if let Some(refusal) = produce_one(&broker, &mut ledger, value(n)).await {
            break refusal;
        }
    };
    assert!(
        matches!(refusal.code(), v1::ErrorCode::DiskFull | v1::ErrorCode::StorageFailed),
        "the disk is full, one way or the other: {refusal:?}"
    );
    // Room comes back: appends are taken again, without a restart.
    broker.disk().set_capacity(None);
    loop {
        n += 1;
        match produce_one(&broker, &mut ledger, value(n)).await {
            None => break,
            Some(refusal) => assert!(refusal.retriable, "{refusal:?}"),
        }
    }
    ledger.check(&stub::read_all(broker.url(), "t", 1).await, "after the disk had room again");
    broker.restart_after_power_loss().await.unwrap();
    ledger.check(&stub::read_all(broker.url(), "t", 1).await, "after a power loss");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_sync_the_log_is_cut_and_led_on() {
    for (call, name) in [(SimCall::Write, "write"), (SimCall::Sync, "sync")] {
        let mut broker = Broker::start().await.unwrap();
        stub::create_topic(stub::connect(broker.url()).await, "t", 1, &[]).await;
        let mut ledger = Ledger::default();
        let (mut failed, mut sent) = (0, 0);
        for n in 0..40 {
            if n % 20 == 5 {
                broker.disk().fail_nth(call, 0);
            }
            sent += 1;
            while let Some(refusal) = produce_one(&broker, &mut ledger, value(sent)).await {
                failed += 1;
                sent += 1;
                assert!(refusal.retriable, "{name}: {refusal:?}");
            }
        }
        assert!(failed >= 2, "{name}: the failures were never met");
        ledger.check(&stub::read_all(broker.url(), "t", 1).await, name);
        broker.restart_after_power_loss().await.unwrap();
        ledger.check(&stub::read_all(broker.url(), "t", 1).await, &format!("{name}, after a power loss"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_what_makes_room_still_works() {
    let watermarks = |config: &mut corduroy_broker::config::BrokerConfig| {
        config.storage.disk_block_watermark = Watermark::Bytes(50_000);
        config.storage.disk_low_watermark = Watermark::Bytes(60_000);
    };
    let mut broker = Broker::start_with(watermarks).await.unwrap();
    let channel = stub::connect(broker.url()).await;
    let mut admin = AdminClient::new(channel.clone());
    for name in ["t", "other"] {
        stub::create_topic(channel.clone(), name, 1, &[]).await;
    }
    let mut ledger = Ledger::default();
    for n in 0..20 {
        assert_eq!(produce_one(&broker, &mut ledger, value(n)).await, None);
    }
    // Not one byte is left.
    let space = broker.disk().space(std::path::Path::new("/")).unwrap();
    broker.disk().set_capacity(Some(space.total_bytes - space.free_bytes));
    let mut n = 20;
    loop {
        n += 1;
        // What the broker tidied away between the two calls may have left a little room.
        let Some(refusal) = produce_one(&broker, &mut ledger, value(n)).await else { continue };
        assert!(refusal.retriable, "{refusal:?}");
        if refusal.code() == v1::ErrorCode::DiskFull {
            assert_eq!(refusal.outcome(), v1::Outcome::NotWritten);
            break;
        }
    }
    ledger.check(&stub::read_all(broker.url(), "t", 1).await, "reads go on");
    let topic = v1::NewTopic { name: "more".to_owned(), partition_count: 1, ..Default::default() };
    let created = admin.create_topics(v1::CreateTopicsRequest { topics: vec![topic], validate_only: false });
    let refusal = created.await.unwrap().into_inner().topics.remove(0).error.unwrap();
    assert_eq!(refusal.code(), v1::ErrorCode::DiskFull);
    let deleted = admin
        .delete_topics(v1::DeleteTopicsRequest { names: vec!["other".to_owned()], validate_only: false });
    assert_eq!(deleted.await.unwrap().into_inner().topics.remove(0).error, None);
    broker.disk().set_capacity(None);
    loop {
        n += 1;
        if produce_one(&broker, &mut ledger, value(n)).await.is_none() {
            break;
        }
    }
    broker.restart_after_power_loss().await.unwrap();
    ledger.check(&stub::read_all(broker.url(), "t", 1).await, "after a power loss");
    let topics = AdminClient::new(stub::connect(broker.url()).await)
        .list_topics(v1::ListTopicsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .topics;
    assert_eq!(topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["t"]);
}

async fn delete_before(broker: &Broker, before: u64) -> Option<v1::Error> {
    let partitions = vec![v1::DeleteRecordsPartition { partition: 0, before_offset: before }];
    let request = v1::DeleteRecordsRequest { topic: "t".to_owned(), partitions, validate_only: false };
    let mut admin = AdminClient::new(stub::connect(broker.url()).await);
    admin.delete_records(request).await.unwrap().into_inner().partitions.remove(0).error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_no_start_and_records_can_be_deleted_there() {
    for reserve_is_held in [true, false] {
        let mut broker = Broker::start().await.unwrap();
        stub::create_topic(stub::connect(broker.url()).await, "t", 1, &SMALL_SEGMENTS).await;
        let mut ledger = Ledger::default();
        for n in 0..40 {
            assert_eq!(produce_one(&broker, &mut ledger, value(n)).await, None);
        }
        let fill = |disk: &corduroy_log::SimDisk| {
            if !reserve_is_held {
                disk.remove_file(std::path::Path::new("/corduroy/full-disk-reserve")).unwrap();
            }
            let space = disk.space(std::path::Path::new("/")).unwrap();
            disk.set_capacity(Some(space.total_bytes - space.free_bytes));
        };
        let started = broker.restart_after_power_loss_with(fill).await;
        started.unwrap_or_else(|error| panic!("reserve held: {reserve_is_held}: {error}"));
        ledger.check(&stub::read_all(broker.url(), "t", 1).await, "reads go on");
        // Other processes take what the start has freed.
        let space = broker.disk().space(std::path::Path::new("/")).unwrap();
        broker.disk().set_capacity(Some(space.total_bytes - space.free_bytes));
        while let Some(refusal) = delete_before(&broker, 30).await {
            assert!(refusal.retriable, "reserve held: {reserve_is_held}: {refusal:?}");
        }
        let after = broker.disk().space(std::path::Path::new("/")).unwrap();
        assert!(after.free_bytes > 20_000, "segments are gone: {after:?}");
        broker.disk().set_capacity(None);
        let mut n = 40;
        while produce_one(&broker, &mut ledger, value(n)).await.is_some() {
            n += 1;
        }
    }
}

/// What `status` shows now.
async fn findings(broker: &Broker) -> (v1::HealthState, Vec<String>) {
    let mut cluster = ClusterClient::new(stub::connect(broker.url()).await);
    let answer = cluster.describe_cluster(v1::DescribeClusterRequest::default()).await.unwrap().into_inner();
    (answer.health(), answer.findings.into_iter().map(|finding| finding.message).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_is_seen_and_goes_on() {
    let impatient = |config: &mut corduroy_broker::config::BrokerConfig| {
        config.storage.disk_stall_timeout = std::time::Duration::from_millis(100);
    };
    let broker = Broker::start_with(impatient).await.unwrap();
    stub::create_topic(stub::connect(broker.url()).await, "t", 1, &[]).await;
    let mut ledger = Ledger::default();
    assert_eq!(produce_one(&broker, &mut ledger, value(1)).await, None);
    assert_eq!(findings(&broker).await, (v1::HealthState::Healthy, Vec::new()));
    let gate = broker.disk().hold(SimCall::Sync);
    let refusal = produce_to(&broker, &mut ledger, value(2), 0, 200).await.expect("the disk hangs");
    assert_eq!((refusal.code(), refusal.outcome()), (v1::ErrorCode::TimedOut, v1::Outcome::Unknown));
    loop {
        let (health, findings) = findings(&broker).await;
        if health == v1::HealthState::Unhealthy {
            assert!(findings[0].contains("commit round"), "{findings:?}");
            break;
        }
    }
    gate.open();
    assert_eq!(produce_one(&broker, &mut ledger, value(3)).await, None);
    while findings(&broker).await.0 != v1::HealthState::Healthy {}
    ledger.check(&stub::read_all(broker.url(), "t", 1).await, "after the disk went on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_no_log_can_be_written_readyz_and_status_say_so_in_the_same_words() {
    const WORDS: &str = "no log can be written since a write or sync failed";
    let broker = Broker::start().await.unwrap();
    stub::create_topic(stub::connect(broker.url()).await, "t", 1, &[]).await;
    let http = broker.http_address().to_string();
    broker.disk().fail_randomly(3, 1_000, &[SimCall::Sync], SimFailure::Io);
    let mut ledger = Ledger::default();
    let mut n = 0;
    while findings(&broker).await.1.iter().all(|finding| !finding.contains(WORDS)) {
        n += 1;
        assert_ne!(produce_one(&broker, &mut ledger, value(n)).await, None, "no sync succeeds");
    }
    let readyz = support::get(&http, "/readyz");
    assert!(readyz.starts_with("HTTP/1.1 503") && readyz.contains(WORDS), "{readyz}");
    broker.disk().heal();
    while findings(&broker).await.0 != v1::HealthState::Healthy {}
    assert!(support::get(&http, "/readyz").starts_with("HTTP/1.1 200"));
    ledger.check(&stub::read_all(broker.url(), "t", 1).await, "after the disk worked again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_whose_files_are_being_made_keeps_no_other_one_waiting() {
    let broker = Broker::start().await.unwrap();
    stub::create_topic(stub::connect(broker.url()).await, "t", 2, &SMALL_SEGMENTS).await;
    let mut ledger = Ledger::default();
    assert_eq!(produce_to(&broker, &mut ledger, value(0), 1, 0).await, None);
    let files = broker.disk().files();
    let known = files.iter().find(|path| path.ends_with("1/00000000000000000000.log")).unwrap();
    let dir = known.parent().unwrap().parent().unwrap().join("0");
    let mut n = 1;
    // Once while its first segment is made, and once while that is sealed.
    for _ in 0..2 {
        let gate = broker.disk().hold_under(&dir, SimCall::SyncDir);
        while gate.waiting() == 0 {
            n += 1;
            let _hangs = produce_to(&broker, &mut ledger, value(n), 0, 100).await;
        }
        n += 1;
        assert_eq!(produce_to(&broker, &mut ledger, value(n), 1, 0).await, None);
        gate.open();
        n += 1;
        assert_eq!(produce_to(&broker, &mut ledger, value(n), 0, 0).await, None);
    }
    ledger.check(&stub::read_all(broker.url(), "t", 2).await, "after the disk went on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_hang_keep_nothing_else_waiting() {
    let mut broker = Broker::start().await.unwrap();
    stub::create_topic(stub::connect(broker.url()).await, "t", 2, &SMALL_SEGMENTS).await;
    let mut ledger = Ledger::default();
    for n in 0..60 {
        assert_eq!(produce_to(&broker, &mut ledger, value(n), n % 2, 0).await, None);
    }
    broker.restart().await.unwrap();
    let files = broker.disk().files();
    let known = files.iter().rfind(|path| path.ends_with("0/00000000000000000000.log")).unwrap();
    let gate = broker.disk().hold_under(known.parent().unwrap(), SimCall::Read);
    let url = broker.url().to_owned();
    let readers: Vec<_> = (0..20)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { stub::read_all(&url, "t", 1).await })
        })
        .collect();
    while gate.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    // Reading what is not in memory, compressed batches, deleting, and making topics.
    let partition = v1::FetchPartition { topic: "t".to_owned(), partition: 1, ..Default::default() };
    let request = v1::FetchRequest { partitions: vec![partition], ..Default::default() };
    let mut fetch = v1::fetch_client::FetchClient::new(stub::connect(broker.url()).await);
    let fetched = fetch.fetch(request).await.unwrap().into_inner().partitions.remove(0);
    assert!(fetched.error.is_none() && !fetched.batches.is_empty(), "{fetched:?}");
    assert_eq!(produce_to(&broker, &mut ledger, value(100), 0, 0).await, None);
    stub::create_topic(stub::connect(broker.url()).await, "other", 3, &[]).await;
    assert_eq!(delete_before(&broker, 1).await, None);
    gate.open();
    for reader in readers {
        assert!(!reader.await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_file_handles_appends_wait_and_no_log_stops() {
    const PARTITIONS: u32 = 20;
    let mut broker = Broker::start().await.unwrap();
    stub::create_topic(stub::connect(broker.url()).await, "t", PARTITIONS, &[]).await;
    let mut ledger = Ledger::default();
    // Each partition makes its files when it is first written to.
    broker.disk().fail_randomly(11, 500, &[SimCall::Create, SimCall::Open], SimFailure::TooManyFiles);
    for partition in 0..PARTITIONS {
        let refusal = produce_to(&broker, &mut ledger, value(partition), partition, 0).await;
        assert_eq!(refusal, None, "partition {partition}, seed 11");
    }
    broker.disk().heal();
    broker.restart_after_power_loss().await.unwrap();
    ledger.check(&stub::read_all(broker.url(), "t", PARTITIONS).await, "after a power loss");
}
