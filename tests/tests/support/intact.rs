//! Whether everything that was acknowledged is still there, and what `status` says where it is not.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use corduroy_api::v1::{
    self, admin_client::AdminClient, cluster_client::ClusterClient, fetch_client::FetchClient,
};
use tonic::transport::Channel;

use super::{Random, group, ledger::Ledger, ledger::RecordOutcome, stub};

const GROUP: &str = "readers";
/// Topics, with their partitions.
pub const TOPICS: [(&str, u32); 2] = [("orders", 3), ("audit", 1)];

/// A coordinator that has not loaded by then, does not.
const LOADS_WITHIN: Duration = Duration::from_secs(5);

/// What was acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged {
    topics: BTreeSet<String>,
    records: BTreeMap<(String, u32), BTreeMap<u64, Bytes>>,
    /// Records below were deleted.
    log_starts: BTreeMap<(String, u32), u64>,
    committed: BTreeMap<u32, u64>,
}

/// What a broker serves, and what it says of itself.
#[derive(Debug, Default)]
pub struct Seen {
    pub findings: Vec<String>,
    topics: BTreeSet<String>,
    records: BTreeMap<(String, u32), BTreeMap<u64, Bytes>>,
    log_starts: BTreeMap<(String, u32), u64>,
    committed: BTreeMap<u32, u64>,
}

/// Uses everything that leaves files: topics, segments that are full, deleted records, a committed offset.
pub async fn fill(url: &str, seed: u64) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    let configs = [("segment.bytes", "64KiB"), ("max.message.bytes", "32KiB")];
    let channel = stub::connect(url).await;
    for (topic, partitions) in TOPICS {
        stub::create_topic(channel.clone(), topic, partitions, &configs).await;
        acknowledged.topics.insert(topic.to_owned());
    }
    produce(url, &mut acknowledged, seed, 400).await;
    let (topic, before_offset) = (TOPICS[0].0.to_owned(), 30);
    let partitions = vec![v1::DeleteRecordsPartition { partition: 0, before_offset }];
    let request = v1::DeleteRecordsRequest { topic: topic.clone(), partitions, validate_only: false };
    let deleted = AdminClient::new(channel).delete_records(request).await.expect("it answers").into_inner();
    assert_eq!(deleted.partitions[0].error, None);
    acknowledged.log_starts.insert((topic.clone(), 0), before_offset);
    for offset in [3, 40] {
        let offset = v1::OffsetToCommit { topic: topic.clone(), partition: 0, offset, ..Default::default() };
        commit(url, offset).await;
        acknowledged.committed.insert(0, 40);
    }
    acknowledged
}

/// Creates an empty topic.
pub async fn create(url: &str, acknowledged: &mut Acknowledged, topic: &str) {
    stub::create_topic(stub::connect(url).await, topic, 1, &[]).await;
    acknowledged.topics.insert(topic.to_owned());
}

