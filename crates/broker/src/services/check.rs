//! What the leader checks of a batch before it is appended.

use std::sync::Arc;

use bytes::Bytes;
use corduroy_api::Refusal;
use corduroy_batch::{AppendRules, Batch, Compression, ValidBatch, validate_for_append};
use corduroy_types::TimestampMs;

use super::Shared;
use crate::engine::{Engine, Replica, Topic};

/// One batch, checked, on its way into one partition.
pub(super) struct Checked {
    pub(super) replica: Arc<Replica>,
    pub(super) batch: Batch,
    /// Which records of a plain request these are; empty for all.
    pub(super) record_indexes: Vec<u32>,
}

/// Parses and checks a raw batch, off the network threads where it has to be decompressed. What that holds is charged
/// to the memory for appends.
pub(super) async fn raw_batch(
    shared: &Shared,
    engine: &Arc<Engine>,
    topic: &Topic,
    replica: Arc<Replica>,
    bytes: Bytes,
) -> Result<Checked, Refusal> {
    let now = engine.clock().now();
    let rules = topic.append_rules();
    let batch = Batch::parse(bytes).map_err(refuse_batch)?;
    let compressed = batch.header().compression() != Compression::None;
    let batch = if compressed && (rules.validate_compressed || rules.compacted) {
        let bytes = usize::try_from(batch.check_bytes(rules.decompress)).unwrap_or(usize::MAX);
        // Before a place among those that compute, so that none is kept while waiting.
        let _memory = shared.produce_memory(bytes).await?;
        engine.workers().compute.run(move || validate(&batch, &rules, now)).await??
    } else {
        validate(&batch, &rules, now)?
    };
    Ok(Checked { replica, batch, record_indexes: Vec::new() })
}

/// The leader's checks; where the topic has LogAppendTime, the batch that comes back carries the broker's time.
pub(super) fn validate(batch: &Batch, rules: &AppendRules, now: TimestampMs) -> Result<Batch, Refusal> {
    validate_for_append(batch, rules, now).map(ValidBatch::into_batch).map_err(refuse_batch)
}

pub(super) fn refuse_batch(error: corduroy_batch::BatchError) -> Refusal {
    Refusal::new(error.code(), error.to_string())
}
