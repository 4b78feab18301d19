//! The `Admin` service: topics and their configs.

use std::{collections::BTreeSet, future::Future, sync::Arc};

use corduroy_api::{Refusal, topic_name_from_wire, v1};
use corduroy_metadata::{AddPartitions, AlterTopicConfigs, CreateTopic, DeleteTopic};
use corduroy_types::{ErrorCode, Offset, TopicId};
use tonic::{Request, Response, Status};

use super::{
    Shared,
    audit::Who,
    configs,
    describe_topics::{describe_topics, list_topics, stored},
    lookup, producers,
};
use crate::{
    engine::{Draft, Engine, Topic},
    groups::Groups,
    metrics::Api,
};

/// Items of one request.
const ITEMS_MAX: usize = 10_000;

/// Serves `corduroy.v1.Admin`.
pub(crate) struct AdminService {
    shared: Arc<Shared>,
}

impl AdminService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Counts, times and answers one request.
    async fn answer<T>(
        &self,
        api: Api,
        work: impl Future<Output = Result<T, Refusal>> + Send,
    ) -> Result<Response<T>, Status> {
        let begun = self.shared.metrics.requests.api(api).begin();
        let answer = work.await;
        begun.finish(answer.as_ref().err().map(|refusal| refusal.code));
        answer.map(Response::new).map_err(Refusal::into_status)
    }
}

#[tonic::async_trait]
impl v1::admin_server::Admin for AdminService {
    async fn list_topics(
        &self,
        request: Request<v1::ListTopicsRequest>,
    ) -> Result<Response<v1::ListTopicsResponse>, Status> {
        let include_internal = request.into_inner().include_internal;
        self.answer(Api::ListTopics, async {
            let (engine, groups) = self.shared.groups()?;
            list_topics(&engine, &groups, include_internal).await
        })
        .await
    }

    async fn describe_topics(
        &self,
        request: Request<v1::DescribeTopicsRequest>,
    ) -> Result<Response<v1::DescribeTopicsResponse>, Status> {
        let names = request.into_inner().names;
        self.answer(Api::DescribeTopics, async {
            check_items("names", names.len())?;
            let (engine, groups) = self.shared.groups()?;
            describe_topics(&engine, &groups, names).await
        })
        .await
    }

    async fn create_topics(
        &self,
        request: Request<v1::CreateTopicsRequest>,
    ) -> Result<Response<v1::CreateTopicsResponse>, Status> {
        let who = Who::of(&request);
        let v1::CreateTopicsRequest { topics, validate_only } = request.into_inner();
        self.answer(Api::CreateTopics, async {
            check_items("topics", topics.len())?;
            let engine = self.shared.engine()?;
            let mut draft = draft(&engine, validate_only);
            let mut created = Vec::with_capacity(topics.len());
            for topic in topics {
                let name = topic.name.clone();
                let one = create_topic(&engine, topic, draft.as_mut()).await;
                if let Some(made) = one.as_ref().ok().filter(|made| !validate_only && !made.existed) {
                    let details = format!("{} partitions", made.partition_count);
                    who.changed("create topic", &made.name, details);
                }
                created.push(one.unwrap_or_else(|refusal| v1::CreatedTopic {
                    error: Some(refusal.into()),
                    name,
                    ..Default::default()
                }));
            }
            Ok(v1::CreateTopicsResponse { topics: created })
        })
        .await
    }

    async fn delete_topics(
        &self,
        request: Request<v1::DeleteTopicsRequest>,
    ) -> Result<Response<v1::DeleteTopicsResponse>, Status> {
        let who = Who::of(&request);
        let v1::DeleteTopicsRequest { names, validate_only } = request.into_inner();
        self.answer(Api::DeleteTopics, async {
            check_items("names", names.len())?;
            let (engine, groups) = self.shared.groups()?;
            let mut draft = draft(&engine, validate_only);
            let mut topics = Vec::with_capacity(names.len());
            for name in names {
                let one = delete_topic(&engine, &groups, &name, draft.as_mut()).await;
                if let Some(gone) = one.as_ref().ok().filter(|_| !validate_only) {
                    let details = format!("{} records, {} bytes", gone.record_count, gone.stored_bytes);
                    who.changed("delete topic", &name, details);
                }
                topics.push(one.unwrap_or_else(|refusal| v1::DeletedTopic {
                    error: Some(refusal.into()),
                    name,
                    ..Default::default()
                }));
            }
            Ok(v1::DeleteTopicsResponse { topics })
        })
        .await
    }

