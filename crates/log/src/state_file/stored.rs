//! Reading the two copies of the state, and deciding which of them counts.

use std::io;
use std::path::{Path, PathBuf};

use super::{Decoded, PartitionState, STATE_COPY, STATE_FILE, VERSION};
use crate::disk::{Disk, is_out_of_handles, read_file};
use crate::error::LogError;
use crate::journal::PartitionKey;

/// A larger file is not read into memory: it would list more than a million segments.
const BYTES_MAX: u64 = 64 << 20;

/// One of a partition's small files that was not as it should be. What it held was taken from elsewhere, and it is
/// written again: nothing is lost, but the disk is to be suspected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {reason}", file.display())]
pub struct StateFault {
    /// The file.
    pub file: PathBuf,
    /// What was wrong.
    pub reason: StateFaultReason,
}

/// What was wrong with a small file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateFaultReason {
    /// Its checksum or contents.
    #[error("was damaged")]
    Damaged,
    /// It was not there.
    #[error("was missing")]
    Missing,
    /// It was of an older generation than the other copy can leave behind: put back from somewhere.
    #[error("was older than its copy")]
    Older,
    /// It says that it is another partition's.
    #[error("was another partition's")]
    OtherPartition,
    /// The disk could not read it.
    #[error("could not be read: {0}")]
    Unreadable(String),
}

/// What was found of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Whole(Stored),
    Missing,
    /// There is a file, but none that is to be believed.
    Damaged,
}

/// The state, and what is known of its copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) state: PartitionState,
    pub(crate) generation: u64,
    /// Whether the copies differ, so that both are to be written again.
    pub(crate) doubtful: bool,
    /// What was wrong with one of them, beyond what a crash can leave.
    pub(crate) fault: Option<StateFault>,
}

/// One of the two files.
enum Copy {
    Whole(Decoded),
    Unusable(StateFaultReason),
}

/// Reads the state of the partition in `dir`.
///
/// # Errors
/// [`LogError::Io`], [`LogError::NewerFormat`]; [`LogError::OtherPartition`] where the directory is another partition's.
pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Found, LogError> {
    let expected = PartitionKey::of_dir(dir);
    let (first_path, second_path) = (dir.join(STATE_FILE), dir.join(STATE_COPY));
    let (first, second) = (read_copy(disk, &first_path)?, read_copy(disk, &second_path)?);
    let other = |copy: &Copy| match copy {
        Copy::Whole(Decoded { partition: Some(found), .. }) => {
            expected.filter(|expected| expected != found).map(|expected| (expected, *found))
        }
        _ => None,
    };
    let (first_other, second_other) = (other(&first), other(&second));
    let usable = |copy: &Copy, other: Option<_>| matches!(copy, Copy::Whole(_)) && other.is_none();
    if let Some((expected, found)) = first_other.or(second_other)
        && !usable(&first, first_other)
        && !usable(&second, second_other)
    {
        return Err(LogError::OtherPartition { dir: dir.to_path_buf(), expected, found });
    }
    let own = |copy, other: Option<_>| match other {
        Some(_) => Copy::Unusable(StateFaultReason::OtherPartition),
        None => copy,
    };
    Ok(match (own(first, first_other), own(second, second_other)) {
        (Copy::Whole(a), Copy::Whole(b)) => {
            let doubtful = a != b;
            let (newest, oldest, older) =
                if b.generation > a.generation { (b, a, first_path) } else { (a, b, second_path) };
            // A change that was interrupted between the two files.
            let interrupted = newest.generation - oldest.generation <= 1;
            let fault = (!interrupted).then_some(StateFault { file: older, reason: StateFaultReason::Older });
            Found::Whole(newest.stored(doubtful, fault))
        }
        (Copy::Whole(whole), Copy::Unusable(reason)) => Found::Whole(whole.with_fault(second_path, reason)),
        (Copy::Unusable(reason), Copy::Whole(whole)) => Found::Whole(whole.with_fault(first_path, reason)),
        (Copy::Unusable(StateFaultReason::Missing), Copy::Unusable(StateFaultReason::Missing)) => {
            Found::Missing
        }
        (Copy::Unusable(StateFaultReason::Unreadable(text)), Copy::Unusable(_))
        | (Copy::Unusable(_), Copy::Unusable(StateFaultReason::Unreadable(text))) => {
            return Err(LogError::io("read", first_path)(io::Error::other(text)));
        }
        (Copy::Unusable(_), Copy::Unusable(_)) => Found::Damaged,
    })
}

fn read_copy(disk: &dyn Disk, path: &Path) -> Result<Copy, LogError> {
    let bytes = match read_file(disk, path, BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Copy::Unusable(StateFaultReason::Missing));
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Ok(Copy::Unusable(StateFaultReason::Damaged));
        }
        Err(error) if is_out_of_handles(&error) => return Err(LogError::io("read", path)(error)),
        Err(error) => return Ok(Copy::Unusable(StateFaultReason::Unreadable(error.to_string()))),
    };
    match Decoded::decode(&bytes) {
        Ok(Some(whole)) => Ok(Copy::Whole(whole)),
        Ok(None) => Ok(Copy::Unusable(StateFaultReason::Damaged)),
        Err(version) => Err(LogError::NewerFormat { path: path.to_path_buf(), version, known: VERSION }),
    }
}

impl Decoded {
    fn stored(self, doubtful: bool, fault: Option<StateFault>) -> Stored {
        Stored { state: self.state, generation: self.generation, doubtful, fault }
    }

    /// The one copy that can be used.
    fn with_fault(self, file: PathBuf, reason: StateFaultReason) -> Stored {
        // The first write may have been interrupted between the two, and older versions wrote one only.
        let never_written = reason == StateFaultReason::Missing && self.generation <= 1;
        let doubtful = !(never_written && self.generation == 0);
        self.stored(doubtful, (!never_written).then_some(StateFault { file, reason }))
    }
}
