//! The signals that a broker heeds: SIGINT and SIGTERM stop it, SIGHUP loads its configuration again.

use std::time::Duration;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

/// Supervisors and terminals send a signal twice within moments; a person does not.
const REPEATED_WITHIN: Duration = Duration::from_millis(500);

/// Catches them from here on.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// To stop, by the signal of this name.
    Stop(&'static str),
    /// To load the configuration again.
    Reload,
}

impl Signals {
    /// Must be called within a runtime.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// What the next one asks for.
    pub(crate) async fn next(&mut self) -> Wanted {
        tokio::select! {
            _ = self.interrupt.recv() => Wanted::Stop("SIGINT"),
            _ = self.terminate.recv() => Wanted::Stop("SIGTERM"),
            _ = self.hangup.recv() => Wanted::Reload,
        }
    }

    /// The name of the next one that stops. A SIGHUP that comes before it is left for later.
    pub(crate) async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    /// While the broker stops since `first`: waits for a person who does not want to wait for that, and says so with a
    /// second Ctrl-C. A SIGTERM asks for the clean stop that is under way.
    pub(crate) async fn stop_at_once(&mut self, first: Instant) {
        loop {
            let name = self.stop().await;
            if is_impatient(name, first.elapsed()) {
                return;
            }
            tracing::info!(event = "B0007", signal = name, "stopping already");
        }
    }
}

fn is_impatient(name: &str, since_first: Duration) -> bool {
    name == "SIGINT" && since_first >= REPEATED_WITHIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_later_ctrl_c_is_impatient() {
        let ms = Duration::from_millis;
        assert!(is_impatient("SIGINT", ms(500)));
        assert!(!is_impatient("SIGINT", ms(499)));
        assert!(!is_impatient("SIGTERM", ms(60_000)));
    }
}
