//! Consumer groups, seen from the wire.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::{sync::Arc, time::Duration};

use corduroy_api::{
    Refusal,
    v1::{self, admin_client::AdminClient, groups_client::GroupsClient, heartbeat_request::Kind},
};
use corduroy_broker::{Broker, RunningBroker, config::BrokerConfig};
use corduroy_log::{
    SimDisk,
    disk::{Kept, SimCall},
};
use corduroy_types::ErrorCode;
use tonic::{Response, Status, transport::Channel};

struct Node {
    broker: RunningBroker,
    channel: Channel,
}

impl Node {
    async fn start(disk: &SimDisk) -> Self {
        let broker = Broker::start(BrokerConfig::for_tests("/data"), Arc::new(disk.clone())).await.unwrap();
        let url = format!("http://{}", broker.grpc_addr());
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        Self { broker, channel }
    }

    fn groups(&self) -> GroupsClient<Channel> {
        GroupsClient::new(self.channel.clone())
    }

    async fn create_topic(&self, name: &str, partition_count: u32) {
        let topic = v1::NewTopic { name: name.to_owned(), partition_count, ..Default::default() };
        let request = v1::CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let answer = AdminClient::new(self.channel.clone()).create_topics(request).await.unwrap();
        assert_eq!(answer.into_inner().topics[0].error, None);
    }

