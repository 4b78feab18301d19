//! What a produce command means: how input becomes records, and what every record gets.

use corduroy_client::{Compression, ProducerBuilder, TopicDescription};
use corduroy_types::{ErrorCode, MIB, Offset, Outcome, format_byte_size, parse_byte_size};

use crate::{
    cli::{OnError, ProduceArgs},
    error::CliError,
    format::{JsonStyle, RecordFormat, RecordReader},
    output::counted,
};

/// How input becomes records.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// Each line is a value.
    Lines,
    /// By a format string.
    Text {
        reader: RecordReader,
        /// A record ends with a newline, so that one can be skipped.
        by_line: bool,
    },
    /// One object per line.
    Json(JsonStyle),
    /// Each source is a value.
    Raw,
}

/// Everything the feeding of records needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) topic: String,
    pub(crate) mode: Mode,
    pub(crate) partition: Option<u32>,
    /// The offset that the first record has to get; those after it the next ones.
    pub(crate) expect_offset: Option<Offset>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) tombstone_empty: bool,
    pub(crate) on_error: OnError,
    pub(crate) compression: Compression,
    /// The topic's max.message.bytes, which is about batches as they are sent.
    pub(crate) max_message_bytes: u32,
    /// The most bytes of a record before it is compressed; without compression as much as `max_message_bytes`.
    pub(crate) limit_bytes: usize,
}

/// The greatest max.message.bytes that a topic can have.
pub(crate) const LIMIT_BYTES_MAX: u64 = 64 * MIB;

/// The max.message.bytes that takes a record of so many bytes: the next power of two with room for its batch.
fn enough_for(bytes: u64) -> Option<u64> {
    const BATCH_BYTES: u64 = 1024;
    let enough = bytes.checked_add(BATCH_BYTES)?.checked_next_power_of_two()?.max(MIB);
    (enough <= LIMIT_BYTES_MAX).then_some(enough)
}

impl Plan {
    /// Everything that the command line alone decides.
    ///
    /// # Errors
    /// A usage error for a format that cannot be parsed, or an offset of no partition.
    pub(crate) fn new(args: &ProduceArgs) -> Result<Self, CliError> {
        if args.expect_offset.is_some() && args.partition.is_none() {
            return Err(CliError::usage(
                "--expect-offset needs --partition, since each partition has offsets of its own",
            ));
        }
        let format = RecordFormat::parse(&args.format)?;
        let mode = match &format {
            _ if format.is_value_line() => Mode::Lines,
            RecordFormat::Text(program) => {
                Mode::Text { reader: RecordReader::new(program)?, by_line: program.ends_with_newline() }
            }
            RecordFormat::Json => Mode::Json(JsonStyle::Inlined),
            RecordFormat::Jsonl => Mode::Json(JsonStyle::Lossless),
            RecordFormat::Raw => Mode::Raw,
        };
        Ok(Self {
            topic: args.topic.clone(),
            mode,
            partition: args.partition,
            expect_offset: args.expect_offset,
            key: args.key.as_ref().map(|key| key.clone().into_bytes()),
            headers: args
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
                .collect(),
            tombstone_empty: args.tombstone_empty,
            on_error: args.on_error,
            compression: args.compression,
            max_message_bytes: u32::MAX,
            limit_bytes: usize::MAX,
        })
    }

