//! `ListOffsets`: the start, the end, or the first record at or after a time.

use std::sync::Arc;

use corduroy_api::{Refusal, offset_from_wire, v1};
use corduroy_types::{ErrorCode, Offset, TimestampMs};
use v1::offset_spec::Spec;

use super::{Shared, lookup};
use crate::engine::{Engine, Replica, out_of_range};

/// Partitions in one request.
const PARTITIONS_MAX: usize = 10_000;

/// A place that was found.
pub(super) struct Resolved {
    pub(super) offset: Offset,
    pub(super) timestamp: Option<TimestampMs>,
}

/// Answers `ListOffsets`.
pub(super) async fn list(
    shared: &Arc<Shared>,
    request: v1::ListOffsetsRequest,
) -> Result<v1::ListOffsetsResponse, Refusal> {
    let engine = shared.engine()?;
    if request.partitions.len() > PARTITIONS_MAX {
        let text = format!("partitions: {} given, at most {PARTITIONS_MAX}", request.partitions.len());
        return Err(Refusal::new(ErrorCode::InvalidRequest, text));
    }
    let mut offsets = Vec::with_capacity(request.partitions.len());
    for v1::ListOffsetsPartition { topic, partition, spec } in request.partitions {
        let found = lookup::topic(&engine, &topic, &bytes::Bytes::new())
            .and_then(|topic| lookup::replica(&engine, &topic, partition));
        let listed = match found {
            Ok(replica) => resolve(&engine, &replica, spec).await.map(|at| (at, replica.leader_epoch())),
            Err(refusal) => Err(refusal),
        };
        let mut answer = v1::ListedOffset { topic, partition, ..Default::default() };
        match listed {
            Ok((at, epoch)) => {
                answer.offset = at.offset.get();
                answer.timestamp_ms = at.timestamp.map(|time| time.0);
                answer.leader_epoch = epoch.get();
            }
            Err(refusal) => answer.error = Some(refusal.into()),
        }
        offsets.push(answer);
    }
    Ok(v1::ListOffsetsResponse { offsets })
}

/// Finds the offset before which reading stops. A plain offset may be any.
pub(super) async fn resolve_end(
    engine: &Arc<Engine>,
    replica: &Arc<Replica>,
    spec: v1::OffsetSpec,
) -> Result<Offset, Refusal> {
    match spec.spec {
        Some(Spec::Offset(offset)) => Ok(offset_from_wire("until", offset)?),
        _ => Ok(resolve(engine, replica, Some(spec)).await?.offset),
    }
}

/// Finds the offset that a spec means now. A plain offset must lie within log start and high watermark.
pub(super) async fn resolve(
    engine: &Arc<Engine>,
    replica: &Arc<Replica>,
    spec: Option<v1::OffsetSpec>,
) -> Result<Resolved, Refusal> {
    let spec = spec
        .and_then(|spec| spec.spec)
        .ok_or_else(|| Refusal::new(ErrorCode::InvalidRequest, "no place is given: set one of OffsetSpec"))?;
    let cursors = replica.cursors()?;
    let (start, end) = (cursors.log_start, cursors.high_watermark);
    // Between high watermark and log end a reader waits; only beyond it is out of range.
    let found = match spec {
        Spec::Start(_) => None,
        Spec::End(_) => return Ok(Resolved { offset: end, timestamp: None }),
        Spec::Offset(offset) => {
            let offset = offset_from_wire("offset", offset)?;
            if offset < start || offset > cursors.log_end {
                return Err(out_of_range(replica.identity(), offset, start, end));
            }
            return Ok(Resolved { offset, timestamp: None });
        }
        Spec::BeforeEnd(count) => {
            return Ok(Resolved {
                offset: engine.replicas().before_end(replica, count).await?,
                timestamp: None,
            });
        }
        Spec::AtTimeMs(time) => Some(engine.replicas().first_at_or_after(replica, TimestampMs(time)).await?),
        Spec::MaxTimestamp(_) => Some(engine.replicas().greatest_timestamp(replica).await?),
    };
    Ok(match found {
        None => Resolved { offset: start, timestamp: None },
        Some(None) => Resolved { offset: end, timestamp: None },
        Some(Some((offset, timestamp))) => Resolved { offset, timestamp: Some(timestamp) },
    })
}
