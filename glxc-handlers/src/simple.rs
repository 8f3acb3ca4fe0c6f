//! Handlers of two methods.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::{
    Cancel, Caps, Change, Commit, Committed, ContentId, Cx, Decision, Entry, Error, Exported, Handler, Live, Mode,
    Record, Recorded, Recovered, Result, Sink, Snapshot, Staged, StatePath, Tree, Unit, Ways,
};

/// A kind of live state that is only ever exported and imported as a whole. [`Simple`] makes a [`Handler`] of it.
///
/// ```
/// use glxc_handlers::{Cx, Exported, Result, SimpleHandler, Sink, StatePath, Tree};
///
/// /// The one file `/etc/motd`.
/// #[derive(Debug)]
/// struct Motd;
///
/// impl SimpleHandler for Motd {
///     fn export(&self, sink: &mut dyn Sink, _: &Cx<'_>) -> Result<Exported> {
///         let text = std::fs::read("/etc/motd").unwrap_or_default();
///         sink.put(&StatePath::new("motd").unwrap(), &text)?;
///         Ok(Exported::default())
///     }
///     fn import(&self, files: &dyn Tree, _: &Cx<'_>) -> Result<()> {
///         let text = files.read(&StatePath::new("motd").unwrap(), 1 << 20)?;
///         std::fs::write("/etc/motd", text).map_err(glxc_handlers::Error::io("write", "/etc/motd"))
///     }
/// }
/// # use glxc_handlers::{Handler, Simple};
/// let handler: Box<dyn Handler> = Box::new(Simple::new(Motd));
/// ```
pub trait SimpleHandler: Send + Sync + std::fmt::Debug {
    /// Writes the live state as files: the same state gives the same bytes. A state that holds nothing has files too; see
    /// [`SimpleHandler::live`].
    ///
    /// # Errors
    /// [`Error::Gone`] where the state is not there, and others.
    fn export(&self, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported>;

    /// Makes the live state what the files say, whatever it was.
    ///
    /// # Errors
    /// Any; the state before is imported again then.
    fn import(&self, files: &dyn Tree, cx: &Cx<'_>) -> Result<()>;

    /// Whether the live state can be overwritten without a loss. As long as this is not told apart, a state that is there
    /// is taken to hold something.
    ///
    /// # Errors
    /// As for `export`.
    fn live(&self, cx: &Cx<'_>) -> Result<Live> {
        match self.export(&mut Nowhere, cx) {
            Ok(_) => Ok(Live::Present),
            Err(Error::Gone { .. }) => Ok(Live::Absent),
            Err(error) => Err(error),
        }
    }

    /// Which ways it goes. What is only exported gets no `import`, and what is only imported no `export` and no `live`: a
    /// failed import of that is answered by importing the recorded files.
    fn ways(&self) -> Ways {
        Ways::Both
    }

    /// What it is that is live, in words; see [`Handler::place`].
    fn place(&self) -> String {
        String::new()
    }

    /// Checks pushed files by themselves; they are plain files already. Touches nothing live.
    ///
    /// # Errors
    /// [`Error::Input`] with the file.
    fn check(&self, files: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
        let _ = (files, cx);
        Ok(())
    }
}

/// The [`Handler`] of a [`SimpleHandler`].
///
/// It compares the whole state, imports inside `lock`, and answers a failure or an abort by importing what was live
/// before, which it keeps in [`Cx::op_dir`]. (A state that was absent before is imported as one without files.) A file
/// `.gitattributes` is not compared: it says nothing of what is live.
#[derive(Debug)]
pub struct Simple<T>(T);

impl<T: SimpleHandler> Simple<T> {
    /// Wraps it.
    pub fn new(handler: T) -> Self {
        Simple(handler)
    }

    /// Puts back what was live before an operation, where that had begun to write. Once.
    fn put_back(&self, cx: &Cx<'_>) -> Result<()> {
        let before = cx.op_dir.join(BEFORE);
        if !before.exists() {
            return Ok(());
        }
        let never = Cancel::new();
        self.0.import(&FolderTree::open(&before)?, &Cx { cancel: &never, deadline: None, ..*cx })?;
        fs::remove_dir_all(&before).map_err(Error::io("remove", &before))
    }

    fn import_changed(&self, change: &Change<'_>, cx: &Cx<'_>) -> Result<()> {
        let ways = self.0.ways();
        match (ways, change.base) {
            (Ways::Exported, _) => return Ok(()),
            // What was never seen can not be put back.
            (Ways::Imported, None) => return self.0.import(change.next.tree, cx),
            _ => {}
        }
        let before = self.save(change, ways, cx)?;
        if let (Some(base), false, Ways::Both) = (change.base, change.replace, ways) {
            let conflicts = different(base.tree, &before)?;
            if !conflicts.is_empty() {
                let (first, total) =
                    (conflicts.iter().take(10).map(StatePath::to_string).collect(), conflicts.len() as u64);
                return Err(Error::Changed { first, total });
            }
        }
        cx.check()?;
        let (saving, saved) = (cx.op_dir.join(SAVING), cx.op_dir.join(BEFORE));
        fs::rename(&saving, &saved)
            .and_then(|()| File::open(cx.op_dir)?.sync_all())
            .map_err(Error::io("save", &saved))?;
        self.0.import(change.next.tree, cx)
    }

    /// Writes what is live, or what is taken for it, to the operation's folder.
    fn save(&self, change: &Change<'_>, ways: Ways, cx: &Cx<'_>) -> Result<FolderTree> {
        let saving = cx.op_dir.join(SAVING);
        let mut sink = FolderSink::create(&saving)?;
        let saved = match (ways, change.base) {
            (Ways::Imported, Some(base)) => copy(base.tree, &mut sink, cx),
            _ => self.0.export(&mut sink, cx).map(drop),
        };
        match saved {
            Ok(()) | Err(Error::Gone { .. }) => {}
            Err(error) => return Err(error),
        }
        sink.finish()?;
        FolderTree::open(&saving)
    }
}

/// What was live, complete; a recovery puts it back.
const BEFORE: &str = "before";
const SAVING: &str = "saving";

impl<T: SimpleHandler> Handler for Simple<T> {
    fn caps(&self) -> Caps {
        let (commit, snapshot, ways) = (Commit::Compensated, Snapshot::None, self.0.ways());
        Caps { unit: Unit::Whole, commit, snapshot, database: false, ways }
    }

    fn place(&self) -> String {
        self.0.place()
    }

    fn live(&self, cx: &Cx<'_>) -> Result<Live> {
        match self.0.ways() {
            Ways::Imported => Ok(Live::Absent),
            Ways::Both | Ways::Exported => self.0.live(cx),
        }
    }

    fn check(&self, _: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
        match next.entries().iter().find(|entry| entry.mode != Mode::File) {
            Some(entry) => Err(Error::input(&entry.path, None, "not a plain file")),
            None => self.0.check(next, cx),
        }
    }

    fn export(&self, base: Option<&Recorded<'_>>, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported> {
        cx.check()?;
        if self.0.ways() == Ways::Imported {
            let mut recorded = base.into_iter().flat_map(|base| base.tree.entries());
            return recorded.try_for_each(|entry| sink.keep(&entry.path)).map(|()| Exported::default());
        }
        cx.progress.begin("export", None);
        let exported = self.0.export(sink, cx);
        cx.progress.end();
        exported
    }

    fn stage<'a>(&'a self, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Box<dyn Staged + 'a>> {
        cx.check()?;
        self.check(None, change.next.tree, cx)?;
        Ok(Box::new(StagedSimple { handler: self, change, cx, armed: false }))
    }

    fn recover(&self, _: &Change<'_>, _: Option<&Record>, decision: Decision, cx: &Cx<'_>) -> Result<Recovered> {
        match decision {
            Decision::Commit => Ok(Recovered::Committed(Committed::default())),
            Decision::Abort | Decision::Ask => self.put_back(cx).map(|()| Recovered::Aborted),
        }
    }
}

#[derive(Debug)]
struct StagedSimple<'a, T: SimpleHandler> {
    handler: &'a Simple<T>,
    change: &'a Change<'a>,
    cx: &'a Cx<'a>,
    armed: bool,
}

