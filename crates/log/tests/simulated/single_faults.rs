//! One fault in any file or directory of a data directory, while no broker uses it: nothing acknowledged is lost,
//! and nothing deleted comes back, without a finding.
//!
//! `docs/on-disk.md` says for each kind of file what a fault in it costs; [`promised`] is that table. The finding is
//! what an operator sees in `status`: damage that a log knows of, a state that was rebuilt, a journal that is damaged, a
//! partition that could not be opened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use corduroy_batch::{Batch, DecompressLimits};
use corduroy_log::disk::{Disk, Kept, SimDisk};
use corduroy_log::journal::Replay;
use corduroy_log::offline::{self, Finding};
use corduroy_log::producers::Producers;
use corduroy_log::{Log, LogError, PartitionKey, ReadError};
use corduroy_types::TimestampMs;

use crate::common::batch;
use crate::data_dir::{Node, data_dir, keys};
use crate::lives::{End, Left, Promised, World};
use crate::promise::mixed;
use crate::seeds::seeds;
use crate::striking::{Fault, How, Kind, Struck, draw};

/// What a fault may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cost {
    /// Nothing, and no damage is reported.
    Nothing,
    /// Records, with a finding.
    Found,
}

/// What `docs/on-disk.md` promises.
fn promised(kind: Kind) -> Cost {
    match kind {
        Kind::OffsetIndex | Kind::TimeIndex | Kind::Snapshot | Kind::State => Cost::Nothing,
        _ => Cost::Found,
    }
}

/// What a start serves, and what it says.
struct Seen {
    /// Batches by their base offset.
    served: BTreeMap<PartitionKey, BTreeMap<u64, Bytes>>,
    log_starts: BTreeMap<PartitionKey, u64>,
    log_ends: BTreeMap<PartitionKey, u64>,
    findings: BTreeMap<PartitionKey, Vec<String>>,
    /// Of the whole data directory.
    journal: Vec<String>,
    wrong: Vec<String>,
}

/// Reads a log from its start to its end; damage is stepped over.
fn serve(key: PartitionKey, log: &Log, seen: &mut Seen) {
    let (mut from, end) = (log.cursors().log_start(), log.cursors().log_end());
    seen.log_starts.insert(key, from.get());
    seen.log_ends.insert(key, end.get());
    let served = seen.served.entry(key).or_default();
    while from < end {
        let next = match log.plan_read(from, 700, end).unwrap().perform() {
            Ok(read) => {
                let mut bytes = Bytes::from(read.bytes.to_vec());
                while let Some(batch) = Batch::parse_prefix(&mut bytes).unwrap() {
                    served.insert(batch.header().base_offset.get(), batch.bytes().clone());
                }
                read.next_offset
            }
            Err(ReadError::Corrupt { next_good, damage }) => {
                seen.findings.entry(key).or_default().push(damage.to_string());
                let Some(next) = next_good else { return };
                next
            }
            Err(other) => return seen.wrong.push(format!("{key:?} at {from}: {other}")),
        };
        if next <= from {
            return seen.wrong.push(format!("{key:?}: a read at {from} does not advance"));
        }
        from = next;
    }
}

fn observe(node: &Node) -> Seen {
    let mut seen = Seen {
        served: BTreeMap::new(),
        log_starts: BTreeMap::new(),
        log_ends: BTreeMap::new(),
        findings: BTreeMap::new(),
        journal: Vec::new(),
        wrong: Vec::new(),
    };
    seen.journal.extend(node.replayed.damages.iter().map(ToString::to_string));
    if node.replayed.unreadable {
        seen.journal.push("the journal cannot be read".to_owned());
    }
    for (key, error) in &node.refused {
        seen.findings.entry(*key).or_default().push(error.to_string());
    }
    for (key, log) in &node.logs {
        serve(*key, log, &mut seen);
        let report = &node.reports[key];
        let found = seen.findings.entry(*key).or_default();
        found.extend(report.damages.iter().map(ToString::to_string));
        found.extend(log.damages().iter().map(ToString::to_string));
        if report.state_lost {
            found.push("the state is lost".to_owned());
        }
    }
    seen
}

/// What does not hold.
struct Violations<'a> {
    left: &'a Left,
    fault: &'a Fault,
    struck: &'a Struck,
    /// The partitions in which `log verify` finds something before the start, or could not look.
    verified: BTreeSet<PartitionKey>,
    /// Whether the first start has reported damage of the journal.
    journal_reported: bool,
    found: Vec<String>,
}

