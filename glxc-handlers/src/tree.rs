//! Trees of files: what a handler reads from and writes to.

use std::fmt;
use std::io::Read;

use crate::{Error, Result, StatePath};

/// What kind of file an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// A plain file.
    File,
    /// A plain file that may be executed.
    Executable,
    /// A symbolic link; its content is the target.
    Link,
}

/// The identity of a content: equal ids mean equal bytes. What the bytes of an id mean is the carrier's own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(Vec<u8>);

impl ContentId {
    /// Takes the id's bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        ContentId(bytes.into())
    }

    /// The id's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A file of a [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub path: StatePath,
    /// Its kind.
    pub mode: Mode,
    /// Its content.
    pub id: ContentId,
}

/// The files of one state at one commit. Folders are there only as parts of paths.
///
/// It does not change while it lives. All entries are in memory, at some hundred bytes each; contents are read as streams, and
/// opening one may cost a seek or a call of another process, so each is best opened once and read to its end. The paths and kinds are
/// those that somebody pushed: a handler refuses what it does not expect. Ids of trees of one carrier can be compared; contents of
/// different ids may be equal all the same.
pub trait Tree: fmt::Debug {
    /// All files, in the order of the bytes of their paths, each path once.
    fn entries(&self) -> &[Entry];

    /// Opens a file for reading from its start.
    ///
    /// # Errors
    /// [`Error::Carrier`] where the file is not there or can not be read.
    fn open(&self, path: &StatePath) -> Result<Box<dyn Read + '_>>;

    /// The entry at a path.
    fn entry(&self, path: &StatePath) -> Option<&Entry> {
        let entries = self.entries();
        entries.binary_search_by(|entry| entry.path.cmp(path)).ok().map(|at| &entries[at])
    }

    /// The files beneath a folder, in order.
    fn within(&self, folder: &StatePath) -> &[Entry] {
        let entries = self.entries();
        let prefix = [folder.as_bytes(), b"/"].concat();
        let start = entries.partition_point(|entry| entry.path.as_bytes() < prefix.as_slice());
        let length = entries[start..].partition_point(|entry| entry.path.as_bytes().starts_with(&prefix));
        &entries[start..start + length]
    }

    /// Reads a whole file that may have at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Input`] where it is longer, and those of [`Tree::open`].
    fn read(&self, path: &StatePath, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let context = || format!("read {path}");
        self.open(path)?.take(limit + 1).read_to_end(&mut bytes).map_err(Error::carrier(context()))?;
        if bytes.len() as u64 > limit {
            return Err(Error::input(path, None, format!("longer than {limit} bytes")));
        }
        Ok(bytes)
    }
}

/// Takes the files of an export.
///
/// A file is written between [`Sink::begin`] and [`Sink::end`]. What was neither written nor kept is gone
/// from the next commit. Each path may be written or kept once; a file and a folder of one name, or the same path
/// twice, are an error of the handler that `begin` or the end of the export reports.
///
/// Bytes go as they are, without a change of encoding or newlines, in chunks of any size; small ones are collected by the carrier. The order
/// of files is free. Where any call fails, the export is to end with that error, and nothing of it is used.
pub trait Sink {
    /// Begins a file.
    ///
    /// # Errors
    /// [`Error::Carrier`]. The same holds for the other methods.
    fn begin(&mut self, path: &StatePath, mode: Mode) -> Result<()>;

    /// Adds to the file that was begun.
    ///
    /// # Errors
    /// See [`Sink::begin`].
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Ends the file that was begun.
    ///
    /// # Errors
    /// See [`Sink::begin`].
    fn end(&mut self) -> Result<()>;

    /// Keeps a file, or all files beneath a folder, as the export's base has them. Nothing there is no error.
    ///
    /// # Errors
    /// See [`Sink::begin`].
    fn keep(&mut self, path: &StatePath) -> Result<()>;

