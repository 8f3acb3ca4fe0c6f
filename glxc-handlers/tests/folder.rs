//! States in a plain folder, without a server: what is compared, what is kept, and what a kill leaves.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use glxc_handlers::conformance::{MemoryHandler, MemoryStore};
use glxc_handlers::folder::{Control, Done, Folder, FolderError, State};
use glxc_handlers::{
    Caps, Change, Commit, Committed, Cx, Decision, Error, Exported, Handler, Live, OpId, Options, Record, Recorded,
    Recovered, Registry, Result, Settings, Sink, Staged, StatePath, Tree,
};
use tempfile::TempDir;

/// Where a handler fails; while it does it can not recover either, as where its engine is gone.
const NOWHERE: u8 = 0;
const LOCK: u8 = 1;
const BEFORE_COMMIT: u8 = 2;
const AFTER_COMMIT: u8 = 3;

#[derive(Clone, Debug, Default)]
struct Failing(Arc<AtomicU8>);

impl Failing {
    fn at(&self, point: u8) -> Result<()> {
        match self.0.load(Ordering::SeqCst) == point {
            true => Err(Error::Gone { what: "the engine".into() }),
            false => Ok(()),
        }
    }
}

/// A store in memory whose engine may go.
#[derive(Debug)]
struct Store(MemoryHandler, Failing);

impl Handler for Store {
    fn caps(&self) -> Caps {
        self.0.caps()
    }
    fn live(&self, cx: &Cx<'_>) -> Result<Live> {
        self.0.live(cx)
    }
    fn check(&self, base: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
        self.0.check(base, next, cx)
    }
    fn export(&self, base: Option<&Recorded<'_>>, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported> {
        self.0.export(base, sink, cx)
    }
    fn stage<'a>(&'a self, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Box<dyn Staged + 'a>> {
        Ok(Box::new(StagedStore(self.0.stage(change, cx)?, self.1.clone())))
    }
    fn recover(
        &self, change: &Change<'_>, record: Option<&Record>, decision: Decision, cx: &Cx<'_>,
    ) -> Result<Recovered> {
        match self.1.0.load(Ordering::SeqCst) {
            NOWHERE => self.0.recover(change, record, decision, cx),
            _ => Err(Error::Gone { what: "the engine".into() }),
        }
    }
    fn clear(&self, op: &OpId, cx: &Cx<'_>) -> Result<()> {
        self.0.clear(op, cx)
    }
}

struct StagedStore<'a>(Box<dyn Staged + 'a>, Failing);

impl Staged for StagedStore<'_> {
    fn lock(&mut self) -> Result<Record> {
        self.1.at(LOCK)?;
        self.0.lock()
    }
    fn prepare(&mut self) -> Result<()> {
        self.0.prepare()
    }
    fn commit(self: Box<Self>) -> Result<Committed> {
        if let Err(error) = self.1.at(BEFORE_COMMIT) {
            std::mem::forget(self.0);
            return Err(error);
        }
        let committed = self.0.commit()?;
        self.1.at(AFTER_COMMIT).map(|()| committed)
    }
    fn abort(self: Box<Self>) -> Result<()> {
        self.0.abort()
    }
}

/// Two stores and their folder.
struct World {
    folder: TempDir,
    stores: [MemoryStore; 2],
    failing: Failing,
    commits: [Commit; 2],
}

const A: &str = "data/a/items/rows.tsv";
const B: &str = "data/b/items/rows.tsv";

impl World {
    fn new(commits: [Commit; 2]) -> World {
        let world = World {
            folder: tempfile::tempdir().unwrap(),
            stores: Default::default(),
            failing: Failing::default(),
            commits,
        };
        world.set(0, &[("one", "1"), ("two", "2")]);
        world.set(1, &[("one", "1")]);
        world
    }

    fn set(&self, store: usize, items: &[(&str, &str)]) {
        self.stores[store].set(Some(items.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()));
    }

    fn get(&self, store: usize) -> Vec<(String, String)> {
        self.stores[store].get().unwrap_or_default().into_iter().collect()
    }

