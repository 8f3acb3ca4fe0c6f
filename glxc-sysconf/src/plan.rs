//! What must change to bring a system to its profiles.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, shown};
use crate::files::{Files, Kind, is_leftover};
use crate::folder::{Folder, Object};
use crate::profiles::{How, Profiles, Winner};
use crate::state::{Installed, MANIFEST, Manifest, Place, Places, Step, copied, kept};
use crate::sysconf::{Sysconf, Unfinished};

/// The folder of links to the files that win.
const COMPILED: &str = "compiled";

/// The changes that bring a system to its profiles.
#[derive(Debug)]
pub struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) target: PathBuf,
    pub(crate) profiles: Profiles,
    setup: bool,
    notes: Vec<String>,
}

impl Plan {
    /// Whether there is nothing to do: no file changes, and the last set-up ended well.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && !self.setup
    }

    /// The profiles that will be in place.
    pub fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    /// Lines for the user about the live system.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The paths that change: first those of the profiles, then those in the target as absolute paths.
    pub fn changes(&self) -> Vec<PathBuf> {
        let of = |place| self.steps.iter().filter(move |step| step.place == place && !step.path.starts_with(COMPILED));
        let target = of(Place::Target).map(|step| self.target.join(&step.path));
        of(Place::Sysconf).map(|step| step.path.clone()).chain(target).collect()
    }

    /// Compares the places with what they were when the plan was made.
    pub(crate) fn check(&self, places: &Places) -> Result<()> {
        let mut seen = BTreeSet::new();
        for step in &self.steps {
            let folder = places.get(step.place);
            if seen.insert((step.place, &step.path)) && folder.read(&step.path)? != step.old {
                return Err(Error::Changed { first: vec![folder.full(&step.path)], total: 1 });
            }
        }
        Ok(())
    }
}

/// Steps in the making, and what will stand where after them.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) places: Places,
    pub(crate) steps: Vec<Step>,
    now: HashMap<(Place, PathBuf), Object>,
}

impl Draft {
    pub(crate) fn new(places: Places) -> Self {
        Draft { places, steps: Vec::new(), now: HashMap::new() }
    }

    fn read(&self, place: Place, path: &Path) -> Result<Object> {
        let now = |path: &Path| self.now.get(&(place, path.to_path_buf()));
        match now(path) {
            Some(object) => Ok(object.clone()),
            // Nothing is left beneath what was removed or replaced.
            None if path.ancestors().skip(1).any(|above| now(above).is_some()) => Ok(Object::Absent),
            None => self.places.get(place).read(path),
        }
    }

    fn set(&mut self, place: Place, path: &Path, new: Object) -> Result<()> {
        let old = self.read(place, path)?;
        if old != new {
            self.now.insert((place, path.into()), new.clone());
            self.steps.push(Step { place, path: path.into(), old, new });
        }
        Ok(())
    }

    /// Remembers what stands at a path, without a change.
    fn pin(&mut self, place: Place, path: &Path) -> Result<()> {
        let old = self.read(place, path)?;
        self.steps.push(Step { place, path: path.into(), new: old.clone(), old });
        Ok(())
    }

    pub(crate) fn set_manifest(&mut self, manifest: &Manifest) -> Result<()> {
        let before = self.read(Place::State, Path::new(MANIFEST))?;
        if before == Object::Absent && *manifest == Manifest::default() {
            return Ok(());
        }
        self.set(Place::State, Path::new(MANIFEST), manifest.object(&before))
    }
}

/// All files of the profiles in their folder.
pub(crate) fn files_of(folder: &Folder) -> Result<Files> {
    let mut files = Files::new();
    for path in folder.list()? {
        if path.starts_with(COMPILED) || is_leftover(&path) {
            continue;
        }
        match folder.read(&path)? {
            Object::Absent => {}
            object => {
                let what = "a device, socket or pipe; only files and links can be kept";
                let file = object.to_file().ok_or(Error::Unsupported { path: path.clone(), what })?;
                files.insert(path, file);
            }
        }
    }
    Ok(files)
}

/// The live files of the profiles, with the steps in a draft that take edits of the target back.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) files: Files,
    pub(crate) manifest: Manifest,
    pub(crate) notes: Vec<String>,
}

