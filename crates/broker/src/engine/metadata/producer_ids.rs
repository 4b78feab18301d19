//! Producer ids: from blocks that are reserved in the metadata before any of them is handed out.

use std::ops::RangeInclusive;

use corduroy_api::Refusal;
use corduroy_metadata::ReserveProducerIds;

use super::MetadataPlane;

/// Ids reserved at once. Those that are left when the broker stops are never used, so a start costs this many; there
/// are enough of them for one start each microsecond for a hundred years.
const BLOCK: u32 = 1_000;

/// Ids that may be handed out.
#[derive(Debug, Default)]
pub(super) struct ProducerIds {
    left: Option<RangeInclusive<u64>>,
}

impl ProducerIds {
    fn next(&mut self) -> Option<u64> {
        self.left.as_mut()?.next()
    }
}

impl MetadataPlane {
    /// A producer id that was never handed out before, and never will be again.
    ///
    /// # Errors
    /// The metadata log has stopped; try again.
    pub(crate) async fn new_producer_id(&self) -> Result<u64, Refusal> {
        let mut ids = self.producer_ids.lock().await;
        if let Some(id) = ids.next() {
            return Ok(id);
        }
        let broker = self.context.config.node.id;
        let mut block = self.propose(ReserveProducerIds { broker, count: BLOCK }).await?.answer;
        // A block is never empty.
        let first = *block.start();
        let id = block.next().unwrap_or(first);
        ids.left = Some(block);
        Ok(id)
    }
}
