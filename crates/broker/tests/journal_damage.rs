//! Damage of the commit journal that a start has found is named until an operator accepts it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{path::Path, sync::Arc};

use corduroy_api::v1::{self, cluster_client::ClusterClient};
use corduroy_broker::{Broker, RunningBroker, config::BrokerConfig};
use corduroy_log::{SimDisk, disk::Disk};
use tonic::transport::Channel;

/// What the start says where the file with the only generation is gone.
const LOST: &str = "no commit journal that can be read";

async fn start(disk: &SimDisk) -> (RunningBroker, ClusterClient<Channel>) {
    let broker = Broker::start(BrokerConfig::for_tests("/data"), Arc::new(disk.clone())).await.unwrap();
    let at = format!("http://{}", broker.grpc_addr());
    (broker, ClusterClient::connect(at).await.unwrap())
}

/// What `status` says of the journal.
async fn findings(cluster: &mut ClusterClient<Channel>) -> Vec<v1::Finding> {
    let described = cluster.describe_cluster(v1::DescribeClusterRequest::default()).await.unwrap();
    let findings = described.into_inner().findings.into_iter();
    findings.filter(|finding| finding.message.contains("the commit journal was damaged")).collect()
}

async fn accept(cluster: &mut ClusterClient<Channel>, validate_only: bool) -> Vec<String> {
    let request = v1::AcceptJournalDamageRequest { broker: 0, validate_only };
    cluster.accept_journal_damage(request).await.unwrap().into_inner().accepted
}

#[tokio::test]
async fn it_is_named_over_restarts_until_it_is_accepted() {
    let disk = SimDisk::new();
    let (broker, mut cluster) = start(&disk).await;
    assert!(findings(&mut cluster).await.is_empty());
    assert!(accept(&mut cluster, false).await.is_empty());
    assert!(broker.shutdown().await);
    disk.remove_file(Path::new("/data/journal/a.journal")).unwrap();
    for _ in 0..2 {
        let (broker, mut cluster) = start(&disk).await;
        let found = findings(&mut cluster).await;
        assert!(matches!(&found[..], [one] if one.message.contains(LOST)), "{found:?}");
        assert!(found[0].hint.contains("logctl broker accept-journal-damage 1"), "{found:?}");
        assert!(broker.shutdown().await);
    }
    let (broker, mut cluster) = start(&disk).await;
    for validate_only in [true, false] {
        assert_eq!(findings(&mut cluster).await.len(), 1);
        let accepted = accept(&mut cluster, validate_only).await;
        assert!(matches!(&accepted[..], [one] if one.contains(LOST)), "{accepted:?}");
    }
    assert!(findings(&mut cluster).await.is_empty());
    let request = v1::AcceptJournalDamageRequest { broker: 9, validate_only: false };
    assert!(cluster.accept_journal_damage(request).await.is_err(), "another broker is meant");
    assert!(broker.shutdown().await);
    let (broker, mut cluster) = start(&disk).await;
    assert!(findings(&mut cluster).await.is_empty());
    assert!(broker.shutdown().await);
}