impl Live {
    pub(crate) fn read(sysconf: &Sysconf, draft: &mut Draft) -> Result<Self> {
        let files = files_of(&draft.places.sysconf)?;
        let manifest = Manifest::read(&draft.places.state)?;
        let mut live = Live { files, manifest, notes: Vec::new() };
        // What is half in place tells nothing about edits.
        if sysconf.unfinished(&draft.places.state)? != Some(Unfinished::Files) {
            for (path, entry) in live.manifest.entries.clone() {
                live.take_back(sysconf, draft, &path, &entry)?;
            }
        }
        Ok(live)
    }

    fn take_back(&mut self, sysconf: &Sysconf, draft: &mut Draft, path: &Path, entry: &Installed) -> Result<()> {
        let current = draft.read(Place::Target, path)?;
        let link = Object::link(&sysconf.root.join(&entry.source));
        let reference = if entry.how == How::Link { link.clone() } else { draft.read(Place::State, &copied(path))? };
        if entry.how == How::Builtin || current == link || current.to_file() == reference.to_file() {
            return Ok(());
        }
        let full = shown(&draft.places.target.full(path));
        let source = shown(&entry.source);
        let Some(file) = current.to_file() else {
            let what = if current == Object::Absent { "was removed" } else { "is no file any more" };
            self.notes.push(format!("{full} {what}; its file {source} stays"));
            return Ok(());
        };
        let before = draft.read(Place::Sysconf, &entry.source)?;
        if before.to_file().as_ref() != Some(&file) {
            if entry.how == How::Copy && before.to_file() != reference.to_file() {
                self.notes.push(format!("{full} and {source} were both edited; the former is taken"));
            }
            self.notes.push(format!("{full} was edited and is taken back to {source}"));
            draft.set(Place::Sysconf, &entry.source, current.clone())?;
            self.files.insert(entry.source.clone(), file.clone());
        }
        if entry.how == How::Link && file.kind != Kind::Link {
            return draft.set(Place::Target, path, link);
        }
        let how = Installed { how: How::Copy, source: entry.source.clone() };
        self.manifest.entries.insert(path.into(), how);
        draft.set(Place::State, &copied(path), current)
    }
}

pub(crate) fn plan(sysconf: &Sysconf, base: Option<&Files>, next: &Files) -> Result<Plan> {
    sysconf.check(next)?;
    let mut draft = sysconf.draft()?;
    let Live { files: live, mut manifest, notes } = Live::read(sysconf, &mut draft)?;
    let wanted = merge(base, next, &live)?;
    let profiles = sysconf.check(&wanted)?;
    let target = settle_target(&mut draft, &mut manifest, &profiles)?;
    let (unfinished, taken_back) = (sysconf.unfinished(&draft.places.state)?, draft.steps.len());
    write_files(&mut draft, &live, &wanted)?;
    compile(sysconf, &mut draft, &profiles)?;
    let mut install = Install { sysconf, draft, manifest, again: unfinished == Some(Unfinished::Files) };
    install.uninstall(&profiles)?;
    let todo = install.keep_originals(&profiles)?;
    install.install(todo)?;
    let mut steps = install.draft.steps;
    if steps.len() == taken_back && unfinished.is_none() {
        // What only live changed is the next export's, and no reason to set up.
        steps.clear();
    }
    Ok(Plan { steps, target, profiles, setup: unfinished.is_some(), notes })
}

/// Applies what changed from base to next to live. What only live changed stays.
fn merge(base: Option<&Files>, next: &Files, live: &Files) -> Result<Files> {
    let Some(base) = base else { return Ok(next.clone()) };
    let (mut merged, mut conflicts) = (live.clone(), Vec::new());
    for path in base.keys().chain(next.keys()).collect::<BTreeSet<_>>() {
        let (base, next, live) = (base.get(path), next.get(path), live.get(path));
        if base == next || live == next {
            continue;
        }
        if live != base {
            conflicts.push(path.clone());
        }
        match next {
            Some(file) => merged.insert(path.clone(), file.clone()),
            None => merged.remove(path),
        };
    }
    match conflicts.len() {
        0 => Ok(merged),
        total => {
            conflicts.truncate(10);
            Err(Error::Changed { first: conflicts, total })
        }
    }
}