impl<T: SimpleHandler> Staged for StagedSimple<'_, T> {
    fn lock(&mut self) -> Result<Record> {
        self.cx.check()?;
        self.armed = true;
        self.cx.progress.begin("import", None);
        let imported = self.handler.import_changed(self.change, self.cx);
        self.cx.progress.end();
        imported.map(|()| Record::default())
    }

    fn commit(mut self: Box<Self>) -> Result<Committed> {
        self.armed = false;
        Ok(Committed::default())
    }

    fn abort(mut self: Box<Self>) -> Result<()> {
        match std::mem::take(&mut self.armed) {
            true => self.handler.put_back(self.cx),
            false => Ok(()),
        }
    }
}

impl<T: SimpleHandler> Drop for StagedSimple<'_, T> {
    fn drop(&mut self) {
        if self.armed
            && let Err(error) = self.handler.put_back(self.cx)
        {
            tracing::error!(%error, "what was live before could not be put back; the next contact tries again");
        }
    }
}

/// The paths whose kind or content differs.
fn different(a: &dyn Tree, b: &dyn Tree) -> Result<Vec<StatePath>> {
    let mut paths = Vec::new();
    for differs in crate::differences(Some(a), Some(b)) {
        let same_mode = differs.base.as_ref().map(|(mode, _)| mode) == differs.next.as_ref().map(|(mode, _)| mode);
        if !same_mode || !same_content(a.open(&differs.path)?, b.open(&differs.path)?, &differs.path)? {
            paths.push(differs.path);
        }
    }
    paths.retain(|path| path.as_bytes() != b".gitattributes");
    Ok(paths)
}

