//! A member of a group, made of the generated stub.

use corduroy_api::v1::{self, groups_client::GroupsClient, heartbeat_request::Kind};
use corduroy_benches::Failure;
use tonic::transport::Channel;

use crate::crowd::while_loading;

/// The topic that all groups read.
pub(crate) const TOPIC: &str = "bench";

/// A member, and what it knows of itself.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) client: GroupsClient<Channel>,
    group: String,
    id: String,
    epoch: u32,
    /// The partitions that it has.
    owned: Vec<u32>,
    /// Whether the broker does not know yet what it has.
    unreported: bool,
}

impl Member {
    pub(crate) fn new(client: GroupsClient<Channel>, group: String, index: usize) -> Self {
        let id = format!("{group}-member-{index}");
        Self { client, group, id, epoch: 0, owned: Vec::new(), unreported: false }
    }

    pub(crate) async fn join(&mut self) -> Result<(), Failure> {
        let join = v1::JoinGroup {
            subscription: Some(v1::Subscription { topics: vec![TOPIC.to_owned()], pattern: String::new() }),
            client_id: "bench".to_owned(),
            ..Default::default()
        };
        self.beat(Kind::Join(join), 0).await.map(drop)
    }

    /// Stays in the group; returns whether something changed.
    pub(crate) async fn stay(&mut self, wait_ms: u32) -> Result<bool, Failure> {
        let stay = v1::StayInGroup { member_epoch: self.epoch, subscription: None };
        self.beat(Kind::Stay(stay), wait_ms).await
    }

    async fn beat(&mut self, kind: Kind, wait_ms: u32) -> Result<bool, Failure> {
        let owned = self.unreported.then(|| v1::OwnedPartitions {
            topics: vec![v1::TopicPartitions {
                topic: TOPIC.to_owned(),
                partitions: self.owned.clone(),
                ..Default::default()
            }],
        });
        let request = v1::HeartbeatRequest {
            group: self.group.clone(),
            member: self.id.clone(),
            kind: Some(kind),
            owned,
            wait_ms,
        };
        let answer = loop {
            match self.client.heartbeat(request.clone()).await {
                Ok(answer) => break answer.into_inner(),
                Err(refused) => while_loading(refused).await?,
            }
        };
        self.unreported = false;
        let changed = self.epoch != answer.member_epoch;
        self.epoch = answer.member_epoch;
        if let Some(assignment) = answer.assignment {
            let partitions = assignment.topics.into_iter().flat_map(|topic| topic.partitions);
            self.owned = partitions.collect();
            self.unreported = true;
        }
        Ok(changed)
    }

    /// Stays until it has exactly `share` partitions, and has said so.
    pub(crate) async fn settle(&mut self, share: usize) -> Result<(), Failure> {
        while self.unreported || self.owned.len() != share {
            self.stay(if self.unreported { 0 } else { 3_000 }).await?;
        }
        Ok(())
    }

    /// Commits `offset` for all that it has; returns how many positions that are.
    pub(crate) async fn commit(&mut self, offset: u64) -> Result<usize, Failure> {
        let position = |partition: &u32| v1::OffsetToCommit {
            topic: TOPIC.to_owned(),
            partition: *partition,
            offset,
            leader_epoch: Some(1),
            ..Default::default()
        };
        let request = v1::CommitOffsetsRequest {
            group: self.group.clone(),
            member: Some(v1::MemberIdentity { member: self.id.clone(), member_epoch: self.epoch }),
            offsets: self.owned.iter().map(position).collect(),
            validate_only: false,
        };
        let answer = self.client.commit_offsets(request).await?.into_inner();
        match answer.offsets.iter().find_map(|result| result.error.as_ref()) {
            None => Ok(answer.offsets.len()),
            Some(error) => Err(format!("{} commits and is refused: {}", self.id, error.message).into()),
        }
    }
}