/// The target is chosen with the first installation.
fn settle_target(draft: &mut Draft, manifest: &mut Manifest, profiles: &Profiles) -> Result<PathBuf> {
    let target = match &manifest.target {
        Some(old) if profiles.winners().is_empty() => old.clone(),
        _ => profiles.target().to_path_buf(),
    };
    match &manifest.target {
        Some(old) if !manifest.entries.is_empty() && *old != target => {
            let message = format!("files are installed in {} and can not move to {}", shown(old), shown(&target));
            return Err(Error::invalid("target", message));
        }
        _ => {}
    }
    draft.places.target = Folder::target(&target)?;
    if !profiles.winners().is_empty() {
        manifest.target = Some(target.clone());
    }
    Ok(target)
}

/// Brings the profiles' own folder to what is wanted: removals first, so that a folder can become a file.
fn write_files(draft: &mut Draft, live: &Files, wanted: &Files) -> Result<()> {
    for path in live.keys().filter(|path| !wanted.contains_key(*path)) {
        draft.set(Place::Sysconf, path, Object::Absent)?;
    }
    for (path, file) in wanted.iter().filter(|(path, file)| live.get(*path) != Some(file)) {
        let before = draft.read(Place::Sysconf, path)?;
        draft.set(Place::Sysconf, path, Object::from_file(file, &before))?;
    }
    Ok(())
}

/// Fills `compiled/` with links to the files that win.
fn compile(sysconf: &Sysconf, draft: &mut Draft, profiles: &Profiles) -> Result<()> {
    let own = |winner: &&Winner| winner.how != How::Builtin;
    let links: BTreeMap<PathBuf, Object> = profiles
        .winners()
        .iter()
        .filter(|(_, winner)| own(winner))
        .map(|(path, winner)| (Path::new(COMPILED).join(path), Object::link(&sysconf.root.join(&winner.source))))
        .collect();
    let there = draft.places.sysconf.list()?;
    for path in there.iter().filter(|path| path.starts_with(COMPILED) && !links.contains_key(*path)) {
        draft.set(Place::Sysconf, path, Object::Absent)?;
    }
    links.into_iter().try_for_each(|(path, link)| draft.set(Place::Sysconf, &path, link))
}

/// What is to be put at one path of the target.
struct Todo {
    path: PathBuf,
    how: How,
    source: PathBuf,
    object: Object,
}

/// The part of a plan that changes the target. Its order is what makes it safe to be cut anywhere: originals are kept
/// before the manifest claims their places, and the manifest is written before they are replaced.
struct Install<'a> {
    sysconf: &'a Sysconf,
    draft: Draft,
    manifest: Manifest,
    /// An apply was cut before its files were in place: look at each of them again.
    again: bool,
}

