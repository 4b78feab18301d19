//! Members of groups on `Subscribe` streams, seen from the wire.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use std::{collections::BTreeSet, sync::Arc};

use corduroy_api::{
    Refusal,
    v1::{
        self, admin_client::AdminClient, groups_client::GroupsClient, offset_spec::Spec,
        produce_client::ProduceClient, subscribe_request::Request, subscribe_response::Response,
    },
};
use corduroy_broker::{Broker, RunningBroker, config::BrokerConfig};
use corduroy_log::SimDisk;
use corduroy_types::ErrorCode;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

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

    /// A broker with a topic `orders` that has some records in each partition.
    async fn with_orders(partition_count: u32, records: u64) -> Self {
        let node = Self::start(&SimDisk::new()).await;
        node.create_orders(partition_count).await;
        for partition in 0..partition_count {
            node.produce(partition, records).await;
        }
        node
    }

    async fn create_orders(&self, partition_count: u32) {
        let topic = v1::NewTopic { name: "orders".to_owned(), partition_count, ..Default::default() };
        let request = v1::CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let answer = AdminClient::new(self.channel.clone()).create_topics(request).await.unwrap();
        assert_eq!(answer.into_inner().topics[0].error, None);
    }

    async fn produce(&self, partition: u32, records: u64) {
        let record = |n: u64| v1::Record { value: Some(n.to_string().into()), ..Default::default() };
        let records = v1::PlainRecords { records: (0..records).map(record).collect() };
        if records.records.is_empty() {
            return;
        }
        let request = v1::ProduceRequest {
            topic: "orders".to_owned(),
            partition: Some(partition),
            payload: Some(v1::produce_request::Payload::Records(records)),
            ..Default::default()
        };
        let mut client = ProduceClient::new(self.channel.clone());
        let mut answers = client.produce(tokio_stream::iter([request])).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap().result.unwrap();
        assert!(matches!(answer, v1::produce_response::Result::Ok(_)), "{answer:?}");
    }

    async fn delete_records(&self, partition: u32, before: u64) {
        let at = v1::DeleteRecordsPartition { partition, before_offset: before };
        let request = v1::DeleteRecordsRequest {
            topic: "orders".to_owned(),
            partitions: vec![at],
            ..Default::default()
        };
        let answer = AdminClient::new(self.channel.clone()).delete_records(request).await.unwrap();
        assert_eq!(answer.into_inner().partitions[0].error, None);
    }

    async fn open(&self, first: Option<Request>) -> Stub {
        Stub::open(self.channel.clone(), first).await
    }

    async fn join(&self, join: v1::SubscribeJoin) -> Stub {
        Stub::join(self.channel.clone(), join).await
    }

    /// The committed offsets, by partition.
    async fn committed(&self) -> Vec<(u32, Option<u64>)> {
        let request = v1::FetchOffsetsRequest { group: "billing".to_owned(), topics: Vec::new() };
        let answer = GroupsClient::new(self.channel.clone()).fetch_offsets(request).await.unwrap();
        answer.into_inner().offsets.iter().map(|one| (one.partition, one.offset)).collect()
    }

    /// The group, once its coordinator is loaded.
    async fn describe(&self) -> v1::DescribedGroup {
        loop {
            let request = v1::DescribeGroupsRequest { groups: vec!["billing".to_owned()] };
            let answer = GroupsClient::new(self.channel.clone()).describe_groups(request).await.unwrap();
            let group = answer.into_inner().groups.remove(0);
            match group.error.clone().map(|error| Refusal::from(error).code) {
                None => return group,
                Some(ErrorCode::CoordinatorLoading) => tokio::task::yield_now().await,
                Some(code) => panic!("{code}"),
            }
        }
    }

    async fn members(&self) -> BTreeSet<String> {
        self.describe().await.members.into_iter().map(|member| member.member).collect()
    }
}

/// A program that has only the stub.
struct Stub {
    requests: Option<mpsc::Sender<v1::SubscribeRequest>>,
    answers: Streaming<v1::SubscribeResponse>,
    member: String,
}

