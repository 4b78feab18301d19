//! `ListGroups`, `DescribeGroups` and `DeleteGroups`: groups as operators see them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use corduroy_api::{Refusal, v1};
use corduroy_group::{
    Committed, Coordinator, GroupDescription, GroupError, GroupName, MemberDescription, TopicPartition,
};

use super::{super::Shared, group_not_found, offsets, wire};
use crate::{
    engine::Engine,
    groups::{CoordinatorShard, Groups, Lag},
};

/// One group with all it has committed.
struct Described {
    group: GroupDescription,
    committed: BTreeMap<TopicPartition, Committed>,
}

impl Described {
    fn of(coordinator: &Coordinator, name: &GroupName) -> Result<Self, GroupError> {
        let committed = coordinator.committed(name).map(|(at, committed)| (at, committed.clone()));
        Ok(Self { group: coordinator.describe(name)?, committed: committed.collect() })
    }

    /// Who has which partition.
    fn owners(&self) -> BTreeMap<TopicPartition, &MemberDescription> {
        let of = |member: &'_ MemberDescription| {
            member.assigned.iter().chain(&member.revoking).copied().collect::<Vec<_>>()
        };
        self.group
            .members
            .iter()
            .flat_map(|member| of(member).into_iter().map(move |at| (at, member)))
            .collect()
    }

    /// Every partition with a committed offset or an owner.
    fn partitions(&self) -> BTreeSet<TopicPartition> {
        self.committed.keys().copied().chain(self.owners().into_keys()).collect()
    }
}

/// Groups in one request.
const NAMES_MAX: usize = 1_000;

/// Refuses requests whose answers would be as large as their sender likes.
fn check_names(names: &[String]) -> Result<(), Refusal> {
    if names.len() > NAMES_MAX {
        return Err(wire::invalid(format!("groups: {} given, at most {NAMES_MAX} at a time", names.len())));
    }
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => Err(wire::invalid(format!("groups: {twice:?} is given twice"))),
        None => Ok(()),
    }
}

/// Answers `ListGroups`.
pub(super) async fn list(
    shared: &Arc<Shared>,
    request: v1::ListGroupsRequest,
) -> Result<v1::ListGroupsResponse, Refusal> {
    let (engine, groups) = shared.groups()?;
    let mut listed = Vec::new();
    for shard in groups.shards().iter() {
        let described = shard.read(|coordinator| {
            let names: Vec<_> = coordinator.groups().map(|(name, ..)| name.clone()).collect();
            names.iter().filter_map(|name| Described::of(coordinator, name).ok()).collect::<Vec<_>>()
        });
        for described in described.await? {
            let state = wire::state_to_wire(described.group.activity);
            if request.states.is_empty() || request.states.contains(&state.into()) {
                listed.push(summary(&engine, &groups, &described, state).await);
            }
        }
    }
    listed.sort_by(|a, b| a.group.cmp(&b.group));
    Ok(v1::ListGroupsResponse { groups: listed })
}

async fn summary(
    engine: &Arc<Engine>,
    groups: &Groups,
    described: &Described,
    state: v1::GroupState,
) -> v1::GroupSummary {
    let partitions = described.partitions();
    let (mut lag_records, mut lag_ms, mut lost) = (0, 0, 0);
    for at in &partitions {
        let committed = described.committed.get(at);
        if let Some(position) = offsets::position(engine, *at, committed) {
            lost += u32::from(position.lost_offset_count > 0);
        }
        if let Some(Lag { records, age_ms, .. }) = groups.lag(*at, committed.map(|one| one.offset)).await {
            lag_records += records;
            lag_ms = lag_ms.max(age_ms.unwrap_or(0));
        }
    }
    let topics: BTreeSet<_> = partitions.iter().map(|at| at.topic_id).collect();
    v1::GroupSummary {
        group: described.group.group.to_string(),
        state: state.into(),
        member_count: count(described.group.members.len()),
        topic_count: count(topics.len()),
        lag_records,
        lag_ms,
        lost_partition_count: lost,
    }
}