    async fn add_partitions(
        &self,
        request: Request<v1::AddPartitionsRequest>,
    ) -> Result<Response<v1::AddPartitionsResponse>, Status> {
        let who = Who::of(&request);
        let v1::AddPartitionsRequest { topic, partition_count, validate_only } = request.into_inner();
        self.answer(Api::AddPartitions, async {
            let engine = self.shared.engine()?;
            engine.context().check_writable()?;
            let command = AddPartitions { name: topic_name_from_wire(&topic)?, partition_count };
            let counts = match validate_only {
                true => engine.metadata().draft().check(&command)?,
                false => engine.replicas().change(command).await?,
            };
            if !validate_only && counts.previous != counts.now {
                who.changed("add partitions", &topic, format!("{} -> {}", counts.previous, counts.now));
            }
            Ok(v1::AddPartitionsResponse {
                previous_partition_count: counts.previous,
                partition_count: counts.now,
            })
        })
        .await
    }

    async fn alter_topic_configs(
        &self,
        request: Request<v1::AlterTopicConfigsRequest>,
    ) -> Result<Response<v1::AlterTopicConfigsResponse>, Status> {
        let (who, request) = (Who::of(&request), request.into_inner());
        let (topic, validate_only) = (request.topic.clone(), request.validate_only);
        self.answer(Api::AlterTopicConfigs, async {
            let altered = alter_configs(&self.shared.engine()?, request).await?;
            let changes = altered.changes.iter().filter(|change| change.value != change.previous_value);
            let changes: Vec<_> = changes
                .map(|change| format!("{}: {:?} -> {:?}", change.key, change.previous_value, change.value))
                .collect();
            if !validate_only && !changes.is_empty() {
                who.changed("alter topic configs", &topic, changes.join(", "));
            }
            Ok(altered)
        })
        .await
    }

    async fn delete_records(
        &self,
        request: Request<v1::DeleteRecordsRequest>,
    ) -> Result<Response<v1::DeleteRecordsResponse>, Status> {
        let who = Who::of(&request);
        let v1::DeleteRecordsRequest { topic, partitions, validate_only } = request.into_inner();
        self.answer(Api::DeleteRecords, async {
            check_items("partitions", partitions.len())?;
            let mut seen = BTreeSet::new();
            if let Some(twice) = partitions.iter().find(|wanted| !seen.insert(wanted.partition)) {
                let text = format!("partitions: {} is given twice", twice.partition);
                return Err(Refusal::new(ErrorCode::InvalidRequest, text));
            }
            let engine = self.shared.engine()?;
            let topic = lookup::writable_topic(&engine, &topic, &bytes::Bytes::new())?;
            let mut answers = Vec::with_capacity(partitions.len());
            for v1::DeleteRecordsPartition { partition, before_offset } in partitions {
                let deleted = delete_records(&engine, &topic, partition, before_offset, validate_only).await;
                if let Some(gone) = deleted.as_ref().ok().filter(|_| !validate_only) {
                    let details = format!("partition {partition} now begins at {}", gone.log_start);
                    who.changed("delete records", topic.name().as_str(), details);
                }
                answers.push(deleted.unwrap_or_else(|refusal| v1::DeletedRecords {
                    partition,
                    error: Some(refusal.into()),
                    ..Default::default()
                }));
            }
            Ok(v1::DeleteRecordsResponse { partitions: answers })
        })
        .await
    }

    async fn recover_partition(
        &self,
        request: Request<v1::RecoverPartitionRequest>,
    ) -> Result<Response<v1::RecoverPartitionResponse>, Status> {
        let who = Who::of(&request);
        let v1::RecoverPartitionRequest { topic, partition, validate_only } = request.into_inner();
        self.answer(Api::RecoverPartition, async {
            let engine = self.shared.engine()?;
            let topic = lookup::topic(&engine, &topic, &bytes::Bytes::new())?;
            let replica = lookup::replica(&engine, &topic, partition)?;
            let given_up = engine.maintenance().give_up_damage(&replica, validate_only).await?;
            if !validate_only {
                let details = format!("partition {partition}, {} damaged ranges given up", given_up.len());
                who.changed("recover partition", topic.name().as_str(), details);
            }
            let given_up = given_up.iter().map(|range| super::damaged_range(&replica, range)).collect();
            Ok(v1::RecoverPartitionResponse { given_up })
        })
        .await
    }

    async fn list_producers(
        &self,
        request: Request<v1::ListProducersRequest>,
    ) -> Result<Response<v1::ListProducersResponse>, Status> {
        let topic = request.into_inner().topic;
        self.answer(Api::ListProducers, async { producers::list(&*self.shared.engine()?, &topic) }).await
    }
}

