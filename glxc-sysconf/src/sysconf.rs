//! The profiles of one system: apply, undo, export.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, shown};
use crate::files::{File, Files, Kind};
use crate::folder::{Folder, Object};
use crate::plan::{Draft, Live, Plan};
use crate::profiles::{Profile, Profiles};
use crate::scripts::{Scripts, Stage};
use crate::state::{Manifest, Place, Places, Step, decode_steps, encode_steps, kept};

/// The profiles of a system: where their files are, and where this crate remembers what it installed.
///
/// One value serves one system. Calls are made one at a time; the caller holds a lock.
#[derive(Clone, Debug)]
pub struct Sysconf {
    pub(crate) root: PathBuf,
    state: PathBuf,
}

/// What an installation, or its undoing, says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Debian packages that were not installed before. They stay when an operation is undone.
    pub packages: Vec<String>,
    /// Lines for the user.
    pub notes: Vec<String>,
}

/// The files of the profiles as they are live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// The files, beneath the profiles' folder.
    pub files: Files,
    /// Lines for the user: what was taken back into its profile, and what could not be.
    pub notes: Vec<String>,
}

/// What an apply that did not end left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// Files may be half in place.
    Files,
    /// Files are in place; the scripts did not all end well.
    Setup,
}

const UNFINISHED: &str = "unfinished";
const STEPS: &str = "sysconf-steps";
const PACKAGES: &str = "sysconf-packages";

impl Sysconf {
    /// The profiles in `root` (`/sysconf` in a container), with `state` as a folder of this crate's own that lasts. Both
    /// are made when they are needed.
    pub fn new(root: impl Into<PathBuf>, state: impl Into<PathBuf>) -> Self {
        Sysconf { root: root.into(), state: state.into() }
    }

    /// Checks files by themselves, that they are made for this distribution, and that nothing is to be installed into
    /// this crate's own folders. Changes nothing.
    ///
    /// # Errors
    /// Those of [`Profiles::read`] and [`Profiles::check_distribution`].
    pub fn check(&self, files: &Files) -> Result<Profiles> {
        let profiles = Profiles::read(files)?;
        if let Some(name) = distribution(profiles.target()) {
            profiles.check_distribution(&name)?;
        }
        let own = |path: &PathBuf| self.is_own(&profiles.target().join(path));
        match profiles.winners().iter().find(|(path, _)| own(path)) {
            Some((_, winner)) => Err(Error::invalid(&winner.source, "nothing may be installed there")),
            None => Ok(profiles),
        }
    }

    /// Plans to bring the system from `base`, the files that were recorded last, to `next`. Where there is no base, next
    /// replaces what is there. Changes nothing.
    ///
    /// What only live changed stays. Nothing to do is a plan too; see [`Plan::is_empty`].
    ///
    /// # Errors
    /// [`Error::Changed`] where live and next changed the same file, those of [`Sysconf::check`], and
    /// [`Error::Unsupported`] where a file can not be put.
    pub fn plan(&self, base: Option<&Files>, next: &Files) -> Result<Plan> {
        crate::plan::plan(self, base, next)
    }

    /// Applies a plan: files and links, then the set-up scripts of all profiles. `operation` is a folder of this
    /// operation alone that survives a crash; what [`Sysconf::undo`] needs is made durable there before the first change.
    ///
    /// Where it fails or is killed, the caller calls [`Sysconf::undo`]; or it plans again, and the next apply goes on
    /// where this one ended.
    ///
    /// # Errors
    /// [`Error::Changed`] where a file changed since the plan, before anything is written; [`Error::Script`],
    /// [`Error::Timeout`], [`Error::Cancelled`], [`Error::Io`].
    pub fn apply(&self, plan: &Plan, operation: &Path, scripts: &mut Scripts<'_>) -> Result<Applied> {
        scripts.check()?;
        if plan.is_empty() {
            return Ok(Applied { notes: plan.notes().to_vec(), ..Applied::default() });
        }
        let places = self.places(&plan.target)?;
        plan.check(&places)?;
        let operation = Folder::own(operation, 0o700)?;
        operation.set(Path::new(PACKAGES), &plain(packages(&places.target)?.join("\n")))?;
        operation.set(Path::new(STEPS), &plain(encode_steps(&plan.target, &plan.steps)))?;
        self.set_unfinished(&places.state, Some(Unfinished::Files))?;
        tracing::debug!(steps = plan.steps.len(), "apply");
        for step in &plan.steps {
            scripts.check()?;
            places.get(step.place).set(&step.path, &step.new)?;
        }
        self.set_unfinished(&places.state, Some(Unfinished::Setup))?;
        let mut notes = plan.notes().to_vec();
        self.set_up(plan.profiles.order(), &places, scripts, &mut notes)?;
        self.set_unfinished(&places.state, None)?;
        Ok(Applied { packages: added(&operation, &places.target)?, notes })
    }

