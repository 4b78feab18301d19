//! The time by which records expire: the wall clock, but never far ahead of the time that has really passed.
//!
//! A wall clock that jumps ahead makes everything old at once, and what retention has deleted is gone. So this time
//! follows the wall clock by [`PACE`] at most, while the broker runs and over a restart: a day's jump takes an hour, in which
//! `status` names it and an operator can correct the clock. It is stored every few minutes; what lies between the
//! last time stored and a start is taken for a jump too, and caught up with at the same pace.

use std::{io, path::Path};

use bytes::Bytes;
use corduroy_log::disk::{Disk, read_file, replace_file};
use corduroy_types::TimestampMs;

use crate::engine::Clock;

/// How much faster than real time it may go.
const PACE: u64 = 24;
/// It is stored when it has moved by so much.
const STORED_EVERY_MS: u64 = 5 * 60_000;
/// Further behind the wall clock than this, it is reported.
const REPORTED_FROM_MS: u64 = 3_600_000;
const FILE: &str = "expiry-time";
const MAGIC: [u8; 4] = *b"CDXT";
const FILE_BYTES: usize = 16;

/// Follows the wall clock.
#[derive(Debug)]
pub(in crate::engine) struct Expiry {
    time: TimestampMs,
    /// The monotonic time at which it was advanced last.
    advanced_ms: u64,
    stored: Option<TimestampMs>,
    /// How far it was behind the wall clock then.
    behind_ms: u64,
}

/// What was found of the stored time.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::engine) enum Stored {
    At(TimestampMs),
    Missing,
    Damaged,
}

impl Expiry {
    /// Goes on from what is stored, or else from when the broker was alive for certain. Also returns what was wrong with
    /// what is stored.
    pub(in crate::engine) fn begin(
        disk: &dyn Disk,
        data_dir: &Path,
        alive_at: Option<TimestampMs>,
        clock: Clock,
    ) -> (Self, Option<String>) {
        let (stored, fault) = match load(disk, data_dir) {
            Stored::At(time) => (Some(time), None),
            Stored::Missing => (None, None),
            Stored::Damaged => (None, Some(format!("{} was damaged", data_dir.join(FILE).display()))),
        };
        (Self::new(stored.or(alive_at), clock.now(), clock.monotonic_ms()), fault)
    }

    /// Goes on from the last time known; without one, from the wall clock.
    pub(in crate::engine) fn new(known: Option<TimestampMs>, wall: TimestampMs, monotonic_ms: u64) -> Self {
        let time = known.unwrap_or(wall).min(wall);
        Self { time, advanced_ms: monotonic_ms, stored: None, behind_ms: behind(time, wall) }
    }

    /// Advances it to now, and returns it.
    pub(in crate::engine) fn advance(&mut self, wall: TimestampMs, monotonic_ms: u64) -> TimestampMs {
        let passed_ms = monotonic_ms.saturating_sub(self.advanced_ms);
        self.advanced_ms = monotonic_ms.max(self.advanced_ms);
        self.time = self.time.plus_ms(passed_ms.saturating_mul(PACE)).min(wall);
        self.behind_ms = behind(self.time, wall);
        self.time
    }

    /// How far the wall clock has jumped ahead of it, if by enough to report it.
    pub(in crate::engine) fn held_ms(&self) -> Option<u64> {
        Some(self.behind_ms).filter(|behind_ms| *behind_ms >= REPORTED_FROM_MS)
    }

    /// What is to be stored now, if anything.
    pub(in crate::engine) fn take_due(&mut self) -> Option<TimestampMs> {
        let due = self
            .stored
            .is_none_or(|stored| self.time < stored || behind(stored, self.time) >= STORED_EVERY_MS);
        due.then(|| {
            self.stored = Some(self.time);
            self.time
        })
    }
}

fn behind(time: TimestampMs, wall: TimestampMs) -> u64 {
    u64::try_from(wall.0.saturating_sub(time.0)).unwrap_or(0)
}

