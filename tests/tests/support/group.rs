//! What the broker says of a group, by the generated stub alone.

use std::collections::BTreeMap;

use corduroy_api::{
    Refusal,
    v1::{self, groups_client::GroupsClient},
};
use corduroy_types::ErrorCode;
use tonic::{Response, Status, transport::Channel};

use super::stub;

pub async fn connect(url: &str) -> GroupsClient<Channel> {
    GroupsClient::new(stub::connect(url).await)
}

/// The answer, unless the coordinator is still loading: then it is to be asked again.
fn loaded<T>(answer: Result<Response<T>, Status>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer.into_inner()),
        Err(status) if Refusal::from_status(&status).code == ErrorCode::CoordinatorLoading => None,
        Err(status) => panic!("{status}"),
    }
}

pub async fn describe(url: &str, group: &str) -> v1::DescribedGroup {
    let mut client = connect(url).await;
    loop {
        let request = v1::DescribeGroupsRequest { groups: vec![group.to_owned()] };
        if let Some(mut answer) = loaded(client.describe_groups(request).await) {
            let group = answer.groups.remove(0);
            let code = group.error.as_ref().map(v1::Error::code);
            if code != Some(v1::ErrorCode::CoordinatorLoading) {
                assert_eq!(group.error, None);
                return group;
            }
        }
        tokio::task::yield_now().await;
    }
}

/// What stays as it is while nothing moves: the group's epoch, and each member's with what it has.
pub fn shares(group: &v1::DescribedGroup) -> (u32, BTreeMap<String, (u32, Vec<v1::TopicPartitions>)>) {
    let share = |member: &v1::GroupMember| {
        assert_eq!(member.assigned, member.target, "{} is settled", member.member);
        (member.member.clone(), (member.member_epoch, member.assigned.clone()))
    };
    (group.group_epoch, group.members.iter().map(share).collect())
}

/// The committed offsets of a group that reads one topic, by partition; empty while the partition that stores them
/// is damaged.
pub async fn committed(url: &str, group: &str) -> BTreeMap<u32, u64> {
    let mut client = connect(url).await;
    loop {
        let request = v1::FetchOffsetsRequest { group: group.to_owned(), topics: Vec::new() };
        let answer = client.fetch_offsets(request).await;
        let code = answer.as_ref().err().map(|status| Refusal::from_status(status).code);
        if code == Some(ErrorCode::PartitionOffline) {
            return BTreeMap::new();
        }
        if let Some(answer) = loaded(answer) {
            let offsets = answer.offsets.into_iter();
            return offsets.filter_map(|at| Some((at.partition, at.offset?))).collect();
        }
        tokio::task::yield_now().await;
    }
}
