//! What partitions remember of idempotent producers, for operators.

use corduroy_api::{Refusal, v1};
use corduroy_log::producers::Producer;

use super::lookup;
use crate::engine::{Engine, Replica};

/// How many producers of a partition are listed.
const LISTED_MAX: usize = 100;

/// The producers of every partition of a topic that is led here; the others name their leader.
///
/// # Errors
/// `TOPIC_NOT_FOUND`.
pub(super) fn list(engine: &Engine, topic: &str) -> Result<v1::ListProducersResponse, Refusal> {
    let topic = lookup::topic(engine, topic, &bytes::Bytes::new())?;
    let partitions =
        (0..topic.partition_count()).map(|partition| match lookup::replica(engine, &topic, partition) {
            Ok(replica) => of_replica(&replica),
            Err(refusal) => {
                v1::PartitionProducers { partition, error: Some(refusal.into()), ..Default::default() }
            }
        });
    Ok(v1::ListProducersResponse { partitions: partitions.collect() })
}

fn of_replica(replica: &Replica) -> v1::PartitionProducers {
    let (count, newest) = replica.producers(LISTED_MAX);
    v1::PartitionProducers {
        partition: replica.index().0,
        producer_count: u32::try_from(count).unwrap_or(u32::MAX),
        producers: newest.into_iter().filter_map(|(id, producer)| remembered(id, &producer)).collect(),
        error: None,
    }
}

fn remembered(producer_id: i64, producer: &Producer) -> Option<v1::RememberedProducer> {
    let last = producer.last_batch()?;
    Some(v1::RememberedProducer {
        producer_id,
        producer_epoch: u32::try_from(producer.epoch()).ok()?,
        last_sequence: last.first_sequence.plus(last.last_delta).get(),
        last_offset: last.base_offset.saturating_add(u64::from(last.last_delta)).get(),
        last_timestamp_ms: last.max_timestamp.0,
    })
}
