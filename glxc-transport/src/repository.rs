//! The state repository: a bare repository in the container, and what surrounds it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use glxc_handlers::{Cancel, Cx, Handler, OpId, Progress, Registry, Settings, StatePath};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::config::{Config, StateConfig};
use crate::lock::Lock;
use crate::tree::folder_id;
use crate::{Error, Git, GitTree, ObjectId, Result, Setup};

/// The version of what lies in the folder of a state repository.
const FORMAT: u32 = 1;

/// A `glxc.toml` longer than this is refused.
const CONFIG_LIMIT: u64 = 1 << 20;

/// Settings of the bare repository. Objects go into packs and are durable before a ref names them; every ref and
/// delete of a push is handled by our hook.
const SETTINGS: &[(&str, &str)] = &[
    ("core.bigFileThreshold", "16m"),
    ("core.compression", "1"),
    ("core.fsync", "committed,loose-object"),
    // What a push changes little of arrives as a difference, and git writes what it differs from once more beside it:
    // as it is, which takes a third of the time and some disk until packs are packed together.
    ("core.looseCompression", "0"),
    ("fastimport.unpackLimit", "0"),
    ("gc.auto", "0"),
    ("receive.advertisePushOptions", "true"),
    ("receive.autogc", "false"),
    ("receive.fsckObjects", "true"),
    ("receive.procReceiveRefs", "refs/"),
    ("receive.shallowUpdate", "false"),
    ("receive.unpackLimit", "1"),
    ("transfer.hideRefs", "refs/glxc"),
];

/// With more packs than this they are packed together.
const MANY_PACKS: usize = 40;

/// So many bytes may packs have beside the largest, however small that is.
const SPARE_PACKS: u64 = 256 << 20;

/// How long an operation waits.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// For another operation's lock.
    pub lock: Duration,
    /// For the engines to answer.
    pub ready: Duration,
}

impl Default for Waits {
    /// Ten minutes for a lock, two for the engines.
    fn default() -> Self {
        Waits { lock: Duration::from_secs(600), ready: Duration::from_secs(120) }
    }
}

/// What a [`StateRepository`] is made of.
pub struct Parts {
    /// The folder, `/var/lib/glxc` in a container. Made with mode 0700 where it is missing.
    pub folder: PathBuf,
    /// The folder with programs named `pre-receive` and `proc-receive`, which call [`crate::pre_receive`] and
    /// [`crate::proc_receive`].
    pub hooks: PathBuf,
    /// The name of the container, for commit messages.
    pub container: String,
    /// The kinds of state.
    pub registry: Registry,
    /// The system's configuration; without one, `sysconf/` is stored and not applied.
    pub setup: Option<Box<dyn Setup>>,
    /// Who is told.
    pub progress: Arc<dyn Progress>,
    /// Stops an operation that has not decided yet.
    pub cancel: Cancel,
    /// How long to wait.
    pub waits: Waits,
    /// A program and its arguments that reads its standard input to the end and calls [`StateRepository::recover`] then.
    /// While several databases have prepared their parts of a push, and keep locks for it, it runs beside this process, so
    /// that they do not wait for the next contact where this process dies. Without one they do.
    pub attendant: Option<Vec<OsString>>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = f.debug_struct("Parts");
        parts.field("folder", &self.folder).field("container", &self.container).field("registry", &self.registry);
        parts.finish_non_exhaustive()
    }
}

/// A repository that a container's live state is pulled from and pushed to.
#[derive(Debug)]
pub struct StateRepository {
    pub(crate) git: Git,
    pub(crate) parts: Parts,
    /// The settings of the commits that were asked for.
    configs: Mutex<BTreeMap<ObjectId, Config>>,
    /// The bound branch, once it is known: it never changes.
    branch: OnceLock<String>,
}

/// One operation under way: its id and its folders.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) id: OpId,
    folder: PathBuf,
    scratch: PathBuf,
    _temporary: Option<(TempDir, fs::File)>,
}

