//! Opening the last segment for appending.
//!
//! With a mark, what lies before it was synced and is not looked at; what lies behind it may not have been, and is
//! checked and cut at the first batch that is not sound. Without a mark nothing says where synced bytes end. Then the whole
//! segment is read, and damage that sound batches follow is taken for what it most likely is: rot in something
//! that was synced. It stays, and so do they; only what nothing sound follows is cut.

use std::io;
use std::sync::Arc;

use corduroy_batch::{BatchHeader, HEADER_BYTES, crc32c_append};
use corduroy_types::Offset;

use super::{Cut, Opening, SegmentEntry, segments::begins_otherwise};
use crate::disk::{DiskFile, OpenMode};
use crate::error::LogError;
use crate::index::{IndexBuilder, Indexes, ScanStart};
use crate::mark::DurableMark;
use crate::producers;
use crate::scan::{Damage, DamageReason, Depth, Walk, WalkError, parse_header};
use crate::segment::{Active, LOG_SUFFIX, RELATIVE_MAX, UNINDEXED_BYTES, file_path};
use crate::unscanned_prefix::UnscannedPrefix;

impl Opening<'_> {
    /// Opens the last segment; returns it and the log end.
    pub(super) fn open_active(&mut self, entry: SegmentEntry) -> Result<(Active, Offset), LogError> {
        let SegmentEntry { base, bytes } = entry;
        let behind = |mark: &DurableMark| mark.segment_base == base || mark.offset <= base;
        self.report.mark = self.known.mark.filter(behind);
        let mut active = Active::new(&self.shared.dir, base, &self.config);
        active.created = true;
        if bytes == 0 {
            return Ok((active, base));
        }
        let path = active.file.path();
        let file = active.file.open(self.disk()).map_err(LogError::io("open", &*path))?;
        let mark = self.report.mark.filter(|mark| mark.segment_base == base && mark.position > 0);
        let start = match mark {
            Some(mark) => {
                self.begin_at(&mut active, &mark, bytes, &*file).map_err(LogError::io("read", &*path))?
            }
            None => ScanStart::of_segment(base),
        };
        let end = self.scan(&mut active, &file, start, bytes)?;
        active.file.release();
        Ok((active, end))
    }

    /// The mark, if what lies before it in the last segment is another segment's: of another partition, or an older
    /// one put back. Its first batch says so where the mark has that one's checksum. What lies behind it is looked at where
    /// that takes little, or where no batch of this log follows the mark; else by the first read that needs an index, and
    /// by the scrub.
    ///
    /// Bytes that fail their own checks are damage, and no sign of another file.
    pub(super) fn other_active(&self, entry: SegmentEntry) -> Result<Option<DurableMark>, LogError> {
        let SegmentEntry { base, bytes } = entry;
        let within = |mark: &DurableMark| mark.segment_base == base && (1..=bytes).contains(&mark.position);
        let Some(mark) = self.known.mark.filter(within) else { return Ok(None) };
        let path = file_path(&self.shared.dir, base, LOG_SUFFIX);
        let file = self.disk().open(&path, OpenMode::Read).map_err(LogError::io("open", &*path))?;
        let failed = |error| LogError::io("read", &*path)(error);
        if let Some(first_crc) = mark.first_crc
            && begins_otherwise(&*file, first_crc, bytes).map_err(failed)?
        {
            return Ok(Some(mark));
        }
        // Without a history, a rotted leader epoch would look like another file.
        if self.known.history.is_empty() {
            return Ok(None);
        }
        if mark.position > UNINDEXED_BYTES {
            let mut next = Vec::new();
            file.read_at(&mut next, mark.position, HEADER_BYTES).map_err(failed)?;
            let follows = parse_header(&next, bytes - mark.position)
                .is_ok_and(|header| header.base_offset == mark.offset);
            if bytes == mark.position || follows {
                return Ok(None);
            }
        }
        if checksum(&*file, 0, 0, mark.position).map_err(failed)? == mark.checksum {
            return Ok(None);
        }
        let start = ScanStart::of_segment(base);
        let walk = Walk::new(&file, path.clone(), Depth::Checksums, start, bytes);
        let mut walk = walk.held_to(&self.known.history);
        while walk.position() < mark.position {
            match walk.next() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(WalkError::Damaged(_)) => return Ok(None),
                Err(WalkError::Io(error)) => return Err(LogError::io("read", path)(error)),
            }
        }
        Ok(Some(mark))
    }

    /// What is before the mark, taken as it was when the mark was made.
    fn begin_at(
        &self,
        active: &mut Active,
        mark: &DurableMark,
        bytes: u64,
        file: &dyn DiskFile,
    ) -> io::Result<ScanStart> {
        let base = active.base();
        let mut first = Vec::new();
        file.read_at(&mut first, 0, HEADER_BYTES)?;
        if let Ok(first) = parse_header(&first, bytes) {
            active.note_first(&first, mark.first_crc.or(Some(first.crc)), self.now);
        }
        (active.bytes, active.checksum) = (mark.position, mark.checksum);
        let (interval, max) = (self.config.index_interval_bytes, mark.max_timestamp);
        let unscanned = UnscannedPrefix::new(mark.position, mark.offset);
        // The index files of the last segment are those of its end only after a clean close.
        let whole = self.report.clean && mark.position == bytes && bytes > UNINDEXED_BYTES;
        // Believed where the snapshot of producers that was written with them vouches for them.
        let indexes = whole.then(|| producers::index_checksum(self.shared, mark.offset)).flatten();
        let load = |checksum| {
            let extent = (mark.offset, bytes);
            Indexes::load(self.disk(), &self.shared.dir, base, extent, Some(checksum)).ok()
        };
        let indexes = indexes.and_then(load);
        match indexes.filter(|indexes| indexes.max_timestamp(base) == mark.max_timestamp) {
            Some(indexes) => active.index = IndexBuilder::resume(base, interval, &indexes),
            None => {
                active.index = IndexBuilder::behind(base, interval, max);
                active.unscanned = Some(Arc::clone(&unscanned));
            }
        }
        Ok(unscanned.end())
    }

    /// Reads what is behind `start`, cuts or fences what is not sound, and makes it durable: what is in the page cache
    /// after a kill is listed and read, but need not be on disk. Returns the log end.
    fn scan(
        &mut self,
        active: &mut Active,
        file: &Arc<dyn DiskFile>,
        start: ScanStart,
        bytes: u64,
    ) -> Result<Offset, LogError> {
        let path = active.file.path();
        let mut walk =
            Walk::new(file, path.clone(), Depth::Checksums, start, bytes).held_to(&self.known.history);
        let mut cut = None;
        loop {
            match walk.next() {
                Ok(Some(header)) => self.note(active, &header, walk.batch_bytes()),
                Ok(None) => break,
                Err(WalkError::Io(error)) => return Err(LogError::io("read", path)(error)),
                Err(WalkError::Damaged(damage)) => {
                    self.check_history(&walk, &damage)?;
                    let fenced = self.fence(active, file, &mut walk, &damage);
                    if !fenced.map_err(LogError::io("read", &*path))? {
                        cut = Some(damage);
                        break;
                    }
                }
            }
        }
        self.report.scanned_bytes += walk.read_bytes();
        // A clean close has synced everything.
        let as_closed = self.report.clean && cut.is_none();
        if let Some(damage) = cut {
            let position = walk.position();
            file.set_len(position).map_err(LogError::io("cut", &*path))?;
            self.report.cut = Some(Cut { damage, bytes: bytes - position });
        }
        // Also where nothing is behind the mark: a cut that was not synced would be undone by the next power loss.
        if !as_closed {
            let durable = self.write_again(&**file, start.position, walk.position());
            durable.and_then(|()| file.sync()).map_err(LogError::io("sync", path))?;
        }
        Ok(walk.expected())
    }

    /// Writes bytes again that recovery has read. The process that wrote them may have met a sync that failed, and been killed
    /// before the file was cut; the kernel then takes their pages for clean, and another sync would say nothing.
    fn write_again(&self, file: &dyn DiskFile, mut from: u64, to: u64) -> io::Result<()> {
        while from < to && !self.report.clean {
            let wanted = usize::try_from(to - from).map_or(1 << 20, |left| left.min(1 << 20));
            let mut chunk = Vec::with_capacity(wanted);
            let read = file.read_at(&mut chunk, from, wanted)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.write_at(&[chunk.into()], from)?;
            from += read as u64;
        }
        Ok(())
    }

    fn note(&self, active: &mut Active, header: &BatchHeader, bytes: &[u8]) {
        active.note(header, self.now);
        active.checksum = crc32c_append(active.checksum, bytes);
    }

    /// A sound batch of a later epoch than the history knows: the history is an older one, because the journal has lost
    /// what came after it. To cut by it would cut what was acknowledged.
    ///
    /// Where the next batch is as the history says, it is the epoch of that one batch that is wrong.
    fn check_history(&self, walk: &Walk, damage: &Damage) -> Result<(), LogError> {
        let DamageReason::WrongEpoch { got: Some(epoch), .. } = damage.reason else { return Ok(()) };
        let Some(last) = self.known.history.last().map(|entry| entry.epoch).filter(|last| *last < epoch)
        else {
            return Ok(());
        };
        if walk.next_is_sound().map_err(LogError::io("read", &damage.file))? {
            return Ok(());
        }
        let Damage { file, position, offset, .. } = damage.clone();
        Err(LogError::StaleHistory { path: file, position, offset, epoch, last })
    }

    /// Steps over damage, where that may be in what was synced and something sound follows; `false` where it is
    /// to be cut.
    fn fence(
        &mut self,
        active: &mut Active,
        file: &Arc<dyn DiskFile>,
        walk: &mut Walk,
        damage: &Damage,
    ) -> io::Result<bool> {
        // A write that was torn has no right checksum: where only the epoch is wrong, it was changed later.
        let only_epoch = matches!(damage.reason, DamageReason::WrongEpoch { .. }) && walk.next_is_sound()?;
        if self.report.mark.is_some() && !self.report.clean && !only_epoch {
            return Ok(false);
        }
        let base = active.base();
        let end = base.saturating_add(RELATIVE_MAX + 1);
        let from = walk.position();
        let Some(range) = walk.pass_if_followed(base, damage, end)? else { return Ok(false) };
        active.checksum = checksum(&**file, active.checksum, from, walk.position())?;
        active.bytes = walk.position();
        self.report.damages.push(range);
        Ok(true)
    }
}

/// Adds the bytes of a part of a file to a running checksum.
pub(crate) fn checksum(file: &dyn DiskFile, mut so_far: u32, mut from: u64, to: u64) -> io::Result<u32> {
    let mut chunk = Vec::new();
    while from < to {
        chunk.clear();
        let wanted = usize::try_from(to - from).map_or(1 << 20, |left| left.min(1 << 20));
        let read = file.read_at(&mut chunk, from, wanted)?;
        if read == 0 {
            break;
        }
        so_far = crc32c_append(so_far, &chunk);
        from += read as u64;
    }
    Ok(so_far)
}
