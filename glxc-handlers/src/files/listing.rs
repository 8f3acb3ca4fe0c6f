//! What a tree says should be live.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Settings;
use super::accounts::{Accounts, is_name};
use super::names::decode;
use crate::rows::{Comparator, Header, Limits, Reader};
use crate::{ContentId, Cx, Direction, Error, Mode, Result, StatePath, Tree};

/// Beneath it are the contents.
pub(super) const FILES: &str = "files";
/// Beneath it is the row file of all else.
pub(super) const ENTRIES: &str = "entries";
pub(super) const ATTRIBUTES: &str = ".gitattributes";

/// A path of ours that is known to be one.
pub(super) fn known(path: &str) -> Result<StatePath> {
    StatePath::new(path).map_err(Error::carrier("name a file"))
}

/// The columns of the row file. Folders end in `/`; only links have a target, and no mode.
pub(super) fn header() -> Header {
    let columns = ["path", "mode", "owner", "group", "target"];
    Header { columns: columns.map(String::from).to_vec(), key: vec![(0, Comparator::Bytes)] }
}

/// A file, a folder or a link. Owners are names, or ids once they are resolved.
#[derive(Clone, Debug)]
pub(super) struct Node<O = Arc<str>> {
    pub(super) kind: Kind,
    /// `None`: whatever it is.
    pub(super) owned: Option<Owned<O>>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Folder,
    File { content: StatePath, id: ContentId },
    Link { target: Vec<u8> },
}

/// Of a link, the mode means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owned<O> {
    pub(super) mode: u32,
    pub(super) user: O,
    pub(super) group: O,
}

impl<O: PartialEq> PartialEq for Node<O> {
    /// Where the content stands in the tree does not matter.
    fn eq(&self, other: &Self) -> bool {
        let kinds = match (&self.kind, &other.kind) {
            (Kind::Folder, Kind::Folder) => true,
            (Kind::File { id: a, .. }, Kind::File { id: b, .. }) => a == b,
            (Kind::Link { target: a }, Kind::Link { target: b }) => a == b,
            _ => false,
        };
        kinds && self.owned == other.owned
    }
}

impl Node {
    /// With ids for names. The name that has none as the error.
    pub(super) fn resolved(&self, accounts: &Accounts) -> Result<Node<u32>, String> {
        let resolve = |Owned { mode, user, group }: &Owned<Arc<str>>| -> Result<Owned<u32>, String> {
            let user = accounts.user_id(user).ok_or_else(|| format!("no user `{user}` here"))?;
            let group = accounts.group_id(group).ok_or_else(|| format!("no group `{group}` here"))?;
            Ok(Owned { mode: *mode, user, group })
        };
        Ok(Node { kind: self.kind.clone(), owned: self.owned.as_ref().map(resolve).transpose()? })
    }
}

/// The nodes of a tree by their paths beneath the root, which is the empty path.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) nodes: BTreeMap<Vec<u8>, Node>,
    /// The lines of the row file, for messages.
    places: BTreeMap<Vec<u8>, (StatePath, u64)>,
    names: BTreeSet<Arc<str>>,
}

impl Listing {
    /// Reads and checks a tree.
    pub(super) fn read(tree: &dyn Tree, settings: &Settings, cx: &Cx<'_>) -> Result<Self> {
        match settings.direction {
            Direction::Both => Listing::both(tree, cx),
            Direction::Push => Listing::literal(tree, settings),
        }
    }

    /// An error in a path, at its line or its file.
    pub(super) fn error(&self, path: &[u8], message: &str) -> Error {
        match (self.places.get(path), self.nodes.get(path)) {
            (Some((file, line)), _) => Error::input(file, *line, message),
            (None, Some(Node { kind: Kind::File { content, .. }, .. })) => Error::input(content, None, message),
            _ => Error::option("root", format!("{}: {message}", path.escape_ascii())),
        }
    }