impl StateRepository {
    /// Opens the repository, and makes what is missing of it.
    ///
    /// # Errors
    /// [`Error::Newer`] where a newer program wrote it, [`Error::Refused`] where the container's name is none,
    /// [`Error::Io`], [`Error::Git`].
    pub fn open(parts: Parts) -> Result<Self> {
        if !crate::is_name(&parts.container) {
            return Err(Error::Refused(format!("`{}` is no name of a container", parts.container.escape_debug())));
        }
        private_folder(&parts.folder)?;
        for name in ["op", "scratch", "check", "recorded"] {
            private_folder(&parts.folder.join(name))?;
        }
        check_format(&parts.folder)?;
        let git = Git::new(parts.folder.join("repo.git"));
        let repository = StateRepository { git, parts, configs: Mutex::default(), branch: OnceLock::new() };
        repository.make_bare()?;
        Ok(repository)
    }

    /// The same repository, with git's own view of a push's quarantine.
    #[must_use]
    pub fn with_git_environment(mut self, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.git = self.git.with_environment(environment);
        self
    }

    /// git on the bare repository.
    pub fn git(&self) -> &Git {
        &self.git
    }

    fn make_bare(&self) -> Result<()> {
        let finished = self.git.dir().join("glxc-format");
        if !finished.exists() {
            private_folder(self.git.dir())?;
            let _lock = self.lock("making the repository")?;
            self.git.output(&["init", "--bare", "--quiet", "--template="])?;
            for (key, value) in SETTINGS {
                self.git.set(key, value)?;
            }
            write_durably(&self.parts.folder.join("format"), format!("{FORMAT}\n").as_bytes())?;
            write_durably(&finished, FORMAT.to_string().as_bytes())?;
        }
        let hooks = self.parts.hooks.to_string_lossy().into_owned();
        if self.git.setting("core.hooksPath")?.is_some_and(|set| set == hooks) {
            return Ok(());
        }
        let _lock = self.lock("making the repository")?;
        self.git.set("core.hooksPath", &hooks)
    }

    /// The bound branch, where one is bound.
    ///
    /// # Errors
    /// [`Error::Git`].
    pub fn branch(&self) -> Result<Option<String>> {
        if let Some(branch) = self.branch.get() {
            return Ok(Some(branch.clone()));
        }
        let branch = self.git.setting("glxc.branch")?;
        Ok(branch.map(|branch| self.branch.get_or_init(|| branch).clone()))
    }

