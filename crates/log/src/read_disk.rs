//! Reading batches from a segment file: finding the first, taking as many as fit, checking each.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use corduroy_batch::{BatchHeader, HEADER_BYTES};
use corduroy_types::Offset;

use crate::damage::Sought;
use crate::disk::{DiskFile, write_next_to};
use crate::error::ReadError;
use crate::index::{Expect, Indexes, ScanStart};
use crate::read::{Hint, ReadBatches, ReadCursor};
use crate::recovery::index_segment;
use crate::scan::{Damage, DamageReason, check_crc, parse_header};
use crate::segment::{INDEX_SUFFIX, Sealed, SegmentFile, TIME_INDEX_SUFFIX, file_path};
use crate::shared::Shared;
use crate::unscanned_prefix::UnscannedPrefix;

/// What a read from a segment file needs to know.
#[derive(Debug)]
pub(crate) struct DiskRead {
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) place: ReadSource,
    /// Where the batch should begin, if the reader knows from before.
    pub(crate) hint: Option<Hint>,
    /// Bytes of the file that were written.
    pub(crate) limit: u64,
    /// The offset at which those bytes end.
    pub(crate) end: Offset,
    pub(crate) from: Offset,
    pub(crate) max_bytes: u32,
    pub(crate) upper: Offset,
}

/// Where to begin looking.
#[derive(Debug)]
pub(crate) enum ReadSource {
    Sealed(Arc<Sealed>),
    Active(ScanStart),
    /// The active segment's part below the mark, whose index may have to be made.
    UnscannedPrefix(Arc<UnscannedPrefix>),
}

/// Bytes to read beyond `max_bytes` to reach the first batch from an index entry before it.
const SLACK_BYTES: u64 = 8 << 10;

