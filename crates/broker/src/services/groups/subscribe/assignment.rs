//! What the member of a stream has, what its program knows of that, and what it is to be sent: a pure state machine.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_api::Refusal;
use corduroy_group::TopicPartition;
use corduroy_types::Offset;

/// The partitions of one member.
///
/// What the coordinator assigns and revokes takes effect at once. The program is sent it when there is room for a
/// message. What was assigned and revoked in between is never sent, so that a program that does not read costs no
/// memory beyond what it has.
#[derive(Debug, Default)]
pub(super) struct MemberAssignment {
    slots: BTreeMap<TopicPartition, Slot>,
    /// The program has yet to be sent that these were lost without being released.
    lost: BTreeSet<TopicPartition>,
    /// The program has yet to be sent that these are revoked.
    revoked: BTreeSet<TopicPartition>,
    /// Slots of which the program has yet to be sent something.
    notices: BTreeSet<TopicPartition>,
    /// Slots whose start offset is not known yet. With an offset, retention has overtaken the reader there.
    opening: BTreeMap<TopicPartition, Option<Offset>>,
}

#[derive(Debug)]
struct Slot {
    /// The program was sent that it has it.
    known: bool,
    /// Once the start offset is known.
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
    /// The start offset is not known yet.
    Opening,
    /// Its records are sent, after the program was sent what is missing before them.
    Reading { missing: Option<Missing> },
    /// It cannot be read; the program has yet to be sent why.
    Failed { why: Option<Refusal> },
    /// Revoked, with records that the program has not acknowledged.
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
    next: Offset,
    /// What was committed last.
    acknowledged: Offset,
}

impl Span {
    fn beginning(position: Offset) -> Self {
        Self { position, delivered: position, next: position, acknowledged: position }
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
    Unreadable(Refusal),
}

/// Something that the program is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// These are gone.
    Lost(Vec<TopicPartition>),
    /// These are revoked.
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

impl MemberAssignment {
    /// What the member has: what it reads, and what it has not released.
    #[cfg(test)]
    pub(super) fn owned(&self) -> BTreeSet<TopicPartition> {
        self.slots.keys().copied().collect()
    }

    /// The member has got these.
    pub(super) fn assign(&mut self, new: &BTreeSet<TopicPartition>) {
        for at in new {
            if !self.slots.contains_key(at) {
                self.slots.insert(*at, Slot { known: false, span: None, stage: Stage::Opening });
                self.opening.insert(*at, None);
            }
        }
    }

    /// The member is to release these: they are read no more. Returns those that are released with that, because the program
    /// has acknowledged all that it was sent.
    pub(super) fn revoke(&mut self, taken: &BTreeSet<TopicPartition>) -> BTreeSet<TopicPartition> {
        let mut released = BTreeSet::new();
        for at in taken {
            self.notices.remove(at);
            self.opening.remove(at);
            let is_held = |slot: &Slot| !matches!(slot.stage, Stage::Revoking);
            let Some(slot) = self.slots.get(at).filter(|slot| is_held(slot)) else { continue };
            let (was_known, is_outstanding) = (slot.known, slot.is_outstanding());
            if was_known {
                self.revoked.insert(*at);
            }
            if is_outstanding {
                self.slots.entry(*at).and_modify(|slot| slot.stage = Stage::Revoking);
            } else {
                self.slots.remove(at);
                released.insert(*at);
            }
        }
        released
    }

    /// Whether retention has overtaken the reader of a partition, and its new start offset is not known yet.
    pub(super) fn is_overtaken(&self) -> bool {
        self.opening.values().any(Option::is_some)
    }

    /// The partitions whose start offset is not known yet; with an offset where retention has overtaken the reader.
    pub(super) fn opening(&self) -> &BTreeMap<TopicPartition, Option<Offset>> {
        &self.opening
    }

