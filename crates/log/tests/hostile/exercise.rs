//! Files that no one wrote, and what must hold when a log is opened on them: no panic, an end, and nothing served
//! that is not a whole batch with a right checksum.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use corduroy_batch::{Batch, BatchBuilder, Compression, DecompressLimits, PushOutcome, crc32c};
use corduroy_log::disk::{Disk, OpenMode, SimDisk, read_file};
use corduroy_log::journal::{JOURNAL_DIR, Replay};
use corduroy_log::{
    Journal, JournalConfig, Known, Log, LogConfig, LogError, PartitionKey, ReadError, offline,
};
use corduroy_types::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};

const NOW: TimestampMs = TimestampMs(1_000);

fn dir() -> PathBuf {
    PathBuf::from("/5f0c54b6-0f0e-4d2c-9a43-6f4e0f1a2b3c/0")
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 2_000,
        index_interval_bytes: 200,
        retention_ms: None,
        tail_bytes: 0,
        ..LogConfig::default()
    }
}

fn put(disk: &SimDisk, path: &Path, contents: &[u8]) {
    let file = disk.open(path, OpenMode::Truncate).unwrap();
    file.write_at(&[Bytes::copy_from_slice(contents)], 0).unwrap();
    file.sync().unwrap();
}

/// Opens a log on arbitrary segment files. The first bytes choose where they begin, where one ends and the next
/// begins, and whether checksums are put right, so that what lies behind that check is reached, too.
/// Returns how many bytes of batches it served.
///
/// # Panics
/// Where something does not hold.
pub(crate) fn recovery(data: &[u8]) -> usize {
    let Some(([base, split, flags], data)) = data.split_first_chunk::<3>() else { return 0 };
    let mut contents = data.to_vec();
    let base = [0, u64::from(*base), 1 << 40, Offset::MAX.get() - 3][usize::from(base % 4)];
    if flags & 1 != 0 {
        repair(&mut contents, base);
    }
    let at = contents.len() * usize::from(*split) / 255;
    let (first, second) = contents.split_at(at);
    let disk = SimDisk::new();
    disk.create_dir_all(&dir()).unwrap();
    put(&disk, &dir().join(format!("{base:020}.log")), first);
    if flags & 2 != 0 {
        let next = base.saturating_add(1 + u64::from(flags >> 4)).min(Offset::MAX.get());
        put(&disk, &dir().join(format!("{next:020}.log")), second);
    }
    if flags & 4 != 0 {
        put(&disk, &dir().join(format!("{base:020}.index")), second);
        put(&disk, &dir().join(format!("{base:020}.timeindex")), second);
    }
    // Without a state none of it would be served.
    if !split.is_multiple_of(4) {
        let mut state = [b"CDPS\x00\x01".as_slice(), &base.to_be_bytes()].concat();
        let crc = crc32fast::hash(&state);
        state.extend_from_slice(&crc.to_be_bytes());
        put(&disk, &dir().join("partition.state"), &state);
    }
    open_and_use(&disk, Known::clean(flags & 8 != 0))
}

/// Makes headers follow one another and checksums right, as long as the lengths make sense.
fn repair(mut bytes: &mut [u8], base: u64) {
    let mut next = base;
    while let Some(header) = bytes.first_chunk::<61>() {
        let length = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let total = length.saturating_add(12).clamp(61, bytes.len());
        let (batch, rest) = bytes.split_at_mut(total);
        let count = u32::from(batch[60]) % 8 + 1;
        batch[..8].copy_from_slice(&next.to_be_bytes());
        batch[8..12].copy_from_slice(&((total - 12) as u32).to_be_bytes());
        batch[16] = 2;
        batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        batch[57..61].copy_from_slice(&count.to_be_bytes());
        let crc = crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        next = next.saturating_add(count.into());
        bytes = rest;
    }
}

