//! States in a plain folder: dumped there, edited there, loaded from there. No git, no container.
//!
//! A [`Folder`] holds the files of some states, each under its own path, and a folder `.glxc` of ours with the files as they
//! were when they and live last agreed: after a dump, and after a load. They are the base that a load compares with.
//!
//! - [`Folder::dump`] exports all states, and then replaces the files that differ. Files that somebody changed and did not load
//!   are not overwritten.
//! - [`Folder::load`] applies what was changed in the files since, with compare and swap: what only the application changed
//!   stays, what both changed declines the load. All states change, or none does; what was killed is finished or removed by the
//!   next dump or load.
//! - Live data that the folder has never seen is only replaced where that is asked for by name, and is kept in `.glxc/replaced`
//!   then. A folder that was copied from another machine has not seen what is live on this one.
//!
//! # Cost
//! A load reads all files of the folder and of its base once, to find what differs, and then costs what a push of the difference
//! does. `.glxc` takes as much space as the files; what is replaced by name is kept besides.
//!
//! [`FolderTree`] and [`FolderSink`] are the plain halves, for programs that keep what is agreed on in some other way.
//!
//! ```
//! use glxc_handlers::folder::{Control, Folder, State};
//! use glxc_handlers::{Options, Registry, Settings, StatePath, Value};
//!
//! # let here = tempfile::tempdir().unwrap();
//! # let (uploads, backup) = (here.path().join("uploads"), here.path().join("backup"));
//! # std::fs::create_dir(&uploads).unwrap();
//! # std::fs::write(uploads.join("cat.jpg"), "meow").unwrap();
//! # #[cfg(feature = "files")] {
//! let registry = Registry::new().with("files", glxc_handlers::files::make);
//! let options = Options::new().with("root", Value::Text(uploads.to_str().unwrap().into()));
//! let settings = Settings::new("uploads", StatePath::new("data/uploads").unwrap(), options);
//! let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
//! let folder = Folder::open(&backup, &machine, vec![State::new(&registry, "files", settings)?])?;
//! folder.dump(&Control::default())?;
//! std::fs::write(backup.join("data/uploads/files/cat.jpg"), "purr").unwrap();
//! let done = folder.load(&[], &Control::default())?;
//! assert_eq!(done[0].description.summary, "1 file changed");
//! assert_eq!(std::fs::read_to_string(uploads.join("cat.jpg")).unwrap(), "purr");
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod journal;
mod load;
mod tree;

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::{
    Cancel, Change, Cx, Description, Differs, Error, Handler, Live, OpId, Progress, Recorded, Registry, Settings,
    Silent, StatePath, Tree, differences, names,
};
use journal::{Journal, Phase, write_durably};

pub use error::FolderError;
pub use tree::{FolderSink, FolderTree};

type Result<T, E = FolderError> = std::result::Result<T, E>;

/// A state with its handler.
#[derive(Debug)]
pub struct State {
    kind: String,
    settings: Settings,
    handler: Box<dyn Handler>,
}

impl State {
    /// Makes the handler of a state.
    ///
    /// # Errors
    /// Those of [`Registry::make`].
    pub fn new(registry: &Registry, kind: &str, settings: Settings) -> crate::Result<Self> {
        let handler = registry.make(kind, &settings)?;
        Ok(State { kind: kind.into(), settings, handler })
    }

    fn name(&self) -> &str {
        &self.settings.state
    }

    /// What tells it from another state, or the same one elsewhere.
    fn identity(&self, machine: &str) -> String {
        let place = match self.handler.claim() {
            claim if claim.is_empty() => self.handler.place(),
            claim => claim,
        };
        format!("{:?}", (machine.trim(), &self.kind, place))
    }

    /// Settings as a text that is equal where they are, and does not show them.
    fn rules(&self) -> String {
        let options: Vec<_> = self.settings.options.iter().map(|(key, value, _)| (key, value)).collect();
        let text = format!("{:?}", (self.settings.direction, options));
        let hash = siphasher::sip128::SipHasher24::new().hash(text.as_bytes()).as_u128();
        format!("{hash:032x}")
    }
}

