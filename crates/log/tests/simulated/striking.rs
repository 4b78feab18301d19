//! One thing that is not as it was left: a bit, a file, a directory.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use corduroy_log::disk::{Disk, OpenMode, SimDisk, read_file};

use crate::data_dir::{contents, data_dir};
use crate::lives::{End, Left};
use crate::promise::mixed;

/// What kind of file or directory is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The journal file with the newest generation.
    NewestJournal,
    OtherJournal,
    State,
    /// The last file of batches of a partition.
    LastSegment,
    SealedSegment,
    OffsetIndex,
    TimeIndex,
    Snapshot,
    JournalDir,
    PartitionDir,
    TopicDir,
}

/// How it is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// One bit is another one.
    Flip,
    /// A sector reads as zeros.
    Zero,
    /// It ends early.
    Cut,
    /// Bytes follow that do not belong there.
    Surplus,
    /// It is gone.
    Remove,
    /// It has the contents of the equal-named one of another partition, which has its own.
    Swap,
    /// It is as it was earlier.
    Older,
}

impl How {
    const ALL: [Self; 7] =
        [Self::Flip, Self::Zero, Self::Cut, Self::Surplus, Self::Remove, Self::Swap, Self::Older];
}

/// One fault.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub how: How,
    pub path: PathBuf,
    /// Chooses the place in the file, or the other file.
    seed: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?} {} (choice {})", self.how, self.kind, self.path.display(), self.seed)
    }
}

/// What was done, as far as it matters for what may be lost.
#[derive(Clone, Debug, Default)]
pub struct Struck {
    pub what: String,
    /// The first byte of the file that is not as it was.
    pub position: u64,
}

fn generation(bytes: &[u8]) -> u64 {
    bytes.get(6..14).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// What a path is.
fn kind(path: &Path, all: &BTreeMap<PathBuf, Vec<u8>>) -> Option<Kind> {
    let of_dir = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "log");
    Some(match path.extension().and_then(|extension| extension.to_str())? {
        "journal" => {
            let newest = all.iter().filter(|(path, _)| path.extension().is_some_and(|ext| ext == "journal"));
            let newest = newest.max_by_key(|(_, bytes)| generation(bytes)).map(|(path, _)| path.as_path());
            if newest == Some(path) { Kind::NewestJournal } else { Kind::OtherJournal }
        }
        "state" | "copy" => Kind::State,
        "index" => Kind::OffsetIndex,
        "timeindex" => Kind::TimeIndex,
        "snapshot" => Kind::Snapshot,
        "log" => {
            let last = all.keys().filter(|other| other.parent() == path.parent()).rfind(of_dir);
            if last.map(PathBuf::as_path) == Some(path) { Kind::LastSegment } else { Kind::SealedSegment }
        }
        _ => return None,
    })
}

/// Faults of every kind that what was left allows, each drawn `times` times.
pub fn draw(left: &Left, seed: u64, times: u64) -> Vec<Fault> {
    let all = contents(&left.disk);
    let mut targets: BTreeMap<Kind, Vec<PathBuf>> = BTreeMap::new();
    for path in all.keys() {
        if let Some(kind) = kind(path, &all) {
            targets.entry(kind).or_default().push(path.clone());
        }
        let dir = path.parent().unwrap();
        let dirs = match dir.ends_with("journal") {
            true => vec![(Kind::JournalDir, dir)],
            false => vec![(Kind::PartitionDir, dir), (Kind::TopicDir, dir.parent().unwrap())],
        };
        for (kind, dir) in dirs {
            let known = targets.entry(kind).or_default();
            if dir != data_dir() && !known.iter().any(|path| path == dir) {
                known.push(dir.to_owned());
            }
        }
    }
    let mut faults = Vec::new();
    for (kind, paths) in targets.into_iter().filter(|(_, paths)| !paths.is_empty()) {
        for how in How::ALL {
            let is_dir = matches!(kind, Kind::JournalDir | Kind::PartitionDir | Kind::TopicDir);
            if is_dir && !matches!(how, How::Remove | How::Swap | How::Older) {
                continue;
            }
            let times = if how == How::Flip { 3 * times } else { times };
            for time in 0..times {
                let seed = mixed(seed, (kind as u64) << 32 | (how as u64) << 16 | time);
                let path = paths[(seed % paths.len() as u64) as usize].clone();
                faults.push(Fault { kind, how, path, seed: mixed(seed, 9) });
            }
        }
    }
    faults
}

/// Whether a file is a segment to which no durable mark leads yet: nothing says whose it is.
fn is_unmarked(path: &Path, left: &Left) -> bool {
    let base = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
    let marked = left.marked.iter().find(|(key, _)| path.starts_with(key.dir(data_dir())));
    let is_segment = path.extension().is_some_and(|extension| extension == "log");
    left.end != End::Clean
        && is_segment
        && base.zip(marked).is_some_and(|(base, (_, marked))| *marked <= base)
}

