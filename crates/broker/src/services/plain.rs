//! Plain records on their way in: what programs that have only the generated stubs send.

use std::collections::BTreeMap;

use corduroy_api::{Refusal, v1};
use corduroy_batch::{
    Batch, BatchBuilder, Compression, PushOutcome, partition_for_key, record_encoded_bytes,
};
use corduroy_types::{ErrorCode, TimestampMs};

use super::{
    check::{Checked, refuse_batch, validate},
    lookup,
};
use crate::engine::{Engine, Topic};

/// Groups records by partition and builds a batch for each, checking everything before anything is appended.
///
/// Returns the bytes of all batches together, and the batches in the order of their partitions' first records.
pub(super) fn check_records(
    engine: &Engine,
    topic: &Topic,
    partition: Option<u32>,
    records: v1::PlainRecords,
) -> Result<(usize, Vec<Checked>), Refusal> {
    let records = records.records;
    if records.is_empty() {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "records: there is none"));
    }
    let now = engine.clock().now();
    let groups = group_by_partition(topic, partition, &records);
    let all_to_one = groups.len() == 1;
    let mut bytes = 0;
    let mut checked = Vec::with_capacity(groups.len());
    for (index, members) in groups {
        let replica = lookup::replica(engine, topic, index)?;
        let batch = build(topic, &records, &members, now)?;
        bytes += batch.bytes().len();
        let record_indexes = if all_to_one { Vec::new() } else { members };
        checked.push(Checked { replica, batch, record_indexes });
    }
    Ok((bytes, checked))
}

/// Partitions in the order of their first records, each with the indexes of its records.
fn group_by_partition(topic: &Topic, partition: Option<u32>, records: &[v1::Record]) -> Vec<(u32, Vec<u32>)> {
    let all = || (0..).zip(records).map(|(index, _)| index).collect();
    if let Some(partition) = partition {
        return vec![(partition, all())];
    }
    let count = topic.partition_count();
    let unkeyed = topic.partition_for_unkeyed().0;
    let mut place: BTreeMap<u32, usize> = BTreeMap::new();
    let mut groups: Vec<(u32, Vec<u32>)> = Vec::new();
    for (index, record) in (0_u32..).zip(records) {
        let partition = match &record.key {
            Some(key) => partition_for_key(key, count).0,
            None => unkeyed,
        };
        let at = *place.entry(partition).or_insert_with(|| {
            groups.push((partition, Vec::new()));
            groups.len() - 1
        });
        if let Some((_, members)) = groups.get_mut(at) {
            members.push(index);
        }
    }
    groups
}

fn build(topic: &Topic, records: &[v1::Record], members: &[u32], now: TimestampMs) -> Result<Batch, Refusal> {
    let rules = topic.append_rules();
    let mut builder = BatchBuilder::new(Compression::None, rules.max_batch_bytes);
    for index in members {
        let Some(record) = usize::try_from(*index).ok().and_then(|index| records.get(index)) else {
            continue;
        };
        let timestamp = record.timestamp_ms.map_or(now, TimestampMs);
        let key = record.key.as_deref();
        let value = record.value.as_deref();
        let outcome = builder.push(timestamp, key, value, headers(record)).map_err(refuse_batch)?;
        if outcome == PushOutcome::Full {
            return Err(too_large(record, *index, rules.max_batch_bytes));
        }
    }
    let bytes = builder.build().map_err(refuse_batch)?;
    let batch = Batch::parse(bytes).map_err(refuse_batch)?;
    validate(&batch, &rules, now)
}

fn headers(record: &v1::Record) -> impl Iterator<Item = (&str, Option<&[u8]>)> + Clone {
    record.headers.iter().map(|header| (header.key.as_str(), header.value.as_deref()))
}

fn too_large(record: &v1::Record, index: u32, max_bytes: u32) -> Refusal {
    let alone = record_encoded_bytes(record.key.as_deref(), record.value.as_deref(), headers(record));
    if alone.saturating_add(corduroy_batch::HEADER_BYTES) > usize::try_from(max_bytes).unwrap_or(usize::MAX) {
        Refusal::new(
            ErrorCode::RecordTooLarge,
            format!("record {index} takes {alone} bytes, max.message.bytes of the topic is {max_bytes}"),
        )
    } else {
        Refusal::new(
            ErrorCode::BatchTooLarge,
            format!("the records up to {index} exceed max.message.bytes of the topic, {max_bytes}"),
        )
        .with_hint("send fewer records in a request, or raise max.message.bytes")
    }
}
