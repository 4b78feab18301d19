//! One commit of the data directory: the rounds of many logs, made durable together.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use corduroy_types::{LeaderEpoch, Offset};
use parking_lot::Mutex;

use super::PartitionKey;
use super::checkpoint::JournalPosition;
use super::entry::{self, Entry, Of};
use super::file::{Id, Slot};
use super::request::JournalRequest;
use crate::disk::{Disk, DiskFile};
use crate::round::{JournalData, Round, RoundResult};

/// How the batches of a commit become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitKind {
    /// By a sync of each segment.
    Direct,
    /// Some of them by the journal.
    Journal,
    /// There are none: only marks or requests.
    StateOnly,
}

/// What to do on disk for one commit. First [`Commit::perform_writes`]; then [`Commit::perform_sync`] for each of
/// [`Commit::syncs`], in any order or in parallel; then give it to [`super::Journal::finish`].
#[derive(Debug)]
#[must_use = "nothing is durable until it is performed and reported"]
pub struct Commit {
    pub(super) rounds: Vec<Planned>,
    pub(super) requests: Vec<JournalRequest>,
    /// Marks of earlier rounds, and how far data is checkpointed.
    pub(super) entries: Vec<(PartitionKey, Entry)>,
    pub(super) journal: Option<Target>,
    pub(super) syncs: Vec<Sync>,
    /// Why nothing of it is performed, if so.
    pub(super) refused: Option<String>,
}

/// One round with what came of it.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) key: PartitionKey,
    pub(super) round: Round,
    pub(super) journaled: bool,
    pub(super) result: Mutex<Option<RoundResult>>,
}

/// Where in the journal this commit goes.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) slot: Slot,
    pub(super) id: Id,
    /// Copies of the same evidence never share this many bytes.
    pub(super) sector_bytes: u64,
    /// The logs whose data it carries over from older generations, and to which place.
    pub(super) carries: Vec<PartitionKey>,
    pub(super) place: JournalPosition,
    /// Where it is written: 0 with a new generation.
    pub(super) position: u64,
    /// What a new generation begins with, before this commit's entries.
    pub(super) head: Option<Vec<u8>>,
    /// Where the file ends.
    pub(super) file_end: u64,
    /// What it is filled with beyond what is written.
    pub(super) zeros: Bytes,
    /// Where the entries of this commit end, once written.
    pub(super) end: u64,
    pub(super) result: Mutex<Option<io::Result<()>>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Sync {
    Journal,
    Round(usize),
}

/// The commit journal takes nothing until it is begun again: a write or sync of it failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct JournalFailed {
    /// What failed.
    pub reason: String,
}

/// What came of a commit.
#[derive(Debug)]
pub struct Committed {
    /// Each round, in the order in which they were given, with what came of it: for [`crate::Log::round_done`], unless
    /// it is postponed.
    pub results: Vec<(Round, RoundResult)>,
    /// Whether the requests are durable; else why not. The journal has failed then.
    pub requests: Result<(), JournalFailed>,
    /// How the batches became durable.
    pub kind: CommitKind,
    /// Bytes written to the journal.
    pub journal_bytes: u64,
}

impl Commit {
    /// Performs everything but the last syncs: the segments' writes, then the journal's.
    pub fn perform_writes(&mut self, disk: &dyn Disk) {
        if self.refused.is_some() {
            return;
        }
        for planned in &self.rounds {
            let failed = planned.round.perform_writes(disk);
            if planned.journaled && failed.is_none() {
                planned.note_journaled();
            }
            *planned.result.lock() = failed;
        }
        self.write_journal();
    }

    /// A round whose writes failed is not in the journal: what is in there ends at the log's durable end.
    fn write_journal(&mut self) {
        let Some(mut target) = self.journal.take() else { return };
        let mut bytes = target.head.take().unwrap_or_default();
        let of = Of { tag: target.id.tag(), commit: target.position };
        // The marks of earlier rounds first: data of the same log brings a newer one.
        for (key, entry) in &self.entries {
            entry::encode(&mut bytes, of, *key, entry);
        }
        for planned in self.rounds.iter().filter(|planned| planned.journaled) {
            if planned.result.lock().is_none()
                && let Some((data, parts)) = planned.data()
            {
                entry::encode_parts(&mut bytes, of, planned.key, &data, parts);
            }
        }
        let requests = self.requests.iter().map(|request| (request.key(), request.entry()));
        let evidence: Vec<_> = self.settled_entries().chain(requests).collect();
        let encode_all = |bytes: &mut Vec<u8>| {
            evidence.iter().for_each(|(key, entry)| entry::encode(bytes, of, *key, entry));
        };
        encode_all(&mut bytes);
        if !evidence.is_empty() {
            // Nothing else says it, so it comes twice, and no sector holds parts of both.
            entry::fill_sector(&mut bytes, of, target.position, target.sector_bytes);
            encode_all(&mut bytes);
        }
        target.end = target.position + bytes.len() as u64;
        if let Err(error) = target.write(Bytes::from(bytes)) {
            *target.result.lock() = Some(Err(error));
        }
        self.journal = Some(target);
    }

