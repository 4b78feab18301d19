//! The commit journal and the commit thread of a data directory.

use std::{sync::Arc, thread::JoinHandle};

use super::{journal, journal_findings::JournalFindings};
use crate::engine::{
    Context, OpenError,
    replica::{Checkpointer, CommitQueue, CommitThread, Opening, blocking, spawn_commits},
};

/// What a data directory's logs are opened and written with.
pub(in crate::engine) struct Storage {
    pub(in crate::engine) opening: Opening,
    pub(in crate::engine) commits: CommitQueue,
    pub(super) journal_findings: JournalFindings,
    pub(super) checkpointer: Checkpointer,
    pub(super) commit_thread: CommitThreadGuard,
}

/// Ends the commit thread when it is dropped: a start that fails leaves none behind.
pub(super) struct CommitThreadGuard {
    commits: CommitQueue,
    thread: Option<JoinHandle<()>>,
}

impl CommitThreadGuard {
    /// Waits until the thread has ended, which the queue was asked for. Returns whether it ended well.
    pub(super) fn join(&mut self) -> bool {
        self.thread.take().is_none_or(|thread| thread.join().is_ok())
    }
}

impl Drop for CommitThreadGuard {
    fn drop(&mut self) {
        // Not waited for: it may hang in the disk.
        self.commits.abandon();
    }
}

impl Storage {
    /// Replays the commit journal and starts the commit thread.
    ///
    /// # Errors
    /// The journal cannot be opened, or the system gives no thread.
    pub(in crate::engine) async fn open(context: &Arc<Context>, clean: bool) -> Result<Self, OpenError> {
        let of = Arc::clone(context);
        let opened = blocking(move || journal::open(&of)).await;
        let (journal, unreplayed, journal_findings) = opened.map_err(OpenError::Journal)?;
        let (commits, checkpointer) = (CommitQueue::new(), Checkpointer::default());
        let thread = spawn_commits(CommitThread {
            queue: commits.clone(),
            disk: Arc::clone(&context.disk),
            journal: Arc::clone(&journal),
            checkpointer: checkpointer.clone(),
            clock: context.clock,
            metrics: Arc::clone(&context.metrics),
        });
        let thread = Some(thread.map_err(OpenError::Thread)?);
        let commit_thread = CommitThreadGuard { commits: commits.clone(), thread };
        let opening = Opening {
            context: Arc::clone(context),
            journal,
            clean,
            named: false,
            tail_bytes: 0,
            unreplayed: Arc::new(unreplayed),
        };
        Ok(Self { opening, commits, journal_findings, checkpointer, commit_thread })
    }
}
