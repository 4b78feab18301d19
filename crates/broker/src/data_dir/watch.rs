//! Notices within a second that a data directory in use was removed, replaced or unlocked.

use std::{
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::DirLock;
use crate::health::Health;

/// Two looks fit into a second, with time to act on the second one.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks at a locked data directory until it is dropped. A thread of its own does, because a look may hang with the disk.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to look. While the directory is lost, disks behind its lock are fenced off and `health` says why.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(crate) fn start(lock: Arc<DirLock>, health: Arc<Health>) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("data-dir-watch".to_owned()).spawn(move || {
            let mut lost = None;
            while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                lost = check(&lock, &health, lost);
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A thread that panicked has nothing left to stop.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

/// One look; returns why the directory is lost, if it is.
fn check(lock: &DirLock, health: &Health, before: Option<String>) -> Option<String> {
    let dir = lock.dir().display();
    let lost = lock.check().err().map(|lost| lost.to_string());
    match &lost {
        Some(reason) if before.as_ref() != Some(reason) => {
            lock.fence().raise(reason.clone());
            health.set_data_dir_lost(Some(reason.clone()));
            tracing::error!(event = "B0215", %dir, %reason, "the data directory is lost: nothing is acknowledged any more");
        }
        None if before.is_some() => {
            lock.fence().lower();
            health.set_data_dir_lost(None);
            tracing::warn!(event = "B0216", %dir, "the data directory is back: its logs are reopened");
        }
        Some(_) | None => {}
    }
    lost
}