    /// How many syncs there are.
    pub fn syncs(&self) -> usize {
        if self.refused.is_some() { 0 } else { self.syncs.len() }
    }

    /// Performs one of the syncs.
    pub fn perform_sync(&self, index: usize, disk: &dyn Disk) {
        match self.syncs.get(index) {
            Some(Sync::Journal) => {
                if let Some(target) = &self.journal {
                    let mut result = target.result.lock();
                    if result.is_none() {
                        *result = Some(target.file.sync());
                    }
                }
            }
            Some(Sync::Round(index)) => {
                if let Some(planned) = self.rounds.get(*index) {
                    planned.result.lock().get_or_insert_with(|| planned.round.perform_syncs(disk));
                }
            }
            None => {}
        }
    }

    /// Performs all of it.
    pub fn perform(&mut self, disk: &dyn Disk) {
        self.perform_writes(disk);
        (0..self.syncs()).for_each(|index| self.perform_sync(index, disk));
    }

    /// Whether some of the batches become durable by the journal.
    pub fn kind(&self) -> CommitKind {
        if self.rounds.is_empty() {
            CommitKind::StateOnly
        } else if self.rounds.iter().any(|planned| planned.journaled) {
            CommitKind::Journal
        } else {
            CommitKind::Direct
        }
    }

    /// Segments that were sealed are synced, if the writes went well.
    fn settled_entries(&self) -> impl Iterator<Item = (PartitionKey, Entry)> + '_ {
        let sealed = self.rounds.iter().filter(|planned| planned.result.lock().is_none());
        sealed.filter_map(|planned| Some((planned.key, Entry::Settled { below: planned.round.settles()? })))
    }

    /// The journal's sync first: it is the one that most wait for.
    pub(super) fn plan_syncs(&mut self) {
        let journal = self.journal.is_some().then_some(Sync::Journal);
        let direct = self.rounds.iter().enumerate().filter(|(_, planned)| !planned.journaled);
        self.syncs = journal.into_iter().chain(direct.map(|(index, _)| Sync::Round(index))).collect();
    }

    /// Bytes in the journal of what is no data, at most.
    pub(super) fn state_bytes(&self, sector_bytes: u64) -> u64 {
        let requests = self.requests.iter().map(|request| request.entry().encoded_bytes());
        let settled = self.rounds.iter().filter_map(|planned| planned.round.settles());
        let evidence: u64 =
            requests.chain(settled.map(|below| Entry::Settled { below }.encoded_bytes())).sum();
        let twice = if evidence == 0 { 0 } else { 2 * evidence + 2 * sector_bytes };
        twice + self.entries.iter().map(|(_, entry)| entry.encoded_bytes()).sum::<u64>()
    }

    /// Bytes in the journal of all batches that may be written there.
    pub(super) fn data_bytes(&self) -> u64 {
        let rounds = self.rounds.iter().filter(|planned| planned.round.journal_data().is_some());
        rounds.map(|planned| entry::data_entry_bytes(planned.round.bytes())).sum()
    }
}

impl Target {
    /// Writes the entries, and zeros behind them where the file grows. On a full disk it does without those: commits
    /// have to go on there, since what deletes records is one.
    fn write(&mut self, entries: Bytes) -> io::Result<()> {
        if self.end <= self.file_end || self.zeros.is_empty() {
            self.file_end = self.file_end.max(self.end);
            return self.file.write_at(&[entries], self.position);
        }
        let filled = self.file.write_at(&[entries.clone(), self.zeros.clone()], self.position);
        if filled.as_ref().is_err_and(|error| {
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        }) {
            self.file_end = self.end;
            // Some of the zeros may have found room, which others need.
            self.file.set_len(self.end)?;
            return self.file.write_at(&[entries], self.position);
        }
        self.file_end = self.end + self.zeros.len() as u64;
        filled
    }
}

impl Planned {
    /// What the journal holds of it.
    fn data(&self) -> Option<(Entry, &[Bytes])> {
        let JournalData { position, parts, mark, .. } = self.round.journal_data()?;
        // The head of a batch is never split.
        let head = parts.first().map(Bytes::as_ref).unwrap_or_default();
        let base_offset = head.first_chunk().and_then(|bytes| Offset::new(u64::from_be_bytes(*bytes)))?;
        let epoch = head.get(12..16).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_be_bytes(*bytes));
        let epoch = epoch.and_then(LeaderEpoch::new);
        Some((Entry::Data { position, base_offset, epoch, mark, bytes: Bytes::new() }, parts))
    }

    fn note_journaled(&self) {
        if let Some(data) = self.round.journal_data() {
            data.file.note_journaled();
        }
    }

    pub(super) fn new(key: PartitionKey, round: Round) -> Self {
        Self { key, round, journaled: false, result: Mutex::new(None) }
    }
}
