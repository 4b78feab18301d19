//! Whether somebody still reads stdout, for commands that may have nothing to write for a long time.

use std::io;

use corduroy_types::ErrorCode;
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::oneshot;

use crate::error::CliError;

/// Whoever reads stdout.
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
                // Nobody waits any more only when the command is over.
                let _ = sender.send(());
            }
        };
        std::thread::Builder::new().name("reader".to_owned()).spawn(watching).map_err(|error| {
            CliError::new(ErrorCode::Internal, format!("no thread can be started: {error}"))
        })?;
        Ok(Self { gone })
    }

    /// Waits until nobody reads any more; for ever, where stdout has no reader that could go.
    pub(crate) async fn gone(&mut self) {
        if (&mut self.gone).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// `false` where stdout is nothing that can be waited for.
fn waits_until_gone() -> bool {
    let stdout = io::stdout();
    loop {
        // Asked for nothing, so that only what is always told of wakes us: errors, and the other end gone.
        let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return fds.iter().any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP)),
        }
    }
}
