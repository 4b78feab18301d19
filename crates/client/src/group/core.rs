//! What a consumer of a group and its background tasks share.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64},
    },
    time::Duration,
};

use corduroy_types::{LeaderEpoch, Offset, TopicName};
use parking_lot::Mutex;

use super::{
    Commit, GroupConsumeError, OnPositionLost,
    delivery_tracker::{DeliveryTracker, Signals},
    hook::AnyHook,
    offsets::Part,
    window::CommitPosition,
};
use crate::{
    Message, OffsetSpec,
    client::Shared,
    consumer::{Partition, Reader, Source},
};

/// What was asked for.
pub(crate) struct Options {
    pub(crate) group: Arc<str>,
    pub(crate) member: String,
    pub(crate) start: OffsetSpec,
    /// How many partitions each topic had before the member joined, where that matters.
    pub(crate) before: Option<BTreeMap<TopicName, u32>>,
    pub(crate) commit: Commit,
    pub(crate) on_position_lost: OnPositionLost,
    pub(crate) is_static: bool,
    /// For how long a message may be handed out before that is reported.
    pub(crate) stuck_after: Duration,
    /// How long releasing partitions may take.
    pub(crate) rebalance_timeout: Duration,
    pub(crate) hook: Option<Arc<dyn AnyHook>>,
}

impl Options {
    /// Where to begin in a partition in which the group has committed nothing. All records of one that was added after the
    /// member joined came after that, so none of them may be passed over.
    pub(crate) fn start_of(&self, part: &Part) -> OffsetSpec {
        let Some(before) = &self.before else { return self.start };
        let count = before.get(&part.name.topic).copied().unwrap_or(0);
        if part.name.partition.0 < count { self.start } else { OffsetSpec::Start }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("group", &self.group)
            .field("member", &self.member)
            .finish_non_exhaustive()
    }
}

/// A partition that the member has.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Its place in the reader; `None` once it is to be released.
    pub(crate) place: Option<usize>,
    pub(crate) track: Arc<DeliveryTracker>,
    /// What is committed, where that is known.
    pub(crate) committed: Option<Offset>,
    /// With [`Commit::BeforeHandling`]: messages below may be handed out.
    pub(crate) cleared_to: Offset,
    /// The message that was reported as not done for long.
    pub(crate) stuck: Option<Offset>,
}

/// A message that waits until what comes behind it is committed.
#[derive(Debug)]
pub(crate) struct Clearing {
    pub(crate) part: Part,
    pub(crate) message: Message,
    /// To be committed before it is handed out.
    pub(crate) to: CommitPosition,
}

#[derive(Debug)]
pub(crate) struct ConsumerState {
    pub(crate) reader: Reader,
    pub(crate) slots: BTreeMap<Part, Slot>,
    /// Partitions on their way to become slots.
    pub(crate) opening: BTreeSet<Part>,
    /// Partitions to be released, slots or not yet.
    pub(crate) going: BTreeSet<Part>,
    /// Partitions for which the hook was called when they came, and not yet when they went.
    pub(crate) hooked: BTreeSet<Part>,
    /// How many tasks are calling the hook for lost partitions.
    pub(crate) losing: usize,
    pub(crate) clearing: Option<Clearing>,
    pub(crate) errors: VecDeque<GroupConsumeError>,
    /// The member is out, or on its way.
    pub(crate) closing: bool,
    /// The partition of the last message, to be found faster.
    last: Option<(usize, Part, Arc<DeliveryTracker>)>,
}

/// What a consumer of a group and its background tasks share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) client: Arc<Shared>,
    pub(crate) options: Options,
    pub(crate) signals: Arc<Signals>,
    pub(crate) state: Mutex<ConsumerState>,
    /// The member epoch to commit under.
    pub(crate) epoch: AtomicU32,
    /// Commits fail for a passing reason, and the event was sent.
    pub(crate) commit_delayed: AtomicBool,
    /// Moves on four times in `stuck_after`.
    pub(crate) tick: AtomicU64,
    /// One commit at a time, so that an older one cannot come behind a newer.
    pub(crate) commits: Arc<tokio::sync::Mutex<()>>,
    /// One call of the hook at a time.
    pub(crate) hook_calls: tokio::sync::Mutex<()>,
}

impl Core {
    pub(crate) fn new(
        client: Arc<Shared>,
        options: Options,
        buffer_bytes: u64,
        in_flight_max: u64,
    ) -> Arc<Self> {
        let state = ConsumerState {
            reader: Reader::start(Arc::clone(&client), buffer_bytes),
            slots: BTreeMap::new(),
            opening: BTreeSet::new(),
            going: BTreeSet::new(),
            hooked: BTreeSet::new(),
            losing: 0,
            clearing: None,
            errors: VecDeque::new(),
            closing: false,
            last: None,
        };
        Arc::new(Self {
            client,
            options,
            signals: Arc::new(Signals::new(in_flight_max)),
            state: Mutex::new(state),
            epoch: AtomicU32::new(0),
            commit_delayed: AtomicBool::new(false),
            tick: AtomicU64::new(0),
            commits: Arc::default(),
            hook_calls: tokio::sync::Mutex::default(),
        })
    }

