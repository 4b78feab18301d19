//! A batch with its place in the log: the producer's bytes behind sixteen new ones.

use bytes::{Buf, Bytes, BytesMut};
use corduroy_types::{LeaderEpoch, Offset};

use crate::BatchHeader;

/// Bytes before the magic: base offset, length, leader epoch.
pub const STAMP_BYTES: usize = 16;

/// A batch that the leader has given its base offset and leader epoch.
///
/// Those two fields are outside the checksum, so the rest are the very bytes that the producer sent: nothing is
/// copied, and the sender's buffer is not changed under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampedBatch {
    header: BatchHeader,
    head: [u8; STAMP_BYTES],
    rest: Bytes,
}

impl StampedBatch {
    pub(crate) fn new(
        mut header: BatchHeader,
        mut bytes: Bytes,
        base_offset: Offset,
        leader_epoch: LeaderEpoch,
    ) -> Self {
        header.base_offset = base_offset;
        header.leader_epoch = Some(leader_epoch);
        let head = header.stamp_bytes();
        bytes.advance(STAMP_BYTES.min(bytes.len()));
        Self { header, head, rest: bytes }
    }

    /// The header's fields, with the base offset and the leader epoch of this place.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch in two parts, in order: for a vectored write.
    #[must_use]
    pub fn parts(&self) -> [&[u8]; 2] {
        [&self.head, &self.rest]
    }

    /// The sixteen bytes that are new, and the shared ones from the magic on.
    #[must_use]
    pub fn into_parts(self) -> ([u8; STAMP_BYTES], Bytes) {
        (self.head, self.rest)
    }

    /// The size of the whole batch in bytes.
    #[must_use]
    pub const fn total_bytes(&self) -> u32 {
        self.header.total_bytes()
    }

    /// Appends the whole batch to `out`, with one copy.
    pub fn write_to(&self, out: &mut BytesMut) {
        out.reserve(self.head.len() + self.rest.len());
        out.extend_from_slice(&self.head);
        out.extend_from_slice(&self.rest);
    }

    /// The whole batch in one piece: a copy.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.write_to(&mut out);
        out.freeze()
    }
}
