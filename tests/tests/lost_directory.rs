//! A data directory that is removed, replaced or unlocked under a running broker: it stops acknowledging and says so.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

mod support;

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use corduroy_api::v1::{
    self, cluster_client::ClusterClient, produce_client::ProduceClient, produce_request::Payload,
    produce_response,
};
use support::{BROKERD, Brokerd, get, stub};
use tokio_stream::StreamExt as _;

/// Far longer than it takes: the wait ends as soon as what is waited for is there.
const WITHIN: Duration = Duration::from_secs(30);

/// Asks until `/readyz` has this status; returns its answer.
fn until_readyz(broker: &Brokerd, status: &str) -> String {
    let begun = Instant::now();
    loop {
        let answer = get(&broker.http, "/readyz");
        if answer.starts_with(&format!("HTTP/1.1 {status}")) {
            return answer;
        }
        assert!(begun.elapsed() < WITHIN, "no {status} from /readyz: {answer}");
    }
}

/// Produces one record: the refusal, if it is one.
async fn produce(broker: &Brokerd) -> Option<v1::Error> {
    let record = v1::Record { value: Some("v".into()), ..Default::default() };
    let request = v1::ProduceRequest {
        topic: "t".to_owned(),
        partition: Some(0),
        payload: Some(Payload::Records(v1::PlainRecords { records: vec![record] })),
        ..Default::default()
    };
    let mut client = ProduceClient::new(stub::connect(&broker.grpc).await);
    let mut answers = client.produce(tokio_stream::once(request)).await.unwrap().into_inner();
    match answers.next().await.unwrap().unwrap().result.unwrap() {
        produce_response::Result::Ok(_) => None,
        produce_response::Result::Error(error) => Some(error),
    }
}

async fn until_produced(broker: &Brokerd) {
    let begun = Instant::now();
    while let Some(error) = produce(broker).await {
        assert!(begun.elapsed() < WITHIN, "still refused: {error:?}");
    }
}

async fn start(data: &Path) -> Brokerd {
    let broker = Brokerd::start(data, &[]);
    stub::create_topic(stub::connect(&broker.grpc).await, "t", 1, &[]).await;
    assert_eq!(produce(&broker).await, None);
    broker
}

/// Everything that must be true while the directory is lost, for this reason.
async fn assert_lost(broker: &Brokerd, reason: &str) {
    let begun = Instant::now();
    while !until_readyz(broker, "503").contains(reason) {
        assert!(begun.elapsed() < WITHIN, "/readyz does not say {reason}");
    }
    let refused = produce(broker).await.expect("nothing is acknowledged");
    assert_eq!(refused.code(), v1::ErrorCode::StorageFailed, "{refused:?}");
    assert_eq!(refused.outcome(), v1::Outcome::NotWritten, "{refused:?}");
    let mut cluster = ClusterClient::new(stub::connect(&broker.grpc).await);
    let status = cluster.describe_cluster(v1::DescribeClusterRequest {}).await.unwrap().into_inner();
    assert_eq!(status.health(), v1::HealthState::Unhealthy);
    assert!(status.findings[0].message.contains(reason), "{:?}", status.findings);
    let metrics = get(&broker.http, "/metrics");
    let state = metrics.lines().find(|line| line.starts_with("brokerd_disk_state{")).unwrap();
    assert!(state.ends_with("} 3"), "{state}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_lock_file_a_broker_stops_acknowledging_until_it_is_back() {
    let (_dir, home) = support::scratch();
    let data = home.join("data");
    let broker = start(&data).await;
    fs::rename(data.join("LOCK"), home.join("aside")).unwrap();
    assert_lost(&broker, "LOCK was removed while the broker was using it").await;

    let mut second = Command::new(BROKERD);
    second.args(["--listen", "127.0.0.1:0", "--set", "listen.http=127.0.0.1:0", "--data-dir"]);
    let second = second.arg(&data).env_clear().output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(text.contains("is in use by"), "{text}");
    assert!(!data.join("LOCK").exists(), "a refused start leaves nothing");
    fs::write(data.join("LOCK"), "").unwrap();
    assert_lost(&broker, "LOCK was replaced while the broker was using it").await;

    fs::rename(home.join("aside"), data.join("LOCK")).unwrap();
    until_readyz(&broker, "200");
    until_produced(&broker).await;
    assert_eq!(broker.terminate().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_directory_gets_no_acknowledgements_and_is_not_made_again() {
    let (_dir, home) = support::scratch();
    let data = home.join("data");
    let broker = start(&data).await;
    fs::remove_dir_all(&data).unwrap();
    assert_lost(&broker, "data was removed while the broker was using it").await;
    assert_eq!(broker.terminate().code(), Some(1), "what it could not write it does not call written");
    assert!(!data.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_brokers_directory_in_the_same_place_is_left_alone() {
    let (_dir, home) = support::scratch();
    let (data, aside) = (home.join("data"), home.join("aside"));
    let broker = start(&data).await;
    fs::rename(&data, &aside).unwrap();
    let other = start(&data).await;
    assert_lost(&broker, "data was replaced while the broker was using it").await;
    assert_eq!(broker.terminate().code(), Some(1));
    assert_eq!(produce(&other).await, None);
    assert_eq!(other.terminate().code(), Some(0));
    assert!(!aside.join("clean-shutdown").exists() && data.join("clean-shutdown").exists());
}
