//! Reads the partitions of a stream in turns, one at a time, each from when there is something of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use corduroy_api::Refusal;
use corduroy_group::TopicPartition;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};

use super::{AnswerSlot, membership::Membership};
use crate::{
    limits::Permit,
    services::push::{Read, Source},
};

/// The partitions that are read.
#[derive(Default)]
pub(super) struct Reader {
    /// All but the one that is being read.
    sources: BTreeMap<TopicPartition, Source>,
    /// Those that may have records.
    ready: BTreeSet<TopicPartition>,
    /// Each waits until its partition has more.
    idle: FuturesUnordered<BoxFuture<'static, TopicPartition>>,
    reading: Option<(TopicPartition, BoxFuture<'static, Turn>)>,
    /// Whose turn it was last.
    last: Option<TopicPartition>,
}

/// One partition's turn.
pub(super) struct Turn {
    pub(super) at: TopicPartition,
    source: Source,
    pub(super) read: Result<Read, Refusal>,
    /// Where the message goes, and the permit for its memory.
    pub(super) place: AnswerSlot,
    pub(super) permit: Option<Permit>,
    changed: BoxFuture<'static, TopicPartition>,
}

impl Reader {
    pub(super) fn begin(&mut self, at: TopicPartition, source: Source) {
        self.sources.insert(at, source);
        self.ready.insert(at);
    }

    /// Reads some partitions no more.
    pub(super) fn stop(&mut self, partitions: &BTreeSet<TopicPartition>) {
        let mut stopped = false;
        for at in partitions {
            stopped |= self.sources.remove(at).is_some();
            if self.reading.as_ref().is_some_and(|(reading, _)| reading == at) {
                self.reading = None;
                stopped = true;
            }
        }
        if stopped {
            // No one waits for those any more; the others look once for nothing.
            self.idle.clear();
            self.ready = self.sources.keys().copied().collect();
        }
    }

    pub(super) fn stop_all(&mut self) {
        *self = Self::default();
    }

    /// Whether a message has use for a place.
    pub(super) fn is_ready(&self) -> bool {
        self.reading.is_none() && !self.ready.is_empty()
    }

    /// Begins to read the next partition, into a message for `place`.
    pub(super) fn read_next(&mut self, membership: &Arc<Membership>, place: AnswerSlot) {
        let after = self.last.and_then(|last| self.ready.range((Excluded(last), Unbounded)).next());
        let Some(at) = after.or_else(|| self.ready.first()).copied() else { return };
        self.ready.remove(&at);
        self.last = Some(at);
        let Some(source) = self.sources.remove(&at) else { return };
        self.reading = Some((at, read(Arc::clone(membership), at, source, place).boxed()));
    }

    /// Waits for the partition that is being read, or for others to have more. `None` for the latter.
    pub(super) async fn next(&mut self) -> Option<Turn> {
        let Self { reading, idle, sources, ready, .. } = self;
        let turn = async {
            match reading {
                Some((_, reading)) => reading.await,
                None => std::future::pending().await,
            }
        };
        let turn = tokio::select! {
            turn = turn => turn,
            Some(at) = idle.next() => {
                if sources.contains_key(&at) {
                    ready.insert(at);
                }
                return None;
            }
        };
        self.reading = None;
        Some(turn)
    }

    /// Goes on with a partition whose turn is over.
    pub(super) fn go_on(&mut self, at: TopicPartition, source: Source, changed: Option<Changed>) {
        self.sources.insert(at, source);
        match changed {
            Some(changed) => self.idle.push(changed),
            None => drop(self.ready.insert(at)),
        }
    }
}

/// Ends when a partition may have more.
pub(super) type Changed = BoxFuture<'static, TopicPartition>;

impl Turn {
    /// Takes it apart: what was read, into which place, with which permit; and the source to go on with.
    pub(super) fn into_parts(self) -> (Result<Read, Refusal>, AnswerSlot, Option<Permit>, Source, Changed) {
        let Self { read, place, permit, source, changed, at: _ } = self;
        (read, place, permit, source, changed)
    }
}

async fn read(
    membership: Arc<Membership>,
    at: TopicPartition,
    mut source: Source,
    place: AnswerSlot,
) -> Turn {
    let Membership { shared, engine, caller, max_message_bytes, .. } = &*membership;
    // Watching before reading: nothing slips between.
    let mut watch = source.replica.watch_high_watermark();
    let (read, permit) = source.read_charged(shared, caller.as_ref(), engine, *max_message_bytes, true).await;
    let changed = async move {
        // An error means that the topic was deleted: reading again says so.
        let _moved_or_gone = watch.changed().await;
        at
    };
    Turn { at, source, read, place, permit, changed: changed.boxed() }
}
