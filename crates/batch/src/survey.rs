//! One pass over the records of a batch that holds no large record: what a check needs of it is small.

use corduroy_types::{Offset, TimestampMs};

use crate::{
    Batch, BatchError, Compression, DecompressLimits, RecordRef,
    batch::RecordPlan,
    compress::Decoder,
    error::RecordFault,
    record::{Headers, RawRecord},
    varint::{VARLONG_BYTES_MAX, take_varint, take_varlong},
    walk::{self, Front, RecordPosition, Seen, Window},
};

/// What is known of a record whose key and value were not kept.
pub(crate) struct Facts {
    pub(crate) attributes: u8,
    pub(crate) has_key: bool,
    pub(crate) offset: Offset,
    pub(crate) timestamp: TimestampMs,
}

impl Facts {
    fn of(seen: &Seen<'_>) -> Self {
        let Seen { attributes, record: RecordRef { key, offset, timestamp, .. }, .. } = *seen;
        Self { attributes, has_key: key.is_some(), offset, timestamp }
    }
}

/// Shows every record of `batch` to `check`, and finds the same faults as [`walk::walk`].
///
/// Compressed records pass through a window of 64 KiB, however large they are.
pub(crate) fn survey(
    batch: &Batch,
    limits: DecompressLimits,
    mut check: impl FnMut(&Facts) -> Result<(), RecordFault>,
) -> Result<(), BatchError> {
    survey_while(batch, limits, |facts| check(facts).map(|()| true))
}

/// As [`survey`], for as long as `check` says `true`. What comes behind that is not looked at.
pub(crate) fn survey_while(
    batch: &Batch,
    limits: DecompressLimits,
    mut check: impl FnMut(&Facts) -> Result<bool, RecordFault>,
) -> Result<(), BatchError> {
    let payload = batch.payload();
    let plan = RecordPlan::new(batch.header());
    let codec = batch.header().compression();
    if codec == Compression::None || (plan.record_count == 0 && payload.is_empty()) {
        return walk::walk_while(batch, limits, |seen| check(&Facts::of(seen)));
    }
    let mut place = RecordPosition::default();
    let mut window = Window::new(Decoder::new(codec, &payload, limits)?);
    while place.index < plan.record_count {
        let taken = match window.front()? {
            Front::Whole(whole) => {
                let mut rest = whole;
                if !place.next(&plan, &mut rest, &mut |seen| check(&Facts::of(seen)))? {
                    return Ok(());
                }
                whole.len() - rest.len()
            }
            Front::Large => {
                let index = place.index;
                let (facts, offset_delta) = large_record(&mut window, &plan, place.offset_delta_min)
                    .map_err(|fault| fault.at(index))?;
                if !check(&facts).map_err(|fault| BatchError::Record { index, fault })? {
                    return Ok(());
                }
                place = RecordPosition { index: index + 1, offset_delta_min: offset_delta + 1 };
                0
            }
        };
        window.consume(taken);
    }
    let extra_bytes = window.left()?;
    walk::nothing_left(&plan, extra_bytes)
}

/// What is wrong: with one record, or with the data that it is in.
enum Fault {
    Record(RecordFault),
    Data(BatchError),
}

impl Fault {
    fn at(self, index: u32) -> BatchError {
        match self {
            Self::Record(fault) => BatchError::Record { index, fault },
            Self::Data(error) => error,
        }
    }
}

impl From<RecordFault> for Fault {
    fn from(fault: RecordFault) -> Self {
        Self::Record(fault)
    }
}

impl From<BatchError> for Fault {
    fn from(error: BatchError) -> Self {
        Self::Data(error)
    }
}

