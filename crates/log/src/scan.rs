//! Walking through a segment file batch by batch, believing nothing.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use corduroy_batch::{BatchError, BatchHeader, HEADER_BYTES, crc32c};
use corduroy_types::{EpochHistory, LeaderEpoch, Offset};

use crate::BATCH_BYTES_MAX;
use crate::damage::{DamagedRange, Sought};
use crate::disk::DiskFile;
use crate::index::{Expect, ScanStart};

/// Bytes before the part of a batch that its checksum covers.
const CRC_FROM: usize = 21;

/// A place in a segment file where no sound batch is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at position {position}, offset {offset}: {reason}", file.display())]
pub struct Damage {
    /// The segment file.
    pub file: PathBuf,
    /// Where in the file the batch begins.
    pub position: u64,
    /// The offset that is expected there.
    pub offset: Offset,
    /// What is wrong.
    pub reason: DamageReason,
}

/// What is wrong with a stored batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DamageReason {
    /// Its header or checksum.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The file ends within it.
    #[error("the batch has {needed_bytes} bytes, and {present_bytes} are left in the file")]
    Truncated {
        /// What its header announces, or the size of a header.
        needed_bytes: u64,
        /// What there is.
        present_bytes: u64,
    },
    /// Its length field is beyond anything that was ever appended.
    #[error("the length field says {bytes} bytes, more than a batch can have")]
    TooLarge {
        /// The length it gives.
        bytes: u32,
    },
    /// The epoch history gives its offset another leader epoch.
    #[error("it is of leader epoch {}, and epoch {expected} wrote that offset", got.map_or(-1, LeaderEpoch::as_i32))]
    WrongEpoch {
        /// The epoch it gives, if any.
        got: Option<LeaderEpoch>,
        /// The epoch that wrote the offset.
        expected: LeaderEpoch,
    },
    /// It does not go on where the one before it ended; where offsets may be missing, it begins before that.
    #[error("its base offset is {got}")]
    WrongOffset {
        /// The base offset it gives.
        got: Offset,
    },
    /// The file has become shorter than it was when it was synced.
    #[error("the file ends there, and had {stored_bytes} bytes when it was synced")]
    Shortened {
        /// The length it had.
        stored_bytes: u64,
    },
    /// The file is not the one that was written, though each batch in it passes its own checksum.
    #[error("the checksum over all of it is {computed:#010x}, and was {stored:#010x} when it was synced")]
    WrongChecksum {
        /// The checksum on record.
        stored: u32,
        /// The checksum of what is there.
        computed: u32,
    },
    /// The file is a segment of another partition, or an older one of this: its batches are sound, and not those that
    /// were written there.
    #[error("the file is another segment's: its batches are not those that were written there")]
    OtherSegment,
    /// The state of the partition was lost, and with it which of the records had been deleted.
    #[error(
        "it is lost with its copy, and with it which records had been deleted: none of those stored then is served until that is accepted"
    )]
    StateLost,
    /// The segment ends before the next one begins.
    #[error("the file ends there, and the next segment begins at offset {next}")]
    Missing {
        /// Where the next segment begins.
        next: Offset,
    },
}

/// Reads the header at the front of `bytes`, which belongs to a batch at most `left` bytes from the end of its
/// file, and checks what it says about the batch's size.
pub(crate) fn parse_header(bytes: &[u8], left: u64) -> Result<BatchHeader, DamageReason> {
    if left < HEADER_BYTES as u64 {
        return Err(DamageReason::Truncated { needed_bytes: HEADER_BYTES as u64, present_bytes: left });
    }
    let header = BatchHeader::parse(bytes)?;
    let total = header.total_bytes();
    if total > BATCH_BYTES_MAX {
        return Err(DamageReason::TooLarge { bytes: total });
    }
    if u64::from(total) > left {
        return Err(DamageReason::Truncated { needed_bytes: total.into(), present_bytes: left });
    }
    Ok(header)
}

/// Checks a whole batch against the checksum in its header.
pub(crate) fn check_crc(header: &BatchHeader, batch: &[u8]) -> Result<(), DamageReason> {
    let computed = crc32c(batch.get(CRC_FROM..).unwrap_or_default());
    if computed == header.crc {
        return Ok(());
    }
    Err(BatchError::BadCrc { stored: header.crc, computed }.into())
}

/// What a walk looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Headers: sizes and offsets.
    Headers,
    /// Whole batches: their checksums too.
    Checksums,
}