    /// A heartbeat, tried again while the coordinator is being loaded.
    async fn heartbeat(&self, request: v1::HeartbeatRequest) -> Result<v1::HeartbeatResponse, ErrorCode> {
        loop {
            match answer_of(self.groups().heartbeat(request.clone()).await) {
                Err(ErrorCode::CoordinatorLoading) => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
    }

    async fn join(&self, member: &str, instance: &str) -> (u32, Vec<u32>) {
        let subscription = v1::Subscription { topics: vec!["orders".to_owned()], ..Default::default() };
        let join = v1::JoinGroup {
            subscription: Some(subscription),
            instance: instance.to_owned(),
            ..Default::default()
        };
        let request = heartbeat(member, Kind::Join(join), None, 0);
        let answer = self.heartbeat(request).await.unwrap();
        (answer.member_epoch, partitions(&answer).unwrap())
    }

    /// Waits for what a member is to have next.
    async fn stay(&self, member: &str, epoch: u32, owned: &[u32]) -> (u32, Vec<u32>) {
        loop {
            let stay = Kind::Stay(v1::StayInGroup { member_epoch: epoch, subscription: None });
            let answer = self.heartbeat(heartbeat(member, stay, Some(owned), 10_000)).await.unwrap();
            if let Some(assigned) = partitions(&answer) {
                return (answer.member_epoch, assigned);
            }
        }
    }

    async fn commit(
        &self,
        member: Option<(&str, u32)>,
        partition: u32,
        offset: u64,
    ) -> Result<(), ErrorCode> {
        let member = member
            .map(|(member, member_epoch)| v1::MemberIdentity { member: member.to_owned(), member_epoch });
        let offset =
            v1::OffsetToCommit { topic: "orders".to_owned(), partition, offset, ..Default::default() };
        let request = v1::CommitOffsetsRequest {
            group: "billing".to_owned(),
            member,
            offsets: vec![offset],
            validate_only: false,
        };
        loop {
            match answer_of(self.groups().commit_offsets(request.clone()).await) {
                Err(ErrorCode::CoordinatorLoading) => tokio::task::yield_now().await,
                Err(code) => return Err(code),
                Ok(answer) => {
                    let error = answer.offsets[0].error.clone();
                    return error.map_or(Ok(()), |error| Err(Refusal::from(error).code));
                }
            }
        }
    }

    async fn committed(&self) -> Vec<(u32, Option<u64>)> {
        let request = v1::FetchOffsetsRequest { group: "billing".to_owned(), topics: Vec::new() };
        loop {
            match answer_of(self.groups().fetch_offsets(request.clone()).await) {
                Err(ErrorCode::CoordinatorLoading) => tokio::task::yield_now().await,
                answer => {
                    let offsets = answer.unwrap().offsets;
                    return offsets.iter().map(|one| (one.partition, one.offset)).collect();
                }
            }
        }
    }
}

fn answer_of<T>(answer: Result<Response<T>, Status>) -> Result<T, ErrorCode> {
    answer.map(Response::into_inner).map_err(|status| Refusal::from_status(&status).code)
}

fn heartbeat(member: &str, kind: Kind, owned: Option<&[u32]>, wait_ms: u32) -> v1::HeartbeatRequest {
    let owned = owned.map(|owned| v1::OwnedPartitions {
        topics: vec![v1::TopicPartitions {
            topic: "orders".to_owned(),
            partitions: owned.to_vec(),
            ..Default::default()
        }],
    });
    v1::HeartbeatRequest {
        group: "billing".to_owned(),
        member: member.to_owned(),
        kind: Some(kind),
        owned,
        wait_ms,
    }
}

fn partitions(answer: &v1::HeartbeatResponse) -> Option<Vec<u32>> {
    let topics = &answer.assignment.as_ref()?.topics;
    Some(topics.iter().flat_map(|topic| topic.partitions.clone()).collect())
}

#[tokio::test]
async fn members_share_partitions_and_a_leaver_hands_its_own_over() {
    let node = Node::start(&SimDisk::new()).await;
    node.create_topic("orders", 4).await;
    let (mut a_epoch, all) = node.join("a", "").await;
    assert_eq!(all, [0, 1, 2, 3]);
    let (mut b_epoch, none) = node.join("b", "").await;
    assert!(none.is_empty(), "nothing before `a` has released it");
    // `b` waits in the broker, and is answered when `a` has released it.
    let waiting = node.stay("b", b_epoch, &[]);
    let giving = async {
        let (epoch, kept) = node.stay("a", a_epoch, &[0, 1, 2, 3]).await;
        assert_eq!(kept.len(), 2);
        a_epoch = node.stay("a", epoch, &kept).await.0;
        kept
    };
    let ((epoch, got), kept) = tokio::join!(waiting, giving);
    b_epoch = epoch;
    assert_eq!([kept.clone(), got.clone()].concat().len(), 4);
    assert!(got.iter().all(|partition| !kept.contains(partition)));

    assert_eq!(node.commit(Some(("a", a_epoch)), kept[0], 7).await, Ok(()));
    assert_eq!(node.commit(Some(("b", b_epoch)), kept[0], 9).await, Err(ErrorCode::PartitionNotAssigned));
    assert_eq!(node.commit(None, kept[0], 9).await, Err(ErrorCode::GroupNotEmpty));
    assert_eq!(node.committed().await, [(kept[0], Some(7))]);

    let leave = heartbeat("a", Kind::Leave(v1::LeaveGroup { for_restart: false }), None, 0);
    node.heartbeat(leave).await.unwrap();
    let (_, all) = node.stay("b", b_epoch, &got).await;
    assert_eq!(all, [0, 1, 2, 3]);
    assert_eq!(node.commit(Some(("a", a_epoch)), kept[0], 8).await, Err(ErrorCode::UnknownMember));
    assert!(node.broker.shutdown().await);
}

#[tokio::test]
async fn a_broker_that_crashes_remembers_members_and_what_they_committed() {
    let disk = SimDisk::new();
    let node = Node::start(&disk).await;
    node.create_topic("orders", 2).await;
    let (epoch, _) = node.join("a", "").await;
    node.commit(Some(("a", epoch)), 1, 42).await.unwrap();
    node.broker.crash();
    disk.lose_power(Kept::Subset { seed: 7 });

    let node = Node::start(&disk).await;
    assert_eq!(node.committed().await, [(1, Some(42))]);
    // The member goes on as if nothing had happened.
    let stay = Kind::Stay(v1::StayInGroup { member_epoch: epoch, subscription: None });
    let answer = node.heartbeat(heartbeat("a", stay, Some(&[0, 1]), 0)).await.unwrap();
    assert_eq!((answer.member_epoch, answer.assignment), (epoch, None));
    node.commit(Some(("a", epoch)), 1, 43).await.unwrap();
    assert_eq!(node.committed().await, [(1, Some(43))]);
    node.broker.crash();
}

#[tokio::test]
async fn what_the_disk_did_not_take_was_not_committed() {
    let disk = SimDisk::new();
    let node = Node::start(&disk).await;
    node.create_topic("orders", 1).await;
    node.commit(None, 0, 1).await.unwrap();
    disk.fail_nth(SimCall::Sync, 1);
    // The commit ends well only after the coordinator was loaded again, from what is durable.
    node.commit(None, 0, 2).await.unwrap();
    assert_eq!(node.committed().await, [(0, Some(2))]);
    node.broker.crash();
    disk.lose_power(Kept::Subset { seed: 11 });
    let node = Node::start(&disk).await;
    assert_eq!(node.committed().await, [(0, Some(2))]);
    node.broker.crash();
}

#[tokio::test]
async fn a_restarted_instance_takes_its_partitions_back_and_fences_the_process_before() {
    let node = Node::start(&SimDisk::new()).await;
    node.create_topic("orders", 2).await;
    let (before, all) = node.join("first", "billing-1").await;
    let (after, same) = node.join("second", "billing-1").await;
    assert_eq!(all, same);
    assert_eq!(node.commit(Some(("first", before)), 0, 1).await, Err(ErrorCode::UnknownMember));
    assert_eq!(node.commit(Some(("second", after)), 0, 1).await, Ok(()));
    node.broker.crash();
}

#[tokio::test]
async fn a_member_that_falls_silent_loses_its_partitions_to_the_others() {
    let node = Node::start(&SimDisk::new()).await;
    node.create_topic("orders", 2).await;
    let subscription = v1::Subscription { pattern: "ord.*".to_owned(), ..Default::default() };
    let join =
        v1::JoinGroup { subscription: Some(subscription), session_timeout_ms: 1_000, ..Default::default() };
    let silent = node.heartbeat(heartbeat("silent", Kind::Join(join), None, 0)).await.unwrap();
    assert_eq!(partitions(&silent), Some(vec![0, 1]));
    let (mut epoch, mut owned) = node.join("b", "").await;
    while owned.len() < 2 {
        (epoch, owned) = node.stay("b", epoch, &owned).await;
    }
    assert_eq!(node.commit(Some(("silent", silent.member_epoch)), 0, 1).await, Err(ErrorCode::UnknownMember));
    node.broker.crash();
}

#[tokio::test]
async fn the_topic_of_the_groups_is_hidden_and_belongs_to_the_broker() {
    let node = Node::start(&SimDisk::new()).await;
    node.create_topic("orders", 1).await;
    node.commit(None, 0, 1).await.unwrap();
    let mut admin = AdminClient::new(node.channel.clone());
    let listed = admin.list_topics(v1::ListTopicsRequest { include_internal: false }).await.unwrap();
    assert_eq!(listed.get_ref().topics.len(), 1);
    let listed = admin.list_topics(v1::ListTopicsRequest { include_internal: true }).await.unwrap();
    let internal = &listed.get_ref().topics[0];
    assert_eq!((internal.name.as_str(), internal.partition_count), ("__groups", 50));

    let names = vec!["__groups".to_owned()];
    let deleted = admin.delete_topics(v1::DeleteTopicsRequest { names, validate_only: false }).await.unwrap();
    assert!(deleted.get_ref().topics[0].error.is_some());
    let request = v1::DeleteRecordsRequest { topic: "__groups".to_owned(), ..Default::default() };
    assert!(admin.delete_records(request).await.is_err());
    let record = v1::Record { key: Some("k".into()), value: Some("v".into()), ..Default::default() };
    let payload = v1::produce_request::Payload::Records(v1::PlainRecords { records: vec![record] });
    let request =
        v1::ProduceRequest { topic: "__groups".to_owned(), payload: Some(payload), ..Default::default() };
    let mut produce = v1::produce_client::ProduceClient::new(node.channel.clone());
    let mut answers = produce.produce(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().result.unwrap();
    let v1::produce_response::Result::Error(error) = answer else { panic!("written to __groups") };
    assert_eq!(Refusal::from(error).code, ErrorCode::InvalidTopicName);
    node.broker.crash();
}

#[tokio::test]
async fn groups_are_described_with_members_and_lag_and_deleted_when_empty() {
    let node = Node::start(&SimDisk::new()).await;
    node.create_topic("orders", 2).await;
    let (epoch, _) = node.join("a", "one").await;
    node.commit(Some(("a", epoch)), 0, 0).await.unwrap();
    let request = v1::DescribeGroupsRequest { groups: vec!["billing".to_owned(), "biling".to_owned()] };
    let described = answer_of(node.groups().describe_groups(request).await).unwrap().groups;
    assert!(described[1].error.is_some());
    let group = &described[0];
    assert_eq!((group.state(), group.members[0].instance.as_str()), (v1::GroupState::Stable, "one"));
    assert_eq!(group.partitions.len(), 2, "the committed one and the one that is only assigned");
    assert!(group.partitions.iter().all(|one| one.lag_records == Some(0) && one.owner == "a"));

    let delete = || v1::DeleteGroupsRequest { groups: vec!["billing".to_owned()], validate_only: false };
    let refused = answer_of(node.groups().delete_groups(delete()).await).unwrap().groups[0].clone();
    assert_eq!(Refusal::from(refused.error.unwrap()).code, ErrorCode::GroupNotEmpty);
    let remove = v1::RemoveMemberRequest {
        group: "billing".to_owned(),
        member: "one".to_owned(),
        validate_only: false,
    };
    assert_eq!(answer_of(node.groups().remove_member(remove).await).unwrap().member, "a");
    let deleted = answer_of(node.groups().delete_groups(delete()).await).unwrap().groups[0].clone();
    assert_eq!((deleted.error, deleted.offset_count), (None, 1));
    let listed = answer_of(node.groups().list_groups(v1::ListGroupsRequest::default()).await).unwrap();
    assert!(listed.groups.is_empty());
    assert!(tokio::time::timeout(Duration::from_secs(30), node.broker.shutdown()).await.unwrap());
}

#[tokio::test]
async fn the_first_groups_may_come_all_at_once() {
    let node = Node::start(&SimDisk::new()).await;
    node.create_topic("orders", 1).await;
    let commit = |index: u32| {
        let mut groups = node.groups();
        async move {
            let offset = v1::OffsetToCommit { topic: "orders".to_owned(), ..Default::default() };
            let (group, offsets) = (format!("g{index}"), vec![offset]);
            groups.commit_offsets(v1::CommitOffsetsRequest { group, offsets, ..Default::default() }).await
        }
    };
    let committed = futures_util::future::join_all((0..200).map(commit)).await;
    for answer in committed {
        // Each waits until the topic of the groups is there.
        assert_eq!(answer.unwrap().into_inner().offsets[0].error, None);
    }
    assert!(node.broker.shutdown().await);
}
