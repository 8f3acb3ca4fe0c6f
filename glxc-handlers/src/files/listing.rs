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

/// The longest path of a folder that a system opens, and the longest name in one.
const LONGEST_PATH: usize = 4095;
const LONGEST_NAME: usize = 255;
const TOO_LONG: &str = "a folder's path of more than 4095 bytes, or a name of more than 255, which no system opens";

/// The longest row. No path, target and names are longer, and a line without an end is not read into memory.
const LONGEST_ROW: u64 = 64 << 10;

/// How many bytes the paths may have of folders that are there only as parts of paths: few files can stand for very many.
const IMPLIED: usize = 24 << 20;

const GIT: &str = "`.git` is git's own; no repository holds it";

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
            if is_git(entry.path.as_bytes()) {
                return Err(Error::input(&entry.path, None, GIT));
            }
            if entry.path.components().any(super::place::is_temporary) {
                return Err(Error::input(&entry.path, None, "a name of glxc's own temporary files"));
            }
            if settings.excludes(entry.path.as_bytes(), false) {
                continue;
            }
            if !fits(entry.path.as_bytes(), false) {
                return Err(Error::input(&entry.path, None, TOO_LONG));
            }
            let mode = settings.mode | executable;
            let owned = Some(Owned { mode, user: settings.owner.clone(), group: settings.group.clone() });
            let kind = Kind::File { content: entry.path.clone(), id: entry.id.clone() };
            listing.nodes.insert(entry.path.as_bytes().to_vec(), Node { kind, owned });
        }
        listing.nodes.insert(Vec::new(), Node { kind: Kind::Folder, owned: None });
        listing.complete()?;
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
        let limits = Limits { line: LONGEST_ROW, ..Limits::default() };
        crate::rows::check(tree, &entries, limits, cx)?;
        let mut listing = Listing::default();
        let mut rows = Reader::new(tree, &entries, limits)?;
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
        if !fits(&path, folder) {
            return Err(TOO_LONG.into());
        }
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
            if is_git(entry.path.as_bytes()) {
                return Err(bad(GIT));
            }
            if !fits(&path, false) {
                return Err(bad(TOO_LONG));
            }
            if !seen.insert(path.clone()) {
                return Err(bad("the same file as another, in another spelling"));
            }
            let found = Kind::File { content: entry.path.clone(), id: entry.id.clone() };
            match self.nodes.get_mut(&path) {
                Some(Node { kind: kind @ Kind::File { .. }, .. }) => *kind = found,
                Some(_) => return Err(bad("a content for what is a folder or a link in the entries")),
                // whose it is shows below
                None => drop(self.nodes.insert(path, Node { kind: found, owned: None })),
            }
        }
        let lost =
            self.nodes.iter().find(|(path, node)| matches!(node.kind, Kind::File { .. }) && !seen.contains(*path));
        if let Some((path, _)) = lost {
            return Err(self.error(path, "no content for it in `files/`"));
        }
        self.nodes.entry(Vec::new()).or_insert_with(|| Node { kind: Kind::Folder, owned: Some(root_owned()) });
        self.complete()
    }

    /// Adds the folders that are there only as parts of paths, and refuses what stands beneath something else. These folders,
    /// and files without an owner, belong to whom the nearest folder above belongs, if that is known. (The root is there.)
    fn complete(&mut self) -> Result<()> {
        let paths: Vec<Vec<u8>> = self.nodes.keys().cloned().collect();
        let mut room = IMPLIED;
        for path in &paths {
            let (mut missing, mut above) = (Vec::new(), None);
            for folder in ancestors(path) {
                match self.nodes.get(folder) {
                    Some(Node { kind: Kind::Folder, owned }) => {
                        above.clone_from(owned);
                        break;
                    }
                    Some(_) => return Err(self.error(path, "beneath something that is no folder")),
                    None => missing.push(folder),
                }
            }
            let length = missing.iter().map(|folder| folder.len()).sum();
            room = room.checked_sub(length).ok_or_else(|| {
                self.error(
                    path,
                    &format!("with it the folders of all paths are more than {} MiB of names", IMPLIED >> 20),
                )
            })?;
            let owned = |mode: u32| above.clone().map(|above| Owned { mode, ..above });
            for folder in missing {
                self.nodes.insert(folder.to_vec(), Node { kind: Kind::Folder, owned: owned(0o755) });
            }
            if let Some(node @ Node { owned: None, .. }) = self.nodes.get_mut(path) {
                node.owned = owned(0o644);
            }
        }
        Ok(())
    }
}

/// Exported contents are encoded so that none are one where case is ignored.
pub(super) fn check_case(tree: &dyn Tree) -> Result<()> {
    crate::tree::check_case(tree.within(&known(FILES)?))
}

fn root_owned() -> Owned<Arc<str>> {
    Owned { mode: 0o755, user: "root".into(), group: "root".into() }
}

/// The folders above a path, nearest first; the root is the last.
pub(super) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = (0..path.len()).rev().filter(|at| path[*at] == b'/');
    slashes.chain((!path.is_empty()).then_some(0)).map(|end| &path[..end])
}

/// Whether a system can open it.
fn fits(path: &[u8], is_folder: bool) -> bool {
    let folder = if is_folder { path } else { ancestors(path).next().unwrap_or_default() };
    folder.len() <= LONGEST_PATH && path.split(|b| *b == b'/').all(|name| name.len() <= LONGEST_NAME)
}

/// Whether git would refuse a path.
pub(super) fn is_git(path: &[u8]) -> bool {
    path.split(|b| *b == b'/').any(|name| name.eq_ignore_ascii_case(b".git"))
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
