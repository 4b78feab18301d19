//! From a produce request to appended batches: everything that can refuse happens before the first append.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use corduroy_api::{Refusal, acks_from_wire, offset_from_wire, v1};
use corduroy_batch::TimestampType;
use corduroy_types::{ErrorCode, Offset, Outcome, TimestampMs};
use v1::produce_request::Payload;

use super::{
    Shared,
    check::{self, Checked},
    lookup,
    numbered::{self, Numbered, Target},
    plain,
};
use crate::{
    engine::{AppendRequest, Engine, PendingAck, Topic},
    metrics::{Api, Phase},
};

const TIMEOUT_MS_DEFAULT: u32 = 30_000;
const TIMEOUT_MS_MAX: u32 = 3_600_000;

/// A request whose batches are in the log's memory, waiting for their acknowledgements.
pub(super) struct Accepted {
    parts: Vec<AcceptedPart>,
}

struct AcceptedPart {
    pending: PendingAck,
    partition: u32,
    record_count: u32,
    record_indexes: Vec<u32>,
    log_append_time: Option<TimestampMs>,
}

/// Checks a request and appends it; takes its payload.
///
/// # Errors
/// Every refusal says with its outcome what is known of the records.
pub(super) async fn accept(
    shared: &Arc<Shared>,
    request: &mut v1::ProduceRequest,
) -> Result<Accepted, Refusal> {
    let payload = request.payload.take();
    let numbered = Numbered::of_payload(payload.as_ref());
    append(shared, request, payload).await.map_err(|refusal| match refusal.outcome {
        Some(_) => refusal,
        None => {
            let v1::ProduceRequest { topic, topic_id, partition, .. } = &*request;
            let target = Target { topic, topic_id, partition: *partition };
            let outcome = numbered::outcome(shared, &target, numbered.as_ref(), refusal.code);
            refusal.with_outcome(outcome)
        }
    })
}

/// A refusal without an outcome was decided before any partition was asked to append.
async fn append(
    shared: &Arc<Shared>,
    request: &v1::ProduceRequest,
    payload: Option<Payload>,
) -> Result<Accepted, Refusal> {
    let engine = shared.engine()?;
    let partition = request.partition;
    let acks = acks_from_wire(request.acks)?;
    let timeout = timeout(request.timeout_ms)?;
    let expected_offset = expected(request.expected_offset, partition)?;
    let topic = lookup::writable_topic(&engine, &request.topic, &request.topic_id)?;
    let refused = |refusal: &Refusal| engine.metrics().data.produce_rejected(topic.metrics(), refusal.code);
    let api = engine.metrics().requests.api(Api::Produce);
    let begun = Instant::now();
    let (bytes, checked) = check(shared, &engine, &topic, partition, payload).await.inspect_err(refused)?;
    let checked_in = begun.elapsed();
    let queued = Instant::now();
    let memory = shared.produce_memory(bytes).await?;
    api.observe(Phase::Queue, queued.elapsed().as_secs_f64());
    let begun = Instant::now();
    // Held until the batches are written, even when the request was answered before.
    let memory = Some(Arc::new(memory));
    let request = AppendRequest { acks, timeout, expected_offset, memory };
    let accepted = append_all(&engine, &topic, checked, &request).inspect_err(refused)?;
    let appended_in = begun.elapsed();
    engine.metrics().storage.append_seconds.observe(appended_in.as_secs_f64());
    api.observe(Phase::Local, (checked_in + appended_in).as_secs_f64());
    Ok(accepted)
}

/// Checks what is to be appended; returns its bytes and its parts.
async fn check(
    shared: &Shared,
    engine: &Arc<Engine>,
    topic: &Topic,
    partition: Option<u32>,
    payload: Option<Payload>,
) -> Result<(usize, Vec<Checked>), Refusal> {
    engine.context().check_writable()?;
    match payload {
        Some(Payload::Batch(batch)) => {
            let partition = partition
                .ok_or_else(|| Refusal::new(ErrorCode::InvalidRequest, "partition: required with a batch"))?;
            let replica = lookup::replica(engine, topic, partition)?;
            Ok((batch.len(), vec![check::raw_batch(shared, engine, topic, replica, batch).await?]))
        }
        Some(Payload::Records(records)) => plain::check_records(engine, topic, partition, records),
        None => Err(Refusal::new(ErrorCode::InvalidRequest, "payload: neither batch nor records")),
    }
}

fn timeout(timeout_ms: u32) -> Result<Duration, Refusal> {
    match timeout_ms {
        0 => Ok(Duration::from_millis(TIMEOUT_MS_DEFAULT.into())),
        1..=TIMEOUT_MS_MAX => Ok(Duration::from_millis(timeout_ms.into())),
        _ => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!("timeout_ms: {timeout_ms} is above {TIMEOUT_MS_MAX}"),
        )),
    }
}

/// The offset that the batch is to get, where one is named.
fn expected(offset: Option<u64>, partition: Option<u32>) -> Result<Option<Offset>, Refusal> {
    let Some(offset) = offset else { return Ok(None) };
    if partition.is_none() {
        let text = "expected_offset: only with partition, since each partition has offsets of its own";
        return Err(Refusal::new(ErrorCode::InvalidRequest, text));
    }
    Ok(Some(offset_from_wire("expected_offset", offset)?))
}

/// Appends every part. From the first append on, a failure leaves the whole request unknown.
fn append_all(
    engine: &Engine,
    topic: &Topic,
    checked: Vec<Checked>,
    request: &AppendRequest,
) -> Result<Accepted, Refusal> {
    let mut parts = Vec::with_capacity(checked.len());
    for Checked { replica, batch, record_indexes } in checked {
        let record_count = batch.header().record_count;
        let bytes = batch.total_bytes();
        let has_append_time = batch.header().timestamp_type() == TimestampType::LogAppendTime;
        let pending = replica.append(engine.clock(), batch, request.clone()).map_err(|refusal| {
            let outcome = refusal.outcome.filter(|_| parts.is_empty()).unwrap_or(Outcome::Unknown);
            refusal.with_outcome(outcome)
        })?;
        let log_append_time = has_append_time.then_some(pending.max_timestamp());
        let metrics = topic.metrics();
        if pending.is_duplicate() {
            metrics.duplicates_dropped.inc();
        } else {
            metrics.records_in.inc_by(record_count.into());
            metrics.bytes_in.inc_by(bytes.into());
            engine.metrics().data.batch_records.observe(record_count.into());
        }
        let partition = replica.index().0;
        parts.push(AcceptedPart { pending, partition, record_count, record_indexes, log_append_time });
    }
    Ok(Accepted { parts })
}

impl Accepted {
    /// Waits until every part is acknowledged.
    ///
    /// # Errors
    /// Any part that is not acknowledged leaves the request unknown.
    pub(super) async fn acknowledged(self) -> Result<v1::ProduceAck, Refusal> {
        let mut appended = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            let (base_offset, duplicate) = (part.pending.base_offset(), part.pending.is_duplicate());
            let ack = part
                .pending
                .acknowledged()
                .await
                .map_err(|refusal| refusal.with_outcome(Outcome::Unknown))?;
            appended.push(v1::AppendedRecords {
                partition: part.partition,
                base_offset: base_offset.get(),
                record_count: part.record_count,
                record_indexes: part.record_indexes,
                log_append_time_ms: part.log_append_time.map(|time| time.0),
                durable_replicas: ack.durable_replicas,
                leader_epoch: ack.leader_epoch.get(),
                duplicate,
            });
        }
        Ok(v1::ProduceAck { appended })
    }
}