    fn open_on(&self, machine: &str, options: Options) -> Folder {
        let mut registry = Registry::new();
        let mut states = Vec::new();
        for (number, name) in ["a", "b"].into_iter().enumerate() {
            let (store, failing, commit) = (self.stores[number].clone(), self.failing.clone(), self.commits[number]);
            registry = registry.with(name, move |_| {
                let store = store.clone();
                let handler = match commit {
                    Commit::Redo => MemoryHandler::redo(store),
                    _ => MemoryHandler::transactional(store),
                };
                Ok(Box::new(Store(handler, failing.clone())))
            });
            let path = StatePath::new(format!("data/{name}")).unwrap();
            states.push(State::new(&registry, name, Settings::new(name, path, options.clone())).unwrap());
        }
        Folder::open(self.folder.path(), machine, states).unwrap()
    }

    fn dump(&self) -> Result<Vec<Done>, FolderError> {
        self.open_on("here", Options::new()).dump(&Control::default())
    }

    fn load(&self, replace: &[&str]) -> Result<Vec<Done>, FolderError> {
        self.open_on("here", Options::new()).load(replace, &Control::default())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.file(file)).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from:?} in {text}");
        fs::write(self.file(file), text.replace(from, to)).unwrap();
    }

    /// Everything in the folder but what is ours.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.file("data")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => drop(files.insert(path.clone(), fs::read(path).unwrap())),
                }
            }
        }
        files
    }

    /// Nothing of an operation is left.
    fn is_clean(&self) {
        for name in ["new", "scratch", "op", "journal"] {
            assert!(!self.file(".glxc").join(name).exists(), "{name} is left");
        }
        assert!(self.stores.iter().all(|store| store.leftovers().is_empty()));
    }
}