impl Depth {
    /// Bytes to read at once: few where most are skipped.
    fn chunk_bytes(self) -> usize {
        match self {
            Self::Headers => 64 << 10,
            Self::Checksums => 1 << 20,
        }
    }
}

/// Why a walk stopped before the end.
#[derive(Debug)]
pub(crate) enum WalkError {
    Io(io::Error),
    Damaged(Damage),
}

/// A walk through one segment file.
#[derive(Debug)]
pub(crate) struct Walk {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    depth: Depth,
    limit: u64,
    position: u64,
    expect: Expect,
    gaps: bool,
    /// Empty where batches are not held to one.
    history: EpochHistory,
    buffer: Vec<u8>,
    buffer_at: u64,
    batch_at: u64,
    read_bytes: u64,
}

impl Walk {
    /// From `start` to `limit`, the end of the file or what counts as such. All offsets have to follow one
    /// another, unless [`Walk::allowing_gaps`] says otherwise.
    pub(crate) fn new(
        file: &Arc<dyn DiskFile>,
        path: PathBuf,
        depth: Depth,
        start: ScanStart,
        limit: u64,
    ) -> Self {
        let ScanStart { position, expect } = start;
        let (buffer, buffer_at, batch_at, read_bytes) = (Vec::new(), 0, position, 0);
        let file = Arc::clone(file);
        let (gaps, history) = (false, EpochHistory::default());
        Self {
            file,
            path,
            depth,
            limit,
            position,
            expect,
            gaps,
            history,
            buffer,
            buffer_at,
            batch_at,
            read_bytes,
        }
    }

    /// With `gaps`, offsets may be missing before each batch and before the segment's end, as after compaction.
    pub(crate) fn allowing_gaps(mut self, gaps: bool) -> Self {
        self.gaps = gaps;
        self.expect = self.expect.allowing_gaps(gaps);
        self
    }

    /// Each batch has to be of the epoch that wrote its offset, as far as the history knows it.
    pub(crate) fn held_to(mut self, history: &EpochHistory) -> Self {
        self.history.clone_from(history);
        self
    }

    /// The next batch, or `None` exactly at the limit. After damage it stays where it is.
    pub(crate) fn next(&mut self) -> Result<Option<BatchHeader>, WalkError> {
        if self.position >= self.limit {
            return Ok(None);
        }
        let header = match self.check() {
            Ok(header) => header,
            Err(Stop::Io(error)) => return Err(WalkError::Io(error)),
            Err(Stop::Damage(reason)) => return Err(WalkError::Damaged(self.damage(reason))),
        };
        self.batch_at = self.position;
        self.position += u64::from(header.total_bytes());
        self.expect = Expect::next(header.next_offset(), self.gaps);
        Ok(Some(header))
    }

    fn check(&mut self) -> Result<BatchHeader, Stop> {
        let left = self.limit - self.position;
        self.fill(HEADER_BYTES, left)?;
        let header = parse_header(self.ahead(), left)?;
        if !self.expect.holds(&header) {
            return Err(DamageReason::WrongOffset { got: header.base_offset }.into());
        }
        if self.depth == Depth::Checksums {
            let total = header.total_bytes() as usize;
            self.fill(total, left)?;
            check_crc(&header, self.ahead().get(..total).unwrap_or_default())?;
        }
        // Last: what fails nothing else was written as it is, whatever the history says.
        if let Some(expected) = self.history.epoch_at(header.base_offset)
            && header.leader_epoch != Some(expected)
        {
            return Err(DamageReason::WrongEpoch { got: header.leader_epoch, expected }.into());
        }
        Ok(header)
    }

    /// Behind a batch of which only the epoch is wrong: whether the next one is sound, and of the epoch that the history
    /// says.
    pub(crate) fn next_is_sound(&self) -> io::Result<bool> {
        let left = self.limit.saturating_sub(self.position);
        let Ok(header) = parse_header(self.ahead(), left) else { return Ok(false) };
        let position = self.position + u64::from(header.total_bytes());
        let start = ScanStart { position, expect: Expect::next(header.next_offset(), self.gaps) };
        let path = self.path.clone();
        let mut behind = Self::new(&self.file, path, self.depth, start, self.limit).held_to(&self.history);
        match behind.next() {
            Ok(found) => Ok(found.is_some()),
            Err(WalkError::Damaged(_)) => Ok(false),
            Err(WalkError::Io(error)) => Err(error),
        }
    }

