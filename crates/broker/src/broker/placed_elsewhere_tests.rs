//! Services driven with an image in which other brokers hold and lead partitions, though one broker runs.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use corduroy_api::{
    Refusal,
    v1::{
        self, admin_client::AdminClient, fetch_client::FetchClient, groups_client::GroupsClient,
        produce_client::ProduceClient, produce_request::Payload, produce_response, subscribe_request,
        subscribe_response::Response,
    },
};
use corduroy_log::{Disk, SimDisk};
use corduroy_metadata::{
    Assignment, Command, Decision, Image, Incarnation, MetadataError, Record, RegistrationId,
};
use corduroy_types::{BrokerId, LeaderEpoch, PartitionIndex, TimestampMs, TopicId, TopicName};
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;

use super::{Broker, BrokerConfig, RunningBroker};

const OTHER: BrokerId = BrokerId(2);
const OTHER_AT: &str = "other.example:9400";
const TOPIC: TopicId = TopicId::from_bytes([7; 16]);

/// Records as they are, as another broker's decision brings them.
struct Decided(Vec<Record>);

impl Command for Decided {
    type Answer = ();

    fn decide(&self, _: &Image) -> Result<Decision<()>, MetadataError> {
        Ok(Decision { records: self.0.clone(), answer: () })
    }
}

struct Fixture {
    broker: RunningBroker,
    disk: SimDisk,
    channel: Channel,
    own: BrokerId,
}

impl Fixture {
    /// A broker that knows of another one.
    async fn start() -> Self {
        let disk = SimDisk::new();
        let config = BrokerConfig::for_tests("/data");
        let own = config.node.id;
        assert_ne!(own, OTHER);
        let broker = Broker::start(config, Arc::new(disk.clone())).await.unwrap();
        let at = format!("http://{}", broker.grpc_addr());
        let channel = Channel::from_shared(at).unwrap().connect().await.unwrap();
        let fixture = Self { broker, disk, channel, own };
        let registered = Record::BrokerRegistered {
            broker: OTHER,
            incarnation: Incarnation(1_000),
            registration: RegistrationId([9; 16]),
            address: Some(OTHER_AT.into()),
            version: "1".into(),
            registered_at: TimestampMs(1),
        };
        fixture.decided(vec![registered]).await;
        fixture
    }

    async fn decided(&self, records: Vec<Record>) {
        self.broker.engine.replicas().change(Decided(records)).await.unwrap();
    }

    /// Both hold partitions 0 and 2, the other broker alone holds 1. Partition 0 is led here.
    async fn create_topic(&self) {
        let (own, other) = (self.own, OTHER);
        let assigned = |replicas: &[BrokerId], leader| Assignment { replicas: replicas.into(), leader };
        let partitions =
            vec![assigned(&[own, other], own), assigned(&[other], other), assigned(&[other, own], other)];
        let created = created("t", TOPIC, partitions);
        self.decided(vec![created]).await;
    }

    async fn elected(&self, leader: BrokerId, epoch: u32) {
        let (partition, leader_epoch) = (PartitionIndex(0), LeaderEpoch::new(epoch).unwrap());
        self.decided(vec![Record::LeaderElected { topic_id: TOPIC, partition, leader, leader_epoch }]).await;
    }

    async fn produce(&self, partition: u32) -> Result<u32, v1::Error> {
        let record = v1::Record { value: Some("v".into()), ..Default::default() };
        let request = v1::ProduceRequest {
            topic: "t".to_owned(),
            partition: Some(partition),
            // The other broker confirms nothing.
            acks: v1::Acks::One.into(),
            payload: Some(Payload::Records(v1::PlainRecords { records: vec![record] })),
            ..Default::default()
        };
        let requests = tokio_stream::iter([request]);
        let mut client = ProduceClient::new(self.channel.clone());
        let mut answers = client.produce(requests).await.unwrap().into_inner();
        match answers.message().await.unwrap().unwrap().result.unwrap() {
            produce_response::Result::Ok(ack) => Ok(ack.appended[0].leader_epoch),
            produce_response::Result::Error(error) => Err(error),
        }
    }

