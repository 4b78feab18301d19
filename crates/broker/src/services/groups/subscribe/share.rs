//! What a member on a stream has, what its program knows of that, and what there is to tell it: a pure state machine.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_api::Refusal;
use corduroy_group::TopicPartition;
use corduroy_types::Offset;

/// The partitions of one member.
///
/// The coordinator's word changes what the member has at once. The program hears of it when there is room for a
/// message: what came and went in between it never hears of, so that a program that does not read costs no
/// memory beyond what it has.
#[derive(Debug, Default)]
pub(super) struct Share {
    slots: BTreeMap<TopicPartition, Slot>,
    /// To be told that they are gone without having been let go of.
    lost: BTreeSet<TopicPartition>,
    /// To be told that they are taken away.
    revoked: BTreeSet<TopicPartition>,
    /// Slots of which there is something to tell.
    news: BTreeSet<TopicPartition>,
    /// Slots of which is to be found out where reading begins; with a place, retention has overtaken the reader there.
    opening: BTreeMap<TopicPartition, Option<Offset>>,
}

#[derive(Debug)]
struct Slot {
    /// The program was told that it has it.
    known: bool,
    /// Once it was found out where to begin.
    span: Option<Span>,
    stage: Stage,
}

impl Slot {
    fn is_outstanding(&self) -> bool {
        self.span.is_some_and(|span| span.acknowledged < span.delivered)
    }
}

#[derive(Debug)]
enum Stage {
    /// Where to begin is being found out.
    Opening,
    /// Its records are sent, once the program knows what is missing before them.
    Reading { missing: Option<Missing> },
    /// It cannot be read; why is yet to be told.
    Failed { why: Option<Refusal> },
    /// Taken away, with records that the program has yet to be done with.
    Revoking,
}

/// How far one partition has come.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Where reading began.
    position: Offset,
    /// Behind the last record that was sent.
    delivered: Offset,
    /// Where the last message said that reading goes on: behind `delivered` where nothing is stored in between.
    told: Offset,
    /// What was committed last.
    acknowledged: Offset,
}

impl Span {
    fn beginning(position: Offset) -> Self {
        Self { position, delivered: position, told: position, acknowledged: position }
    }
}

/// Records that were deleted before the group had read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// How far the group had come.
    pub(super) position: Offset,
    pub(super) log_start: Offset,
    /// Where reading goes on.
    pub(super) resumed_at: Offset,
}

/// Where reading of a partition begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// There; it is committed.
    At(Offset),
    /// Not where the group had come to.
    Behind(Missing),
    /// It cannot be read.
    Nowhere(Refusal),
}

/// Something to tell the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// These are gone.
    Lost(Vec<TopicPartition>),
    /// These are taken away.
    Revoked(Vec<TopicPartition>),
    /// It has these, and their records come from there on, where any can.
    Assigned(Vec<(TopicPartition, Option<Offset>)>),
    /// Records are missing.
    PositionLost(TopicPartition, Missing),
    /// It cannot be read.
    Failed(TopicPartition, Refusal),
}

/// What to do about an acknowledged offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Commit it.
    Commit,
    /// The group has come further, to here. A position never goes back on a stream.
    Behind(Offset),
    /// It is beyond what the program was sent, which ends here.
    NotSent(Offset),
    /// The member does not have the partition, or could not read it.
    NotAssigned,
}

impl Share {
    /// What the member has, as the coordinator is to hear it.
    pub(super) fn owned(&self) -> BTreeSet<TopicPartition> {
        self.slots.keys().copied().collect()
    }

    /// Takes the coordinator's word for what the member may have. Returns what is not read any more.
    pub(super) fn assign(&mut self, assignment: &BTreeSet<TopicPartition>) -> Vec<TopicPartition> {
        let taken: Vec<_> = self
            .slots
            .iter()
            .filter(|(at, slot)| !assignment.contains(at) && !matches!(slot.stage, Stage::Revoking))
            .map(|(at, _)| *at)
            .collect();
        for at in &taken {
            self.take_away(*at);
        }
        for at in assignment {
            if !self.slots.contains_key(at) {
                self.slots.insert(*at, Slot { known: false, span: None, stage: Stage::Opening });
                self.opening.insert(*at, None);
            }
        }
        taken
    }

    /// Whether retention has overtaken the reader of any partition, and it is not yet found out where to go on.
    pub(super) fn is_overtaken(&self) -> bool {
        self.opening.values().any(Option::is_some)
    }

    /// Lets go of a partition, at once where the program is done with all that it was sent.
    fn take_away(&mut self, at: TopicPartition) {
        self.news.remove(&at);
        self.opening.remove(&at);
        let Some(slot) = self.slots.remove(&at) else { return };
        if slot.known {
            self.revoked.insert(at);
        }
        if slot.is_outstanding() {
            self.slots.insert(at, Slot { stage: Stage::Revoking, ..slot });
        }
    }

    /// Of which partitions is to be found out where to begin; with a place where retention has overtaken the reader.
    pub(super) fn opening(&self) -> &BTreeMap<TopicPartition, Option<Offset>> {
        &self.opening
    }

