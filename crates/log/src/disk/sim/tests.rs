//! The simulated disk forgets what it should, and nothing else.

use bytes::Bytes;

use super::*;

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
