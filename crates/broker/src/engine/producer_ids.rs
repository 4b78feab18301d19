//! Producer ids: from blocks that are reserved in the metadata before any of them is handed out.

use std::{ops::RangeInclusive, sync::Arc};

use corduroy_api::Refusal;
use corduroy_metadata::ReserveProducerIds;

use super::Engine;

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

impl Engine {
    /// A producer id that nobody was given before, nor ever will be again.
    ///
    /// # Errors
    /// The metadata log has stopped; try again.
    pub(crate) async fn new_producer_id(self: &Arc<Self>) -> Result<u64, Refusal> {
        let mut ids = self.producer_ids.lock().await;
        if let Some(id) = ids.next() {
            return Ok(id);
        }
        let broker = self.config.node.id;
        let mut block = self.change(ReserveProducerIds { broker, count: BLOCK }).await?;
        // A block is never empty.
        let first = *block.start();
        let id = block.next().unwrap_or(first);
        ids.left = Some(block);
        Ok(id)
    }
}
