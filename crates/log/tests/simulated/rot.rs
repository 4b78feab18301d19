//! Beyond what a log can bear: flipped bits, files cut or gone, writes that went astray, syncs that did nothing. What
//! is lost then is detected and reported, and never served, skipped in silence or given to other records.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use corduroy_batch::Batch;
use corduroy_log::disk::{Astray, Disk, Kept, OpenMode, SimCall, SimDisk, read_file};
use corduroy_log::{DamagedRange, DurableMark, Known, Log, LogConfig, ReadError, RecoveryReport};
use corduroy_types::{LeaderEpoch, Offset};
use proptest::prelude::*;

use crate::common::{Model, NOW, at, batch, commit, dir, new_disk, small_config};
use crate::promise::mixed;
use crate::seeds::for_seeds;

/// What goes wrong with what is stored.
#[derive(Clone, Debug)]
enum Rot {
    /// One bit of one file.
    Flip { seed: u64 },
    /// A segment file ends early.
    CutFile { seed: u64 },
    /// A segment file is gone.
    RemoveFile { seed: u64 },
    /// The nth of the writes that follow lands elsewhere.
    Misdirect { nth: u64, seed: u64 },
}

/// How the log comes to be opened again.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Not at all: it goes on.
    GoOn,
    Kill,
    Crash {
        seed: u64,
    },
    CleanRestart,
}

#[derive(Clone, Debug)]
struct Story {
    config: LogConfig,
    /// How many batches each commit round has.
    rounds: Vec<u64>,
    /// Before which round something goes wrong.
    rot: Vec<(usize, Rot)>,
    /// From which round on syncs of this kind do nothing.
    lie: Option<(usize, SimCall)>,
    end: End,
}

fn stories() -> impl Strategy<Value = Story> {
    let rot = prop_oneof![
        4 => any::<u64>().prop_map(|seed| Rot::Flip { seed }),
        1 => any::<u64>().prop_map(|seed| Rot::CutFile { seed }),
        1 => any::<u64>().prop_map(|seed| Rot::RemoveFile { seed }),
        3 => (0..12_u64, any::<u64>()).prop_map(|(nth, seed)| Rot::Misdirect { nth, seed }),
    ];
    let lie = (0..15_usize, prop::sample::select(vec![SimCall::Sync, SimCall::SyncDir]));
    let end = prop_oneof![
        Just(End::GoOn),
        Just(End::Kill),
        any::<u64>().prop_map(|seed| End::Crash { seed }),
        Just(End::CleanRestart),
    ];
    (
        prop::sample::select(vec![4_000, 1 << 20]),
        prop::collection::vec(1..4_u64, 2..16),
        prop::collection::vec((0..17_usize, rot), 1..4),
        prop::option::weighted(0.15, lie),
        end,
    )
        .prop_map(|(segment_bytes, rounds, rot, lie, end)| {
            let config = LogConfig { segment_bytes, tail_bytes: 0, ..small_config() };
            Story { config, rounds, rot, lie, end }
        })
}

