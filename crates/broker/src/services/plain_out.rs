//! Plain records on their way out: stored batches, taken apart record by record, up to what one message holds.

use std::ops::Range;

use bytes::Bytes;
use corduroy_api::{Refusal, v1};
use corduroy_batch::{Batch, BatchError, Compression, DecompressLimits, RecordRef};
use corduroy_types::{ErrorCode, Offset};

use super::check::refuse_batch;

/// What a record takes at most in a message in addition to its key, value and headers: tags, lengths, timestamp and offset.
const RECORD_BYTES: usize = 48;
/// What a header takes in addition to its key and value.
const HEADER_BYTES: usize = 24;

/// What one message may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// The most bytes of records.
    pub(super) max_bytes: usize,
    /// Whether the first record comes even where it is larger.
    pub(super) at_least_one: bool,
}

/// Plain records, and where to go on.
#[derive(Debug)]
pub(super) struct PlainRecords {
    pub(super) records: Vec<v1::Record>,
    pub(super) next_offset: Offset,
    /// What they take in a message, or a little less.
    pub(super) bytes: usize,
    room: Room,
    full: bool,
}

/// Turns stored batches into plain records, those of `wanted`.
///
/// Stops before the record with which they would exceed the `room`, be it in the middle of a batch: a little that is
/// stored may be much when it is decompressed. No more of it is decompressed than that.
///
/// # Errors
/// A batch that cannot be decompressed within `limits`, or in which there are other records than its header says, where
/// no record comes before that. The refusal names the offset behind it.
pub(super) fn to_records(
    mut batches: Bytes,
    wanted: Range<Offset>,
    limits: DecompressLimits,
    room: Room,
) -> Result<PlainRecords, Refusal> {
    let next_offset = wanted.start;
    let mut out = PlainRecords { records: Vec::new(), next_offset, bytes: 0, room, full: false };
    while !out.full
        && let Some(batch) = Batch::parse_prefix(&mut batches).map_err(refuse_batch)?
    {
        if !batch.header().attributes.is_control() {
            let visited = batch.visit_records_while(limits, |record, encoded| {
                out.take(&batch, record, encoded, &wanted);
                !out.full
            });
            match visited {
                Ok(()) => {}
                Err(_) if out.next_offset > wanted.start => return Ok(out),
                Err(error) => return Err(refuse_stored(&batch, error)),
            }
        }
        if !out.full {
            out.next_offset = batch.header().next_offset().min(wanted.end).max(out.next_offset);
        }
    }
    Ok(out)
}

/// The refusal of a stored batch whose records cannot be taken apart: reading can go on behind it.
fn refuse_stored(batch: &Batch, error: BatchError) -> Refusal {
    let (base, next) = (batch.header().base_offset, batch.header().next_offset());
    let code = match error.code() {
        ErrorCode::CorruptBatch | ErrorCode::InvalidBatch => ErrorCode::Corrupt,
        other => other,
    };
    let text = format!("the records from offset {base} on cannot be read: {error}");
    let mut refusal = Refusal::new(code, text);
    refusal.next_good_offset = Some(next);
    refusal
}

impl PlainRecords {
    fn take(&mut self, batch: &Batch, record: &RecordRef<'_>, encoded: &[u8], wanted: &Range<Offset>) {
        if record.offset < wanted.start {
            return;
        }
        let bytes = plain_bytes(record);
        let has_room = self.bytes.saturating_add(bytes) <= self.room.max_bytes
            || (self.records.is_empty() && self.room.at_least_one);
        if record.offset >= wanted.end || !has_room {
            self.full = true;
            return;
        }
        // Shared with the stored batch where it can be, else one copy for all parts of the record.
        let whole = match batch.header().compression() {
            Compression::None => batch.bytes().clone(),
            _ => Bytes::copy_from_slice(encoded),
        };
        let origin = match batch.header().compression() {
            Compression::None => batch.bytes().as_ref(),
            _ => encoded,
        };
        let share = |part: Option<&[u8]>| part.map(|part| share(&whole, origin, part));
        let headers =
            record.headers.map(|(key, value)| v1::Header { key: key.to_owned(), value: share(value) });
        self.records.push(v1::Record {
            key: share(record.key),
            value: share(record.value),
            headers: headers.collect(),
            timestamp_ms: Some(record.timestamp.0),
            offset: record.offset.get(),
        });
        self.bytes += bytes;
        self.next_offset = record.offset.saturating_add(1);
    }
}

/// The bytes of `whole` that stand where `part` stands in `origin`.
fn share(whole: &Bytes, origin: &[u8], part: &[u8]) -> Bytes {
    let at = part.as_ptr().addr().wrapping_sub(origin.as_ptr().addr());
    match whole.get(at..at.saturating_add(part.len())) {
        Some(shared) => whole.slice_ref(shared),
        // An empty part may stand anywhere.
        None => Bytes::copy_from_slice(part),
    }
}

