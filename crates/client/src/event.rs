//! What a client tells about its connections while calls are going on.

use std::{fmt, sync::Arc, time::Duration};

/// Which of a client's two connections an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionRole {
    /// Records: produce and consume.
    Data,
    /// Everything small: lookups and admin calls, so that records in transit cannot hold them up.
    Control,
}

/// Something that happened to a connection. The client goes on by itself: it reconnects for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A connection was lost, or could not be made. Told once, until the connection works again.
    Disconnected {
        /// Which connection.
        role: ConnectionRole,
        /// The broker's address.
        url: String,
        /// Why, in the words of the operating system where it was that.
        reason: String,
    },
    /// A connection that had been lost works again.
    Reconnected {
        /// Which connection.
        role: ConnectionRole,
        /// The broker's address.
        url: String,
        /// How long it was gone.
        after: Duration,
    },
}

/// Who is told about events.
#[derive(Clone, Default)]
pub(crate) struct EventSink(Option<Arc<dyn Fn(Event) + Send + Sync>>);

impl EventSink {
    pub(crate) fn new(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(crate) fn tell(&self, event: Event) {
        match &event {
            Event::Disconnected { role, url, reason } => {
                tracing::warn!(?role, url, reason, "connection to the broker lost");
            }
            Event::Reconnected { role, url, after } => {
                tracing::info!(
                    ?role,
                    url,
                    after_ms = after.as_millis(),
                    "connection to the broker works again"
                );
            }
        }
        if let Some(listener) = &self.0 {
            listener(event);
        }
    }
}

impl fmt::Debug for EventSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "EventSink(set)" } else { "EventSink(none)" })
    }
}
