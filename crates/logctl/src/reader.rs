//! Whether someone still reads stdout, for commands that may have nothing to write for a long time.

use std::{
    fs::File,
    io,
    os::{fd::AsFd as _, unix::fs::FileTypeExt as _},
};

use corduroy_types::ErrorCode;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::ioctl_fionread,
};
use tokio::sync::oneshot;

use crate::error::CliError;

/// The reader of stdout.
pub(crate) struct Reader {
    gone: oneshot::Receiver<()>,
}

impl Reader {
    /// Watches stdout from here on, on a thread that ends with the process.
    ///
    /// # Errors
    /// `INTERNAL` where the system gives no thread.
    pub(crate) fn watch() -> Result<Self, CliError> {
        let (sender, gone) = oneshot::channel();
        let watching = move || {
            if waits_until_gone() {
                // No one waits any more only when the command is over.
                let _ = sender.send(());
            }
        };
        std::thread::Builder::new().name("reader".to_owned()).spawn(watching).map_err(|error| {
            CliError::new(ErrorCode::Internal, format!("no thread can be started: {error}"))
        })?;
        Ok(Self { gone })
    }

    /// Waits until no one reads any more; for ever, where stdout has no reader that could go.
    pub(crate) async fn gone(&mut self) {
        if (&mut self.gone).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Whether the reader of stdout is gone.
pub(crate) fn is_gone() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let polled = poll(&mut fds, Some(&Timespec::default()));
    polled.is_ok() && fds.iter().any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP))
}

/// What of stdout was written and not read yet, where it is a pipe: the system can tell.
pub(crate) struct Unread {
    is_pipe: bool,
}

impl Unread {
    /// Looks at what stdout is.
    pub(crate) fn of_stdout() -> Self {
        let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from);
        let metadata = stdout.and_then(|stdout| stdout.metadata());
        Self { is_pipe: metadata.is_ok_and(|metadata| metadata.file_type().is_fifo()) }
    }

    /// How many bytes were not read yet. Also answered when the reader is gone: the pipe still holds what it left.
    pub(crate) fn bytes(&self) -> u64 {
        if self.is_pipe { ioctl_fionread(io::stdout()).unwrap_or(0) } else { 0 }
    }
}

/// `false` where stdout is nothing that can be waited for.
fn waits_until_gone() -> bool {
    let stdout = io::stdout();
    loop {
        // Asked for nothing, so that only what is always reported wakes us: errors, and the other end gone.
        let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return fds.iter().any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP)),
        }
    }
}