enum Stop {
    /// The segment is lost.
    Lost(ReadError),
    Io(io::Error),
    Damage(Damage),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl DiskRead {
    pub(crate) fn perform(&self, shared: &Shared) -> Result<ReadBatches, ReadError> {
        let read = match self.file.replacement() {
            None => self.perform_here(shared),
            Some(new) => return self.of(new).perform(shared),
        };
        // A file that was replaced while it was read may have been either of the two.
        match self.file.replacement() {
            None => read,
            Some(new) => self.of(new).perform(shared),
        }
    }

    /// The same read from the segment that has taken this one's place.
    fn of(&self, new: &Arc<Sealed>) -> Self {
        Self {
            file: Arc::clone(&new.file),
            place: ReadSource::Sealed(Arc::clone(new)),
            hint: None,
            limit: new.bytes,
            end: new.end,
            ..*self
        }
    }

    fn perform_here(&self, shared: &Shared) -> Result<ReadBatches, ReadError> {
        let lost = match &self.place {
            ReadSource::Sealed(sealed) => sealed.lost_error(),
            ReadSource::Active(_) | ReadSource::UnscannedPrefix(_) => None,
        };
        let stop = match lost.map_or_else(|| self.try_all(shared), |lost| Err(Stop::Lost(lost))) {
            Ok(read) => return Ok(read),
            Err(stop) => stop,
        };
        // The file may have been removed since the plan was made; then that is the answer.
        let log_start = shared.log_start();
        if self.from < log_start {
            return Err(ReadError::BelowStart { from: self.from, log_start });
        }
        match stop {
            Stop::Lost(error) => Err(error),
            Stop::Io(source) => Err(ReadError::Io { file: self.file.path(), source }),
            Stop::Damage(damage) => {
                let (position, offset) = (damage.position, damage.offset);
                let sought = Sought { position, offset, limit: self.limit, end: self.end };
                match self.file.open(&*shared.disk) {
                    Ok(file) => Err(shared.corrupt(&self.file, &*file, damage, sought)),
                    Err(source) => Err(ReadError::Io { file: self.file.path(), source }),
                }
            }
        }
    }

    /// Tries the hint, then the index, then the same without believing any header, then that from the segment's
    /// start: only damage that the last of them meets is damage of the log, and is where it seems to be.
    fn try_all(&self, shared: &Shared) -> Result<ReadBatches, Stop> {
        let file = self.file.open(&*shared.disk)?;
        if let Some(hint) = self.hint {
            let gaps = self.gaps() && hint.file == Some(self.file.id);
            let start = ScanStart { position: hint.position, expect: Expect::next(self.from, gaps) };
            if let Ok(read) = self.read_from(&*file, start, Belief::Headers) {
                return Ok(read);
            }
        }
        let start = match &self.place {
            ReadSource::Active(start) => *start,
            ReadSource::UnscannedPrefix(unscanned) => {
                unscanned.indexes(shared, &self.file, &file)?.scan_start(self.file.base, self.from)
            }
            ReadSource::Sealed(sealed) => {
                sealed_indexes(shared, sealed, &file)?.scan_start(sealed.base(), self.from)
            }
        };
        let start = start.allowing_gaps(self.gaps());
        match self.read_from(&*file, start, Belief::Headers) {
            Err(Stop::Damage(_)) => {}
            other => return other,
        }
        let whole = ScanStart::of_segment(self.file.base).allowing_gaps(self.gaps());
        match self.read_from(&*file, start, Belief::Nothing) {
            // An index entry may be wrong about the segment's first batch, too.
            Err(Stop::Damage(damage)) if damage.position == start.position && start != whole => {
                self.read_from(&*file, whole, Belief::Nothing)
            }
            other => other,
        }
    }

    /// Whether offsets may be missing in the segment.
    fn gaps(&self) -> bool {
        matches!(&self.place, ReadSource::Sealed(sealed) if sealed.gaps)
    }

    fn read_from(&self, file: &dyn DiskFile, start: ScanStart, belief: Belief) -> Result<ReadBatches, Stop> {
        let mut search = Search { belief, ..Search::new(self, file, start) };
        if search.find_first()? {
            return search.take_batches();
        }
        // Only what is missing up to the segment's end was asked for.
        Ok(ReadBatches::none(self.end.min(self.upper)))
    }
}

/// The indexes of a sealed segment: as they are in memory, as stored, or built from the segment when the files are
/// doubtful.
pub(crate) fn sealed_indexes(
    shared: &Shared,
    sealed: &Sealed,
    file: &Arc<dyn DiskFile>,
) -> io::Result<Indexes> {
    let mut slot = sealed.indexes.lock();
    if let Some(indexes) = &*slot {
        return Ok(indexes.clone());
    }
    let (base, extent) = (sealed.base(), (sealed.end, sealed.bytes));
    let load = || Indexes::load(&*shared.disk, &shared.dir, base, extent, sealed.index_checksum).ok();
    // While it is swapped in, the files with its name may be the old segment's.
    let loaded = if sealed.file.is_swapping() { None } else { load() };
    let indexes = match loaded {
        Some(indexes) => indexes,
        None => build_indexes(shared, sealed, file)?,
    };
    *slot = indexes.keep();
    Ok(indexes)
}

/// The indexes of a sealed segment, built from it because what a search met contradicts them.
pub(crate) fn rebuilt_indexes(
    shared: &Shared,
    sealed: &Sealed,
    file: &Arc<dyn DiskFile>,
) -> io::Result<Indexes> {
    let indexes = build_indexes(shared, sealed, file)?;
    *sealed.indexes.lock() = indexes.keep();
    Ok(indexes)
}

fn build_indexes(shared: &Shared, sealed: &Sealed, file: &Arc<dyn DiskFile>) -> io::Result<Indexes> {
    let (interval, path) = (shared.index_interval_bytes, sealed.file.path());
    let built = index_segment(interval, path, file, sealed.extent())?;
    let indexes = built.index.indexes();
    // Only what the catalogue vouches for may stand in the files.
    let as_sealed = built.damages.is_empty() && sealed.index_checksum == Some(indexes.checksum());
    shared.note_damages_of(&sealed.file, built.damages);
    if as_sealed && !sealed.file.is_swapping() {
        for (suffix, contents) in [(INDEX_SUFFIX, &indexes.offsets), (TIME_INDEX_SUFFIX, &indexes.times)] {
            let path = file_path(&shared.dir, sealed.base(), suffix);
            let written = write_next_to(&*shared.disk, &path, contents.clone());
            let _built_again_when_needed =
                written.and_then(|temporary| shared.disk.rename(&temporary, &path));
        }
    }
    Ok(indexes)
}

/// One pass over a part of a segment file.
struct Search<'a> {
    read: &'a DiskRead,
    file: &'a dyn DiskFile,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    buffer_at: u64,
    /// Where in the file the search is, and what is known of the batch there.
    position: u64,
    expect: Expect,
    belief: Belief,
}