/// Answers `DescribeGroups`.
pub(super) async fn describe(
    shared: &Arc<Shared>,
    request: v1::DescribeGroupsRequest,
) -> Result<v1::DescribeGroupsResponse, Refusal> {
    let (engine, groups) = shared.groups()?;
    check_names(&request.groups)?;
    let mut all = Vec::with_capacity(request.groups.len());
    for name in request.groups {
        let described = describe_one(&engine, &groups, &name).await;
        all.push(described.unwrap_or_else(|refusal| v1::DescribedGroup {
            error: Some(refusal.into()),
            group: name,
            ..Default::default()
        }));
    }
    Ok(v1::DescribeGroupsResponse { groups: all })
}

async fn describe_one(
    engine: &Arc<Engine>,
    groups: &Groups,
    name: &str,
) -> Result<v1::DescribedGroup, Refusal> {
    let name = wire::group_name(name)?;
    let shard = groups.find(&name)?.ok_or_else(|| group_not_found(&name))?;
    let described = shard.decide(|coordinator, _, _| Described::of(coordinator, &name)).await?;
    let owners = described.owners();
    let mut partitions = Vec::new();
    for at in described.partitions() {
        let committed = described.committed.get(&at);
        let Some(offset) = offsets::position(engine, at, committed) else { continue };
        let lag = groups.lag(at, committed.map(|one| one.offset)).await;
        partitions.push(v1::GroupPartition {
            offset: Some(offset),
            owner: owners.get(&at).map(|member| member.member.to_string()).unwrap_or_default(),
            lag_records: lag.map(|lag| lag.records),
            lag_ms: lag.and_then(|lag| lag.age_ms),
        });
    }
    partitions.sort_by(|a, b| place(a).cmp(&place(b)));
    let group = &described.group;
    Ok(v1::DescribedGroup {
        error: None,
        group: group.group.to_string(),
        state: wire::state_to_wire(group.activity).into(),
        group_epoch: group.epoch.0,
        assignor: group.assignor.to_string(),
        coordinator: engine.config().node.id.0,
        empty_since_ms: group.empty_since.map(|since| since.0),
        members: group.members.iter().map(|member| member_to_wire(engine, member)).collect(),
        partitions,
    })
}

fn place(partition: &v1::GroupPartition) -> (&str, u32) {
    partition.offset.as_ref().map_or(("", 0), |offset| (offset.topic.as_str(), offset.partition))
}

fn member_to_wire(engine: &Engine, member: &MemberDescription) -> v1::GroupMember {
    let MemberDescription { member, spec, epoch, assigned, revoking, target } = member;
    v1::GroupMember {
        member: member.to_string(),
        member_epoch: epoch.0,
        instance: spec.instance.as_ref().map(ToString::to_string).unwrap_or_default(),
        client_id: spec.client_id.to_string(),
        client_address: spec.client_address.to_string(),
        subscription: Some(wire::subscription_to_wire(&spec.subscription)),
        session_timeout_ms: spec.session_timeout_ms,
        rebalance_timeout_ms: spec.rebalance_timeout_ms,
        joined_at_ms: spec.joined_at.0,
        assigned: wire::topic_partitions(engine, assigned),
        revoking: wire::topic_partitions(engine, revoking),
        target: wire::topic_partitions(engine, target),
    }
}

/// Answers `DeleteGroups`.
pub(super) async fn delete(
    shared: &Arc<Shared>,
    request: v1::DeleteGroupsRequest,
) -> Result<v1::DeleteGroupsResponse, Refusal> {
    let (_, groups) = shared.groups()?;
    check_names(&request.groups)?;
    let mut deleted = Vec::with_capacity(request.groups.len());
    for name in request.groups {
        let one = delete_one(&groups, &name, request.validate_only).await;
        let (offset_count, error) = match one {
            Ok(offset_count) => (offset_count, None),
            Err(refusal) => (0, Some(refusal.into())),
        };
        deleted.push(v1::DeletedGroup { error, group: name, offset_count });
    }
    Ok(v1::DeleteGroupsResponse { groups: deleted })
}

async fn delete_one(groups: &Groups, name: &str, validate_only: bool) -> Result<u32, Refusal> {
    let name = wire::group_name(name)?;
    let shard: Arc<CoordinatorShard> = groups.find(&name)?.ok_or_else(|| group_not_found(&name))?;
    let delete = |coordinator: &mut Coordinator, _now, out: &mut Vec<_>| {
        let offsets = coordinator.committed(&name).count();
        coordinator.delete_group(&name, out)?;
        Ok(count(offsets))
    };
    if validate_only { shard.check(&name, delete) } else { shard.decide(delete).await }
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}
