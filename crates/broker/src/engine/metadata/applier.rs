//! The applier: committed records of the metadata log, in order, into the image.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use corduroy_api::Refusal;
use corduroy_batch::{Batch, DecompressLimits};
use corduroy_log::{ReadError, ReadPlan};
use corduroy_metadata::{ApplyError, DecodeError, Delta, Image, Record};
use corduroy_types::{LeaderEpoch, Offset};
use tokio::time::{sleep, timeout};

use super::{Applied, MetadataPlane};
use crate::engine::refusals;

/// Bytes that are read, applied and published at a time.
const READ_BYTES: u32 = 1024 * 1024;
/// How long the applier waits after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What to do about a metadata log that is damaged.
const REPAIR_METADATA: &str = "nothing was changed: restore the data directory from a backup, or see what a repair would \
                               lose with: logctl log metadata repair DIR";

/// Why a committed record is not applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplierError {
    /// The log is damaged, or the disk fails.
    #[error("the metadata log cannot be read: {0}")]
    Read(#[from] ReadError),
    /// The log cannot be asked now: it is being opened, or a worker failed.
    #[error("the metadata log cannot be read: {0}")]
    Unavailable(Refusal),
    /// A batch holds something else than records.
    #[error("the metadata log at offset {offset} is unreadable: {reason}")]
    Unreadable { offset: Offset, reason: String },
    /// A record is of a newer version.
    #[error("the metadata log at offset {offset}: {source}")]
    Decode { offset: Offset, source: DecodeError },
    /// A record cannot follow those before it.
    #[error("the metadata log at offset {offset} is unreadable: {source}")]
    Apply { offset: Offset, source: ApplyError },
}

impl ApplierError {
    /// What an operator can do about it at the start; may be empty.
    pub(in crate::engine) fn advice(&self) -> String {
        match self {
            Self::Read(_) | Self::Unreadable { .. } | Self::Apply { .. } => format!("; {REPAIR_METADATA}"),
            Self::Unavailable(_) | Self::Decode { .. } => String::new(),
        }
    }

    fn unreadable(offset: Offset, reason: &impl ToString) -> Self {
        Self::Unreadable { offset, reason: reason.to_string() }
    }
}

/// Records that were read and applied to a copy of the image.
struct Chunk {
    image: Image,
    deltas: Vec<Delta>,
    end: Offset,
    last_epoch: LeaderEpoch,
}

/// Applies whole batches to a copy of `image`.
fn apply(image: &Image, from: Offset, batches: &mut bytes::Bytes) -> Result<Chunk, ApplierError> {
    let (image, last_epoch) = (image.clone(), LeaderEpoch::ZERO);
    let mut chunk = Chunk { image, deltas: Vec::new(), end: from, last_epoch };
    while let Some(batch) =
        Batch::parse_prefix(batches).map_err(|e| ApplierError::unreadable(chunk.end, &e))?
    {
        let records = batch.records(DecompressLimits::default());
        let records = records.map_err(|e| ApplierError::unreadable(chunk.end, &e))?;
        for record in records.iter() {
            let record = record.map_err(|e| ApplierError::unreadable(chunk.end, &e))?;
            let value = records.buffer().slice_ref(record.value.unwrap_or_default());
            let offset = record.offset;
            let decoded = Record::decode(&value).map_err(|source| ApplierError::Decode { offset, source })?;
            let deltas = chunk.image.apply(&decoded);
            chunk.deltas.extend(deltas.map_err(|source| ApplierError::Apply { offset, source })?);
        }
        chunk.last_epoch = batch.header().leader_epoch.unwrap_or_default().max(chunk.last_epoch);
        chunk.end = batch.header().next_offset();
    }
    Ok(chunk)
}

impl MetadataPlane {
    /// Applies what lies between the end of what is applied and `end`. Returns the greatest leader epoch of its batches.
    ///
    /// # Errors
    /// [`ApplierError`]; what came before is applied and published.
    pub(super) async fn apply_up_to(&self, end: Offset) -> Result<LeaderEpoch, ApplierError> {
        let mut last_epoch = LeaderEpoch::ZERO;
        loop {
            let from = self.applied.borrow().end;
            if from >= end {
                return Ok(last_epoch);
            }
            let plan = self.replica.with_log(|log, _| log.plan_read(from, READ_BYTES, end));
            let plan = plan.ok_or_else(|| {
                ApplierError::Unavailable(refusals::offline(self.replica.identity(), "it is being opened"))
            })??;
            let mut batches = self.read(plan).await?;
            let chunk = apply(&self.image(), from, &mut batches.bytes)?;
            if batches.next_offset <= from {
                return Err(ApplierError::unreadable(from, &"it ends before its end"));
            }
            last_epoch = last_epoch.max(chunk.last_epoch);
            // Where records were deleted or compacted, the log goes on behind the last batch.
            self.publish(Chunk { end: batches.next_offset.max(chunk.end), ..chunk });
        }
    }

    async fn read(&self, plan: ReadPlan) -> Result<corduroy_log::ReadBatches, ApplierError> {
        if !plan.needs_disk() {
            return Ok(plan.perform()?);
        }
        let read = self.context.workers.control.run(move || plan.perform()).await;
        Ok(read.map_err(ApplierError::Unavailable)??)
    }

    fn publish(&self, chunk: Chunk) {
        let Chunk { image, deltas, end, .. } = chunk;
        let image = Arc::new(image);
        self.listener.publishing(&image, &deltas);
        self.image.store(Arc::clone(&image));
        self.listener.published(&image, deltas, end);
        self.applied.send_replace(Applied { end, failure: None });
    }

    /// Notes why the next record is not applied.
    fn not_applied(&self, error: &ApplierError) {
        let reason: Arc<str> = error.to_string().into();
        let is_news = self.applied.send_if_modified(|applied| {
            let is_news = applied.failure.as_ref() != Some(&reason);
            applied.failure = Some(Arc::clone(&reason));
            is_news
        });
        if is_news {
            tracing::error!(event = "B0221", %error, "metadata is not applied");
        }
    }
}

/// Applies what is committed, until the plane is gone.
pub(super) async fn run(plane: Weak<MetadataPlane>) {
    let Some(mut committed) = plane.upgrade().map(|plane| plane.replica.watch_high_watermark()) else {
        return;
    };
    loop {
        let Some(this) = plane.upgrade() else { return };
        let end = *committed.borrow_and_update();
        let applied = this.apply_up_to(end).await;
        if let Err(error) = &applied {
            this.not_applied(error);
        }
        drop(this);
        match applied {
            Ok(_) => {
                if committed.changed().await.is_err() {
                    return;
                }
            }
            Err(_) => {
                // Tried again when more is committed, or after a while.
                let _tried_again = timeout(RETRY_AFTER, committed.changed()).await;
                sleep(RETRY_AFTER / 10).await;
            }
        }
    }
}
