//! What the leader checks before it appends a batch.

use corduroy_types::{Offset, TimestampMs};

use crate::{
    Batch, BatchError, BatchHeader, Compression, DecompressLimits, TimestampType, error::RecordFault,
    survey::survey,
};

/// The rules of a topic for what is appended to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendRules {
    /// `max.message.bytes`: the most bytes of a whole batch, compressed as it is.
    pub max_batch_bytes: u32,
    /// `message.timestamp.type`: whose clock counts.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far before the broker's time a record may be dated.
    pub timestamp_before_max_ms: u64,
    /// `message.timestamp.after.max.ms`: how far after the broker's time a record may be dated.
    pub timestamp_after_max_ms: u64,
    /// Whether the topic is compacted, so that every record needs a key.
    pub compacted: bool,
    /// `validate.compressed`: whether compressed records are walked too. Those of compacted topics always are.
    pub validate_compressed: bool,
    /// How much a batch may grow when it is decompressed for that.
    pub decompress: DecompressLimits,
}

impl Default for AppendRules {
    /// The rules of a topic without configs of its own.
    fn default() -> Self {
        Self {
            max_batch_bytes: 1024 * 1024,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: u64::MAX,
            timestamp_after_max_ms: 60 * 60 * 1000,
            compacted: false,
            validate_compressed: true,
            decompress: DecompressLimits::default(),
        }
    }
}

/// A batch that passed the leader's checks: what may be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidBatch(Batch);

impl ValidBatch {
    /// The batch to append: the producer's bytes, or with log-append time the leader's rewrite of them.
    #[must_use]
    pub fn into_batch(self) -> Batch {
        self.0
    }

    /// The batch to append.
    #[must_use]
    pub const fn batch(&self) -> &Batch {
        &self.0
    }
}

/// Checks a client's batch by the rules of its topic, at the broker's time `now`.
///
/// Where the topic has log-append time, the batch that comes back carries `now`; otherwise its bytes are the
/// client's. Decompression can take a while (a batch may hold [`DecompressLimits::max_bytes`]), so this does not
/// belong on a network thread. It holds [`Batch::check_bytes`] at most, however large the records are.
///
/// # Errors
/// Names the header field or the record that breaks a rule; [`BatchError::code`] has the code for the client. A
/// refused batch was not written.
pub fn validate_for_append(
    batch: &Batch,
    rules: &AppendRules,
    now: TimestampMs,
) -> Result<ValidBatch, BatchError> {
    let header = batch.header();
    check_header(header, rules)?;
    let bounds = TimestampBounds::new(rules, now);
    let compressed = header.compression() != Compression::None;
    if !compressed || rules.validate_compressed || rules.compacted {
        check_records(batch, rules, bounds)?;
    } else if !bounds.contain(header.max_timestamp) {
        let TimestampBounds { min, max, .. } = bounds;
        return Err(BatchError::TimestampOutOfBounds { got: header.max_timestamp, min, max });
    }
    Ok(ValidBatch(match rules.timestamp_type {
        TimestampType::CreateTime => batch.clone(),
        TimestampType::LogAppendTime => batch.with_log_append_time(now),
    }))
}

fn check_header(header: &BatchHeader, rules: &AppendRules) -> Result<(), BatchError> {
    if header.total_bytes() > rules.max_batch_bytes {
        return Err(BatchError::BatchTooLarge {
            got_bytes: header.total_bytes().into(),
            max_bytes: rules.max_batch_bytes,
        });
    }
    let attributes = header.attributes;
    let forbidden = [
        (header.is_control(), "this is a control batch"),
        (attributes.has_delete_horizon(), "the delete-horizon attribute is set"),
        (header.timestamp_type() == TimestampType::LogAppendTime, "the timestamp type is LogAppendTime"),
        (attributes.unknown_bits() != 0, "an unknown attribute bit is set"),
    ];
    if let Some((_, what)) = forbidden.into_iter().find(|(found, _)| *found) {
        return Err(BatchError::NotForClients { what });
    }
    if header.is_transactional() {
        return Err(BatchError::NotSupported { what: "transactions" });
    }
    check_producer(header)?;
    if header.base_offset != Offset::ZERO {
        return Err(BatchError::BaseOffset { got: header.base_offset });
    }
    let (record_count, last_offset_delta) = (header.record_count, header.last_offset_delta);
    if record_count == 0 {
        return Err(BatchError::Empty);
    }
    if record_count - 1 != last_offset_delta {
        return Err(BatchError::OffsetsNotDense { last_offset_delta, record_count });
    }
    Ok(())
}

/// A producer's id, epoch and sequence are there together, or not at all.
fn check_producer(header: &BatchHeader) -> Result<(), BatchError> {
    let has_producer = header.producer_id != -1;
    let fields = [
        ("producer_epoch", i64::from(header.producer_epoch)),
        ("base_sequence", i64::from(header.base_sequence)),
    ];
    match fields.into_iter().find(|(_, got)| (*got != -1) != has_producer) {
        None => Ok(()),
        Some((field, got)) if has_producer => {
            Err(BatchError::HeaderField { field, got, expected: "expected 0 or more next to a producer_id" })
        }
        Some((field, got)) => {
            Err(BatchError::HeaderField { field, got, expected: "expected -1 without a producer_id" })
        }
    }
}

/// The timestamps that the topic allows at one moment.
#[derive(Clone, Copy)]
struct TimestampBounds {
    min: TimestampMs,
    max: TimestampMs,
}

impl TimestampBounds {
    fn new(rules: &AppendRules, now: TimestampMs) -> Self {
        match rules.timestamp_type {
            TimestampType::CreateTime => Self {
                min: now.minus_ms(rules.timestamp_before_max_ms),
                max: now.plus_ms(rules.timestamp_after_max_ms),
            },
            // What the producer says is overwritten, so it cannot be wrong.
            TimestampType::LogAppendTime => Self { min: TimestampMs(i64::MIN), max: TimestampMs(i64::MAX) },
        }
    }

    fn contain(&self, timestamp: TimestampMs) -> bool {
        (self.min..=self.max).contains(&timestamp)
    }
}

fn check_records(batch: &Batch, rules: &AppendRules, bounds: TimestampBounds) -> Result<(), BatchError> {
    let header = batch.header();
    let mut max_timestamp = TimestampMs(i64::MIN);
    survey(batch, rules.decompress, |record| {
        if record.attributes != 0 {
            return Err(RecordFault::Attributes { bits: record.attributes });
        }
        if rules.compacted && !record.has_key {
            return Err(RecordFault::KeyRequired);
        }
        if !bounds.contain(record.timestamp) {
            let TimestampBounds { min, max } = bounds;
            return Err(RecordFault::TimestampOutOfBounds { got: record.timestamp, min, max });
        }
        max_timestamp = max_timestamp.max(record.timestamp);
        Ok(())
    })?;
    // As many offset deltas as offsets, and growing: the walk has found 0..n then.
    if rules.timestamp_type == TimestampType::CreateTime && header.max_timestamp != max_timestamp {
        return Err(BatchError::MaxTimestamp { header: header.max_timestamp, records: max_timestamp });
    }
    Ok(())
}
