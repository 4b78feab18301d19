//! Partitions whose logs cannot be opened: each is offline for itself, says why, and comes back by itself.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

mod support;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use corduroy_api::v1::{
    self, admin_client::AdminClient, cluster_client::ClusterClient, fetch_client::FetchClient,
    produce_client::ProduceClient, produce_request::Payload, produce_response,
};
use corduroy_log::{
    Disk,
    disk::{OpenMode, SimCall, SimFailure},
};
use corduroy_testing::Broker;
use support::{
    ledger::{Ledger, RecordOutcome},
    stub,
};
use tokio_stream::StreamExt;

fn value(n: u32) -> Bytes {
    format!("{n:0>5000}").into()
}

/// Produces one value; returns its offset.
async fn send(url: &str, n: u32, partition: u32) -> Result<u64, v1::Error> {
    let record = v1::Record { value: Some(value(n)), ..Default::default() };
    let request = v1::ProduceRequest {
        topic: "t".to_owned(),
        partition: Some(partition),
        payload: Some(Payload::Records(v1::PlainRecords { records: vec![record] })),
        ..Default::default()
    };
    let mut client = ProduceClient::new(stub::connect(url).await);
    let mut answers = client.produce(tokio_stream::once(request)).await.unwrap().into_inner();
    match answers.next().await.unwrap().unwrap().result.unwrap() {
        produce_response::Result::Ok(ack) => Ok(ack.appended[0].base_offset),
        produce_response::Result::Error(error) => Err(error),
    }
}

fn settle(ledger: &mut Ledger, n: u32, partition: u32, sent: Result<u64, v1::Error>) -> Option<v1::Error> {
    match sent {
        Ok(offset) => ledger.settle(&value(n), RecordOutcome::Acknowledged(partition, offset)),
        Err(error) => {
            if error.outcome() == v1::Outcome::NotWritten {
                ledger.settle(&value(n), RecordOutcome::NotWritten);
            }
            return Some(error);
        }
    }
    None
}

/// Produces one value and notes what came of it; returns the refusal, if it was one.
async fn produce(broker: &Broker, ledger: &mut Ledger, n: u32, partition: u32) -> Option<v1::Error> {
    ledger.send(value(n));
    let sent = send(broker.url(), n, partition).await;
    settle(ledger, n, partition, sent)
}

/// Produces to all partitions at once, so that the commit journal is used; returns the refusals.
async fn produce_to_all(broker: &Broker, ledger: &mut Ledger, from: u32, partitions: u32) -> Vec<v1::Error> {
    let mut sending = Vec::new();
    for partition in 0..partitions {
        ledger.send(value(from + partition));
        let url = broker.url().to_owned();
        sending.push(tokio::spawn(async move { send(&url, from + partition, partition).await }));
    }
    let mut refusals = Vec::new();
    for (partition, sending) in (0..).zip(sending) {
        refusals.extend(settle(ledger, from + partition, partition, sending.await.unwrap()));
    }
    refusals
}

async fn fetch(broker: &Broker, partition: u32, offset: u64) -> v1::FetchedPartition {
    let partition = v1::FetchPartition { topic: "t".to_owned(), partition, offset, ..Default::default() };
    let request = v1::FetchRequest { partitions: vec![partition], ..Default::default() };
    let mut client = FetchClient::new(stub::connect(broker.url()).await);
    client.fetch(request).await.unwrap().into_inner().partitions.remove(0)
}

async fn end_of(broker: &Broker, partition: u32) -> v1::ListedOffset {
    let spec = v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::End(true)) };
    let asked = v1::ListOffsetsPartition { topic: "t".to_owned(), partition, spec: Some(spec) };
    let request = v1::ListOffsetsRequest { partitions: vec![asked] };
    let mut client = FetchClient::new(stub::connect(broker.url()).await);
    client.list_offsets(request).await.unwrap().into_inner().offsets.remove(0)
}

async fn findings(broker: &Broker) -> (v1::HealthState, Vec<String>) {
    let mut cluster = ClusterClient::new(stub::connect(broker.url()).await);
    let answer = cluster.describe_cluster(v1::DescribeClusterRequest::default()).await.unwrap().into_inner();
    (answer.health(), answer.findings.into_iter().map(|finding| finding.message).collect())
}

