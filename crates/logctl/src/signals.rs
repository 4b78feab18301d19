//! Ctrl-C, SIGTERM, and SIGHUP, which a terminal sends when it is closed.

use std::time::Duration;

use corduroy_types::ErrorCode;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::Instant,
};

use crate::{error::CliError, exit::Exit};

/// Supervisors and terminals send a signal twice within moments, and mean it once.
const REPEATED_WITHIN: Duration = Duration::from_millis(100);

/// The signals that end a command, caught from here on.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` where this process was started with it ignored, as nohup does.
    hangup: Option<Signal>,
    last: Option<Instant>,
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
        let hangup = if is_ignored(SignalKind::hangup()) { None } else { Some(catch(SignalKind::hangup())?) };
        let (interrupt, terminate) = (catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hangup, last: None })
    }

    /// Waits for the next one, and says what the process should end with. What follows within a moment is the same.
    pub(crate) async fn next(&mut self) -> Exit {
        loop {
            let exit = tokio::select! {
                _ = self.interrupt.recv() => Exit::Interrupted,
                _ = self.terminate.recv() => Exit::Terminated,
                _ = received(&mut self.hangup) => Exit::Terminated,
            };
            let repeated = self.last.is_some_and(|last| last.elapsed() < REPEATED_WITHIN);
            if !repeated {
                self.last = Some(Instant::now());
                return exit;
            }
        }
    }

    /// From here on the next signal ends the process at once: a second signal means that the user does not want to wait.
    pub(crate) fn end_at_next(mut self) {
        tokio::spawn(async move {
            let exit = self.next().await;
            std::process::exit(i32::from(exit.code()));
        });
    }
}

async fn received(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Whether this process was started with `kind` ignored; where the system does not say, it was not.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let bit = u32::try_from(kind.as_raw_value() - 1).ok().and_then(|bit| 1_u64.checked_shl(bit));
    bit.is_some_and(|bit| mask & bit != 0)
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
            // A write to someone who does not read cannot be cancelled, only left behind.
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
