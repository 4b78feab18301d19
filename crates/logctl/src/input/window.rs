//! A window onto a stream of bytes: it slides over whole records, and grows only for one that does not fit.

use std::io::{self, Read};

/// How much is read at once.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

/// What filling a window brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// More bytes are there.
    More,
    /// Nothing comes any more.
    End,
    /// The window is full of one record, and as large as it may become.
    Full,
}

/// The bytes of a stream that were read and not consumed.
#[derive(Debug)]
pub(crate) struct Window<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    bytes_max: usize,
}

impl<R: Read> Window<R> {
    /// An empty window that holds at most `record_bytes_max` bytes of one record, and a chunk at least.
    pub(crate) fn new(source: R, record_bytes_max: usize) -> Self {
        let bytes_max = record_bytes_max.max(CHUNK_BYTES);
        Self { source, buffer: vec![0; CHUNK_BYTES], start: 0, end: 0, ended: false, bytes_max }
    }

    /// What is there.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether nothing comes behind what is there.
    pub(crate) fn at_end(&self) -> bool {
        self.ended
    }

    /// Gives up the first `count` bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    /// Reads once, however little comes: slow input is not kept waiting.
    pub(crate) fn fill(&mut self) -> io::Result<Fill> {
        if self.ended {
            return Ok(Fill::End);
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            if self.buffer.len() >= self.bytes_max {
                return Ok(Fill::Full);
            }
            self.buffer.resize((self.buffer.len() * 2).min(self.bytes_max), 0);
        }
        loop {
            match self.source.read(self.buffer.get_mut(self.end..).unwrap_or_default()) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(Fill::End);
                }
                Ok(count) => {
                    self.end += count;
                    return Ok(Fill::More);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives up the line that begins here, and says how many bytes it has; `None` for more than `max`.
    pub(crate) fn line_bytes(&mut self, max: u64) -> io::Result<Option<u64>> {
        self.measure(max, |bytes| memchr::memchr(b'\n', bytes))
    }

    /// The same for everything that is left.
    pub(crate) fn rest_bytes(&mut self, max: u64) -> io::Result<Option<u64>> {
        self.measure(max, |_| None)
    }

    fn measure(&mut self, max: u64, end: impl Fn(&[u8]) -> Option<usize>) -> io::Result<Option<u64>> {
        let mut measured = 0_u64;
        loop {
            let end = end(self.bytes());
            let count = end.unwrap_or(self.bytes().len());
            measured += count as u64;
            self.consume(count);
            if measured > max {
                return Ok(None);
            }
            if end.is_some() || self.fill()? == Fill::End {
                return Ok(Some(measured));
            }
        }
    }

    /// Gives up everything through the next newline, however far it is; `false` when the input ended before one.
    pub(crate) fn skip_line(&mut self) -> io::Result<bool> {
        self.skip_line_through(|_| {})
    }

    /// The same, showing the line's bytes to `see`, piece by piece and without the newline.
    pub(crate) fn skip_line_through(&mut self, mut see: impl FnMut(&[u8])) -> io::Result<bool> {
        loop {
            if let Some(newline) = memchr::memchr(b'\n', self.bytes()) {
                see(self.bytes().get(..newline).unwrap_or_default());
                self.consume(newline + 1);
                return Ok(true);
            }
            see(self.bytes());
            self.consume(self.bytes().len());
            if self.fill()? == Fill::End {
                return Ok(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_never_holds_more_than_it_may() {
        let input = vec![b'x'; 5 * CHUNK_BYTES];
        let mut window = Window::new(input.as_slice(), 2 * CHUNK_BYTES);
        while window.fill().unwrap() == Fill::More {}
        assert_eq!(window.bytes().len(), 2 * CHUNK_BYTES);
        assert_eq!(window.buffer.len(), 2 * CHUNK_BYTES);
        let mut seen = 0;
        assert!(!window.skip_line_through(|piece| seen += piece.len()).unwrap());
        assert_eq!(seen, input.len());
        assert!(window.at_end() && window.bytes().is_empty());
    }

    #[test]
    fn a_line_is_measured_up_to_a_limit() {
        let input = [vec![b'x'; 3 * CHUNK_BYTES], b"\nmore".to_vec()].concat();
        let measured = |max| Window::new(input.as_slice(), CHUNK_BYTES).line_bytes(max).unwrap();
        let bytes = 3 * CHUNK_BYTES as u64;
        assert_eq!((measured(bytes), measured(bytes - 1)), (Some(bytes), None));
        assert_eq!(Window::new(input.as_slice(), CHUNK_BYTES).rest_bytes(u64::MAX).unwrap(), Some(bytes + 5));
    }

    #[test]
    fn what_is_consumed_makes_room() {
        let mut window = Window::new(b"one\ntwo\nthree".as_slice(), 10);
        assert_eq!(window.fill().unwrap(), Fill::More);
        assert!(window.skip_line().unwrap());
        assert_eq!(window.bytes(), b"two\nthree");
        window.consume(4);
        assert_eq!(window.fill().unwrap(), Fill::End);
        assert_eq!(window.bytes(), b"three");
    }
}
