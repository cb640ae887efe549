//! The names of a simulated disk and the files behind them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Component, Path, PathBuf},
};

use super::content::{Content, CrashMood};
use crate::random::Random;

pub(super) type NodeId = u64;

pub(super) const ROOT: NodeId = 0;

/// Linux' error numbers: the code under test may look at either the number or the kind.
pub(super) const EIO: i32 = 5;
pub(super) const ENOSPC: i32 = 28;
const ENOENT: i32 = 2;
const EEXIST: i32 = 17;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const ENOTEMPTY: i32 = 39;

pub(super) fn os_error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

type Names = BTreeMap<(NodeId, String), NodeId>;

#[derive(Debug)]
enum Node {
    Directory,
    File(Box<Content>),
}

/// A change of names that is not durable yet. It survives whole or not at all; the file systems we serve journal a rename as one.
#[derive(Debug)]
struct Change {
    bindings: Vec<(NodeId, String, Option<NodeId>)>,
}

#[derive(Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<NodeId, Node>,
    next: NodeId,
    names: Names,
    durable_names: Names,
    changes: Vec<Change>,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::Directory)]),
            next: ROOT + 1,
            names: Names::new(),
            durable_names: Names::new(),
            changes: Vec::new(),
        }
    }

    pub(super) fn content(&mut self, file: NodeId) -> io::Result<&mut Content> {
        match self.nodes.get_mut(&file) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Directory) => Err(os_error(EISDIR)),
            None => Err(os_error(EIO)),
        }
    }

    pub(super) fn open(&mut self, path: &Path) -> io::Result<NodeId> {
        let node = self.resolve(path)?;
        self.content(node).map(|_| node)
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<NodeId> {
        self.create(path, Node::File(Box::default()))
    }

    /// A folder that is there already will do.
    pub(super) fn create_directory(&mut self, path: &Path) -> io::Result<()> {
        match self.resolve_directory(path) {
            Ok(_) => Ok(()),
            Err(_) => self.create(path, Node::Directory).map(drop),
        }
    }

    fn create(&mut self, path: &Path, node: Node) -> io::Result<NodeId> {
        let (directory, name) = self.split(path)?;
        if self.names.contains_key(&(directory, name.clone())) {
            return Err(os_error(EEXIST));
        }
        let number = self.next;
        self.next += 1;
        self.nodes.insert(number, node);
        self.change(vec![(directory, name, Some(number))]);
        Ok(number)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.resolve(from)?;
        let (from, to) = (self.split(from)?, self.split(to)?);
        if from == to {
            return Ok(());
        }
        if self.names.get(&to).is_some_and(|target| matches!(self.nodes[target], Node::Directory)) {
            return Err(os_error(EISDIR));
        }
        self.change(vec![(from.0, from.1, None), (to.0, to.1, Some(node))]);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let node = self.resolve(path)?;
        if matches!(self.nodes[&node], Node::Directory) {
            return Err(os_error(EISDIR));
        }
        let (directory, name) = self.split(path)?;
        self.change(vec![(directory, name, None)]);
        Ok(())
    }

    pub(super) fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.open(from)?;
        let (directory, name) = self.split(to)?;
        if self.names.contains_key(&(directory, name.clone())) {
            return Err(os_error(EEXIST));
        }
        self.change(vec![(directory, name, Some(node))]);
        Ok(())
    }

    pub(super) fn remove_directory(&mut self, path: &Path) -> io::Result<()> {
        let node = self.resolve_directory(path)?;
        if self.children(node).next().is_some() {
            return Err(os_error(ENOTEMPTY));
        }
        let (directory, name) = self.split(path)?;
        self.change(vec![(directory, name, None)]);
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let directory = self.resolve_directory(path)?;
        Ok(self.children(directory).map(|(name, _)| name.to_owned()).collect())
    }

    /// Makes every change that touches the folder durable.
    pub(super) fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        let directory = self.resolve_directory(path)?;
        let (done, waiting) = std::mem::take(&mut self.changes)
            .into_iter()
            .partition(|change| change.bindings.iter().any(|binding| binding.0 == directory));
        self.changes = waiting;
        let done: Vec<Change> = done;
        done.into_iter().for_each(|change| apply(&mut self.durable_names, change));
        Ok(())
    }

    /// Power is cut: each unsynced change of names is kept or lost, whatever happened to the others; then each file's content.
    pub(super) fn crash(&mut self, random: &mut Random) {
        let mood = CrashMood::draw(random);
        for change in std::mem::take(&mut self.changes) {
            if mood.keeps(random) {
                apply(&mut self.durable_names, change);
            }
        }
        self.names = self.durable_names.clone();
        self.collect_unreachable();
        for node in self.nodes.values_mut() {
            if let Node::File(content) = node {
                content.crash(random);
            }
        }
    }

    /// Space taken by all files that have a name. One that lost its name gives its space back at once: whether somebody still has
    /// it open is not asked.
    pub(super) fn used_bytes(&self) -> u64 {
        self.files().map(Content::reserved).sum()
    }

    pub(super) fn file_count(&self) -> usize {
        self.files().count()
    }

    /// Paths of all files, sorted.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        self.collect_paths(ROOT, Path::new("/"), &mut paths);
        paths
    }

    fn collect_paths(&self, directory: NodeId, at: &Path, into: &mut Vec<PathBuf>) {
        for (name, node) in self.children(directory) {
            let path = at.join(name);
            match self.nodes[&node] {
                Node::Directory => self.collect_paths(node, &path, into),
                Node::File(_) => into.push(path),
            }
        }
    }

    fn files(&self) -> impl Iterator<Item = &Content> {
        self.names.values().filter_map(|node| match &self.nodes[node] {
            Node::File(content) => Some(&**content),
            Node::Directory => None,
        })
    }

    fn children(&self, directory: NodeId) -> impl Iterator<Item = (&str, NodeId)> {
        self.names
            .range((directory, String::new())..(directory + 1, String::new()))
            .map(|((_, name), &node)| (name.as_str(), node))
    }

    fn change(&mut self, bindings: Vec<(NodeId, String, Option<NodeId>)>) {
        apply(&mut self.names, Change { bindings: bindings.clone() });
        self.changes.push(Change { bindings });
    }

    fn collect_unreachable(&mut self) {
        let mut reachable = BTreeSet::from([ROOT]);
        let mut waiting = vec![ROOT];
        while let Some(directory) = waiting.pop() {
            let children: Vec<NodeId> = self.children(directory).map(|(_, node)| node).collect();
            waiting.extend(children.into_iter().filter(|&child| reachable.insert(child)));
        }
        self.nodes.retain(|number, _| reachable.contains(number));
        self.names.retain(|(directory, _), _| reachable.contains(directory));
        self.durable_names.retain(|(directory, _), _| reachable.contains(directory));
    }

    fn resolve(&self, path: &Path) -> io::Result<NodeId> {
        let mut node = ROOT;
        for component in path.components() {
            let name = match component {
                Component::RootDir | Component::CurDir => continue,
                Component::Normal(name) => name.to_string_lossy().into_owned(),
                Component::ParentDir | Component::Prefix(_) => return Err(os_error(ENOENT)),
            };
            if !matches!(self.nodes.get(&node), Some(Node::Directory)) {
                return Err(os_error(ENOTDIR));
            }
            node = *self.names.get(&(node, name)).ok_or_else(|| os_error(ENOENT))?;
        }
        Ok(node)
    }

    fn resolve_directory(&self, path: &Path) -> io::Result<NodeId> {
        let node = self.resolve(path)?;
        if matches!(self.nodes[&node], Node::Directory) { Ok(node) } else { Err(os_error(ENOTDIR)) }
    }

    /// The folder of a path and the last name in it.
    fn split(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let name = path.file_name().ok_or_else(|| os_error(EEXIST))?.to_string_lossy().into_owned();
        let directory = self.resolve_directory(path.parent().unwrap_or(Path::new("/")))?;
        Ok((directory, name))
    }
}

fn apply(names: &mut Names, change: Change) {
    for (directory, name, node) in change.bindings {
        match node {
            Some(node) => names.insert((directory, name), node),
            None => names.remove(&(directory, name)),
        };
    }
}