fn open_and_use(disk: &SimDisk, known: Known) -> usize {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let verified = offline::verify(disk, &dir(), DecompressLimits::new(1 << 16));
    let mut log = match Log::open(Arc::clone(&shared), dir(), config(), known, NOW) {
        Ok((log, _)) => log,
        Err(LogError::NewerFormat { .. } | LogError::OtherPartition { .. }) => return 0,
        Err(other) => panic!("cannot open: {other}"),
    };
    drop(verified.unwrap());
    offline::stats(disk, &dir()).unwrap();
    let cursors = log.cursors();
    let (start, end) = (cursors.log_start(), cursors.log_end());
    let served = read_all(&log, start, end).len();
    for timestamp in [-1, 0, 1 << 40] {
        look_up(&log, timestamp);
    }
    let mut scrub = log.plan_scrub();
    while !scrub.step(1 << 20).unwrap().done {}
    let _ = log.damages();
    if let Ok(appended) = log.append(batch(1), LeaderEpoch::ZERO, NOW) {
        assert_eq!(appended.base_offset, end);
        while let Some(round) = log.take_round() {
            log.round_done(round.perform(disk)).unwrap();
        }
        let read = log.plan_read(end, 1 << 20, Offset::MAX).unwrap().perform().unwrap();
        assert_eq!(read.next_offset, appended.next_offset);
    }
    let end = log.cursors().log_end();
    drop(log);
    let (log, report) = Log::open(shared, dir(), config(), Known::default(), NOW).unwrap();
    assert_eq!((log.cursors().log_start(), log.cursors().log_end()), (start, end), "{report:?}");
    assert_eq!(report.cut, None, "what was opened and appended to is cut");
    served
}

/// Reads what can be read; returns it.
fn read_all(log: &Log, start: Offset, end: Offset) -> Vec<u8> {
    let (mut from, mut all) = (start, Vec::new());
    while from < end {
        match log.plan_read(from, 700, end).unwrap().perform() {
            Ok(read) => {
                assert!(read.next_offset > from, "a read at {from} does not advance");
                all.extend_from_slice(&read.bytes);
                let mut rest = Bytes::from(read.bytes.to_vec());
                while let Some(batch) = Batch::parse_prefix(&mut rest).unwrap() {
                    assert!(batch.header().next_offset() > from && batch.header().next_offset() <= end);
                    from = batch.header().next_offset();
                }
                from = read.next_offset.max(from);
            }
            Err(ReadError::Corrupt { next_good, .. }) => {
                let Some(next) = next_good else { return all };
                assert!(next > from, "damage at {from} does not end");
                from = next;
            }
            Err(other) => panic!("{other}"),
        }
    }
    all
}

fn look_up(log: &Log, timestamp: i64) {
    let end = log.cursors().log_end();
    for plan in [log.plan_time_lookup(TimestampMs(timestamp), end), log.plan_max_timestamp_lookup(end)] {
        match plan.perform() {
            Ok(found) => assert!(found.is_none_or(|found| found.offset < end)),
            Err(ReadError::Corrupt { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

fn batch(seed: u8) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 16);
    for n in 0..2 {
        let timestamp = TimestampMs(i64::from(seed % 7) + n);
        let pushed = builder.push(timestamp, None, Some(&[seed; 90]), std::iter::empty());
        assert_eq!(pushed, Ok(PushOutcome::Added));
    }
    Batch::parse(builder.build().unwrap()).unwrap()
}

/// A sound log of several segments; the bytes in it, and its end.
fn sound() -> (SimDisk, Vec<u8>, Offset) {
    let disk = SimDisk::new();
    let (mut log, _) = Log::open(Arc::new(disk.clone()), dir(), config(), Known::default(), NOW).unwrap();
    for seed in 0..30 {
        log.append(batch(seed), LeaderEpoch::ZERO, NOW).unwrap();
        while let Some(round) = log.take_round() {
            log.round_done(round.perform(&disk)).unwrap();
        }
    }
    let end = log.cursors().log_end();
    let all = read_all(&log, Offset::ZERO, end);
    log.close().unwrap();
    (disk, all, end)
}

/// Puts arbitrary bytes in the place of the files other than the batches. Indexes are evidence of nothing, so whatever
/// they hold, the same batches are read; a state file is believed only whole.
///
/// # Panics
/// Where something does not hold.
pub(crate) fn derived_files(data: &[u8]) {
    let Some(([which, flags], data)) = data.split_first_chunk::<2>() else { return };
    let (disk, all, end) = sound();
    let mut contents = data.to_vec();
    let files: Vec<PathBuf> = disk
        .files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|suffix| suffix != "log"))
        .collect();
    let Some(path) = files.get(usize::from(*which) % files.len()) else { return };
    let is_state = path.ends_with("partition.state") || path.ends_with("partition.state.copy");
    let looks_sound = is_state && flags & 1 != 0 && contents.len() >= 14;
    if looks_sound {
        contents[..6].copy_from_slice(if flags & 4 == 0 { b"CDPS\x00\x02" } else { b"CDPS\x00\x03" });
        contents[6..10].copy_from_slice(&[0; 4]);
        let body = contents.len() - 4;
        let crc = crc32fast::hash(&contents[..body]);
        contents[body..].copy_from_slice(&crc.to_be_bytes());
    }
    put(&disk, path, &contents);
    // One that is not sound is passed over for its copy.
    if looks_sound {
        open_and_use(&disk, Known::clean(flags & 2 != 0));
        return;
    }
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, report) = Log::open(shared, dir(), config(), Known::clean(flags & 2 != 0), NOW).unwrap();
    assert_eq!((report.cut, report.damages), (None, vec![]), "{} counted as evidence", path.display());
    assert_eq!(log.cursors().log_end(), end);
    assert!(read_all(&log, Offset::ZERO, end) == all, "{} changed what is read", path.display());
    assert_eq!(log.damages(), []);
    look_up(&log, 3);
    drop(log);
    open_and_use(&disk, Known::clean(flags & 2 != 0));
}