    /// Writes a whole plain file.
    ///
    /// # Errors
    /// See [`Sink::begin`].
    fn put(&mut self, path: &StatePath, bytes: &[u8]) -> Result<()> {
        self.begin(path, Mode::File)?;
        self.write(bytes)?;
        self.end()
    }
}

/// How a path differs between two trees. At least one side is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differs {
    /// The path.
    pub path: StatePath,
    /// The old side.
    pub base: Option<(Mode, ContentId)>,
    /// The new side.
    pub next: Option<(Mode, ContentId)>,
}

/// Refuses paths, or folders of paths, that are one where a file system ignores case. The entries are those of a tree.
#[cfg(any(feature = "files", feature = "postgresql", feature = "mysql", feature = "mongodb"))]
pub(crate) fn check_case(entries: &[Entry]) -> Result<()> {
    use crate::text::folded;
    let whole = |entry: &Entry| folded(entry.path.as_bytes()).replace('/', "\0");
    let mut entries: Vec<_> = entries.iter().map(|entry| (whole(entry), entry)).collect();
    // What is in one folder, however it is spelled, stands together.
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    for pair in entries.windows(2) {
        let (one, other) = (&pair[0].1.path, &pair[1].1.path);
        let mut names = one.components().zip(other.components()).take_while(|(a, b)| folded(a) == folded(b));
        if names.any(|(a, b)| a != b) {
            let message = format!("the same as {one} where a file system ignores case; write capital letters as `%xx`");
            return Err(Error::input(other, None, message));
        }
    }
    Ok(())
}

/// Compares two trees by their ids, without reading a file. A missing tree is an empty one.
pub fn differences(base: Option<&dyn Tree>, next: Option<&dyn Tree>) -> Vec<Differs> {
    let [mut base, mut next] = [base, next].map(|tree| tree.map_or(&[][..], |tree| tree.entries()));
    let mut all = Vec::new();
    while let Some(path) = [base.first(), next.first()].into_iter().flatten().map(|entry| &entry.path).min() {
        let [old, new] = [take(&mut base, path), take(&mut next, path)];
        if old != new {
            let side = |entry: Option<&Entry>| entry.map(|entry| (entry.mode, entry.id.clone()));
            all.push(Differs { path: path.clone(), base: side(old), next: side(new) });
        }
    }
    all
}

/// Takes the first entry, where it is the one at a path.
fn take<'e>(entries: &mut &'e [Entry], path: &StatePath) -> Option<&'e Entry> {
    let (first, rest) = entries.split_first().filter(|(first, _)| first.path == *path)?;
    *entries = rest;
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryTree;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn files() -> impl Strategy<Value = MemoryTree> {
        let file = ("[a.]?(b|c/d|c-)", prop_oneof![Just(Mode::File), Just(Mode::Link)], "[xy]{0,1}");
        prop::collection::vec(file, 0..6).prop_map(|files| {
            let file =
                |(path, mode, text): (String, Mode, String)| (StatePath::new(path).unwrap(), (mode, text.into()));
            MemoryTree::new(files.into_iter().map(file).collect())
        })
    }

    proptest! {
        #[test]
        fn each_path_that_differs_is_told_once_and_in_order(base in files(), next in files()) {
            let paths: BTreeSet<&StatePath> = base.files().keys().chain(next.files().keys()).collect();
            let differ = paths.into_iter().filter(|path| base.files().get(path) != next.files().get(path));
            let told = differences(Some(&base), Some(&next));
            prop_assert_eq!(told.iter().map(|differs| &differs.path).collect::<Vec<_>>(), differ.collect::<Vec<_>>());
            for differs in told {
                let side = |tree: &MemoryTree| tree.entry(&differs.path).map(|entry| (entry.mode, entry.id.clone()));
                prop_assert_eq!((side(&base), side(&next)), (differs.base, differs.next));
            }
            prop_assert_eq!(differences(None, Some(&next)).len(), next.entries().len());
            prop_assert_eq!(differences(Some(&base), None).len(), base.entries().len());
        }
    }
}
