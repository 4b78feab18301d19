//! From input to records: runs on a thread of its own, in pieces of a megabyte, without an allocation per record.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use corduroy_client::RecordRef;
use corduroy_types::{Offset, PartitionIndex, TimestampMs};

use super::plan::{LIMIT_BYTES_MAX, Mode, Plan};
use crate::{
    cli::OnError,
    error::CliError,
    format::{JsonStyle, ParsedRecord, Read, RecordReader, read_json},
    input::{Fill, Source, Window},
    range::now,
};

/// Takes records, one after the other.
pub(crate) trait Sink {
    /// Takes one record, or says why not.
    fn push(&mut self, record: RecordRef<'_>) -> Result<(), Refused>;
    /// Input is waited for next: what was taken need not wait for more.
    fn settle(&mut self) -> Result<(), Refused>;
    /// Whether no one wants more.
    fn is_stopped(&self) -> bool;
    /// Whether records that cannot be sent are kept.
    fn keeps_failed(&self) -> bool;
    /// Keeps a record that cannot be sent.
    fn keep(&mut self, record: RecordRef<'_>);
}

/// Why a record was not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// No one wants more.
    Stopped,
    /// It is larger than the topic allows: how large.
    TooLarge(u64),
    /// Anything else, of this record alone.
    Record(Box<CliError>),
}

/// Why feeding ended early.
#[derive(Debug)]
pub(crate) enum Halt {
    Stopped,
    Error(Box<CliError>),
}

/// How far feeding is; read by others meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(crate) bytes: AtomicU64,
    pub(crate) records: AtomicU64,
}

/// Records that were left out.
#[derive(Debug, Default)]
pub(crate) struct Skipped {
    pub(crate) count: u64,
    /// The first of them.
    pub(crate) errors: Vec<CliError>,
}

/// The longest line that is kept although it is too long to send.
const KEPT_LINE_BYTES_MAX: usize = 64 << 20;

/// How many left-out records are listed.
const LISTED_MAX: usize = 20;

/// Feeds sources to a sink.
pub(crate) struct Feed<'a, S> {
    plan: &'a Plan,
    sink: &'a mut S,
    meter: Arc<Meter>,
    pub(crate) skipped: Skipped,
    headers: Vec<(&'a str, Option<&'a [u8]>)>,
    time: TimestampMs,
    /// The offset that the next record has to get.
    expected: Option<Offset>,
    /// Where we are, for messages.
    name: String,
    lines: u64,
}

