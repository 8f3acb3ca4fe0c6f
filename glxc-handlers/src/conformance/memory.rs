//! A handler whose live state is a map: the reference of the contract.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::rows::{self, Changes, Comparator, Header, Limits, RowChange, Writer};
use crate::{
    Caps, Change, Commit, Committed, Cx, Decision, Error, Exported, Handler, Live, OpId, Record, Recorded, Recovered,
    Result, Sink, Snapshot, Staged, StatePath, Tree, Unit, Ways,
};

/// A live state: texts by name, shared by everybody who holds a clone.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Store>>);

#[derive(Debug, Default)]
struct Store {
    live: Option<BTreeMap<String, String>>,
    /// What operations prepared, as a scratch schema would be.
    staged: BTreeMap<String, Vec<Edit>>,
    /// The operations that committed, as a table of ours would be.
    done: BTreeSet<String>,
}

/// One item: its name, its value in base, its value in next.
type Edit = (String, Option<String>, Option<String>);

impl MemoryStore {
    /// A store that is absent.
    pub fn new() -> Self {
        MemoryStore::default()
    }

    /// What is live; `None` where it is absent.
    pub fn get(&self) -> Option<BTreeMap<String, String>> {
        self.lock().live.clone()
    }

    /// Replaces what is live, as an application does.
    pub fn set(&self, live: Option<BTreeMap<String, String>>) {
        self.lock().live = live;
    }

    /// Sets one item, as an application does. The store exists then.
    pub fn insert(&self, name: &str, value: &str) {
        self.lock().live.get_or_insert_default().insert(name.into(), value.into());
    }

    /// What operations left that did not end.
    pub fn leftovers(&self) -> Vec<String> {
        self.lock().staged.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a [`MemoryStore`] as one row file, with `name` as the key. It commits as a transaction does, or item by item.
///
/// ```
/// use glxc_handlers::conformance::{MemoryHandler, MemoryStore};
/// use glxc_handlers::{Cancel, Cx, Handler, MemorySink, Silent};
/// # use std::path::Path;
/// let store = MemoryStore::new();
/// store.insert("greeting", "hello");
/// let handler = MemoryHandler::redo(store);
/// let (mut sink, cancel) = (MemorySink::new(None), Cancel::new());
/// # let here = Path::new(".");
/// let cx = Cx { progress: &Silent, cancel: &cancel, deadline: None, scratch: here, op_dir: here };
/// handler.export(None, &mut sink, &cx)?;
/// assert_eq!(sink.finish()?.files().len(), 2);
/// # Ok::<(), glxc_handlers::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryHandler {
    store: MemoryStore,
    commit: Commit,
}

impl MemoryHandler {
    /// Commits in one step.
    pub fn transactional(store: MemoryStore) -> Self {
        MemoryHandler { store, commit: Commit::Transactional }
    }

    /// Commits item by item.
    pub fn redo(store: MemoryStore) -> Self {
        MemoryHandler { store, commit: Commit::Redo }
    }

    fn edits(&self, change: &Change<'_>, cx: &Cx<'_>) -> Result<Vec<Edit>> {
        self.check(None, change.next.tree, cx)?;
        let replaced = change.replace.then(|| self.tree()).transpose()?;
        let base = match &replaced {
            Some(live) => Some(live as &dyn Tree),
            None => change.base.map(|base| base.tree),
        };
        let mut edits = Vec::new();
        let mut changes = Changes::new(base, Some(change.next.tree), &folder()?, Limits::default(), cx)?;
        while let Some(change) = changes.next()? {
            edits.push(match change {
                RowChange::Added { line, place } => edit(None, Some(line), place.file)?,
                RowChange::Removed { line, place } => edit(Some(line), None, place.file)?,
                RowChange::Changed { old, new, place } => edit(Some(old), Some(new), place.file)?,
            });
        }
        Ok(edits)
    }

    /// The live state as files, empty where it is absent.
    fn tree(&self) -> Result<crate::MemoryTree> {
        let mut sink = crate::MemorySink::new(None);
        write(&self.store.get().unwrap_or_default(), &mut sink)?;
        sink.finish()
    }

