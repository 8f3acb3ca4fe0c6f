//! From files to the live folder: what is to be done, prepared and compared.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, fchmod, fchown, mkdirat, openat, symlinkat, unlinkat,
};
use siphasher::sip::SipHasher24;

use super::accounts::Accounts;
use super::export::{is_empty, shown, walk};
use super::listing::{ENTRIES, Kind, Listing, Node, Owned, known};
use super::place::{FOLDER, Place, TEMPORARY, bits, list, look, open_file, open_folder, same, target};
use super::{Files, Settings};
use crate::failpoint::point;
use crate::{Change, Committed, Cx, Direction, Error, OpId, Record, Result, Staged, StatePath, Tree};

const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What one path is to become.
#[derive(Debug)]
pub(super) struct Step {
    /// Its place in the plan, after which the staging folder's files are named.
    number: usize,
    pub(super) path: Vec<u8>,
    pub(super) old: Expected,
    pub(super) new: Option<Node<u32>>,
    /// The name of what was prepared for it in the staging folder.
    pub(super) staged: Option<String>,
    /// Nobody pushed a change here: live differs from what was installed before.
    drifted: bool,
}

/// What must be live before a step.
#[derive(Debug)]
pub(super) enum Expected {
    /// Whatever it is: the repository is the truth.
    Any,
    /// What was seen when the import was prepared, which next replaces whatever it is, and nothing that came since.
    Seen(Option<Stamp>),
    /// Nothing.
    Nothing,
    /// This.
    Is(Node<u32>),
}

/// What tells a file that was written, replaced or given away from what it was: device, inode, size, owners, mode and the time
/// of its last modification. Of a folder only owners and mode, since it changes with what is in it. (Not the time of the last
/// change: a rename by us moves it.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp(String);

impl Stamp {
    pub(super) fn of(stat: &rustix::fs::Stat) -> Self {
        let owned = format!("{:o} {} {}", stat.st_mode, stat.st_uid, stat.st_gid);
        Stamp(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => owned,
            _ => {
                let when = (stat.st_mtime, stat.st_mtime_nsec);
                format!("{owned} {} {} {} {}.{:09}", stat.st_dev, stat.st_ino, stat.st_size, when.0, when.1)
            }
        })
    }

    /// That of what stands under a name.
    pub(super) fn at(folder: &OwnedFd, name: &[u8]) -> std::io::Result<Option<Self>> {
        Ok(look(folder, name)?.map(|found| Stamp::of(&found.stat)))
    }

    /// That of what is live at a path.
    fn live(place: Option<&Place>, path: &[u8]) -> Result<Option<Self>> {
        let Some(place) = place else { return Ok(None) };
        let Some((folder, name)) = place.parent(path)? else { return Ok(None) };
        let name = if path.is_empty() { b"." } else { name };
        Stamp::at(&folder, name).map_err(Error::io("read", place.full(path)))
    }
}

/// Where a plan that replaces what is live is kept, for a recovery: what was seen at each path, `PATH NUL STAMP NUL`, the stamp
/// empty where nothing was.
const SEEN: &str = "seen";

/// All steps, in the order of their paths.
#[derive(Debug, Default)]
pub(super) struct Plan(Vec<Step>);

impl Plan {
    /// How many steps there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Compares base and next, or live and next where next replaces whatever is live.
    pub(super) fn new(files: &Files, change: &Change<'_>, cx: &Cx<'_>) -> Result<Self> {
        let next = Listing::read(change.next.tree, &files.settings, cx)?;
        let base = recorded(files, change, cx)?;
        let accounts = Accounts::read(&files.etc)?;
        let push = files.settings.direction == Direction::Push;
        let replace = change.replace || base.is_none();
        let anyhow = replace || push;
        let base = base.unwrap_or_default();
        let place = files.place()?;
        let mut paths: BTreeSet<Vec<u8>> = next.nodes.keys().chain(base.nodes.keys()).cloned().collect();
        if anyhow
            && !push
            && let Some(place) = &place
        {
            paths.extend(walk(&files.settings, place, cx)?);
        }
        let mut steps = Vec::new();
        for path in paths {
            let (old, new) = (base.nodes.get(&path), next.nodes.get(&path));
            let folder = new.or(old).is_some_and(|node| matches!(node.kind, Kind::Folder));
            // an excluded path is left alone; the root itself is never removed
            if !anyhow && old == new
                || new.is_none() && path.is_empty()
                || !path.is_empty() && files.settings.excludes(&path, folder)
            {
                continue;
            }
            let drifted = push && new.is_some() && old == new;
            let resolved = new.map(|node| node.resolved(&accounts).map_err(|message| next.error(&path, &message)));
            let old = match old {
                _ if replace => Expected::Seen(Stamp::live(place.as_ref(), &path)?),
                _ if push => Expected::Any,
                None => Expected::Nothing,
                // an owner whose name is gone is shown by its number now, which is a change of the live side
                Some(old) => Expected::Is(old.resolved(&accounts).map_err(|_| changed(vec![shown(&path)]))?),
            };
            steps.push(Step { number: steps.len(), path, old, new: resolved.transpose()?, staged: None, drifted });
        }
        Ok(Plan(steps))
    }
}

