//! The simulated disk forgets what it should, and nothing else; what it does wrong is what it was asked to.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::disk::{Disk, DiskFile, OpenMode, replace_file};

fn part(text: &str) -> [Bytes; 1] {
    [Bytes::copy_from_slice(text.as_bytes())]
}

fn read(disk: &SimDisk, path: &str) -> String {
    let file = disk.open(Path::new(path), OpenMode::Read).unwrap();
    let mut buffer = Vec::new();
    file.read_at(&mut buffer, 0, 100).unwrap();
    String::from_utf8(buffer).unwrap()
}

#[test]
fn a_crash_forgets_what_was_not_synced() {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new("/d")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let file = disk.open(Path::new("/d/a"), OpenMode::CreateNew).unwrap();
    file.write_at(&part("hello"), 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_at(&part("JELLO world"), 0).unwrap();
    file.set_len(3).unwrap();
    disk.open(Path::new("/d/b"), OpenMode::CreateNew).unwrap();
    disk.remove_file(Path::new("/d/a")).unwrap();
    disk.crash();
    assert_eq!(read(&disk, "/d/a"), "hello");
    assert!(disk.open(Path::new("/d/b"), OpenMode::Read).is_err());
    assert!(file.sync().is_err(), "a handle from before the crash is dead");
}

#[test]
fn a_name_needs_its_directory_to_be_durable() {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new("/d/e")).unwrap();
    let file = disk.open(Path::new("/d/e/a"), OpenMode::CreateNew).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("/d/e")).unwrap();
    disk.crash();
    assert!(disk.list(Path::new("/d")).is_err());
}

#[test]
fn a_full_disk_refuses_growth_only() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(4));
    let file = disk.open(Path::new("a"), OpenMode::CreateNew).unwrap();
    file.write_at(&part("1234"), 0).unwrap();
    assert_eq!(file.write_at(&part("5"), 4).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.write_at(&part("abcd"), 0).unwrap();
    disk.remove_file(Path::new("a")).unwrap();
    assert_eq!(disk.space(Path::new("/")).unwrap().free_bytes, 4);
}

fn made(disk: &SimDisk, path: &str, text: &str) -> Arc<dyn DiskFile> {
    let file = disk.open(Path::new(path), OpenMode::CreateNew).unwrap();
    file.write_at(&part(text), 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file
}

fn bytes_of(disk: &SimDisk, path: &str) -> Vec<u8> {
    crate::disk::read_file(disk, Path::new(path), u64::MAX).unwrap()
}

#[derive(Clone, Debug)]
enum Change {
    Write { position: usize, bytes: usize },
    SetLen(usize),
    Sync,
    FailingSync,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        6 => (0..3_000_usize, 0..1_500_usize).prop_map(|(position, bytes)| Change::Write { position, bytes }),
        2 => (0..3_500_usize).prop_map(Change::SetLen),
        1 => Just(Change::Sync),
        1 => Just(Change::FailingSync),
    ];
    prop::collection::vec(change, 1..12)
}

/// What may be on disk, as naively as can be: for the length and for each sector, all that was there since the last
/// sync that succeeded (and, after one that failed, since the one before it).
#[derive(Default)]
struct Legal {
    versions: Vec<Vec<u8>>,
    /// After a failed sync the old versions stay possible for whatever is not written again.
    doubtful: bool,
}

