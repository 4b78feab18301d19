//! The catalogue: what each sealed segment is, as evidence against its file.
//!
//! Part of the partition's state file. An entry is written by the round that seals a segment, after the last
//! sync of the segment and of its indexes; from then on the file is held to it.

use corduroy_types::{Offset, TimestampMs};

/// One sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CatalogueEntry {
    /// The offset at which it begins.
    pub(crate) base: Offset,
    /// The offset at which the next one begins.
    pub(crate) end: Offset,
    /// Length of its file.
    pub(crate) bytes: u64,
    /// CRC-32C over all of its file.
    pub(crate) checksum: u32,
    /// The greatest timestamp of its records, if any has one.
    pub(crate) max_timestamp: Option<TimestampMs>,
    /// Whether offsets may be missing between `base` and `end`: compacted, or sealed after damage.
    pub(crate) gaps: bool,
    /// Records in it; `None` where they were not counted.
    pub(crate) records: Option<u64>,
    /// The checksum that its first batch carries, which distinguishes the file from another partition's with the same name.
    pub(crate) first_crc: Option<u32>,
    /// CRC-32 over both of its index files; `None` where they are not kept, or were written by an older version.
    pub(crate) index_checksum: Option<u32>,
    /// Whether another file was found in its place, so that opening compares all of it with `checksum`.
    pub(crate) suspect: bool,
}

/// Bytes of an entry: base u64, end u64, bytes u64, checksum u32, max timestamp i64, flags u8; and from version 3 of
/// the state file on: records u64, first CRC u32, index checksum u32.
const ENTRY_BYTES: usize = 53;
const ENTRY_BYTES_V2: usize = 37;
/// Flag: offsets may be missing.
const GAPS: u8 = 1;
/// Flag: there is a greatest timestamp.
const TIMESTAMPED: u8 = 2;
/// Flag: its records are counted.
const COUNTED: u8 = 4;
/// Flag: the checksum of its first batch is on record.
const FIRST_CRC: u8 = 8;
/// Flag: the checksum of its indexes is on record.
const INDEXED: u8 = 16;
/// Flag: another file was found in its place.
const SUSPECT: u8 = 32;

impl CatalogueEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.base.get().to_be_bytes());
        out.extend_from_slice(&self.end.get().to_be_bytes());
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out.extend_from_slice(&self.checksum.to_be_bytes());
        out.extend_from_slice(&self.max_timestamp.map_or(0, |timestamp| timestamp.0).to_be_bytes());
        let flags = [
            (self.gaps, GAPS),
            (self.max_timestamp.is_some(), TIMESTAMPED),
            (self.records.is_some(), COUNTED),
            (self.first_crc.is_some(), FIRST_CRC),
            (self.index_checksum.is_some(), INDEXED),
            (self.suspect, SUSPECT),
        ];
        out.push(flags.into_iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag));
        out.extend_from_slice(&self.records.unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&self.first_crc.unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&self.index_checksum.unwrap_or(0).to_be_bytes());
    }

    fn decode(bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let (front, rest) = bytes.split_first_chunk::<ENTRY_BYTES_V2>()?;
        let (records, rest) = rest.split_first_chunk::<8>()?;
        let (first_crc, rest) = rest.split_first_chunk::<4>()?;
        let index_checksum = rest.first_chunk::<4>()?;
        let flags = *front.last()?;
        let known = |flag: u8, value: u32| (flags & flag != 0).then_some(value);
        Some(Self {
            records: (flags & COUNTED != 0).then_some(u64::from_be_bytes(*records)),
            first_crc: known(FIRST_CRC, u32::from_be_bytes(*first_crc)),
            index_checksum: known(INDEXED, u32::from_be_bytes(*index_checksum)),
            suspect: flags & SUSPECT != 0,
            ..Self::decode_front(front, GAPS | TIMESTAMPED | COUNTED | FIRST_CRC | INDEXED | SUSPECT)?
        })
    }

    /// An entry as version 2 of the state file has it.
    fn decode_v2(bytes: &[u8; ENTRY_BYTES_V2]) -> Option<Self> {
        Self::decode_front(bytes, GAPS | TIMESTAMPED)
    }

    fn decode_front(bytes: &[u8; ENTRY_BYTES_V2], flags_known: u8) -> Option<Self> {
        let (base, rest) = bytes.split_first_chunk::<8>()?;
        let (end, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (checksum, rest) = rest.split_first_chunk::<4>()?;
        let (timestamp, rest) = rest.split_first_chunk::<8>()?;
        let flags = *rest.first()?;
        let timestamp = TimestampMs(i64::from_be_bytes(*timestamp));
        Some(Self {
            base: Offset::new(u64::from_be_bytes(*base))?,
            end: Offset::new(u64::from_be_bytes(*end))?,
            bytes: u64::from_be_bytes(*length),
            checksum: u32::from_be_bytes(*checksum),
            max_timestamp: (flags & TIMESTAMPED != 0).then_some(timestamp),
            gaps: flags & GAPS != 0,
            records: None,
            first_crc: None,
            index_checksum: None,
            suspect: false,
        })
        .filter(|entry| entry.base < entry.end && flags & !flags_known == 0)
    }

    /// Records in it, where that is known: without gaps, each offset has one.
    pub(crate) fn record_count(&self) -> Option<u64> {
        self.records.or_else(|| (!self.gaps).then(|| self.end.distance_from(self.base)))
    }
}

