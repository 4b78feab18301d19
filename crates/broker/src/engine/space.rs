//! Free space: appends are refused below a watermark, and a reserve is kept below that.
//!
//! The reserve is space that is kept for what has to work on a full disk: changes of the metadata, such as the deletion of a topic, and
//! log starts, without which nothing can be deleted; and offsets of groups, since consuming is what empties a topic.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use corduroy_api::Refusal;
use corduroy_log::{
    Disk,
    disk::{OpenMode, Space},
};
use corduroy_types::ErrorCode;
use parking_lot::Mutex;

use super::Context;

/// A file in the data directory that only takes up room.
const FILE: &str = "full-disk-reserve";
/// Enough for hundreds of deletions, each of which gives back more than it takes, with what the commit journal writes
/// for them: at the most the marks of all logs, or a new beginning.
pub(super) const RESERVE_BYTES: u64 = corduroy_types::MIB;

/// What of it only changes of the metadata and log starts may use.
const DELETIONS_BYTES: u64 = RESERVE_BYTES / 2;

/// The reserve of one data directory, and its free space as last measured. All calls but [`Reserve::seen`] block on the
/// disk.
#[derive(Debug)]
pub(super) struct Reserve {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    /// Whether the file is there; `None` before that was checked. Locked during I/O.
    held: Mutex<Option<bool>>,
    /// Whether it was given up. To be read without waiting for the disk.
    in_use: AtomicBool,
    seen: Mutex<Option<Space>>,
}