impl Stub {
    async fn open(channel: Channel, first: Option<Request>) -> Self {
        let (requests, stream) = mpsc::channel(16);
        if let Some(first) = first {
            requests.send(v1::SubscribeRequest { request: Some(first) }).await.unwrap();
        }
        let mut groups = GroupsClient::new(channel);
        let answers = groups.subscribe(ReceiverStream::new(stream)).await.unwrap().into_inner();
        Stub { requests: Some(requests), answers, member: String::new() }
    }

    async fn join(channel: Channel, join: v1::SubscribeJoin) -> Self {
        let mut stub = Self::open(channel, Some(Request::Join(join))).await;
        let Response::Joined(joined) = stub.next().await else { panic!("it begins with `joined`") };
        stub.member = joined.member;
        stub
    }

    async fn send(&self, request: Request) {
        let request = v1::SubscribeRequest { request: Some(request) };
        // It fails where the broker has ended the stream, which the answers show.
        let _told_elsewhere = self.requests.as_ref().unwrap().send(request).await;
    }

    async fn next(&mut self) -> Response {
        self.answers.message().await.unwrap().unwrap().response.unwrap()
    }

    /// How the stream ends, whatever comes before.
    async fn end(&mut self) -> Result<(), ErrorCode> {
        loop {
            match self.answers.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(status) => return Err(Refusal::from_status(&status).code),
            }
        }
    }

    /// The next partitions that it gets, with where they begin; records in between are passed over.
    async fn assigned(&mut self) -> Vec<(u32, Option<u64>)> {
        loop {
            match self.next().await {
                Response::Assigned(assigned) => {
                    return assigned.partitions.iter().map(|one| (one.partition, one.offset)).collect();
                }
                Response::Records(_) => {}
                other => panic!("not assigned: {other:?}"),
            }
        }
    }

    /// Waits until it was given so many partitions, and returns them.
    async fn gets(&mut self, count: usize) -> BTreeSet<u32> {
        let mut all = BTreeSet::new();
        while all.len() < count {
            all.extend(self.assigned().await.into_iter().map(|(partition, _)| partition));
        }
        all
    }

    /// The next message of records: partition, first offset, and where to go on.
    async fn records(&mut self) -> (u32, u64, u64) {
        let Response::Records(records) = self.next().await else { panic!("no records") };
        assert_eq!(records.error, None);
        (records.partition, records.records[0].offset, records.next_offset)
    }

    async fn acknowledge(&self, partition: u32, offset: u64) {
        let offset =
            v1::OffsetToCommit { topic: "orders".to_owned(), partition, offset, ..Default::default() };
        self.send(Request::Acknowledge(v1::Acknowledgement { offsets: vec![offset] })).await;
    }

    /// The answer to the next acknowledgement; records in between are passed over.
    async fn committed(&mut self) -> Result<(), ErrorCode> {
        loop {
            match self.next().await {
                Response::Committed(committed) => {
                    let error = committed.offsets[0].error.clone();
                    return error.map_or(Ok(()), |error| Err(Refusal::from(error).code));
                }
                Response::Records(_) => {}
                other => panic!("not committed: {other:?}"),
            }
        }
    }

    async fn revoked(&mut self) -> Vec<u32> {
        loop {
            match self.next().await {
                Response::Revoked(revoked) => return revoked.topics[0].partitions.clone(),
                Response::Records(_) => {}
                other => panic!("not revoked: {other:?}"),
            }
        }
    }

    /// Takes what comes, and releases what is revoked.
    async fn lets_go(&mut self) {
        loop {
            if let Response::Revoked(v1::Revoked { topics }) = self.next().await {
                self.send(Request::Release(v1::Release { topics })).await;
            }
        }
    }

    async fn release(&self, partitions: Vec<u32>) {
        let topic = v1::TopicPartitions { topic: "orders".to_owned(), partitions, ..Default::default() };
        self.send(Request::Release(v1::Release { topics: vec![topic] })).await;
    }

    /// Closes its side, and expects that the stream ends well.
    async fn leave(mut self) {
        self.requests = None;
        assert_eq!(self.end().await, Ok(()));
    }
}

fn join() -> v1::SubscribeJoin {
    let subscription = v1::Subscription { topics: vec!["orders".to_owned()], ..Default::default() };
    let member_spec = v1::JoinGroup { subscription: Some(subscription), ..Default::default() };
    v1::SubscribeJoin { group: "billing".to_owned(), member_spec: Some(member_spec), ..Default::default() }
}

