//! Every acknowledged record survives: `kill -9` of a real broker, and a disk that forgets what was not synced.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

mod support;

use corduroy_testing::Broker;
use support::{Brokerd, Random, exactly::Load, ledger::Ledger, proxy::Proxy, stub};

const PARTITIONS: u32 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_in_a_loop_under_load_loses_nothing_acknowledged() {
    let (_dir, path) = support::scratch();
    let data = path.join("data");
    let seed = 0x00C0_FFEE;
    let mut random = Random(seed);
    let mut ledger = Ledger::default();
    for round in 0..6 {
        let broker = Brokerd::start(&data, &[]);
        let url = broker.grpc.clone();
        if round == 0 {
            // Small segments, so that the kill also meets rolls.
            stub::create_topic(stub::connect(&url).await, "load", PARTITIONS, &[("segment.bytes", "1MiB")])
                .await;
        }
        let log = stub::read_all(&url, "load", PARTITIONS).await;
        ledger.check(&log, &format!("seed {seed:#x}, before round {round}"));
        let count = 200 + usize::try_from(random.below(800)).expect("it is small");
        let kill = move || broker.kill();
        stub::produce_until_broken(&url, "load", PARTITIONS, &mut random, &mut ledger, count, kill).await;
    }
    let broker = Brokerd::start(&data, &[]);
    let log = stub::read_all(&broker.grpc, "load", PARTITIONS).await;
    ledger.check(&log, &format!("seed {seed:#x}, at the end"));
    assert!(ledger.acknowledged() > 1_000, "the load was too small to show anything");
    assert!(broker.terminate().success(), "SIGTERM ends it cleanly");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_forgets_what_was_not_synced_loses_nothing_acknowledged() {
    let seed = 0x0D15_EA5E;
    let mut random = Random(seed);
    let mut ledger = Ledger::default();
    let mut broker = Broker::start().await.expect("the broker starts");
    let configs = [("segment.bytes", "1MiB")];
    stub::create_topic(stub::connect(broker.url()).await, "load", PARTITIONS, &configs).await;
    for round in 0..12 {
        let url = broker.url().to_owned();
        let count = 100 + usize::try_from(random.below(400)).expect("it is small");
        let cut = broker.power();
        let cut = move || cut.cut();
        stub::produce_until_broken(&url, "load", PARTITIONS, &mut random, &mut ledger, count, cut).await;
        broker.restart_after_power_loss().await.expect("the broker starts again");
        let log = stub::read_all(broker.url(), "load", PARTITIONS).await;
        ledger.check(&log, &format!("seed {seed:#x}, after power loss {round}"));
    }
    assert!(ledger.acknowledged() > 1_000, "the load was too small to show anything");
}

/// Where the broker of a URL listens.
fn address(url: &str) -> std::net::SocketAddr {
    url.trim_start_matches("http://").parse().expect("an address")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_in_the_middle_of_produces_leaves_every_record_once_and_in_its_order() {
    let (_dir, path) = support::scratch();
    let data = path.join("data");
    let seed = 0x0001_DEAD;
    let mut random = Random(seed);
    let mut broker = Brokerd::start(&data, &[]);
    let configs = [("segment.bytes", "1MiB")];
    stub::create_topic(stub::connect(&broker.grpc).await, "load", PARTITIONS, &configs).await;
    // The producer outlives the broker, and finds the next one where the first one was.
    let proxy = Proxy::start(address(&broker.grpc), seed, None).await;
    let load = Load::start(&proxy.url, "load", PARTITIONS, seed).await;
    for _ in 0..6 {
        load.acknowledges(200 + usize::try_from(random.below(800)).expect("it is small")).await;
        broker.kill();
        broker = Brokerd::start(&data, &[]);
        proxy.aim(address(&broker.grpc));
    }
    load.acknowledges(200).await;
    load.check(&broker.grpc, "load", PARTITIONS, &format!("seed {seed:#x}")).await;
    assert!(broker.terminate().success(), "SIGTERM ends it cleanly");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_loss_in_the_middle_of_produces_leaves_every_record_once_and_in_its_order() {
    let seed = 0x0002_DEAD;
    let mut random = Random(seed);
    let mut broker = Broker::start().await.expect("the broker starts");
    let configs = [("segment.bytes", "1MiB")];
    stub::create_topic(stub::connect(broker.url()).await, "load", PARTITIONS, &configs).await;
    let proxy = Proxy::start(broker.address(), seed, None).await;
    let load = Load::start(&proxy.url, "load", PARTITIONS, seed).await;
    for _ in 0..10 {
        load.acknowledges(100 + usize::try_from(random.below(400)).expect("it is small")).await;
        broker.restart_after_power_loss().await.expect("the broker starts again");
        proxy.aim(broker.address());
    }
    load.acknowledges(100).await;
    load.check(broker.url(), "load", PARTITIONS, &format!("seed {seed:#x}")).await;
}