/// Writes a tree's files to a sink.
fn copy(tree: &dyn Tree, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<()> {
    let mut chunk = vec![0; 64 << 10];
    for entry in tree.entries() {
        sink.begin(&entry.path, entry.mode)?;
        let mut content = tree.open(&entry.path)?;
        loop {
            cx.check()?;
            match content.read(&mut chunk).map_err(Error::carrier(format!("read {}", entry.path)))? {
                0 => break,
                length => sink.write(&chunk[..length])?,
            }
        }
        sink.end()?;
    }
    Ok(())
}

fn same_content(a: Box<dyn Read + '_>, b: Box<dyn Read + '_>, path: &StatePath) -> Result<bool> {
    let failed = || Error::carrier(format!("read {path}"));
    let mut sides = [a, b].map(|side| (side, Vec::new()));
    loop {
        for (side, chunk) in &mut sides {
            chunk.clear();
            side.by_ref().take(64 << 10).read_to_end(chunk).map_err(failed())?;
        }
        if sides[0].1 != sides[1].1 {
            return Ok(false);
        }
        if sides[0].1.is_empty() {
            return Ok(true);
        }
    }
}

/// Throws files away.
pub(crate) struct Nowhere;

impl Sink for Nowhere {
    fn begin(&mut self, _: &StatePath, _: Mode) -> Result<()> {
        Ok(())
    }
    fn write(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn end(&mut self) -> Result<()> {
        Ok(())
    }
    fn keep(&mut self, _: &StatePath) -> Result<()> {
        Ok(())
    }
}

/// A tree in a folder of ours: the contents as `0`, `1` and so on, their modes and paths in `index`.
#[derive(Debug)]
struct FolderTree {
    folder: PathBuf,
    entries: Vec<Entry>,
}

impl FolderTree {
    fn open(folder: &Path) -> Result<Self> {
        let index = folder.join("index");
        let bytes = fs::read(&index).map_err(Error::io("read", &index))?;
        let broken = || Error::Carrier { context: format!("read {}", index.display()), source: "not an index".into() };
        let mut entries = Vec::new();
        for (number, record) in bytes.split_inclusive(|b| *b == 0).enumerate() {
            let (mode, path) = record.strip_suffix(&[0]).and_then(<[u8]>::split_first).ok_or_else(broken)?;
            let mode = match mode {
                b'f' => Mode::File,
                b'x' => Mode::Executable,
                b'l' => Mode::Link,
                _ => return Err(broken()),
            };
            let path = StatePath::new(path).map_err(|_| broken())?;
            entries.push(Entry { path, mode, id: ContentId::new(number.to_string()) });
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(FolderTree { folder: folder.to_path_buf(), entries })
    }
}

impl Tree for FolderTree {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn open(&self, path: &StatePath) -> Result<Box<dyn Read + '_>> {
        let missing = || Error::Carrier { context: format!("open {path}"), source: "no such file".into() };
        let entry = self.entry(path).ok_or_else(missing)?;
        let file = self.folder.join(String::from_utf8_lossy(entry.id.as_bytes()).as_ref());
        Ok(Box::new(File::open(&file).map_err(Error::io("open", file))?))
    }
}

/// Writes a [`FolderTree`], durably.
#[derive(Debug)]
struct FolderSink {
    folder: PathBuf,
    index: Vec<u8>,
    count: usize,
    open: Option<BufWriter<File>>,
}

impl FolderSink {
    /// Begins one; what was there goes.
    fn create(folder: &Path) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(Error::io("remove", folder))?;
        }
        fs::create_dir(folder).map_err(Error::io("create", folder))?;
        Ok(FolderSink { folder: folder.to_path_buf(), index: Vec::new(), count: 0, open: None })
    }

    fn finish(self) -> Result<()> {
        let index = self.folder.join("index");
        let written =
            File::create(&index).and_then(|mut file| file.write_all(&self.index).and_then(|()| file.sync_all()));
        written.and_then(|()| File::open(&self.folder)?.sync_all()).map_err(Error::io("write", index))
    }
}

impl Sink for FolderSink {
    fn begin(&mut self, path: &StatePath, mode: Mode) -> Result<()> {
        let file = self.folder.join(self.count.to_string());
        self.open = Some(BufWriter::new(File::create(&file).map_err(Error::io("create", file))?));
        self.count += 1;
        let letter = match mode {
            Mode::File => b'f',
            Mode::Executable => b'x',
            Mode::Link => b'l',
        };
        self.index.push(letter);
        self.index.extend_from_slice(path.as_bytes());
        self.index.push(0);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.open {
            Some(file) => file.write_all(bytes).map_err(Error::io("write to", &self.folder)),
            None => Err(Error::Carrier { context: "save what is live".into(), source: "no file was begun".into() }),
        }
    }

    fn end(&mut self) -> Result<()> {
        let Some(file) = self.open.take() else { return Ok(()) };
        let synced = file.into_inner().map_err(std::io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        synced.map_err(Error::io("write to", &self.folder))
    }

    fn keep(&mut self, _: &StatePath) -> Result<()> {
        Ok(())
    }
}