fn join_with(change: impl FnOnce(&mut v1::JoinGroup)) -> v1::SubscribeJoin {
    let mut join = join();
    change(join.member_spec.as_mut().unwrap());
    join
}

#[tokio::test]
async fn a_member_reads_commits_and_leaves() {
    let node = Node::with_orders(1, 3).await;
    let mut stub = node.join(join()).await;
    assert_eq!(stub.assigned().await, [(0, Some(0))]);
    assert_eq!(stub.records().await, (0, 0, 3));
    node.produce(0, 2).await;
    assert_eq!(stub.records().await, (0, 3, 5), "it goes on with what comes");
    stub.acknowledge(0, 3).await;
    stub.acknowledge(0, 4).await;
    stub.leave().await;
    assert_eq!(node.committed().await, [(0, Some(4))], "what was acknowledged before is committed");
    assert!(node.members().await.is_empty());
    let mut stub = node.join(join()).await;
    assert_eq!(stub.assigned().await, [(0, Some(4))]);
    assert_eq!(stub.records().await, (0, 4, 5));
    assert!(node.broker.shutdown().await);
}

#[tokio::test]
async fn what_is_outstanding_is_handed_over_when_it_is_released() {
    let node = Node::with_orders(2, 3).await;
    let mut a = node.join(join()).await;
    assert_eq!(a.gets(2).await.len(), 2);
    let both = BTreeSet::from([a.records().await.0, a.records().await.0]);
    assert_eq!(both, [0, 1].into());
    let mut b = node.join(join()).await;
    let revoked = a.revoked().await;
    assert_eq!(revoked.len(), 1);
    a.acknowledge(revoked[0], 2).await;
    a.release(revoked.clone()).await;
    assert_eq!(a.committed().await, Ok(()));
    assert_eq!(b.assigned().await, [(revoked[0], Some(2))], "committed before it was handed over");
    a.acknowledge(revoked[0], 3).await;
    assert_eq!(a.committed().await, Err(ErrorCode::PartitionNotAssigned));
    node.broker.crash();
}

#[tokio::test]
async fn what_the_program_is_done_with_is_handed_over_at_once() {
    let node = Node::with_orders(2, 0).await;
    let mut a = node.join(join()).await;
    assert_eq!(a.gets(2).await.len(), 2);
    let mut b = node.join(join()).await;
    // `a` neither acknowledges nor releases: it has been sent nothing.
    let got = b.gets(1).await;
    assert_eq!(a.revoked().await, got.into_iter().collect::<Vec<_>>());
    node.broker.crash();
}

#[tokio::test]
async fn the_last_acknowledgement_hands_a_revoked_partition_over() {
    let node = Node::with_orders(2, 3).await;
    let mut a = node.join(join()).await;
    assert_eq!(a.gets(2).await.len(), 2);
    let _both = (a.records().await, a.records().await);
    let mut b = node.join(join()).await;
    let revoked = a.revoked().await;
    a.acknowledge(revoked[0], 3).await;
    assert_eq!(b.assigned().await, [(revoked[0], Some(3))]);
    node.broker.crash();
}

#[tokio::test]
async fn a_broken_stream_hands_over_at_once() {
    let node = Node::with_orders(2, 3).await;
    let mut a = node.join(join()).await;
    assert_eq!(a.gets(2).await.len(), 2);
    let _both = (a.records().await, a.records().await);
    let mut b = node.join(join()).await;
    let revoked = a.revoked().await;
    drop(a);
    assert_eq!(b.gets(2).await, [0, 1].into(), "also what was on its way: {revoked:?}");
    assert_eq!(node.members().await, [b.member.clone()].into());
    node.broker.crash();
}

#[tokio::test]
async fn a_static_member_that_comes_back_finds_its_partitions() {
    let node = Node::with_orders(2, 1).await;
    let fixed = || join_with(|spec| spec.instance = "billing-1".to_owned());
    let mut a = node.join(fixed()).await;
    assert_eq!(a.gets(2).await.len(), 2);
    let mut b = node.join(join()).await;
    let revoked = a.revoked().await;
    a.release(revoked).await;
    let of_b = b.gets(1).await;
    let epoch = node.describe().await.group_epoch;
    drop(a);
    let mut again = node.join(fixed()).await;
    assert_eq!([again.gets(1).await, of_b.clone()].concat_sets(), [0, 1].into());
    again.leave().await;
    let mut again = node.join(fixed()).await;
    assert_eq!([again.gets(1).await, of_b].concat_sets(), [0, 1].into(), "also after a clean end");
    assert_eq!(node.describe().await.group_epoch, epoch, "nothing was assigned again");
    node.broker.crash();
}