impl Install<'_> {
    fn link(&self, source: &Path) -> Object {
        Object::link(&self.sysconf.root.join(source))
    }

    /// Restores what stood where no profile has a file any more, and forgets it.
    fn uninstall(&mut self, profiles: &Profiles) -> Result<()> {
        let gone = self.manifest.entries.keys().filter(|path| !profiles.winners().contains_key(*path));
        for path in gone.cloned().collect::<Vec<_>>() {
            let Some(entry) = self.manifest.entries.remove(&path) else { continue };
            let current = self.draft.read(Place::Target, &path)?;
            let copy = self.draft.read(Place::State, &copied(&path))?;
            let ours = current == self.link(&entry.source)
                || entry.how != How::Link && current != Object::Absent && current.to_file() == copy.to_file();
            if ours {
                let original = self.draft.read(Place::State, &kept(&path))?;
                self.draft.set(Place::Target, &path, original)?;
            }
            self.draft.set(Place::State, &kept(&path), Object::Absent)?;
            self.draft.set(Place::State, &copied(&path), Object::Absent)?;
        }
        let used = |folder: &Path| profiles.winners().keys().any(|path| path != folder && path.starts_with(folder));
        let unused: Vec<PathBuf> = self.manifest.folders.iter().filter(|folder| !used(folder)).cloned().collect();
        for folder in unused.iter().rev() {
            self.manifest.folders.remove(folder);
            self.draft.set(Place::Target, folder, Object::Absent)?;
        }
        Ok(())
    }

    /// Finds what is to be put, and keeps what stands there.
    fn keep_originals(&mut self, profiles: &Profiles) -> Result<Vec<Todo>> {
        let mut todo = Vec::new();
        for (path, winner) in profiles.winners() {
            let current = self.draft.read(Place::Target, path)?;
            let object = match winner.how {
                How::Link => self.link(&winner.source),
                _ => Object::from_file(&winner.file, &current),
            };
            if self.is_unchanged(path, winner, &object)? {
                continue;
            }
            if matches!(current, Object::Folder | Object::Other) {
                let what = "a file is to be put there, but it is a folder or no file";
                return Err(Error::Unsupported { path: self.draft.places.target.full(path), what });
            }
            if current == Object::Absent {
                // An undo must know whether an original was kept before, or was brought by a package meanwhile.
                self.draft.pin(Place::State, &kept(path))?;
            } else if !self.is_ours(path, &current) {
                self.draft.set(Place::State, &kept(path), current)?;
            }
            todo.push(Todo { path: path.clone(), how: winner.how, source: winner.source.clone(), object });
        }
        Ok(todo)
    }

    /// Whether a file is installed already. If it is, then what was done to it in the target since stays.
    fn is_unchanged(&self, path: &Path, winner: &Winner, object: &Object) -> Result<bool> {
        let Some(entry) = self.manifest.entries.get(path) else { return Ok(false) };
        if self.again || entry.how != winner.how || entry.source != winner.source {
            return Ok(false);
        }
        Ok(winner.how == How::Link || self.draft.read(Place::State, &copied(path))?.to_file() == object.to_file())
    }

    fn is_ours(&self, path: &Path, current: &Object) -> bool {
        let linked = match current {
            Object::Link(target) => target.starts_with(self.sysconf.root.join("").as_os_str().as_encoded_bytes()),
            _ => false,
        };
        linked || self.manifest.entries.contains_key(path)
    }

    fn install(&mut self, todo: Vec<Todo>) -> Result<()> {
        let mut folders = BTreeSet::new();
        for one in &todo {
            let copy = if one.how == How::Link { Object::Absent } else { one.object.clone() };
            self.draft.set(Place::State, &copied(&one.path), copy)?;
            let entry = Installed { how: one.how, source: one.source.clone() };
            self.manifest.entries.insert(one.path.clone(), entry);
            for folder in one.path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
                match self.draft.read(Place::Target, folder)? {
                    Object::Folder | Object::Link(_) => {}
                    Object::Absent => drop(folders.insert(folder.to_path_buf())),
                    Object::File { .. } | Object::Other => {
                        let what = "a folder is to be there, but it is none";
                        return Err(Error::Unsupported { path: self.draft.places.target.full(folder), what });
                    }
                }
            }
        }
        self.manifest.folders.extend(folders.iter().cloned());
        self.draft.set_manifest(&self.manifest)?;
        folders.iter().try_for_each(|folder| self.draft.set(Place::Target, folder, Object::Folder))?;
        todo.into_iter().try_for_each(|one| self.draft.set(Place::Target, &one.path, one.object))
    }
}

/// The installed files that are as they were installed.
pub(crate) fn intact(sysconf: &Sysconf, manifest: &Manifest, places: &Places) -> Result<Vec<(PathBuf, Object)>> {
    let mut intact = Vec::new();
    for (path, entry) in &manifest.entries {
        let wanted = match entry.how {
            How::Link => Object::link(&sysconf.root.join(&entry.source)),
            _ => places.state.read(&copied(path))?,
        };
        if places.target.read(path)?.to_file() == wanted.to_file() {
            intact.push((path.clone(), wanted));
        }
    }
    Ok(intact)
}

/// Puts files back that something replaced meanwhile. What replaced them, a package's own file in most cases, is kept.
pub(crate) fn restore(intact: Vec<(PathBuf, Object)>, places: &Places, notes: &mut Vec<String>) -> Result<()> {
    for (path, wanted) in intact {
        let current = places.target.read(&path)?;
        // One that was removed is reported at the next export, as any removal is.
        let Some(file) = current.to_file() else { continue };
        if Some(&file) == wanted.to_file().as_ref() {
            continue;
        }
        if places.state.read(&kept(&path))? == Object::Absent {
            places.state.set(&kept(&path), &current)?;
        }
        places.target.set(&path, &wanted)?;
        notes.push(format!("set-up replaced {}; the profile's file was put back", shown(&places.target.full(&path))));
    }
    Ok(())
}