impl Legal {
    fn allows(&self, found: &[u8]) -> bool {
        let sector = |bytes: &[u8], n: usize| {
            let mut sector: Vec<u8> =
                bytes.iter().copied().skip(n * SECTOR_BYTES).take(SECTOR_BYTES).collect();
            sector.resize(SECTOR_BYTES, 0);
            sector
        };
        let cut = |mut bytes: Vec<u8>, n: usize, len: usize| {
            bytes.truncate(len.saturating_sub(n * SECTOR_BYTES));
            bytes.resize(SECTOR_BYTES, 0);
            bytes
        };
        // What a failed sync left may have ended earlier, and been extended with zeros since.
        let ends = self.versions.iter().map(Vec::len).filter(|_| self.doubtful);
        let ends: Vec<usize> = ends.chain([found.len()]).collect();
        let len_is_legal = self.versions.iter().any(|version| version.len() == found.len());
        let sectors = 0..found.len().div_ceil(SECTOR_BYTES);
        len_is_legal
            && sectors.into_iter().all(|n| {
                let there = cut(sector(found, n), n, found.len());
                let possible = |version: &Vec<u8>, end: usize| {
                    cut(cut(sector(version, n), n, end), n, found.len()) == there
                };
                self.versions.iter().any(|version| ends.iter().any(|end| possible(version, *end)))
            })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_power_loss_leaves_only_what_was_there_once(changes in changes(), seed: u64, keep: bool) {
        let disk = SimDisk::new();
        let file = made(&disk, "/f", "");
        let mut legal = Legal { versions: vec![Vec::new()], doubtful: false };
        if keep {
            disk.failed_syncs_keep(Kept::Subset { seed: !seed });
        }
        for (n, change) in (1_u8..).zip(changes) {
            match change {
                Change::Write { position, bytes } => {
                    file.write_at(&[vec![n; bytes].into()], position as u64).unwrap();
                }
                Change::SetLen(len) => file.set_len(len as u64).unwrap(),
                Change::Sync => {
                    file.sync().unwrap();
                    if !legal.doubtful {
                        legal.versions.clear();
                    }
                }
                Change::FailingSync => {
                    disk.fail_nth(SimCall::Sync, 0);
                    assert!(file.sync().is_err());
                    legal.doubtful = true;
                }
            }
            legal.versions.push(bytes_of(&disk, "/f"));
        }
        let live = bytes_of(&disk, "/f");
        for kept in [Kept::Nothing, Kept::Everything, Kept::Subset { seed }] {
            let (fork, again) = (disk.fork(), disk.fork());
            let loss = fork.lose_power(kept);
            let found = bytes_of(&fork, "/f");
            assert!(legal.allows(&found), "{loss}");
            assert!(kept != Kept::Everything || legal.doubtful || found == live, "{loss}");
            assert_eq!(again.lose_power(kept), loss);
            assert_eq!(bytes_of(&again, "/f"), found, "the same seed chooses the same");
            assert!(fork.lose_power(Kept::Nothing).found_all_durable());
            assert_eq!(bytes_of(&fork, "/f"), found);
        }
        assert_eq!(bytes_of(&disk, "/f"), live, "a fork shares nothing");
    }
}

#[test]
fn every_subset_comes_up() {
    let disk = SimDisk::new();
    let file = made(&disk, "/f", "");
    for sector in 0..3 {
        file.write_at(&[vec![1; SECTOR_BYTES].into()], sector * SECTOR_BYTES as u64).unwrap();
    }
    let found = (0..400).map(|seed| {
        let fork = disk.fork();
        fork.lose_power(Kept::Subset { seed });
        let bytes = bytes_of(&fork, "/f");
        bytes.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect::<Vec<u8>>()
    });
    // Every length, and for each every pattern of kept sectors.
    assert_eq!(found.collect::<BTreeSet<_>>().len(), 1 + 2 + 4 + 8);
}

#[test]
fn names_come_and_go_one_by_one_but_a_rename_never_loses_the_file() {
    let disk = SimDisk::new();
    for name in ["a", "b", "c"] {
        made(&disk, name, name);
    }
    disk.remove_file(Path::new("a")).unwrap();
    disk.rename(Path::new("b"), Path::new("d")).unwrap();
    disk.rename(Path::new("d"), Path::new("c")).unwrap();
    let file = disk.open(Path::new("e"), OpenMode::CreateNew).unwrap();
    file.write_at(&part("e"), 0).unwrap();
    let mut found = BTreeSet::new();
    for seed in 0..500 {
        let fork = disk.fork();
        let loss = fork.lose_power(Kept::Subset { seed });
        let there: Vec<String> =
            fork.files().iter().map(|path| read(&fork, path.to_str().unwrap())).collect();
        assert!(there.iter().any(|text| text == "b"), "{loss}{:?}", fork.files());
        found.insert(fork.files());
    }
    // `a` and `e` there or not, and `b`, `d` each or both, or neither when `c` has it; `c` always.
    assert_eq!(found.len(), 2 * 2 * 4);
}

#[test]
fn a_small_file_is_replaced_whole_or_not() {
    let disk = SimDisk::new();
    made(&disk, "state", "old");
    disk.record();
    replace_file(&disk, Path::new("/state"), Bytes::from_static(b"new")).unwrap();
    let calls = disk.take_record();
    let printed: Vec<String> = calls.iter().map(ToString::to_string).collect();
    let expected = [
        "Create /state.tmp",
        "Write /state.tmp 3 bytes at 0",
        "Sync /state.tmp",
        "Rename /state.tmp",
        "SyncDir /",
    ];
    assert_eq!(printed, expected);
    for stop in 0..=5 {
        for seed in 0..50 {
            let disk = SimDisk::new();
            made(&disk, "state", "old");
            disk.stop_after(stop);
            let replaced = replace_file(&disk, Path::new("/state"), Bytes::from_static(b"new")).is_ok();
            let loss = disk.lose_power(Kept::Subset { seed });
            let found = read(&disk, "/state");
            assert!(found == "new" || (found == "old" && !replaced), "stop={stop} {loss}");
        }
    }
}

#[test]
fn what_a_failed_sync_did_not_write_is_read_until_the_power_goes() {
    let disk = SimDisk::new();
    let file = made(&disk, "/f", "old");
    file.write_at(&part("NEW and longer"), 0).unwrap();
    disk.fail_nth(SimCall::Sync, 0);
    assert!(file.sync().is_err());
    assert_eq!(read(&disk, "/f"), "NEW and longer");
    file.sync().unwrap();
    let fork = disk.fork();
    disk.lose_power(Kept::Everything);
    assert_eq!(read(&disk, "/f"), "old", "clean pages are not written");
    // Cutting dirties the sector, so that what is left of it is written again.
    let file = fork.open(Path::new("/f"), OpenMode::ReadWrite).unwrap();
    file.set_len(3).unwrap();
    file.sync().unwrap();
    fork.crash();
    assert_eq!(read(&fork, "/f"), "NEW");
}

#[test]
fn writes_go_astray_and_say_nothing() {
    let disk = SimDisk::new();
    let file = made(&disk, "/f", "0123456789");
    made(&disk, "/g", "abcdefghij");
    disk.misdirect_nth_write(1, Astray::Lost);
    disk.misdirect_nth_write(2, Astray::Shifted { bytes: 4 });
    disk.misdirect_nth_write(3, Astray::File { path: PathBuf::from("/g") });
    for text in ["A", "B", "C", "D"] {
        file.write_at(&part(text), 1).unwrap();
    }
    file.sync().unwrap();
    assert_eq!((read(&disk, "/f").as_str(), read(&disk, "/g").as_str()), ("0A234C6789", "aDcdefghij"));
    disk.misdirect_nth_write(0, Astray::Lost);
    file.write_at(&part("xx"), 10).unwrap();
    assert_eq!(read(&disk, "/f"), "0A234C6789\0\0");
}

#[test]
fn any_call_fails_when_asked_to() {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new("/d")).unwrap();
    let file = made(&disk, "/f", "text");
    for failure in [SimFailure::Io, SimFailure::Full, SimFailure::TooManyFiles] {
        for call in SimCall::ALL {
            let perform = || match call {
                SimCall::Create => disk.open(Path::new("/n"), OpenMode::CreateNew).map(drop),
                SimCall::Write => file.write_at(&part("text"), 0),
                SimCall::Sync => file.sync(),
                SimCall::SetLen => file.set_len(4),
                SimCall::Rename => disk.rename(Path::new("/f"), Path::new("/n")),
                SimCall::Remove => disk.remove_file(Path::new("/f")),
                SimCall::CreateDir => disk.create_dir_all(Path::new("/n")),
                SimCall::SyncDir => disk.sync_dir(Path::new("/")),
                SimCall::Open => disk.open(Path::new("/f"), OpenMode::Read).map(drop),
                SimCall::Read => file.read_at(&mut Vec::new(), 0, 1).map(drop),
                SimCall::Len => file.len().map(drop),
                SimCall::List => disk.list(Path::new("/")).map(drop),
                SimCall::Space => disk.space(Path::new("/")).map(drop),
            };
            disk.fail_nth_with(call, 0, failure);
            let error = perform().unwrap_err();
            assert_eq!(error.kind(), failure.error(call).kind(), "{call:?}");
            disk.heal();
            disk.fail_randomly(7, 1000, &[call], failure);
            assert!(perform().is_err());
            disk.heal();
        }
    }
    assert_eq!(disk.files(), [PathBuf::from("/f")]);
    let failures = |seed: u64| {
        disk.fail_randomly(seed, 300, &[SimCall::Len], SimFailure::Io);
        let failures: Vec<bool> = (0..100).map(|_| file.len().is_err()).collect();
        disk.heal();
        failures
    };
    assert_eq!(failures(1), failures(1));
    assert_ne!(failures(1), failures(2));
}

