//! Changes of the metadata: decided on the image, made durable in the metadata log, applied, then acted on.

use std::{sync::Arc, time::Duration};

use corduroy_api::Refusal;
use corduroy_batch::{Batch, BatchBuilder, Compression, PushOutcome};
use corduroy_log::{Log, journal::JournalRequest};
use corduroy_metadata::{Command, Delta, Image, MetadataError, Record};
use corduroy_partition::NotLeading;
use corduroy_types::{Acks, ErrorCode, PartitionIndex, TopicName};

use super::{
    AppendRequest, Clock, Engine, Replica, Topic,
    opening::{self, Place},
    partition_dirs,
};

/// A change of the metadata waits for its commit round for as long as that takes: given up earlier, the log would
/// hold a record that the image does not.
const NO_TIMEOUT: Duration = Duration::MAX;
/// The most bytes of records that one change may write.
const CHANGE_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// The one owner of the image. Changes take turns.
pub(crate) struct Controller {
    pub(super) image: Image,
    pub(super) replica: Arc<Replica>,
}

impl Controller {
    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// A copy of the image, to check commands on that are not carried out.
    pub(crate) fn draft(&self) -> Draft {
        Draft(self.image.clone())
    }

    /// Carries a command out on the image: durable first, then applied.
    ///
    /// # Errors
    /// Refused, or the metadata log has stopped; nothing has changed then.
    pub(super) async fn change<C: Command>(
        &mut self,
        clock: Clock,
        command: &C,
    ) -> Result<(C::Answer, Vec<Delta>), Refusal> {
        let decision = self.image.decide(command).map_err(|error| refuse(&error))?;
        if !decision.records.is_empty() {
            let batch = encode(&decision.records, clock)?;
            let request = AppendRequest {
                acks: Acks::Quorum,
                timeout: NO_TIMEOUT,
                expected_offset: None,
                memory: None,
            };
            let pending = self.replica.append(clock, batch, request).map_err(Refusal::without_outcome)?;
            pending.acknowledged().await.map_err(Refusal::without_outcome)?;
        }
        let deltas = apply(&mut self.image, &decision.records)?;
        Ok((decision.answer, deltas))
    }
}

/// An image of one request's own. Commands that one request holds are checked on it one after the other, each on what
/// those before it would have done.
pub(crate) struct Draft(Image);

impl Draft {
    /// Checks a command, and carries it out here alone.
    ///
    /// # Errors
    /// What the command itself would be refused for.
    pub(crate) fn check<C: Command>(&mut self, command: &C) -> Result<C::Answer, Refusal> {
        let decision = self.0.decide(command).map_err(|error| refuse(&error))?;
        apply(&mut self.0, &decision.records)?;
        Ok(decision.answer)
    }
}

fn apply(image: &mut Image, records: &[Record]) -> Result<Vec<Delta>, Refusal> {
    image.apply_all(records).map_err(|error| {
        Refusal::new(ErrorCode::Internal, format!("a decided record cannot be applied: {error}"))
    })
}

fn encode(records: &[Record], clock: Clock) -> Result<Batch, Refusal> {
    let mut builder = BatchBuilder::new(Compression::None, CHANGE_BYTES_MAX);
    let internal = |error: &dyn std::fmt::Display| Refusal::new(ErrorCode::Internal, error.to_string());
    for record in records {
        let pushed = builder.push(clock.now(), None, Some(&record.encode()), []).map_err(|e| internal(&e))?;
        if pushed == PushOutcome::Full {
            let text = format!("the change takes more than {CHANGE_BYTES_MAX} bytes of metadata");
            return Err(Refusal::new(ErrorCode::InvalidRequest, text));
        }
    }
    let bytes = builder.build().map_err(|e| internal(&e))?;
    Batch::parse(bytes).map_err(|e| internal(&e))
}

/// A refused command, as clients see it.
pub(crate) fn refuse(error: &MetadataError) -> Refusal {
    Refusal::new(error.code(), error.to_string())
}

impl Engine {
    /// Carries out a change of the metadata, and what follows from it here.
    ///
    /// It runs to its end even when nobody waits for it any more: a caller who goes away between the record and its
    /// application must not leave an image that the log contradicts.
    ///
    /// # Errors
    /// Refused, or storage failed.
    pub(crate) async fn change<C>(self: &Arc<Self>, command: C) -> Result<C::Answer, Refusal>
    where
        C: Command + Send + Sync + 'static,
        C::Answer: Send + 'static,
    {
        let engine = Arc::clone(self);
        let changing = tokio::spawn(async move {
            let mut controller = engine.controller.lock().await;
            if engine.check_writable().is_err() {
                let reserve = Arc::clone(&engine.reserve);
                engine.workers.control.run(move || reserve.make_room()).await?;
            }
            let (answer, deltas) = controller.change(engine.clock, &command).await?;
            let mut deleted = Vec::new();
            for delta in deltas {
                deleted.extend(engine.act_on(delta).await?);
            }
            // Who holds a partition's files may be waiting for the controller.
            drop(controller);
            for topic in deleted {
                engine.erase_topic(&topic).await;
            }
            Ok(answer)
        });
        changing.await.unwrap_or_else(|error| {
            Err(Refusal::new(ErrorCode::Internal, format!("the change failed: {error}")))
        })
    }

