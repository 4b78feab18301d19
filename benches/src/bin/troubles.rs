//! What a node costs in trouble: how long a failed commit journal keeps many partitions from being led, and what readers that
//! take nothing cost the others.
//!
//! `cargo run --release -p corduroy-benches --bin troubles -- [PARTITIONS] [READERS]`

use std::{
    path::Path,
    time::{Duration, Instant},
};

use corduroy_api::v1::{self, fetch_client::FetchClient};
use corduroy_benches::{Brokerd, Failure};
use corduroy_client::{Client, Health, NewTopic, Record};
use corduroy_log::disk::{SimCall, SimFailure};
use tonic::transport::Channel;

const TOPICS: u32 = 10;
const RECORD_BYTES: usize = 1_000;
/// More than a connection's window and what the broker reads ahead for a stream.
const BACKLOG_RECORDS: u32 = 64_000;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u32>());
    let partitions = arguments.next().transpose()?.unwrap_or(10_000);
    let readers = arguments.next().transpose()?.unwrap_or(200);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(journal_failure(partitions))?;
    runtime.block_on(silent_readers(readers))
}

/// A sync of the journal fails once, on a simulated disk: until all partitions are led again.
async fn journal_failure(partitions: u32) -> Result<(), Failure> {
    let broker = corduroy_testing::Broker::start().await?;
    let client = broker.client();
    for topic in 0..TOPICS {
        broker.topic(&format!("t{topic}"), partitions / TOPICS).await?;
    }
    let producer = client.producer().build().await?;
    write_all(&producer, partitions).await?;
    producer.flush().await?;
    let journal = Path::new("/corduroy/journal");
    broker.disk().fail_under(journal, &[SimCall::Sync], SimFailure::Io);
    write_all(&producer, partitions).await?;
    while client.admin().describe_cluster().await?.health == Health::Healthy {
        tokio::task::yield_now().await;
    }
    broker.disk().repair(journal);
    let began = Instant::now();
    while client.admin().describe_cluster().await?.health != Health::Healthy {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "{partitions} partitions are led again {:.2} s after the journal could be synced",
        began.elapsed().as_secs_f64()
    );
    broker.stop().await;
    Ok(())
}

async fn write_all(producer: &corduroy_client::Producer, partitions: u32) -> Result<(), Failure> {
    for topic in 0..TOPICS {
        for partition in 0..partitions / TOPICS {
            let record = Record::to(format!("t{topic}")).partition(partition).value(vec![b'v'; 100]);
            drop(producer.enqueue(record).await?);
        }
    }
    Ok(())
}

/// Readers that open a stream and take nothing of it, each on a connection of its own.
async fn silent_readers(readers: u32) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let broker = Brokerd::start(&dir.path().join("data"))?;
    let client = Client::builder(broker.url.as_str()).connect().await?;
    for topic in ["t", "small"] {
        client.admin().create_topic(NewTopic::named(topic).partitions(1)).await?;
    }
    let producer = client.producer().build().await?;
    for _ in 0..BACKLOG_RECORDS {
        drop(producer.enqueue(Record::to("t").value(vec![b'v'; RECORD_BYTES])).await?);
    }
    producer.flush().await?;
    producer.send(Record::to("small").value("one record")).await?;
    let before = broker.resident_bytes().ok_or("no /proc")?;
    let mut streams = Vec::new();
    for _ in 0..readers {
        let mut fetch = FetchClient::connect(broker.url.clone()).await?;
        let start = v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::Start(true)) };
        let partition =
            v1::ConsumePartition { topic: "t".to_owned(), start: Some(start), ..Default::default() };
        let request = v1::ConsumeRequest { partitions: vec![partition], ..Default::default() };
        streams.push(fetch.consume(request).await?.into_inner());
    }
    // Each stream has what it may have once the broker has read ahead for it.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let with = broker.resident_bytes().ok_or("no /proc")?;
    let mut fetch = FetchClient::connect(broker.url.clone()).await?;
    let mut small = Duration::ZERO;
    for _ in 0..20 {
        small = small.max(fetch_one(&mut fetch, "small").await?);
    }
    let large = fetch_one(&mut fetch, "t").await?;
    println!(
        "{readers} readers that take nothing: resident {:.1} MB before, {:.1} MB with them; the slowest of 20 fetches of one \
         small record {} ms, one of a whole batch of 1 MiB {} ms",
        before as f64 / 1e6,
        with as f64 / 1e6,
        small.as_millis(),
        large.as_millis()
    );
    drop(streams);
    Ok(())
}

async fn fetch_one(fetch: &mut FetchClient<Channel>, topic: &str) -> Result<Duration, Failure> {
    let began = Instant::now();
    let partition = v1::FetchPartition { topic: topic.to_owned(), max_bytes: 1, ..Default::default() };
    let request = v1::FetchRequest { partitions: vec![partition], ..Default::default() };
    let answer = fetch.fetch(request).await?.into_inner();
    match answer.partitions.into_iter().find_map(|partition| partition.error) {
        Some(error) => Err(format!("the fetch of {topic} failed: {}", error.message).into()),
        None => Ok(began.elapsed()),
    }
}