trait ConcatSets {
    fn concat_sets(self) -> BTreeSet<u32>;
}

impl ConcatSets for [BTreeSet<u32>; 2] {
    fn concat_sets(self) -> BTreeSet<u32> {
        self.into_iter().flatten().collect()
    }
}

#[tokio::test]
async fn another_process_with_the_same_instance_ends_the_stream() {
    let node = Node::with_orders(1, 0).await;
    let fixed = || join_with(|spec| spec.instance = "billing-1".to_owned());
    let mut first = node.join(fixed()).await;
    assert_eq!(first.gets(1).await.len(), 1);
    let mut second = node.join(fixed()).await;
    assert_eq!(second.gets(1).await.len(), 1);
    assert_eq!(first.end().await, Err(ErrorCode::FencedInstance));
    assert_eq!(node.members().await, [second.member.clone()].into());
    node.broker.crash();
}

#[tokio::test]
async fn the_later_stream_speaks_for_its_member() {
    let node = Node::with_orders(1, 0).await;
    let mine = || v1::SubscribeJoin { member: "mine".to_owned(), ..join() };
    let mut first = node.join(mine()).await;
    assert_eq!(first.gets(1).await.len(), 1);
    // As if the connection of the first were gone without anybody having noticed.
    let mut second = node.join(mine()).await;
    assert_eq!(second.gets(1).await.len(), 1);
    assert_eq!(first.end().await, Err(ErrorCode::FencedMember));
    drop(first);
    second.acknowledge(0, 0).await;
    assert_eq!(second.committed().await, Ok(()));
    assert_eq!(node.members().await, ["mine".to_owned()].into());
    node.broker.crash();
}

#[tokio::test]
async fn a_position_never_goes_back_and_what_is_not_accepted_is_answered() {
    let node = Node::with_orders(1, 5).await;
    let mut stub = node.join(join()).await;
    assert_eq!(stub.assigned().await, [(0, Some(0))]);
    assert_eq!(stub.records().await, (0, 0, 5));
    stub.acknowledge(0, 4).await;
    assert_eq!(stub.committed().await, Ok(()));
    stub.acknowledge(0, 2).await;
    assert_eq!(stub.committed().await, Err(ErrorCode::InvalidRequest));
    stub.acknowledge(0, 4).await;
    assert_eq!(stub.committed().await, Ok(()), "the same once more");
    // In one acknowledgement, and so in one commit.
    let offset = |offset| v1::OffsetToCommit { topic: "orders".to_owned(), offset, ..Default::default() };
    let both = v1::Acknowledgement { offsets: vec![offset(5), offset(4)] };
    stub.send(Request::Acknowledge(both)).await;
    let Response::Committed(committed) = stub.next().await else { panic!("not committed") };
    assert_eq!(committed.offsets[0].error, None);
    let error = Refusal::from(committed.offsets[1].error.clone().unwrap());
    assert_eq!((error.code, error.outcome), (ErrorCode::InvalidRequest, None));
    assert!(error.message.contains("offset 4 ") && error.message.contains("before 5"), "{error}");
    stub.leave().await;
    assert_eq!(node.committed().await, [(0, Some(5))]);

    node.produce(0, 1).await;
    let mut stub = node.join(join()).await;
    assert_eq!(stub.assigned().await, [(0, Some(5))]);
    stub.acknowledge(0, 3).await;
    assert_eq!(stub.committed().await, Err(ErrorCode::InvalidRequest), "the stream began at 5");
    assert_eq!(node.committed().await, [(0, Some(5))]);
    node.broker.crash();
}

