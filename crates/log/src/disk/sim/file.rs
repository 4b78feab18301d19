//! A file of the simulated disk.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::{SimCall, SimDisk, State};
use crate::disk::DiskFile;

/// A file's bytes, and what it takes to go back to the last sync.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    durable_len: usize,
    /// Bytes below `durable_len` as they were before each change since the last sync, in order.
    undo: Vec<(usize, Vec<u8>)>,
}

#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) content: Arc<Mutex<Content>>,
    pub(super) incarnation: u64,
    pub(super) writable: bool,
}

impl Content {
    pub(super) fn lose_unsynced(&mut self) {
        self.bytes.truncate(self.durable_len);
        self.bytes.resize(self.durable_len, 0);
        for (position, old) in std::mem::take(&mut self.undo).into_iter().rev() {
            if let Some(target) = self.bytes.get_mut(position..position + old.len()) {
                target.copy_from_slice(&old);
            }
        }
    }

    /// Remembers what is durable in `position..end` before it changes.
    pub(super) fn remember(&mut self, position: usize, end: usize) {
        let end = end.min(self.durable_len).min(self.bytes.len());
        if let Some(old) = self.bytes.get(position..end).filter(|old| !old.is_empty()) {
            self.undo.push((position, old.to_vec()));
        }
    }

    fn write(&mut self, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        self.remember(position, end);
        if self.bytes.len() < position {
            self.bytes.resize(position, 0);
        }
        let overlap = self.bytes.len().min(end) - position;
        let (over, beyond) = bytes.split_at(overlap);
        if let Some(target) = self.bytes.get_mut(position..position + overlap) {
            target.copy_from_slice(over);
        }
        self.bytes.extend_from_slice(beyond);
    }
}

impl SimFile {
    /// The disk's state, for a call that changes it: counted, allowed, and from the present incarnation.
    fn begin(&self, call: SimCall) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.disk.0.lock();
        self.check(&state)?;
        if !self.writable && call != SimCall::Sync {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file is open for reading only"));
        }
        state.begin(call)?;
        Ok(state)
    }

    fn check(&self, state: &State) -> io::Result<()> {
        if state.incarnation == self.incarnation {
            return Ok(());
        }
        Err(io::Error::other("this file was opened before the simulated machine lost power"))
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut Vec<u8>, position: u64, max_bytes: usize) -> io::Result<usize> {
        self.check(&self.disk.0.lock())?;
        let content = self.content.lock();
        let rest = usize::try_from(position).ok().and_then(|at| content.bytes.get(at..)).unwrap_or_default();
        let part = rest.get(..max_bytes).unwrap_or(rest);
        buffer.extend_from_slice(part);
        Ok(part.len())
    }

    fn write_at(&self, parts: &[Bytes], position: u64) -> io::Result<()> {
        let position = usize::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let bytes: usize = parts.iter().map(Bytes::len).sum();
        let begun = self.begin(SimCall::Write);
        let (mut state, keep, failure) = match begun {
            Ok(state) => (state, bytes, None),
            Err(error) => {
                let state = self.disk.0.lock();
                if self.check(&state).is_err() || !self.writable || state.stop_after.is_some() {
                    return Err(error);
                }
                (state, bytes / 2, Some(error))
            }
        };
        let mut content = self.content.lock();
        let len = content.bytes.len();
        state.resize(len, len.max(position + keep))?;
        drop(state);
        let (mut at, mut left) = (position, keep);
        for part in parts {
            let part = part.get(..left).unwrap_or(part);
            content.write(at, part);
            at += part.len();
            left -= part.len();
        }
        failure.map_or(Ok(()), Err)
    }

    fn sync(&self) -> io::Result<()> {
        let state = self.begin(SimCall::Sync)?;
        if state.syncs_ignored == Some(SimCall::Sync) {
            return Ok(());
        }
        drop(state);
        let mut content = self.content.lock();
        content.undo.clear();
        content.durable_len = content.bytes.len();
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut state = self.begin(SimCall::SetLen)?;
        let mut content = self.content.lock();
        let len = content.bytes.len();
        state.resize(len, bytes)?;
        content.remember(bytes, len);
        content.bytes.resize(bytes, 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.check(&self.disk.0.lock())?;
        Ok(self.content.lock().bytes.len() as u64)
    }
}
