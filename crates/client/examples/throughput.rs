//! Measures what one task gets through the client, with the real engine in the same process and in memory:
//! `cargo run --release -p corduroy-client --example throughput [RECORDS] [BYTES]`.
//!
//! The broker shares the processors, so the figures of producing and consuming are a lower bound of the client's.

use std::time::{Duration, Instant};

use corduroy_client::{Client, OffsetSpec, RecordRef};
use corduroy_testing::Broker;

type Outcome = Result<(), Box<dyn std::error::Error>>;

struct Load {
    records: u64,
    value: Vec<u8>,
}

impl Load {
    fn report(&self, what: &str, took: Duration) {
        let seconds = took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let (records, bytes) = (self.records as f64, (self.records * self.value.len() as u64) as f64);
        println!(
            "{what:<28} {:>6.2} M records/s  {:>7.1} MB/s",
            records / seconds / 1e6,
            bytes / seconds / 1e6
        );
    }
}

#[tokio::main]
async fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let records = arguments.next().map_or(Ok(3_000_000), |text| text.parse())?;
    let bytes = arguments.next().map_or(Ok(100), |text| text.parse())?;
    let load = Load { records, value: vec![b'x'; bytes] };
    let broker = Broker::start().await?;
    accept_only(&load, broker.client()).await?;
    broker.topic("t", 1).await?;
    produce(&load, broker.client()).await?;
    consume(&load, broker.client()).await?;
    Ok(())
}

/// Accepting alone: everything fits in the buffer, and the broker is stopped before the first record.
async fn accept_only(load: &Load, _client: &Client) -> Outcome {
    let broker = Broker::start().await?;
    broker.topic("t", 1).await?;
    let producer = broker.client().producer().buffer_bytes(u64::from(u32::MAX)).build().await?;
    producer.prepare("t").await?;
    broker.stop().await;
    let began = Instant::now();
    for _ in 0..load.records {
        drop(producer.enqueue_ref(RecordRef { value: Some(&load.value), ..RecordRef::to("t") }).await?);
    }
    load.report("enqueue, nothing sent", began.elapsed());
    // No one is there to take them.
    let _ = producer.close(Duration::ZERO).await;
    Ok(())
}

async fn produce(load: &Load, client: &Client) -> Outcome {
    let producer = client.producer().build().await?;
    let began = Instant::now();
    for _ in 0..load.records {
        drop(producer.enqueue_ref(RecordRef { value: Some(&load.value), ..RecordRef::to("t") }).await?);
    }
    producer.flush().await?;
    load.report("produce, acknowledged", began.elapsed());
    Ok(())
}

async fn consume(load: &Load, client: &Client) -> Outcome {
    for by_message in [false, true] {
        let mut consumer = client.consumer().topics(["t"]).until(OffsetSpec::End).build().await?;
        let began = Instant::now();
        let mut count = 0_u64;
        if by_message {
            while let Some(message) = consumer.next().await {
                count += u64::from(message?.value().is_some());
            }
        } else {
            while let Some(batch) = consumer.next_records().await {
                for record in &batch? {
                    count += u64::from(record?.value.is_some());
                }
            }
        }
        assert_eq!(count, load.records, "records came back");
        load.report(if by_message { "consume, messages" } else { "consume, batches" }, began.elapsed());
    }
    Ok(())
}
