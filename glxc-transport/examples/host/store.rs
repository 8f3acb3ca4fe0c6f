//! A kind of state of our own: a file of `KEY TAB VALUE` lines, replaced as a whole, compared key by key.
//!
//! Options: `file`, the live file (absolute). In the repository it is `keys.tsv`, in the order of the keys. The first
//! line of the live file names the operation that wrote it, which is how an outcome can be asked for after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};

use glxc_handlers::{
    Caps, Change, Commit, Committed, Cx, Decision, Description, Error, Exported, Fingerprint, Handler, Live, OpId,
    Record, Recorded, Recovered, Result, Settings, Simple, SimpleHandler, Sink, Snapshot, Staged, StatePath, Tree,
    Unit, Ways,
};

const KEYS: &str = "keys.tsv";
const LIMIT: u64 = 64 << 20;

type Keys = BTreeMap<String, String>;

/// Makes a handler from its options.
pub fn make(settings: &Settings) -> Result<Box<dyn Handler>> {
    Ok(Box::new(Store::new(settings)?))
}

/// Makes the handler that exports and imports as a whole.
pub fn make_whole(settings: &Settings) -> Result<Box<dyn Handler>> {
    Ok(Box::new(Simple::new(Whole(Store::new(settings)?))))
}

fn file_option(settings: &Settings) -> Result<PathBuf> {
    let mut reader = settings.options.reader();
    let file = reader.text("file")?.ok_or_else(|| Error::option("file", "is missing"))?;
    reader.finish()?;
    match Path::new(file) {
        file if file.is_absolute() => Ok(file.to_owned()),
        _ => Err(Error::option("file", "must be absolute")),
    }
}

#[derive(Debug)]
struct Store {
    file: PathBuf,
}

fn keys_path() -> Result<StatePath> {
    StatePath::new(KEYS).map_err(|error| Error::Carrier { context: KEYS.into(), source: error.into() })
}

fn parse(file: &StatePath, text: &[u8]) -> Result<Keys> {
    let text = std::str::from_utf8(text).map_err(|_| Error::input(file, None, "is not UTF-8"))?;
    let mut keys = Keys::new();
    for (number, line) in text.lines().enumerate() {
        let at = |message: &str| Error::input(file, number as u64 + 1, message);
        let (key, value) = line.split_once('\t').ok_or_else(|| at("has no tab"))?;
        if keys.insert(key.into(), value.into()).is_some() {
            return Err(at("the same key twice"));
        }
    }
    Ok(keys)
}

fn render(keys: &Keys) -> String {
    keys.iter().map(|(key, value)| format!("{key}\t{value}\n")).collect()
}

fn read_tree(tree: &dyn Tree) -> Result<Keys> {
    let path = keys_path()?;
    if let Some(other) = tree.entries().iter().find(|entry| entry.path != path) {
        return Err(Error::input(&other.path, None, "is not expected here"));
    }
    parse(&path, &tree.read(&path, LIMIT)?)
}

impl Store {
    fn new(settings: &Settings) -> Result<Self> {
        Ok(Store { file: file_option(settings)? })
    }

    fn read_text(&self) -> Result<Option<Vec<u8>>> {
        match fs::read(&self.file) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &self.file)(error)),
        }
    }

    /// The operation that wrote the file last, and its keys; nothing where the file is missing.
    fn read_live(&self) -> Result<Option<(String, Keys)>> {
        let Some(text) = self.read_text()? else { return Ok(None) };
        let end = text.iter().position(|b| *b == b'\n').map_or(text.len(), |at| at + 1);
        let op = String::from_utf8_lossy(text[..end].trim_ascii()).into_owned();
        Ok(Some((op, parse(&keys_path()?, &text[end..])?)))
    }

    fn staged_path(&self, op: &OpId) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(format!(".glxc-{op}"));
        PathBuf::from(name)
    }
}

impl Handler for Store {
    fn caps(&self) -> Caps {
        Caps {
            unit: Unit::Item,
            commit: Commit::Transactional,
            snapshot: Snapshot::PointInTime,
            database: true,
            ways: Ways::Both,
        }
    }

    fn place(&self) -> String {
        format!("the file {}", self.file.display())
    }

    fn claim(&self) -> String {
        format!("file {}", self.file.display())
    }

    fn live(&self, _: &Cx<'_>) -> Result<Live> {
        Ok(match self.read_live()? {
            None => Live::Absent,
            Some((_, keys)) if keys.is_empty() => Live::Empty,
            Some(_) => Live::Present,
        })
    }

    fn check(&self, _: Option<&dyn Tree>, next: &dyn Tree, _: &Cx<'_>) -> Result<()> {
        read_tree(next).map(drop)
    }

