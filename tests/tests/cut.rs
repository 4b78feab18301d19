//! Connections that break anywhere, in the middle of requests and of answers: every record is there once, in its order.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

mod support;

use corduroy_testing::Broker;
use support::{exactly::Load, proxy::Proxy};

const PARTITIONS: u32 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cutting_connections_at_any_byte_duplicates_reorders_and_loses_nothing() {
    let (mut cuts, mut duplicates) = (0, 0);
    for seed in [1, 0xC0FFEE, 0x005E_ED0F_0DD5] {
        let broker = Broker::start().await.unwrap();
        broker.topic("t", PARTITIONS).await.unwrap();
        // Enough for a handshake and a look-up, most of the time; seldom for all that is in flight.
        let proxy = Proxy::start(broker.address(), seed, Some(300..60_000)).await;
        let load = Load::start(&proxy.url, "t", PARTITIONS, seed).await;
        while proxy.cuts() < 60 {
            load.acknowledges(50).await;
        }
        duplicates += load.check(broker.url(), "t", PARTITIONS, &format!("seed {seed:#x}")).await;
        cuts += proxy.cuts();
        broker.stop().await;
    }
    assert!(duplicates > 0, "of {cuts} cuts none lost an answer: this shows nothing");
}
