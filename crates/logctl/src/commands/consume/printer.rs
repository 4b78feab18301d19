//! From batches to bytes for stdout: borrowed records, one large buffer, nothing allocated per record.

use std::collections::BTreeMap;

use corduroy_client::{Consumer, Message, RecordBatch, StoredRecord};
use corduroy_types::ErrorCode;
use regex::bytes::Regex;

use crate::{
    cli::ConsumeArgs,
    connect,
    error::{CliError, Stop},
    format::{HeaderView, PrintError, RecordFormat, RecordView},
    ui::Ui,
};

/// From this size on the buffer is written, even where more is at hand.
const WRITE_BYTES: usize = 1 << 20;
/// How many partitions the last line names.
const NAMED_PARTITIONS_MAX: usize = 32;

/// Prints records into a buffer, and remembers how far it is.
pub(super) struct Printer {
    format: RecordFormat,
    /// A person's terminal shows it, and is not to obey what records hold.
    for_terminal: bool,
    grep: Option<Regex>,
    /// How many records may still be printed.
    left: u64,
    buffer: Vec<u8>,
    records: u64,
    written_bytes: u64,
    /// Topic, then partition, to the offset after the last record that was looked at.
    next: BTreeMap<String, BTreeMap<u32, u64>>,
}

impl Printer {
    pub(super) fn new(format: RecordFormat, args: &ConsumeArgs, consumer: &Consumer, ui: &Ui<'_>) -> Self {
        let mut printer = Self::of_nothing(format, args, ui);
        for assigned in consumer.assignment() {
            let partitions = printer.next.entry(assigned.topic.to_string()).or_default();
            partitions.insert(assigned.partition.0, assigned.position.get());
        }
        printer
    }

    /// One that learns from what it prints which partitions there are.
    pub(super) fn of_nothing(format: RecordFormat, args: &ConsumeArgs, ui: &Ui<'_>) -> Self {
        Self {
            format,
            for_terminal: ui.for_people() && !args.raw,
            grep: args.grep.clone(),
            left: args.count.unwrap_or(u64::MAX),
            buffer: Vec::with_capacity(2 * WRITE_BYTES),
            records: 0,
            written_bytes: 0,
            next: BTreeMap::new(),
        }
    }

    /// How many records were printed.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// How many bytes they took.
    pub(super) fn bytes(&self) -> u64 {
        self.written_bytes + self.buffer.len() as u64
    }

    /// Whether as many were printed as were asked for.
    pub(super) fn has_enough(&self) -> bool {
        self.left == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() >= WRITE_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Prints a batch.
    ///
    /// # Errors
    /// `CORRUPT` for a damaged batch; a length that does not fit its form.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), CliError> {
        let is_copied = self.format.is_value_line() && self.grep.is_none() && !self.for_terminal;
        let reached = if is_copied { self.add_values(batch) } else { self.add_formatted(batch) }?;
        self.reached(batch.topic().as_str(), batch.partition().0, reached);
        Ok(())
    }

    /// Remembers how far a partition is; it may be one that the topic did not have at the beginning.
    fn reached(&mut self, topic: &str, partition: u32, next: u64) {
        match self.next.get_mut(topic) {
            Some(partitions) => {
                partitions.insert(partition, next);
            }
            None => {
                self.next.insert(topic.to_owned(), BTreeMap::from([(partition, next)]));
            }
        }
    }

    fn print(&mut self, view: &RecordView<'_>) -> Result<(), CliError> {
        let printed = if self.for_terminal {
            self.format.print_for_terminal(view, &mut self.buffer)
        } else {
            self.format.print(view, &mut self.buffer)
        };
        printed.map_err(|error| unprintable(view, &error))?;
        self.records += 1;
        self.left -= 1;
        Ok(())
    }

    /// The commonest format: values and newlines, at the speed of copying.
    fn add_values(&mut self, batch: &RecordBatch) -> Result<u64, CliError> {
        self.buffer.reserve(batch.records().buffer().len());
        for record in batch {
            let record = record.map_err(|error| connect::from_refusal(error.refusal()))?;
            self.buffer.extend_from_slice(record.value.unwrap_or_default());
            self.buffer.push(b'\n');
            self.records += 1;
            self.left -= 1;
            if self.left == 0 {
                return Ok(record.offset.get() + 1);
            }
        }
        Ok(batch.next_offset().get())
    }

