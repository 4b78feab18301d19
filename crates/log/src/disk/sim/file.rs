//! An open file of the simulated disk.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::MutexGuard;

use super::calls::{SimCall, SimEvent};
use super::content::Content;
use super::faults::Astray;
use super::kept::{Chooser, Kept};
use super::tree::File;
use super::{SimDisk, SimState};
use crate::disk::DiskFile;

#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) path: Arc<Path>,
    pub(super) content: File,
    pub(super) incarnation: u64,
    pub(super) writable: bool,
}

impl SimFile {
    fn event(&self, call: SimCall, position: u64, bytes: usize) -> SimEvent<'_> {
        SimEvent { call, path: &self.path, position, bytes: bytes as u64 }
    }

    /// Whether this handle may be used for such a call at all.
    fn check(&self, state: &SimState, call: SimCall) -> io::Result<()> {
        if state.incarnation != self.incarnation {
            return Err(io::Error::other("this file was opened before the simulated machine lost power"));
        }
        if !self.writable && matches!(call, SimCall::Write | SimCall::SetLen) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file is open for reading only"));
        }
        Ok(())
    }

    fn failed_sync(&self, state: &SimState, content: &mut Content) {
        let kept = match state.faults.failed_sync_keeps {
            Some(Kept::Subset { seed }) => Kept::Subset { seed: seed.wrapping_add(state.calls) },
            other => other.unwrap_or(Kept::Nothing),
        };
        content.drop_as_clean(&mut Chooser::new(kept, 0));
    }

    /// Writes the first `keep` bytes of `parts`, or as many as the disk has room for.
    fn put(
        &self,
        mut state: MutexGuard<'_, SimState>,
        parts: &[Bytes],
        position: usize,
        keep: usize,
    ) -> io::Result<()> {
        let astray = state.faults.count_astray();
        let (target, position) = match &astray {
            Some(Astray::Shifted { bytes }) => {
                let shift = usize::try_from(*bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
                (Some(Arc::clone(&self.content)), position.saturating_add(shift))
            }
            Some(Astray::File { path }) => (state.tree.file(path).ok(), position),
            Some(Astray::Lost) => (None, position),
            None => (Some(Arc::clone(&self.content)), position),
        };
        if astray.is_some() {
            self.content.lock().lose_write(position, keep);
        }
        let Some(target) = target else { return Ok(()) };
        let mut content = target.lock();
        let len = content.live.len();
        let grown = position.checked_add(keep).ok_or(io::ErrorKind::FileTooLarge)?.max(len);
        let allowed = state.grow(len, grown);
        drop(state);
        let (mut at, mut left) = (position, keep - (grown - allowed).min(keep));
        for part in parts {
            let part = part.get(..left).unwrap_or(part);
            content.write(at, part);
            at += part.len();
            left -= part.len();
        }
        if allowed < grown { Err(disk_full()) } else { Ok(()) }
    }
}

pub(super) fn disk_full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full")
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut Vec<u8>, position: u64, max_bytes: usize) -> io::Result<usize> {
        let event = self.event(SimCall::Read, position, max_bytes);
        let mut state = self.disk.enter(&event);
        let begun = self.check(&state, event.call).and_then(|()| state.begin(event.call, &self.path));
        state.note(&event, &begun);
        begun?;
        drop(state);
        let content = self.content.lock();
        let rest = usize::try_from(position).ok().and_then(|at| content.live.get(at..)).unwrap_or_default();
        let part = rest.get(..max_bytes).unwrap_or(rest);
        buffer.extend_from_slice(part);
        Ok(part.len())
    }

    fn write_at(&self, parts: &[Bytes], position: u64) -> io::Result<()> {
        let bytes: usize = parts.iter().map(Bytes::len).sum();
        let event = self.event(SimCall::Write, position, bytes);
        let position = usize::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut state = self.disk.enter(&event);
        self.check(&state, event.call)?;
        if !state.has_power() {
            return state.begin(event.call, &self.path);
        }
        let begun = state.begin(event.call, &self.path);
        state.note(&event, &begun);
        match begun {
            Ok(()) => self.put(state, parts, position, bytes),
            Err(error) => self.put(state, parts, position, bytes / 2).and(Err(error)),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let event = self.event(SimCall::Sync, 0, 0);
        let mut state = self.disk.enter(&event);
        self.check(&state, event.call)?;
        let had_power = state.has_power();
        let begun = state.begin(event.call, &self.path);
        state.note(&event, &begun);
        let mut content = self.content.lock();
        match begun {
            Ok(()) if state.syncs_ignored == Some(SimCall::Sync) => {}
            Ok(()) => content.sync(),
            Err(_) if had_power => self.failed_sync(&state, &mut content),
            Err(_) => {}
        }
        begun
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let event = self.event(SimCall::SetLen, bytes, 0);
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut state = self.disk.enter(&event);
        let begun = self.check(&state, event.call).and_then(|()| state.begin(event.call, &self.path));
        state.note(&event, &begun);
        begun?;
        let mut content = self.content.lock();
        let len = content.live.len();
        if state.grow(len, bytes) < bytes {
            return Err(disk_full());
        }
        content.set_len(bytes);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let event = self.event(SimCall::Len, 0, 0);
        let mut state = self.disk.enter(&event);
        let begun = self.check(&state, event.call).and_then(|()| state.begin(event.call, &self.path));
        state.note(&event, &begun);
        begun?;
        drop(state);
        Ok(self.content.lock().live.len() as u64)
    }
}
