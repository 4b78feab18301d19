//! Ctrl-C and SIGTERM.

use std::time::Duration;

use corduroy_types::ErrorCode;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use crate::{error::CliError, exit::Exit};

/// Both signals, caught from here on.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Catches them. Must be called within a runtime.
    ///
    /// # Errors
    /// `INTERNAL` where the system does not let them be caught.
    pub(crate) fn new() -> Result<Self, CliError> {
        let catch = |kind| {
            signal(kind).map_err(|error| {
                CliError::new(ErrorCode::Internal, format!("signals cannot be caught: {error}"))
            })
        };
        Ok(Self { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    /// Waits for the next one, and says what the process should end with.
    pub(crate) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }

    /// From here on the next signal ends the process at once: whoever sends a second one does not want to wait.
    pub(crate) fn end_at_next(mut self) {
        tokio::spawn(async move {
            let exit = self.next().await;
            std::process::exit(i32::from(exit.code()));
        });
    }
}

/// The first signal as a fact that can be looked at; the process ends by itself when it is not heeded in time.
pub(crate) struct Interrupt {
    first: watch::Receiver<Option<Exit>>,
}

impl Interrupt {
    /// Catches signals from here on. `grace`: how long after the first one the process may still take; a second
    /// one ends it at once. Must be called within a runtime.
    ///
    /// # Errors
    /// As [`Signals::new`].
    pub(crate) fn listen(grace: Duration) -> Result<Self, CliError> {
        let mut signals = Signals::new()?;
        let (sender, first) = watch::channel(None);
        tokio::spawn(async move {
            let exit = signals.next().await;
            sender.send_replace(Some(exit));
            // A write to somebody who does not read cannot be cancelled, only left behind.
            let last = tokio::time::timeout(grace, signals.next()).await.unwrap_or(exit);
            std::process::exit(i32::from(last.code()));
        });
        Ok(Self { first })
    }

    /// The first signal, if there was one.
    pub(crate) fn now(&self) -> Option<Exit> {
        *self.first.borrow()
    }

    /// Waits for the first signal.
    pub(crate) async fn wait(&mut self) -> Exit {
        match self.first.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or(Exit::Interrupted),
            // The task that listens ends only with the process.
            Err(_) => std::future::pending().await,
        }
    }
}
