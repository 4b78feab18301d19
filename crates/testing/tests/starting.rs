//! A broker that cannot start.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use corduroy_testing::Broker;

#[tokio::test]
async fn a_broker_that_cannot_start_is_an_error() {
    let first = Broker::start().await.unwrap();
    let taken = first.address();
    let error = Broker::start_with(|config| config.listen.grpc = taken.to_string().parse().unwrap())
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}