/// Passes over the record at the front of the window; returns what is known of it, and its offset delta.
fn large_record(
    window: &mut Window<'_>,
    plan: &RecordPlan,
    offset_delta_min: u32,
) -> Result<(Facts, u32), Fault> {
    let mut large = Large { window, announced: i32::MAX, left: u64::MAX, passed: 0 };
    let length = large.field("length", take_varint)?;
    let left = u64::try_from(length).unwrap_or(0);
    large = Large { announced: length, left, passed: 0, ..large };
    let attributes = large.byte()?;
    let timestamp_delta = large.field("timestamp delta", take_varlong)?;
    let offset_delta = large.field("offset delta", take_varint)?;
    let has_key = large.pass_nullable("key length")?;
    large.pass_nullable("value length")?;
    large.pass_headers()?;
    if large.left > 0 {
        return Err(RecordFault::TrailingBytes { extra_bytes: large.left }.into());
    }
    let headers = Headers::EMPTY;
    let raw = RawRecord { attributes, timestamp_delta, offset_delta, key: None, value: None, headers };
    let record = plan.resolve(&raw, offset_delta_min)?;
    let (offset, timestamp) = (record.offset, record.timestamp);
    Ok((Facts { attributes, has_key, offset, timestamp }, record.offset_delta))
}

/// A record that is read piece by piece.
struct Large<'w, 'a> {
    window: &'w mut Window<'a>,
    /// The length that it announces.
    announced: i32,
    /// Bytes of it that are still to come.
    left: u64,
    passed: u64,
}

impl Large<'_, '_> {
    /// What of the record is in the window.
    fn here(&self) -> &[u8] {
        let bytes = self.window.bytes();
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        bytes.get(..most).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.window.consume(count);
        self.left = self.left.saturating_sub(count as u64);
        self.passed += count as u64;
    }

    /// The data ends before the record does.
    fn cut(&self) -> Fault {
        RecordFault::Length { field: "length", got: self.announced, left_bytes: self.passed }.into()
    }

    fn field<T>(&mut self, field: &'static str, take: impl Fn(&mut &[u8]) -> Option<T>) -> Result<T, Fault> {
        self.window.need(VARLONG_BYTES_MAX)?;
        let here = self.here();
        let mut rest = here;
        let value = take(&mut rest).ok_or(RecordFault::Varint { field })?;
        let taken = here.len() - rest.len();
        self.consume(taken);
        Ok(value)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        self.window.need(1)?;
        let byte = self.here().first().copied().ok_or_else(|| self.cut())?;
        self.consume(1);
        Ok(byte)
    }

    /// A length that must lie within the record.
    fn within(&self, field: &'static str, got: i32) -> Result<u64, Fault> {
        let length = u64::try_from(got).ok().filter(|length| *length <= self.left);
        length.ok_or_else(|| RecordFault::Length { field, got, left_bytes: self.left }.into())
    }

    fn pass(&mut self, mut count: u64) -> Result<(), Fault> {
        while count > 0 {
            self.window.need(1)?;
            let here = self.here().len().min(usize::try_from(count).unwrap_or(usize::MAX));
            if here == 0 {
                return Err(self.cut());
            }
            self.consume(here);
            count -= here as u64;
        }
        Ok(())
    }

    /// Passes over a length and as many bytes; says whether they are there, and not null.
    fn pass_nullable(&mut self, field: &'static str) -> Result<bool, Fault> {
        match self.field(field, take_varint)? {
            -1 => Ok(false),
            length => {
                let length = self.within(field, length)?;
                self.pass(length)?;
                Ok(true)
            }
        }
    }

    fn pass_headers(&mut self) -> Result<(), Fault> {
        let count = self.field("header count", take_varint)?;
        for _ in 0..self.within("header count", count)? {
            let length = self.field("header key length", take_varint)?;
            let length = self.within("header key length", length)?;
            self.pass_text(length)?;
            self.pass_nullable("header value length")?;
        }
        Ok(())
    }