/// What a search goes by on its way to the first batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belief {
    /// What headers say, so that nothing else has to be read.
    Headers,
    /// Nothing that has not passed its checksum; for when headers contradict one another.
    Nothing,
}

impl<'a> Search<'a> {
    fn new(read: &'a DiskRead, file: &'a dyn DiskFile, start: ScanStart) -> Self {
        let ScanStart { position, expect } = start;
        let belief = Belief::Headers;
        Self { read, file, buffer: Vec::new(), buffer_at: position, position, expect, belief }
    }

    /// Moves to the batch that holds `from`, or to the one after it where that offset is missing. `false` when
    /// nothing follows up to the segment's end, and nothing need.
    fn find_first(&mut self) -> Result<bool, Stop> {
        loop {
            // Not with a hint that may be wrong, which expects a certain offset.
            if self.position == self.read.limit && matches!(self.expect, Expect::AtLeast(_)) {
                return Ok(false);
            }
            let header = match self.believed() {
                Err(Stop::Damage(damage)) if self.belief == Belief::Nothing => {
                    self.pass(damage)?;
                    continue;
                }
                other => other?,
            };
            if header.next_offset() > self.read.from {
                return Ok(true);
            }
            self.step_over(&header);
        }
    }

    /// The header of the batch here, if it is to be believed.
    fn believed(&mut self) -> Result<BatchHeader, Stop> {
        let header = self.header()?;
        if self.belief == Belief::Nothing {
            self.whole(&header)?;
        }
        Ok(header)
    }

    /// Steps over damage that lies wholly below `from`.
    fn pass(&mut self, damage: Damage) -> Result<(), Stop> {
        let Damage { position, offset, .. } = damage;
        let sought = Sought { position, offset, limit: self.read.limit, end: self.read.end };
        let found = if offset < self.read.from { sought.find(self.file)? } else { None };
        match found.filter(|start| start.expect.offset() <= self.read.from) {
            Some(start) => {
                (self.position, self.expect) = (start.position, start.expect);
                (self.buffer, self.buffer_at) = (Vec::new(), start.position);
                Ok(())
            }
            None => Err(Stop::Damage(damage)),
        }
    }

