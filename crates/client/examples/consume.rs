//! Reads a topic without a group: first what is there, then what comes, until Ctrl-C:
//! `cargo run -p corduroy-client --example consume [URL]`.

use std::future::Future;

use corduroy_client::{Client, Message, OffsetSpec};

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:9480".to_owned());
    let client = Client::builder(url).client_id("consume-example").connect().await?;
    println!("{} orders are there", read_all(&client).await?.len());
    let followed = follow(&client, tokio::signal::ctrl_c()).await?;
    println!("{followed} orders came");
    Ok(())
}

/// Everything that the topic holds now, in order for each partition.
pub(crate) async fn read_all(client: &Client) -> Result<Vec<Message>, Error> {
    // The end is that of now: what is appended later is not waited for.
    let mut consumer = client.consumer().topics(["orders"]).until(OffsetSpec::End).build().await?;
    let mut messages = Vec::new();
    while let Some(message) = consumer.next().await {
        messages.push(message?);
    }
    Ok(messages)
}

/// Prints what comes from now on, also in partitions that are added, until `shutdown` resolves; returns how many orders
/// came.
pub(crate) async fn follow(client: &Client, shutdown: impl Future) -> Result<u64, Error> {
    let mut consumer = client.consumer().topics(["orders"]).start(OffsetSpec::End).build().await?;
    let mut shutdown = std::pin::pin!(shutdown);
    let mut count = 0;
    loop {
        let message = tokio::select! {
            // Dropping this future loses no record.
            message = consumer.next() => message,
            _ = &mut shutdown => None,
        };
        match message {
            Some(Ok(message)) => {
                println!("{}@{} {:?}", message.partition(), message.offset(), message.value_bytes());
                count += 1;
            }
            // One partition cannot be read at its position; the others go on, and `seek` would bring this one back.
            Some(Err(error)) => eprintln!("{error}; {}", error.hint()),
            None => return Ok(count),
        }
    }
}
