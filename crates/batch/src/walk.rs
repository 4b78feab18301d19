//! One pass over the records of a batch, in memory that does not depend on how much they decompress to.

use crate::{
    Batch, BatchError, Compression, DecompressLimits, RecordRef,
    batch::RecordPlan,
    compress::Decoder,
    error::RecordFault,
    record::{RawRecord, take_record},
    varint::take_varint,
};

/// What the window holds at first. It grows only where a single record is larger.
const WINDOW_BYTES: usize = 32 * 1024;

/// A record on the way.
pub(crate) struct Seen<'a> {
    /// Its attribute byte.
    pub(crate) attributes: u8,
    pub(crate) record: RecordRef<'a>,
    /// All of it as encoded, from its length on.
    pub(crate) encoded: &'a [u8],
}

/// Shows every record of `batch` to `check`.
///
/// Compressed records pass through a window of 32 KiB, or of the largest record.
pub(crate) fn walk(
    batch: &Batch,
    limits: DecompressLimits,
    mut check: impl FnMut(&Seen<'_>) -> Result<(), RecordFault>,
) -> Result<(), BatchError> {
    walk_while(batch, limits, |seen| check(seen).map(|()| true))
}

/// As [`walk`], for as long as `check` says `true`. What comes behind that is not looked at.
pub(crate) fn walk_while(
    batch: &Batch,
    limits: DecompressLimits,
    mut check: impl FnMut(&Seen<'_>) -> Result<bool, RecordFault>,
) -> Result<(), BatchError> {
    let plan = RecordPlan::new(batch.header());
    let payload = batch.payload();
    if plan.record_count == 0 && payload.is_empty() {
        // Compaction has emptied it, codec bits still set.
        return Ok(());
    }
    let mut place = RecordPosition::default();
    let extra_bytes = match batch.header().compression() {
        Compression::None => {
            let mut rest = &payload[..];
            while place.index < plan.record_count {
                if !place.next(&plan, &mut rest, &mut check)? {
                    return Ok(());
                }
            }
            rest.len()
        }
        codec => {
            let mut window = Window::new(Decoder::new(codec, &payload, limits)?);
            while place.index < plan.record_count {
                let mut rest = window.whole_record()?;
                let before = rest.len();
                if !place.next(&plan, &mut rest, &mut check)? {
                    return Ok(());
                }
                let taken = before - rest.len();
                window.consume(taken);
            }
            window.left()?
        }
    };
    nothing_left(&plan, extra_bytes)
}

/// Refuses what is behind the last record.
pub(crate) fn nothing_left(plan: &RecordPlan, extra_bytes: usize) -> Result<(), BatchError> {
    match extra_bytes {
        0 => Ok(()),
        extra_bytes => Err(BatchError::TrailingRecordBytes {
            record_count: plan.record_count,
            extra_bytes: extra_bytes as u64,
        }),
    }
}

/// Which record comes next.
#[derive(Default)]
pub(crate) struct RecordPosition {
    pub(crate) index: u32,
    pub(crate) offset_delta_min: u32,
}

impl RecordPosition {
    /// Takes the next record off the front of `rest`; says what `check` said of it.
    #[inline]
    pub(crate) fn next(
        &mut self,
        plan: &RecordPlan,
        rest: &mut &[u8],
        check: &mut impl FnMut(&Seen<'_>) -> Result<bool, RecordFault>,
    ) -> Result<bool, BatchError> {
        let mut step = || {
            let whole = *rest;
            let raw: RawRecord<'_> = take_record(rest)?;
            let record = plan.resolve(&raw, self.offset_delta_min)?;
            let encoded = whole.get(..whole.len() - rest.len()).unwrap_or_default();
            let goes_on = check(&Seen { attributes: raw.attributes, record, encoded })?;
            Ok((record.offset_delta + 1, goes_on))
        };
        let (offset_delta_min, goes_on) =
            step().map_err(|fault| BatchError::Record { index: self.index, fault })?;
        self.offset_delta_min = offset_delta_min;
        self.index += 1;
        Ok(goes_on)
    }
}

/// The stretch of decompressed bytes that is being looked at.
pub(crate) struct Window<'a> {
    decoder: Decoder<'a>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
}

/// What stands at the front of a window.
pub(crate) enum Front<'a> {
    /// The next record whole, or everything up to the end of the data.
    Whole(&'a [u8]),
    /// The beginning of a record that is larger than what is to be held.
    Large,
}

impl<'a> Window<'a> {
    pub(crate) fn new(decoder: Decoder<'a>) -> Self {
        Self { decoder, buffer: vec![0; WINDOW_BYTES], start: 0, end: 0, ended: false }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
    }

    /// The window's bytes once they hold the next record whole, or everything up to the end of the data.
    fn whole_record(&mut self) -> Result<&[u8], BatchError> {
        while !self.ended && !holds_record(self.bytes()) {
            self.fill()?;
        }
        Ok(self.bytes())
    }

    /// As [`Self::whole_record`], but a record of more than [`WINDOW_BYTES`] is not held.
    pub(crate) fn front(&mut self) -> Result<Front<'_>, BatchError> {
        while !self.ended && !holds_record(self.bytes()) {
            if take_varint(&mut self.bytes()).and_then(|length| usize::try_from(length).ok())
                > Some(WINDOW_BYTES)
            {
                return Ok(Front::Large);
            }
            self.fill()?;
        }
        Ok(Front::Whole(self.bytes()))
    }

    /// Makes sure of `count` bytes, far fewer than the window holds, unless the data ends before.
    pub(crate) fn need(&mut self, count: usize) -> Result<(), BatchError> {
        while !self.ended && self.bytes().len() < count {
            self.fill()?;
        }
        Ok(())
    }

    /// Moves what is left to the front and reads more behind it.
    fn fill(&mut self) -> Result<(), BatchError> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        while self.end < self.buffer.len() && !self.ended {
            let count = self.decoder.read(self.buffer.get_mut(self.end..).unwrap_or_default())?;
            self.end += count;
            self.ended = count == 0;
        }
        Ok(())
    }

    /// How many bytes follow, as far as they are known: a byte too many is enough for an error.
    pub(crate) fn left(&mut self) -> Result<usize, BatchError> {
        if self.start == self.end && !self.ended {
            self.fill()?;
        }
        Ok(self.bytes().len())
    }
}

/// Whether the front of `bytes` is a length and as many bytes, or a length that is wrong anyway.
#[inline]
fn holds_record(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    match take_varint(&mut rest) {
        Some(length) => usize::try_from(length).is_ok_and(|length| length <= rest.len()) || length < 0,
        // Five bytes that are no varint never become one.
        None => bytes.len() >= 5,
    }
}
