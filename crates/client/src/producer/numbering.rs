//! The numbers by which a partition knows a producer's batches again.

use corduroy_batch::ProducerFields;

/// Sequences count records and wrap behind this.
const SEQUENCE_MAX: u32 = i32::MAX.unsigned_abs();

/// What the next batch of one partition is numbered with.
///
/// The epoch is the partition's own: a partition knows of no other, so raising it concerns no one else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbering {
    id: i64,
    epoch: i16,
    next: u32,
    /// Whether a batch was numbered in this epoch.
    used: bool,
}

impl Numbering {
    /// The first numbers under a producer id.
    pub(crate) fn new(id: i64, epoch: i16) -> Self {
        Self { id, epoch, next: 0, used: false }
    }

    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    /// The fields of the next batch.
    pub(crate) fn fields(&self) -> ProducerFields {
        let base_sequence = i32::try_from(self.next).unwrap_or(i32::MAX);
        ProducerFields { id: self.id, epoch: self.epoch, base_sequence }
    }

    /// Goes on behind a batch of so many records.
    pub(crate) fn advance(&mut self, record_count: u32) {
        self.used = true;
        // Both are at most 2^31 - 1.
        let next = u64::from(self.next) + u64::from(record_count);
        self.next = u32::try_from(next % (u64::from(SEQUENCE_MAX) + 1)).unwrap_or(0);
    }

    /// Goes back to the numbers of a batch of this epoch that is certainly not in the log.
    pub(crate) fn back_to(&mut self, fields: ProducerFields) {
        self.next = u32::try_from(fields.base_sequence).unwrap_or(0);
    }

    /// The next epoch, from which on the partition refuses what is left of this one. `None`: there is none, and a new
    /// id is needed.
    pub(crate) fn next_epoch(self) -> Option<Self> {
        if !self.used {
            return Some(self);
        }
        Some(Self::new(self.id, self.epoch.checked_add(1)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_count_records_and_wrap_as_the_format_says() {
        let mut numbering = Numbering::new(7, 3);
        numbering.advance(10);
        assert_eq!(numbering.fields(), ProducerFields { id: 7, epoch: 3, base_sequence: 10 });
        numbering.advance(SEQUENCE_MAX - 10);
        assert_eq!(numbering.fields().base_sequence, i32::MAX);
        numbering.advance(1);
        assert_eq!(numbering.fields().base_sequence, 0, "2^31 - 1 is followed by 0");
        numbering.advance(5);
        numbering.back_to(ProducerFields { id: 7, epoch: 3, base_sequence: i32::MAX });
        numbering.advance(3);
        assert_eq!(numbering.fields().base_sequence, 2);
    }

    #[test]
    fn epochs_rise_by_one_until_the_id_is_used_up() {
        let fresh = Numbering::new(7, 0);
        assert_eq!(fresh.next_epoch(), Some(fresh), "nothing bears this one yet");
        let mut numbering = Numbering::new(7, i16::MAX - 1);
        numbering.advance(1);
        let mut last = numbering.next_epoch().unwrap();
        assert_eq!(last.fields(), ProducerFields { id: 7, epoch: i16::MAX, base_sequence: 0 });
        last.advance(1);
        assert_eq!(last.next_epoch(), None);
    }
}