#[tokio::test]
async fn a_member_that_does_not_release_in_time_loses_all_and_joins_again() {
    let node = Node::with_orders(2, 3).await;
    let mut a = node.join(join_with(|spec| spec.rebalance_timeout_ms = 1_000)).await;
    assert_eq!(a.gets(2).await.len(), 2);
    let _both = (a.records().await, a.records().await);
    let mut b = node.join(join()).await;
    let revoked = a.revoked().await;
    let Response::Lost(lost) = a.next().await else { panic!("not lost") };
    assert_eq!(lost.topics[0].partitions, [0, 1]);
    a.acknowledge(revoked[0], 3).await;
    // The answer to that, and what it gets as a new member, come in any order.
    let (mut answer, mut got) = (None, BTreeSet::new());
    let again = async {
        while answer.is_none() || got.is_empty() {
            match a.next().await {
                Response::Committed(committed) => answer = Some(committed.offsets[0].error.clone()),
                Response::Assigned(assigned) => {
                    got.extend(assigned.partitions.iter().map(|one| one.partition))
                }
                Response::Records(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    // `b` may have got both meanwhile, and gives one of them back.
    tokio::select! {
        () = again => {}
        () = b.lets_go() => unreachable!("it goes on"),
    }
    // Not its own any more, or its own again: then it counts only once the records have been sent again.
    match answer.unwrap().map(|error| Refusal::from(error).code) {
        Some(code) => {
            assert!(matches!(code, ErrorCode::PartitionNotAssigned | ErrorCode::InvalidRequest), "{code}");
        }
        None => assert_eq!(got, [revoked[0]].into()),
    }
    assert_eq!(got.len(), 1);
    assert_eq!(node.members().await, [a.member.clone(), b.member.clone()].into());
    node.broker.crash();
}

#[tokio::test]
async fn start_is_committed_before_the_first_record() {
    let node = Node::with_orders(1, 3).await;
    let end = v1::SubscribeJoin { start: Some(v1::OffsetSpec { spec: Some(Spec::End(true)) }), ..join() };
    let mut stub = node.join(end.clone()).await;
    assert_eq!(stub.assigned().await, [(0, Some(3))]);
    assert_eq!(node.committed().await, [(0, Some(3))]);
    drop(stub);
    // What comes while no one is there is not skipped.
    node.produce(0, 2).await;
    let mut stub = node.join(end).await;
    assert_eq!(stub.assigned().await, [(0, Some(3))]);
    assert_eq!(stub.records().await, (0, 3, 5));
    node.broker.crash();
}

/// A group that is at offset 2 of a partition whose log begins at 5 and ends at 10.
async fn overtaken(on_position_lost: v1::OnPositionLost) -> (Node, Stub) {
    let node = Node::with_orders(1, 10).await;
    let mut stub = node.join(join()).await;
    assert_eq!(stub.assigned().await, [(0, Some(0))]);
    assert_eq!(stub.records().await, (0, 0, 10));
    stub.acknowledge(0, 2).await;
    assert_eq!(stub.committed().await, Ok(()));
    stub.leave().await;
    node.delete_records(0, 5).await;
    let stub = node.join(v1::SubscribeJoin { on_position_lost: on_position_lost.into(), ..join() }).await;
    (node, stub)
}

fn position_lost(position: u64, log_start: u64, resumed_at: u64) -> v1::PositionLost {
    let topic = "orders".to_owned();
    let lost_offset_count = log_start - position;
    v1::PositionLost { topic, partition: 0, position, log_start, lost_offset_count, resumed_at }
}

#[tokio::test]
async fn a_lost_position_is_an_error_of_the_partition() {
    let (node, mut stub) = overtaken(v1::OnPositionLost::Unspecified).await;
    assert_eq!(stub.assigned().await, [(0, None)]);
    let Response::Records(failed) = stub.next().await else { panic!("no error") };
    let refusal = Refusal::from(failed.error.unwrap());
    assert_eq!(refusal.code, ErrorCode::PositionLost);
    for named in ["billing", "orders", "partition 0", "offset 2", "begins at 5", "3 offsets"] {
        assert!(refusal.message.contains(named), "{named}: {refusal}");
    }
    assert_eq!((failed.log_start, failed.high_watermark), (5, 10));
    assert_eq!(node.committed().await, [(0, Some(2))], "it stays as it is");
    assert_eq!(node.members().await.len(), 1, "and the member stays");
    // A client that has mended the cause joins again.
    stub.leave().await;
    let start = v1::SubscribeJoin { on_position_lost: v1::OnPositionLost::Start.into(), ..join() };
    let mut stub = node.join(start).await;
    assert_eq!(stub.assigned().await, [(0, Some(5))]);
    node.broker.crash();
}

#[tokio::test]
async fn a_lost_position_can_be_reported_and_passed_over() {
    let (node, mut stub) = overtaken(v1::OnPositionLost::Start).await;
    assert_eq!(stub.assigned().await, [(0, Some(5))]);
    assert_eq!(stub.next().await, Response::PositionLost(position_lost(2, 5, 5)));
    assert_eq!(stub.records().await, (0, 5, 10));
    assert_eq!(node.committed().await, [(0, Some(5))]);
    node.broker.crash();

    let (node, mut stub) = overtaken(v1::OnPositionLost::End).await;
    assert_eq!(stub.assigned().await, [(0, Some(10))]);
    assert_eq!(stub.next().await, Response::PositionLost(position_lost(2, 5, 10)));
    assert_eq!(node.committed().await, [(0, Some(10))]);
    node.produce(0, 1).await;
    assert_eq!(stub.records().await, (0, 10, 11));
    node.broker.crash();
}

#[tokio::test]
async fn a_reader_that_retention_overtakes_gets_an_error() {
    let node = Node::with_orders(1, 0).await;
    let mut start = join();
    start.on_position_lost = v1::OnPositionLost::Start.into();
    let mut stub = node.join(start).await;
    assert_eq!(stub.assigned().await, [(0, Some(0))]);
    // Larger than what flow control lets through to someone who does not read.
    let value = bytes::Bytes::from(vec![b'x'; 512 * 1024]);
    for _ in 0..16 {
        let record = v1::Record { value: Some(value.clone()), ..Default::default() };
        let request = v1::ProduceRequest {
            topic: "orders".to_owned(),
            partition: Some(0),
            payload: Some(v1::produce_request::Payload::Records(v1::PlainRecords { records: vec![record] })),
            ..Default::default()
        };
        let mut client = ProduceClient::new(node.channel.clone());
        let mut answers = client.produce(tokio_stream::iter([request])).await.unwrap().into_inner();
        assert!(answers.message().await.unwrap().is_some());
    }
    node.delete_records(0, 16).await;
    let (mut next, lost) = loop {
        match stub.next().await {
            Response::Records(records) => assert_eq!(records.error, None),
            Response::PositionLost(lost) => break (lost.resumed_at, lost),
            other => panic!("{other:?}"),
        }
    };
    assert!(lost.position < 16, "{lost:?}");
    assert_eq!((lost.log_start, lost.lost_offset_count), (16, 16 - lost.position));
    node.produce(0, 1).await;
    while next < 17 {
        next = stub.records().await.2;
    }
    stub.acknowledge(0, 1).await;
    assert_eq!(stub.committed().await, Err(ErrorCode::InvalidRequest), "the group is past it");
    assert_eq!(node.committed().await, [(0, Some(16))]);
    node.broker.crash();
}

#[tokio::test]
async fn a_broker_that_stops_keeps_the_member() {
    let disk = SimDisk::new();
    let node = Node::start(&disk).await;
    node.create_orders(1).await;
    node.produce(0, 3).await;
    let mut stub = node.join(join()).await;
    assert_eq!(stub.assigned().await, [(0, Some(0))]);
    stub.acknowledge(0, 0).await;
    assert_eq!(stub.committed().await, Ok(()));
    let member = stub.member.clone();
    let ((), end) = tokio::join!(async { assert!(node.broker.shutdown().await) }, stub.end());
    assert_eq!(end, Err(ErrorCode::ShuttingDown));

    let node = Node::start(&disk).await;
    assert_eq!(node.members().await, [member.clone()].into());
    let mut stub = node.join(v1::SubscribeJoin { member: member.clone(), ..join() }).await;
    assert_eq!(stub.assigned().await, [(0, Some(0))]);
    assert_eq!(stub.records().await, (0, 0, 3));
    stub.acknowledge(0, 3).await;
    assert_eq!(stub.committed().await, Ok(()));
    assert_eq!(node.members().await, [member].into());
    node.broker.crash();
}

#[tokio::test]
async fn a_stream_that_says_what_it_must_not_ends() {
    let node = Node::with_orders(1, 1).await;
    let acknowledge = Request::Acknowledge(v1::Acknowledgement::default());
    assert_eq!(node.open(Some(acknowledge)).await.end().await, Err(ErrorCode::InvalidRequest));
    let bad = [
        v1::SubscribeJoin { group: String::new(), ..join() },
        v1::SubscribeJoin { member: "a\n".to_owned(), ..join() },
        v1::SubscribeJoin { member_spec: None, ..join() },
        v1::SubscribeJoin { start: Some(v1::OffsetSpec::default()), ..join() },
        v1::SubscribeJoin { on_position_lost: 99, ..join() },
        v1::SubscribeJoin { max_message_bytes: u32::MAX, ..join() },
    ];
    for join in bad {
        let mut stub = node.open(Some(Request::Join(join.clone()))).await;
        assert_eq!(stub.end().await, Err(ErrorCode::InvalidRequest), "{join:?}");
    }
    let mut twice = node.join(join()).await;
    twice.send(Request::Join(join())).await;
    assert_eq!(twice.end().await, Err(ErrorCode::InvalidRequest));
    let mut many = node.join(join()).await;
    let offsets = vec![v1::OffsetToCommit::default(); 10_001];
    many.send(Request::Acknowledge(v1::Acknowledgement { offsets })).await;
    assert_eq!(many.end().await, Err(ErrorCode::InvalidRequest));
    let mut large = node.join(join()).await;
    let topic = v1::TopicPartitions { topic: "x".repeat(2 << 20), ..Default::default() };
    large.send(Request::Release(v1::Release { topics: vec![topic] })).await;
    assert!(large.end().await.is_err());
    while !node.members().await.is_empty() {
        tokio::task::yield_now().await;
    }

    let mut stub = node.join(join()).await;
    assert_eq!(stub.assigned().await, [(0, Some(0))]);
    assert_eq!(stub.records().await, (0, 0, 1));
    stub.release(vec![0, 7]).await;
    stub.acknowledge(0, 2).await;
    assert_eq!(stub.committed().await, Err(ErrorCode::InvalidRequest), "it was never sent");
    stub.acknowledge(7, 0).await;
    assert_eq!(stub.committed().await, Err(ErrorCode::PartitionNotFound));
    stub.acknowledge(0, 1).await;
    assert_eq!(stub.committed().await, Ok(()), "a release of what was not revoked is nothing");
    node.broker.crash();
}

#[tokio::test]
async fn a_member_that_does_not_read_stays_in_the_group_while_its_connection_lives() {
    let node = Node::with_orders(2, 0).await;
    // On a connection of its own: what it does not read must stop no one else.
    let url = format!("http://{}", node.broker.grpc_addr());
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    let mut silent = Stub::join(channel, join_with(|spec| spec.session_timeout_ms = 1_000)).await;
    assert_eq!(silent.gets(2).await.len(), 2);
    // It acknowledges without reading an answer, far more than are taken in at one time.
    let requests = silent.requests.clone().unwrap();
    let flood = tokio::spawn(async move {
        let offset = v1::OffsetToCommit { topic: "orders".to_owned(), ..Default::default() };
        let offsets = vec![offset; 500];
        let request = Request::Acknowledge(v1::Acknowledgement { offsets });
        for _ in 0..200 {
            let request = v1::SubscribeRequest { request: Some(request.clone()) };
            if requests.send(request).await.is_err() {
                return;
            }
        }
    });
    // Others come and fall silent: each is removed after a session as long as its own.
    for n in 0..2 {
        let mute = format!("mute-{n}");
        let spec = join_with(|spec| spec.session_timeout_ms = 1_000).member_spec.unwrap();
        let request = v1::HeartbeatRequest {
            group: "billing".to_owned(),
            member: mute.clone(),
            kind: Some(v1::heartbeat_request::Kind::Join(spec)),
            ..Default::default()
        };
        GroupsClient::new(node.channel.clone()).heartbeat(request).await.unwrap();
        while node.members().await.contains(&mute) {
            tokio::task::yield_now().await;
        }
    }
    assert!(node.members().await.contains(&silent.member));
    flood.abort();
    drop(silent);
    let mut other = node.join(join()).await;
    assert_eq!(other.gets(2).await, [0, 1].into());
    node.broker.crash();
}