    /// Does what is not done yet. What is neither old nor new was written meanwhile, and stays.
    fn redo_edits(&self, op: &OpId, edits: Vec<Edit>) -> Committed {
        let mut store = self.store.lock();
        store.staged.remove(op.as_str());
        store.done.insert(op.to_string());
        let live = store.live.get_or_insert_default();
        let mut notes = Vec::new();
        for (name, old, new) in edits {
            match live.get(&name) {
                now if now == new.as_ref() => {}
                now if now != old.as_ref() => notes.push(format!("{name} was changed meanwhile and stays")),
                _ => drop(set(live, name, new)),
            }
        }
        Committed { notes }
    }
}

fn set(live: &mut BTreeMap<String, String>, name: String, value: Option<String>) -> Option<String> {
    match value {
        Some(value) => live.insert(name, value),
        None => live.remove(&name),
    }
}

fn header() -> Header {
    Header { columns: vec!["name".into(), "value".into()], key: vec![(0, Comparator::Bytes)] }
}

fn folder() -> Result<StatePath> {
    StatePath::new("items").map_err(Error::carrier("name the folder"))
}

fn attributes() -> Result<StatePath> {
    StatePath::new(".gitattributes").map_err(Error::carrier("name the attributes"))
}

fn edit(old: Option<&[u8]>, new: Option<&[u8]>, file: &StatePath) -> Result<Edit> {
    let (old, new) = (old.map(|line| item(line, file)).transpose()?, new.map(|line| item(line, file)).transpose()?);
    let name = old.as_ref().or(new.as_ref()).map(|(name, _)| name.clone()).unwrap_or_default();
    Ok((name, old.map(|(_, value)| value), new.map(|(_, value)| value)))
}

fn item(line: &[u8], file: &StatePath) -> Result<(String, String)> {
    let text = std::str::from_utf8(line).ok().and_then(|line| line.split_once('\t'));
    let item = text.and_then(|(name, value)| Some((rows::unescape(name)?, rows::unescape(value)?)));
    item.ok_or_else(|| Error::input(file, None, "an unknown escape"))
}

fn write(items: &BTreeMap<String, String>, sink: &mut dyn Sink) -> Result<()> {
    sink.put(&attributes()?, rows::gitattributes().as_bytes())?;
    let mut writer = Writer::new(sink, folder()?, &header(), Limits::default())?;
    for (name, value) in items {
        writer.line(format!("{}\t{}", rows::escape(name), rows::escape(value)).as_bytes())?;
    }
    writer.finish().map(drop)
}

impl Handler for MemoryHandler {
    fn caps(&self) -> Caps {
        Caps {
            unit: Unit::Item,
            commit: self.commit,
            snapshot: Snapshot::PointInTime,
            database: true,
            ways: Ways::Both,
        }
    }

    fn live(&self, _: &Cx<'_>) -> Result<Live> {
        Ok(match self.store.get() {
            None => Live::Absent,
            Some(items) if items.is_empty() => Live::Empty,
            Some(_) => Live::Present,
        })
    }

    fn check(&self, _: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
        let (attributes, folder) = (attributes()?, folder()?);
        let stray = |path: &StatePath| *path != attributes && !path.is_within(&folder);
        for entry in next.entries() {
            if stray(&entry.path) || entry.mode != crate::Mode::File {
                return Err(Error::input(&entry.path, None, "not expected in this state"));
            }
        }
        let (found, _) = rows::check(next, &folder, Limits::default(), cx)?;
        let first = next.within(&folder).first().map_or(&folder, |entry| &entry.path);
        if found != header() {
            return Err(Error::input(first, 1, "other columns than name and value"));
        }
        let mut reader = rows::Reader::new(next, &folder, Limits::default())?;
        while let Some(line) = reader.next()? {
            item(line.bytes, line.file)?;
        }
        Ok(())
    }

    fn export(&self, _: Option<&Recorded<'_>>, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported> {
        cx.check()?;
        let items = self.store.get().ok_or_else(|| Error::Gone { what: "the store".into() })?;
        cx.progress.begin("export", Some(items.len() as u64));
        let written = write(&items, sink);
        cx.progress.end();
        written.map(|()| Exported::default())
    }

    fn stage<'a>(&'a self, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Box<dyn Staged + 'a>> {
        cx.check()?;
        let edits = self.edits(change, cx)?;
        cx.progress.begin("prepare", Some(edits.len() as u64));
        self.store.lock().staged.insert(change.op.to_string(), edits);
        cx.progress.end();
        Ok(Box::new(StagedMemory { handler: self, change, cx }))
    }

    fn recover(&self, change: &Change<'_>, _: Option<&Record>, decision: Decision, cx: &Cx<'_>) -> Result<Recovered> {
        let op = change.op.as_str();
        let happened = self.store.lock().done.contains(op);
        if decision == Decision::Commit && !happened || happened && self.commit == Commit::Redo {
            let edits = self.edits(change, cx)?;
            return Ok(Recovered::Committed(self.redo_edits(change.op, edits)));
        }
        self.store.lock().staged.remove(op);
        Ok(if happened { Recovered::Committed(Committed::default()) } else { Recovered::Aborted })
    }
}

#[derive(Debug)]
struct StagedMemory<'a> {
    handler: &'a MemoryHandler,
    change: &'a Change<'a>,
    cx: &'a Cx<'a>,
}

impl Staged for StagedMemory<'_> {
    fn lock(&mut self) -> Result<Record> {
        self.cx.check()?;
        let store = self.handler.store.lock();
        let edits = store.staged.get(self.change.op.as_str()).map_or(&[][..], Vec::as_slice);
        let now = |name: &String| store.live.as_ref().and_then(|live| live.get(name));
        let conflict = |(name, old, _): &&Edit| now(name) != old.as_ref();
        let conflicts: Vec<String> = edits.iter().filter(conflict).map(|(name, ..)| format!("item {name}")).collect();
        match conflicts.len() as u64 {
            0 => Ok(Record(self.change.op.to_string())),
            total => Err(Error::Changed { first: conflicts.into_iter().take(10).collect(), total }),
        }
    }

    fn prepare(&mut self) -> Result<()> {
        // What is staged is in the store, which outlives any program.
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<Committed> {
        let edits = self.handler.store.lock().staged.remove(self.change.op.as_str()).unwrap_or_default();
        Ok(self.handler.redo_edits(self.change.op, edits))
    }

    fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Drop for StagedMemory<'_> {
    fn drop(&mut self) {
        self.handler.store.lock().staged.remove(self.change.op.as_str());
    }
}