impl Reserve {
    pub(super) fn new(disk: Arc<dyn Disk>, data_dir: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            disk,
            data_dir,
            held: Mutex::new(None),
            in_use: AtomicBool::new(false),
            seen: Mutex::new(None),
        })
    }

    /// Free and total space; `None` where the disk does not say.
    pub(super) fn measure(&self) -> Option<Space> {
        let space = self.disk.space(&self.data_dir).ok();
        *self.seen.lock() = space;
        space
    }

    /// What [`Reserve::measure`] found last. Never waits for the disk.
    pub(super) fn seen(&self) -> Option<Space> {
        *self.seen.lock()
    }

    /// Whether there is as much room as the reserve takes.
    pub(super) fn has_room(&self) -> bool {
        self.measure().is_none_or(|space| space.free_bytes >= RESERVE_BYTES)
    }

    /// Makes room for what groups commit. `false` where that would take what deletions need: too little is left, even
    /// without the reserve.
    pub(super) fn make_room_for_groups(&self) -> bool {
        self.make_room();
        self.measure().is_none_or(|space| space.free_bytes >= DELETIONS_BYTES)
    }

    /// Gives the reserve up where less than that is free, for something small that must be written now.
    pub(super) fn make_room(&self) {
        if self.has_room() {
            return;
        }
        let mut held = self.held.lock();
        if *held == Some(false) {
            return;
        }
        let removed = self.disk.remove_file(&self.data_dir.join(FILE));
        match removed.and_then(|()| self.disk.sync_dir(&self.data_dir)) {
            Ok(()) => tracing::warn!("the reserve for a full disk is in use"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "the reserve for a full disk cannot be given up"),
        }
        *held = Some(false);
        self.in_use.store(true, Ordering::Relaxed);
    }

    /// Whether the reserve was given up.
    fn is_in_use(&self) -> bool {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Takes the reserve, unless it is there already. Where it cannot be had, nothing but the reserve is missing.
    pub(super) fn take(&self) {
        let mut held = self.held.lock();
        if *held == Some(true) {
            return;
        }
        match self.write() {
            Ok(()) => {
                *held = Some(true);
                self.in_use.store(false, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "no space is kept for a full disk"),
        }
    }

    fn write(&self) -> io::Result<()> {
        let path = self.data_dir.join(FILE);
        match self.disk.open(&path, OpenMode::Read).and_then(|file| file.len()) {
            Ok(bytes) if bytes >= RESERVE_BYTES => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.disk.open(&path, OpenMode::Truncate)?;
        let written = file.write_at(&[noise()], 0).and_then(|()| file.sync());
        if written.is_err() {
            // Half a reserve takes room and keeps none.
            self.disk.remove_file(&path)?;
        }
        written?;
        self.disk.sync_dir(&self.data_dir)
    }
}

/// The free space of the data directory's disk, as last measured, and what follows from it.
pub(super) struct DiskSpace {
    pub(super) reserve: Arc<Reserve>,
    is_blocked: AtomicBool,
    is_low: AtomicBool,
}

impl DiskSpace {
    pub(super) fn new(disk: Arc<dyn Disk>, data_dir: PathBuf) -> Self {
        let reserve = Reserve::new(disk, data_dir);
        Self { reserve, is_blocked: AtomicBool::new(false), is_low: AtomicBool::new(false) }
    }
}

impl Context {
    /// Refuses appends while the disk is below its reserve, or the data directory is lost.
    ///
    /// # Errors
    /// `DISK_FULL` or `STORAGE_FAILED`.
    pub(crate) fn check_writable(&self) -> Result<(), Refusal> {
        if let Some(reason) = self.health.data_dir_lost() {
            return Err(Refusal::new(ErrorCode::StorageFailed, reason.as_str()));
        }
        if self.space.is_blocked.load(Ordering::Relaxed) {
            let text = format!(
                "{} has less free space than storage.disk_block_watermark ({})",
                self.data_dir.display(),
                self.config.storage.disk_block_watermark
            );
            return Err(Refusal::new(ErrorCode::DiskFull, text));
        }
        Ok(())
    }

    /// Makes sure that offsets of groups can be written, on a full disk out of the reserve: groups go on there.
    ///
    /// # Errors
    /// `DISK_FULL` where no more is left than deletions need; whatever else keeps logs from being written.
    pub(crate) async fn check_groups_writable(&self) -> Result<(), Refusal> {
        let Err(refusal) = self.check_writable() else { return Ok(()) };
        if refusal.code != ErrorCode::DiskFull {
            return Err(refusal);
        }
        // Below the watermark, but not really full.
        if self.space_seen().is_some_and(|space| space.free_bytes >= 2 * RESERVE_BYTES) {
            return Ok(());
        }
        let reserve = Arc::clone(&self.space.reserve);
        let has_room = self.workers.control.run(move || reserve.make_room_for_groups()).await?;
        if has_room { Ok(()) } else { Err(refusal) }
    }

    /// Free and total space of the data directory's disk as last measured. Never waits for the disk.
    pub(crate) fn space_seen(&self) -> Option<Space> {
        self.space.reserve.seen()
    }

    /// Whether free space is below the watermark that is warned about.
    pub(crate) fn disk_is_low(&self) -> bool {
        self.space.is_low.load(Ordering::Relaxed)
    }

    /// Gives the reserve up where too little is free for something small that has to be written now.
    ///
    /// # Errors
    /// `INTERNAL`: the worker failed.
    pub(super) async fn make_room(&self) -> Result<(), Refusal> {
        let reserve = Arc::clone(&self.space.reserve);
        self.workers.control.run(move || reserve.make_room()).await?;
        // What it gave back is not for appends.
        if self.space.reserve.is_in_use()
            && let Some(space) = self.space_seen()
        {
            self.set_blocked(true, space.free_bytes, self.needed_bytes(space));
        }
        Ok(())
    }

    /// [`Context::make_room`] for what is tried without it, too: what it writes fails with a reason of its own.
    pub(super) async fn try_make_room(&self) {
        if let Err(refusal) = self.make_room().await {
            tracing::warn!(
                error = refusal.message,
                "cannot check whether the reserve for a full disk is needed"
            );
        }
    }

    /// How much must be free for appends. While the reserve is in use, there has to be room for it above the watermark.
    fn needed_bytes(&self, space: Space) -> u64 {
        let kept = if self.space.reserve.is_in_use() { 2 * RESERVE_BYTES } else { 0 };
        self.config.storage.disk_block_watermark.bytes(space.total_bytes).saturating_add(kept)
    }

    /// Refuses appends from now on, or accepts them again, and reports a change.
    fn set_blocked(&self, blocked: bool, free_bytes: u64, needed_bytes: u64) {
        let was_blocked = self.space.is_blocked.swap(blocked, Ordering::Relaxed);
        self.health.set_disk_blocked(blocked);
        if blocked && !was_blocked {
            tracing::error!(event = "B0203", free_bytes, needed_bytes, "disk is full: appends are refused");
        } else if was_blocked && !blocked {
            tracing::info!(event = "B0204", free_bytes, "disk has room again");
        }
    }

    /// Refuses appends below the reserve, warns above it, and lets them in again when there is room.
    pub(super) async fn check_space(&self) {
        let reserve = Arc::clone(&self.space.reserve);
        let Ok(Some(space)) = self.workers.control.run(move || reserve.measure()).await else { return };
        let free_bytes = space.free_bytes;
        let needed_bytes = self.needed_bytes(space);
        let blocked = free_bytes < needed_bytes;
        let is_low = free_bytes < self.config.storage.disk_low_watermark.bytes(space.total_bytes);
        self.set_blocked(blocked, free_bytes, needed_bytes);
        let was_low = self.space.is_low.swap(is_low, Ordering::Relaxed);
        if is_low && !was_low && !blocked {
            tracing::warn!(event = "B0205", free_bytes, "disk is getting full");
        }
        let block = self.config.storage.disk_block_watermark.bytes(space.total_bytes);
        if free_bytes >= block.saturating_add(2 * RESERVE_BYTES) {
            let reserve = Arc::clone(&self.space.reserve);
            // An error is that of a broker which stops.
            let _stopping = self.workers.control.run(move || reserve.take()).await;
        }
    }
}

/// Bytes that no file system can compress.
fn noise() -> Bytes {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(usize::try_from(RESERVE_BYTES / 8).unwrap_or(0)).flatten().collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use corduroy_log::SimDisk;

    use super::*;

    #[test]
    fn it_is_given_up_when_needed_and_taken_again() {
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        let held = || disk.open(Path::new("/d/full-disk-reserve"), OpenMode::Read).is_ok();
        let reserve = Reserve::new(Arc::new(disk.clone()), PathBuf::from("/d"));
        reserve.take();
        reserve.make_room();
        assert!(held(), "there is room");
        disk.set_capacity(Some(RESERVE_BYTES + 5_000));
        reserve.make_room();
        assert!(!held());
        assert!(reserve.measure().unwrap().free_bytes >= RESERVE_BYTES);
        disk.set_capacity(Some(RESERVE_BYTES - 1));
        reserve.take();
        assert!(!held(), "there is no room for it");
        disk.set_capacity(None);
        reserve.take();
        // Another start finds it.
        let again = Reserve::new(Arc::new(disk.clone()), PathBuf::from("/d"));
        let calls = disk.calls();
        again.take();
        assert!(held() && disk.calls() == calls);
    }
}
