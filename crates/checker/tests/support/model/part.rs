//! One partition of the model: its log, its cursors, and what it knows of producers.

use std::collections::HashMap;

use corduroy_checker::line::{End, Read, Sent};
use corduroy_types::{LeaderEpoch, Offset};

pub(crate) fn sent(value: u64) -> Sent {
    Sent {
        value,
        bytes: 8 + u32::try_from(value % 100).unwrap(),
        hash: value.wrapping_mul(0x9E37_79B9_7F4A_7C15),
    }
}

pub(crate) fn read(offset: u64, epoch: u32, value: u64) -> Read {
    let Sent { value, bytes, hash } = sent(value);
    let (offset, leader_epoch) = (Offset::new(offset).unwrap(), LeaderEpoch::new(epoch).unwrap());
    Read { offset, leader_epoch, value, bytes, hash }
}

pub(super) fn at(offset: u64) -> Offset {
    Offset::new(offset).unwrap()
}

pub(super) fn epoch(number: u32) -> LeaderEpoch {
    LeaderEpoch::new(number).unwrap()
}

#[derive(Clone, Copy)]
pub(super) struct Stored {
    pub(super) offset: u64,
    pub(super) epoch: u32,
    pub(super) value: u64,
    pub(super) producer: Option<(u64, u32, u64)>,
    pub(super) ends_batch: bool,
}

#[derive(Default)]
pub(super) struct Part {
    pub(super) log: Vec<Stored>,
    pub(super) end: u64,
    pub(super) mark: u64,
    pub(super) start: u64,
    pub(super) epoch: u32,
    /// What the leader of the last epoch still shows: its epoch, its high watermark, and since when it is old.
    pub(super) old: Option<(u32, u64, u64)>,
    /// For each producer id its epoch and next sequence, and where each of its batches begins.
    pub(super) producers: HashMap<u64, (u32, u64)>,
    pub(super) batches: HashMap<(u64, u32, u64), u64>,
}

impl Part {
    /// Forgets what lies at or above `end`, and makes the producers' state from what is left.
    pub(super) fn cut(&mut self, end: u64) {
        self.end = end;
        let kept = self.log.partition_point(|stored| stored.offset < end);
        if kept == self.log.len() {
            return;
        }
        self.log.truncate(kept);
        self.producers.clear();
        self.batches.clear();
        for stored in &self.log {
            let Some((id, epoch, sequence)) = stored.producer else { continue };
            self.producers.insert(id, (epoch, sequence + 1));
            self.batches.entry((id, epoch, sequence)).or_insert(stored.offset);
        }
    }

    /// The ends of batches above the high watermark.
    pub(super) fn batch_ends(&self) -> Vec<u64> {
        let above = self.log.partition_point(|stored| stored.offset < self.mark);
        self.log[above..].iter().filter(|stored| stored.ends_batch).map(|stored| stored.offset + 1).collect()
    }

    pub(super) fn fetched(&self, from: u64, records_max: usize) -> End {
        let first = self.log.partition_point(|stored| stored.offset < from.max(self.start));
        let visible =
            self.log[first..].iter().take_while(|stored| stored.offset < self.mark).take(records_max);
        End::Fetched {
            leader_epoch: epoch(self.epoch),
            high_watermark: Some(at(self.mark)),
            log_start: at(self.start),
            next_offset: None,
            records: visible.map(|stored| read(stored.offset, stored.epoch, stored.value)).collect(),
        }
    }
}
