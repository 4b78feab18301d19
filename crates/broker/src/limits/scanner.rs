//! Finds the messages in a request body: five bytes in front of each, one of flags and four of length.

/// The bytes in front of a message.
pub(super) const HEADER_BYTES: usize = 5;

/// Where in the sequence of messages the body is: either between two messages, or inside one of known length.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    missing: u64,
    messages: u64,
}

/// What a scan found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing to decide: all bytes belong to known or whole messages, except for the last ones.
    Nothing {
        /// How many bytes at the end are an incomplete header. They have to be scanned again together with the
        /// following ones.
        unfinished: usize,
    },
    /// A message begins that is not complete in these bytes.
    Message {
        /// How many bytes are in front of its header.
        before: usize,
        /// Its announced length.
        message_bytes: u64,
    },
    /// A message begins that exceeds the limit. Bytes after its header were not scanned: the scanner continues
    /// after its last byte.
    TooLarge {
        /// How many bytes are in front of its header.
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

    /// How many headers were found so far.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// Scans the next bytes of the body.
    pub(super) fn scan(&mut self, bytes: &[u8], limit: u64) -> Found {
        let mut position = usize::try_from(self.missing).unwrap_or(usize::MAX).min(bytes.len());
        self.missing -= u64::try_from(position).unwrap_or(0);
        loop {
            let rest = bytes.get(position..).unwrap_or_default();
            let Some(([_flags, length @ ..], behind)) = rest.split_first_chunk::<HEADER_BYTES>() else {
                return Found::Nothing { unfinished: rest.len() };
            };
            let message_bytes = u64::from(u32::from_be_bytes(*length));
            self.messages += 1;
            if message_bytes > limit {
                return Found::TooLarge { before: position, message_bytes };
            }
            let here = u64::try_from(behind.len()).unwrap_or(u64::MAX);
            if message_bytes > here {
                self.missing = message_bytes - here;
                return Found::Message { before: position, message_bytes };
            }
            position += HEADER_BYTES + usize::try_from(message_bytes).unwrap_or(usize::MAX);
        }
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

    /// Scans `pieces` as a body does: an unfinished header is put in front of the next piece. Returns the places
    /// and lengths of messages that are not whole in their piece, or too large.
    fn found(pieces: &[&[u8]], limit: u64) -> Vec<(usize, u64)> {
        let mut scanner = Scanner::default();
        let (mut found, mut at, mut rest) = (Vec::new(), 0, Vec::new());
        let mut skipped = 0_usize;
        for piece in pieces {
            rest.extend_from_slice(piece);
            loop {
                let skip = skipped.min(rest.len());
                rest.drain(..skip);
                (at, skipped) = (at + skip, skipped - skip);
                if skipped > 0 {
                    break;
                }
                match scanner.scan(&rest, limit) {
                    Found::Nothing { unfinished } => {
                        let known = rest.len() - unfinished;
                        rest.drain(..known);
                        at += known;
                        break;
                    }
                    Found::Message { before, message_bytes } => {
                        found.push((at + before, message_bytes));
                        at += rest.len();
                        rest.clear();
                        break;
                    }
                    Found::TooLarge { before, message_bytes } => {
                        found.push((at + before, message_bytes));
                        rest.drain(..before);
                        at += before;
                        skipped = HEADER_BYTES + usize::try_from(message_bytes).unwrap();
                    }
                }
            }
        }
        assert_eq!((scanner.missing(), skipped), (0, 0), "the pieces end with a message");
        found
    }

    #[test]
    fn a_length_above_the_limit_is_found_however_the_header_is_cut() {
        let bytes = [message(3), message(0), message(9), message(2)].concat();
        for cut in 0..bytes.len() {
            let (first, second) = bytes.split_at(cut);
            let found = found(&[first, second], 8);
            assert!(found.contains(&(13, 9)), "cut at {cut}: {found:?}");
        }
    }

    proptest! {
        /// Against the naive model: every message that is not whole when its header is, or that is too large, is
        /// found, and no other.
        #[test]
        fn messages_are_found_where_their_headers_end(
            lengths in prop::collection::vec(0_usize..40, 0..8),
            cuts in prop::collection::vec(0_usize..400, 0..8),
            limit in 20_u64..60,
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
                let message_bytes = u64::try_from(*length).unwrap();
                if end > piece[1] || message_bytes > limit {
                    expected.push((begin, message_bytes));
                }
                begin = end;
            }
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|piece| &bytes[piece[0]..piece[1]]).collect();
            prop_assert_eq!(found(&pieces, limit), expected);
        }
    }
}