fn items(items: &[(&str, &str)]) -> Vec<(String, String)> {
    items.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn transactional() -> World {
    World::new([Commit::Transactional; 2])
}

#[test]
fn what_was_changed_is_loaded_and_what_the_application_changed_stays() {
    for commits in [[Commit::Transactional; 2], [Commit::Redo; 2], [Commit::Transactional, Commit::Redo]] {
        let world = World::new(commits);
        assert_eq!(world.dump().unwrap().len(), 2);
        assert!(world.load(&[]).unwrap().is_empty(), "nothing was changed");
        world.edit(A, "one\t1", "one\tedited");
        world.edit(B, "one\t1\n", "one\t1\ntwo\t2\n");
        world.stores[0].insert("two", "live");
        let done = world.load(&[]).unwrap();
        assert_eq!(done.iter().map(|done| done.state.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(world.get(0), items(&[("one", "edited"), ("two", "live")]));
        assert_eq!(world.get(1), items(&[("one", "1"), ("two", "2")]));
        world.is_clean();
        // The application's change is what the next dump brings.
        let done = world.dump().unwrap();
        assert_eq!(done[0].description.summary, "1 file changed");
        assert_eq!(done[1].description.summary, "");
        assert!(fs::read_to_string(world.file(A)).unwrap().ends_with("one\tedited\ntwo\tlive\n"));
        world.is_clean();
    }
}

#[test]
fn what_both_changed_declines_all_of_it() {
    let world = transactional();
    world.dump().unwrap();
    world.edit(A, "one\t1", "one\tedited");
    world.edit(B, "one\t1", "one\tedited");
    world.stores[1].insert("one", "live");
    let files = world.files();
    let error = world.load(&[]).unwrap_err();
    assert!(
        matches!(&error, FolderError::State { state, source: Error::Changed { .. }, .. } if state == "b"),
        "{error}"
    );
    assert_eq!(world.get(0), items(&[("one", "1"), ("two", "2")]));
    assert_eq!(world.get(1), items(&[("one", "live")]));
    assert_eq!(world.files(), files);
    world.is_clean();
    // The edit is not lost: neither is it overwritten by a dump.
    let error = world.dump().unwrap_err();
    assert!(matches!(&error, FolderError::Edited { first, total: 1, .. } if first[0] == A), "{error}");
    assert_eq!(world.files(), files);
    world.is_clean();
}

#[test]
fn what_the_folder_has_not_seen_is_only_replaced_by_name_and_kept() {
    let world = transactional();
    world.dump().unwrap();
    world.set(0, &[("other", "x")]);
    // A copy of the folder on another machine, whose states hold something else.
    let there = world.open_on("there", Options::new());
    let error = there.load(&[], &Control::default()).unwrap_err();
    assert!(matches!(&error, FolderError::Unseen { state } if state == "a"), "{error}");
    assert!(matches!(there.load(&["zzz"], &Control::default()).unwrap_err(), FolderError::Unknown { .. }));
    assert_eq!(world.get(0), items(&[("other", "x")]));
    world.is_clean();
    there.load(&["a", "b"], &Control::default()).unwrap();
    drop(there);
    assert_eq!(world.get(0), items(&[("one", "1"), ("two", "2")]));
    let kept: Vec<_> = fs::read_dir(world.file(".glxc/replaced")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let texts = kept.iter().map(|kept| fs::read_to_string(kept.join("items/rows.tsv")).unwrap());
    assert!(texts.into_iter().any(|text| text.ends_with("\nother\tx\n")), "{kept:?}");
    world.is_clean();
    // Where a copy meets the very data that it has, a dump agrees on it.
    let third = || world.open_on("third", Options::new());
    third().load(&[], &Control::default()).unwrap_err();
    third().dump(&Control::default()).unwrap();
    assert!(third().load(&[], &Control::default()).unwrap().is_empty());
    world.is_clean();
    // What is not there, or holds nothing, is loaded without a question.
    let empty = World::new([Commit::Transactional; 2]);
    let copied = std::process::Command::new("cp").arg("-r").arg(world.file("data")).arg(empty.folder.path()).status();
    assert!(copied.unwrap().success());
    empty.stores[0].set(None);
    empty.set(1, &[]);
    empty.load(&[]).unwrap();
    assert_eq!((empty.get(0), empty.get(1)), (world.get(0), world.get(1)));
}

#[test]
fn other_settings_and_removed_files_decline() {
    let world = transactional();
    world.dump().unwrap();
    world.edit(A, "one\t1", "one\tedited");
    let options = || Options::new().with("x", glxc_handlers::Value::Integer(1));
    let error = world.open_on("here", options()).load(&[], &Control::default()).unwrap_err();
    assert!(matches!(error, FolderError::Settings { .. }), "{error}");
    fs::remove_dir_all(world.file("data/a")).unwrap();
    assert!(matches!(world.load(&[]).unwrap_err(), FolderError::NoFiles { .. }));
    // A dump brings them back.
    world.dump().unwrap();
    assert!(world.file(A).exists());
    world.is_clean();
}

#[test]
fn links_and_what_is_no_file_are_refused_and_not_followed() {
    let world = transactional();
    world.dump().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path().join("secret"), world.file("data/a/items/x.tsv")).unwrap();
    let error = world.load(&[]).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "data/a/items/x.tsv: only plain files can be part of a state");
    fs::remove_file(world.file("data/a/items/x.tsv")).unwrap();
    // Neither where a state's files are to be, nor above.
    for link in ["data/a", "data"] {
        fs::remove_dir_all(world.file(link)).unwrap();
        symlink(elsewhere.path(), world.file(link)).unwrap();
        assert!(world.load(&[]).is_err());
        assert!(world.dump().is_err());
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}

#[test]
fn one_works_in_a_folder_at_a_time() {
    let world = transactional();
    let _held = world.open_on("here", Options::new());
    assert!(matches!(Folder::open(world.folder.path(), "here", Vec::new()), Err(FolderError::Locked { .. })));
}

#[test]
fn an_interrupted_load_happens_or_does_not() {
    let redo = Commit::Redo;
    for commits in [[Commit::Transactional; 2], [redo; 2], [Commit::Transactional, redo], [redo, Commit::Transactional]]
    {
        for point in [LOCK, BEFORE_COMMIT, AFTER_COMMIT] {
            let context = format!("{commits:?} at {point}");
            let world = World::new(commits);
            world.dump().unwrap();
            world.edit(A, "one\t1", "one\tedited");
            world.edit(B, "one\t1", "one\tedited");
            world.failing.0.store(point, Ordering::SeqCst);
            world.load(&[]).unwrap_err();
            assert!(world.file(".glxc/journal").exists(), "{context}");
            world.failing.0.store(NOWHERE, Ordering::SeqCst);
            // One transaction decides; with none or several our own record does, before the first commit.
            let one = commits.iter().filter(|commit| **commit == Commit::Transactional).count() == 1;
            let happened = point == AFTER_COMMIT || point == BEFORE_COMMIT && !one;
            let done = world.load(&[]).unwrap();
            assert_eq!(done.len(), if happened { 0 } else { 2 }, "{context}: what is left to load");
            assert_eq!(world.get(0), items(&[("one", "edited"), ("two", "2")]), "{context}");
            assert_eq!(world.get(1), items(&[("one", "edited")]), "{context}");
            world.is_clean();
        }
    }
}
