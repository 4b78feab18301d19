//! The cache against a disk that counts, and refuses, open handles.

use std::sync::atomic::AtomicBool;

use corduroy_batch::{Batch, BatchBuilder, Compression};
use corduroy_types::{LeaderEpoch, Offset, TimestampMs};
use rustix::io::Errno;

use super::*;
use crate::{Known, Log, LogConfig, SimDisk};

/// A disk on which at most `most` files can be open, and that counts them.
#[derive(Clone, Debug)]
struct Counting {
    disk: SimDisk,
    most: usize,
    open: Arc<AtomicUsize>,
    /// Lets every sync fail.
    failing: Arc<AtomicBool>,
    /// Opens that still succeed before one finds no handle.
    until_refused: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Counted {
    file: Arc<dyn DiskFile>,
    of: Counting,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.of.open.fetch_sub(1, Relaxed);
    }
}

impl DiskFile for Counted {
    fn read_at(&self, buffer: &mut Vec<u8>, position: u64, max_bytes: usize) -> io::Result<usize> {
        self.file.read_at(buffer, position, max_bytes)
    }
    fn write_at(&self, parts: &[Bytes], position: u64) -> io::Result<()> {
        self.file.write_at(parts, position)
    }
    fn sync(&self) -> io::Result<()> {
        if self.of.failing.load(Relaxed) { Err(io::Error::other("broken")) } else { self.file.sync() }
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl Disk for Counting {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let refused = self.until_refused.fetch_sub(1, Relaxed) == 0;
        if refused || self.open.load(Relaxed) >= self.most {
            return Err(super::super::at(path, Errno::MFILE.into()));
        }
        let file = self.disk.open(path, mode)?;
        self.open.fetch_add(1, Relaxed);
        Ok(Arc::new(Counted { file, of: self.clone() }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        self.disk.space(path)
    }
}

fn counting(most: usize) -> Counting {
    let until_refused = Arc::new(AtomicUsize::new(usize::MAX));
    Counting { disk: SimDisk::new(), most, open: Arc::default(), failing: Arc::default(), until_refused }
}

fn files(cache: &HandleCache, count: usize) -> Vec<Arc<dyn DiskFile>> {
    let name = |n| PathBuf::from(format!("/f{n}"));
    (0..count).map(|n| cache.open(&name(n), OpenMode::CreateNew).unwrap()).collect()
}

fn bytes_of(file: &dyn DiskFile) -> Vec<u8> {
    let mut buffer = Vec::new();
    file.read_at(&mut buffer, 0, 100).unwrap();
    buffer
}

#[test]
fn more_files_are_used_than_may_be_open() {
    for (capacity, most) in [(4, 100), (100, 4), (1, 1)] {
        let counting = counting(most);
        let cache = HandleCache::new(Arc::new(counting.clone()), capacity);
        let files = files(&cache, 40);
        for round in 0..3 {
            for (file, n) in files.iter().zip(0_u8..) {
                file.write_at(&[Bytes::from(vec![n, round])], u64::from(round) * 2).unwrap();
                file.sync().unwrap();
                assert!(counting.open.load(Relaxed) <= most.min(capacity + 1));
            }
        }
        assert_eq!(cache.open_files(), counting.open.load(Relaxed));
        for (file, n) in files.iter().zip(0_u8..) {
            assert_eq!(bytes_of(&**file), [n, 0, n, 1, n, 2]);
        }
        drop(files);
        assert_eq!((cache.open_files(), counting.open.load(Relaxed)), (0, 0));
    }
}

#[test]
fn files_that_were_dropped_are_not_remembered() {
    let cache = HandleCache::new(Arc::new(SimDisk::new()), 16_384);
    let kept = files(&cache, 10);
    for _ in 0..1_000 {
        drop(cache.open(Path::new("/f0"), OpenMode::Read).unwrap());
    }
    assert_eq!(cache.open_files(), kept.len());
    let listed = cache.pool.files.lock().len();
    assert!(listed <= 2 * kept.len() + LISTED_MIN, "{listed} files are listed");
}

#[test]
fn a_handle_with_unsynced_writes_is_synced_before_it_goes() {
    let counting = counting(100);
    let cache = HandleCache::new(Arc::new(counting.clone()), 2);
    let files = files(&cache, 10);
    for file in &files {
        file.write_at(&[Bytes::from_static(b"unsynced")], 0).unwrap();
    }
    assert!(counting.open.load(Relaxed) <= 3);
    cache.sync_dir(Path::new("/")).unwrap();
    counting.disk.crash();
    let kept = |n: usize| {
        let file = counting.disk.open(&PathBuf::from(format!("/f{n}")), OpenMode::Read);
        file.is_ok_and(|file| bytes_of(&*file) == b"unsynced")
    };
    assert!((0..7).all(kept), "closed without a sync");
}

#[test]
fn a_sync_that_failed_on_giving_back_is_not_forgotten() {
    let counting = counting(100);
    let cache = HandleCache::new(Arc::new(counting.clone()), 1);
    let first = cache.open(Path::new("/first"), OpenMode::CreateNew).unwrap();
    first.write_at(&[Bytes::from_static(b"x")], 0).unwrap();
    counting.failing.store(true, Relaxed);
    let second = cache.open(Path::new("/second"), OpenMode::CreateNew).unwrap();
    assert_eq!(cache.open_files(), 1);
    counting.failing.store(false, Relaxed);
    assert!(is_lost_write(&first.sync().unwrap_err()), "a later sync proves nothing");
    assert!(is_lost_write(&first.write_at(&[Bytes::from_static(b"y")], 1).unwrap_err()));
    assert!(second.sync().is_ok());
    // A caller that opens it again knows why.
    let again = cache.open(Path::new("/first"), OpenMode::ReadWrite).unwrap();
    assert!(again.sync().is_ok());
}

#[test]
fn without_anything_to_give_back_the_error_says_so() {
    let counting = counting(1);
    let cache = HandleCache::new(Arc::new(counting.clone()), 8);
    let elsewhere = counting.open(Path::new("/elsewhere"), OpenMode::CreateNew).unwrap();
    let error = cache.open(Path::new("/file"), OpenMode::CreateNew).unwrap_err();
    assert!(is_out_of_handles(&error), "{error}");
    assert!(!is_lost_write(&error));
    drop(elsewhere);
    let file = cache.open(Path::new("/file"), OpenMode::CreateNew).unwrap();
    file.write_at(&[Bytes::from_static(b"x")], 0).unwrap();
    assert_eq!(bytes_of(&*file), b"x");
}

#[test]
fn writers_of_many_files_at_one_time() {
    let counting = counting(12);
    let cache = HandleCache::new(Arc::new(counting), 4);
    let files = files(&cache, 24);
    std::thread::scope(|scope| {
        for part in files.chunks(6) {
            scope.spawn(move || {
                for round in 0_u64..200 {
                    for file in part {
                        file.write_at(&[Bytes::from(vec![7])], round).unwrap();
                        if round % 5 == 0 {
                            file.sync().unwrap();
                        }
                    }
                }
            });
        }
    });
    assert!(files.iter().all(|file| file.len().unwrap() == 200));
}

fn batch(value: &[u8]) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    let pushed = builder.push(TimestampMs(7), None, Some(value), std::iter::empty());
    assert!(pushed.is_ok());
    Batch::parse(builder.build().unwrap()).unwrap()
}

/// Whatever call of a round finds no handle, the round is not failed: it goes on there when it is performed again, and
/// the log is as if it had only been slow.
#[test]
fn a_round_without_a_handle_goes_on_later() {
    const BATCHES: u64 = 40;
    let mut refusals = 0;
    for nth in 0.. {
        let counting = counting(100);
        // Without a cache, which would give back another handle.
        let disk: Arc<dyn Disk> = Arc::new(counting.clone());
        let config = LogConfig { segment_bytes: 2_000, ..LogConfig::default() };
        let open = || {
            Log::open(Arc::clone(&disk), PathBuf::from("/t/0"), config, Known::default(), TimestampMs(0))
                .unwrap()
                .0
        };
        let mut log = open();
        let mut left = nth;
        let mut postponed = 0;
        for n in 0..BATCHES {
            log.append(batch(&[b'v'; 400]), LeaderEpoch::ZERO, TimestampMs(0)).unwrap();
            if n % 8 != 7 {
                continue;
            }
            // Counted over all rounds; what is left of it does not outlive a round.
            counting.until_refused.store(left, Relaxed);
            let round = log.take_round().unwrap();
            let mut result = round.perform(&*disk);
            while result.is_postponed() {
                postponed += 1;
                assert!(log.take_round().is_none(), "it is still in flight");
                assert_eq!(log.cursors().durable_end().get() + 8, n + 1);
                result = round.perform(&*disk);
            }
            assert!(log.round_done(result).is_ok(), "open {nth}");
            assert_eq!(log.cursors().durable_end().get(), n + 1, "open {nth}");
            let unused = counting.until_refused.swap(usize::MAX, Relaxed);
            left = if postponed > 0 { usize::MAX } else { unused };
        }
        refusals += postponed;
        assert!(log.failure().is_none());
        drop(log);
        counting.disk.crash();
        let end = Offset::new(BATCHES).unwrap();
        assert_eq!(open().cursors().log_end(), end, "open {nth}");
        if postponed == 0 {
            break;
        }
    }
    assert!(refusals > 20, "only {refusals} opens were refused");
}
