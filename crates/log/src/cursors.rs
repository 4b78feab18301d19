//! Where a log begins and ends, as one checked value.

use corduroy_types::{Durability, Offset};

/// The cursors of one log. Ends are exclusive.
///
/// Always `log_start ≤ log_end`, `durable_end ≤ written_end ≤ log_end` and `counted_end ≤ log_end`; none ever
/// goes back while the log is open. The high watermark is not among them: it belongs to replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursors {
    log_start: Offset,
    durable_end: Offset,
    written_end: Offset,
    counted_end: Offset,
    log_end: Offset,
}

/// A cursor was to be moved where it must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{cursor} cannot move to {to} with {cursors:?}")]
pub struct CursorOrder {
    /// Which.
    pub cursor: &'static str,
    /// Where to.
    pub to: Offset,
    /// All of them before.
    pub cursors: Cursors,
}

impl Cursors {
    /// The cursors of a log whose every record is durable.
    pub(crate) fn recovered(log_start: Offset, log_end: Offset) -> Result<Self, CursorOrder> {
        let all =
            Self { log_start, durable_end: log_end, written_end: log_end, counted_end: log_end, log_end };
        all.checked("log_start", log_start, log_start <= log_end)
    }

    /// The first offset that can be read.
    pub const fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Everything below is on stable storage.
    pub const fn durable_end(&self) -> Offset {
        self.durable_end
    }

    /// Everything below was written, if not synced: it can be read from the file.
    pub const fn written_end(&self) -> Offset {
        self.written_end
    }

    /// What replication, acknowledgements and visibility count: `durable_end` with durability `sync`, `log_end`
    /// with `background`.
    pub const fn counted_end(&self) -> Offset {
        self.counted_end
    }

    /// The offset that the next record gets.
    pub const fn log_end(&self) -> Offset {
        self.log_end
    }

    pub(crate) fn append(&mut self, to: Offset, durability: Durability) -> Result<(), CursorOrder> {
        let moved = Self { log_end: to, ..*self }.counting(durability);
        *self = moved.checked_from(self, "log_end", to, to >= self.log_end)?;
        Ok(())
    }

    pub(crate) fn write(&mut self, to: Offset, durability: Durability) -> Result<(), CursorOrder> {
        let moved = Self { written_end: to, ..*self }.counting(durability);
        *self = moved.checked_from(self, "written_end", to, self.written_end <= to && to <= self.log_end)?;
        Ok(())
    }

    pub(crate) fn make_durable(&mut self, to: Offset, durability: Durability) -> Result<(), CursorOrder> {
        let moved = Self { durable_end: to, ..*self }.counting(durability);
        *self =
            moved.checked_from(self, "durable_end", to, self.durable_end <= to && to <= self.written_end)?;
        Ok(())
    }

    pub(crate) fn raise_start(&mut self, to: Offset) -> Result<(), CursorOrder> {
        let moved = Self { log_start: to, ..*self };
        *self = moved.checked_from(self, "log_start", to, self.log_start <= to && to <= self.log_end)?;
        Ok(())
    }

    /// A topic that changes to `sync` does not take back what it already counted.
    pub(crate) fn counting(mut self, durability: Durability) -> Self {
        let end = match durability {
            Durability::Sync => self.durable_end,
            Durability::Background => self.log_end,
        };
        self.counted_end = self.counted_end.max(end);
        self
    }

    fn checked(self, cursor: &'static str, to: Offset, holds: bool) -> Result<Self, CursorOrder> {
        self.checked_from(&self, cursor, to, holds)
    }

    fn checked_from(
        self,
        before: &Self,
        cursor: &'static str,
        to: Offset,
        holds: bool,
    ) -> Result<Self, CursorOrder> {
        if holds { Ok(self) } else { Err(CursorOrder { cursor, to, cursors: *before }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u64) -> Offset {
        Offset::new(n).unwrap()
    }

    #[test]
    fn cursors_keep_their_order() {
        assert!(Cursors::recovered(at(5), at(4)).is_err());
        let mut cursors = Cursors::recovered(at(5), at(8)).unwrap();
        cursors.append(at(12), Durability::Sync).unwrap();
        assert_eq!(cursors.counted_end(), at(8));
        assert!(cursors.make_durable(at(9), Durability::Sync).is_err(), "not written yet");
        cursors.write(at(10), Durability::Sync).unwrap();
        assert!(cursors.write(at(13), Durability::Sync).is_err());
        cursors.make_durable(at(10), Durability::Sync).unwrap();
        assert_eq!(cursors.counted_end(), at(10));
        assert!(cursors.raise_start(at(13)).is_err());
        assert!(cursors.raise_start(at(4)).is_err());
        cursors.raise_start(at(12)).unwrap();
    }

    #[test]
    fn background_counts_at_once_and_never_takes_back() {
        let mut cursors = Cursors::recovered(at(0), at(0)).unwrap();
        cursors.append(at(3), Durability::Background).unwrap();
        assert_eq!(cursors.counted_end(), at(3));
        cursors.append(at(5), Durability::Sync).unwrap();
        assert_eq!(cursors.counted_end(), at(3));
    }
}
