//! The metadata plane: the metadata log, the image of what is committed in it, and changes of it.
//!
//! A change is *proposed*: it is decided on the image, and its records are appended to the log. One *applier* reads what
//! is committed, up to the log's high watermark, applies it in order, publishes the new image, and hands the changes on.
//! The proposer waits until its records are applied. Nothing else changes an image, and reading one never waits.

mod applier;
mod open;
mod producer_ids;
mod proposals;

use std::sync::Arc;

use arc_swap::ArcSwap;
use corduroy_api::Refusal;
use corduroy_metadata::{Command, Delta, Image};
use corduroy_types::Offset;
use tokio::sync::{mpsc, watch};

pub(super) use self::open::{MetadataContext, OpenedMetadata};
pub(crate) use self::{
    applier::ApplierError,
    proposals::{Draft, Proposed},
};
use self::{producer_ids::ProducerIds, proposals::AnyProposal};
use super::{Context, Replica};

/// Callbacks for changes of the image. Called on the applier's task: memory work only.
pub(super) trait ImageListener: Send + Sync {
    /// An image is about to be published that differs from the last one by `deltas`.
    fn publishing(&self, image: &Image, deltas: &[Delta]);
    /// It is published; the log is applied up to `end`.
    fn published(&self, image: &Image, deltas: Vec<Delta>, end: Offset);
}

/// How far the metadata log is applied.
#[derive(Clone, Debug, Default)]
struct Applied {
    /// The end of what is applied.
    end: Offset,
    /// Why the next record is not applied, if that has failed. It is tried again.
    failure: Option<Arc<str>>,
}

/// The metadata of the cluster, as this broker knows it.
pub(crate) struct MetadataPlane {
    replica: Arc<Replica>,
    image: ArcSwap<Image>,
    applied: watch::Sender<Applied>,
    listener: Arc<dyn ImageListener>,
    proposals: mpsc::Sender<Box<dyn AnyProposal>>,
    /// What is left of the producer ids that were reserved for this broker.
    producer_ids: tokio::sync::Mutex<ProducerIds>,
    context: Arc<Context>,
}

impl MetadataPlane {
    /// All that is committed and applied. Never waits.
    pub(crate) fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    /// A copy of the image, to check commands on that are not carried out.
    pub(crate) fn draft(&self) -> Draft {
        Draft::of(&self.image())
    }

    /// The replica of the metadata log.
    pub(crate) fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// Why the metadata does not change, if it cannot: the log takes no appends, or its next record cannot be applied.
    pub(crate) fn failure(&self) -> Option<String> {
        let not_applied = || self.applied.borrow().failure.as_deref().map(str::to_owned);
        self.replica.failure().or_else(not_applied)
    }

    /// Proposes a change: decides it on the image, appends its records, and waits until they are applied. It is carried
    /// out even if its caller no longer waits.
    ///
    /// # Errors
    /// Refused: nothing changes. Where the append or the wait for it failed, the refusal says that it is not known whether
    /// the change was made.
    pub(crate) async fn propose<C>(&self, command: C) -> Result<Proposed<C::Answer>, Refusal>
    where
        C: Command + Send + Sync + 'static,
        C::Answer: Send + 'static,
    {
        // Whatever the last look at the disk has said: a write that fails stops the metadata log for a while.
        self.context.make_room().await?;
        proposals::propose(&self.proposals, command).await
    }
}
