//! What goes wrong, and when.

use std::path::{Path, PathBuf};

use super::calls::{SimCall, SimFailure};
use super::kept::Kept;
use super::random::Random;

/// Where a write that goes astray lands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Astray {
    /// Nowhere: the file grows as if written, but what was there stays, or zeros where nothing was.
    Lost,
    /// At another position of the same file.
    Shifted {
        /// How many bytes further on.
        bytes: u64,
    },
    /// In another file, at the same position.
    File {
        /// Its path. Where there is no such file the write is lost.
        path: PathBuf,
    },
}

/// Faults asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// Fails the call of this kind when the count reaches 0.
    nth: Vec<(SimCall, u64, SimFailure)>,
    random: Vec<Randomly>,
    under: Vec<Under>,
    /// The write that goes astray when the count reaches 0.
    astray: Vec<(u64, Astray)>,
    /// What a failing sync has written all the same.
    pub(super) failed_sync_keeps: Option<Kept>,
}

#[derive(Clone, Debug)]
struct Randomly {
    random: Random,
    calls: Vec<SimCall>,
    per_mille: u16,
    failure: SimFailure,
}

/// A part of the disk that fails.
#[derive(Clone, Debug)]
struct Under {
    path: PathBuf,
    calls: Vec<SimCall>,
    failure: SimFailure,
}

impl Faults {
    pub(super) fn add_under(&mut self, path: &Path, calls: &[SimCall], failure: SimFailure) {
        self.under.push(Under { path: path.to_owned(), calls: calls.to_vec(), failure });
    }

    pub(super) fn repair(&mut self, path: &Path) {
        self.under.retain(|under| under.path != path);
    }

    pub(super) fn add_nth(&mut self, call: SimCall, nth: u64, failure: SimFailure) {
        self.nth.push((call, nth, failure));
    }

    pub(super) fn add_randomly(&mut self, seed: u64, per_mille: u16, calls: &[SimCall], failure: SimFailure) {
        let random = Random::new(seed);
        self.random.push(Randomly { random, calls: calls.to_vec(), per_mille, failure });
    }

    pub(super) fn add_astray(&mut self, nth: u64, astray: Astray) {
        self.astray.push((nth, astray));
    }

    /// Counts a call; says whether and how it fails.
    pub(super) fn count(&mut self, call: SimCall, path: &Path) -> Option<SimFailure> {
        let under =
            self.under.iter().find(|under| under.calls.contains(&call) && path.starts_with(&under.path));
        let mut failure = under.map(|under| under.failure);
        self.nth.retain_mut(|(kind, left, how)| {
            if *kind != call {
                return true;
            }
            let now = *left == 0;
            if now {
                failure = Some(*how);
            }
            *left = left.saturating_sub(1);
            !now
        });
        for one in self.random.iter_mut().filter(|one| one.calls.contains(&call)) {
            if one.random.chance(one.per_mille) {
                failure = failure.or(Some(one.failure));
            }
        }
        failure
    }

    /// Counts a write that does not fail; says whether it goes astray.
    pub(super) fn count_astray(&mut self) -> Option<Astray> {
        let mut found = None;
        self.astray.retain_mut(|(left, astray)| {
            let now = *left == 0;
            if now {
                found = Some(astray.clone());
            }
            *left = left.saturating_sub(1);
            !now
        });
        found
    }

    /// Ends all of them; what a failing sync keeps stays as it was set.
    pub(super) fn clear(&mut self) {
        *self = Self { failed_sync_keeps: self.failed_sync_keeps, ..Self::default() };
    }
}