    /// Puts back the files and links that an apply with this `operation` changed, as far as it came; then runs the set-up
    /// scripts of the profiles that are in place again, unless `scripts` is `None` (they run with the next apply). Packages
    /// and what scripts did stay, and so does what somebody changed since: the notes name it. Idempotent; nothing where nothing was applied.
    ///
    /// # Errors
    /// [`Error::Script`] and the like where files and links are back but set-up failed; [`Error::Io`],
    /// [`Error::State`].
    pub fn undo(&self, operation: &Path, scripts: Option<&mut Scripts<'_>>) -> Result<Applied> {
        let operation = Folder::own(operation, 0o700)?;
        let path = Path::new(STEPS);
        let Object::File { content, .. } = operation.read(path)? else { return Ok(Applied::default()) };
        let broken = |message| Error::State { path: operation.full(path), message };
        let (target, steps) = decode_steps(&content).map_err(broken)?;
        let places = self.places(&target)?;
        self.set_unfinished(&places.state, Some(Unfinished::Files))?;
        let edited = put_all_back(&places, &steps)?;
        self.set_unfinished(&places.state, Some(Unfinished::Setup))?;
        operation.set(path, &Object::Absent)?;
        let note = |path: PathBuf| format!("{} was changed since it was installed, and stays", shown(&path));
        let notes = edited.into_iter().map(note).collect();
        let mut applied = Applied { packages: added(&operation, &places.target)?, notes };
        if let Some(scripts) = scripts {
            let profiles = Profiles::read(&crate::plan::files_of(&places.sysconf)?)?;
            self.set_up(profiles.order(), &places, scripts, &mut applied.notes)?;
            self.set_unfinished(&places.state, None)?;
        }
        Ok(applied)
    }

    /// Reads the live files of the profiles. What was edited in the target other than through its link is taken back into
    /// the profile that it came from, and linked again.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for kinds of files that can not be kept; [`Error::Io`], [`Error::State`].
    pub fn export(&self) -> Result<Exported> {
        let mut draft = self.draft()?;
        let Live { files, manifest, mut notes } = Live::read(self, &mut draft)?;
        draft.set_manifest(&manifest)?;
        for step in &draft.steps {
            draft.places.get(step.place).set(&step.path, &step.new)?;
        }
        for (path, entry) in &manifest.entries {
            if !files.contains_key(&entry.source) && entry.how != crate::How::Builtin {
                notes.push(format!("{} lost its file in the profile", draft.places.target.full(path).display()));
            }
        }
        Ok(Exported { files, notes })
    }

    /// Runs the `ready.rc` of all profiles: what must start when the data is there.
    ///
    /// # Errors
    /// [`Error::Script`], [`Error::Timeout`], [`Error::Cancelled`], and those of [`Profiles::load`].
    pub fn ready(&self, scripts: &mut Scripts<'_>) -> Result<()> {
        let profiles = Profiles::load(&self.root)?;
        let order = profiles.order();
        order.iter().try_for_each(|profile| scripts.run(&self.root, order, profile, Stage::Ready))
    }

    /// Waits until the system that was just started has come up, as far as its init says so, for a minute at most.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Cancelled`].
    pub fn wait(&self, scripts: &mut Scripts<'_>) -> Result<()> {
        scripts.wait(&self.root)
    }

    /// Runs the set-up scripts in order. After each, files that it, or a package, replaced are put back: a package that
    /// brings its own file must not win over the profile's.
    fn set_up(
        &self, order: &[Profile], places: &Places, scripts: &mut Scripts<'_>, notes: &mut Vec<String>,
    ) -> Result<()> {
        let manifest = Manifest::read(&places.state)?;
        for profile in order {
            if profile.setup.is_some() {
                let intact = crate::plan::intact(self, &manifest, places)?;
                let ran = scripts.run(&self.root, order, profile, Stage::Setup);
                crate::plan::restore(intact, places, notes)?;
                ran?;
            }
        }
        Ok(())
    }

    pub(crate) fn draft(&self) -> Result<Draft> {
        let state = Folder::own(&self.state, 0o700)?;
        let target = Manifest::read(&state)?.target.unwrap_or_else(|| "/".into());
        Ok(Draft::new(self.places(&target)?))
    }

    fn places(&self, target: &Path) -> Result<Places> {
        Ok(Places {
            sysconf: Folder::own(&self.root, 0o755)?,
            target: Folder::target(target)?,
            state: Folder::own(&self.state, 0o700)?,
        })
    }