/// The commit journal of a data directory with arbitrary bytes in one of its files, in the place of it or laid over it: it
/// is read to an end, replayed, begun again, and what is begun is sound.
///
/// # Panics
/// Where something does not hold.
pub(crate) fn journal(data: &[u8]) {
    let Some(([flags, at], data)) = data.split_first_chunk::<2>() else { return };
    let disk = SimDisk::new();
    let data_dir = Path::new("/data");
    disk.create_dir_all(data_dir).unwrap();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let config =
        JournalConfig { file_bytes: 20_000, segments_min: 1, segment_bytes_max: 4_000, grow_bytes: 500 };
    let key = PartitionKey { topic_id: TopicId::from_bytes([9; 16]), partition: PartitionIndex(0) };
    let (mut journal, _) = Journal::open(&shared, data_dir, config).unwrap();
    let opened = Log::open(Arc::clone(&shared), key.dir(data_dir), self::config(), Known::default(), NOW);
    let (mut log, _) = opened.unwrap();
    for seed in 0..6 {
        log.append(batch(seed), LeaderEpoch::ZERO, NOW).unwrap();
        let rounds = log.take_round().map(|round| (key, round)).into_iter().collect();
        let mut commit = journal.plan(rounds, Vec::new(), true);
        commit.perform(&disk);
        for (_, result) in journal.finish(commit).results {
            log.round_done(result).unwrap();
        }
    }
    drop((journal, log));
    let name = if flags & 1 == 0 { "a.journal" } else { "b.journal" };
    let path = data_dir.join(JOURNAL_DIR).join(name);
    let mut bytes = read_file(&disk, &path, 1 << 20).unwrap();
    if flags & 2 == 0 {
        let at = bytes.len() * usize::from(*at) / 256;
        bytes.iter_mut().skip(at).zip(data).for_each(|(byte, other)| *byte = *other);
    } else {
        bytes = data.to_vec();
    }
    put(&disk, &path, &bytes);
    let replay = match Replay::read(&disk, data_dir) {
        Err(LogError::NewerFormat { .. }) => return,
        other => other.unwrap(),
    };
    replay.perform(&disk).unwrap();
    let journal = Journal::begin(&shared, &replay, config).unwrap();
    let known = journal.known(key, false);
    match Log::open(Arc::clone(&shared), key.dir(data_dir), self::config(), known, NOW) {
        Ok(_) | Err(LogError::StaleHistory { .. }) => {}
        Err(other) => panic!("cannot open: {other}"),
    }
    drop(journal);
    let again = Replay::read(&disk, data_dir).unwrap().report();
    assert!(!again.unreadable, "what was begun cannot be read");
}