    /// Binds the branch that live state belongs to. A bound repository is bound again only to the same branch.
    ///
    /// # Errors
    /// [`Error::Refused`] where it is bound to another, or the name is no branch.
    pub fn bind(&self, branch: &str) -> Result<()> {
        match self.branch()? {
            Some(bound) if bound == branch => return Ok(()),
            Some(bound) => {
                let message = format!("this container is bound to the branch `{bound}`, not to `{branch}`");
                return Err(Error::Refused(message));
            }
            None => {}
        }
        if branch.starts_with('-') || self.git.optional(&["check-ref-format", "--branch", branch])?.is_none() {
            return Err(Error::Refused(format!("`{}` is no name of a branch", branch.escape_debug())));
        }
        let _lock = self.lock("binding the branch")?;
        self.git.output(&["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")])?;
        self.git.set("glxc.branch", branch)
    }

    /// The full name of the bound branch.
    pub(crate) fn main_ref(&self) -> Result<String> {
        match self.branch()? {
            Some(branch) => Ok(format!("refs/heads/{branch}")),
            None => Err(Error::Refused("no branch is bound".into())),
        }
    }

    /// The last agreed commit.
    pub(crate) fn main(&self) -> Result<Option<ObjectId>> {
        self.git.reference(&self.main_ref()?)
    }

    /// `glxc.toml` of a commit. A commit without one has no states.
    pub(crate) fn config(&self, commit: &ObjectId) -> Result<Config> {
        let configs = || self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs().get(commit) {
            return Ok(config.clone());
        }
        let config = self.load_config(commit)?;
        configs().insert(commit.clone(), config.clone());
        Ok(config)
    }

    fn load_config(&self, commit: &ObjectId) -> Result<Config> {
        let text = match self.git.entry(commit, &config_path()?)? {
            Some(found) if found.mode == b"100644" || found.mode == b"100755" => self.read_config(&found.id)?,
            Some(_) => {
                let message = "must be a plain file".into();
                return Err(Error::Tree { path: crate::CONFIG_FILE.into(), message });
            }
            None => String::new(),
        };
        let config = Config::parse(&text);
        config.map_err(|source| Error::Config { commit: commit.short().into(), source })
    }

    fn read_config(&self, id: &ObjectId) -> Result<String> {
        let refused = |message: &str| Error::Tree { path: crate::CONFIG_FILE.into(), message: message.into() };
        let bytes = self.git.read_blob(id, CONFIG_LIMIT)?;
        String::from_utf8(bytes.ok_or_else(|| refused("is longer than 1 MiB"))?).map_err(|_| refused("is not UTF-8"))
    }

    /// The handler of a state.
    pub(crate) fn handler(&self, commit: &ObjectId, state: &StateConfig) -> Result<Box<dyn Handler>> {
        let settings = Settings { branch: self.branch()?, ..state.settings.clone() };
        self.parts.registry.make(&state.handler, &settings).map_err(|error| {
            let mut source = crate::ConfigError::from(error);
            source.line = source.line.or(state.line);
            source.message = format!("state `{}`: {}", state.name(), source.message);
            Error::Config { commit: commit.short().into(), source }
        })
    }

    /// The files of a folder of a commit.
    pub(crate) fn tree(&self, commit: &ObjectId, folder: &StatePath) -> Result<Option<GitTree>> {
        GitTree::load(&self.git, commit, folder)
    }

    /// The same where another tree is known, which is not listed again if this is the same one.
    pub(crate) fn tree_beside(
        &self, commit: &ObjectId, folder: &StatePath, known: Option<&GitTree>,
    ) -> Result<Option<GitTree>> {
        match known {
            Some(known) if self.folder_id(commit, folder)?.as_ref() == Some(known.id()) => Ok(Some(known.clone())),
            _ => self.tree(commit, folder),
        }
    }

    /// The id of a folder of a commit: equal ids mean equal files.
    pub(crate) fn folder_id(&self, commit: &ObjectId, folder: &StatePath) -> Result<Option<ObjectId>> {
        folder_id(&self.git, commit, folder)
    }

    pub(crate) fn sysconf(&self, commit: &ObjectId) -> Result<Option<GitTree>> {
        self.tree(commit, &sysconf_path()?)
    }

    /// Takes the lock and settles what an interrupted operation left.
    pub(crate) fn begin(&self, purpose: &str) -> Result<Lock> {
        let lock = self.lock(purpose)?;
        self.settle(true)?;
        Ok(lock)
    }

    pub(crate) fn lock(&self, purpose: &str) -> Result<Lock> {
        let deadline = Instant::now() + self.parts.waits.lock;
        let path = self.parts.folder.join("lock");
        let lock = Lock::acquire(&path, purpose, deadline, &self.parts.cancel, &*self.parts.progress)?;
        self.git.forget_settings();
        // Refs and settings are only changed under this lock, so a lock file of git's own was left by a kill.
        remove_stale_locks(self.git.dir(), false)?;
        remove_stale_locks(&self.git.dir().join("refs"), true)?;
        Ok(lock)
    }

    /// Settles what an interrupted operation left. Every contact of a client begins with it.
    ///
    /// # Errors
    /// Where an engine does not answer or can not be asked; the next contact tries again.
    pub fn contact(&self) -> Result<()> {
        self.begin("a contact").map(drop)
    }

    /// The same without running scripts, for the unit at the container's start.
    ///
    /// # Errors
    /// As for [`StateRepository::contact`].
    pub fn recover(&self) -> Result<()> {
        let _lock = self.lock("recovery")?;
        self.settle(false)
    }

    pub(crate) fn journal_path(&self) -> PathBuf {
        self.parts.folder.join("journal")
    }

    /// The folders of an operation, made where they are missing.
    pub(crate) fn operation(&self, id: OpId) -> Result<Operation> {
        let folder = self.parts.folder.join("op").join(id.as_str());
        let scratch = self.parts.folder.join("scratch").join(id.as_str());
        private_folder(&folder)?;
        private_folder(&scratch)?;
        Ok(Operation { id, folder, scratch, _temporary: None })
    }

    /// An operation that only checks, without the lock, so its folders are not those that a sweep removes.
    pub(crate) fn check_operation(&self) -> Result<Operation> {
        let parent = self.parts.folder.join("check");
        let shared = fs::File::open(&parent).map_err(Error::io("open", &parent))?;
        flock(&shared, FlockOperation::LockShared).map_err(|errno| Error::io("lock", &parent)(errno.into()))?;
        let temporary = tempfile::tempdir_in(&parent).map_err(Error::io("create a folder in", &parent))?;
        let folder = temporary.path().to_owned();
        Ok(Operation { id: random_id()?, scratch: folder.clone(), folder, _temporary: Some((temporary, shared)) })
    }

    pub(crate) fn new_operation(&self) -> Result<Operation> {
        self.operation(random_id()?)
    }

    /// Removes everything that belongs to operations: only called under the lock with no journal left.
    pub(crate) fn sweep(&self) -> Result<()> {
        for name in ["op", "scratch"] {
            remove_entries(&self.parts.folder.join(name))?;
        }
        // Checks share a lock of their own; where nobody holds it, what is there was left by one that was killed.
        let checks = self.parts.folder.join("check");
        let folder = fs::File::open(&checks).map_err(Error::io("open", &checks))?;
        if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove_entries(&checks)?;
        }
        self.sweep_git()?;
        let refs = self.git.output(&["for-each-ref", "--format=delete %(refname)", "refs/glxc/"])?;
        if refs.is_empty() { Ok(()) } else { self.update_refs(&refs) }
    }

    /// Removes what a git that was killed left: packs and reports of fast-import, which only runs under the lock; what
    /// packed together, where nobody does that now; marks that keep a pack for a git that is gone; and the quarantine of
    /// a push, which does not run under the lock, once it is old.
    fn sweep_git(&self) -> Result<()> {
        let day_ago = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
        let is_old = |entry: &fs::DirEntry| entry.metadata().and_then(|m| m.modified()).is_ok_and(|m| m < day_ago);
        self.sweep_folder("", |name, _| name.starts_with("fast_import_crash_"))?;
        self.sweep_folder("objects", |name, entry| name.starts_with("tmp_objdir-") && is_old(entry))?;
        self.sweep_folder("objects/pack", |name, entry| name.ends_with(".keep") && keeps_for_nobody(&entry.path()))?;
        match self.lock_packs()? {
            Some(_lock) => {
                self.sweep_folder("objects/pack", |name, _| name.starts_with("tmp_") || name.starts_with(".tmp-"))
            }
            None => Ok(()),
        }
    }

    fn sweep_folder(&self, folder: &str, is_dead: impl Fn(&str, &fs::DirEntry) -> bool) -> Result<()> {
        let folder = self.git.dir().join(folder);
        for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
            let entry = entry.map_err(Error::io("list", &folder))?;
            if is_dead(&entry.file_name().to_string_lossy(), &entry) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The lock of who packs together, where nobody has it.
    fn lock_packs(&self) -> Result<Option<fs::File>> {
        let path = self.parts.folder.join("packs");
        let file = fs::OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("open", &path))?;
        Ok(flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok().then_some(file))
    }

    /// Packs many packs into one, for a bounded time, beside whatever else goes on. Does nothing where there are few and they
    /// are small, or somebody does it already.
    ///
    /// # Errors
    /// [`Error::Io`]. A git that fails says so on standard error; the packs stay as they are then.
    pub fn collect_garbage(&self, limit: Duration) -> Result<()> {
        let folder = self.git.dir().join("objects/pack");
        let files = fs::read_dir(&folder).map_err(Error::io("list", &folder))?.flatten();
        let packs = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "pack"));
        // One that is gone meanwhile was packed by somebody else.
        let sizes: Vec<u64> = packs.filter_map(|pack| Some(pack.metadata().ok()?.len())).collect();
        if !too_many(&sizes) {
            return Ok(());
        }
        let Some(lock) = self.lock_packs()? else { return Ok(()) };
        // git has the lock too, so that nobody sweeps its files where this process ends before it.
        fcntl_setfd(&lock, FdFlags::empty()).map_err(|errno| Error::io("lock", &folder)(errno.into()))?;
        let mut command = self.git.command();
        command.args(["repack", "-a", "-d", "--quiet"]);
        run_for(&mut command, limit).map_err(Error::io("run", "git"))
    }

    /// Runs an update-ref transaction: all or none.
    pub(crate) fn update_refs(&self, commands: &[u8]) -> Result<()> {
        let mut input = b"start\n".to_vec();
        input.extend_from_slice(commands);
        input.extend_from_slice(b"commit\n");
        self.git.feed(&["update-ref", "--stdin"], &input).map(drop)
    }

    /// Tells what is done from here on.
    pub(crate) fn step(&self, text: &str) {
        self.parts.progress.step(text);
    }

    pub(crate) fn note(&self, text: &str) {
        self.parts.progress.note(text);
    }
}

