//! A message on its way past: nothing of it is kept but the beginning, to see whose it is.

use prost::encoding::{WireType, decode_key, decode_varint};

/// Enough for every field in front of the payload of a produce request: the names of topics are short.
const HEAD_BYTES_MAX: usize = 512;
/// `correlation_id` in `ProduceRequest`.
const CORRELATION_ID_TAG: u32 = 1;

/// A message that is being left out.
#[derive(Debug)]
pub(super) struct Skip {
    pub(super) message_bytes: u64,
    pub(super) left: u64,
    head: Vec<u8>,
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

    /// The correlation id of the produce request, as far as its beginning tells: fields that are not set are 0.
    pub(super) fn correlation_id(&self) -> u64 {
        read_correlation_id(&self.head).unwrap_or(0)
    }
}

/// Walks the fields up to the first that is not whole.
fn read_correlation_id(mut head: &[u8]) -> Option<u64> {
    loop {
        let (tag, wire_type) = decode_key(&mut head).ok()?;
        match wire_type {
            WireType::Varint => {
                let value = decode_varint(&mut head).ok()?;
                if tag == CORRELATION_ID_TAG {
                    return Some(value);
                }
            }
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut head).ok()?).ok()?;
                head = head.get(length..)?;
            }
            WireType::ThirtyTwoBit => head = head.get(4..)?,
            WireType::SixtyFourBit => head = head.get(8..)?,
            WireType::StartGroup | WireType::EndGroup => return None,
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

    fn passed(bytes: &[u8], piece: usize) -> u64 {
        let mut skip = Skip::new(u64::try_from(bytes.len()).unwrap());
        for piece in bytes.chunks(piece) {
            assert_eq!(skip.pass(piece), piece.len());
        }
        assert_eq!(skip.left, 0);
        assert_eq!(skip.pass(&[1, 2, 3]), 0, "what follows is another message");
        skip.correlation_id()
    }

    #[test]
    fn the_correlation_id_is_read_however_the_message_is_cut_and_wherever_it_stands_before_the_payload() {
        let whole = request().encode_to_vec();
        for piece in [1, 2, 7, 600, 100_000] {
            assert_eq!(passed(&whole, piece), 1 << 40);
        }
        let id = v1::ProduceRequest { correlation_id: 77, ..Default::default() }.encode_to_vec();
        let named = v1::ProduceRequest { topic: "t".repeat(249), ..Default::default() }.encode_to_vec();
        assert_eq!(passed(&[named.as_slice(), &id, &vec![0x42; 9_000]].concat(), 100), 77);
        let anonymous = v1::ProduceRequest { correlation_id: 0, ..request() }.encode_to_vec();
        assert_eq!(passed(&anonymous, 100), 0);
    }

    #[test]
    fn a_beginning_that_is_no_produce_request_has_no_id() {
        for hostile in [&[0xff; 600][..], &[0; 600], &[0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0x08]] {
            assert_eq!(passed(hostile, 64), 0);
        }
    }
}