    /// Resolves once the state is as wanted.
    pub(crate) async fn until(&self, is_so: impl Fn(&ConsumerState) -> bool) {
        loop {
            let changed = self.signals.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if is_so(&self.state.lock()) {
                return;
            }
            changed.await;
        }
    }
}

/// Where a partition begins to be read.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) part: Part,
    pub(crate) position: Offset,
    pub(crate) epoch: Option<LeaderEpoch>,
    pub(crate) committed: Option<Offset>,
    /// Not read, until it is sought in.
    pub(crate) stopped: bool,
}

impl ConsumerState {
    /// Whether a partition is on its way to be read, and is not to be released already.
    pub(crate) fn is_coming(&self, part: &Part) -> bool {
        !self.closing && self.opening.contains(part) && !self.going.contains(part)
    }

    /// Begins to read partitions, unless they were taken back meanwhile. One that is to be released has a slot, for
    /// what is committed of it, but none of its records is handed out.
    pub(crate) fn begin(&mut self, starts: Vec<Start>, signals: &Arc<Signals>) -> Vec<Part> {
        let mut begun = Vec::new();
        let (mut read, mut read_parts) = (Vec::new(), Vec::new());
        for start in starts {
            if !self.opening.remove(&start.part) || self.closing {
                continue;
            }
            let track = DeliveryTracker::new(start.position, start.epoch, Arc::clone(signals));
            if self.going.contains(&start.part) {
                track.stop();
            } else {
                let Part { name, topic_id } = &start.part;
                let source = Source { topic: name.topic.clone(), partition: name.partition };
                let partition = Partition::new(Arc::new(source), topic_id.clone(), start.position, None);
                read.push(if start.stopped { partition.stopped() } else { partition });
                read_parts.push(start.part.clone());
            }
            let slot = Slot {
                place: None,
                track,
                committed: start.committed,
                cleared_to: start.position,
                stuck: None,
            };
            self.slots.insert(start.part.clone(), slot);
            begun.push(start.part);
        }
        let places = self.reader.add(read);
        for (part, place) in read_parts.iter().zip(places) {
            if let Some(slot) = self.slots.get_mut(part) {
                slot.place = Some(place);
            }
        }
        begun
    }

    /// Hands out no more of these partitions, and drops what is here of them.
    pub(crate) fn stop_reading<'a>(&mut self, parts: impl IntoIterator<Item = &'a Part>) {
        self.settle();
        let mut places = Vec::new();
        for part in parts {
            if self.clearing.as_ref().is_some_and(|clearing| clearing.part == *part) {
                self.clearing = None;
            }
            if let Some(slot) = self.slots.get_mut(part) {
                slot.track.stop();
                places.extend(slot.place.take());
            }
        }
        self.last = None;
        self.reader.remove(&places);
    }

    /// Has nothing to do with these partitions any more.
    pub(crate) fn release<'a>(&mut self, parts: impl IntoIterator<Item = &'a Part> + Clone) {
        self.stop_reading(parts.clone());
        for part in parts {
            self.opening.remove(part);
            self.going.remove(part);
            if let Some(slot) = self.slots.remove(part) {
                slot.track.retire();
            }
        }
    }

    /// Moves positions over what holds no record.
    pub(crate) fn settle(&mut self) {
        self.reader.settle();
        for (part, slot) in &self.slots {
            if self.clearing.as_ref().is_some_and(|clearing| clearing.part == *part) {
                continue;
            }
            if let Some(partition) = slot.place.and_then(|place| self.reader.partition(place)) {
                slot.track.pass(partition.position);
            }
        }
    }

    /// The partition, with its track, at a place in the reader.
    pub(crate) fn at(&mut self, place: usize) -> Option<(&Part, &Arc<DeliveryTracker>)> {
        if self.last.as_ref().is_none_or(|(last, _, _)| *last != place) {
            let (part, slot) = self.slots.iter().find(|(_, slot)| slot.place == Some(place))?;
            self.last = Some((place, part.clone(), Arc::clone(&slot.track)));
        }
        self.last.as_ref().map(|(_, part, track)| (part, track))
    }

    /// A partition that is being read, by its name.
    pub(crate) fn find(&self, topic: &str, partition: u32) -> Option<(&Part, &Slot, usize)> {
        self.slots.iter().find_map(|(part, slot)| {
            let is_it = part.name.topic.as_str() == topic && part.name.partition.0 == partition;
            slot.place.filter(|_| is_it).map(|place| (part, slot, place))
        })
    }

    /// Goes on in a partition from another place; what was handed out of it before counts no more.
    pub(crate) fn seek(&mut self, part: &Part, to: Offset, signals: &Arc<Signals>) {
        if self.clearing.as_ref().is_some_and(|clearing| clearing.part == *part) {
            self.clearing = None;
        }
        self.last = None;
        let Some(slot) = self.slots.get_mut(part) else { return };
        let before = std::mem::replace(&mut slot.track, DeliveryTracker::new(to, None, Arc::clone(signals)));
        before.retire();
        slot.cleared_to = to;
        slot.stuck = None;
        if let Some(place) = slot.place {
            self.reader.seek(place, to);
        }
    }
}
