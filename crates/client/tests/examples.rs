//! The programs of `examples/` do what they say.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a test may fail loudly, and `main` of an example is not called"
)]

#[path = "../examples/admin.rs"]
mod admin;
#[path = "../examples/consume.rs"]
mod consume;
#[path = "../examples/group.rs"]
mod group;
#[path = "../examples/produce.rs"]
mod produce;
#[path = "../examples/testing.rs"]
mod testing;

use corduroy_client::Record;
use corduroy_testing::Broker;

#[tokio::test]
async fn the_examples_work_one_behind_the_other() {
    let broker = Broker::start().await.unwrap();
    let client = broker.client();
    admin::make_topics(client).await.unwrap();
    admin::make_topics(client).await.unwrap();
    assert_eq!(produce::produce(client, 100).await.unwrap(), 100);
    assert_eq!(consume::read_all(client).await.unwrap().len(), 100);

    let producer = client.producer().build().await.unwrap();
    producer.send(Record::to("orders").key("bob").value(vec![0xff])).await.unwrap();
    let summary = group::bill_orders(client, broker.caught_up("billing")).await.unwrap();
    assert_eq!((summary.handled, summary.dead_lettered), (100, 1));
    assert_eq!(broker.records("orders.dead").await.unwrap().len(), 1);
    admin::describe(client).await.unwrap();
}

#[tokio::test]
async fn what_comes_is_followed_until_it_is_to_end() {
    let broker = Broker::start().await.unwrap();
    admin::make_topics(broker.client()).await.unwrap();
    assert_eq!(consume::follow(broker.client(), async {}).await.unwrap(), 0);
}

#[tokio::test]
async fn the_example_of_a_test_passes() {
    testing::an_accepted_order_survives_a_power_loss().await.unwrap();
}