#[test]
fn a_held_call_hangs_until_it_is_freed() {
    let disk = SimDisk::new();
    let file = made(&disk, "/f", "old");
    for end in 0..4 {
        let gate = disk.hold(SimCall::Sync);
        std::thread::scope(|scope| {
            let syncs = [scope.spawn(|| file.sync()), scope.spawn(|| file.sync())];
            gate.wait_for(2);
            assert_eq!(gate.waiting(), 2);
            file.write_at(&part("not held"), 0).unwrap();
            match end {
                0 => gate.open(),
                1 => disk.heal(),
                2 => disk.stop_after(0),
                _ => disk.crash(),
            }
            let results = syncs.map(|sync| sync.join().unwrap().is_ok());
            assert_eq!(results, [end < 2; 2], "{end}");
        });
        disk.heal();
    }
}

#[test]
fn every_call_is_watched_and_what_it_finds_can_be_forked() {
    let disk = SimDisk::new();
    let (seen, forked) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let watch = {
        let (disk, seen, forked) = (disk.clone(), Arc::clone(&seen), Arc::clone(&forked));
        move |event: &SimEvent<'_>| {
            seen.lock().push((event.call, event.position, event.bytes));
            forked.lock().push(disk.fork());
        }
    };
    disk.watch(Some(Arc::new(watch)));
    made(&disk, "/f", "text");
    disk.watch(None);
    made(&disk, "/g", "text");
    let expected =
        [(SimCall::Create, 0, 0), (SimCall::Write, 0, 4), (SimCall::Sync, 0, 0), (SimCall::SyncDir, 0, 0)];
    assert_eq!(*seen.lock(), expected);
    let kept =
        forked.lock().iter().map(|fork| fork.lose_power(Kept::Everything).used_bytes).collect::<Vec<_>>();
    assert_eq!(kept, [0, 0, 4, 4]);
}