    fn add_formatted(&mut self, batch: &RecordBatch) -> Result<u64, CliError> {
        let header = batch.batch().header();
        let compression = header.compression().to_string();
        let leader_epoch = header.leader_epoch.map_or(-1, |epoch| epoch.as_i32());
        for record in batch {
            let record = record.map_err(|error| connect::from_refusal(error.refusal()))?;
            if self.grep.as_ref().is_some_and(|grep| !matches(grep, &record)) {
                continue;
            }
            let view = RecordView {
                topic: batch.topic().as_str(),
                partition: batch.partition().0,
                offset: record.offset.get(),
                timestamp: record.timestamp,
                leader_epoch,
                compression: &compression,
                key: record.key,
                value: record.value,
                headers: HeaderView::Batch(record.headers),
            };
            self.print(&view)?;
            if self.left == 0 {
                return Ok(record.offset.get() + 1);
            }
        }
        Ok(batch.next_offset().get())
    }

    /// Prints a message of a group.
    ///
    /// # Errors
    /// A length that does not fit its form.
    pub(super) fn add_message(&mut self, message: &Message) -> Result<(), CliError> {
        let next = message.offset().get() + 1;
        self.reached(message.topic().as_str(), message.partition().0, next);
        let found = |bytes: Option<&[u8]>| {
            bytes.is_some_and(|bytes| self.grep.as_ref().is_some_and(|grep| grep.is_match(bytes)))
        };
        if self.grep.is_some() && !found(message.value()) && !found(message.key()) {
            return Ok(());
        }
        let headers: Vec<(&str, Option<&[u8]>)> = message.headers().collect();
        let compression = message.batch().header().compression().to_string();
        let view = RecordView {
            topic: message.topic().as_str(),
            partition: message.partition().0,
            offset: message.offset().get(),
            timestamp: message.timestamp(),
            leader_epoch: message.leader_epoch().map_or(-1, |epoch| epoch.as_i32()),
            compression: &compression,
            key: message.key(),
            value: message.value(),
            headers: HeaderView::Slice(&headers),
        };
        self.print(&view)
    }

    /// Writes what is in the buffer.
    ///
    /// # Errors
    /// As [`Stop::from_stdout`].
    pub(super) fn write_out(&mut self, ui: &mut Ui<'_>) -> Result<(), Stop> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        ui.out.write_all(&self.buffer).map_err(|error| Stop::from_stdout(&error))?;
        self.written_bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Where to go on: topic, then partition, to offset.
    pub(super) fn next(&self) -> &BTreeMap<String, BTreeMap<u32, u64>> {
        &self.next
    }

    /// The same for people: `0:2 1:0`, and with several topics `orders/0:2`.
    pub(super) fn next_offsets(&self) -> String {
        let one_topic = self.next.len() == 1;
        let all =
            self.next.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |next| (topic, next)));
        let mut places: Vec<String> = all
            .map(|(topic, (partition, offset))| {
                if one_topic {
                    format!("{partition}:{offset}")
                } else {
                    format!("{topic}/{partition}:{offset}")
                }
            })
            .collect();
        if places.len() > NAMED_PARTITIONS_MAX {
            let more = places.len() - NAMED_PARTITIONS_MAX;
            places.truncate(NAMED_PARTITIONS_MAX);
            places.push(format!("and {more} more"));
        }
        places.join(" ")
    }
}

fn unprintable(view: &RecordView<'_>, error: &PrintError) -> CliError {
    let place = format!("{}/{}@{}", view.topic, view.partition, view.offset);
    CliError::new(ErrorCode::InvalidInput, format!("the record at {place} cannot be printed: {error}"))
        .with_hint("give the number a wider form, like big64")
}

fn matches(grep: &Regex, record: &StoredRecord<'_>) -> bool {
    record.value.is_some_and(|value| grep.is_match(value)) || record.key.is_some_and(|key| grep.is_match(key))
}
