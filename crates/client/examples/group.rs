//! Handles the records of a topic with workers, as a member of a group, until Ctrl-C:
//! `cargo run -p corduroy-client --example group [URL]`. Start it several times: the members share the partitions.

use std::future::Future;

use corduroy_client::{Client, Event, Message, OnFailure, Retry, RunSummary, Workers};

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:9480".to_owned());
    let client = Client::builder(url).client_id("group-example").on_event(print_event).connect().await?;
    let summary = bill_orders(&client, tokio::signal::ctrl_c()).await?;
    println!("{summary}");
    Ok(())
}

/// What happens apart from the records. The same is in the log, for programs that have a `tracing` subscriber.
fn print_event(event: Event) {
    match event {
        Event::Assigned { partitions, .. } => println!("reading {partitions:?}"),
        Event::Revoked { partitions, .. } => println!("not reading {partitions:?} any more"),
        Event::TopicMissing { topic, error, .. } => eprintln!("{topic} does not exist yet; {}", error.hint()),
        Event::Disconnected { url, reason, .. } => eprintln!("{url}: {reason}; trying again"),
        other => eprintln!("{other:?}"),
    }
}

/// Handles orders until `shutdown` resolves. Then what is running ends, what is done is committed, and the member leaves
/// the group, so that others go on at once.
pub(crate) async fn bill_orders(client: &Client, shutdown: impl Future) -> Result<RunSummary, Error> {
    let consumer = client.consumer().group("billing").topics(["orders"]).build().await?;
    // Orders of one customer are handled in their order, up to 16 customers at a time. One that fails three times goes to
    // another topic, so that it does not hold up those behind it.
    let workers =
        Workers::by_key(16).retry(Retry::exponential(3)).on_failure(OnFailure::dead_letter("orders.dead"));
    Ok(consumer.run_until(shutdown, workers, bill).await?)
}

async fn bill(order: Message) -> Result<(), std::str::Utf8Error> {
    let text = std::str::from_utf8(order.value().unwrap_or_default())?;
    println!("billing {text}");
    Ok(())
}