impl Plan {
    /// Keeps what was seen of what is replaced.
    fn remember(steps: &[Step], folder: &Path) -> Result<()> {
        let path = folder.join(SEEN);
        let mut text = Vec::new();
        for step in steps {
            if let Expected::Seen(seen) = &step.old {
                let stamp = seen.as_ref().map_or("", |stamp| &stamp.0);
                text.extend([step.path.as_slice(), b"\0", stamp.as_bytes(), b"\0"].concat());
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        let written = std::fs::File::create(&path).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::File::open(folder)?.sync_all()
        });
        written.map_err(Error::io("write", path))
    }

    /// A recovery replaces what was seen when the import was prepared. What came since stays.
    pub(super) fn recall(&mut self, folder: &Path) -> Result<()> {
        let path = folder.join(SEEN);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let mut fields = bytes.split(|b| *b == 0);
        let mut seen = BTreeMap::new();
        while let (Some(path), Some(stamp)) = (fields.next(), fields.next()) {
            let stamp = String::from_utf8_lossy(stamp).into_owned();
            seen.insert(path, (!stamp.is_empty()).then_some(Stamp(stamp)));
        }
        for step in &mut self.0 {
            if let Expected::Seen(now) = &mut step.old {
                match seen.remove(step.path.as_slice()) {
                    Some(then) => *now = then,
                    None => step.old = Expected::Nothing,
                }
            }
        }
        Ok(())
    }
}

/// What was recorded. `None` where nothing was that can be compared with this folder: then it must hold nothing, or be replaced.
fn recorded(files: &Files, change: &Change<'_>, cx: &Cx<'_>) -> Result<Option<Listing>> {
    let (Some(base), false) = (change.base, change.replace) else { return Ok(None) };
    let direction = files.settings.direction;
    let settings = Settings::read(base.options, direction)?;
    let other_kind = direction == Direction::Both && base.tree.within(&known(ENTRIES)?).is_empty();
    if settings.root == files.settings.root && !other_kind {
        return Listing::read(base.tree, &settings, cx).map(Some);
    }
    match files.place()? {
        Some(place) if !is_empty(&files.settings, &place)? => Err(Error::option(
            "root",
            "another folder, or another direction, than was recorded, and it holds something",
        )),
        _ => Ok(None),
    }
}

fn changed(conflicts: Vec<String>) -> Error {
    let total = conflicts.len() as u64;
    Error::Changed { first: conflicts.into_iter().take(10).collect(), total }
}

/// The staging folder of an operation is named so. Several states may prepare in one folder, where the root of one is not there
/// yet, so a hash of the state's name tells them apart: an embedder's name may be no name of a file.
pub(super) fn staging_name(op: &OpId, state: &str) -> Vec<u8> {
    let state = format!("-{:016x}", SipHasher24::new().hash(state.as_bytes()));
    [TEMPORARY, op.as_str().as_bytes(), state.as_bytes()].concat()
}

fn is_ours(stat: &rustix::fs::Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw() && bits(stat) & 0o077 == 0
}

impl Plan {
    /// Puts back what a killed import had moved out of the live folder, and not yet compared, where it is not what was expected.
    /// (Only the one step at which it was killed can have such a thing.)
    pub(super) fn put_back(&self, root: &Path, staging: &[u8], change: &Change<'_>) -> Result<()> {
        let Some(place) = Place::open(root)? else { return Ok(()) };
        let Some(staging) = place.folder(staging)? else { return Ok(()) };
        let stat = rustix::fs::fstat(&staging).map_err(|e| Error::io("read", root)(e.into()))?;
        if !is_ours(&stat) {
            return Ok(());
        }
        self.0.iter().try_for_each(|step| step.put_back(&place, &staging, change))
    }
}

/// Removes a staging folder, wherever it was made: in the root or in a folder above.
pub(super) fn sweep(root: &Path, staging: &[u8]) -> Result<()> {
    for folder in root.ancestors() {
        if let Some(open) = open_folder(folder)? {
            remove_all(&open, staging).map_err(Error::io("sweep", folder))?;
        }
    }
    Ok(())
}