fn check_items(field: &str, count: usize) -> Result<(), Refusal> {
    if count > ITEMS_MAX {
        let text = format!("{field}: {count} given, at most {ITEMS_MAX}");
        return Err(Refusal::new(ErrorCode::InvalidRequest, text));
    }
    Ok(())
}

/// What the changes of one request are checked on, where that is all that is asked.
fn draft(engine: &Engine, validate_only: bool) -> Option<Draft> {
    match validate_only {
        true => Some(engine.metadata().draft()),
        false => None,
    }
}

async fn create_topic(
    engine: &Arc<Engine>,
    topic: v1::NewTopic,
    draft: Option<&mut Draft>,
) -> Result<v1::CreatedTopic, Refusal> {
    // What is left of a full disk is for making room.
    engine.context().check_writable()?;
    let v1::NewTopic { name, partition_count, replication, configs, if_not_exists } = topic;
    let defaults = &engine.config().topic_defaults;
    let command = CreateTopic {
        name: topic_name_from_wire(&name)?,
        topic_id: TopicId::from_bytes(uuid::Uuid::new_v4().into_bytes()),
        partition_count: if partition_count == 0 { defaults.partitions } else { partition_count },
        replication: if replication == 0 { defaults.replication() } else { Some(replication) },
        defaults: defaults.entries(),
        configs: configs::pairs(configs),
        if_not_exists,
        now: engine.clock().now(),
    };
    let created = match draft {
        Some(draft) => draft.check(&command)?,
        None => engine.replicas().change(command).await?,
    };
    Ok(v1::CreatedTopic {
        error: None,
        name,
        topic_id: created.topic.id().to_bytes().to_vec().into(),
        partition_count: created.topic.partition_count(),
        replication: created.topic.replication(),
        configs: configs::described(&created.topic),
        existed: created.existed,
    })
}

async fn delete_topic(
    engine: &Arc<Engine>,
    groups: &Groups,
    name: &str,
    draft: Option<&mut Draft>,
) -> Result<v1::DeletedTopic, Refusal> {
    let topic = lookup::topic(engine, name, &bytes::Bytes::new())?;
    let (stored_bytes, record_count) = stored(groups, &topic).await;
    let command = DeleteTopic { name: topic.name().clone() };
    match draft {
        Some(draft) => drop(draft.check(&command)?),
        None => drop(engine.replicas().change(command).await?),
    }
    Ok(v1::DeletedTopic {
        error: None,
        name: name.to_owned(),
        topic_id: topic.id().to_bytes().to_vec().into(),
        stored_bytes,
        record_count,
    })
}

async fn alter_configs(
    engine: &Arc<Engine>,
    request: v1::AlterTopicConfigsRequest,
) -> Result<v1::AlterTopicConfigsResponse, Refusal> {
    let v1::AlterTopicConfigsRequest { topic, set, unset, validate_only } = request;
    let found = lookup::topic(engine, &topic, &bytes::Bytes::new())?;
    let command = AlterTopicConfigs { name: found.name().clone(), set: configs::pairs(set), unset };
    let altered = match validate_only {
        true => engine.metadata().draft().check(&command)?,
        false => engine.replicas().change(command).await?,
    };
    let now = engine.clock().now();
    let changes = altered.changes.into_iter().map(|change| v1::ConfigChange {
        key: change.key.to_owned(),
        effect: match change.value == change.previous_value {
            true => String::new(),
            false => configs::effect(change.key, &change.previous_value, &change.value, &found, now),
        },
        previous_value: change.previous_value,
        value: change.value,
    });
    Ok(v1::AlterTopicConfigsResponse { changes: changes.collect() })
}

async fn delete_records(
    engine: &Engine,
    topic: &Topic,
    partition: u32,
    before_offset: u64,
    validate_only: bool,
) -> Result<v1::DeletedRecords, Refusal> {
    let replica = lookup::replica(engine, topic, partition)?;
    let before: Offset = corduroy_api::offset_from_wire("before_offset", before_offset)?;
    if !topic.config().cleanup_policy.deletes() {
        let text = format!("records of {} are not deleted: its cleanup.policy is compact", topic.name());
        let hint = "produce null values for the keys that should go, or set cleanup.policy=compact,delete";
        return Err(Refusal::new(ErrorCode::InvalidRequest, text).with_hint(hint));
    }
    let deleted = engine.maintenance().delete_records(&replica, before, validate_only).await?;
    Ok(v1::DeletedRecords {
        partition,
        error: None,
        log_start: deleted.log_start.get(),
        deleted_offset_count: deleted.record_count,
    })
}