    fn fingerprint(&self, _: &Cx<'_>) -> Result<Option<Fingerprint>> {
        let print = |text: Vec<u8>| {
            let mut hash = DefaultHasher::new();
            text.hash(&mut hash);
            Fingerprint(format!("{} {:016x}", text.len(), hash.finish()))
        };
        Ok(self.read_text()?.map(print))
    }

    fn export(&self, _: Option<&Recorded<'_>>, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported> {
        let fingerprint = self.fingerprint(cx)?;
        let gone = || Error::Gone { what: self.file.display().to_string() };
        let (_, keys) = self.read_live()?.ok_or_else(gone)?;
        sink.put(&keys_path()?, render(&keys).as_bytes())?;
        Ok(Exported { fingerprint, notes: Vec::new() })
    }

    fn describe(&self, change: &Change<'_>, _: &Cx<'_>) -> Result<Description> {
        let base = change.base.map_or(Ok(Keys::new()), |base| read_tree(base.tree))?;
        let next = read_tree(change.next.tree)?;
        let changed = changed(&base, &next);
        let summary = if changed.is_empty() { String::new() } else { format!("{} keys changed", changed.len()) };
        Ok(Description { summary, details: changed.into_iter().collect() })
    }

    fn stage<'a>(&'a self, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Box<dyn Staged + 'a>> {
        cx.check()?;
        let next = read_tree(change.next.tree)?;
        Ok(Box::new(Import { store: self, change, next, locked: false }))
    }

    fn recover(&self, change: &Change<'_>, _: Option<&Record>, decision: Decision, _: &Cx<'_>) -> Result<Recovered> {
        let written = self.read_live()?.is_some_and(|(op, _)| op == change.op.as_str());
        let staged = self.staged_path(change.op);
        if decision == Decision::Commit && !written && staged.exists() {
            fs::rename(&staged, &self.file).map_err(Error::io("rename", &staged))?;
        }
        let _ = fs::remove_file(&staged);
        match decision {
            Decision::Ask if !written => Ok(Recovered::Aborted),
            Decision::Abort => Ok(Recovered::Aborted),
            _ => Ok(Recovered::Committed(Committed::default())),
        }
    }
}

fn changed(a: &Keys, b: &Keys) -> BTreeSet<String> {
    a.keys().chain(b.keys()).filter(|key| a.get(*key) != b.get(*key)).cloned().collect()
}

struct Import<'a> {
    store: &'a Store,
    change: &'a Change<'a>,
    next: Keys,
    locked: bool,
}

impl Import<'_> {
    /// Live with base to next applied to it. What both changed is a conflict.
    fn merged(&self) -> Result<Keys> {
        let Some(base) = self.change.base.filter(|_| !self.change.replace) else { return Ok(self.next.clone()) };
        let base = read_tree(base.tree)?;
        let gone = || Error::Gone { what: self.store.file.display().to_string() };
        let (_, mut live) = self.store.read_live()?.ok_or_else(gone)?;
        let pushed = changed(&base, &self.next);
        let conflicts: Vec<_> = pushed.iter().filter(|key| live.get(*key) != base.get(*key)).cloned().collect();
        if !conflicts.is_empty() {
            let total = conflicts.len() as u64;
            return Err(Error::Changed { first: conflicts.into_iter().take(10).collect(), total });
        }
        for key in pushed {
            match self.next.get(&key) {
                Some(value) => live.insert(key, value.clone()),
                None => live.remove(&key),
            };
        }
        Ok(live)
    }
}

impl Staged for Import<'_> {
    fn lock(&mut self) -> Result<Record> {
        let path = self.store.staged_path(self.change.op);
        let text = format!("{}\n{}", self.change.op, render(&self.merged()?));
        self.locked = true;
        File::create(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .map_err(Error::io("write", &path))?;
        Ok(Record::default())
    }

    fn prepare(&mut self) -> Result<()> {
        // The file that waits to be renamed is durable already.
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Result<Committed> {
        let path = self.store.staged_path(self.change.op);
        fs::rename(&path, &self.store.file).map_err(Error::io("rename", &path))?;
        self.locked = false;
        Ok(Committed::default())
    }

    fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Drop for Import<'_> {
    fn drop(&mut self) {
        if self.locked {
            let _ = fs::remove_file(self.store.staged_path(self.change.op));
        }
    }
}

/// The same file without a compare of keys.
#[derive(Debug)]
struct Whole(Store);

impl SimpleHandler for Whole {
    fn export(&self, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported> {
        Handler::export(&self.0, None, sink, cx)
    }

    fn import(&self, files: &dyn Tree, _: &Cx<'_>) -> Result<()> {
        let text = format!("whole\n{}", render(&read_tree(files)?));
        fs::write(&self.0.file, text).map_err(Error::io("write", &self.0.file))
    }
}
