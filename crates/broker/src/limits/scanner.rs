//! Finds the messages in a request body: five bytes in front of each, one of flags and four of length.

const HEADER_BYTES: usize = 5;

/// Where in the sequence of messages the body is.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    missing: u64,
}

/// What a scan found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing to decide: all of it belongs to messages that are known, or whole, or have no header yet.
    Nothing,
    /// A message begins that more bytes than these belong to.
    Message {
        /// How many bytes are in front of it. Its header may have begun before all of them.
        before: usize,
        /// Its announced length.
        message_bytes: u64,
    },
}

impl Scanner {
    /// Bytes of the current message that have not been scanned.
    pub(super) fn missing(&self) -> u64 {
        self.missing
    }

    /// Scans the next bytes of the body.
    ///
    /// # Errors
    /// A length above `limit`; the scanner is of no use any more.
    pub(super) fn scan(&mut self, bytes: &[u8], limit: u64) -> Result<Found, u64> {
        let mut position = 0;
        let mut before = 0;
        while let Some((&byte, behind)) = bytes.get(position..).and_then(<[u8]>::split_first) {
            if self.missing > 0 {
                let available = behind.len() + 1;
                let taken = usize::try_from(self.missing).unwrap_or(usize::MAX).min(available);
                self.missing -= u64::try_from(taken).unwrap_or(0);
                position += taken;
                continue;
            }
            if self.header_bytes == 0 {
                before = position;
            }
            if let Some(place) = self.header.get_mut(self.header_bytes) {
                *place = byte;
            }
            self.header_bytes += 1;
            position += 1;
            if self.header_bytes == HEADER_BYTES {
                self.header_bytes = 0;
                let [_flags, length @ ..] = self.header;
                let message_bytes = u64::from(u32::from_be_bytes(length));
                if message_bytes > limit {
                    return Err(message_bytes);
                }
                let here = u64::try_from(behind.len()).unwrap_or(u64::MAX);
                if message_bytes > here {
                    self.missing = message_bytes - here;
                    return Ok(Found::Message { before, message_bytes });
                }
                self.missing = message_bytes;
            }
        }
        Ok(Found::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.resize(HEADER_BYTES + length, 7);
        bytes
    }

    #[test]
    fn a_length_above_the_limit_is_found_however_the_header_is_cut() {
        let bytes = [message(3), message(0), message(9)].concat();
        for cut in 0..bytes.len() {
            let mut scanner = Scanner::default();
            let first = scanner.scan(&bytes[..cut], 8);
            let found = first.and_then(|_| scanner.scan(&bytes[cut..], 8));
            assert_eq!(found, Err(9), "cut at {cut}");
        }
    }

    proptest! {
        /// Against the naive model: every message that is not whole in the piece where its header ends is found
        /// there, and nothing else is.
        #[test]
        fn messages_are_found_where_their_headers_end(
            lengths in prop::collection::vec(0_usize..40, 0..8),
            cuts in prop::collection::vec(0_usize..400, 0..8),
        ) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < bytes.len()).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut expected = Vec::new();
            let mut begin = 0;
            for length in &lengths {
                let (header_end, end) = (begin + HEADER_BYTES, begin + HEADER_BYTES + length);
                let piece = cuts.windows(2).find(|piece| piece[0] < header_end && header_end <= piece[1]).unwrap();
                if end > piece[1] {
                    expected.push((begin.max(piece[0]), *length));
                }
                begin = end;
            }
            let mut scanner = Scanner::default();
            let mut found = Vec::new();
            for piece in cuts.windows(2) {
                if let Found::Message { before, message_bytes } = scanner.scan(&bytes[piece[0]..piece[1]], 100).unwrap() {
                    found.push((piece[0] + before, usize::try_from(message_bytes).unwrap()));
                }
            }
            prop_assert_eq!(found, expected);
            prop_assert_eq!(scanner.missing(), 0);
        }
    }
}
