//! Following topics that grow: partitions that are added later are read from their start.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use corduroy_types::{PartitionIndex, TopicName};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};

use super::{batch::Source, builder::resolve_each, state::Partition};
use crate::{Event, OffsetSpec, TopicPartition, client::Shared, topics::TopicInfo};

/// Looks topics up again and again, while the consumer lives, for partitions that were added.
pub(super) struct Growth {
    client: Arc<Shared>,
    topics: BTreeMap<TopicName, Arc<TopicInfo>>,
    every: Duration,
    found: mpsc::Sender<Vec<Partition>>,
}

impl Growth {
    /// Begins to follow these topics, of which all partitions that were known are read already.
    pub(super) fn start(
        client: Arc<Shared>,
        topics: impl IntoIterator<Item = Arc<TopicInfo>>,
        every: Duration,
    ) -> mpsc::Receiver<Vec<Partition>> {
        let (found, receiver) = mpsc::channel(1);
        let topics = topics.into_iter().map(|info| (info.name.clone(), info)).collect();
        tokio::spawn(Self { client, topics, every, found }.run());
        receiver
    }

    async fn run(mut self) {
        let mut looks = tokio::time::interval_at(Instant::now() + self.every, self.every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.found.closed() => return,
                _ = looks.tick() => {}
            }
            let names: Vec<_> = self.topics.keys().cloned().collect();
            for name in names {
                let added = self.partitions_of(&name).await;
                if !added.is_empty() && self.found.send(added).await.is_err() {
                    return;
                }
            }
        }
    }

    /// The partitions of a topic that were added since the last look. What cannot be found out now is looked for the next
    /// time.
    async fn partitions_of(&mut self, name: &TopicName) -> Vec<Partition> {
        let Some(known) = self.topics.get(name) else { return Vec::new() };
        let found = match self.client.refresh_topic(name).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(topic = %name, %error, "the topic was not looked up for added partitions");
                return Vec::new();
            }
        };
        if found.id != known.id {
            // Another topic of the same name. A reader of the old one learns it from its partitions.
            return Vec::new();
        }
        let first = known.partition_count;
        let new = (first..found.partition_count).map(PartitionIndex);
        // Whatever the consumer begins with elsewhere: all that is in them came after it was built.
        let places = new.clone().map(|partition| (name.as_str(), partition, OffsetSpec::Start));
        let starts = match resolve_each(&self.client, places).await {
            Ok(starts) => starts,
            Err(error) => {
                tracing::debug!(topic = %name, %error, "where added partitions start was not found");
                return Vec::new();
            }
        };
        // Those before the first that cannot be begun with yet; the others the next time.
        let added: Vec<_> =
            new.zip(starts).map_while(|(partition, start)| Some((partition, start.ok()?))).collect();
        let count = first.saturating_add(u32::try_from(added.len()).unwrap_or(u32::MAX));
        let info = TopicInfo { partition_count: count, ..(*found).clone() };
        self.topics.insert(name.clone(), Arc::new(info));
        if !added.is_empty() {
            let named = |(partition, _): &(PartitionIndex, _)| TopicPartition::new(name.clone(), *partition);
            let partitions = added.iter().map(named).collect();
            self.client.events.emit(Event::PartitionsAdded { partitions });
        }
        let partition = |(partition, start)| {
            let source = Source { topic: name.clone(), partition };
            Partition::new(Arc::new(source), found.wire_id(), start, None)
        };
        added.into_iter().map(partition).collect()
    }
}