/// Who is told, how to stop, and how long to wait.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    /// Who is told.
    pub progress: &'a dyn Progress,
    /// Stops what has not been decided yet; without one nothing does.
    pub cancel: Option<&'a Cancel>,
    /// For an engine to answer.
    pub wait: Duration,
    /// A program and its arguments that reads its standard input to the end and calls [`Folder::settle`] then. While a load of several
    /// databases has prepared their parts, which keep locks, it runs beside this process, so that they do not wait for the
    /// next dump or load where this process dies. Without one they do.
    pub attendant: Option<&'a [OsString]>,
}

impl Default for Control<'_> {
    /// Tells nobody, does not stop, waits two minutes, and starts no attendant.
    fn default() -> Self {
        Control { progress: &Silent, cancel: None, wait: Duration::from_secs(120), attendant: None }
    }
}

impl std::fmt::Debug for Control<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("cancel", &self.cancel).field("wait", &self.wait).finish_non_exhaustive()
    }
}

/// What became of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The state.
    pub state: String,
    /// The change in words; its summary is empty where nothing changed.
    pub description: Description,
    /// What the handler says besides.
    pub notes: Vec<String>,
}

/// Some states and their files. While it lives no other dump or load works in the folder.
#[derive(Debug)]
pub struct Folder {
    folder: PathBuf,
    machine: String,
    states: Vec<State>,
    _lock: File,
}

/// What the folder knows of a state.
struct Known {
    tree: FolderTree,
    same_rules: bool,
}