    /// It was found out where to begin.
    pub(super) fn opened(&mut self, at: TopicPartition, beginning: Beginning) {
        let (true, Some(slot)) = (self.opening.remove(&at).is_some(), self.slots.get_mut(&at)) else {
            return;
        };
        slot.stage = match beginning {
            Beginning::At(position) => {
                slot.span = Some(Span::beginning(position));
                Stage::Reading { missing: None }
            }
            Beginning::Behind(missing) => {
                slot.span = Some(Span::beginning(missing.resumed_at));
                Stage::Reading { missing: Some(missing) }
            }
            Beginning::Nowhere(why) => Stage::Failed { why: Some(why) },
        };
        if !(slot.known && matches!(slot.stage, Stage::Reading { missing: None })) {
            self.news.insert(at);
        }
    }

    /// Retention has overtaken the reader: it is to be found out again where to begin.
    pub(super) fn overtaken(&mut self, at: TopicPartition, place: Offset) {
        if let Some(slot) = self.slots.get_mut(&at)
            && matches!(slot.stage, Stage::Reading { .. })
        {
            slot.stage = Stage::Opening;
            self.news.remove(&at);
            self.opening.insert(at, Some(place));
        }
    }

    /// It can be read no further.
    pub(super) fn failed(&mut self, at: TopicPartition, why: Refusal) {
        if let Some(slot) = self.slots.get_mut(&at)
            && matches!(slot.stage, Stage::Reading { .. })
        {
            slot.stage = Stage::Failed { why: Some(why) };
            self.news.insert(at);
        }
    }

    /// Where the records of a partition are to be read from now, if the program has heard all that comes before them.
    pub(super) fn readable(&self, at: TopicPartition) -> Option<Offset> {
        match self.slots.get(&at) {
            Some(Slot { known: true, span, stage: Stage::Reading { missing: None } }) => {
                Some(span.as_ref()?.told)
            }
            _ => None,
        }
    }

    /// Records up to before `end` were sent, in a message that said to go on at `next`.
    pub(super) fn sent(&mut self, at: TopicPartition, end: Offset, next: Offset) {
        if let Some(Slot { span: Some(span), stage: Stage::Reading { .. }, .. }) = self.slots.get_mut(&at) {
            span.delivered = span.delivered.max(end);
            span.told = span.told.max(next);
        }
    }

    /// What to do about an offset that the program acknowledges.
    pub(super) fn judge(&self, at: TopicPartition, offset: Offset) -> Verdict {
        match self.slots.get(&at) {
            Some(Slot { known: true, span: Some(span), .. }) => match offset {
                _ if offset < span.acknowledged => Verdict::Behind(span.acknowledged),
                _ if offset > span.told => Verdict::NotSent(span.told),
                _ => Verdict::Commit,
            },
            _ => Verdict::NotAssigned,
        }
    }

    /// An offset was committed. Returns whether the member has let go of the partition with that.
    pub(super) fn committed(&mut self, at: TopicPartition, offset: Offset) -> bool {
        let Some(slot) = self.slots.get_mut(&at) else { return false };
        let Some(span) = &mut slot.span else { return false };
        span.acknowledged = offset.max(span.acknowledged);
        let let_go = matches!(slot.stage, Stage::Revoking) && !slot.is_outstanding();
        if let_go {
            self.slots.remove(&at);
        }
        let_go
    }

    /// The program has let go of a partition. Returns whether that is news: it had been told to, and not before.
    pub(super) fn release(&mut self, at: TopicPartition) -> bool {
        let revoking = self.slots.get(&at).is_some_and(|slot| matches!(slot.stage, Stage::Revoking));
        if !revoking || self.revoked.contains(&at) {
            return false;
        }
        self.slots.remove(&at);
        true
    }

    /// The member was put out of its group: everything is gone.
    pub(super) fn lose(&mut self) {
        let known = std::mem::take(&mut self.slots).into_iter().filter(|(_, slot)| slot.known);
        self.lost.extend(known.map(|(at, _)| at));
        self.lost.append(&mut self.revoked);
        self.news.clear();
        self.opening.clear();
    }

    /// Whether there is something to tell.
    pub(super) fn has_notice(&self) -> bool {
        !(self.lost.is_empty() && self.revoked.is_empty() && self.news.is_empty())
    }

    /// What to tell next, which is told with that.
    pub(super) fn next_notice(&mut self) -> Option<Notice> {
        if !self.lost.is_empty() {
            return Some(Notice::Lost(std::mem::take(&mut self.lost).into_iter().collect()));
        }
        if !self.revoked.is_empty() {
            return Some(Notice::Revoked(std::mem::take(&mut self.revoked).into_iter().collect()));
        }
        let assigned = self.take_unknown();
        if !assigned.is_empty() {
            return Some(Notice::Assigned(assigned));
        }
        let at = self.news.pop_first()?;
        match &mut self.slots.get_mut(&at)?.stage {
            Stage::Reading { missing } => Some(Notice::PositionLost(at, missing.take()?)),
            Stage::Failed { why } => Some(Notice::Failed(at, why.take()?)),
            Stage::Opening | Stage::Revoking => None,
        }
    }

    /// What the program does not yet know that it has, which it knows with that.
    fn take_unknown(&mut self) -> Vec<(TopicPartition, Option<Offset>)> {
        let (mut unknown, mut settled) = (Vec::new(), BTreeSet::new());
        for at in &self.news {
            let Some(slot) = self.slots.get_mut(at).filter(|slot| !slot.known) else { continue };
            slot.known = true;
            unknown.push((*at, slot.span.map(|span| span.position)));
            if matches!(slot.stage, Stage::Reading { missing: None }) {
                settled.insert(*at);
            }
        }
        self.news.retain(|at| !settled.contains(at));
        unknown
    }
}

#[cfg(test)]
#[path = "share_tests.rs"]
mod tests;