    async fn fetch(&self, partition: u32) -> v1::FetchedPartition {
        let wanted = v1::FetchPartition { topic: "t".to_owned(), partition, ..Default::default() };
        let request = v1::FetchRequest { partitions: vec![wanted], ..Default::default() };
        let answer = FetchClient::new(self.channel.clone()).fetch(request).await.unwrap().into_inner();
        answer.partitions.into_iter().next().unwrap()
    }
}

fn created(name: &str, topic_id: TopicId, partitions: Vec<Assignment>) -> Record {
    let (name, created_at) = (TopicName::new(name).unwrap(), TimestampMs(1));
    Record::TopicCreated { name, topic_id, created_at, partitions, configs: Vec::new() }
}

#[track_caller]
fn assert_led_elsewhere(error: Option<v1::Error>) {
    let error = error.unwrap();
    assert_eq!(error.code(), v1::ErrorCode::NotLeader, "{error:?}");
    assert_eq!((error.leader_id, error.leader_address.as_str()), (Some(OTHER.0), OTHER_AT));
    assert!(error.retriable);
}

#[tokio::test]
async fn each_service_names_the_leader_of_a_partition_that_is_led_elsewhere() {
    let fixture = Fixture::start().await;
    fixture.create_topic().await;
    let mut admin = AdminClient::new(fixture.channel.clone());
    for partition in [1, 2] {
        let refused = fixture.produce(partition).await.unwrap_err();
        assert_eq!(refused.outcome(), v1::Outcome::NotWritten);
        assert_led_elsewhere(Some(refused));
        assert_led_elsewhere(fixture.fetch(partition).await.error);

        let spec = v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::End(true)) };
        let wanted = v1::ListOffsetsPartition { topic: "t".to_owned(), partition, spec: Some(spec) };
        let mut reader = FetchClient::new(fixture.channel.clone());
        let request = v1::ListOffsetsRequest { partitions: vec![wanted] };
        let listed = reader.list_offsets(request).await.unwrap().into_inner();
        assert_led_elsewhere(listed.offsets[0].error.clone());

        let wanted = v1::ConsumePartition {
            topic: "t".to_owned(),
            partition,
            start: Some(spec),
            ..Default::default()
        };
        let request = v1::ConsumeRequest { partitions: vec![wanted], ..Default::default() };
        let mut stream = reader.consume(request).await.unwrap().into_inner();
        let first = stream.message().await.unwrap().unwrap();
        assert_led_elsewhere(first.partition.unwrap().error);

        let wanted = v1::DeleteRecordsPartition { partition, before_offset: 0 };
        let request = v1::DeleteRecordsRequest {
            topic: "t".to_owned(),
            partitions: vec![wanted],
            ..Default::default()
        };
        let deleted = admin.delete_records(request).await.unwrap().into_inner();
        assert_led_elsewhere(deleted.partitions[0].error.clone());

        let request = v1::RecoverPartitionRequest { topic: "t".to_owned(), partition, ..Default::default() };
        let status = admin.recover_partition(request).await.unwrap_err();
        assert_led_elsewhere(Some(Refusal::from_status(&status).into()));
    }
    let request = v1::DescribeTopicsRequest { names: vec!["t".to_owned()] };
    let described = admin.describe_topics(request).await.unwrap().into_inner().topics.remove(0);
    let leaders: Vec<_> = described.partitions.iter().map(|partition| partition.leader).collect();
    assert_eq!(leaders, [fixture.own.0, OTHER.0, OTHER.0]);
    assert_eq!(described.partitions[0].error, None);
    assert_led_elsewhere(described.partitions[1].error.clone());
    assert_led_elsewhere(described.partitions[2].error.clone());
    let request = v1::ListProducersRequest { topic: "t".to_owned() };
    let listed = admin.list_producers(request).await.unwrap().into_inner().partitions;
    assert_eq!(listed.iter().map(|partition| partition.partition).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(listed[0].error, None);
    listed[1..].iter().for_each(|partition| assert_led_elsewhere(partition.error.clone()));

    // What is led here is served, and what does not exist is counted by the image.
    fixture.produce(0).await.unwrap();
    let missing = fixture.produce(3).await.unwrap_err();
    assert_eq!(missing.code(), v1::ErrorCode::PartitionNotFound);
    assert!(missing.message.contains("has 3 partitions"), "{missing:?}");
    let dir = |partition: u32| format!("/data/{TOPIC}/{partition}");
    assert!(fixture.disk.list(Path::new(&dir(2))).is_ok(), "a replica is held here");
    assert!(fixture.disk.list(Path::new(&dir(1))).is_err(), "nothing is held of what others hold");
    assert!(fixture.broker.shutdown().await);
}