impl Folder {
    /// Opens a folder, which is made (for its owner alone) where it is missing.
    ///
    /// `machine` tells this machine from others, as the text of `/etc/machine-id` does.
    ///
    /// # Errors
    /// [`FolderError::Locked`], [`FolderError::Meet`], [`FolderError::Record`].
    pub fn open(folder: impl Into<PathBuf>, machine: &str, mut states: Vec<State>) -> Result<Self> {
        check_apart(&states)?;
        // Databases before files, so that an upload that a row names is there.
        states.sort_by_key(|state| !state.handler.caps().database);
        let folder = folder.into();
        let ours = folder.join(".glxc");
        private(&folder)?;
        check_no_link(&folder, &ours)?;
        private(&ours)?;
        let ignore = ours.join(".gitignore");
        if !ignore.exists() {
            write_durably(&ignore, b"*\n")?;
        }
        let path = ours.join("lock");
        let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let lock = opened.map_err(Error::io("open", &path))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(FolderError::Locked { folder });
        }
        Ok(Folder { folder, machine: machine.into(), states, _lock: lock })
    }

    /// Exports all states, and replaces the files that differ.
    ///
    /// # Errors
    /// [`FolderError::Edited`] where files were changed and not loaded; [`FolderError::State`]. Then no file has changed.
    pub fn dump(&self, control: &Control<'_>) -> Result<Vec<Done>> {
        self.settle(control)?;
        let (op, mut done) = (random_op(), Vec::new());
        let mut parts = Vec::new();
        for state in &self.states {
            let outcome = self.export(state, &op, control);
            let outcome = outcome.inspect_err(|_| drop(self.sweep()))?;
            if let Some(outcome) = outcome {
                done.push(outcome);
                parts.push(journal::Part { state: state.name().into(), replace: false, prepare: false, record: None });
            }
        }
        let journal = Journal { op, dump: true, phase: Phase::Finishing, parts };
        journal.write(&self.journal())?;
        self.finish(&journal, control)?;
        Ok(done)
    }

    /// Exports a state beside its files. Nothing where it is not there and never was.
    fn export(&self, state: &State, op: &OpId, control: &Control<'_>) -> Result<Option<Done>> {
        let name = state.name();
        control.progress.step(&format!("exporting {name}"));
        let places = self.places(state)?;
        let never = Cancel::new();
        let cx = places.cx(control, &never);
        let known = self.known(state)?;
        let export = || FolderError::state(name, "export it");
        wait(state, control, &cx)?;
        if known.is_none() && state.handler.live(&cx).map_err(export())? == Live::Absent {
            control.progress.note(&format!("{name}: not there yet, nothing to export"));
            return Ok(None);
        }
        let base = known.as_ref().filter(|known| known.same_rules).map(|known| &known.tree);
        let options = &state.settings.options;
        let recorded = base.map(|tree| Recorded { tree, options });
        let mut sink = FolderSink::create(places.new.join("tree"), base.cloned())?;
        let exported = state.handler.export(recorded.as_ref(), &mut sink, &cx).map_err(export())?;
        sink.finish()?;
        let new = FolderTree::open(places.new.join("tree"))?;
        let here = FolderTree::open(self.place(state)?).map_err(FolderError::files(
            name,
            &state.settings.path,
            "read its files",
        ))?;
        check_not_edited(state, known.as_ref().map(|known| &known.tree), &here, &new)?;
        self.sign(state, &places.new)?;
        let change = Changed::new(op, options, known.as_ref().map(|known| &known.tree), &new, known.is_none(), false);
        let description = state.handler.describe(&change.get(), &cx).map_err(export())?;
        let description = if change.differs.is_empty() { Description::default() } else { description };
        Ok(Some(Done { state: name.into(), description, notes: exported.notes }))
    }

    /// The last steps of a dump and of a load, which can be done again: the files, the record of what is agreed, and the
    /// marks that were left to know it.
    fn finish(&self, journal: &Journal, control: &Control<'_>) -> Result<()> {
        for part in &journal.parts {
            let state = self.state(&part.state)?;
            let places = self.places(state)?;
            if !places.new.exists() {
                continue;
            }
            if self.signed(state, &places.new)? != Some(true) {
                return Err(FolderError::Interrupted { state: part.state.clone() });
            }
            if journal.dump {
                tree::update(&self.place(state)?, &FolderTree::open(places.new.join("tree"))?, &places.scratch)?;
            }
            remove(&places.base)?;
            fs::rename(&places.new, &places.base).map_err(Error::io("write", &places.base))?;
        }
        let ours = self.ours();
        File::open(&ours).and_then(|folder| Ok(rustix::fs::syncfs(folder)?)).map_err(Error::io("write", &ours))?;
        for part in journal.parts.iter().filter(|_| !journal.dump) {
            let state = self.state(&part.state)?;
            let (places, never) = (self.places(state)?, Cancel::new());
            let cx = places.cx(&Control { cancel: None, ..*control }, &never);
            state.handler.clear(&journal.op, &cx).map_err(FolderError::state(&part.state, "clear what it left"))?;
        }
        remove(&self.journal())?;
        self.sweep()
    }

    fn ours(&self) -> PathBuf {
        self.folder.join(".glxc")
    }

    fn journal(&self) -> PathBuf {
        self.ours().join("journal")
    }

    fn state(&self, name: &str) -> Result<&State> {
        let state = self.states.iter().find(|state| state.name() == name);
        state.ok_or_else(|| FolderError::Interrupted { state: name.into() })
    }

    /// The folder of a state's files, whose way there has no link: somebody else may have made what is in the folder.
    fn place(&self, state: &State) -> Result<PathBuf> {
        let place = self.folder.join(std::ffi::OsStr::from_bytes(state.settings.path.as_bytes()));
        check_no_link(&self.folder, &place)?;
        Ok(place)
    }

    fn places(&self, state: &State) -> Result<Places> {
        let ours = self.ours();
        let name = names::encode(state.name());
        let [base, new, scratch, op] = ["base", "new", "scratch", "op"].map(|folder| ours.join(folder).join(&name));
        for folder in [&scratch, &op] {
            private(folder)?;
        }
        for folder in ["base", "new"] {
            private(&ours.join(folder))?;
        }
        Ok(Places { base, new, scratch, op })
    }

    /// The files that live and the folder agreed on last, where that was this state on this machine.
    fn known(&self, state: &State) -> Result<Option<Known>> {
        let base = self.places(state)?.base;
        let Some(same_rules) = self.signed(state, &base)? else { return Ok(None) };
        Ok(Some(Known { tree: FolderTree::open(base.join("tree"))?, same_rules }))
    }

    /// Writes beside the files of a state whose they are.
    fn sign(&self, state: &State, folder: &Path) -> Result<()> {
        let text = format!("{}\n{}\n", state.identity(&self.machine), state.rules());
        Ok(write_durably(&folder.join("of"), text.as_bytes())?)
    }

    /// Whether files are those of this state, and then whether by the same rules.
    fn signed(&self, state: &State, folder: &Path) -> Result<Option<bool>> {
        let path = folder.join("of");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(Error::io("read", &path))?,
        };
        let (identity, rules) = text.trim_end().split_once('\n').unwrap_or_default();
        Ok((identity == state.identity(&self.machine)).then(|| rules == state.rules()))
    }

    /// Removes what operations left. Only where no journal is.
    fn sweep(&self) -> Result<()> {
        ["new", "scratch", "op"].iter().try_for_each(|folder| remove(&self.ours().join(folder)))
    }
}