impl Fault {
    /// Does it; `None` where there is nothing to do it with.
    pub fn strike(&self, disk: &SimDisk, left: &Left) -> Option<Struck> {
        let struck = match self.kind {
            Kind::JournalDir | Kind::PartitionDir | Kind::TopicDir => self.strike_dir(disk, left),
            _ => self.strike_file(disk, left),
        };
        sync_all(disk, Path::new("/"));
        struck
    }

    fn strike_file(&self, disk: &SimDisk, left: &Left) -> Option<Struck> {
        let bytes = read_file(disk, &self.path, u64::MAX).unwrap();
        let length = bytes.len() as u64;
        if length == 0 {
            return None;
        }
        let place = self.seed % length;
        let mut changed = bytes.clone();
        match self.how {
            How::Flip => changed[place as usize] ^= 1 << (mixed(self.seed, 1) % 8),
            How::Zero => {
                let sector = place as usize / 512 * 512;
                let end = bytes.len().min(sector + 512);
                changed[sector..end].fill(0);
            }
            How::Cut => changed.truncate(place as usize),
            How::Surplus => changed.extend((0..100).map(|n| mixed(self.seed, n) as u8)),
            How::Remove => {
                disk.remove_file(&self.path).unwrap();
                return Some(Struck { what: String::new(), position: 0 });
            }
            How::Swap if is_unmarked(&self.path, left) => return None,
            How::Swap => {
                let others = contents(disk).into_iter().filter(|(path, other)| {
                    let same = path.file_name() == self.path.file_name()
                        || path.extension() == self.path.extension() && path.ends_with("journal");
                    path != &self.path && same && *other != bytes && !is_unmarked(path, left)
                });
                let others: Vec<_> = others.collect();
                let (path, other) =
                    others.get((mixed(self.seed, 2) % others.len().max(1) as u64) as usize)?;
                put(disk, path, &bytes);
                put(disk, &self.path, other);
                return Some(Struck { what: format!("with {}", path.display()), position: 0 });
            }
            How::Older => changed.clone_from(left.older.get(&self.path)?),
        }
        if changed == bytes {
            return None;
        }
        let differs = changed.iter().zip(&bytes).position(|(new, old)| new != old);
        let position = differs.unwrap_or(changed.len().min(bytes.len())) as u64;
        put(disk, &self.path, &changed);
        Some(Struck {
            what: format!("from byte {position} of {length}, now {} long", changed.len()),
            position,
        })
    }

    fn strike_dir(&self, disk: &SimDisk, left: &Left) -> Option<Struck> {
        let all = contents(disk);
        match self.how {
            How::Remove => {
                remove(disk, &self.path).unwrap();
                Some(Struck::default())
            }
            How::Swap => {
                let levels = if self.kind == Kind::TopicDir { 2 } else { 1 };
                let dirs = all.keys().filter_map(|path| path.ancestors().nth(levels));
                let mut dirs: Vec<_> = dirs
                    .filter(|dir| *dir != self.path && !dir.ends_with("journal") && *dir != data_dir())
                    .map(Path::to_owned)
                    .collect();
                dirs.dedup();
                let other = dirs.get((mixed(self.seed, 2) % dirs.len().max(1) as u64) as usize)?;
                if self.kind == Kind::JournalDir {
                    return None;
                }
                let (mine, theirs) = (below(&all, &self.path), below(&all, other));
                replace(disk, &self.path, &theirs);
                replace(disk, other, &mine);
                Some(Struck { what: format!("with {}", other.display()), position: 0 })
            }
            How::Older => {
                let older = below(&left.older, &self.path);
                if older.is_empty() || older == below(&all, &self.path) {
                    return None;
                }
                replace(disk, &self.path, &older);
                Some(Struck::default())
            }
            _ => None,
        }
    }
}

/// The files below a directory, by their path in it.
fn below(all: &BTreeMap<PathBuf, Vec<u8>>, dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let inside = all.iter().filter_map(|(path, bytes)| Some((path.strip_prefix(dir).ok()?, bytes)));
    inside.map(|(path, bytes)| (path.to_owned(), bytes.clone())).collect()
}

/// Gives a directory other contents.
fn replace(disk: &SimDisk, dir: &Path, files: &[(PathBuf, Vec<u8>)]) {
    remove(disk, dir).unwrap();
    for (path, bytes) in files {
        let path = dir.join(path);
        disk.create_dir_all(path.parent().unwrap()).unwrap();
        put(disk, &path, bytes);
    }
}

fn put(disk: &SimDisk, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, OpenMode::Truncate).unwrap();
    file.write_at(&[Bytes::copy_from_slice(bytes)], 0).unwrap();
    file.sync().unwrap();
}

fn remove(disk: &SimDisk, dir: &Path) -> io::Result<()> {
    for entry in disk.list(dir)? {
        let path = dir.join(&entry.name);
        if entry.is_dir { remove(disk, &path)? } else { disk.remove_file(&path)? }
    }
    disk.remove_dir(dir)
}

fn sync_all(disk: &SimDisk, dir: &Path) {
    disk.sync_dir(dir).unwrap();
    for entry in disk.list(dir).unwrap() {
        if entry.is_dir {
            sync_all(disk, &dir.join(&entry.name));
        }
    }
}
