//! What the disk itself does for the writes, syncs and reads that the log did.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use corduroy_benches::Failure;
use corduroy_broker::parallel::{SYNCS_AT_ONCE, run_parallel};

use crate::commit::Traced;

/// A file that is written over and over, like the commit journal.
const JOURNAL_BYTES: u64 = 32 << 20;

/// Files that what commits did is repeated on. Like the log's they grow from one measurement to the next: blocks that
/// were freed a moment ago are slower to write again on some disks.
#[derive(Debug)]
pub(crate) struct RawFiles {
    /// Each with its end.
    files: Vec<(File, u64)>,
    journal: File,
    journal_at: u64,
}

impl RawFiles {
    /// As many files as there are segments, and one for the journal.
    pub(crate) fn make(dir: &Path, files: u32) -> Result<Self, Failure> {
        std::fs::create_dir(dir)?;
        let files = (0..files).map(|index| Ok((create(&dir.join(index.to_string()))?, 0)));
        let files = files.collect::<io::Result<_>>()?;
        let journal = create(&dir.join("journal"))?;
        journal.write_all_at(&vec![0; usize::try_from(JOURNAL_BYTES)?], 0)?;
        settle(dir)?;
        Ok(Self { files, journal, journal_at: 0 })
    }

    /// Repeats what commits did: for each the same number of writes with the same bytes, then the same number of syncs,
    /// as many at once. Checkpoints are not repeated.
    ///
    /// Ends early when the time is over; returns the seconds that all of it takes at that rate.
    pub(crate) fn repeat(&mut self, trace: &[Traced], time: Duration) -> Result<f64, Failure> {
        let largest = trace.iter().map(|traced| traced.bytes.max(traced.journal_bytes)).max().unwrap_or(0);
        let data: Vec<u8> = (0..largest).map(|at| (at % 251).to_le_bytes()[0]).collect();
        let mut done = 0;
        let began = Instant::now();
        for traced in trace {
            if began.elapsed() > time {
                break;
            }
            done += traced.bytes;
            self.write(traced, &data)?;
            let with_journal = usize::from(traced.journal_bytes > 0);
            let failed = parking_lot::Mutex::new(None);
            run_parallel(traced.syncs, SYNCS_AT_ONCE, |index| {
                let segment = || self.files.get(index - with_journal).map(|(file, _)| file);
                let file = if index < with_journal { Some(&self.journal) } else { segment() };
                if let Some(Err(error)) = file.map(File::sync_data) {
                    *failed.lock() = Some(error);
                }
            });
            if let Some(error) = failed.into_inner() {
                return Err(error.into());
            }
        }
        let all: u64 = trace.iter().map(|traced| traced.bytes).sum();
        Ok(began.elapsed().as_secs_f64() * all as f64 / done.max(1) as f64)
    }

    fn write(&mut self, traced: &Traced, data: &[u8]) -> Result<(), Failure> {
        let piece = traced.bytes.div_ceil(traced.files.max(1) as u64);
        let piece_data = data.get(..usize::try_from(piece)?).ok_or("too little data")?;
        for (file, end) in self.files.iter_mut().take(traced.files) {
            file.write_all_at(piece_data, *end)?;
            *end += piece;
        }
        if traced.journal_bytes > 0 {
            if self.journal_at + traced.journal_bytes > JOURNAL_BYTES {
                self.journal_at = 0;
            }
            let entry = data.get(..usize::try_from(traced.journal_bytes)?).ok_or("too little data")?;
            self.journal.write_all_at(entry, self.journal_at)?;
            self.journal_at += traced.journal_bytes;
        }
        Ok(())
    }
}

/// Has the file system write whatever it has yet to write, so that what comes next does not pay for it.
pub(crate) fn settle(dir: &Path) -> Result<(), Failure> {
    Ok(rustix::fs::syncfs(File::open(dir)?)?)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

/// The segment files of a partition, in order.
pub(crate) fn segments(dir: &Path) -> io::Result<Vec<(File, u64)>> {
    let mut paths: Vec<_> =
        std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let file = File::open(path)?;
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        })
        .collect()
}

/// Lets the page cache forget the segments of a partition, which have been synced.
pub(crate) fn forget(dir: &Path) -> Result<(), Failure> {
    for (file, _) in segments(dir)? {
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

/// Reads all segments of a partition in pieces, each into memory of its own as sending needs it. Returns
/// the seconds.
pub(crate) fn read_all(dir: &Path, piece_bytes: usize) -> Result<f64, Failure> {
    let segments = segments(dir)?;
    let began = Instant::now();
    for (file, bytes) in &segments {
        let mut at = 0;
        while at < *bytes {
            let piece = piece_bytes.min(usize::try_from(bytes - at)?);
            read_at(file, at, piece)?;
            at += piece as u64;
        }
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Reads into fresh memory that is not zeroed first.
pub(crate) fn read_at(file: &File, at: u64, bytes: usize) -> Result<(), Failure> {
    let mut buffer = Vec::with_capacity(bytes);
    let mut done = 0;
    while done < bytes {
        let read = rustix::io::pread(file, rustix::buffer::spare_capacity(&mut buffer), at + done as u64)?;
        if read == 0 {
            return Err("the file is shorter than it was".into());
        }
        done += read;
    }
    std::hint::black_box(&buffer);
    Ok(())
}

/// Bytes that this process made the system read from a disk so far, where the system says.
pub(crate) fn disk_read_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("read_bytes: ")).and_then(|bytes| bytes.parse().ok())
}