impl Violations<'_> {
    /// Offsets of a partition from here on may be lost without a finding: nothing is on record that says that they
    /// were synced, and the disk holds no second copy.
    fn unproven_from(&self, key: PartitionKey) -> u64 {
        let hits_log = self.fault.path.starts_with(key.dir(data_dir()));
        match (self.left.end, self.fault.kind) {
            (End::Clean, _) => u64::MAX,
            // Behind the mark a torn write looks the same.
            (_, Kind::LastSegment) if hits_log => self.left.marked[&key],
            (_, Kind::PartitionDir | Kind::TopicDir) if hits_log => self.left.marked[&key],
            // The same at the end of the journal, where it alone has the records.
            (End::Power, Kind::NewestJournal) if self.struck.position >= self.left.journal_tail => {
                self.left.before_last.get(&key).copied().unwrap_or(0)
            }
            // A sector that holds parts of the last commit and of the one before it leaves nothing behind it that is sound.
            (End::Power, Kind::NewestJournal)
                if self.fault.how == How::Zero && self.struck.position + 512 > self.left.journal_tail =>
            {
                0
            }
            // A journal of an earlier time is sound, and nothing else has what came later.
            (End::Power, Kind::NewestJournal | Kind::JournalDir)
                if matches!(self.fault.how, How::Cut | How::Remove | How::Older) =>
            {
                0
            }
            _ => u64::MAX,
        }
    }

    fn check(&mut self, seen: &Seen, when: &str) {
        self.found.extend(seen.wrong.iter().map(|wrong| format!("{when}: {wrong}")));
        for key in keys() {
            let none = Promised::default();
            self.partition(key, self.left.promised.get(&key).unwrap_or(&none), seen, when);
        }
    }

    fn partition(&mut self, key: PartitionKey, promised: &Promised, seen: &Seen, when: &str) {
        let name = format!("{when}: partition {}/{}", &key.topic_id.to_string()[..2], key.partition);
        let findings = seen.findings.get(&key).map(Vec::as_slice).unwrap_or_default();
        // The broker keeps damage of the journal itself on record until it is accepted.
        let is_found = !findings.is_empty() || !seen.journal.is_empty() || self.journal_reported;
        let nothing = BTreeMap::new();
        let served = seen.served.get(&key).unwrap_or(&nothing);
        let foreign = served.iter().filter(|(base, bytes)| {
            promised.model.batches.get(base).is_none_or(|kept| !same(bytes, &kept.bytes))
        });
        let foreign: Vec<u64> = foreign.map(|(base, _)| *base).collect();
        // The journal has written its own batches into another partition's segment: what of that is sound is found as
        // what follows damage.
        let is_mixed = self.left.end != End::Clean
            && (self.fault.how, self.fault.kind) == (How::Swap, Kind::LastSegment)
            && is_found;
        if !foreign.is_empty() && !is_mixed {
            self.found.push(format!("{name}: served at {foreign:?} what was never appended there"));
        }
        let unproven = self.unproven_from(key);
        let (start, end) = (promised.model.log_start, promised.durable_end.min(unproven));
        let acknowledged =
            promised.model.batches.iter().filter(|(_, kept)| kept.next > start && kept.next <= end);
        let lost: Vec<u64> =
            acknowledged.map(|(base, _)| *base).filter(|base| !served.contains_key(base)).collect();
        let costs = self::promised(self.fault.kind);
        let in_files =
            !matches!(self.fault.kind, Kind::NewestJournal | Kind::OtherJournal | Kind::JournalDir);
        if in_files && !lost.is_empty() && when == FIRST && !self.verified.contains(&key) {
            self.found.push(format!("{name}: lost {lost:?}, and log verify finds nothing before the start"));
        }
        if !lost.is_empty() && (!is_found || costs == Cost::Nothing) {
            self.found
                .push(format!("{name}: lost in silence {lost:?} of {start}..{end}, findings {findings:?}"));
        }
        if costs == Cost::Nothing && is_found {
            self.found.push(format!("{name}: reported as damage: {findings:?} {:?}", seen.journal));
        }
        let log_start = seen.log_starts.get(&key).copied().unwrap_or(start);
        // A directory of an earlier time is sound, and after a loss of power nothing else has what came later.
        let is_older = self.fault.how == How::Older
            && matches!(self.fault.kind, Kind::PartitionDir | Kind::TopicDir)
            && self.left.end == End::Power;
        if log_start < start && !is_found && !is_older {
            self.found.push(format!("{name}: deleted records are back: {log_start} for {start}"));
        }
        let log_end = seen.log_ends.get(&key).copied().unwrap_or(end);
        if log_end < end && !is_found {
            self.found.push(format!("{name}: offsets from {log_end} to {end} are given out again"));
        }
    }
}

/// The leader epoch lies outside the batch's checksum: only the running checksum, so the scrub, sees a change of it.
fn same(served: &[u8], appended: &[u8]) -> bool {
    served.get(..12) == appended.get(..12) && served.get(16..) == appended.get(16..)
}

