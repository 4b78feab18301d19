//! Directories: the names seen now, the names on disk, and the changes between the two.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::content::Content;
use super::kept::Chooser;

pub(super) type File = Arc<Mutex<Content>>;
type DirNode = Arc<Mutex<Dir>>;

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Dir(DirNode),
    File(File),
}

/// A directory.
#[derive(Debug, Default)]
pub(super) struct Dir {
    live: BTreeMap<OsString, Node>,
    durable: BTreeMap<OsString, Node>,
    /// Changes of names since the last `sync_dir`, oldest first.
    changes: Vec<NameChange>,
}

#[derive(Clone, Debug)]
struct NameChange {
    name: OsString,
    /// What the name stands for from then on.
    node: Option<Node>,
    /// A name taken away by a rename: the change that gave the file its other name, in the same directory. A file
    /// system may keep both names, never neither.
    moved_by: Option<usize>,
}

impl Dir {
    fn change(&mut self, name: &OsStr, node: Option<Node>, moved_by: Option<usize>) {
        match &node {
            Some(node) => self.live.insert(name.to_owned(), node.clone()),
            None => self.live.remove(name),
        };
        self.changes.push(NameChange { name: name.to_owned(), node, moved_by });
    }

    /// The names that are on disk when of each name's history as much is kept as `chooser` says.
    fn lose(&mut self, chooser: &mut Chooser) {
        let mut histories: BTreeMap<&OsString, Vec<usize>> = BTreeMap::new();
        for (index, change) in self.changes.iter().enumerate() {
            histories.entry(&change.name).or_default().push(index);
        }
        let all = self.changes.len();
        let mut chosen: BTreeMap<&OsString, usize> =
            histories.iter().map(|(name, mine)| (*name, chooser.choose(mine, all))).collect();
        loop {
            let torn = self.changes.iter().enumerate().find_map(|(index, change)| {
                let link = change.moved_by?;
                let new_name = &self.changes.get(link)?.name;
                let taken = chosen.get(&change.name).is_some_and(|version| *version > index);
                let given = chosen.get(new_name).is_some_and(|version| *version > link);
                (taken && !given).then_some((new_name, link + 1))
            });
            let Some((name, version)) = torn else { break };
            chosen.insert(name, version);
        }
        for (name, version) in chosen {
            let Some(change) = version.checked_sub(1).and_then(|index| self.changes.get(index)) else {
                continue;
            };
            match &change.node {
                Some(node) => self.durable.insert(name.clone(), node.clone()),
                None => self.durable.remove(name),
            };
        }
        self.changes.clear();
        self.live.clone_from(&self.durable);
    }

    fn sync(&mut self) {
        for NameChange { name, node, .. } in self.changes.drain(..) {
            match node {
                Some(node) => self.durable.insert(name, node),
                None => self.durable.remove(&name),
            };
        }
    }
}

/// All directories and files.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree(DirNode);

/// What a power loss did to the names of a directory, and to the files in it.
pub(super) trait LossReport {
    fn chooser(&mut self, path: &Path) -> Chooser;
    fn names(&mut self, dir: &Path, changes: usize, names: Vec<String>);
    fn file(&mut self, path: &Path, content: &mut Content);
}

impl Tree {
    fn node(&self, path: &Path) -> Option<Node> {
        let mut at = Node::Dir(Arc::clone(&self.0));
        for name in names(path) {
            let Node::Dir(dir) = &at else { return None };
            let next = dir.lock().live.get(name).cloned()?;
            at = next;
        }
        Some(at)
    }