/// Commits an offset, as soon as the group's coordinator is there.
async fn commit(url: &str, offset: v1::OffsetToCommit) {
    let mut client = group::connect(url).await;
    loop {
        let offsets = vec![offset.clone()];
        let request = v1::CommitOffsetsRequest { group: GROUP.to_owned(), offsets, ..Default::default() };
        if let Ok(answer) = client.commit_offsets(request).await
            && answer.get_ref().offsets[0].error.is_none()
        {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Produces about so many records more to each topic.
pub async fn produce(url: &str, acknowledged: &mut Acknowledged, seed: u64, count: usize) {
    for (topic, partitions) in TOPICS {
        let mut ledger = Ledger::default();
        let mut random = Random(seed ^ u64::from(partitions));
        stub::produce_some(url, topic, partitions, &mut random, &mut ledger, count).await;
        for (value, state) in ledger.states() {
            let RecordOutcome::Acknowledged(partition, offset) = state else { continue };
            let records = acknowledged.records.entry((topic.to_owned(), partition)).or_default();
            assert_eq!(records.insert(offset, value), None, "{topic}/{partition}: {offset} was given twice");
        }
    }
}

/// Reads everything that can be read.
pub async fn read_all(url: &str) -> Seen {
    let channel = stub::connect(url).await;
    let mut seen = Seen::default();
    let listed = AdminClient::new(channel.clone()).list_topics(v1::ListTopicsRequest::default()).await;
    for listed in listed.expect("topics are listed").into_inner().topics {
        seen.topics.insert(listed.name);
    }
    for (topic, partitions) in TOPICS.iter().filter(|(topic, _)| seen.topics.contains(*topic)) {
        for partition in 0..*partitions {
            let (start, records) = read(channel.clone(), topic, partition).await;
            let key = ((*topic).to_owned(), partition);
            seen.log_starts.extend(start.map(|start| (key.clone(), start)));
            seen.records.insert(key, records);
        }
    }
    // A coordinator whose partition is damaged never loads; a sound one does at once.
    let committed = tokio::time::timeout(LOADS_WITHIN, group::committed(url, GROUP)).await;
    seen.committed = committed.unwrap_or_default();
    // Last: reading finds what was not read before.
    let described = ClusterClient::new(channel).describe_cluster(v1::DescribeClusterRequest::default()).await;
    let described = described.expect("the cluster is described").into_inner();
    seen.findings = described.findings.into_iter().map(|finding| finding.message).collect();
    seen
}

/// The log start and the records of a partition; what cannot be read is passed over.
async fn read(channel: Channel, topic: &str, partition: u32) -> (Option<u64>, BTreeMap<u64, Bytes>) {
    let mut client = FetchClient::new(channel).max_decoding_message_size(1 << 30);
    let (mut offset, mut start, mut records) = (0, None, BTreeMap::new());
    loop {
        let wanted = v1::FetchPartition { topic: topic.to_owned(), partition, offset, ..Default::default() };
        let form = v1::RecordForm::Plain.into();
        let request = v1::FetchRequest { partitions: vec![wanted], form, ..Default::default() };
        let Ok(answer) = client.fetch(request).await else { return (start, records) };
        let fetched = answer.into_inner().partitions.remove(0);
        let next = match &fetched.error {
            None => {
                start = Some(fetched.log_start);
                fetched.next_offset
            }
            Some(error) => {
                start = start.or(error.log_start);
                let below_start = error.log_start.filter(|log_start| *log_start > offset);
                match error.next_good_offset.or(below_start) {
                    Some(next) => next,
                    None => return (start, records),
                }
            }
        };
        records.extend(
            fetched.records.into_iter().map(|record| (record.offset, record.value.unwrap_or_default())),
        );
        if next <= offset || (fetched.error.is_none() && next >= fetched.high_watermark) {
            return (start, records);
        }
        offset = next;
    }
}

/// Where what is seen breaks the promise: something acknowledged is missing, or something deleted is back, and
/// nothing is reported; or something is served that was never acknowledged there.
pub fn violations(acknowledged: &Acknowledged, seen: &Seen) -> Vec<String> {
    let mut violations = Vec::new();
    let gone = acknowledged.topics.difference(&seen.topics);
    let mut missing: Vec<String> = gone.map(|topic| format!("the topic {topic}")).collect();
    for (key, records) in &acknowledged.records {
        let start = acknowledged.log_starts.get(key).copied().unwrap_or(0);
        let nothing = BTreeMap::new();
        let served = seen.records.get(key).unwrap_or(&nothing);
        let lost =
            records.range(start..).filter(|(offset, value)| served.get(offset) != Some(*value)).count();
        if lost > 0 {
            missing.push(format!("{lost} records of {}/{}", key.0, key.1));
        }
        let foreign = served.iter().filter(|(offset, value)| records.get(offset) != Some(*value)).count();
        if foreign > 0 {
            violations
                .push(format!("{foreign} records of {}/{} were never acknowledged there", key.0, key.1));
        }
        if seen.log_starts.get(key).is_some_and(|found| *found < start) {
            missing.push(format!("what was deleted of {}/{}", key.0, key.1));
        }
    }
    let committed = acknowledged.committed.iter().filter(|(partition, _)| {
        seen.topics.contains(TOPICS[0].0)
            && seen.committed.get(partition) != acknowledged.committed.get(partition)
    });
    missing
        .extend(committed.map(|(partition, offset)| format!("the committed offset {offset} of {partition}")));
    if !missing.is_empty() && seen.findings.is_empty() {
        violations.push(format!("HEALTHY without {}", missing.join(", ")));
    }
    violations
}