/// What a log knows by the files that it can do without: the producers, and where a time is.
fn derived(node: &Node, left: &Left, fault: &Fault, found: &mut Vec<String>) {
    if promised(fault.kind) != Cost::Nothing {
        return;
    }
    for (key, log) in &node.logs {
        let Some(promised) = left.promised.get(key) else { continue };
        let upper = log.cursors().log_end();
        for timestamp in [0, 40, 90, 150, 300] {
            let looked = log.plan_time_lookup(TimestampMs(timestamp), upper).perform();
            let looked = looked.map(|found| found.map(|found| (found.offset.get(), found.timestamp.0)));
            let expected = promised.model.first_at_or_after(timestamp, upper.get());
            if looked.as_ref().ok() != Some(&expected) {
                found.push(format!("{key:?}: the time {timestamp} is at {expected:?}, not {looked:?}"));
            }
        }
        if promised.model.log_start > 0 {
            continue; // some are known only by snapshots
        }
        let mut producers = Producers::new(log.config().producer_expiration_ms);
        let end = log.cursors().log_end();
        promised
            .headers
            .iter()
            .filter(|header| header.next_offset() <= end)
            .for_each(|header| producers.note(header));
        if log.producers() != &producers {
            found.push(format!("{key:?}: the producer state is not that of the batches"));
        }
    }
}

/// The partitions in which an offline check finds something.
fn verify(disk: &SimDisk) -> BTreeSet<PartitionKey> {
    let Ok(journal) = Replay::read(disk, data_dir()) else { return keys().into() };
    let finds = |key: &PartitionKey| {
        let (dir, limits) = (key.dir(data_dir()), DecompressLimits::default());
        let verified = offline::verify_against(disk, &dir, limits, &journal, *key);
        verified.map_or(true, |verified| {
            verified.findings.iter().any(|found| found.is_damage() || matches!(found, Finding::State { .. }))
        })
    };
    keys().into_iter().filter(finds).collect()
}

const FIRST: &str = "first start";

/// Starts on a disk with one fault, and goes on for two restarts.
fn try_fault(left: &Left, fault: &Fault) -> Option<Vec<String>> {
    let disk = left.disk.fork();
    let struck = fault.strike(&disk, left)?;
    let verified = verify(&disk);
    let mut violations =
        Violations { left, fault, struck: &struck, verified, journal_reported: false, found: Vec::new() };
    if let Err(error) = start_and_check(&disk, left, fault, &mut violations) {
        violations.found.push(format!("a start was refused: {error}"));
    }
    Some(violations.found.into_iter().map(|text| format!("{fault} {}: {text}", struck.what)).collect())
}

fn start_and_check(
    disk: &SimDisk,
    left: &Left,
    fault: &Fault,
    violations: &mut Violations<'_>,
) -> Result<(), LogError> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut node = Node::start(Arc::clone(&shared), left.end == End::Clean)?;
    let seen = observe(&node);
    violations.check(&seen, FIRST);
    violations.journal_reported = !seen.journal.is_empty();
    derived(&node, left, fault, &mut violations.found);
    // It goes on as a broker does; what was lost stays a finding until it is accepted.
    node.begin_epoch(left.epoch)?;
    let mut ends = Vec::new();
    let open: Vec<_> = node.logs.keys().copied().collect();
    for key in open {
        let appended = node.append(key, batch(&[7], 80, 77));
        ends.push((key, appended.base_offset.get()));
    }
    while node.logs.values().any(Log::wants_round) {
        node.commit(true).into_iter().try_for_each(|(_, done)| done)?;
    }
    let clean = mixed(left.epoch.into(), 3).is_multiple_of(2);
    if clean {
        node.stop()?;
    } else {
        drop(node);
    }
    disk.lose_power(Kept::Nothing);
    let node = Node::start(shared, clean)?;
    let mut seen = observe(&node);
    // Only what was there before is held to the promise.
    for (key, appended) in ends {
        match seen.served.get_mut(&key).and_then(|served| served.remove(&appended)) {
            Some(_) => {}
            None => {
                violations.found.push(format!("{key:?}: an append at {appended} is gone after a restart"))
            }
        }
    }
    violations.check(&seen, "second start");
    Ok(())
}

/// What came of all faults of one kind.
#[derive(Default)]
struct Tally {
    tried: u64,
    broken: u64,
    examples: Vec<String>,
}

/// So many examples of each kind are shown.
const EXAMPLES: usize = 4;

#[test]
fn no_single_fault_loses_anything_in_silence() {
    let mut tallies = BTreeMap::<(Kind, How), Tally>::new();
    for seed in seeds(40) {
        let left = World::live(seed);
        for fault in draw(&left, seed, 1) {
            let Some(found) = try_fault(&left, &fault) else { continue };
            let tally = tallies.entry((fault.kind, fault.how)).or_default();
            tally.tried += 1;
            tally.broken += u64::from(!found.is_empty());
            let examples = found.into_iter().map(|text| format!("LOG_SEED={seed} {:?}: {text}", left.end));
            tally.examples.extend(examples.take(EXAMPLES.saturating_sub(tally.examples.len())));
        }
    }
    let mut red = Vec::new();
    for ((kind, how), Tally { tried, broken, examples }) in &tallies {
        eprintln!("{how:?} of {kind:?}: {tried} tried, {broken} broke the promise");
        red.extend_from_slice(examples);
    }
    assert!(red.is_empty(), "a single fault broke the promise:\n{}", red.join("\n"));
    if std::env::var("LOG_SEED").is_err() {
        assert!(tallies.len() > 40, "only {:?} were tried", tallies.keys());
    }
}