    fn pass_text(&mut self, mut count: u64) -> Result<(), Fault> {
        /// The longest character.
        const CHARACTER_BYTES: usize = 4;
        while count > 0 {
            self.window.need(CHARACTER_BYTES)?;
            let most = usize::try_from(count).unwrap_or(usize::MAX);
            let here = self.here();
            let here = here.get(..most).unwrap_or(here);
            let valid = match std::str::from_utf8(here) {
                Ok(text) => text.len(),
                Err(error) => {
                    let is_last = here.len() == most || here.len() < CHARACTER_BYTES;
                    if error.error_len().is_some() || (is_last && error.valid_up_to() == 0) {
                        return Err(RecordFault::HeaderKey.into());
                    }
                    error.valid_up_to()
                }
            };
            if valid == 0 {
                return Err(self.cut());
            }
            self.consume(valid);
            count -= valid as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        BatchBuilder, HEADER_BYTES, PushOutcome,
        batch::{length_field, seal},
        compress::Compressor,
    };

    /// A batch whose records are these bytes, well formed or not, compressed.
    fn compressed(codec: Compression, like: &Batch, payload: &[u8]) -> Batch {
        let mut header = like.header().clone();
        header.attributes = crate::Attributes::new(codec);
        let mut bytes = BytesMut::zeroed(HEADER_BYTES);
        Compressor::new(codec).unwrap().unwrap().compress(payload, &mut bytes).unwrap();
        header.batch_length = length_field(bytes.len());
        seal(&mut header, &mut bytes);
        Batch::parse(bytes.freeze()).unwrap()
    }

    /// Records of which some are far larger than the window; keys, values and header keys of these lengths.
    fn records(lengths: &[(usize, usize, usize)]) -> Batch {
        let mut builder = BatchBuilder::new(Compression::None, 64 << 20);
        for (key, value, text) in lengths {
            let (key, value) = (vec![1; *key], vec![2; *value]);
            // Characters of two bytes, which pieces cut.
            let text = "é".repeat(text / 2);
            let pushed = builder.push(
                TimestampMs(3),
                (!key.is_empty()).then_some(&key[..]),
                (!value.is_empty()).then_some(&value[..]),
                [(text.as_str(), Some(&value[..value.len() / 2])), ("n", None)],
            );
            assert_eq!(pushed.unwrap(), PushOutcome::Added);
        }
        Batch::parse(builder.build().unwrap()).unwrap()
    }

    type Seen = Vec<(u8, bool, TimestampMs)>;

    fn surveyed(batch: &Batch) -> (Seen, Result<(), BatchError>) {
        let mut seen = Vec::new();
        let result = survey(batch, DecompressLimits::default(), |facts| {
            seen.push((facts.attributes, facts.has_key, facts.timestamp));
            Ok(())
        });
        (seen, result)
    }

    fn walked(batch: &Batch) -> (Seen, Result<(), BatchError>) {
        let mut seen = Vec::new();
        let result = walk::walk(batch, DecompressLimits::default(), |one| {
            seen.push((one.attributes, one.record.key.is_some(), one.record.timestamp));
            Ok(())
        });
        (seen, result)
    }

    fn length() -> impl Strategy<Value = usize> {
        prop_oneof![4 => 0_usize..20, 2 => 30_000_usize..36_000, 1 => 60_000_usize..200_000]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Whatever is changed in the records, and wherever they are cut: what is found is what the walk finds that
        /// holds each record whole.
        #[test]
        fn a_survey_finds_what_a_walk_finds(
            lengths in prop::collection::vec((length(), length(), length()), 1..5),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            near_the_front in any::<bool>(),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let batch = records(&lengths);
            let mut payload = batch.payload().to_vec();
            for (at, byte) in changes {
                let most = if near_the_front { payload.len().min(30) } else { payload.len() };
                payload[at.index(most)] = byte;
            }
            if let Some(cut) = cut {
                payload.truncate(cut.index(payload.len()).max(1));
            }
            let batch = compressed(Compression::Gzip, &batch, &payload);
            let ((seen, found), (expected, fault)) = (surveyed(&batch), walked(&batch));
            prop_assert_eq!(seen, expected);
            let of = |result: &Result<(), BatchError>| {
                result.as_ref().err().map(|error| (error.code(), error.record_index()))
            };
            prop_assert_eq!(of(&found), of(&fault), "{:?}, {:?}", found, fault);
        }
    }

    #[test]
    fn every_codec_is_surveyed() {
        let batch = records(&[(3, 500_000, 4), (0, 0, 0), (400_000, 0, 50_000)]);
        for codec in Compression::ALL.into_iter().filter(|codec| codec.is_supported()) {
            let batch = match codec {
                Compression::None => batch.clone(),
                _ => compressed(codec, &batch, &batch.payload()),
            };
            let (seen, result) = surveyed(&batch);
            assert_eq!((seen.len(), result), (3, Ok(())), "{codec}");
        }
        let longer = Bytes::from([&batch.payload()[..], b"x"].concat());
        let longer = compressed(Compression::Gzip, &batch, &longer);
        assert!(matches!(surveyed(&longer).1, Err(BatchError::TrailingRecordBytes { .. })));
    }
}
