//! Producer ids, in blocks.

use std::ops::RangeInclusive;

use crate::{
    Command, Decision, Image, MetadataError, PRODUCER_ID_MAX, PRODUCER_IDS_RESERVED_MAX, Record,
    ReserveProducerIds,
};

impl Command for ReserveProducerIds {
    type Answer = RangeInclusive<u64>;

    fn decide(&self, image: &Image) -> Result<Decision<RangeInclusive<u64>>, MetadataError> {
        let Self { broker, count } = *self;
        if !(1..=PRODUCER_IDS_RESERVED_MAX).contains(&count) {
            return Err(MetadataError::ProducerIdCount { asked: count });
        }
        if image.broker(broker).is_none() {
            return Err(MetadataError::UnknownBroker { broker });
        }
        let last = image.last_producer_id;
        let end = last.checked_add(count.into()).filter(|end| *end <= PRODUCER_ID_MAX);
        let ids = last + 1..=end.ok_or(MetadataError::ProducerIdsUsedUp)?;
        let reserved = Record::ProducerIdsReserved { broker, first: *ids.start(), count };
        Ok(Decision { records: vec![reserved], answer: ids })
    }
}