impl<'a, S: Sink> Feed<'a, S> {
    pub(crate) fn new(plan: &'a Plan, sink: &'a mut S, meter: Arc<Meter>) -> Self {
        let headers =
            plan.headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_slice()))).collect();
        Self {
            plan,
            sink,
            meter,
            skipped: Skipped::default(),
            headers,
            time: now(),
            expected: plan.expect_offset,
            name: String::new(),
            lines: 0,
        }
    }

    /// Feeds every source, in order.
    ///
    /// # Errors
    /// The first record that cannot be sent, unless such records are skipped; a source that cannot be read.
    pub(crate) fn run(&mut self, sources: &[Source]) -> Result<(), Halt> {
        for source in sources {
            self.name = source.name();
            self.lines = 0;
            let reader = source.open().map_err(|error| Halt::Error(Box::new(error)))?;
            let mut window = Window::new(reader, self.plan.input_bytes_max());
            match &self.plan.mode {
                Mode::Lines => self.lines(&mut window, Self::line)?,
                Mode::Json(style) => {
                    let style = *style;
                    self.lines(&mut window, |feed, line| feed.json(line, style))?;
                }
                Mode::Text { reader, by_line } => self.text(&mut window, reader, *by_line)?,
                Mode::Raw => self.raw(&mut window)?,
            }
        }
        Ok(())
    }

    fn place(&self) -> String {
        format!("{}:{}", self.name, self.lines + 1)
    }

    fn fill(&mut self, window: &mut Window<impl io::Read>) -> Result<Fill, Halt> {
        if self.sink.is_stopped() {
            return Err(Halt::Stopped);
        }
        if let Err(refused) = self.sink.settle() {
            self.refused(refused)?;
        }
        let before = window.bytes().len();
        let fill = window.fill().map_err(|error| self.unreadable(&error))?;
        self.time = now();
        self.meter.bytes.fetch_add((window.bytes().len() - before) as u64, Ordering::Relaxed);
        Ok(fill)
    }

    fn unreadable(&self, error: &io::Error) -> Halt {
        Halt::Error(Box::new(CliError::file(Path::new(&self.name), "read", error)))
    }

    /// Calls `each` with every line, without its newline; the last one may have none.
    #[inline]
    fn lines(
        &mut self,
        window: &mut Window<impl io::Read>,
        each: impl Fn(&mut Self, &[u8]) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        loop {
            let mut consumed = 0;
            let bytes = window.bytes();
            for newline in memchr::memchr_iter(b'\n', bytes) {
                each(self, bytes.get(consumed..newline).unwrap_or_default())?;
                self.lines += 1;
                consumed = newline + 1;
            }
            window.consume(consumed);
            match self.fill(window)? {
                Fill::More => {}
                Fill::End if window.bytes().is_empty() => return Ok(()),
                Fill::End => return each(self, window.bytes()),
                Fill::Full => self.too_long(window)?,
            }
        }
    }

    /// Passes over a line that is longer than any record may be; a value is kept where failed records are.
    #[cold]
    fn too_long(&mut self, window: &mut Window<impl io::Read>) -> Result<(), Halt> {
        let place = self.place();
        let mut error = self.plan.too_large(&place, None);
        if matches!(self.plan.mode, Mode::Lines) && self.sink.keeps_failed() {
            let (mut line, mut whole) = (Vec::new(), true);
            let skipped = window.skip_line_through(|piece| {
                whole &= line.len() + piece.len() <= KEPT_LINE_BYTES_MAX;
                if whole {
                    line.extend_from_slice(piece);
                }
            });
            skipped.map_err(|error| self.unreadable(&error))?;
            if whole {
                self.sink.keep(line_record(self.plan, &self.headers, self.time, None, &line));
            } else {
                error = error.with_hint("it is longer than 64MiB, so the file of failed records lacks it");
            }
            self.reject(error)?;
        } else if self.plan.on_error == OnError::Stop {
            // The rest is read only to say what would be large enough.
            let measured = window.line_bytes(LIMIT_BYTES_MAX).map_err(|error| self.unreadable(&error))?;
            let bytes = measured.unwrap_or(u64::MAX);
            self.reject(self.plan.too_large(&place, Some(bytes)))?;
        } else {
            self.reject(error)?;
            window.skip_line().map_err(|error| self.unreadable(&error))?;
        }
        self.lines += 1;
        Ok(())
    }

    #[inline]
    fn line(&mut self, line: &[u8]) -> Result<(), Halt> {
        let record = line_record(self.plan, &self.headers, self.time, self.expected, line);
        match self.sink.push(record) {
            Ok(()) => self.taken(),
            Err(refused) => {
                if !matches!(refused, Refused::Stopped) {
                    self.sink.keep(record);
                }
                self.refused(refused)
            }
        }
    }

    fn json(&mut self, line: &[u8], style: JsonStyle) -> Result<(), Halt> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        match read_json(line, style) {
            Ok(record) => self.push(&record),
            Err(fault) => self.reject(self.plan.mismatch(&self.place(), &fault.to_string())),
        }
    }

    fn text(
        &mut self,
        window: &mut Window<impl io::Read>,
        reader: &RecordReader,
        by_line: bool,
    ) -> Result<(), Halt> {
        let newlines = |bytes: &[u8]| memchr::memchr_iter(b'\n', bytes).count() as u64;
        loop {
            let bytes = window.bytes();
            let error = match reader.read(bytes, window.at_end(), self.plan.limit_bytes) {
                Ok(Read::End) => return Ok(()),
                Ok(Read::Record(record, taken)) => {
                    self.push(&record)?;
                    self.lines += newlines(bytes.get(..taken).unwrap_or_default());
                    drop(record);
                    window.consume(taken);
                    continue;
                }
                Ok(Read::More) => match self.fill(window)? {
                    Fill::More | Fill::End => continue,
                    Fill::Full => self.plan.too_large(&self.place(), None),
                },
                Err(error) => {
                    let before = newlines(bytes.get(..error.position).unwrap_or_default());
                    let place = format!("{}:{}", self.name, self.lines + before + 1);
                    if error.too_large {
                        self.plan.too_large(&place, None)
                    } else {
                        self.plan.mismatch(&place, &error.message)
                    }
                }
            };
            if !by_line {
                // Nothing says where the next record begins.
                return Err(Halt::Error(Box::new(error)));
            }
            self.reject(error)?;
            window.skip_line().map_err(|error| self.unreadable(&error))?;
            self.lines += 1;
        }
    }

    fn raw(&mut self, window: &mut Window<impl io::Read>) -> Result<(), Halt> {
        loop {
            match self.fill(window)? {
                Fill::More => {}
                Fill::End => return self.line(window.bytes()),
                Fill::Full => {
                    let bytes =
                        window.rest_bytes(LIMIT_BYTES_MAX).map_err(|error| self.unreadable(&error))?;
                    return self.reject(self.plan.too_large(&self.name.clone(), bytes.or(Some(u64::MAX))));
                }
            }
        }
    }

    fn push(&mut self, parsed: &ParsedRecord<'_>) -> Result<(), Halt> {
        let own = parsed.headers.iter().map(|(name, value)| (name.as_ref(), value.as_deref()));
        let headers: Vec<_> = own.chain(self.headers.iter().copied()).collect();
        let value = parsed.value.as_deref();
        let record = RecordRef {
            partition: self.plan.partition.or(parsed.partition).map(PartitionIndex),
            timestamp: Some(parsed.timestamp.unwrap_or(self.time)),
            key: parsed.key.as_deref().or(self.plan.key.as_deref()),
            value: value.filter(|value| !(self.plan.tombstone_empty && value.is_empty())),
            headers: &headers,
            expected_offset: self.expected,
            ..RecordRef::to(&self.plan.topic)
        };
        match self.sink.push(record) {
            Ok(()) => self.taken(),
            Err(refused) => {
                if !matches!(refused, Refused::Stopped) {
                    self.sink.keep(record);
                }
                self.refused(refused)
            }
        }
    }

    #[inline]
    fn taken(&mut self) -> Result<(), Halt> {
        self.expected = self.expected.map(|offset| offset.saturating_add(1));
        Ok(())
    }

    #[cold]
    fn refused(&mut self, refused: Refused) -> Result<(), Halt> {
        let place = self.place();
        match refused {
            Refused::Stopped => Err(Halt::Stopped),
            Refused::TooLarge(bytes) => self.reject(self.plan.too_large(&place, Some(bytes))),
            Refused::Record(error) => {
                let message = format!("{place}: {}", error.message);
                self.reject(CliError { message, ..*error })
            }
        }
    }

    /// A record that cannot be sent: the end, or left out.
    #[cold]
    fn reject(&mut self, error: CliError) -> Result<(), Halt> {
        if self.plan.on_error == OnError::Stop {
            return Err(Halt::Error(Box::new(error)));
        }
        self.skipped.count += 1;
        if self.skipped.errors.len() < LISTED_MAX {
            self.skipped.errors.push(error);
        }
        Ok(())
    }
}

#[inline]
fn line_record<'r>(
    plan: &'r Plan,
    headers: &'r [(&'r str, Option<&'r [u8]>)],
    time: TimestampMs,
    expected_offset: Option<Offset>,
    line: &'r [u8],
) -> RecordRef<'r> {
    RecordRef {
        partition: plan.partition.map(PartitionIndex),
        timestamp: Some(time),
        key: plan.key.as_deref(),
        value: Some(line).filter(|line| !(plan.tombstone_empty && line.is_empty())),
        headers,
        expected_offset,
        ..RecordRef::to(&plan.topic)
    }
}
