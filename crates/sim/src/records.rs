//! Records as clients write and read them: each has a number of its own, and a body that carries it.

use bytes::Bytes;
use corduroy_batch::{Batch, BatchBuilder, Compression, DecompressLimits};
use corduroy_checker::line::{Read, Sent};
use corduroy_types::{LeaderEpoch, TimestampMs};

/// The body of a record: its number, and as much more as the number says.
fn body(value: u64) -> Vec<u8> {
    let mut body = value.to_be_bytes().to_vec();
    let filler = usize::try_from(value % 90).unwrap_or(0);
    body.extend(std::iter::repeat_n(b'a' + u8::try_from(value % 26).unwrap_or(0), filler));
    body
}

/// FNV-1a.
fn hash(body: &[u8]) -> u64 {
    body.iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What a record says, as the history has it.
pub(crate) fn sent(value: u64) -> Sent {
    let body = body(value);
    Sent { value, bytes: u32::try_from(body.len()).unwrap_or(u32::MAX), hash: hash(&body) }
}

/// A batch of these records; `None` where the codec refuses them, which it does not.
pub(crate) fn batch(values: &[u64], now: TimestampMs) -> Option<Batch> {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    for value in values {
        let _always_fits = builder.push(now, None, Some(&body(*value)), std::iter::empty()).ok()?;
    }
    Batch::parse(builder.build().ok()?).ok()
}

/// The batches in `bytes`, one behind the other; `None` where they are no batches.
pub(crate) fn batches(mut bytes: Bytes) -> Option<Vec<Batch>> {
    let mut all = Vec::new();
    while let Some(batch) = Batch::parse_prefix(&mut bytes).ok()? {
        all.push(batch);
    }
    Some(all)
}

/// The records of stored batches, as the history has them; `None` where they cannot be read.
pub(crate) fn read(batches: &[Batch]) -> Option<Vec<Read>> {
    let mut all = Vec::new();
    for batch in batches {
        let (base, epoch) =
            (batch.header().base_offset, batch.header().leader_epoch.unwrap_or(LeaderEpoch::ZERO));
        let records = batch.records(DecompressLimits::default()).ok()?;
        for (nth, record) in records.iter().enumerate() {
            let body = record.ok()?.value?.to_vec();
            let value = u64::from_be_bytes(*body.first_chunk()?);
            let bytes = u32::try_from(body.len()).ok()?;
            let offset = base.checked_add(nth as u64)?;
            all.push(Read { offset, leader_epoch: epoch, value, bytes, hash: hash(&body) });
        }
    }
    Some(all)
}