    /// Takes over what the topic is; `producer` knows what it takes before compression.
    ///
    /// # Errors
    /// `PARTITION_NOT_FOUND` for a partition it does not have; the broker answered no limit.
    pub(crate) fn for_topic(
        mut self,
        topic: &TopicDescription,
        producer: &ProducerBuilder,
    ) -> Result<Self, CliError> {
        let count = topic.partitions.len();
        if let Some(partition) = self.partition
            && partition as usize >= count
        {
            return Err(CliError::new(
                ErrorCode::PartitionNotFound,
                format!(
                    "topic {:?} has {}, counted from 0; there is no partition {partition}",
                    self.topic,
                    counted(count as u64, "partition")
                ),
            )
            .with_hint(format!("logctl topic describe {}", self.topic)));
        }
        let limit = topic.configs.iter().find(|config| config.key == "max.message.bytes");
        let limit =
            limit.and_then(|config| parse_byte_size(&config.value).ok()).and_then(|b| u32::try_from(b).ok());
        self.max_message_bytes = limit.ok_or_else(|| {
            CliError::new(
                ErrorCode::UnexpectedAnswer,
                "the broker did not name the topic's max.message.bytes",
            )
        })?;
        self.limit_bytes = producer.uncompressed_bytes_max(self.max_message_bytes) as usize;
        Ok(self)
    }

    /// What the broker would answer now if the partition's next offset is not the one expected.
    ///
    /// # Errors
    /// `OFFSET_MISMATCH`.
    pub(crate) fn compare_offset(&self, topic: &TopicDescription) -> Result<(), CliError> {
        let described = self.partition.and_then(|partition| topic.partitions.get(partition as usize));
        let (Some(expected), Some(described)) = (self.expect_offset, described) else { return Ok(()) };
        let next = described.log_end;
        if next == expected {
            return Ok(());
        }
        let (topic, partition) = (&self.topic, described.partition);
        let message =
            format!("{topic}/{partition}: expected offset {expected}, but the next offset is {next}");
        Err(CliError::new(ErrorCode::OffsetMismatch, message)
            .with_outcome(Outcome::NotWritten)
            .with_detail("next_offset", next.get()))
    }

    /// The most input bytes that one record may take.
    pub(crate) fn input_bytes_max(&self) -> usize {
        // A byte takes up to six in JSON (\u0000), and two in hexadecimal.
        const WIDEST: usize = 6;
        const NAMES: usize = 64 * 1024;
        match self.mode {
            Mode::Lines | Mode::Raw => self.limit_bytes.saturating_add(1),
            Mode::Text { .. } | Mode::Json(_) => {
                self.limit_bytes.saturating_mul(WIDEST).saturating_add(NAMES)
            }
        }
    }

    /// A record over the limit. `bytes`: how large it is, where that is known.
    pub(crate) fn too_large(&self, place: &str, bytes: Option<u64>) -> CliError {
        let (max, limit) = (u64::from(self.max_message_bytes), self.limit_bytes as u64);
        let message = if limit > max {
            let (codec, limit) = (self.compression, format_byte_size(limit));
            format!("{place}: the record is larger than can be compressed with {codec}: {limit}")
        } else {
            let (topic, max) = (&self.topic, format_byte_size(max));
            format!("{place}: the record is larger than topic {topic:?} takes: {max} (max.message.bytes)")
        };
        let hint = match enough_for(bytes.unwrap_or(limit)) {
            Some(enough) => {
                format!("logctl topic set {} max.message.bytes={}", self.topic, format_byte_size(enough))
            }
            None => "no topic takes records that large: split it, or store it elsewhere and send a reference"
                .to_owned(),
        };
        CliError::new(ErrorCode::RecordTooLarge, message)
            .with_hint(hint)
            .with_detail("place", place)
            .with_detail("limit_bytes", limit)
    }

    /// Input that is not as the format says.
    pub(crate) fn mismatch(&self, place: &str, message: &str) -> CliError {
        CliError::new(ErrorCode::InvalidInput, format!("{place}: {message}"))
            .with_hint("correct the input, or choose the format that it has with --format")
            .with_detail("place", place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_names_a_value_that_will_do() {
        assert_eq!(enough_for(MIB), Some(2 * MIB));
        assert_eq!(enough_for(3_000_000), Some(4 * MIB));
        assert_eq!(enough_for(100), Some(MIB));
        assert_eq!(enough_for(64 * MIB - 1024), Some(64 * MIB));
        assert_eq!(enough_for(64 * MIB), None);
        assert_eq!(enough_for(u64::MAX), None);
    }
}