    /// Makes `needed` bytes from the present position available, if the file has them.
    fn fill(&mut self, needed: usize, left: u64) -> io::Result<()> {
        if self.ahead().len() >= needed {
            return Ok(());
        }
        self.buffer.clear();
        self.buffer_at = self.position;
        let wanted = needed.max(self.depth.chunk_bytes());
        let wanted = usize::try_from(left).map_or(wanted, |left| wanted.min(left));
        self.read_bytes += self.file.read_at(&mut self.buffer, self.position, wanted)? as u64;
        Ok(())
    }

    /// What is in memory from the present position on.
    fn ahead(&self) -> &[u8] {
        let skipped = self.position.checked_sub(self.buffer_at).and_then(|n| usize::try_from(n).ok());
        skipped.and_then(|n| self.buffer.get(n..)).unwrap_or_default()
    }

    fn damage(&self, reason: DamageReason) -> Damage {
        Damage { file: self.path.clone(), position: self.position, offset: self.expected(), reason }
    }

    /// Steps over damage that [`Walk::next`] has met, to the next sound batch or else to the limit, where offsets
    /// end at `end`.
    pub(crate) fn pass(
        &mut self,
        segment_base: Offset,
        damage: Damage,
        end: Offset,
    ) -> io::Result<DamagedRange> {
        if let Some(range) = self.pass_if_followed(segment_base, &damage, end)? {
            return Ok(range);
        }
        (self.position, self.expect) = (self.limit, Expect::Base(end));
        Ok(DamagedRange { damage, segment_base, next_good: end })
    }

    /// The same, but stays where it is when no sound batch follows.
    pub(crate) fn pass_if_followed(
        &mut self,
        segment_base: Offset,
        damage: &Damage,
        end: Offset,
    ) -> io::Result<Option<DamagedRange>> {
        let (position, offset) = (self.position, self.expected());
        let sought = Sought { position, offset, limit: self.limit, end };
        let Some(start) = sought.find(&*self.file)? else { return Ok(None) };
        self.read_bytes += start.position - position;
        (self.position, self.expect) = (start.position, start.expect);
        let (damage, next_good) = (damage.clone(), start.expect.offset());
        Ok(Some(DamagedRange { damage, segment_base, next_good }))
    }

    /// Where the next batch begins.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Where the batch returned last begins.
    pub(crate) fn batch_at(&self) -> u64 {
        self.batch_at
    }

    /// The bytes of the batch returned last: all of it in a walk that looks at checksums.
    pub(crate) fn batch_bytes(&self) -> &[u8] {
        let from = self.batch_at.checked_sub(self.buffer_at).and_then(|n| usize::try_from(n).ok());
        let to = self.position.checked_sub(self.buffer_at).and_then(|n| usize::try_from(n).ok());
        from.zip(to).and_then(|(from, to)| self.buffer.get(from..to)).unwrap_or_default()
    }

    /// The offset after the batch returned last.
    pub(crate) fn expected(&self) -> Offset {
        self.expect.offset()
    }

    /// Where damage really is that a walk by headers has met: a header that cannot be believed may have blamed its
    /// neighbour. Walks again from `start`, through checksums.
    pub(crate) fn locate(&self, start: ScanStart, met: Damage) -> io::Result<Damage> {
        let walk = Self::new(&self.file, self.path.clone(), Depth::Checksums, start, self.limit);
        let mut walk = walk.allowing_gaps(self.gaps);
        while walk.position < met.position.saturating_add(1) {
            match walk.next() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(WalkError::Damaged(damage)) => return Ok(damage),
                Err(WalkError::Io(error)) => return Err(error),
            }
        }
        Ok(met)
    }

    /// Where the walk began, or goes on.
    pub(crate) fn place(&self) -> ScanStart {
        ScanStart { position: self.position, expect: self.expect }
    }

    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// That the walk ended at the limit but not at `next`, where the following segment begins; where there are
    /// gaps, that it went beyond.
    pub(crate) fn missing_before(&self, next: Offset) -> Option<Damage> {
        let ends = self.expected() == next || (self.gaps && self.expected() < next);
        (!ends).then(|| self.damage(DamageReason::Missing { next }))
    }
}

/// [`WalkError`] without the place.
enum Stop {
    Io(io::Error),
    Damage(DamageReason),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<DamageReason> for Stop {
    fn from(reason: DamageReason) -> Self {
        Self::Damage(reason)
    }
}