    /// Takes whole batches from here on, until the first that does not fit.
    fn take_batches(mut self) -> Result<ReadBatches, Stop> {
        let first = self.header()?;
        // Before anything it says is believed: a reader that is answered "nothing yet" would wait for ever.
        self.whole(&first)?;
        if first.next_offset() > self.read.upper {
            let nothing_below = first.base_offset >= self.read.upper;
            return Ok(ReadBatches::none(if nothing_below { self.read.upper } else { self.read.from }));
        }
        let begin = self.position;
        self.step_over(&first);
        let most = begin.saturating_add(self.read.max_bytes.into());
        while self.position < self.read.limit {
            // What is not in memory yet, does not fit, or is damaged is left for the next read.
            let left = self.read.limit - self.position;
            let Ok(header) = parse_header(self.ahead(), left) else { break };
            let total = header.total_bytes();
            let fits = self.position + u64::from(total) <= most && header.next_offset() <= self.read.upper;
            let Some(batch) = self.ahead().get(..total as usize).filter(|_| fits) else { break };
            if !self.expect.holds(&header) || check_crc(&header, batch).is_err() {
                break;
            }
            self.step_over(&header);
        }
        let skip = usize::try_from(begin - self.buffer_at).unwrap_or(usize::MAX);
        let take = usize::try_from(self.position - self.buffer_at).unwrap_or(usize::MAX);
        let bytes = Bytes::from(self.buffer);
        let bytes = bytes.slice(skip.min(bytes.len())..take.min(bytes.len()));
        let (segment_base, file) = (self.read.file.base, Some(self.read.file.id));
        let hint = Hint { segment_base, position: self.position, file };
        let next_offset = self.expect.offset();
        Ok(ReadBatches { bytes, next_offset, next: ReadCursor { offset: next_offset, hint: Some(hint) } })
    }

    fn step_over(&mut self, header: &BatchHeader) {
        self.position += u64::from(header.total_bytes());
        self.expect = Expect::next(header.next_offset(), self.read.gaps());
    }

    /// The header of the batch here.
    fn header(&mut self) -> Result<BatchHeader, Stop> {
        let left = self.read.limit.saturating_sub(self.position);
        if left == 0 {
            return Err(self.damage(DamageReason::Missing { next: self.read.end }));
        }
        self.fill(HEADER_BYTES, left)?;
        let header = parse_header(self.ahead(), left).map_err(|reason| self.damage(reason))?;
        if !self.expect.holds(&header) {
            return Err(self.damage(DamageReason::WrongOffset { got: header.base_offset }));
        }
        Ok(header)
    }

    /// Has the whole batch here in memory and checks it.
    fn whole(&mut self, header: &BatchHeader) -> Result<(), Stop> {
        let total = header.total_bytes() as usize;
        let left = self.read.limit.saturating_sub(self.position);
        self.fill(total, left)?;
        let batch = self.ahead().get(..total).ok_or_else(|| {
            let (needed_bytes, present_bytes) = (total as u64, self.ahead().len() as u64);
            self.damage(DamageReason::Truncated { needed_bytes, present_bytes })
        })?;
        check_crc(header, batch).map_err(|reason| self.damage(reason))
    }

    /// Has `needed` bytes from here on in memory, if the file has them: normally all of this read at once.
    fn fill(&mut self, needed: usize, left: u64) -> io::Result<()> {
        if self.ahead().len() >= needed {
            return Ok(());
        }
        // A reader that came with its place reads exactly what it asked for.
        let from = self.read.from;
        let came_with_place = [Expect::Base(from), Expect::AtLeast(from)].contains(&self.expect);
        let slack = if came_with_place { 0 } else { SLACK_BYTES };
        let wanted = (u64::from(self.read.max_bytes) + slack).max(needed as u64).min(left);
        let wanted = usize::try_from(wanted).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut buffer = Vec::with_capacity(wanted);
        buffer.extend_from_slice(self.ahead());
        let present = buffer.len();
        let from = self.position + present as u64;
        self.file.read_at(&mut buffer, from, wanted - present)?;
        (self.buffer, self.buffer_at) = (buffer, self.position);
        Ok(())
    }

    /// What is in memory from here on.
    fn ahead(&self) -> &[u8] {
        let skipped = usize::try_from(self.position - self.buffer_at).unwrap_or(usize::MAX);
        self.buffer.get(skipped..).unwrap_or_default()
    }

    fn damage(&self, reason: DamageReason) -> Stop {
        let (file, position, offset) = (self.read.file.path(), self.position, self.expect.offset());
        Stop::Damage(Damage { file, position, offset, reason })
    }
}
