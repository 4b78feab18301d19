//! Sends records and looks at what became of each:
//! `cargo run -p corduroy-client --example produce [URL]`. The topic `orders` has to exist; the example `admin` makes it.

use std::time::Duration;

use corduroy_client::{Client, Compression, Outcome, Record};

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:9480".to_owned());
    let client = Client::builder(url).client_id("produce-example").connect().await?;
    let acknowledged = produce(&client, 100).await?;
    println!("{acknowledged} orders acknowledged");
    Ok(())
}

/// Sends `count` orders; returns how many were acknowledged.
pub(crate) async fn produce(client: &Client, count: u32) -> Result<u32, Error> {
    let producer = client.producer().compression(Compression::Lz4).build().await?;
    // A wrong name shows here, and not with the first record.
    producer.prepare("orders").await?;

    // One at a time: the record is on stable storage when `send` returns.
    let first = Record::to("orders").key("alice").value("order 0").header("source", "example");
    let meta = producer.send(first).await?;
    println!("the first order is in partition {} at offset {}", meta.partition, meta.offset);

    // Many at once: `enqueue` waits only for room in the buffer, and batches fill by themselves.
    let mut deliveries = Vec::new();
    for n in 1..count {
        let record = Record::to("orders").key(format!("customer {}", n % 7)).value(format!("order {n}"));
        deliveries.push(producer.enqueue(record).await?);
    }
    let mut acknowledged = 1;
    for delivery in deliveries {
        match delivery.await {
            Ok(_meta) => acknowledged += 1,
            // Certainly not in the log: sending it again cannot duplicate it.
            Err(error) if error.outcome() == Outcome::NotWritten => eprintln!("{error}; {}", error.hint()),
            // It may be there. docs/outcomes.md says what a program can do.
            Err(error) => eprintln!("in doubt: {error}"),
        }
    }

    // Hands back what could not be delivered in time.
    if let Err(undelivered) = producer.close(Duration::from_secs(10)).await {
        for (record, error) in undelivered.records {
            eprintln!("not delivered: {record:?}: {error}");
        }
    }
    Ok(acknowledged)
}