    /// Opens what the image has and this broker does not serve yet: all of a new topic, or its new partitions.
    async fn open_missing(&self, described: &Arc<corduroy_metadata::Topic>) -> Result<(), Refusal> {
        match self.topics().by_id(described.id()) {
            Some(topic) => {
                let first = PartitionIndex(topic.partition_count());
                topic.add_replicas(self.open_replicas(described, first).await?);
                self.topics_changed();
            }
            None => {
                let replicas = self.open_replicas(described, PartitionIndex(0)).await?;
                let metrics = self.metrics.data.topic(described.name());
                let config = corduroy_types::TopicConfig::clone(described.config());
                let topic = Topic::new(described.name().clone(), described.id(), config, replicas, metrics);
                self.change_topics(|topics| topics.insert(Arc::new(topic)));
            }
        }
        Ok(())
    }

    /// Tries again what a change left unopened because the disk failed.
    pub(super) async fn open_all_missing(&self) {
        let Ok(controller) = self.controller.try_lock() else { return };
        let topics = self.topics();
        let missing = controller.image.topics().filter(|described| {
            let open = topics.get(described.name()).map_or(0, |topic| topic.partition_count());
            open < described.partition_count()
        });
        for described in missing {
            if let Err(refusal) = self.open_missing(described).await {
                tracing::warn!(topic = %described.name(), %refusal, "partitions are not open yet");
            }
        }
    }

    /// Does what follows from a change; returns a topic whose files are to be erased.
    async fn act_on(&self, delta: Delta) -> Result<Option<Arc<Topic>>, Refusal> {
        match delta {
            Delta::TopicCreated(described) | Delta::PartitionsAdded { topic: described, .. } => {
                self.open_missing(&described).await?;
            }
            Delta::ConfigsChanged(described) => {
                let config = corduroy_types::TopicConfig::clone(described.config());
                let log_config = partition_dirs::log_config(&config, self.tail_bytes_now(), &self.config);
                if let Some(topic) = self.topics().by_id(described.id()) {
                    topic.set_config(config);
                    topic.replicas().iter().for_each(|replica| replica.set_log_config(log_config));
                }
                self.change_topics(|_| ());
            }
            Delta::TopicDeleted(described) => return Ok(self.retire_topic(described.name())),
            Delta::LeaderEpochRaised { topic_id, partition, leader_epoch, .. } => {
                let replica = self.topics().by_id(topic_id).and_then(|topic| topic.replica(partition));
                self.lead_in(replica.map(|replica| (replica, leader_epoch)).into_iter().collect()).await;
            }
            Delta::ClusterNamed(_) | Delta::BrokerRegistered(_) => {}
        }
        Ok(None)
    }

    /// Opens the logs of a topic's partitions from `first` on, and leads in them. Those that cannot be opened are
    /// offline.
    async fn open_replicas(
        &self,
        topic: &Arc<corduroy_metadata::Topic>,
        first: PartitionIndex,
    ) -> Result<Vec<Arc<Replica>>, Refusal> {
        let mut place = Place { clean: true, ..self.place() };
        let (commits, clock, topic) = (self.commits.clone(), self.clock, Arc::clone(topic));
        let opened = self.workers.opening.run(move || {
            let indexes = (first.0..topic.partition_count()).map(PartitionIndex);
            let made = partition_dirs::create(&*place.disk, &place.data_dir, topic.id(), indexes.clone());
            // Where that fails each log makes its own when it is first written to.
            place.named = made.is_ok();
            let open = |index| opening::open_replica(&place, &topic, index, &commits, clock);
            indexes.map(open).collect::<Vec<_>>()
        });
        let opened = opened.await?;
        let replicas = opened.iter().map(|opened| Arc::clone(&opened.replica)).collect();
        let leading = opened.into_iter().filter(|opened| opened.report.is_some());
        self.lead_in(leading.map(|opened| (opened.replica, opened.epoch)).collect()).await;
        Ok(replicas)
    }

    /// Takes a deleted topic out of service.
    fn retire_topic(&self, name: &TopicName) -> Option<Arc<Topic>> {
        let topic = self.topics().get(name)?;
        self.change_topics(|topics| drop(topics.remove(name)));
        for replica in topic.replicas().iter() {
            let log: Option<Log> = replica.retire(NotLeading::TopicDeleted, self.clock);
            drop(log);
        }
        self.metrics.data.remove_topic(name);
        self.metrics.groups.forget_topic(name.as_str());
        Some(topic)
    }

    /// Removes the files of a topic that was retired.
    async fn erase_topic(&self, topic: &Topic) {
        for replica in topic.replicas().iter() {
            // Who is changing its files ends that first, and finds no log then.
            drop(replica.removals.lock().await);
        }
        // Not waited for: without it the journal only remembers what nobody asks for.
        drop(self.commits.ask(topic.replicas().iter().map(|r| JournalRequest::Drop(r.key())).collect()));
        let (disk, data_dir, id) = (Arc::clone(&self.disk), self.data_dir.clone(), topic.id());
        let (journal, replicas) = (Arc::clone(&self.journal), topic.replicas());
        let removed = self.workers.maintenance.run(move || {
            let mut journal = journal.lock();
            replicas.iter().for_each(|replica| journal.reopened(replica.key()));
            drop(journal);
            partition_dirs::remove_topic_dir(disk.as_ref(), &data_dir, id)
        });
        let removed = removed.await;
        let name = topic.name();
        match removed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(topic = %name, %error, "files of a deleted topic are left until the next start")
            }
            Err(refusal) => {
                tracing::error!(topic = %name, %refusal, "files of a deleted topic are left until the next start")
            }
        }
    }

    pub(super) fn tail_bytes_now(&self) -> u64 {
        let partitions = self.topics().iter().map(|topic| topic.replicas().len()).sum::<usize>();
        self.tail_bytes(partitions + 1)
    }
}