#[tokio::test]
async fn a_broker_leads_and_ceases_to_lead_as_the_image_says() {
    let fixture = Fixture::start().await;
    fixture.create_topic().await;
    assert_eq!(fixture.produce(0).await.unwrap(), 1);
    fixture.elected(OTHER, 5).await;
    assert_led_elsewhere(Some(fixture.produce(0).await.unwrap_err()));
    assert_led_elsewhere(fixture.fetch(0).await.error);
    fixture.elected(fixture.own, 8).await;
    assert_eq!(fixture.produce(0).await.unwrap(), 8);
    assert_eq!(fixture.fetch(0).await.error, None);
    assert!(fixture.broker.shutdown().await);
}

#[tokio::test]
async fn groups_that_are_coordinated_elsewhere_name_their_coordinator() {
    let fixture = Fixture::start().await;
    fixture.create_topic().await;
    let assigned = Assignment { replicas: [OTHER].into(), leader: OTHER };
    fixture.decided(vec![created("__groups", TopicId::from_bytes([8; 16]), vec![assigned; 50])]).await;
    let mut groups = GroupsClient::new(fixture.channel.clone());
    let group = "g".to_owned();
    let request = v1::FetchOffsetsRequest { group: group.clone(), ..Default::default() };
    let status = groups.fetch_offsets(request).await.unwrap_err();
    assert_led_elsewhere(Some(Refusal::from_status(&status).into()));
    let request =
        v1::RemoveMemberRequest { group: group.clone(), member: "m".to_owned(), ..Default::default() };
    let status = groups.remove_member(request).await.unwrap_err();
    assert_led_elsewhere(Some(Refusal::from_status(&status).into()));
    let request = v1::DescribeGroupsRequest { groups: vec![group] };
    let described = groups.describe_groups(request).await.unwrap().into_inner();
    assert_led_elsewhere(described.groups[0].error.clone());
    assert!(fixture.broker.shutdown().await);
}

#[tokio::test]
async fn a_stream_of_a_group_names_the_leader_of_a_partition_that_is_led_elsewhere() {
    let fixture = Fixture::start().await;
    fixture.create_topic().await;
    let own = Assignment { replicas: [fixture.own].into(), leader: fixture.own };
    fixture.decided(vec![created("__groups", TopicId::from_bytes([8; 16]), vec![own; 50])]).await;
    let subscription = v1::Subscription { topics: vec!["t".to_owned()], ..Default::default() };
    let join = v1::SubscribeJoin {
        group: "g".to_owned(),
        member_spec: Some(v1::JoinGroup { subscription: Some(subscription), ..Default::default() }),
        ..Default::default()
    };
    let first = v1::SubscribeRequest { request: Some(subscribe_request::Request::Join(join)) };
    // The stream of requests stays open: its end would end the membership.
    let requests = tokio_stream::iter([first]).chain(tokio_stream::pending());
    let mut groups = GroupsClient::new(fixture.channel.clone());
    let mut stream = groups.subscribe(requests).await.unwrap().into_inner();
    let mut elsewhere = BTreeSet::new();
    while elsewhere.len() < 2 {
        if let Response::Records(records) = stream.message().await.unwrap().unwrap().response.unwrap() {
            assert_led_elsewhere(records.error);
            elsewhere.insert(records.partition);
        }
    }
    assert_eq!(elsewhere, BTreeSet::from([1, 2]));
    drop(stream);
    assert!(fixture.broker.shutdown().await);
}
