//! Who changed what: one line of the log, at level info, for each change that an administrator's request made.

use std::fmt::Display;

use tonic::Request;

use crate::limits::Connection;

/// Of what a client says of itself, no more is logged.
const AGENT_CHARS_MAX: usize = 200;

/// Who sent a request.
#[derive(Clone, Debug)]
pub(super) struct Who {
    /// The address it came from.
    peer: String,
    /// What the client calls itself: its client id, and its library with the version.
    agent: String,
}

impl Who {
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        let peer = Connection::of(request).map(|caller| caller.peer().to_string()).unwrap_or_default();
        let agent = request.metadata().get("user-agent").and_then(|agent| agent.to_str().ok());
        // Only visible ASCII gets through `to_str`.
        Self { peer, agent: agent.unwrap_or_default().chars().take(AGENT_CHARS_MAX).collect() }
    }

    /// Says that `change` was made to `name`. Called once it is made, never for a request that only checks.
    pub(super) fn changed(&self, change: &'static str, name: &str, details: impl Display) {
        let Self { peer, agent } = self;
        tracing::info!(event = "B0501", change, name, %details, %peer, %agent, "changed on request");
    }
}