fn plain_bytes(record: &RecordRef<'_>) -> usize {
    let length = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
    let headers = record.headers.map(|(key, value)| HEADER_BYTES + key.len() + length(value));
    RECORD_BYTES + length(record.key) + length(record.value) + headers.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use corduroy_batch::{BatchBuilder, PushOutcome};
    use corduroy_types::{LeaderEpoch, TimestampMs};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn offset(offset: u64) -> Offset {
        Offset::new(offset).unwrap()
    }

    /// Stored batches of records with these value lengths.
    fn stored(batches: &[Vec<usize>], codec: Compression) -> Bytes {
        let mut stored = Vec::new();
        let mut next = 0;
        for (lengths, n) in batches.iter().zip(0_u8..) {
            let mut builder = BatchBuilder::new(codec, 64 << 20);
            for length in lengths {
                let value = vec![n; *length];
                let pushed =
                    builder.push(TimestampMs(7), Some(b"k"), Some(&value), [("h", Some(&value[..1]))]);
                assert_eq!(pushed.unwrap(), PushOutcome::Added);
            }
            let batch = Batch::parse(builder.build().unwrap()).unwrap();
            stored.extend_from_slice(&batch.stamp(offset(next), LeaderEpoch::ZERO).to_bytes());
            next += lengths.len() as u64;
        }
        stored.into()
    }

    proptest! {
        /// Read in messages of any size, every record comes once and in order, and no message is larger than it may be
        /// unless it holds one record.
        #[test]
        fn messages_hold_what_they_may_and_lose_nothing(
            batches in prop::collection::vec(prop::collection::vec(1_usize..3_000, 1..20), 1..4),
            codec in prop::sample::select(vec![Compression::None, Compression::Gzip, Compression::Lz4]),
            max_bytes in 1_usize..9_000,
            from in 0_u64..10,
        ) {
            let bytes = stored(&batches, codec);
            let lengths: Vec<usize> = batches.concat();
            let end = lengths.len() as u64;
            let mut next = from.min(end);
            while next < end {
                let room = Room { max_bytes, at_least_one: true };
                let limits = DecompressLimits::default();
                let read = to_records(bytes.clone(), offset(next)..offset(end), limits, room).unwrap();
                prop_assert!(!read.records.is_empty());
                let answer = v1::FetchedPartition { records: read.records.clone(), ..Default::default() };
                prop_assert!(read.records.len() == 1 || answer.encoded_len() <= max_bytes);
                for record in read.records {
                    prop_assert_eq!(record.offset, next);
                    let value = record.value.unwrap();
                    prop_assert_eq!(value.len(), lengths[usize::try_from(next).unwrap()]);
                    prop_assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
                    prop_assert_eq!(record.headers[0].value.as_deref(), Some(&value[..1]));
                    next += 1;
                }
                prop_assert_eq!(read.next_offset, offset(next));
            }
        }
    }

    #[test]
    fn a_batch_with_other_records_than_it_says_is_skippable() {
        let mut builder = BatchBuilder::new(Compression::Gzip, 1 << 20);
        for _ in 0..3 {
            let pushed = builder.push(TimestampMs(7), None, Some(b"v"), std::iter::empty());
            assert_eq!(pushed.unwrap(), PushOutcome::Added);
        }
        let mut lying = builder.build().unwrap().to_vec();
        lying[23..27].copy_from_slice(&4_u32.to_be_bytes());
        lying[57..61].copy_from_slice(&5_u32.to_be_bytes());
        let crc = corduroy_batch::crc32c(&lying[21..]);
        lying[17..21].copy_from_slice(&crc.to_be_bytes());
        let room = Room { max_bytes: 1 << 20, at_least_one: true };
        let read = |from| {
            let limits = DecompressLimits::default();
            to_records(lying.clone().into(), offset(from)..offset(9), limits, room)
        };
        let mut next = 0;
        let refusal = loop {
            match read(next) {
                Ok(read) => next = read.next_offset.get(),
                Err(refusal) => break refusal,
            }
        };
        assert_eq!(
            (refusal.code, refusal.next_good_offset),
            (ErrorCode::Corrupt, Some(offset(5))),
            "{refusal}"
        );
    }

    #[test]
    fn no_more_is_decompressed_than_fits() {
        let bytes = stored(&[vec![1_000; 50]], Compression::Gzip);
        let room = Room { max_bytes: 3_500, at_least_one: true };
        // The whole batch would exceed these limits; what is asked for lies within them.
        let read =
            to_records(bytes.clone(), offset(0)..offset(50), DecompressLimits::new(60_000), room).unwrap();
        assert_eq!((read.records.len(), read.next_offset), (3, offset(3)));
        let none = Room { max_bytes: 100, at_least_one: false };
        let read = to_records(bytes, offset(4)..offset(50), DecompressLimits::new(60_000), none).unwrap();
        assert_eq!((read.records.len(), read.next_offset), (0, offset(4)));
    }
}
