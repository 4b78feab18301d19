//! Calls of the disk: their kinds, and how one is recorded.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SimCall {
    /// `open` with a mode that makes or empties a file.
    Create,
    /// `write_at`
    Write,
    /// `sync`
    Sync,
    /// `set_len`
    SetLen,
    /// `rename`
    Rename,
    /// `remove_file` and `remove_dir`
    Remove,
    /// `create_dir_all`
    CreateDir,
    /// `sync_dir`
    SyncDir,
    /// `open` of a file that exists
    Open,
    /// `read_at`
    Read,
    /// `len`
    Len,
    /// `list`
    List,
    /// `space`
    Space,
}

impl SimCall {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Create,
        Self::Write,
        Self::Sync,
        Self::SetLen,
        Self::Rename,
        Self::Remove,
        Self::CreateDir,
        Self::SyncDir,
        Self::Open,
        Self::Read,
        Self::Len,
        Self::List,
        Self::Space,
    ];

    /// Whether such a call changes the disk. Only those are counted by [`super::SimDisk::calls`].
    pub fn changes(self) -> bool {
        !matches!(self, Self::Open | Self::Read | Self::Len | Self::List | Self::Space)
    }
}

/// A call, before it is made.
#[derive(Clone, Copy, Debug)]
pub struct SimEvent<'a> {
    /// What kind.
    pub call: SimCall,
    /// The file or directory; of a rename the old name.
    pub path: &'a Path,
    /// Where it reads or writes, or the new length in `SetLen`; else 0.
    pub position: u64,
    /// How many bytes it reads at most or writes; else 0.
    pub bytes: u64,
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimRecord {
    /// What kind.
    pub call: SimCall,
    /// The file or directory; of a rename the old name.
    pub path: PathBuf,
    /// Where it read or wrote, or the new length in `SetLen`; else 0.
    pub position: u64,
    /// How many bytes it was to read or write; else 0.
    pub bytes: u64,
    /// How it failed, if it did.
    pub failure: Option<String>,
}

impl SimRecord {
    pub(super) fn new<T>(event: &SimEvent<'_>, result: &io::Result<T>) -> Self {
        Self {
            call: event.call,
            path: event.path.to_owned(),
            position: event.position,
            bytes: event.bytes,
            failure: result.as_ref().err().map(ToString::to_string),
        }
    }
}

impl fmt::Display for SimRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.call, self.path.display())?;
        match self.call {
            SimCall::Read | SimCall::Write => write!(f, " {} bytes at {}", self.bytes, self.position)?,
            SimCall::SetLen => write!(f, " to {}", self.position)?,
            _ => {}
        }
        self.failure.as_ref().map_or(Ok(()), |failure| write!(f, ": {failure}"))
    }
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimFailure {
    /// The device cannot (`EIO`).
    Io,
    /// The disk is full (`ENOSPC`).
    Full,
    /// Too many open files (`EMFILE`).
    TooManyFiles,
}

impl SimFailure {
    pub(super) fn error(self, call: SimCall) -> io::Error {
        match self {
            Self::Io => io::Error::other(format!("injected failure of {call:?}")),
            Self::Full => {
                io::Error::new(io::ErrorKind::StorageFull, format!("injected: the disk is full for {call:?}"))
            }
            // The standard library has no portable kind for it, and callers look at the number.
            Self::TooManyFiles => io::Error::from_raw_os_error(24),
        }
    }
}