    /// Whether a path of the target is this crate's own ground, where no profile may install.
    fn is_own(&self, full: &Path) -> bool {
        [&self.root, &self.state].into_iter().any(|own| full.starts_with(own) || own.starts_with(full))
    }

    pub(crate) fn unfinished(&self, state: &Folder) -> Result<Option<Unfinished>> {
        match state.read(Path::new(UNFINISHED))? {
            Object::File { content, .. } if *content == *b"setup\n" => Ok(Some(Unfinished::Setup)),
            Object::Absent => Ok(None),
            _ => Ok(Some(Unfinished::Files)),
        }
    }

    fn set_unfinished(&self, state: &Folder, unfinished: Option<Unfinished>) -> Result<()> {
        let object = match unfinished {
            None => Object::Absent,
            Some(Unfinished::Files) => plain("files\n"),
            Some(Unfinished::Setup) => plain("setup\n"),
        };
        state.set(Path::new(UNFINISHED), &object)
    }
}

impl Profiles {
    /// Reads and checks the profiles in a folder.
    ///
    /// # Errors
    /// Those of [`Profiles::read`]; [`Error::Unsupported`], [`Error::Io`].
    pub fn load(root: &Path) -> Result<Self> {
        Profiles::read(&read_files(root)?)
    }
}

/// Reads the files of profiles from a folder, but what is made in it (`compiled/`) or left by package tools.
///
/// # Errors
/// [`Error::Unsupported`] for kinds of files that can not be kept; [`Error::Io`].
pub fn read_files(root: &Path) -> Result<Files> {
    crate::plan::files_of(&Folder::own(root, 0o755)?)
}

/// Puts back what the steps changed, as far as they were done. What is neither what a step found nor what it put was changed
/// by somebody since, and stays: these paths.
fn put_all_back(places: &Places, steps: &[Step]) -> Result<BTreeSet<PathBuf>> {
    let of = |place| steps.iter().filter(move |step| step.place == place);
    let new: BTreeSet<PathBuf> =
        of(Place::State).filter(|step| step.old == Object::Absent).map(|step| step.path.clone()).collect();
    let mut known: HashMap<(Place, &Path), Vec<&Object>> = HashMap::new();
    for step in steps {
        known.entry((step.place, &step.path)).or_default().extend([&step.old, &step.new]);
    }
    let mut edited = BTreeSet::new();
    for step in steps.iter().rev() {
        let now = places.get(step.place).read(&step.path)?;
        let ours = known[&(step.place, step.path.as_path())].iter().any(|known| now.is_like(known));
        match ours || step.place == Place::State {
            true => put_back(places, &new, step.place, &step.path, step.old.clone())?,
            false => drop(edited.insert(places.get(step.place).full(&step.path))),
        }
    }
    Ok(edited)
}

/// Puts one thing back. Where nothing had been, but a package has brought its file since, that file stays: it is among
/// the originals that are `new`.
fn put_back(places: &Places, new: &BTreeSet<PathBuf>, place: Place, path: &Path, old: Object) -> Result<()> {
    let original = kept(path);
    if place != Place::Target || old != Object::Absent || !new.contains(&original) {
        return places.get(place).set(path, &old);
    }
    places.target.set(path, &places.state.read(&original)?)
}

fn plain(content: impl AsRef<[u8]>) -> Object {
    Object::from_file(&File::new(Kind::File, content), &Object::Absent)
}

/// The distribution of a system, where it says so (os-release(5)).
fn distribution(target: &Path) -> Option<String> {
    let text = std::fs::read_to_string(target.join("etc/os-release")).ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("ID="))?;
    Some(name.trim_matches(['"', '\'']).to_owned())
}

/// The installed packages, where the system is a Debian.
fn packages(target: &Folder) -> Result<Vec<String>> {
    let Object::File { content, .. } = target.read(Path::new("var/lib/dpkg/status"))? else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(&content);
    let (mut name, mut all) = ("", BTreeSet::new());
    for line in text.lines() {
        match line.split_once(": ") {
            Some(("Package", package)) => name = package,
            Some(("Status", status)) if status.ends_with(" installed") => {
                all.insert(name.to_owned());
            }
            _ => {}
        }
    }
    Ok(all.into_iter().collect())
}

/// The packages that were added since the operation began.
fn added(operation: &Folder, target: &Folder) -> Result<Vec<String>> {
    let Object::File { content, .. } = operation.read(Path::new(PACKAGES))? else { return Ok(Vec::new()) };
    let before = String::from_utf8_lossy(&content);
    let before: BTreeSet<&str> = before.lines().collect();
    Ok(packages(target)?.into_iter().filter(|name| !before.contains(name.as_str())).collect())
}
