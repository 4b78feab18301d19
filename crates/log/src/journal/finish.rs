//! What came of a commit: what is durable now, and which logs stop.

use super::JournalFailed;
use std::io;

use super::commit::{Commit, Committed, Planned, Target};
use super::entry::Entry;
use super::file::ENTRIES_AT;
use super::plan::Journal;
use super::request::JournalRequest;
use super::state;
use crate::round::{Round, RoundResult};

impl Journal {
    /// Takes what came of a commit. Give the results to the logs.
    pub fn finish(&mut self, commit: Commit) -> Committed {
        let kind = commit.kind();
        let mut journal_bytes = 0;
        let mut failed = commit.refused.clone();
        if let Some(target) = &commit.journal {
            journal_bytes = target.end.saturating_sub(target.position);
            match &*target.result.lock() {
                Some(Ok(())) => self.written(&commit, target),
                Some(Err(error)) => failed = Some(error.to_string()),
                None => failed = Some("the write was not performed".to_owned()),
            }
        }
        if let Some(reason) = &failed {
            self.failed.get_or_insert_with(|| reason.clone());
            // Every log stops.
            self.pins.values_mut().for_each(|pin| pin.stopped = true);
        }
        let requests = failed.clone().map_or(Ok(()), |reason| Err(JournalFailed { reason }));
        let results = commit.rounds.into_iter().map(|planned| self.round_result(planned, failed.as_deref()));
        Committed { results: results.collect(), requests, kind, journal_bytes }
    }

    fn round_result(&mut self, planned: Planned, failed: Option<&str>) -> (Round, RoundResult) {
        let Planned { key, round, journaled, result } = planned;
        if let Some(reason) = failed {
            let result = round.journal_failed(reason);
            return (round, result);
        }
        let performed = result.into_inner();
        let result = match performed {
            Some(result) => result,
            // The journal's sync replaces the segment's.
            None if journaled => round.succeeded(),
            None => round.failed(0, io::Error::other("the commit was not performed")),
        };
        if !result.is_ok() && !result.is_postponed() {
            self.stopped(key);
        }
        if let Some(mark) = round.durable_mark().filter(|_| result.is_ok()) {
            if journaled {
                self.marks.remove(&key);
                self.states.entry(key).or_default().mark = Some(mark);
            } else {
                self.marks.insert(key, mark);
            }
        }
        (round, result)
    }

    /// The entries of a commit are durable.
    fn written(&mut self, commit: &Commit, target: &Target) {
        self.enter(target.slot, target.id, target.end);
        self.note_written(target.slot, target.file_end);
        let from = if target.position == 0 { (target.id.number, ENTRIES_AT) } else { target.place };
        self.carried_to(&target.carries, from);
        for (key, entry) in &commit.entries {
            state::apply(&mut self.states, *key, entry);
            match entry {
                Entry::Mark(mark) if self.marks.get(key) == Some(mark) => drop(self.marks.remove(key)),
                Entry::Checkpointed { generation, position } => {
                    self.checkpointed_written = (*generation, *position);
                }
                _ => {}
            }
        }
        for request in &commit.requests {
            let key = request.key();
            state::apply(&mut self.states, key, &request.entry());
            match request {
                JournalRequest::BeginCut { .. } | JournalRequest::BeginReset { .. } => {
                    self.marks.remove(&key);
                    self.stopped(key);
                }
                JournalRequest::Drop(_) => {
                    self.marks.remove(&key);
                    self.reopened(key);
                }
                JournalRequest::EndCut(_) => self.reopened(key),
                JournalRequest::BeginEpoch(..)
                | JournalRequest::Promise(..)
                | JournalRequest::Suspect(..) => {}
            }
        }
    }
}