    /// The start offset is known.
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
            Beginning::Unreadable(why) => Stage::Failed { why: Some(why) },
        };
        if !(slot.known && matches!(slot.stage, Stage::Reading { missing: None })) {
            self.notices.insert(at);
        }
    }

    /// Retention has overtaken the reader: a new start offset is needed.
    pub(super) fn overtaken(&mut self, at: TopicPartition, offset: Offset) {
        if let Some(slot) = self.slots.get_mut(&at)
            && matches!(slot.stage, Stage::Reading { .. })
        {
            slot.stage = Stage::Opening;
            self.notices.remove(&at);
            self.opening.insert(at, Some(offset));
        }
    }

    /// It can be read no further.
    pub(super) fn failed(&mut self, at: TopicPartition, why: Refusal) {
        if let Some(slot) = self.slots.get_mut(&at)
            && matches!(slot.stage, Stage::Reading { .. })
        {
            slot.stage = Stage::Failed { why: Some(why) };
            self.notices.insert(at);
        }
    }

    /// Where the records of a partition are to be read from now, if the program was sent all that comes before them.
    pub(super) fn readable(&self, at: TopicPartition) -> Option<Offset> {
        match self.slots.get(&at) {
            Some(Slot { known: true, span, stage: Stage::Reading { missing: None } }) => {
                Some(span.as_ref()?.next)
            }
            _ => None,
        }
    }

    /// Records up to before `end` were sent, in a message that said to go on at `next`.
    pub(super) fn sent(&mut self, at: TopicPartition, end: Offset, next: Offset) {
        if let Some(Slot { span: Some(span), stage: Stage::Reading { .. }, .. }) = self.slots.get_mut(&at) {
            span.delivered = span.delivered.max(end);
            span.next = span.next.max(next);
        }
    }

    /// What to do about an offset that the program acknowledges.
    pub(super) fn judge(&self, at: TopicPartition, offset: Offset) -> Verdict {
        match self.slots.get(&at) {
            Some(Slot { known: true, span: Some(span), .. }) => match offset {
                _ if offset < span.acknowledged => Verdict::Behind(span.acknowledged),
                _ if offset > span.next => Verdict::NotSent(span.next),
                _ => Verdict::Commit,
            },
            _ => Verdict::NotAssigned,
        }
    }

    /// An offset was committed. Returns whether the partition is released with that.
    pub(super) fn committed(&mut self, at: TopicPartition, offset: Offset) -> bool {
        let Some(slot) = self.slots.get_mut(&at) else { return false };
        let Some(span) = &mut slot.span else { return false };
        span.acknowledged = offset.max(span.acknowledged);
        let is_released = matches!(slot.stage, Stage::Revoking) && !slot.is_outstanding();
        if is_released {
            self.slots.remove(&at);
        }
        is_released
    }

    /// The program releases a partition. Returns whether that counts: it was sent that the partition is revoked.
    pub(super) fn release(&mut self, at: TopicPartition) -> bool {
        let revoking = self.slots.get(&at).is_some_and(|slot| matches!(slot.stage, Stage::Revoking));
        if !revoking || self.revoked.contains(&at) {
            return false;
        }
        self.slots.remove(&at);
        true
    }

    /// The member was removed from its group: everything is gone.
    pub(super) fn lose(&mut self) {
        let known = std::mem::take(&mut self.slots).into_iter().filter(|(_, slot)| slot.known);
        self.lost.extend(known.map(|(at, _)| at));
        self.lost.append(&mut self.revoked);
        self.notices.clear();
        self.opening.clear();
    }

    /// Whether there is something to send.
    pub(super) fn has_notice(&self) -> bool {
        !(self.lost.is_empty() && self.revoked.is_empty() && self.notices.is_empty())
    }

    /// What to send next. It counts as sent.
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
        let at = self.notices.pop_first()?;
        match &mut self.slots.get_mut(&at)?.stage {
            Stage::Reading { missing } => Some(Notice::PositionLost(at, missing.take()?)),
            Stage::Failed { why } => Some(Notice::Failed(at, why.take()?)),
            Stage::Opening | Stage::Revoking => None,
        }
    }

    /// What the program was not sent yet that it has. It counts as sent.
    fn take_unknown(&mut self) -> Vec<(TopicPartition, Option<Offset>)> {
        let (mut unknown, mut settled) = (Vec::new(), BTreeSet::new());
        for at in &self.notices {
            let Some(slot) = self.slots.get_mut(at).filter(|slot| !slot.known) else { continue };
            slot.known = true;
            unknown.push((*at, slot.span.map(|span| span.position)));
            if matches!(slot.stage, Stage::Reading { missing: None }) {
                settled.insert(*at);
            }
        }
        self.notices.retain(|at| !settled.contains(at));
        unknown
    }
}

#[cfg(test)]
#[path = "assignment_tests.rs"]
mod tests;
