//! Trees in memory, for tests and for programs that keep small states elsewhere than in files.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;

use crate::{ContentId, Entry, Error, Mode, Result, Sink, StatePath, Tree};

/// A tree whose files are all in memory.
///
/// ```
/// use glxc_handlers::{MemoryTree, StatePath, Tree};
/// let tree = MemoryTree::from([("a/b.txt", "hello")]);
/// let path = StatePath::new("a/b.txt").unwrap();
/// assert_eq!(tree.read(&path, 100).unwrap(), b"hello");
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryTree {
    files: BTreeMap<StatePath, (Mode, Vec<u8>)>,
    entries: Vec<Entry>,
}

impl MemoryTree {
    /// A tree of the given files.
    pub fn new(files: BTreeMap<StatePath, (Mode, Vec<u8>)>) -> Self {
        let entry = |(path, (mode, bytes)): (&StatePath, &(Mode, Vec<u8>))| Entry {
            path: path.clone(),
            mode: *mode,
            id: content_id(bytes),
        };
        let entries = files.iter().map(entry).collect();
        MemoryTree { files, entries }
    }

    /// The files.
    pub fn files(&self) -> &BTreeMap<StatePath, (Mode, Vec<u8>)> {
        &self.files
    }

    /// The same tree with one file set, for building variants in tests.
    #[must_use]
    pub fn with(&self, path: &StatePath, bytes: impl Into<Vec<u8>>) -> Self {
        let mut files = self.files.clone();
        files.insert(path.clone(), (Mode::File, bytes.into()));
        MemoryTree::new(files)
    }

    /// The same tree with one file removed.
    #[must_use]
    pub fn without(&self, path: &StatePath) -> Self {
        let mut files = self.files.clone();
        files.remove(path);
        MemoryTree::new(files)
    }
}

/// Equal where the files are.
impl PartialEq for MemoryTree {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl<const N: usize> From<[(&str, &str); N]> for MemoryTree {
    /// A tree of plain files.
    ///
    /// # Panics
    /// Where a path is not a [`StatePath`].
    fn from(files: [(&str, &str); N]) -> Self {
        let file = |(path, text): (&str, &str)| {
            let path = StatePath::new(path).expect("a path beneath a state");
            (path, (Mode::File, text.as_bytes().to_vec()))
        };
        MemoryTree::new(files.into_iter().map(file).collect())
    }
}

/// Length and two hashes; these trees serve tests and small states, where nobody forges a content.
fn content_id(bytes: &[u8]) -> ContentId {
    let mut hash = DefaultHasher::new();
    bytes.hash(&mut hash);
    let first = hash.finish();
    0xa5u8.hash(&mut hash);
    ContentId::new([(bytes.len() as u64).to_be_bytes(), first.to_be_bytes(), hash.finish().to_be_bytes()].concat())
}

impl Tree for MemoryTree {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn open(&self, path: &StatePath) -> Result<Box<dyn Read + '_>> {
        match self.files.get(path) {
            Some((_, bytes)) => Ok(Box::new(bytes.as_slice())),
            None => Err(Error::Carrier { context: format!("open {path}"), source: "no such file".into() }),
        }
    }
}

/// A sink that collects a [`MemoryTree`].
#[derive(Debug, Default)]
pub struct MemorySink {
    base: Option<MemoryTree>,
    files: BTreeMap<StatePath, (Mode, Vec<u8>)>,
    open: Option<(StatePath, Mode, Vec<u8>)>,
}

impl MemorySink {
    /// A sink whose `keep` takes from `base`.
    pub fn new(base: Option<MemoryTree>) -> Self {
        MemorySink { base, ..MemorySink::default() }
    }

    /// The tree of what was written and kept.
    ///
    /// # Errors
    /// [`Error::Carrier`] where a file was begun and not ended, or a path is both a file and a folder.
    pub fn finish(self) -> Result<MemoryTree> {
        if let Some((path, ..)) = self.open {
            return Err(broken(&path, "begun and not ended"));
        }
        let tree = MemoryTree::new(self.files);
        match tree.files.keys().find(|path| !tree.within(path).is_empty()) {
            Some(path) => Err(broken(path, "both a file and a folder")),
            None => Ok(tree),
        }
    }

    fn insert(&mut self, path: StatePath, mode: Mode, bytes: Vec<u8>) -> Result<()> {
        match self.files.insert(path.clone(), (mode, bytes)) {
            Some(_) => Err(broken(&path, "written twice")),
            None => Ok(()),
        }
    }
}

fn broken(path: &StatePath, what: &str) -> Error {
    Error::Carrier { context: format!("export of {path}"), source: what.into() }
}

fn not_begun() -> Error {
    Error::Carrier { context: "export".into(), source: "no file was begun".into() }
}

impl Sink for MemorySink {
    fn begin(&mut self, path: &StatePath, mode: Mode) -> Result<()> {
        match &self.open {
            Some((open, ..)) => Err(broken(open, "begun and not ended")),
            None => {
                self.open = Some((path.clone(), mode, Vec::new()));
                Ok(())
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some((_, _, content)) = self.open.as_mut() else { return Err(not_begun()) };
        content.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let (path, mode, bytes) = self.open.take().ok_or_else(not_begun)?;
        self.insert(path, mode, bytes)
    }

    fn keep(&mut self, path: &StatePath) -> Result<()> {
        let base = self.base.take().unwrap_or_default();
        let kept = base.within(path).iter().chain(base.entry(path));
        let outcome = kept.map(|e| e.path.clone()).collect::<Vec<_>>().into_iter().try_for_each(|path| {
            let (mode, bytes) = base.files[&path].clone();
            self.insert(path, mode, bytes)
        });
        self.base = Some(base);
        outcome
    }
}
