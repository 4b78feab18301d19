//! Characters that are not seen, or turn the direction of writing, are refused in every name, and the answer writes
//! them as an escape: it ends up in a terminal or a log too.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{fmt::Debug, sync::Arc};

use corduroy_api::{
    Refusal,
    v1::{
        self, admin_client::AdminClient, fetch_client::FetchClient, groups_client::GroupsClient,
        heartbeat_request::Kind, produce_client::ProduceClient, produce_request::Payload,
    },
};
use corduroy_broker::{Broker, RunningBroker, config::BrokerConfig};
use corduroy_log::SimDisk;
use corduroy_types::{ErrorCode, hidden_character};
use tonic::{Response, Status, transport::Channel};

const HIDDEN: [char; 6] = ['\u{202e}', '\u{200b}', '\u{2028}', '\n', '\u{1b}', '\u{7f}'];

/// A name with this character in the middle.
fn named(hidden: char) -> String {
    format!("or{hidden}ders")
}

async fn start() -> (RunningBroker, Channel) {
    let broker = Broker::start(BrokerConfig::for_tests("/data"), Arc::new(SimDisk::new())).await.unwrap();
    let url = format!("http://{}", broker.grpc_addr());
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    let topic = v1::NewTopic { name: "t".to_owned(), partition_count: 1, ..Default::default() };
    let request = v1::CreateTopicsRequest { topics: vec![topic], validate_only: false };
    let created = AdminClient::new(channel.clone()).create_topics(request).await.unwrap();
    assert_eq!(created.into_inner().topics.remove(0).error, None);
    (broker, channel)
}

/// The refusal of a whole call.
fn refused<T: Debug>(answer: Result<Response<T>, Status>) -> Refusal {
    Refusal::from_status(&answer.unwrap_err())
}

fn check(what: &str, hidden: char, refusal: &Refusal, code: ErrorCode) {
    let (message, number) = (&refusal.message, u32::from(hidden));
    assert_eq!(refusal.code, code, "{what} {hidden:?}: {message}");
    assert_eq!(hidden_character(message), None, "{what} {hidden:?}: {message:?}");
    let escapes = [format!("U+{number:04X}"), format!("{hidden:?}").trim_matches('\'').to_owned()];
    assert!(escapes.iter().any(|escape| message.contains(escape.as_str())), "{what} {hidden:?}: {message}");
}

#[tokio::test]
async fn a_topic_and_its_configs_hold_none() {
    let (broker, channel) = start().await;
    let mut admin = AdminClient::new(channel.clone());
    for hidden in HIDDEN {
        let topic = v1::NewTopic { name: named(hidden), ..Default::default() };
        let request = v1::CreateTopicsRequest { topics: vec![topic], validate_only: false };
        let created = admin.create_topics(request).await.unwrap().into_inner().topics.remove(0);
        check("topic", hidden, &created.error.unwrap().into(), ErrorCode::InvalidTopicName);

        let bad_key = named(hidden);
        for (key, code) in [
            ("description", ErrorCode::InvalidConfigValue),
            ("cleanup.policy", ErrorCode::InvalidConfigValue),
            ("retention.ms", ErrorCode::InvalidConfigValue),
            (bad_key.as_str(), ErrorCode::UnknownConfigKey),
        ] {
            let set = vec![v1::ConfigEntry { key: key.to_owned(), value: named(hidden) }];
            let request = v1::AlterTopicConfigsRequest { topic: "t".to_owned(), set, ..Default::default() };
            check(key, hidden, &refused(admin.alter_topic_configs(request).await), code);
        }
    }
    assert!(broker.shutdown().await);
}

#[tokio::test]
async fn an_unknown_topic_is_named_without_them() {
    let (broker, channel) = start().await;
    let topic = || named('\u{202e}');
    let partition = v1::FetchPartition { topic: topic(), ..Default::default() };
    let request = v1::FetchRequest { partitions: vec![partition], ..Default::default() };
    let fetched = FetchClient::new(channel.clone()).fetch(request).await.unwrap().into_inner();
    let refusal = fetched.partitions.into_iter().next().unwrap().error.unwrap().into();
    check("fetch", '\u{202e}', &refusal, ErrorCode::InvalidTopicName);

    let payload = Some(Payload::Records(v1::PlainRecords { records: vec![v1::Record::default()] }));
    let request = v1::ProduceRequest { topic: topic(), payload, ..Default::default() };
    let mut producer = ProduceClient::new(channel.clone());
    let mut answers = producer.produce(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().result.unwrap();
    let v1::produce_response::Result::Error(error) = answer else { panic!("written: {answer:?}") };
    check("produce", '\u{202e}', &error.into(), ErrorCode::InvalidTopicName);

    let request = v1::DescribeTopicsRequest { names: vec![topic()] };
    let described = AdminClient::new(channel).describe_topics(request).await.unwrap().into_inner();
    let refusal = described.topics.into_iter().next().unwrap().error.unwrap().into();
    check("describe", '\u{202e}', &refusal, ErrorCode::InvalidTopicName);
    assert!(broker.shutdown().await);
}

/// What a member says when it joins.
fn join(group: &str, member: &str, join: v1::JoinGroup) -> v1::HeartbeatRequest {
    v1::HeartbeatRequest {
        group: group.to_owned(),
        member: member.to_owned(),
        kind: Some(Kind::Join(join)),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_group_and_its_members_hold_none() {
    let (broker, channel) = start().await;
    let mut groups = GroupsClient::new(channel);
    for hidden in HIDDEN {
        let bad = named(hidden);
        let subscribed =
            |subscription| v1::JoinGroup { subscription: Some(subscription), ..Default::default() };
        let to_topic = subscribed(v1::Subscription { topics: vec![bad.clone()], ..Default::default() });
        let to_pattern = subscribed(v1::Subscription { pattern: bad.clone(), ..Default::default() });
        let good = subscribed(v1::Subscription { topics: vec!["t".to_owned()], ..Default::default() });
        let (invalid, bad_topic) = (ErrorCode::InvalidRequest, ErrorCode::InvalidTopicName);
        for (what, request, code) in [
            ("group", join(&bad, "m", good.clone()), invalid),
            ("member", join("g", &bad, good.clone()), invalid),
            ("instance", join("g", "m", v1::JoinGroup { instance: bad.clone(), ..good.clone() }), invalid),
            ("client_id", join("g", "m", v1::JoinGroup { client_id: bad.clone(), ..good.clone() }), invalid),
            ("assignor", join("g", "m", v1::JoinGroup { assignor: bad.clone(), ..good }), invalid),
            ("topic", join("g", "m", to_topic), bad_topic),
            ("pattern", join("g", "m", to_pattern), invalid),
        ] {
            check(what, hidden, &refused(groups.heartbeat(request).await), code);
        }
        let request = v1::CommitOffsetsRequest { group: bad.clone(), ..Default::default() };
        check("commit", hidden, &refused(groups.commit_offsets(request).await), invalid);
        let request = v1::FetchOffsetsRequest { group: bad, topics: Vec::new() };
        check("offsets", hidden, &refused(groups.fetch_offsets(request).await), invalid);
    }
    let listed = groups.list_groups(v1::ListGroupsRequest::default()).await;
    assert_eq!(listed.map(|listed| listed.into_inner().groups).unwrap_or_default(), []);
    assert!(broker.shutdown().await);
}