/// Whether packs of these sizes are worth packing together.
fn too_many(sizes: &[u64]) -> bool {
    let largest = sizes.iter().copied().max().unwrap_or(0);
    let spare = sizes.iter().sum::<u64>() - largest;
    sizes.len() > MANY_PACKS || spare > largest.max(SPARE_PACKS)
}

impl Operation {
    /// The context of a handler's call.
    pub(crate) fn cx<'a>(&'a self, repository: &'a StateRepository, deadline: Option<Instant>) -> Cx<'a> {
        Cx {
            progress: &*repository.parts.progress,
            cancel: &repository.parts.cancel,
            deadline,
            scratch: &self.scratch,
            op_dir: &self.folder,
        }
    }

    /// The folder for what one state keeps of the operation, made where it is missing.
    pub(crate) fn folder_of(&self, state: &str) -> Result<PathBuf> {
        let folder = self.folder.join("states").join(state);
        private_folder(&folder)?;
        Ok(folder)
    }

    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// A ref that keeps a commit of the operation alive; `sweep` removes it.
    pub(crate) fn reference(&self, commit: &str) -> String {
        format!("refs/glxc/{}/{commit}", self.id)
    }
}

fn random_id() -> Result<OpId> {
    let mut bytes = [0; 8];
    let random = Path::new("/dev/urandom");
    fs::File::open(random).and_then(|mut file| file.read_exact(&mut bytes)).map_err(Error::io("read", random))?;
    let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    OpId::new(digits).map_err(|e| Error::Protocol(e.to_string()))
}

