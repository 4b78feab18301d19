//! A message that is skipped: only its beginning is kept, to see what it belongs to.

use bytes::Bytes;
use prost::encoding::{WireType, decode_key, decode_varint};

/// Enough for every field in front of the payload of a produce request, and for the header of its batch: topic
/// names are short.
const HEAD_BYTES_MAX: usize = 512;
/// Fields of `ProduceRequest`.
const CORRELATION_ID: u32 = 1;
const TOPIC: u32 = 2;
const TOPIC_ID: u32 = 3;
const PARTITION: u32 = 4;
const BATCH: u32 = 7;

/// A message that is being skipped.
#[derive(Debug)]
pub(super) struct Skip {
    pub(super) message_bytes: u64,
    pub(super) left: u64,
    head: Vec<u8>,
}

/// The beginning of a produce request, as far as it could be read: a field that is not set, or that follows the
/// payload, has its default.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub(crate) correlation_id: u64,
    pub(crate) topic: String,
    pub(crate) topic_id: Bytes,
    pub(crate) partition: Option<u32>,
    /// The first bytes of the batch.
    pub(crate) batch: Vec<u8>,
}

impl Skip {
    pub(super) fn new(message_bytes: u64) -> Self {
        Self { message_bytes, left: message_bytes, head: Vec::new() }
    }

    /// Passes the next bytes of the body; returns how many of them belong to the message.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> usize {
        let passed = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let wanted = HEAD_BYTES_MAX.saturating_sub(self.head.len()).min(passed);
        self.head.extend_from_slice(bytes.get(..wanted).unwrap_or_default());
        self.left -= u64::try_from(passed).unwrap_or(0);
        passed
    }

    /// The fields that its beginning contains.
    pub(super) fn head(&self) -> RequestHead {
        let mut head = RequestHead::default();
        let _up_to_where_it_could_be_read = head.read(&self.head);
        head
    }
}

impl RequestHead {
    /// Walks the fields up to the first incomplete one.
    fn read(&mut self, mut bytes: &[u8]) -> Option<()> {
        loop {
            let (tag, wire_type) = decode_key(&mut bytes).ok()?;
            match wire_type {
                WireType::Varint => {
                    let value = decode_varint(&mut bytes).ok()?;
                    match tag {
                        CORRELATION_ID => self.correlation_id = value,
                        PARTITION => self.partition = u32::try_from(value).ok(),
                        _ => {}
                    }
                }
                WireType::LengthDelimited => {
                    let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
                    if tag == BATCH {
                        let here = bytes.get(..length).unwrap_or(bytes);
                        self.batch = here.to_vec();
                    }
                    let field = bytes.get(..length)?;
                    match tag {
                        TOPIC => self.topic = String::from_utf8_lossy(field).into_owned(),
                        TOPIC_ID => self.topic_id = Bytes::copy_from_slice(field),
                        _ => {}
                    }
                    bytes = bytes.get(length..)?;
                }
                WireType::ThirtyTwoBit => bytes = bytes.get(4..)?,
                WireType::SixtyFourBit => bytes = bytes.get(8..)?,
                WireType::StartGroup | WireType::EndGroup => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use corduroy_api::v1;
    use prost::Message as _;

    use super::*;

    fn request() -> v1::ProduceRequest {
        let record = v1::Record { value: Some(vec![7; 10_000].into()), ..Default::default() };
        v1::ProduceRequest {
            correlation_id: 1 << 40,
            topic: "t".repeat(249),
            topic_id: vec![9; 16].into(),
            partition: Some(3),
            payload: Some(v1::produce_request::Payload::Records(v1::PlainRecords { records: vec![record] })),
            ..Default::default()
        }
    }

    fn passed(bytes: &[u8], piece: usize) -> RequestHead {
        let mut skip = Skip::new(u64::try_from(bytes.len()).unwrap());
        for piece in bytes.chunks(piece) {
            assert_eq!(skip.pass(piece), piece.len());
        }
        assert_eq!(skip.left, 0);
        assert_eq!(skip.pass(&[1, 2, 3]), 0, "what follows is another message");
        skip.head()
    }

    #[test]
    fn the_head_is_read_however_the_message_is_cut_and_wherever_it_stands_before_the_payload() {
        let whole = request().encode_to_vec();
        let head = RequestHead {
            correlation_id: 1 << 40,
            topic: "t".repeat(249),
            topic_id: vec![9; 16].into(),
            partition: Some(3),
            batch: Vec::new(),
        };
        for piece in [1, 2, 7, 600, 100_000] {
            assert_eq!(passed(&whole, piece), head);
        }
        let batch: Vec<u8> = (0..=255).cycle().take(9_000).collect();
        let payload = Some(v1::produce_request::Payload::Batch(batch.clone().into()));
        let raw = v1::ProduceRequest { payload, ..request() }.encode_to_vec();
        let read = passed(&raw, 100).batch;
        assert!(read.len() > 61 && batch.starts_with(&read), "{} bytes", read.len());
        let id = v1::ProduceRequest { correlation_id: 77, ..Default::default() }.encode_to_vec();
        let named = v1::ProduceRequest { topic: "t".repeat(249), ..Default::default() }.encode_to_vec();
        assert_eq!(passed(&[named.as_slice(), &id, &vec![0x42; 9_000]].concat(), 100).correlation_id, 77);
        let anonymous = v1::ProduceRequest { correlation_id: 0, ..request() }.encode_to_vec();
        assert_eq!(passed(&anonymous, 100), RequestHead { correlation_id: 0, ..head });
    }

    #[test]
    fn a_beginning_that_is_no_produce_request_has_no_id() {
        for hostile in [&[0xff; 600][..], &[0; 600], &[0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0x08]] {
            assert_eq!(passed(hostile, 64).correlation_id, 0);
        }
    }
}