    /// Names as they are, modes those of git; folders are whatever they are.
    fn literal(tree: &dyn Tree, settings: &Settings) -> Result<Self> {
        let mut listing = Listing::default();
        for entry in tree.entries() {
            let executable = match entry.mode {
                Mode::File => 0,
                Mode::Executable => settings.mode >> 2 & 0o111,
                Mode::Link => return Err(Error::input(&entry.path, None, "a link; only plain files are installed")),
            };
            if super::place::is_temporary(entry.path.components().next().unwrap_or_default()) {
                return Err(Error::input(&entry.path, None, "a name of glxc's own temporary files"));
            }
            if settings.excludes(entry.path.as_bytes(), false) {
                continue;
            }
            let mode = settings.mode | executable;
            let owned = Some(Owned { mode, user: settings.owner.clone(), group: settings.group.clone() });
            let kind = Kind::File { content: entry.path.clone(), id: entry.id.clone() };
            listing.nodes.insert(entry.path.as_bytes().to_vec(), Node { kind, owned });
        }
        listing.complete(|_| None)?;
        listing.nodes.entry(Vec::new()).or_insert(Node { kind: Kind::Folder, owned: None });
        Ok(listing)
    }

    fn both(tree: &dyn Tree, cx: &Cx<'_>) -> Result<Self> {
        let (files, entries, attributes) = (known(FILES)?, known(ENTRIES)?, known(ATTRIBUTES)?);
        for entry in tree.entries() {
            let path = &entry.path;
            if entry.mode != Mode::File {
                return Err(Error::input(path, None, "not a plain file; links and modes stand in the entries"));
            }
            if *path != attributes && path.beneath(&files).is_none() && path.beneath(&entries).is_none() {
                return Err(Error::input(path, None, "not expected here: contents stand in `files/`"));
            }
        }
        crate::rows::check(tree, &entries, Limits::default(), cx)?;
        let mut listing = Listing::default();
        let mut rows = Reader::new(tree, &entries, Limits::default())?;
        if rows.header() != Some(&header()) {
            let first = tree.within(&entries).first().map_or(&entries, |entry| &entry.path);
            return Err(Error::input(first, 1, format!("other columns than {}", header().columns.join(", "))));
        }
        while let Some(line) = rows.next()? {
            let place = (line.file.clone(), line.number);
            listing.add_row(line.bytes, place).map_err(|message| Error::input(line.file, line.number, message))?;
        }
        listing.add_contents(tree, &files)?;
        Ok(listing)
    }

    fn add_row(&mut self, line: &[u8], place: (StatePath, u64)) -> Result<(), String> {
        let text = std::str::from_utf8(line).map_err(|e| e.to_string())?;
        let fields: Vec<&str> = text.split('\t').collect();
        let &[path, mode, user, group, target] = fields.as_slice() else { return Err("not five values".into()) };
        let (path, folder) = path_of(path).ok_or("not a path as it is written here")?;
        let kind = match target {
            "\\N" if folder => Kind::Folder,
            // the content is found later
            "\\N" => Kind::File { content: place.0.clone(), id: ContentId::new([]) },
            _ if folder => return Err("a folder with a target".into()),
            _ => Kind::Link {
                target: decode(target).filter(|t| !t.is_empty()).ok_or("not a target as it is written here")?,
            },
        };
        let mode = match kind {
            Kind::Link { .. } if mode == "\\N" => 0o777,
            Kind::Link { .. } => return Err("a link with a mode".into()),
            _ => octal(mode).ok_or("the mode is not four octal digits")?,
        };
        let (user, group) = (self.name(user)?, self.name(group)?);
        let node = Node { kind, owned: Some(Owned { mode, user, group }) };
        self.places.insert(path.clone(), place);
        match self.nodes.insert(path, node) {
            Some(_) => Err("the same path as in another line".into()),
            None => Ok(()),
        }
    }

    fn name(&mut self, text: &str) -> Result<Arc<str>, String> {
        if !is_name(text) && plain_id(text).is_none() {
            return Err(format!("`{}` is no user or group", text.escape_debug()));
        }
        if let Some(name) = self.names.get(text) {
            return Ok(name.clone());
        }
        let name: Arc<str> = text.into();
        self.names.insert(name.clone());
        Ok(name)
    }

