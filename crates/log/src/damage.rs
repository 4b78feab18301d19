//! Ranges of a log that cannot be read: where they end, and which are known.
//!
//! Nothing of what is stored says where the next batch begins once a header cannot be believed. A place counts
//! as the next sound batch when a header is there whose offset lies in the range that is left, and the checksum
//! of the whole batch is right. What a producer wrote inside a record can look like that too; it would have to
//! be a batch with the very offsets that follow, and to lie in the damaged batch itself.

use std::collections::BTreeMap;
use std::io;

use corduroy_batch::HEADER_BYTES;
use corduroy_types::Offset;
use parking_lot::Mutex;

use crate::BATCH_BYTES_MAX;
use crate::disk::DiskFile;
use crate::error::ReadError;
use crate::index::{Expect, ScanStart};
use crate::scan::{Damage, DamageReason, check_crc, parse_header};

/// A part of the log that cannot be read. It is never cut and never served; appends go on behind it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{damage}; no record below offset {next_good} can be read from there")]
pub struct DamagedRange {
    /// Where it begins, and what is wrong there.
    pub damage: Damage,
    /// The base offset of the segment it is in.
    pub segment_base: Offset,
    /// The next offset that can be read: where the range ends.
    pub next_good: Offset,
}

impl From<&DamagedRange> for ReadError {
    fn from(range: &DamagedRange) -> Self {
        Self::Corrupt { damage: Box::new(range.damage.clone()), next_good: Some(range.next_good) }
    }
}

impl DamagedRange {
    /// Whether the state of the partition was lost, so that nothing below `next_good` is served; else bytes of a segment
    /// are damaged or missing.
    pub fn is_doubt(&self) -> bool {
        self.damage.reason == DamageReason::StateLost
    }
}

/// More ranges than this are not remembered one by one: the disk is gone then.
const REMEMBERED_MAX: usize = 1_000;

/// The ranges that recovery, reads and the scrub have found.
#[derive(Debug, Default)]
pub(crate) struct Damages(Mutex<BTreeMap<(Offset, u64), DamagedRange>>);

impl Damages {
    /// Remembers a range; `false` when it was known.
    pub(crate) fn add(&self, range: DamagedRange) -> bool {
        let mut known = self.0.lock();
        let key = (range.segment_base, range.damage.position);
        if known.contains_key(&key) || known.len() >= REMEMBERED_MAX {
            return false;
        }
        known.insert(key, range);
        true
    }

    /// Forgets those of segments between two offsets.
    pub(crate) fn forget(&self, base: Offset, end: Offset) {
        self.0.lock().retain(|(segment_base, _), _| *segment_base < base || *segment_base >= end);
    }

    /// Those that reach beyond `log_start`, in order.
    pub(crate) fn above(&self, log_start: Offset) -> Vec<DamagedRange> {
        let mut known = self.0.lock();
        known.retain(|_, range| range.next_good > log_start);
        known.values().cloned().collect()
    }
}

/// Bytes in which the next sound batch is looked for: the largest batch that can lie in between.
const LOOK_AHEAD_BYTES: u64 = BATCH_BYTES_MAX as u64;
/// Bytes whose checksums are computed at most on the way, whatever is stored there.
const CHECKED_BYTES_MAX: u64 = 4 * LOOK_AHEAD_BYTES;
const CHUNK_BYTES: usize = 1 << 20;
/// Where a header has the magic byte.
const MAGIC_AT: usize = 16;

/// Where to look for the next sound batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sought {
    /// Where the damaged batch begins, and the offset that was expected there.
    pub(crate) position: u64,
    pub(crate) offset: Offset,
    /// Bytes of the file that count, and the offset at which they end.
    pub(crate) limit: u64,
    pub(crate) end: Offset,
}

impl Sought {
    /// The next sound batch, if there is one before the end.
    pub(crate) fn find(self, file: &dyn DiskFile) -> io::Result<Option<ScanStart>> {
        let mut hunt = Hunt { sought: self, file, budget: CHECKED_BYTES_MAX };
        if let Some(found) = hunt.behind_header()? {
            return Ok(Some(found));
        }
        hunt.byte_by_byte()
    }
}

struct Hunt<'a> {
    sought: Sought,
    file: &'a dyn DiskFile,
    budget: u64,
}

impl Hunt<'_> {
    /// Most damage is inside a batch whose header still says how long it is.
    fn behind_header(&mut self) -> io::Result<Option<ScanStart>> {
        let Sought { position, limit, .. } = self.sought;
        let left = limit.saturating_sub(position);
        let mut header = Vec::new();
        self.file.read_at(&mut header, position, HEADER_BYTES)?;
        match parse_header(&header, left) {
            Ok(header) => self.sound_at(position + u64::from(header.total_bytes())),
            Err(_) => Ok(None),
        }
    }

    fn byte_by_byte(&mut self) -> io::Result<Option<ScanStart>> {
        let Sought { position, limit, .. } = self.sought;
        let last = limit.min(position.saturating_add(LOOK_AHEAD_BYTES));
        let mut from = position + 1;
        let mut chunk = Vec::new();
        while from + HEADER_BYTES as u64 <= last && self.budget > 0 {
            chunk.clear();
            let wanted = usize::try_from(last - from).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
            let read = self.file.read_at(&mut chunk, from, wanted)?;
            for (at, window) in chunk.windows(MAGIC_AT + 1).enumerate() {
                if self.may_begin(window)
                    && let Some(found) = self.sound_at(from + at as u64)?
                {
                    return Ok(Some(found));
                }
            }
            if read <= MAGIC_AT {
                break;
            }
            from += (read - MAGIC_AT) as u64;
        }
        Ok(None)
    }

    fn may_begin(&self, window: &[u8]) -> bool {
        let offset = window.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
        window.get(MAGIC_AT) == Some(&2)
            && offset.is_some_and(|base| base > self.sought.offset.get() && base < self.sought.end.get())
    }

    fn sound_at(&mut self, position: u64) -> io::Result<Option<ScanStart>> {
        let Sought { limit, offset, end, .. } = self.sought;
        let left = limit.saturating_sub(position);
        let mut bytes = Vec::new();
        self.file.read_at(
            &mut bytes,
            position,
            HEADER_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX)),
        )?;
        let Ok(header) = parse_header(&bytes, left) else { return Ok(None) };
        let total = header.total_bytes() as usize;
        let base = header.base_offset;
        if base <= offset || base >= end || header.next_offset() > end || self.budget < total as u64 {
            return Ok(None);
        }
        self.budget -= total as u64;
        bytes.clear();
        self.file.read_at(&mut bytes, position, total)?;
        let sound = bytes.len() == total && check_crc(&header, &bytes).is_ok();
        Ok(sound.then_some(ScanStart { position, expect: Expect::Base(base) }))
    }
}
