use corduroy_log::SimDisk;

use super::*;

fn config(dir: &str) -> BrokerConfig {
    BrokerConfig::for_tests(dir)
}

fn sim() -> (SimDisk, Arc<dyn Disk>) {
    let disk = SimDisk::new();
    (disk.clone(), Arc::new(disk))
}

fn write(disk: &dyn Disk, path: &str, text: &str) {
    disk.create_dir_all(Path::new(path).parent().unwrap()).unwrap();
    replace_file(disk, Path::new(path), Bytes::copy_from_slice(text.as_bytes())).unwrap();
}

#[test]
fn a_new_directory_gets_an_identity_that_stays() {
    let (_, disk) = sim();
    let first = DataDir::open(Arc::clone(&disk), &config("/data/b1")).unwrap();
    let identity = first.identity().clone();
    assert!(!first.was_clean());
    assert!(first.close());
    let second = DataDir::open(disk, &config("/data/b1")).unwrap();
    assert_eq!(*second.identity(), identity);
    assert!(second.was_clean());
}

#[test]
fn the_clean_mark_is_gone_before_anything_loads_and_stays_gone_after_a_crash() {
    let (handle, disk) = sim();
    assert!(DataDir::open(Arc::clone(&disk), &config("/data")).unwrap().close());
    let opened = DataDir::open(Arc::clone(&disk), &config("/data")).unwrap();
    assert!(opened.was_clean());
    drop(opened);
    handle.crash();
    assert!(!DataDir::open(disk, &config("/data")).unwrap().was_clean());
}

#[test]
fn a_crash_at_any_call_of_the_first_start_leaves_a_directory_that_opens() {
    for calls in 0..40 {
        let (handle, disk) = sim();
        handle.stop_after(calls);
        let finished = DataDir::open(Arc::clone(&disk), &config("/data")).is_ok();
        handle.crash();
        handle.heal();
        let again = DataDir::open(disk, &config("/data"));
        assert!(again.is_ok(), "stopped after {calls} calls: {again:?}");
        if finished {
            return;
        }
    }
    panic!("the first start takes more than 40 calls");
}

#[test]
fn the_lock_writes_nothing_into_a_foreign_directory() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("letter.txt"), "dear").unwrap();
    let error = DirLock::take(&foreign).unwrap_err();
    assert!(matches!(&error, DataDirError::Foreign { entry, .. } if entry == "letter.txt"), "{error}");
    let names: Vec<_> =
        std::fs::read_dir(&foreign).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["letter.txt"]);
    // A new directory, and one whose first start was cut off, are not foreign.
    let ours = dir.path().join("ours");
    drop(DirLock::take(&ours).unwrap());
    drop(DirLock::take(&ours).unwrap());
}

#[test]
fn other_owners_foreign_files_and_newer_formats_are_refused() {
    let (_, disk) = sim();
    DataDir::open(Arc::clone(&disk), &config("/data")).unwrap().close();
    let refuse = |change: &dyn Fn(&mut BrokerConfig)| {
        let mut config = config("/data");
        change(&mut config);
        DataDir::open(Arc::clone(&disk), &config).unwrap_err().to_string()
    };
    let text = refuse(&|config| config.node.id = BrokerId(7));
    assert_eq!(
        text,
        "data directory /data belongs to node 1, but the configuration says node 7; correct node.id, or choose \
         another with --data-dir"
    );
    let text = refuse(&|config| config.cluster.name = "prod".to_owned());
    assert!(text.contains("belongs to cluster \"default\" ("), "{text}");
    assert!(
        DataDir::open(Arc::clone(&disk), &config("/data")).unwrap().was_clean(),
        "a refusal changes nothing"
    );

    write(&*disk, "/other/notes.txt", "mine");
    let foreign = DataDir::open(Arc::clone(&disk), &config("/other")).unwrap_err();
    assert!(matches!(foreign, DataDirError::Foreign { ref entry, .. } if entry == "notes.txt"), "{foreign}");

    write(&*disk, "/newer/directory.toml", "format_version = 3\nshape = \"unknown\"\n");
    let newer = DataDir::open(Arc::clone(&disk), &config("/newer")).unwrap_err();
    assert!(matches!(newer, DataDirError::Newer { found: 3, .. }), "{newer}");

    for text in ["", "\u{0}", "format_version = 1\n", "format_version = -1\n"] {
        write(&*disk, "/damaged/directory.toml", text);
        let damaged = DataDir::open(Arc::clone(&disk), &config("/damaged")).unwrap_err();
        assert!(matches!(damaged, DataDirError::Damaged { .. }), "{damaged}");
    }
}