/// Removes a name and what is beneath it. Nothing there is no error.
fn remove_all(folder: &OwnedFd, name: &[u8]) -> std::io::Result<()> {
    let Some(found) = look(folder, name)? else { return Ok(()) };
    if found.kind() != FileType::Directory {
        return Ok(unlinkat(folder, name, AtFlags::empty())?);
    }
    let inner = openat(folder, name, FOLDER, Mode::empty())?;
    for found in list(&inner)? {
        remove_all(&inner, &found.name)?;
    }
    Ok(unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

/// A prepared import.
#[derive(Debug)]
pub(super) struct Import<'a> {
    pub(super) settings: &'a Settings,
    pub(super) change: &'a Change<'a>,
    pub(super) cx: &'a Cx<'a>,
    pub(super) steps: Vec<Step>,
    pub(super) staging: Staging,
}

/// The folder in which files are prepared.
#[derive(Debug)]
pub(super) struct Staging {
    pub(super) folder: OwnedFd,
    parent: OwnedFd,
    name: Vec<u8>,
    path: PathBuf,
}

impl Staging {
    /// Makes it in the root, or in the nearest folder above where that does not exist.
    fn create(root: &Path, name: Vec<u8>) -> Result<Self> {
        for path in root.ancestors() {
            let Some(parent) = open_folder(path)? else { continue };
            let failed = || Error::io("create a staging folder in", path);
            remove_all(&parent, &name).map_err(failed())?;
            mkdirat(&parent, &name, Mode::RWXU).map_err(|e| failed()(e.into()))?;
            let folder = openat(&parent, &name, FOLDER, Mode::empty()).map_err(|e| failed()(e.into()))?;
            let stat = rustix::fs::fstat(&folder).map_err(|e| failed()(e.into()))?;
            let staging = Staging { folder, parent, name, path: path.to_path_buf() };
            // whoever may write to the folder above can put another one here in between
            return match is_ours(&stat) {
                true => Ok(staging),
                false => Err(Error::Unsupported { what: format!("{}: somebody else's folder", staging.full()) }),
            };
        }
        Err(Error::Gone { what: root.display().to_string() })
    }

    fn full(&self) -> String {
        self.path.join(String::from_utf8_lossy(&self.name).as_ref()).display().to_string()
    }

    /// Whether it still stands where it was made.
    pub(super) fn is_there(&self) -> std::io::Result<bool> {
        let ours = rustix::fs::fstat(&self.folder)?;
        let there = look(&self.parent, &self.name)?;
        Ok(there.is_some_and(|found| (found.stat.st_dev, found.stat.st_ino) == (ours.st_dev, ours.st_ino)))
    }

    pub(super) fn remove(&self) -> Result<()> {
        remove_all(&self.parent, &self.name).map_err(Error::io("remove what was prepared in", &self.path))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(%error, "a staging folder is left; it is swept with the operation");
        }
    }
}

impl<'a> Import<'a> {
    /// Prepares everything that is not live yet.
    pub(super) fn stage(files: &'a Files, plan: Plan, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Self> {
        let place = files.place()?;
        if place.is_none() && !plan.0.iter().all(Step::needs_nothing) {
            return Err(files.gone());
        }
        let staging = Staging::create(&files.settings.root, files.staging(change.op))?;
        let mut import = Import { settings: &files.settings, change, cx, steps: Vec::new(), staging };
        for mut step in plan.0 {
            let number = step.number;
            cx.check()?;
            let done = place.as_ref().map_or(Ok(false), |place| step.is_done(place, change.next.tree))?;
            if !done {
                step.staged = import.prepare(&step, step.staged_name())?;
            }
            if !done || !matches!(step.old, Expected::Any | Expected::Seen(_)) {
                import.steps.push(step);
            }
            cx.progress.advance(number as u64 + 1);
        }
        rustix::fs::syncfs(&import.staging.folder).map_err(|e| Error::io("sync", &import.staging.path)(e.into()))?;
        Ok(import)
    }

    /// Makes what a step needs, where it needs something.
    fn prepare(&self, step: &Step, name: String) -> Result<Option<String>> {
        point("files prepare")?;
        match &step.new {
            Some(node) if !step.is_in_place() => self.make(node, &name, &step.path).map(|()| Some(name)),
            _ => Ok(None),
        }
    }

