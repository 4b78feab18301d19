//! A broker that starts on a data directory in which one thing is not as it was left: a bit, a file, a directory.
//! Nothing acknowledged is missing, and nothing deleted is back, unless `status` says so; or it does not start, and says
//! what to do. `docs/on-disk.md` says what each fault may cost.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may fail loudly, its helpers too"
)]

mod support;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use corduroy_broker::{Broker, RunningBroker, config::BrokerConfig};
use corduroy_log::{
    Disk, SimDisk,
    disk::{Kept, OpenMode, read_file},
};
use support::{
    Random,
    intact::{self, Acknowledged},
};

const DATA: &str = "/corduroy";

/// What is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Identity,
    CleanMark,
    Reserve,
    Journal,
    MetadataSegment,
    MetadataState,
    Segment,
    State,
    Index,
    Snapshot,
    JournalDir,
    MetadataDir,
    TopicDir,
    PartitionDir,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    Flip,
    Cut,
    Empty,
    Remove,
    Older,
}

/// Faults that are known to break the promise, and why.
const OPEN: &[(Target, How, &str)] = &[];

/// What the last broker left: files, and what it had acknowledged.
struct Left {
    disk: SimDisk,
    clean: bool,
    acknowledged: Acknowledged,
    older: BTreeMap<PathBuf, Vec<u8>>,
}

fn config() -> BrokerConfig {
    BrokerConfig::for_tests(DATA)
}

async fn start(disk: &SimDisk) -> Result<(RunningBroker, String), String> {
    let started = Broker::start(config(), Arc::new(disk.clone())).await;
    let running = started.map_err(|error| error.to_string())?;
    let url = format!("http://{}", running.grpc_addr());
    Ok((running, url))
}

async fn crash(running: RunningBroker) {
    tokio::task::spawn_blocking(move || running.crash()).await.unwrap();
}

fn contents(disk: &SimDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |path: PathBuf| {
        let bytes = read_file(disk, &path, u64::MAX).unwrap();
        (path, bytes)
    };
    disk.files().into_iter().map(read).collect()
}

/// A life of two brokers on one directory.
async fn live(seed: u64, clean: bool) -> Left {
    let disk = SimDisk::new();
    let (running, url) = start(&disk).await.unwrap();
    let mut acknowledged = intact::fill(&url, seed).await;
    assert!(running.shutdown().await);
    let older = contents(&disk);
    let (running, url) = start(&disk).await.unwrap();
    intact::produce(&url, &mut acknowledged, seed + 1, 60).await;
    // What it makes durable in the journal takes all marks along: behind one, a torn write and rot look the same.
    intact::create(&url, &mut acknowledged, "last").await;
    if clean {
        assert!(running.shutdown().await);
    } else {
        crash(running).await;
    }
    disk.lose_power(Kept::Everything);
    Left { disk, clean, acknowledged, older }
}

fn target(path: &Path) -> Option<Target> {
    let metadata = path.components().any(|part| part.as_os_str() == "00000000-0000-0000-0000-000000000001");
    let name = path.file_name()?.to_str()?;
    Some(match path.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "log" if metadata => Target::MetadataSegment,
        "state" | "copy" if metadata => Target::MetadataState,
        "log" => Target::Segment,
        "state" | "copy" => Target::State,
        "index" | "timeindex" => Target::Index,
        "snapshot" => Target::Snapshot,
        "journal" => Target::Journal,
        "toml" => Target::Identity,
        _ if name == "clean-shutdown" => Target::CleanMark,
        _ if name == "full-disk-reserve" => Target::Reserve,
        _ => return None,
    })
}

/// One thing that is not as it was left.
#[derive(Clone, Debug)]
struct Fault {
    target: Target,
    how: How,
    path: PathBuf,
    seed: u64,
}

impl Fault {
    /// Every kind of fault that what was left allows, one of each.
    fn each(left: &Left, seed: u64) -> Vec<Self> {
        let mut random = Random(seed);
        let all = contents(&left.disk);
        let mut targets: BTreeMap<Target, Vec<PathBuf>> = BTreeMap::new();
        for path in all.iter().filter(|(_, bytes)| !bytes.is_empty()).map(|(path, _)| path) {
            targets.entry(target(path).unwrap_or(Target::Reserve)).or_default().push(path.clone());
            if let Some(Target::Segment | Target::MetadataSegment) = target(path) {
                let (partition, topic) = (path.parent().unwrap(), path.ancestors().nth(2).unwrap());
                let dirs = match target(path) {
                    Some(Target::MetadataSegment) => vec![(Target::MetadataDir, topic)],
                    _ => vec![(Target::PartitionDir, partition), (Target::TopicDir, topic)],
                };
                dirs.into_iter()
                    .for_each(|(target, dir)| targets.entry(target).or_default().push(dir.to_owned()));
            }
        }
        targets.insert(Target::JournalDir, vec![Path::new(DATA).join("journal")]);
        let mut faults = Vec::new();
        for (target, paths) in targets {
            let hows: &[How] = match target {
                Target::JournalDir | Target::MetadataDir | Target::TopicDir | Target::PartitionDir => {
                    &[How::Remove, How::Older]
                }
                _ => &[How::Flip, How::Flip, How::Cut, How::Empty, How::Remove, How::Older],
            };
            for how in hows {
                let path = paths[random.below(paths.len() as u64) as usize].clone();
                faults.push(Self { target, how: *how, path, seed: random.next() });
            }
        }
        faults
    }