#[test]
fn an_identity_that_rots_is_refused_and_one_without_a_checksum_gets_it() {
    let (sim, disk) = sim();
    let opened = DataDir::open(Arc::clone(&disk), &config("/data")).unwrap();
    let identity = opened.identity().clone();
    opened.close();
    let path = Path::new("/data/directory.toml");
    let written = read_file(&*disk, path, 1 << 16).unwrap();
    for at in 0..written.len() {
        assert!(sim.damage(path, at as u64, |bytes| bytes[0] ^= 1));
        let opened = DataDir::open(Arc::clone(&disk), &config("/data"));
        assert!(opened.is_err(), "a flipped bit in byte {at}: {:?}", opened.unwrap().identity());
        sim.damage(path, at as u64, |bytes| bytes[0] ^= 1);
    }
    let text = String::from_utf8(written.clone()).unwrap();
    let (unchecked, _) = text.rsplit_once("crc32").unwrap();
    let old = unchecked.replace("format_version = 2", "format_version = 1");
    disk.remove_file(path).unwrap();
    write(&*disk, "/data/directory.toml", &old);
    let opened = DataDir::open(Arc::clone(&disk), &config("/data")).unwrap();
    assert_eq!(opened.identity(), &identity);
    assert_eq!(read_file(&*disk, path, 1 << 16).unwrap(), written);
}

#[test]
fn a_clean_shutdown_mark_that_rots_says_nothing() {
    let (sim, disk) = sim();
    DataDir::open(Arc::clone(&disk), &config("/data")).unwrap().close();
    assert!(sim.damage(Path::new("/data/clean-shutdown"), 3, |bytes| bytes[0] ^= 1));
    let opened = DataDir::open(Arc::clone(&disk), &config("/data")).unwrap();
    assert!(!opened.was_clean());
    assert!(opened.faults()[0].contains("clean-shutdown"), "{:?}", opened.faults());
    opened.close();
    let opened = DataDir::open(Arc::clone(&disk), &config("/data")).unwrap();
    assert!(opened.was_clean() && opened.faults().is_empty());
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/data");
    let lock = DirLock::take(&path).unwrap();
    let error = DirLock::take(&path).unwrap_err();
    assert!(
        matches!(error, DataDirError::InUse { pid: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
    drop(lock);
    DirLock::take(&path).unwrap();
}

#[test]
fn a_directory_without_its_lock_file_has_one_process_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let lock = DirLock::take(dir.path()).unwrap();
    std::fs::remove_file(dir.path().join(LOCK_FILE)).unwrap();
    let error = DirLock::take(dir.path()).unwrap_err();
    assert!(matches!(error, DataDirError::InUse { .. }), "{error}");
    drop(lock);
    DirLock::take(dir.path()).unwrap();
}

#[test]
fn a_directory_that_is_no_longer_the_locked_one_is_lost_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (path, aside) = (dir.path().join("data"), dir.path().join("aside"));
    let lock = DirLock::take(&path).unwrap();
    lock.check().unwrap();
    std::fs::rename(&path, &aside).unwrap();
    assert!(matches!(lock.check(), Err(DirLost::Removed { path: lost }) if lost == path));
    let other = DirLock::take(&path).unwrap();
    assert!(matches!(lock.check(), Err(DirLost::Replaced { path: lost }) if lost == path));
    drop(other);
    std::fs::remove_dir_all(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    lock.check().unwrap();
    let file = path.join(LOCK_FILE);
    std::fs::rename(&file, dir.path().join("lock")).unwrap();
    assert!(matches!(lock.check(), Err(DirLost::Removed { path: lost }) if lost == file));
    std::fs::write(&file, "").unwrap();
    assert!(matches!(lock.check(), Err(DirLost::Replaced { path: lost }) if lost == file));
    std::fs::rename(dir.path().join("lock"), &file).unwrap();
    lock.check().unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = DirLock::take(&file.path().join("data")).unwrap_err().to_string();
    assert!(text.contains("cannot create it: Not a directory"), "{text}");
}