/// Where things of a state are kept.
struct Places {
    base: PathBuf,
    new: PathBuf,
    scratch: PathBuf,
    op: PathBuf,
}

impl Places {
    fn cx<'a>(&'a self, control: &Control<'a>, never: &'a Cancel) -> Cx<'a> {
        Cx {
            progress: control.progress,
            cancel: control.cancel.unwrap_or(never),
            deadline: None,
            scratch: &self.scratch,
            op_dir: &self.op,
        }
    }
}

fn wait(state: &State, control: &Control<'_>, cx: &Cx<'_>) -> Result<()> {
    let cx = Cx { deadline: Some(Instant::now() + control.wait), ..*cx };
    state.handler.ready(&cx).map_err(FolderError::state(state.name(), "wait for it"))
}

/// A change, with what it refers to.
struct Changed<'a> {
    op: &'a OpId,
    options: &'a crate::Options,
    base: Option<&'a FolderTree>,
    next: &'a FolderTree,
    differs: Vec<Differs>,
    replace: bool,
    prepare: bool,
}

impl<'a> Changed<'a> {
    fn new(
        op: &'a OpId, options: &'a crate::Options, base: Option<&'a FolderTree>, next: &'a FolderTree, replace: bool,
        prepare: bool,
    ) -> Self {
        let differs = differences(base.map(|tree| tree as &dyn Tree), Some(next));
        Changed { op, options, base, next, differs, replace, prepare }
    }

    fn get(&self) -> Change<'_> {
        Change {
            op: self.op,
            base: self.base.map(|tree| Recorded { tree, options: self.options }),
            next: Recorded { tree: self.next, options: self.options },
            differs: &self.differs,
            replace: self.replace,
            prepare: self.prepare,
        }
    }
}

/// What a dump would overwrite must be what was dumped or loaded, or what it writes.
fn check_not_edited(state: &State, base: Option<&FolderTree>, here: &FolderTree, new: &FolderTree) -> Result<()> {
    if here.entries().is_empty() {
        return Ok(());
    }
    let edited = differences(base.map(|tree| tree as &dyn Tree), Some(here));
    let lost = |differs: &&Differs| {
        let new = new.entry(&differs.path).map(|entry| (entry.mode, entry.id.clone()));
        differs.next != new
    };
    let paths: Vec<&StatePath> = edited.iter().filter(lost).map(|differs| &differs.path).collect();
    if paths.is_empty() {
        return Ok(());
    }
    let first = paths.iter().take(10).map(|path| format!("{}/{path}", state.settings.path)).collect();
    Err(FolderError::Edited { state: state.name().into(), first, total: paths.len() })
}

/// No two states have one name, or files or live data in common.
fn check_apart(states: &[State]) -> Result<()> {
    for (number, one) in states.iter().enumerate() {
        for other in &states[..number] {
            let (a, b) = (&one.settings.path, &other.settings.path);
            let how = match () {
                () if one.name() == other.name() => "have one name",
                () if a.is_within(b) || b.is_within(a) => "have paths that nest",
                () if one.handler.covers(&other.handler.claim()) || other.handler.covers(&one.handler.claim()) => {
                    "manage the same live data"
                }
                () => continue,
            };
            return Err(FolderError::Meet { one: other.name().into(), other: one.name().into(), how });
        }
    }
    Ok(())
}

fn check_no_link(top: &Path, folder: &Path) -> Result<()> {
    let above = folder.ancestors().take_while(|above| *above != top);
    for folder in above {
        if fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_symlink()) {
            return Err(Error::io("open", folder)(std::io::Error::other("it is a link, which is not followed")).into());
        }
    }
    Ok(())
}

fn private(folder: &Path) -> Result<()> {
    Ok(DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::io("create", folder))?)
}

fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    Ok(removed.map_err(Error::io("remove", path))?)
}

fn random_op() -> OpId {
    // The standard library's keys are random in each process, and differ by one within it.
    let number = RandomState::new().hash_one(std::process::id());
    OpId::new(format!("{number:016x}")).unwrap_or_else(|_| unreachable!("16 hex digits"))
}
