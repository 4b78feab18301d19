//! What became of the records that were sent: counted per batch, never kept per record.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use corduroy_client::{BatchReport, Record, RecordRef, SendError};
use corduroy_types::Outcome;
use tokio::sync::{mpsc, watch};

use crate::{
    cli::OnError,
    error::CliError,
    format::{HeaderView, RecordView, write_unsent},
};

/// Records that were acknowledged, for `--report each`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) partition: u32,
    pub(crate) base_offset: u64,
    pub(crate) record_count: u32,
}

/// The counts, shared with the producer's background task.
#[derive(Debug)]
pub(crate) struct Tally {
    acked: AtomicU64,
    unknown: AtomicU64,
    not_written: AtomicU64,
    rest: Mutex<Rest>,
    each: Option<mpsc::UnboundedSender<Written>>,
    on_error: OnError,
    stop: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Rest {
    partitions: BTreeSet<u32>,
    first_error: Option<SendError>,
    failed: Option<FailedFile>,
}

/// All counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) acked: u64,
    pub(crate) unknown: u64,
    pub(crate) not_written: u64,
}

impl Counts {
    /// Records of which it is known how they ended.
    pub(crate) fn ended(self) -> u64 {
        self.acked + self.unknown + self.not_written
    }
}

impl Tally {
    pub(crate) fn new(
        on_error: OnError,
        failed: Option<FailedFile>,
        each: Option<mpsc::UnboundedSender<Written>>,
        stop: watch::Sender<bool>,
    ) -> Self {
        Self {
            acked: AtomicU64::default(),
            unknown: AtomicU64::default(),
            not_written: AtomicU64::default(),
            rest: Mutex::new(Rest { failed, ..Rest::default() }),
            each,
            on_error,
            stop,
        }
    }

    /// Counts a batch.
    pub(crate) fn add(&self, report: BatchReport<'_>) {
        let count = u64::from(report.record_count());
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        match (report.base_offset(), report.error()) {
            (Some(base_offset), _) => {
                self.acked.fetch_add(count, Ordering::Relaxed);
                rest.partitions.insert(report.partition().0);
                if let Some(each) = &self.each {
                    // No one listens any more only when the command is over.
                    let _ = each.send(Written {
                        partition: report.partition().0,
                        base_offset: base_offset.get(),
                        record_count: report.record_count(),
                    });
                }
            }
            (None, error) => {
                let unknown = error.is_some_and(|error| error.outcome() == Outcome::Unknown);
                let counter = if unknown { &self.unknown } else { &self.not_written };
                counter.fetch_add(count, Ordering::Relaxed);
                if rest.first_error.is_none() {
                    rest.first_error = error.cloned();
                }
                if let Some(failed) = &mut rest.failed {
                    report.undelivered().iter().for_each(|record| failed.write_owned(record));
                }
                if self.on_error == OnError::Stop {
                    self.stop.send_replace(true);
                }
            }
        }
    }

    /// Whether records that cannot be sent are kept.
    pub(crate) fn keeps_failed(&self) -> bool {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner).failed.is_some()
    }

    /// Keeps a record that was never sent, in the file of failed records.
    pub(crate) fn keep(&self, record: RecordRef<'_>) {
        if let Some(failed) = &mut self.rest.lock().unwrap_or_else(PoisonError::into_inner).failed {
            failed.write(record);
        }
    }

    /// The counts now.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            acked: self.acked.load(Ordering::Relaxed),
            unknown: self.unknown.load(Ordering::Relaxed),
            not_written: self.not_written.load(Ordering::Relaxed),
        }
    }

    /// How many partitions were written.
    pub(crate) fn partition_count(&self) -> usize {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner).partitions.len()
    }

    /// The error of the first batch that failed.
    pub(crate) fn first_error(&self) -> Option<SendError> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner).first_error.clone()
    }

    /// Completes the file of failed records.
    ///
    /// # Errors
    /// `FILE_FAILED` when anything could not be written.
    pub(crate) fn finish_failed(&self) -> Result<(), CliError> {
        let failed = self.rest.lock().unwrap_or_else(PoisonError::into_inner).failed.take();
        failed.map_or(Ok(()), FailedFile::finish)
    }
}

/// The file that failed records go to, as jsonl that `produce -f jsonl` reads.
#[derive(Debug)]
pub(crate) struct FailedFile {
    path: PathBuf,
    file: BufWriter<File>,
    line: Vec<u8>,
    error: Option<io::Error>,
}

impl FailedFile {
    /// Creates the file, before anything is sent.
    ///
    /// # Errors
    /// `FILE_FAILED`.
    pub(crate) fn create(path: &Path) -> Result<Self, CliError> {
        let file = File::create(path).map_err(|error| CliError::file(path, "create", &error))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), line: Vec::new(), error: None })
    }

    fn write(&mut self, record: RecordRef<'_>) {
        let partition = record.partition.map(|partition| partition.0);
        let view = RecordView {
            topic: record.topic,
            partition: partition.unwrap_or_default(),
            offset: 0,
            timestamp: record.timestamp.unwrap_or_default(),
            leader_epoch: -1,
            compression: "none",
            key: record.key,
            value: record.value,
            headers: HeaderView::Slice(record.headers),
        };
        self.line.clear();
        write_unsent(&view, partition, &mut self.line);
        if let Err(error) = self.file.write_all(&self.line) {
            self.error.get_or_insert(error);
        }
    }

    fn write_owned(&mut self, record: &Record) {
        let headers: Vec<_> =
            record.headers().map(|(name, value)| (name, value.map(|v| v.as_ref()))).collect();
        self.write(RecordRef {
            partition: record.partition_index(),
            timestamp: record.timestamp_ms(),
            key: record.key_bytes().map(AsRef::as_ref),
            value: record.value_bytes().map(AsRef::as_ref),
            headers: &headers,
            ..RecordRef::to(record.topic())
        });
    }

    fn finish(mut self) -> Result<(), CliError> {
        let flushed = self.file.flush();
        match self.error.or(flushed.err()) {
            None => Ok(()),
            Some(error) => Err(CliError::file(&self.path, "write", &error)),
        }
    }
}