    /// Makes a node in the staging folder.
    fn make(&self, node: &Node<u32>, name: &str, path: &[u8]) -> Result<()> {
        let (folder, failed) = (&self.staging.folder, || Error::io("prepare", self.settings.root.join(shown(path))));
        let owned = node.owned.unwrap_or(Owned { mode: self.settings.folder_mode(), user: 0, group: 0 });
        let made = match &node.kind {
            Kind::Folder => {
                let made = mkdirat(folder, name, Mode::RWXU).and_then(|()| openat(folder, name, FOLDER, Mode::empty()));
                made.and_then(|made| own(&made, &owned))
            }
            Kind::Link { target } => {
                let ids = (Some(Uid::from_raw(owned.user)), Some(Gid::from_raw(owned.group)));
                let made = symlinkat(target.as_slice(), folder, name);
                made.and_then(|()| chownat(folder, name, ids.0, ids.1, AtFlags::SYMLINK_NOFOLLOW))
            }
            Kind::File { content, .. } => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(folder, name, flags, Mode::RUSR | Mode::WUSR).map_err(|e| failed()(e.into()))?;
                let mut file = std::fs::File::from(file);
                self.copy(content, &mut file)?;
                own(&file, &owned)
            }
        };
        made.map_err(|e| failed()(e.into()))
    }

    fn copy(&self, content: &StatePath, file: &mut std::fs::File) -> Result<()> {
        let mut source = self.change.next.tree.open(content)?;
        let (mut chunk, mut first) = (Vec::new(), true);
        loop {
            self.cx.check()?;
            chunk.clear();
            let read = source.by_ref().take(1 << 20).read_to_end(&mut chunk);
            read.map_err(Error::carrier(format!("read {content}")))?;
            if std::mem::take(&mut first) && chunk.starts_with(LFS) {
                return Err(Error::input(
                    content,
                    None,
                    "a Git LFS pointer where the file should be; push the file itself",
                ));
            }
            if chunk.is_empty() {
                return Ok(());
            }
            file.write_all(&chunk).map_err(Error::io("write to", &self.staging.path))?;
        }
    }

    /// The steps that would overwrite what the application wrote.
    fn conflicts(&self) -> Result<Vec<String>> {
        let place = Place::open(&self.settings.root)?;
        let mut conflicts = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            self.cx.check()?;
            let as_expected = match &place {
                Some(place) => self.expected(place, step)? && self.has_folder(place, at)?,
                None => step.needs_nothing(),
            };
            if !as_expected {
                conflicts.push(shown(&step.path));
            }
        }
        Ok(conflicts)
    }

    /// Whether what is live is what the step expects, or what it would make.
    fn expected(&self, place: &Place, step: &Step) -> Result<bool> {
        let was_done = step.new.is_some() && step.staged.is_none() && !step.is_in_place();
        let old = match (&step.old, self.change.base) {
            (Expected::Any, _) => true,
            (Expected::Seen(seen), _) => Stamp::live(Some(place), &step.path)? == *seen,
            _ if was_done => false,
            (Expected::Nothing, _) | (_, None) => is_gone(place, &step.path)?,
            (Expected::Is(node), Some(base)) => is_live(place, &step.path, node, base.tree)?,
        };
        Ok(old || step.is_done(place, self.change.next.tree)?)
    }

    /// Whether what a step makes has a folder to stand in, live or made by a step before.
    fn has_folder(&self, place: &Place, at: usize) -> Result<bool> {
        let step = &self.steps[at];
        if step.new.is_none() || step.path.is_empty() {
            return Ok(true);
        }
        let slash = step.path.iter().rposition(|b| *b == b'/').unwrap_or(0);
        let above = &step.path[..slash];
        let made = self.steps[..at].binary_search_by(|other| other.path.as_slice().cmp(above));
        let made =
            made.is_ok_and(|at| self.steps[at].new.as_ref().is_some_and(|node| matches!(node.kind, Kind::Folder)));
        match place.folder(above)? {
            Some(folder) => self.same_device(place, &step.path, &folder).map(|()| true),
            None => Ok(made),
        }
    }

    /// What was prepared can only be moved within one file system.
    fn same_device(&self, place: &Place, path: &[u8], folder: &OwnedFd) -> Result<()> {
        let device = |folder: &OwnedFd| {
            let stat = rustix::fs::fstat(folder).map_err(|e| Error::io("read", place.full(path))(e.into()))?;
            Ok(stat.st_dev)
        };
        match device(folder)? == device(&self.staging.folder)? {
            true => Ok(()),
            false => Err(Error::Unsupported {
                what: format!("another file system beneath the root, at {}", place.full(path).display()),
            }),
        }
    }
}

