//! Tests a program against the real engine, in its own process and in memory: nothing to install, no port to choose, no
//! file left behind. `cargo run -p corduroy-client --example testing`; in a project of yours this is a `#[tokio::test]`.

use corduroy_client::{Client, ClientError, Record, SendError};
use corduroy_testing::Broker;

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    an_accepted_order_survives_a_power_loss().await?;
    println!("passed");
    Ok(())
}

/// What is tested: a program's own function, which knows nothing of tests.
async fn accept_order(client: &Client, customer: &str, order: &str) -> Result<(), AcceptError> {
    let producer = client.producer().build().await?;
    producer.send(Record::to("orders").key(customer.to_owned()).value(order.to_owned())).await?;
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum AcceptError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Send(#[from] SendError),
}

pub(crate) async fn an_accepted_order_survives_a_power_loss() -> Result<(), Error> {
    let mut broker = Broker::start().await?;
    broker.topic("orders", 1).await?;
    accept_order(broker.client(), "alice", "1 book").await?;

    // Whatever was not synced is gone.
    broker.restart_after_power_loss().await?;

    let records = broker.records("orders").await?;
    let values: Vec<_> = records.iter().filter_map(|record| record.value()).collect();
    assert_eq!(values, [b"1 book"]);
    broker.stop().await;
    Ok(())
}
