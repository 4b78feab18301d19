//! `Fetch`: one answer from some partitions, waiting for bytes if there are none yet.

use std::{ops::Range, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use corduroy_api::{Refusal, offset_from_wire, v1};
use corduroy_batch::DecompressLimits;
use corduroy_types::{ErrorCode, LeaderEpoch, Offset};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::Instant;

use super::{
    Shared, lookup,
    plain_out::{self, PlainRecords, Room},
};
use crate::{
    engine::{Engine, Fetched, Replica},
    limits::{Connection, Permit},
};

const PARTITIONS_MAX: usize = 10_000;
const PARTITION_BYTES_DEFAULT: u32 = 1024 * 1024;
/// Plain records in the whole answer, where the request does not say: an answer that every gRPC client takes by default.
const PLAIN_BYTES_DEFAULT: u32 = 3 * 1024 * 1024;
/// What an answer takes in addition to its records, and for each partition in addition to its topic's name: cursors,
/// tags, lengths.
pub(super) const ANSWER_BYTES: usize = 512;
const PARTITION_ANSWER_BYTES: usize = 80;
const WAIT_MS_MAX: u32 = 300_000;

/// One partition of a fetch, found and checked; or why not.
struct Wanted {
    topic: String,
    partition: u32,
    found: Result<FoundPartition, Refusal>,
}

struct FoundPartition {
    replica: Arc<Replica>,
    from: Offset,
    max_bytes: u32,
}

/// Answers a `Fetch` of `caller`, with the permit for the answer's memory.
///
/// # Errors
/// Only what concerns the whole request; a partition's trouble stands next to the others' records.
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
    let max_bytes = match max_bytes {
        0 if plain => PLAIN_BYTES_DEFAULT.min(limit),
        0 => limit,
        _ => max_bytes.min(limit),
    };
    let wanted: Vec<_> = partitions.into_iter().map(|partition| find(&engine, partition)).collect();
    let deadline = Instant::now() + Duration::from_millis(max_wait_ms.into());
    loop {
        let changes = Changes::of(&wanted);
        // Taken again for each read: no one holds memory while there is nothing to read.
        let ReadAnswer { answer, bytes, permit, limit } =
            read_charged(shared, &engine, caller.as_ref(), &wanted, max_bytes, plain).await?;
        let failed = answer.partitions.iter().any(|partition| partition.error.is_some());
        // What there is no memory for is not waited for. Half of what there is for is enough: whole batches seldom fill it.
        let enough = min_bytes.min(limit / 2).max(1) as usize;
        if bytes >= enough || failed || Instant::now() >= deadline {
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

/// What came of one reading of every partition.
struct ReadAnswer {
    answer: v1::FetchResponse,
    /// Of records.
    bytes: usize,
    permit: Option<Permit>,
    /// How many bytes of records there was memory for.
    limit: u32,
}

/// Reads every partition once, charged to `caller`, within `max_bytes` or what there is memory for.
async fn read_charged(
    shared: &Shared,
    engine: &Arc<Engine>,
    caller: Option<&Arc<Connection>>,
    wanted: &[Wanted],
    max_bytes: u32,
    plain: bool,
) -> Result<ReadAnswer, Refusal> {
    let names = wanted.iter().map(|wanted| wanted.topic.len() + PARTITION_ANSWER_BYTES);
    let overhead = ANSWER_BYTES + names.sum::<usize>();
    let most = largest_answer(wanted, max_bytes).saturating_add(u64::try_from(overhead).unwrap_or(u64::MAX));
    let permit = shared.limits.answer_permit(caller, most).await;
    let granted = permit.as_ref().map_or(u64::MAX, Permit::bytes);
    let limit = if granted < most { u32::try_from(granted).unwrap_or(u32::MAX) } else { u32::MAX };
    let (partitions, bytes) =
        read_all(engine, wanted, within(permit.as_ref(), overhead, max_bytes), plain).await?;
    let answer = v1::FetchResponse { partitions };
    let Some(large) = outgrown(permit.as_ref(), &answer) else {
        return Ok(ReadAnswer { answer, bytes, permit, limit });
    };
    // A first batch, or record, that is larger. It is read again once there is room for it.
    drop((answer, permit));
    let permit = shared.limits.whole_answer_permit(caller, large).await;
    let (partitions, bytes) =
        read_all(engine, wanted, within(permit.as_ref(), overhead, max_bytes), plain).await?;
    Ok(ReadAnswer { answer: v1::FetchResponse { partitions }, bytes, permit, limit })
}

/// How many bytes of records to read, with `overhead` more in the answer.
pub(super) fn within(permit: Option<&Permit>, overhead: usize, max_bytes: u32) -> u32 {
    let Some(permit) = permit else { return max_bytes };
    let granted = permit.bytes().saturating_sub(u64::try_from(overhead).unwrap_or(u64::MAX)).max(1);
    u32::try_from(granted).unwrap_or(u32::MAX).min(max_bytes)
}

/// The size of an answer that is larger than what it is charged for.
pub(super) fn outgrown(permit: Option<&Permit>, answer: &impl prost::Message) -> Option<u64> {
    let bytes = u64::try_from(answer.encoded_len()).unwrap_or(u64::MAX);
    permit.is_some_and(|permit| bytes > permit.bytes()).then_some(bytes)
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
        .and_then(|topic| lookup::replica(engine, &topic, partition))
        .and_then(|replica| {
            // A number that is no epoch is greater than any.
            let named = leader_epoch.map(|epoch| LeaderEpoch::new(epoch).unwrap_or(LeaderEpoch::MAX));
            replica.check_read(named)?;
            let from = offset_from_wire("offset", offset)?;
            let max_bytes = if max_bytes == 0 { PARTITION_BYTES_DEFAULT } else { max_bytes };
            Ok(FoundPartition { replica, from, max_bytes })
        });
    Wanted { topic, partition, found }
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
        // With the budget used up a partition still sends its cursors.
        let budget = if left == 0 { 0 } else { place.max_bytes.min(u32::try_from(left).unwrap_or(u32::MAX)) };
        let strict = total > 0;
        match engine.replicas().read(&place.replica, place.from, budget, strict, None).await {
            Ok(fetched) => {
                let form = if plain { Form::Plain { max_bytes: budget, strict } } else { Form::Batches };
                let range = place.from..fetched.high_watermark;
                let read = fetched_partition(engine, &place.replica, range, fetched, form).await;
                let (answer, bytes) = read.unwrap_or_else(|refusal| (failed(topic, *partition, refusal), 0));
                total += bytes;
                left = left.saturating_sub(bytes);
                answers.push(answer);
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

/// How records go into an answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    Batches,
    /// At most so many bytes of them, or else the first one; with `strict` not that either.
    Plain {
        max_bytes: u32,
        strict: bool,
    },
}

/// Puts what was read into an answer, as whole batches or as the plain records of `range`; returns it with the bytes of
/// its records, which count as sent.
pub(super) async fn fetched_partition(
    engine: &Arc<Engine>,
    replica: &Replica,
    range: Range<Offset>,
    fetched: Fetched,
    form: Form,
) -> Result<(v1::FetchedPartition, usize), Refusal> {
    let Fetched { bytes, next_offset, log_start, high_watermark, leader_epoch, .. } = fetched;
    let (batches, records, next_offset, bytes) = match form {
        Form::Plain { max_bytes, strict } if !bytes.is_empty() => {
            let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
            let room = Room { max_bytes, at_least_one: !strict };
            let convert = move || plain_out::to_records(bytes, range, DecompressLimits::default(), room);
            let PlainRecords { records, next_offset, bytes, .. } =
                engine.workers().compute.run(convert).await??;
            replica.count_sent(bytes, records.len());
            (Bytes::new(), records, next_offset, bytes)
        }
        Form::Plain { .. } | Form::Batches => {
            replica.count_batches_sent(&bytes);
            let length = bytes.len();
            (bytes, Vec::new(), next_offset, length)
        }
    };
    let answer = v1::FetchedPartition {
        topic: replica.topic().to_string(),
        partition: replica.index().0,
        error: None,
        log_start: log_start.get(),
        high_watermark: high_watermark.get(),
        leader_epoch: leader_epoch.get(),
        batches,
        records,
        next_offset: next_offset.get(),
    };
    Ok((answer, bytes))
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
