//! How much memory is spent on the indexes of sealed segments, in the whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Indexes that are held for the next look-up take no more than this. What does not fit is read again each time.
const KEPT_BYTES_MAX: usize = 64 << 20;

static KEPT_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Some of that memory, until the last clone is dropped.
#[derive(Clone, Debug)]
pub(super) struct Kept(#[expect(dead_code, reason = "held for its drop")] Arc<KeptBytes>);

#[derive(Debug)]
struct KeptBytes(usize);

impl Kept {
    /// `None` where it would be more than there may be.
    pub(super) fn new(bytes: usize) -> Option<Self> {
        let share = KeptBytes(bytes);
        let before = KEPT_BYTES.fetch_add(bytes, Relaxed);
        (before.saturating_add(bytes) <= KEPT_BYTES_MAX).then(|| Self(Arc::new(share)))
    }
}

impl Drop for KeptBytes {
    fn drop(&mut self) {
        KEPT_BYTES.fetch_sub(self.0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_given_back() {
        let most = KEPT_BYTES_MAX / 2;
        let first = Kept::new(most).unwrap();
        let second = first.clone();
        assert!(Kept::new(KEPT_BYTES_MAX).is_none());
        drop(first);
        assert!(Kept::new(KEPT_BYTES_MAX).is_none(), "its clone is still held");
        drop(second);
        assert!(Kept::new(most).is_some());
    }
}