    /// Joins contents to their rows. A content without a row is a file that somebody added by hand: it and its folders
    /// belong to whom the folder belongs.
    fn add_contents(&mut self, tree: &dyn Tree, files: &StatePath) -> Result<()> {
        let mut seen: BTreeSet<Vec<u8>> = BTreeSet::new();
        for entry in tree.within(files) {
            let bad = |message: &str| Error::input(&entry.path, None, message);
            let path = entry.path.beneath(files).and_then(|path| path.as_str().and_then(content_path));
            let path = path.ok_or_else(|| bad("not a name as it is written here"))?;
            if !seen.insert(path.clone()) {
                return Err(bad("the same file as another, in another spelling"));
            }
            let found = Kind::File { content: entry.path.clone(), id: entry.id.clone() };
            match self.nodes.get_mut(&path) {
                Some(Node { kind: kind @ Kind::File { .. }, .. }) => *kind = found,
                Some(_) => return Err(bad("a content for what is a folder or a link in the entries")),
                None => {
                    let owned = self.owned_above(&path).map(|above| Owned { mode: 0o644, ..above });
                    self.nodes.insert(path, Node { kind: found, owned });
                }
            }
        }
        let lost =
            self.nodes.iter().find(|(path, node)| matches!(node.kind, Kind::File { .. }) && !seen.contains(*path));
        if let Some((path, _)) = lost {
            return Err(self.error(path, "no content for it in `files/`"));
        }
        self.nodes.entry(Vec::new()).or_insert_with(|| Node { kind: Kind::Folder, owned: Some(root_owned()) });
        self.complete(|above| above.map(|above| Owned { mode: 0o755, ..above }))
    }

    /// What the nearest folder above belongs to.
    fn owned_above(&self, path: &[u8]) -> Option<Owned<Arc<str>>> {
        let above = ancestors(path).find_map(|folder| self.nodes.get(folder));
        above.map_or_else(|| Some(root_owned()), |node| node.owned.clone())
    }

    /// Adds the folders that are there only as parts of paths, and refuses what stands beneath something else.
    fn complete(&mut self, owned: impl Fn(Option<Owned<Arc<str>>>) -> Option<Owned<Arc<str>>>) -> Result<()> {
        let paths: Vec<Vec<u8>> = self.nodes.keys().cloned().collect();
        for path in &paths {
            for folder in ancestors(path) {
                match self.nodes.get(folder).map(|node| &node.kind) {
                    Some(Kind::Folder) => break,
                    Some(_) => return Err(self.error(path, "beneath something that is no folder")),
                    None => {}
                }
                let node = Node { kind: Kind::Folder, owned: owned(self.owned_above(folder)) };
                self.nodes.insert(folder.to_vec(), node);
            }
        }
        Ok(())
    }
}

fn root_owned() -> Owned<Arc<str>> {
    Owned { mode: 0o755, user: "root".into(), group: "root".into() }
}

/// The folders above a path, nearest first; the root is the last.
pub(super) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = (0..path.len()).rev().filter(|at| path[*at] == b'/');
    slashes.chain((!path.is_empty()).then_some(0)).map(|end| &path[..end])
}

/// A path in a row, and whether it is a folder's.
fn path_of(text: &str) -> Option<(Vec<u8>, bool)> {
    let text = text.strip_prefix('/')?;
    if text.is_empty() {
        return Some((Vec::new(), true));
    }
    // a `/` behind `%` only continues a long name
    let (path, folder) = match text.strip_suffix('/') {
        Some(path) => (path, true),
        None => (text, false),
    };
    Some((content_path(path)?, folder))
}

/// A decoded path that stays beneath the root.
fn content_path(text: &str) -> Option<Vec<u8>> {
    let path = decode(text)?;
    let temporary = path.split(|b| *b == b'/').any(super::place::is_temporary);
    StatePath::new(&path).ok().filter(|_| !temporary).map(|_| path)
}

fn octal(text: &str) -> Option<u32> {
    let valid = text.len() == 4 && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    valid.then(|| u32::from_str_radix(text, 8).ok()).flatten()
}

fn plain_id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id: &u32| *id != u32::MAX && id.to_string() == text)
}
