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
use corduroy_api::v1::{self, produce_client::ProduceClient, produce_request::Payload, produce_response};
use corduroy_broker::config::Watermark;
use corduroy_log::disk::SimCall;
use corduroy_testing::Broker;
use support::{
    ledger::{Ledger, State},
    stub,
};
use tokio_stream::StreamExt;

/// Produces one value and notes what came of it; returns the refusal, if it was one.
async fn produce_one(broker: &Broker, ledger: &mut Ledger, value: Bytes) -> Option<v1::Error> {
    ledger.send(value.clone());
    let record = v1::Record { value: Some(value.clone()), ..Default::default() };
    let request = v1::ProduceRequest {
        topic: "t".to_owned(),
        partition: Some(0),
        payload: Some(Payload::Records(v1::PlainRecords { records: vec![record] })),
        ..Default::default()
    };
    let mut client = ProduceClient::new(stub::connect(broker.url()).await);
    let mut answers = client.produce(tokio_stream::once(request)).await.unwrap().into_inner();
    match answers.next().await.unwrap().unwrap().result.unwrap() {
        produce_response::Result::Ok(ack) => {
            ledger.settle(&value, State::Acknowledged(0, ack.appended[0].base_offset));
            None
        }
        produce_response::Result::Error(error) => {
            if error.outcome() == v1::Outcome::NotWritten {
                ledger.settle(&value, State::NotWritten);
            }
            Some(error)
        }
    }
}

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