    /// Does it; `false` where it would change nothing.
    fn strike(&self, disk: &SimDisk, older: &BTreeMap<PathBuf, Vec<u8>>) -> bool {
        let all = contents(disk);
        let below = |all: &BTreeMap<PathBuf, Vec<u8>>| -> BTreeMap<PathBuf, Vec<u8>> {
            let inside = all.iter().filter(|(path, _)| path.starts_with(&self.path));
            inside.map(|(path, bytes)| (path.clone(), bytes.clone())).collect()
        };
        let (before, earlier) = (below(&all), below(older));
        let mut after = before.clone();
        let length = before.get(&self.path).map_or(0, |bytes| bytes.len() as u64);
        match self.how {
            How::Flip => {
                let bytes = after.get_mut(&self.path).unwrap();
                // Most of a journal file is room.
                let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last as u64 + 1);
                bytes[(self.seed % used) as usize] ^= 1 << (self.seed >> 61);
            }
            How::Cut => after.get_mut(&self.path).unwrap().truncate((self.seed % length) as usize),
            How::Empty => after.get_mut(&self.path).unwrap().clear(),
            How::Remove => after.clear(),
            How::Older if earlier.is_empty() => return false,
            How::Older => after = earlier,
        }
        if after == before {
            return false;
        }
        for path in before.keys().filter(|path| !after.contains_key(*path)) {
            disk.remove_file(path).unwrap();
        }
        for (path, bytes) in &after {
            disk.create_dir_all(path.parent().unwrap()).unwrap();
            let file = disk.open(path, OpenMode::Truncate).unwrap();
            file.write_at(&[Bytes::copy_from_slice(bytes)], 0).unwrap();
            file.sync().unwrap();
        }
        if self.how == How::Remove && before.len() > 1 || before.keys().any(|path| path != &self.path) {
            remove_empty(disk, &self.path);
        }
        // All of it is on disk.
        disk.lose_power(Kept::Everything);
        true
    }

    /// Whether a broker may refuse to start for it. What it says then has to lead on.
    fn may_refuse(&self, error: &str) -> bool {
        let leads_on = ["restore", "logctl", "choose", "put the journal's files back"]
            .iter()
            .any(|word| error.contains(word));
        let alone = matches!(
            self.target,
            Target::Identity
                | Target::MetadataSegment
                | Target::MetadataState
                | Target::MetadataDir
                | Target::Journal
                | Target::JournalDir
        );
        alone && leads_on
    }
}

/// Removes directories in which nothing is left.
fn remove_empty(disk: &SimDisk, dir: &Path) {
    let Ok(entries) = disk.list(dir) else { return };
    for entry in entries.iter().filter(|entry| entry.is_dir) {
        remove_empty(disk, &dir.join(&entry.name));
    }
    let _not_empty = disk.remove_dir(dir);
}

/// Starts twice on what was left, with one fault; returns what breaks the promise.
async fn try_fault(left: &Left, fault: &Fault) -> Option<Vec<String>> {
    let disk = left.disk.fork();
    if !fault.strike(&disk, &left.older) {
        return None;
    }
    let mut found = Vec::new();
    for attempt in ["first start", "second start"] {
        let (running, url) = match start(&disk).await {
            Ok(started) => started,
            Err(error) => {
                if !fault.may_refuse(&error) {
                    found.push(format!("{attempt} refused: {error}"));
                }
                break;
            }
        };
        let seen = intact::read_all(&url).await;
        let violations = intact::violations(&left.acknowledged, &seen).into_iter();
        found.extend(violations.map(|text| format!("{attempt}: {text}")));
        assert!(running.shutdown().await, "{fault:?}: a clean stop");
    }
    Some(found)
}

/// A broker that does not answer for as long, hangs.
const HANGS_AFTER: Duration = Duration::from_secs(30);

/// `FAULT_SEED=17` runs that seed alone, `FAULT_SEEDS=50` so many instead of the usual number.
fn seeds(usual: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("FAULT_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("FAULT_SEEDS").unwrap_or(usual)).collect(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_single_fault_loses_anything_without_a_finding() {
    let mut tallies: BTreeMap<(Target, How), (u64, Vec<String>)> = BTreeMap::new();
    for seed in seeds(1) {
        let began = std::time::Instant::now();
        for clean in [true, false] {
            let left = live(seed, clean).await;
            for fault in Fault::each(&left, seed) {
                eprintln!("{fault:?}");
                let tried = tokio::time::timeout(HANGS_AFTER, try_fault(&left, &fault)).await;
                let tried = tried.unwrap_or_else(|_| Some(vec![format!("no answer in {HANGS_AFTER:?}")]));
                let Some(found) = tried else { continue };
                let (tried, broken) = tallies.entry((fault.target, fault.how)).or_default();
                *tried += 1;
                let end = if left.clean { "clean stop" } else { "kill" };
                broken.extend(
                    found.into_iter().map(|text| format!("FAULT_SEED={seed} {end} {fault:?}: {text}")),
                );
            }
        }
        eprintln!("seed {seed} took {:?}", began.elapsed());
    }
    let mut red = Vec::new();
    for ((target, how), (tried, broken)) in tallies {
        let open = OPEN.iter().find(|(of, by, _)| (*of, *by) == (target, how));
        eprintln!(
            "{how:?} of {target:?}: {tried} tried, {} violations {}",
            broken.len(),
            open.map_or("", |open| open.2)
        );
        if open.is_none() {
            red.extend(broken);
        }
    }
    assert!(red.is_empty(), "a single fault broke the promise:\n{}", red.join("\n"));
}