/// Removes git's lock files in a folder, and in those beneath it.
fn remove_stale_locks(folder: &Path, recursive: bool) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io("list", folder))?,
    };
    for entry in entries {
        let entry = entry.map_err(Error::io("list", folder))?;
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if recursive {
                remove_stale_locks(&path, true)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "lock") {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Whether a mark that keeps a pack is that of a git that is gone. fast-import only runs under the lock; receive-pack
/// writes its process (`receive-pack 17 on host`).
fn keeps_for_nobody(path: &Path) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    match text.trim_end().strip_prefix("receive-pack ").and_then(|rest| rest.split(' ').next()) {
        Some(process) if process.bytes().all(|b| b.is_ascii_digit()) => {
            match fs::read_to_string(format!("/proc/{process}/comm")) {
                Ok(name) => !name.starts_with("git"),
                Err(error) => error.kind() == std::io::ErrorKind::NotFound,
            }
        }
        _ => text.trim_end() == "fast-import",
    }
}

/// Runs a program, and kills it with all that it started where it takes longer.
fn run_for(command: &mut Command, limit: Duration) -> std::io::Result<()> {
    let mut child = command.process_group(0).spawn()?;
    let until = Instant::now() + limit;
    while child.try_wait()?.is_none() {
        if Instant::now() >= until {
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            child.wait()?;
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Removes what a folder holds.
fn remove_entries(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let path = entry.map_err(Error::io("list", folder))?.path();
        remove(&path)?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(Error::io("remove", path))
}

fn config_path() -> Result<StatePath> {
    StatePath::new(crate::CONFIG_FILE).map_err(|e| Error::Protocol(e.to_string()))
}

pub(crate) fn sysconf_path() -> Result<StatePath> {
    StatePath::new(crate::SYSCONF).map_err(|e| Error::Protocol(e.to_string()))
}

fn private_folder(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("create", path))
}

/// Writes a file, under the lock, so that after a crash it has its old content or the new one, or is not there as before.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let write = || {
        let new = path.with_extension("new");
        let mut file = fs::File::create(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(Error::io("write", path))
}

fn check_format(folder: &Path) -> Result<()> {
    let path = folder.join("format");
    match fs::read_to_string(&path) {
        Ok(found) if found.trim().parse::<u32>().is_ok_and(|found| found <= FORMAT) => Ok(()),
        Ok(found) => {
            let found = found.trim().escape_debug().to_string();
            Err(Error::Newer { path: folder.to_owned(), found, known: FORMAT })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("read", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    fn repository(folder: &TempDir) -> StateRepository {
        let repository = StateRepository::open(Parts {
            folder: folder.path().join("glxc"),
            hooks: folder.path().join("hooks"),
            container: "demo".into(),
            registry: Registry::new(),
            setup: None,
            progress: Arc::new(glxc_handlers::Silent),
            cancel: Cancel::new(),
            waits: Waits::default(),
            attendant: None,
        });
        repository.unwrap()
    }

    #[test]
    fn a_program_that_takes_too_long_is_killed_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo $! > child; wait"]).current_dir(folder.path());
        let begin = Instant::now();
        run_for(&mut command, Duration::from_millis(500)).unwrap();
        let child = fs::read_to_string(folder.path().join("child")).unwrap();
        // Killed, and perhaps not waited for by whoever adopted it.
        let lives = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        while lives() && begin.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!lives(), "the child of the program goes on");
    }

    #[test]
    fn many_packs_become_one_that_is_small() {
        let folder = tempfile::tempdir().unwrap();
        let repository = repository(&folder);
        let git = repository.git();
        // Lines that do not compress, of which each version has one more.
        let mut random = 1_u64;
        let mut text = String::new();
        let mut line = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{:016x}\n", random)
        };
        (0..2000).for_each(|_| text.push_str(&line()));
        let fewest = MANY_PACKS + 1;
        for number in 0..fewest {
            text.push_str(&line());
            let from = if number == 0 { "" } else { "from refs/heads/main^0\n" };
            let head = format!("commit refs/heads/main\ncommitter a <a@b> {number} +0000\ndata 1\nx\n{from}");
            let stream = format!("{head}M 644 inline f\ndata {}\n{text}\n", text.len());
            git.feed(&["fast-import", "--quiet"], stream.as_bytes()).unwrap();
        }
        let files = |extension: &str| {
            let files = fs::read_dir(git.dir().join("objects/pack")).unwrap().map(|entry| entry.unwrap().path());
            files.filter(|path| path.extension().is_some_and(|e| e == extension)).collect::<Vec<_>>()
        };
        assert_eq!(files("pack").len(), fewest);
        repository.collect_garbage(Duration::from_secs(60)).unwrap();
        let packs = files("pack");
        assert_eq!(packs.len(), 1);
        let size = fs::metadata(&packs[0]).unwrap().len();
        assert!(size < 3 * text.len() as u64, "{size} bytes for {fewest} versions of {} bytes", text.len());
        git.output(&["fsck", "--strict"]).unwrap();
    }

    #[test]
    fn packs_are_packed_together_where_they_are_many_or_large() {
        let few = [SPARE_PACKS / 4; 5];
        assert!(!too_many(&[]) && !too_many(&few) && !too_many(&[1; MANY_PACKS]));
        assert!(too_many(&[SPARE_PACKS / 4; 6]) && too_many(&[1; MANY_PACKS + 1]));
        assert!(!too_many(&[4 * SPARE_PACKS, 4 * SPARE_PACKS]) && too_many(&[4 * SPARE_PACKS, 4 * SPARE_PACKS, 1]));
    }

    #[test]
    fn what_a_killed_git_left_is_swept_and_what_a_living_one_uses_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let repository = repository(&folder);
        let packs = repository.git().dir().join("objects/pack");
        let write = |name: &str, text: &str| fs::write(packs.join(name), text).unwrap();
        let left = || {
            let names = fs::read_dir(&packs).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        };
        let mut living = repository.git().command();
        let mut living = living.args(["cat-file", "--batch"]).stdin(Stdio::piped()).spawn().unwrap();
        write(".tmp-17-pack-aa.pack", "");
        write("tmp_pack_bb", "");
        write("pack-dead.keep", &format!("receive-pack {} on host\n", u32::MAX));
        write("pack-import.keep", "fast-import");
        write("pack-living.keep", &format!("receive-pack {} on host\n", living.id()));
        write("pack-user.keep", "");
        let packing = repository.lock_packs().unwrap().unwrap();
        repository.sweep().unwrap();
        assert_eq!(left(), [".tmp-17-pack-aa.pack", "pack-living.keep", "pack-user.keep", "tmp_pack_bb"]);
        drop(packing);
        repository.sweep().unwrap();
        assert_eq!(left(), ["pack-living.keep", "pack-user.keep"]);
        drop(living.stdin.take());
        living.wait().unwrap();
        repository.sweep().unwrap();
        assert_eq!(left(), ["pack-user.keep"]);
    }
}
