//! Opening the metadata plane: the log is replayed into the image by the applier, then led.

use std::sync::Arc;

use arc_swap::ArcSwap;
use corduroy_log::{LogConfig, RecoveryReport};
use corduroy_metadata::Image;
use corduroy_types::{BrokerId, PartitionIndex, TopicName};
use tokio::sync::{mpsc, watch};

use super::{Applied, ImageListener, MetadataPlane, applier, proposals};
use crate::engine::{
    OpenError, Replica,
    replica::{
        CommitQueue, LogSlot, Opening, ReplicaIdentity, begin_and_lead, blocking, open_log,
        partition_dirs::METADATA_TOPIC_ID,
    },
};

/// The name under which the metadata's own log is spoken of.
const METADATA_NAME: &str = "__metadata";

/// What the metadata plane is made with.
pub(in crate::engine) struct MetadataContext {
    pub(in crate::engine) opening: Opening,
    pub(in crate::engine) commits: CommitQueue,
    pub(in crate::engine) listener: Arc<dyn ImageListener>,
}

/// The metadata plane, and what recovery found in its log.
pub(in crate::engine) struct OpenedMetadata {
    pub(in crate::engine) plane: Arc<MetadataPlane>,
    pub(in crate::engine) report: RecoveryReport,
}

impl MetadataPlane {
    /// Opens the metadata log, applies all of it, leads in it, and begins to take proposals.
    ///
    /// With one replica, everything that recovery has kept of the log is committed.
    ///
    /// # Errors
    /// [`OpenError`]: nothing was served, and nothing was changed.
    pub(in crate::engine) async fn open(context: MetadataContext) -> Result<OpenedMetadata, OpenError> {
        let MetadataContext { opening, commits, listener } = context;
        let context = Arc::clone(&opening.context);
        let own = context.config.node.id;
        // The metadata is never deleted by age or size.
        let config = LogConfig { retention_ms: None, retention_bytes: None, ..LogConfig::default() };
        let opened = blocking(move || open_log(&opening, &identity(own), config)).await;
        let (log, report) = opened.map_err(OpenError::OpenMetadata)?;
        // Before anything is read: damage ends the start.
        for damage in &report.damages {
            tracing::error!(event = "B0206", topic = METADATA_NAME, partition = 0, %damage, "damaged bytes");
        }
        let (begin, end) = (log.cursors().log_start(), log.cursors().log_end());
        let begun = log.history().last().map(|entry| entry.epoch);
        let replica = Replica::new(identity(own), LogSlot::Open(Box::new(log)), commits.clone());
        let (proposals, queue) = mpsc::channel(proposals::QUEUE_MAX);
        let plane = Arc::new(Self {
            replica: Arc::clone(&replica),
            image: ArcSwap::from_pointee(Image::default()),
            applied: watch::Sender::new(Applied { end: begin, failure: None }),
            listener,
            proposals,
            producer_ids: tokio::sync::Mutex::default(),
            context: Arc::clone(&context),
        });
        let applied_epoch = plane.apply_up_to(end).await.map_err(OpenError::Metadata)?;
        // An epoch in which nothing was appended counts all the same.
        let last = begun.map_or(applied_epoch, |begun| begun.max(applied_epoch));
        let leading = vec![(replica, last.next().unwrap_or(last))];
        if let Some((_, error)) = begin_and_lead(&commits, context.clock, leading).await.pop() {
            return Err(OpenError::Epoch(error));
        }
        tokio::spawn(applier::run(Arc::downgrade(&plane)));
        tokio::spawn(proposals::run(Arc::downgrade(&plane), queue));
        Ok(OpenedMetadata { plane, report })
    }
}

fn identity(own: BrokerId) -> ReplicaIdentity {
    #[expect(clippy::expect_used, reason = "a constant that follows the rule for names")]
    let topic = TopicName::new(METADATA_NAME).expect("a valid name");
    ReplicaIdentity {
        topic,
        topic_id: METADATA_TOPIC_ID,
        index: PartitionIndex(0),
        own,
        replicas: [own].into(),
        metrics: None,
    }
}