/// The entries, by base offset, none of them overlapping another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Catalogue {
    entries: Vec<CatalogueEntry>,
}

impl Catalogue {
    /// Enters a segment in place of all those that it covers, in whole or in part.
    pub(crate) fn put(&mut self, entry: CatalogueEntry) {
        self.entries.retain(|other| other.end <= entry.base || other.base >= entry.end);
        let at = self.entries.partition_point(|other| other.base < entry.base);
        self.entries.insert(at, entry);
    }

    /// Forgets segments that lie wholly below `log_start`.
    pub(crate) fn drop_below(&mut self, log_start: Offset) {
        self.entries.retain(|entry| entry.end > log_start);
    }

    /// Forgets segments that reach beyond `end`.
    pub(crate) fn cut(&mut self, end: Offset) {
        self.entries.retain(|entry| entry.end <= end);
    }

    /// The segment that begins at `base`.
    pub(crate) fn get(&self, base: Offset) -> Option<&CatalogueEntry> {
        let at = self.entries.binary_search_by_key(&base, |entry| entry.base).ok()?;
        self.entries.get(at)
    }

    /// The segment that `offset` lies in.
    pub(crate) fn covering(&self, offset: Offset) -> Option<&CatalogueEntry> {
        let at = self.entries.partition_point(|entry| entry.end <= offset);
        self.entries.get(at).filter(|entry| entry.base <= offset)
    }

    pub(crate) fn entries(&self) -> &[CatalogueEntry] {
        &self.entries
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        for entry in &self.entries {
            entry.encode(out);
        }
    }

    /// `None` when `bytes` are not exactly what [`Catalogue::encode`] gives for some catalogue.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        Self::decode_with(bytes, CatalogueEntry::decode)
    }

    /// The same for version 2 of the state file.
    pub(crate) fn decode_v2(bytes: &[u8]) -> Option<Self> {
        Self::decode_with(bytes, CatalogueEntry::decode_v2)
    }

    fn decode_with<const N: usize>(
        bytes: &[u8],
        decode: impl Fn(&[u8; N]) -> Option<CatalogueEntry>,
    ) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let (chunks, left) = rest.as_chunks::<N>();
        if !left.is_empty() || u32::try_from(chunks.len()) != Ok(u32::from_be_bytes(*count)) {
            return None;
        }
        let entries: Vec<_> = chunks.iter().map(decode).collect::<Option<_>>()?;
        let sorted = entries.iter().zip(entries.iter().skip(1)).all(|(a, b)| a.end <= b.base);
        sorted.then_some(Self { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(base: u64, end: u64) -> CatalogueEntry {
        CatalogueEntry {
            base: Offset::new(base).unwrap(),
            end: Offset::new(end).unwrap(),
            bytes: 77,
            checksum: 0xfeed_beef,
            max_timestamp: base.is_multiple_of(2).then_some(TimestampMs(-5)),
            gaps: base.is_multiple_of(3),
            records: base.is_multiple_of(5).then_some(4),
            first_crc: base.is_multiple_of(7).then_some(0x0102_0304),
            index_checksum: base.is_multiple_of(4).then_some(9),
            suspect: base.is_multiple_of(11),
        }
    }

    #[test]
    fn an_entry_takes_the_place_of_what_it_covers() {
        let mut catalogue = Catalogue::default();
        for (base, end) in [(20, 30), (0, 10), (10, 20), (30, 40)] {
            catalogue.put(entry(base, end));
        }
        let ends = |catalogue: &Catalogue| catalogue.entries.iter().map(|e| e.end.get()).collect::<Vec<_>>();
        assert_eq!(ends(&catalogue), [10, 20, 30, 40]);
        catalogue.put(entry(10, 30));
        assert_eq!(ends(&catalogue), [10, 30, 40]);
        catalogue.drop_below(Offset::new(10).unwrap());
        assert_eq!(ends(&catalogue), [30, 40]);
        catalogue.cut(Offset::new(39).unwrap());
        assert_eq!(ends(&catalogue), [30]);
        assert_eq!(catalogue.get(Offset::new(10).unwrap()), Some(&entry(10, 30)));
    }

    #[test]
    fn it_is_read_back_and_nothing_else_is() {
        let mut catalogue = Catalogue::default();
        for base in [0, 10, 15, 21] {
            catalogue.put(entry(base, base + 5));
        }
        let mut bytes = Vec::new();
        catalogue.encode(&mut bytes);
        assert_eq!(Catalogue::decode(&bytes), Some(catalogue));
        for cut in 0..bytes.len() {
            assert_eq!(Catalogue::decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }
}