/// The directory of a partition of `t`, the only topic.
fn partition_dir(broker: &Broker, partition: u32) -> PathBuf {
    let wanted = format!("/{partition}/00000000000000000000.log");
    let files = broker.disk().files();
    let is_metadata = |path: &Path| path.to_string_lossy().contains("0000-000000000001/");
    let found = files
        .iter()
        .find(|path| path.to_string_lossy().ends_with(&wanted) && !is_metadata(path))
        .unwrap_or_else(|| panic!("partition {partition} has no file: {files:?}"));
    found.parent().unwrap().to_owned()
}

async fn with_records(partitions: u32) -> (Broker, Ledger) {
    let broker = Broker::start().await.unwrap();
    stub::create_topic(stub::connect(broker.url()).await, "t", partitions, &[]).await;
    let mut ledger = Ledger::default();
    for n in 0..3 * partitions {
        assert_eq!(produce(&broker, &mut ledger, n, n % partitions).await, None);
    }
    (broker, ledger)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_partition_that_cannot_be_opened_is_offline_and_the_others_are_served() {
    let (mut broker, mut ledger) = with_records(3).await;
    let broken = partition_dir(&broker, 1);
    for (clean, value) in [(true, 1_000), (false, 10_000_000)] {
        broker.disk().fail_under(&broken, &SimCall::ALL, SimFailure::Io);
        let restarted = match clean {
            true => broker.restart().await,
            false => {
                broker
                    .restart_after_power_loss_with(|disk| {
                        disk.fail_under(&broken, &SimCall::ALL, SimFailure::Io);
                    })
                    .await
            }
        };
        restarted.expect("the start is not refused");

        for partition in [0, 2] {
            assert_eq!(produce(&broker, &mut ledger, value + partition, partition).await, None);
            assert_eq!(fetch(&broker, partition, 0).await.error, None);
        }
        let refusal = produce(&broker, &mut ledger, value + 10, 1).await.expect("it is offline");
        assert_eq!(
            (refusal.code(), refusal.outcome()),
            (v1::ErrorCode::PartitionOffline, v1::Outcome::NotWritten)
        );
        assert!(refusal.retriable && refusal.message.contains("t/1"), "{refusal:?}");
        assert!(refusal.message.contains("injected failure"), "the reason is named: {refusal:?}");
        // Offsets that are not known are never answered: a consumer would begin again at a wrong place.
        for error in [fetch(&broker, 1, 2).await.error, end_of(&broker, 1).await.error] {
            assert_eq!(error.unwrap().code(), v1::ErrorCode::PartitionOffline);
        }
        let (health, found) = findings(&broker).await;
        assert_eq!(health, v1::HealthState::Unhealthy);
        assert!(
            found.len() == 1 && found[0].contains("t/1: offline") && found[0].contains("injected"),
            "{found:?}"
        );
        let metrics = broker_metrics(&broker).await;
        assert!(metrics.contains("brokerd_offline_partitions 1\n"), "{metrics}");

        broker.disk().repair(&broken);
        let mut n = value + 20;
        while let Some(refusal) = produce(&broker, &mut ledger, n, 1).await {
            n += 1;
            assert_eq!(refusal.code(), v1::ErrorCode::PartitionOffline, "{refusal:?}");
        }
        while findings(&broker).await.0 != v1::HealthState::Healthy {}
        ledger.check(&stub::read_all(broker.url(), "t", 3).await, "after it came back");
    }
    broker.restart_after_power_loss().await.unwrap();
    ledger.check(&stub::read_all(broker.url(), "t", 3).await, "after a power loss");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_with_an_offline_partition_is_described_and_deleted() {
    let (mut broker, _ledger) = with_records(2).await;
    let broken = partition_dir(&broker, 0);
    broker.disk().fail_under(&broken, &[SimCall::Open, SimCall::List], SimFailure::Io);
    broker.restart().await.unwrap();
    let mut admin = AdminClient::new(stub::connect(broker.url()).await);
    let described = admin.describe_topics(v1::DescribeTopicsRequest { names: vec!["t".to_owned()] });
    let topic = described.await.unwrap().into_inner().topics.remove(0);
    let errors: Vec<_> = topic.partitions.iter().map(|one| one.error.as_ref().map(v1::Error::code)).collect();
    assert_eq!(errors, [Some(v1::ErrorCode::PartitionOffline), None]);
    let request = v1::DeleteTopicsRequest { names: vec!["t".to_owned()], validate_only: false };
    assert_eq!(admin.delete_topics(request).await.unwrap().into_inner().topics.remove(0).error, None);
    broker.disk().repair(&broken);
    while findings(&broker).await.0 != v1::HealthState::Healthy {}
    broker.restart().await.unwrap();
    let left = broker.disk().open(&broken.join("00000000000000000000.log"), OpenMode::Read);
    assert!(left.is_err(), "what was left is erased at the next start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_partition_that_cannot_be_reopened_keeps_no_other_one_stopped() {
    const PARTITIONS: u32 = 8;
    let (mut broker, mut ledger) = with_records(PARTITIONS).await;
    let mut n = 1_000;
    while !broker_metrics(&broker).await.lines().any(|line| {
        let rounds = line.strip_prefix("brokerd_commit_rounds_total{kind=\"journal\"} ");
        rounds.is_some_and(|rounds| rounds != "0")
    }) {
        n += PARTITIONS;
        assert_eq!(produce_to_all(&broker, &mut ledger, n, PARTITIONS).await, []);
    }
    let journal = Path::new("/corduroy/journal");
    let broken = partition_dir(&broker, 3);
    broker.disk().fail_under(&broken, &SimCall::ALL, SimFailure::Io);
    broker.disk().fail_under(journal, &[SimCall::Sync], SimFailure::Io);
    n += PARTITIONS;
    while produce_to_all(&broker, &mut ledger, n, PARTITIONS).await.len() < PARTITIONS as usize {
        n += PARTITIONS;
    }
    broker.disk().repair(journal);
    for partition in (0..PARTITIONS).filter(|partition| *partition != 3) {
        n += PARTITIONS;
        while let Some(refusal) = produce(&broker, &mut ledger, n, partition).await {
            assert!(refusal.retriable, "{refusal:?}");
            n += 1;
        }
    }
    n += PARTITIONS;
    assert!(produce(&broker, &mut ledger, n, 3).await.is_some(), "its disk still refuses it");
    broker.disk().repair(&broken);
    n += 1;
    while produce(&broker, &mut ledger, n, 3).await.is_some() {
        n += 1;
    }
    ledger.check(&stub::read_all(broker.url(), "t", PARTITIONS).await, "after it came back");
    broker.restart_after_power_loss().await.unwrap();
    ledger.check(&stub::read_all(broker.url(), "t", PARTITIONS).await, "after a power loss");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_journal_cannot_write_to_one_partition_refuses_no_start() {
    const PARTITIONS: u32 = 8;
    for attempt in 0..3 {
        let (mut broker, mut ledger) = with_records(PARTITIONS).await;
        let mut n = 1_000;
        for _ in 0..5 {
            n += PARTITIONS;
            assert_eq!(produce_to_all(&broker, &mut ledger, n, PARTITIONS).await, []);
        }
        let broken = partition_dir(&broker, 3);
        // The power goes again while it is offline: what the journal holds for it is not lost by that.
        for _ in 0..=attempt {
            let refuse = |disk: &corduroy_log::SimDisk| {
                disk.fail_under(&broken, &[SimCall::Open, SimCall::Write, SimCall::Sync], SimFailure::Io);
            };
            broker.restart_after_power_loss_with(refuse).await.expect("the start is not refused");
            for partition in [0, 7] {
                n += 1;
                assert_eq!(produce(&broker, &mut ledger, 100_000 * (attempt + 1) + n, partition).await, None);
            }
        }
        broker.disk().repair(&broken);
        n += 1_000;
        while produce(&broker, &mut ledger, n, 3).await.is_some() {
            n += 1;
        }
        ledger.check(&stub::read_all(broker.url(), "t", PARTITIONS).await, "after it came back");
        broker.restart_after_power_loss().await.unwrap();
        ledger.check(&stub::read_all(broker.url(), "t", PARTITIONS).await, "after a power loss");
    }
}

async fn broker_metrics(broker: &Broker) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(broker.http_address()).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}