    pub(super) fn dir(&self, path: &Path) -> io::Result<DirNode> {
        match self.node(path) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(not_found(path)),
        }
    }

    /// The directory that holds `path`, and the name in it.
    fn place<'a>(&self, path: &'a Path) -> io::Result<(DirNode, &'a OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.dir(path.parent().unwrap_or(Path::new("")))?, name))
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<File> {
        match self.node(path) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(not_found(path)),
        }
    }

    /// Gives a name that is not taken to a new, empty file.
    pub(super) fn add_file(&self, path: &Path) -> io::Result<File> {
        let (dir, name) = self.place(path)?;
        let content = File::default();
        dir.lock().change(name, Some(Node::File(Arc::clone(&content))), None);
        Ok(content)
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let node = Node::File(self.file(from)?);
        let (from_dir, from_name) = self.place(from)?;
        let (to_dir, to_name) = self.place(to)?;
        if let Ok(Node::Dir(_)) = self.node(to).ok_or(()) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let one = Arc::ptr_eq(&from_dir, &to_dir);
        if one && from_name == to_name {
            return Ok(());
        }
        to_dir.lock().change(to_name, Some(node), None);
        let mut from_dir = from_dir.lock();
        let link = from_dir.changes.len().checked_sub(1).filter(|_| one);
        from_dir.change(from_name, None, link);
        Ok(())
    }

    pub(super) fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        let (dir, name) = self.place(path)?;
        dir.lock().change(name, None, None);
        Ok(())
    }

    pub(super) fn remove_dir(&self, path: &Path) -> io::Result<()> {
        if !self.dir(path)?.lock().live.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (dir, name) = self.place(path)?;
        dir.lock().change(name, None, None);
        Ok(())
    }

    pub(super) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut at = Arc::clone(&self.0);
        for name in names(path) {
            let mut dir = at.lock();
            let next = match dir.live.get(name) {
                Some(Node::Dir(next)) => Arc::clone(next),
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    let next = DirNode::default();
                    dir.change(name, Some(Node::Dir(Arc::clone(&next))), None);
                    next
                }
            };
            drop(dir);
            at = next;
        }
        Ok(())
    }

    /// The names in a directory, sorted; of a file also its content.
    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<(String, Option<File>)>> {
        let dir = self.dir(path)?;
        let dir = dir.lock();
        let entries = dir.live.iter().map(|(name, node)| {
            let file = match node {
                Node::Dir(_) => None,
                Node::File(content) => Some(Arc::clone(content)),
            };
            (name.to_string_lossy().into_owned(), file)
        });
        Ok(entries.collect())
    }

    pub(super) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.dir(path)?.lock().sync();
        Ok(())
    }

    /// All files that have a name now, by path.
    pub(super) fn files(&self) -> Vec<(PathBuf, File)> {
        let mut found = Vec::new();
        let mut left = vec![(PathBuf::from("/"), Arc::clone(&self.0))];
        while let Some((path, dir)) = left.pop() {
            for (name, node) in &dir.lock().live {
                match node {
                    Node::Dir(dir) => left.push((path.join(name), Arc::clone(dir))),
                    Node::File(file) => found.push((path.join(name), Arc::clone(file))),
                }
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// The power goes, everywhere.
    pub(super) fn lose(&self, report: &mut dyn LossReport) {
        let mut left = vec![(PathBuf::from("/"), Arc::clone(&self.0))];
        while let Some((path, dir)) = left.pop() {
            let mut dir = dir.lock();
            if !dir.changes.is_empty() {
                let (changes, before) = (dir.changes.len(), dir.live.keys().cloned().collect::<Vec<_>>());
                dir.lose(&mut report.chooser(&path));
                report.names(&path, changes, difference(&before, &dir.live));
            }
            for (name, node) in &dir.live {
                match node {
                    Node::Dir(below) => left.push((path.join(name), Arc::clone(below))),
                    Node::File(file) => report.file(&path.join(name), &mut file.lock()),
                }
            }
        }
    }

    /// Another tree like this one, which shares nothing with it.
    pub(super) fn fork(&self) -> Self {
        Self(fork_dir(&self.0, &mut BTreeMap::new()))
    }
}

/// Copies a directory. A file with several names, or a name on disk and another now, stays one file.
fn fork_dir(dir: &DirNode, done: &mut BTreeMap<usize, Node>) -> DirNode {
    let key = Arc::as_ptr(dir).addr();
    if let Some(Node::Dir(copy)) = done.get(&key) {
        return Arc::clone(copy);
    }
    let dir = dir.lock();
    let mut fork_node = |node: &Node| match node {
        Node::Dir(below) => Node::Dir(fork_dir(below, done)),
        Node::File(file) => {
            let copy = || Node::File(Arc::new(Mutex::new(file.lock().clone())));
            done.entry(Arc::as_ptr(file).addr()).or_insert_with(copy).clone()
        }
    };
    let mut fork_all = |all: &BTreeMap<OsString, Node>| -> BTreeMap<OsString, Node> {
        all.iter().map(|(name, node)| (name.clone(), fork_node(node))).collect()
    };
    let (live, durable) = (fork_all(&dir.live), fork_all(&dir.durable));
    let changes = dir.changes.iter();
    let changes =
        changes.map(|change| NameChange { node: change.node.as_ref().map(&mut fork_node), ..change.clone() });
    let copy = Arc::new(Mutex::new(Dir { live, durable, changes: changes.collect() }));
    done.insert(key, Node::Dir(Arc::clone(&copy)));
    copy
}

/// Names that went (`-`) and came back (`+`).
fn difference(before: &[OsString], now: &BTreeMap<OsString, Node>) -> Vec<String> {
    let gone = before.iter().filter(|name| !now.contains_key(*name));
    let gone = gone.map(|name| format!("-{}", name.to_string_lossy()));
    let back = now.keys().filter(|name| !before.contains(name));
    gone.chain(back.map(|name| format!("+{}", name.to_string_lossy()))).collect()
}

/// A path's names, from the top. There is one top: `a` and `/a` are the same.
fn names(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    })
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist", path.display()))
}