#[test]
fn many_small_writes_that_are_never_synced_are_not_each_remembered() {
    let disk = SimDisk::new();
    let file = made(&disk, "/f", "");
    for n in 0..50_000_u64 {
        file.write_at(&part("0123456789"), n * 10).unwrap();
    }
    let content = disk.0.state.lock().tree.file(Path::new("/f")).unwrap();
    assert!(content.lock().changes() < 5_000);
    disk.lose_power(Kept::Everything);
    assert_eq!(bytes_of(&disk, "/f").len(), 500_000);
}

#[test]
fn a_full_disk_takes_what_still_fits() {
    let disk = SimDisk::new();
    let file = made(&disk, "/f", "");
    disk.set_capacity(Some(6));
    assert_eq!(file.write_at(&part("12345678"), 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(read(&disk, "/f"), "123456");
    assert_eq!(file.set_len(7).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.set_len(0).unwrap();
    assert_eq!(disk.space(Path::new("/")).unwrap().free_bytes, 6);
}

#[test]
fn a_flipped_bit_is_flipped_for_good() {
    let disk = SimDisk::new();
    made(&disk, "/f", "text");
    made(&disk, "/g", "text");
    let (path, position, mask) = disk.flip_bit(3, |path| path.ends_with("g")).unwrap();
    assert_eq!(path, PathBuf::from("/g"));
    disk.crash();
    let mut found = bytes_of(&disk, "/g");
    found[usize::try_from(position).unwrap()] ^= mask;
    assert_eq!(found, b"text");
    assert_eq!(disk.flip_bit(3, |path| path.ends_with("h")), None);
}
