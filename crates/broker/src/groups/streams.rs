//! Which stream acts for which member.

use std::{collections::HashMap, sync::Arc};

use corduroy_group::{GroupName, MemberId};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

type Key = (GroupName, MemberId);

/// The streams whose members are coordinated here. A program whose connection broke may be back before the broker
/// notices that. The later stream then acts for the member, and the earlier one sends nothing more.
#[derive(Debug, Default)]
pub(crate) struct Streams(Arc<Mutex<HashMap<Key, CancellationToken>>>);

/// A stream's lease on its member. It ends when another stream takes the member over.
#[derive(Debug)]
pub(crate) struct StreamLease {
    streams: Arc<Mutex<HashMap<Key, CancellationToken>>>,
    key: Key,
    displaced: CancellationToken,
}

impl Streams {
    /// From now on the caller acts for this member.
    pub(crate) fn acquire(&self, group: GroupName, member: MemberId) -> StreamLease {
        let key = (group, member);
        let displaced = CancellationToken::new();
        let mut streams = self.0.lock();
        if let Some(before) = streams.insert(key.clone(), displaced.clone()) {
            before.cancel();
        }
        drop(streams);
        StreamLease { streams: Arc::clone(&self.0), key, displaced }
    }
}

impl StreamLease {
    /// Whether it still acts for the member. Ask under the coordinator's lock before a change: the stream that
    /// takes over joins only after it has taken the lease.
    pub(crate) fn is_present(&self) -> bool {
        !self.displaced.is_cancelled()
    }

    /// Ends when another stream acts for the member.
    pub(crate) async fn displaced(&self) {
        self.displaced.cancelled().await;
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        let mut streams = self.streams.lock();
        // Under the lock, because only the entry that is there now can have displaced it.
        if self.is_present() {
            streams.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_stream_speaks_and_what_goes_before_it_leaves_it_there() {
        let streams = Streams::default();
        let acquire = || streams.acquire(GroupName::new("billing").unwrap(), MemberId::new("a").unwrap());
        let first = acquire();
        let second = acquire();
        assert_eq!((first.is_present(), second.is_present()), (false, true));
        drop(first);
        let third = acquire();
        assert_eq!((second.is_present(), third.is_present()), (false, true));
        drop((second, third));
        assert!(streams.0.lock().is_empty());
    }
}
