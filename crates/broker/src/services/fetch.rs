//! `Fetch`: one answer from some partitions, waiting for bytes if there are none yet.

use std::{ops::Range, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use corduroy_api::{Refusal, offset_from_wire, v1};
use corduroy_batch::DecompressLimits;
use corduroy_types::{ErrorCode, LeaderEpoch, Offset};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::Instant;

use super::{Shared, lookup, plain};
use crate::{
    engine::{Engine, Fetched, Replica},
    limits::{Connection, Permit},
};

const PARTITIONS_MAX: usize = 10_000;
const PARTITION_BYTES_DEFAULT: u32 = 1024 * 1024;
const WAIT_MS_MAX: u32 = 300_000;

/// One partition of a fetch, found and checked; or why not.
struct Wanted {
    topic: String,
    partition: u32,
    found: Result<Place, Refusal>,
}

struct Place {
    replica: Arc<Replica>,
    from: Offset,
    max_bytes: u32,
}

/// Answers a `Fetch` of `caller`, with the permit for the answer's memory.
///
/// # Errors
/// Only what concerns the whole request; a partition's trouble stands beside the others' records.
pub(super) async fn fetch(
    shared: &Arc<Shared>,
    caller: Option<Arc<Connection>>,
    request: v1::FetchRequest,
) -> Result<(v1::FetchResponse, Option<Permit>), Refusal> {
    let engine = shared.engine()?;
    let v1::FetchRequest { partitions, min_bytes, max_wait_ms, max_bytes, form } = request;
    if partitions.is_empty() || partitions.len() > PARTITIONS_MAX {
        let text = format!("partitions: {} given, must be 1 to {PARTITIONS_MAX}", partitions.len());
        return Err(Refusal::new(ErrorCode::InvalidRequest, text));
    }
    if max_wait_ms > WAIT_MS_MAX {
        let text = format!("max_wait_ms: {max_wait_ms} is above {WAIT_MS_MAX}");
        return Err(Refusal::new(ErrorCode::InvalidRequest, text));
    }
    let plain = record_form(form)? == v1::RecordForm::Plain;
    let limit = shared.fetch_max_bytes();
    let max_bytes = if max_bytes == 0 { limit } else { max_bytes.min(limit) };
    let wanted: Vec<_> = partitions.into_iter().map(|partition| find(&engine, partition)).collect();
    let deadline = Instant::now() + Duration::from_millis(max_wait_ms.into());
    let wanted_bytes = largest_answer(&wanted, max_bytes);
    loop {
        let changes = Changes::of(&wanted);
        // Taken anew for each read: nobody holds memory while there is nothing to read.
        let permit = shared.limits.answer_permit(caller.as_ref(), wanted_bytes).await;
        let (partitions, bytes) = read_all(&engine, &wanted, max_bytes, plain).await?;
        let failed = partitions.iter().any(|partition| partition.error.is_some());
        let answer = v1::FetchResponse { partitions };
        if bytes >= min_bytes.max(1) as usize || failed || Instant::now() >= deadline {
            return Ok(with_permit(answer, permit));
        }
        drop(permit);
        tokio::select! {
            () = changes.any() => {}
            () = tokio::time::sleep_until(deadline) => {}
            () = shared.stopping() => return Ok((answer, None)),
        }
    }
}

/// The most bytes of records that an answer holds, but for a first batch that is larger.
fn largest_answer(wanted: &[Wanted], max_bytes: u32) -> u64 {
    let of_partitions = wanted.iter().filter_map(|wanted| wanted.found.as_ref().ok());
    of_partitions.map(|place| u64::from(place.max_bytes)).sum::<u64>().min(max_bytes.into())
}

/// Makes the permit as small as the answer.
pub(super) fn with_permit<M: prost::Message>(answer: M, mut permit: Option<Permit>) -> (M, Option<Permit>) {
    if let Some(permit) = &mut permit {
        permit.shrink_to(u64::try_from(answer.encoded_len()).unwrap_or(u64::MAX));
    }
    (answer, permit)
}

/// Reads a `form` field.
pub(super) fn record_form(form: i32) -> Result<v1::RecordForm, Refusal> {
    match v1::RecordForm::try_from(form) {
        Ok(v1::RecordForm::Unspecified | v1::RecordForm::Batches) => Ok(v1::RecordForm::Batches),
        Ok(v1::RecordForm::Plain) => Ok(v1::RecordForm::Plain),
        Err(_) => Err(Refusal::new(ErrorCode::InvalidRequest, format!("form: {form} is not a RecordForm"))),
    }
}

fn find(engine: &Engine, wanted: v1::FetchPartition) -> Wanted {
    let v1::FetchPartition { topic, topic_id, partition, offset, leader_epoch, max_bytes } = wanted;
    let found = lookup::topic(engine, &topic, &topic_id)
        .and_then(|topic| lookup::replica(&topic, partition))
        .and_then(|replica| {
            check_epoch(&replica, leader_epoch)?;
            let from = offset_from_wire("offset", offset)?;
            let max_bytes = if max_bytes == 0 { PARTITION_BYTES_DEFAULT } else { max_bytes };
            Ok(Place { replica, from, max_bytes })
        });
    Wanted { topic, partition, found }
}

/// A consumer's epoch must be the partition's (KIP-320): an older one has not seen a change of leader, a newer one
/// knows of one that this broker has not heard of.
fn check_epoch(replica: &Replica, epoch: Option<u32>) -> Result<(), Refusal> {
    let Some(epoch) = epoch else { return Ok(()) };
    let current = replica.leader_epoch();
    let text = || format!("leader epoch {epoch}, the partition is at {current}");
    match LeaderEpoch::new(epoch).map(|epoch| epoch.cmp(&current)) {
        Some(std::cmp::Ordering::Equal) => Ok(()),
        Some(std::cmp::Ordering::Less) => Err(Refusal::new(ErrorCode::FencedLeaderEpoch, text())),
        Some(std::cmp::Ordering::Greater) | None => Err(Refusal::new(ErrorCode::UnknownLeaderEpoch, text())),
    }
}

/// Reads every partition once, within `max_bytes` together; the first that has records gets at least one batch.
async fn read_all(
    engine: &Arc<Engine>,
    wanted: &[Wanted],
    max_bytes: u32,
    plain: bool,
) -> Result<(Vec<v1::FetchedPartition>, usize), Refusal> {
    let mut left = max_bytes as usize;
    let mut total = 0;
    let mut answers = Vec::with_capacity(wanted.len());
    for Wanted { topic, partition, found } in wanted {
        let place = match found {
            Ok(place) => place,
            Err(refusal) => {
                answers.push(failed(topic, *partition, refusal.clone()));
                continue;
            }
        };
        // With the budget used up a partition still tells its cursors.
        let budget = if left == 0 { 0 } else { place.max_bytes.min(u32::try_from(left).unwrap_or(u32::MAX)) };
        let strict = total > 0;
        match engine.read(&place.replica, place.from, budget, strict, None).await {
            Ok(fetched) => {
                total += fetched.bytes.len();
                left = left.saturating_sub(fetched.bytes.len());
                let range = place.from..fetched.high_watermark;
                let answer = fetched_partition(engine, topic, *partition, range, fetched, plain).await;
                answers.push(answer.unwrap_or_else(|refusal| failed(topic, *partition, refusal)));
            }
            Err(refusal) => answers.push(failed(topic, *partition, refusal)),
        }
    }
    Ok((answers, total))
}

pub(super) fn failed(topic: &str, partition: u32, refusal: Refusal) -> v1::FetchedPartition {
    v1::FetchedPartition {
        topic: topic.to_owned(),
        partition,
        log_start: refusal.log_start.map_or(0, Offset::get),
        high_watermark: refusal.high_watermark.map_or(0, Offset::get),
        error: Some(refusal.into()),
        ..Default::default()
    }
}

/// Puts what was read into an answer, as whole batches or as the plain records of `range`.
pub(super) async fn fetched_partition(
    engine: &Arc<Engine>,
    topic: &str,
    partition: u32,
    range: Range<Offset>,
    fetched: Fetched,
    plain: bool,
) -> Result<v1::FetchedPartition, Refusal> {
    let Fetched { bytes, next_offset, log_start, high_watermark, leader_epoch, .. } = fetched;
    let (batches, records, next_offset) = if plain && !bytes.is_empty() {
        let convert = move || plain::to_records(bytes, range.start, range.end, DecompressLimits::default());
        let (records, next_offset) = engine.off_network(convert).await??;
        (Bytes::new(), records, next_offset)
    } else {
        (bytes, Vec::new(), next_offset)
    };
    Ok(v1::FetchedPartition {
        topic: topic.to_owned(),
        partition,
        error: None,
        log_start: log_start.get(),
        high_watermark: high_watermark.get(),
        leader_epoch: leader_epoch.get(),
        batches,
        records,
        next_offset: next_offset.get(),
    })
}

/// Watches on the high watermarks of some partitions, taken before they are read so that nothing slips between.
pub(super) struct Changes {
    watches: Vec<tokio::sync::watch::Receiver<Offset>>,
}

impl Changes {
    fn of(wanted: &[Wanted]) -> Self {
        let found = wanted.iter().filter_map(|wanted| wanted.found.as_ref().ok());
        Self::watching(found.map(|place| &place.replica))
    }

    pub(super) fn watching<'a>(replicas: impl Iterator<Item = &'a Arc<Replica>>) -> Self {
        Self { watches: replicas.map(|replica| replica.watch_high_watermark()).collect() }
    }

    /// Waits until any of them moved, or its topic is gone.
    pub(super) async fn any(mut self) {
        let changed: FuturesUnordered<_> = self.watches.iter_mut().map(|watch| watch.changed()).collect();
        let mut changed = pin!(changed);
        // An error means the topic was deleted: reading again will say so.
        let _moved_or_gone = changed.next().await;
    }
}