/// The time that was stored last.
pub(in crate::engine) fn load(disk: &dyn Disk, data_dir: &Path) -> Stored {
    let bytes = match read_file(disk, &data_dir.join(FILE), FILE_BYTES as u64) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Stored::Missing,
        Err(_) => return Stored::Damaged,
    };
    let decoded = bytes.split_last_chunk::<4>().and_then(|(body, crc)| {
        let sound = crc32fast::hash(body) == u32::from_be_bytes(*crc);
        body.strip_prefix(&MAGIC)?.first_chunk::<8>().filter(|_| sound).map(|time| i64::from_be_bytes(*time))
    });
    decoded.map_or(Stored::Damaged, |time| Stored::At(TimestampMs(time)))
}

/// Stores it: magic `CDXT`, milliseconds i64, CRC-32 u32 over both, big-endian.
///
/// # Errors
/// The disk's. The next start then begins from an older time.
pub(in crate::engine) fn store(disk: &dyn Disk, data_dir: &Path, time: TimestampMs) -> io::Result<()> {
    let mut bytes = [MAGIC.as_slice(), &time.0.to_be_bytes()].concat();
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    replace_file(disk, &data_dir.join(FILE), Bytes::from(bytes))
}

#[cfg(test)]
mod tests {
    use corduroy_log::SimDisk;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn a_clock_that_jumps_ahead_is_followed_slowly() {
        let mut expiry = Expiry::new(None, TimestampMs(0), 0);
        assert_eq!(expiry.advance(TimestampMs(60_000), 60_000), TimestampMs(60_000));
        let day = TimestampMs(24 * HOUR_MS + 60_000);
        assert_eq!(expiry.advance(day, 120_000), TimestampMs(60_000 + 24 * 60_000), "a minute later");
        assert!(expiry.held_ms().is_some_and(|held| held > 23 * HOUR_MS.unsigned_abs()));
        let caught_up = TimestampMs(day.0 + HOUR_MS);
        assert_eq!(expiry.advance(caught_up, 120_000 + 2 * 3_600_000), caught_up);
        assert_eq!(expiry.held_ms(), None);
        let back = TimestampMs(1_000);
        assert_eq!(expiry.advance(back, 9_000_000), back, "a clock that goes back is followed at once");
    }

    #[test]
    fn so_is_one_that_has_jumped_while_the_broker_was_down() {
        let last = TimestampMs(5 * HOUR_MS);
        let day_later = TimestampMs(29 * HOUR_MS);
        let mut expiry = Expiry::new(Some(last), day_later, 0);
        assert_eq!(expiry.advance(day_later, 0), last);
        assert_eq!(expiry.held_ms(), Some(24 * 3_600_000));
        assert_eq!(Expiry::new(Some(day_later), last, 0).advance(last, 0), last);
    }

    #[test]
    fn it_is_stored_now_and_then_and_read_back_or_known_to_be_damaged() {
        let (disk, dir) = (SimDisk::new(), Path::new("/"));
        let mut expiry = Expiry::new(None, TimestampMs(7), 0);
        assert_eq!(load(&disk, dir), Stored::Missing);
        let time = expiry.take_due().unwrap();
        store(&disk, dir, time).unwrap();
        assert_eq!(load(&disk, dir), Stored::At(TimestampMs(7)));
        assert_eq!(expiry.take_due(), None);
        expiry.advance(TimestampMs(400_000), 400_000);
        assert_eq!(expiry.take_due(), Some(TimestampMs(400_000)));
        for byte in 0..FILE_BYTES as u64 {
            disk.damage(&dir.join(FILE), byte, |bytes| bytes[0] ^= 1);
            assert_eq!(load(&disk, dir), Stored::Damaged);
            disk.damage(&dir.join(FILE), byte, |bytes| bytes[0] ^= 1);
        }
    }
}