impl Step {
    /// What is prepared for it is named so, and what the exchange brings out.
    pub(super) fn staged_name(&self) -> String {
        self.number.to_string()
    }

    /// What is taken out for it is named so, where nothing is prepared.
    pub(super) fn out_name(&self) -> String {
        format!("{}.out", self.number)
    }

    /// Whether it can be done where there is nothing, not even the root.
    fn needs_nothing(&self) -> bool {
        matches!(self.old, Expected::Any | Expected::Seen(None))
    }

    /// Only owner and mode change, so it needs nothing new. The root itself is never replaced.
    pub(super) fn is_in_place(&self) -> bool {
        if self.path.is_empty() {
            return true;
        }
        match (&self.old, &self.new) {
            (Expected::Is(old), Some(new)) => match (&old.kind, &new.kind) {
                (Kind::Folder, Kind::Folder) => true,
                (Kind::File { id: a, .. }, Kind::File { id: b, .. }) => a == b,
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether live is what this step makes.
    pub(super) fn is_done(&self, place: &Place, next: &dyn Tree) -> Result<bool> {
        match &self.new {
            Some(node) => is_live(place, &self.path, node, next),
            None => is_gone(place, &self.path),
        }
    }
}

/// Gives a file or folder its owner, then its mode: the system takes some bits away with an owner.
pub(super) fn own(file: impl std::os::fd::AsFd, owned: &Owned<u32>) -> rustix::io::Result<()> {
    fchown(file.as_fd(), Some(Uid::from_raw(owned.user)), Some(Gid::from_raw(owned.group)))?;
    fchmod(file, Mode::from_raw_mode(owned.mode))
}

fn is_gone(place: &Place, path: &[u8]) -> Result<bool> {
    let Some((folder, name)) = place.parent(path)? else { return Ok(true) };
    Ok(look(&folder, name).map_err(Error::io("read", place.full(path)))?.is_none())
}

/// Whether a node is live at its path.
pub(super) fn is_live(place: &Place, path: &[u8], node: &Node<u32>, tree: &dyn Tree) -> Result<bool> {
    let Some((folder, name)) = place.parent(path)? else { return Ok(false) };
    let name = if path.is_empty() { b"." } else { name };
    is_node(&folder, name, node, tree).map_err(|error| match error {
        Unread::Live(error) => Error::io("read", place.full(path))(error),
        Unread::Tree(error) => error,
    })
}

/// Which side could not be read.
#[derive(Debug)]
pub(super) enum Unread {
    Live(std::io::Error),
    Tree(Error),
}

impl From<std::io::Error> for Unread {
    fn from(error: std::io::Error) -> Self {
        Unread::Live(error)
    }
}

/// Whether what stands under a name is the node, whose content is in the tree.
pub(super) fn is_node(folder: &OwnedFd, name: &[u8], node: &Node<u32>, tree: &dyn Tree) -> Result<bool, Unread> {
    let Some(found) = look(folder, name)? else { return Ok(false) };
    let owned = match (&node.owned, &node.kind) {
        (None, _) => true,
        (Some(owned), kind) => {
            let mode = matches!(kind, Kind::Link { .. }) || owned.mode == bits(&found.stat);
            mode && (owned.user, owned.group) == (found.stat.st_uid, found.stat.st_gid)
        }
    };
    Ok(owned
        && match (&node.kind, found.kind()) {
            (Kind::Folder, FileType::Directory) => true,
            (Kind::Link { target: wanted }, FileType::Symlink) => target(folder, name)? == *wanted,
            (Kind::File { content, .. }, FileType::RegularFile) => match open_file(folder, name)? {
                Some(mut file) => same(&mut file, &mut tree.open(content).map_err(Unread::Tree)?)?,
                None => false,
            },
            _ => false,
        })
}

impl Staged for Import<'_> {
    fn lock(&mut self) -> Result<Record> {
        self.cx.check()?;
        match self.conflicts()? {
            none if none.is_empty() => Plan::remember(&self.steps, self.cx.op_dir).map(|()| Record::default()),
            conflicts => Err(changed(conflicts)),
        }
    }

    fn commit(self: Box<Self>) -> Result<Committed> {
        let drifted = self.steps.iter().filter(|step| step.drifted).count();
        let mut committed = self.apply()?;
        if drifted > 0 {
            committed.notes.push(format!("{drifted} files differed live from what was installed, and were put back"));
        }
        Ok(committed)
    }

    fn abort(self: Box<Self>) -> Result<()> {
        self.staging.remove()
    }
}