struct Replayed {
    disk: SimDisk,
    log: Log,
    report: RecoveryReport,
    model: Model,
    mark: DurableMark,
    /// Files that were not as they should be, whose like need not be noticed: they are no evidence.
    without_evidence: bool,
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

impl Rot {
    /// Returns what was hit, if it was not one of the log's batches.
    fn strike(&self, disk: &SimDisk) -> bool {
        let logs: Vec<_> = disk.files().into_iter().filter(|path| is_log(path)).collect();
        let chosen = |seed: &u64| logs.get((seed % (logs.len().max(1) as u64)) as usize);
        match self {
            Self::Flip { seed } => {
                return disk.flip_bit(*seed, |_| true).is_some_and(|(path, ..)| !is_log(&path));
            }
            Self::CutFile { seed } => {
                if let Some(path) = chosen(seed) {
                    let file = disk.open(path, OpenMode::ReadWrite).unwrap();
                    file.set_len(mixed(*seed, 1) % file.len().unwrap().max(1)).unwrap();
                    file.sync().unwrap();
                }
            }
            Self::RemoveFile { seed } => {
                if let Some(path) = chosen(seed) {
                    disk.remove_file(path).unwrap();
                    disk.sync_dir(&dir()).unwrap();
                }
            }
            Self::Misdirect { nth, seed } => {
                let astray = match mixed(*seed, 2) % 3 {
                    0 => Astray::Lost,
                    1 => Astray::Shifted { bytes: 512 * (1 + mixed(*seed, 3) % 3) },
                    _ => chosen(seed).map_or(Astray::Lost, |path| Astray::File { path: path.clone() }),
                };
                eprintln!("write {nth} from now goes astray: {astray:?}");
                disk.misdirect_nth_write(*nth, astray);
            }
        }
        false
    }
}

fn replay(story: &Story) -> Option<Replayed> {
    let disk = new_disk();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let open = |known| Log::open(Arc::clone(&shared), dir(), story.config, known, NOW);
    let (mut log, mut report) = open(Known::default()).unwrap();
    let (mut model, mut without_evidence) = (Model::default(), false);
    for (round, batches) in story.rounds.iter().enumerate() {
        for (_, rot) in story.rot.iter().filter(|(when, _)| *when == round) {
            without_evidence |= rot.strike(&disk);
        }
        if let Some((_, call)) = story.lie.filter(|(from, _)| *from == round) {
            disk.ignore_syncs(call);
        }
        for seed in 0..*batches {
            let timestamps = vec![round as i64 * 10, 5];
            let batch = batch(&timestamps, 200 + (round * 97) % 500, seed + 100 * round as u64);
            let appended = log.append(batch.clone(), LeaderEpoch::ZERO, NOW).unwrap();
            model.append(batch, timestamps, LeaderEpoch::ZERO, appended);
        }
        while let Some(round) = log.take_round() {
            // A file that is gone may be needed: a log that stops has noticed.
            log.round_done(round.perform(&disk)).ok()?;
        }
    }
    for (_, rot) in story.rot.iter().filter(|(when, _)| *when >= story.rounds.len()) {
        without_evidence |= rot.strike(&disk);
    }
    disk.heal();
    let mark = log.durable_mark();
    let known = Known { mark: Some(mark), ..Known::default() };
    let reopened = match story.end {
        End::GoOn => {
            // Who has a removed file open has all of it.
            without_evidence |= story.rot.iter().any(|(_, rot)| matches!(rot, Rot::RemoveFile { .. }));
            None
        }
        End::Kill => Some(open(known)),
        End::Crash { seed } => {
            eprintln!("{}", disk.lose_power(Kept::Subset { seed }));
            Some(open(known))
        }
        End::CleanRestart => {
            log.close().ok()?;
            (log, report) = open(Known { clean: true, ..known }).ok()?;
            None
        }
    };
    if let Some(reopened) = reopened {
        // A disk that answers is enough to open a log, whatever it answers.
        (log, report) = reopened.unwrap();
    }
    without_evidence |= report.state_lost;
    Some(Replayed { disk, log, report, model, mark, without_evidence })
}

/// Reads everything. What is served must be what was appended there, and nothing may be passed over in silence.
/// Returns how many batches were not served.
fn read_everything(replayed: &Replayed, max_bytes: u32) -> usize {
    let (mut from, end) = (replayed.log.cursors().log_start(), replayed.log.cursors().log_end());
    let mut served = 0;
    while from < end {
        match replayed.log.plan_read(from, max_bytes, end).unwrap().perform() {
            Ok(read) => {
                let mut bytes = Bytes::from(read.bytes.to_vec());
                // Where the catalogue is lost, which is reported, it cannot say that there are no gaps.
                let may_step = replayed.report.state_lost;
                assert!(!bytes.is_empty() || may_step, "nothing at {from}, below the log end {end}");
                while let Some(batch) = Batch::parse_prefix(&mut bytes).unwrap() {
                    let base = batch.header().base_offset;
                    let kept = replayed.model.batches.get(&base.get());
                    let kept = kept.unwrap_or_else(|| panic!("a batch at {base} that was never appended"));
                    assert!(same(batch.bytes(), &kept.bytes), "another batch than was appended at {base}");
                    assert!(base <= from || may_step, "offsets {from} to {base} passed over in silence");
                    from = batch.header().next_offset();
                    served += 1;
                }
                assert!(read.next_offset == from || (may_step && read.next_offset > from));
                from = read.next_offset;
            }
            Err(ReadError::Corrupt { next_good, damage }) => {
                eprintln!("read at {from}: {damage}, next good {next_good:?}");
                assert!(next_good.is_none_or(|next| next > from), "{damage}: no progress");
                let Some(next) = next_good else { break };
                from = next;
            }
            Err(other) => panic!("{other}"),
        }
    }
    replayed.model.batches.len().saturating_sub(served)
}

/// The leader epoch lies outside the batch's checksum: only the running checksum, so the scrub, sees a change of it.
fn same(served: &[u8], appended: &[u8]) -> bool {
    served.get(..12) == appended.get(..12) && served.get(16..) == appended.get(16..)
}

/// All damage there is, by the log's own account.
fn scrub(log: &Log) -> usize {
    let mut scrub = log.plan_scrub();
    while !scrub.step(1_000).unwrap().done {}
    log.damages().len()
}

#[test]
fn what_is_lost_beyond_the_promise_is_reported() {
    for_seeds("rot::what_is_lost", 800, &stories(), |_, story| {
        let Some(mut replayed) = replay(&story) else { return };
        let end = replayed.log.cursors().log_end();
        assert!(
            end >= replayed.mark.offset,
            "offsets up to {} were used, and would be again from {end}",
            replayed.mark.offset
        );
        // While the state is lost nothing is served, and that is reported.
        let doubt = replayed.log.damages().iter().any(DamagedRange::is_doubt);
        let intact = is_intact(&replayed) && !doubt;
        for max_bytes in [1, 1_500] {
            let unserved = read_everything(&replayed, max_bytes);
            assert!(unserved == 0 || !intact, "{unserved} sound batches were not served");
        }
        let found = scrub(&replayed.log) + usize::from(replayed.report.cut.is_some());
        assert!(intact || found > 0 || replayed.without_evidence, "damage was not noticed");
        assert!(
            !intact || replayed.log.damages().is_empty(),
            "sound bytes taken for damaged: {:?}",
            replayed.log.damages()
        );
        // Appends go on behind it all.
        let appended = replayed.log.append(batch(&[1], 100, 9), LeaderEpoch::ZERO, NOW).unwrap();
        assert_eq!(appended.base_offset, end);
        commit(&mut replayed.log, &replayed.disk);
        let read = replayed.log.plan_read(end, 1 << 20, Offset::MAX).unwrap().perform().unwrap();
        assert_eq!(read.next_offset, at(end.get() + 1));
    });
}

/// Whether the files of batches hold, one after the other, all that was appended.
fn is_intact(replayed: &Replayed) -> bool {
    let logs = replayed.disk.files().into_iter().filter(|path| is_log(path) && path.starts_with(dir()));
    let stored: Vec<u8> = logs.flat_map(|path| read_file(&replayed.disk, &path, u64::MAX).unwrap()).collect();
    stored == replayed.model.bytes(0, replayed.model.log_end)
}
