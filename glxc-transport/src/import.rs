//! Writes an export as a commit, through `git fast-import`: contents stream into a pack.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin};

use glxc_handlers::{ContentId, Entry, Mode, Sink, StatePath, Tree};
use sha1::{Digest, Sha1};

use crate::{Error, Git, GitTree, ObjectId, Result};

/// Up to this many bytes a file is held in memory until its length is known.
const IN_MEMORY: usize = 4 << 20;

/// Writes one commit. Nothing is visible before [`Import::commit`] and the caller's own update of a branch.
#[derive(Debug)]
pub(crate) struct Import {
    git: Git,
    scratch: PathBuf,
    /// Started with the first content that is new: an export where nothing changed starts none.
    process: Option<FastImport>,
    marks: u64,
}

#[derive(Debug)]
struct FastImport {
    child: Child,
    stream: BufWriter<ChildStdin>,
}

impl FastImport {
    fn start(git: &Git) -> Result<Self> {
        let mut child =
            git.spawn(&["fast-import", "--quiet", "--done", "--date-format=now", "--depth=0", "--force"])?;
        match child.stdin.take() {
            Some(stream) => Ok(FastImport { child, stream: BufWriter::with_capacity(1 << 18, stream) }),
            None => Err(Error::Protocol("fast-import has no pipe".into())),
        }
    }

    fn finish(mut self) -> Result<()> {
        self.stream.write_all(b"done\n").and_then(|()| self.stream.flush()).map_err(failed())?;
        let status = self.child.wait().map_err(failed())?;
        match status.success() {
            true => Ok(()),
            false => Err(Error::git("fast-import", status.to_string())),
        }
    }
}

impl Drop for FastImport {
    /// A stream without `done` is thrown away by fast-import.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a path of the new commit holds.
#[derive(Debug, Clone)]
enum Content {
    Mark(u64),
    Id(String),
}

type Files = BTreeMap<StatePath, (Mode, Content)>;

impl Import {
    pub(crate) fn new(git: &Git, scratch: &Path) -> Self {
        Import { git: git.clone(), scratch: scratch.to_owned(), process: None, marks: 0 }
    }

    fn stream(&mut self) -> Result<&mut BufWriter<ChildStdin>> {
        let process = match self.process.take() {
            Some(process) => process,
            None => FastImport::start(&self.git)?,
        };
        Ok(&mut self.process.insert(process).stream)
    }

    /// A sink for one state.
    pub(crate) fn sink<'a>(&'a mut self, base: Option<&'a GitTree>) -> StateSink<'a> {
        StateSink { import: self, base, files: Files::new(), open: None }
    }

    fn blob(&mut self, length: u64, content: &mut dyn Read) -> Result<u64> {
        self.marks += 1;
        let mark = self.marks;
        let stream = self.stream()?;
        write!(stream, "blob\nmark :{mark}\ndata {length}\n").map_err(failed())?;
        let copied = std::io::copy(content, stream).map_err(failed())?;
        if copied != length {
            return Err(Error::Protocol(format!("a file of {length} bytes had {copied}")));
        }
        stream.write_all(b"\n").map_err(failed())?;
        Ok(mark)
    }

    /// Commits on top of `parent`: each folder of `states` has exactly the given files, the rest stays. The commit
    /// is kept alive by `reference`, which is created.
    pub(crate) fn commit(
        mut self, reference: &str, parent: &ObjectId, message: &str, author: &str, states: &[(StatePath, Written)],
    ) -> Result<ObjectId> {
        let stream = self.stream()?;
        write!(stream, "commit {reference}\ncommitter {author} now\ndata {}\n{message}\n", message.len())
            .and_then(|()| writeln!(stream, "from {parent}"))
            .map_err(failed())?;
        for (folder, written) in states {
            writeln!(stream, "D {}", quoted(folder)).map_err(failed())?;
            for (path, (mode, content)) in &written.files {
                let path = folder.join(path.as_bytes()).map_err(|e| Error::Protocol(e.to_string()))?;
                let content = match content {
                    Content::Mark(mark) => format!(":{mark}"),
                    Content::Id(id) => id.clone(),
                };
                writeln!(stream, "M {} {content} {}", mode_text(*mode), quoted(&path)).map_err(failed())?;
            }
        }
        self.process.take().map_or(Ok(()), FastImport::finish)?;
        self.git.reference(reference)?.ok_or_else(|| Error::git("fast-import", "wrote no commit"))
    }
}

fn failed() -> impl FnOnce(std::io::Error) -> Error {
    Error::io("write to", "git fast-import")
}

fn mode_text(mode: Mode) -> &'static str {
    match mode {
        Mode::File => "100644",
        Mode::Executable => "100755",
        Mode::Link => "120000",
    }
}

/// A path in the C-like quotes of fast-import.
fn quoted(path: &StatePath) -> String {
    let mut text = String::from("\"");
    for byte in path.as_bytes() {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            0x20..=0x7e => text.push(char::from(*byte)),
            other => text.push_str(&format!("\\{other:03o}")),
        }
    }
    text.push('"');
    text
}

/// The files of one state, written and not yet committed.
#[derive(Debug)]
pub(crate) struct Written {
    files: Files,
    /// The same files as the base has.
    pub(crate) unchanged: bool,
}

impl Written {
    /// No files: the folder goes.
    pub(crate) fn nothing() -> Self {
        Written { files: Files::new(), unchanged: false }
    }
}

fn id_of(entry: &Entry) -> Content {
    Content::Id(String::from_utf8_lossy(entry.id.as_bytes()).into_owned())
}

/// Takes the files of one state.
#[derive(Debug)]
pub(crate) struct StateSink<'a> {
    import: &'a mut Import,
    base: Option<&'a GitTree>,
    files: Files,
    open: Option<Open>,
}

/// A file whose length is not known yet.
#[derive(Debug)]
struct Open {
    path: StatePath,
    mode: Mode,
    start: Vec<u8>,
    spilled: Option<File>,
    length: u64,
}

impl StateSink<'_> {
    /// The files, once the handler is done.
    pub(crate) fn finish(self) -> Result<Written> {
        if let Some(open) = self.open {
            return Err(Error::Protocol(format!("{} was begun and not ended", open.path)));
        }
        let mut previous: Option<&StatePath> = None;
        for path in self.files.keys() {
            // Sorted by bytes, `a` may be followed by `a-b` before `a/b`, so folders are looked up one by one.
            let folder_is_file = parents(path).any(|folder| self.files.contains_key(&folder));
            if folder_is_file || previous == Some(path) {
                return Err(Error::Protocol(format!("{path} is beneath a file")));
            }
            previous = Some(path);
        }
        let same = |entry: &Entry| match self.files.get(&entry.path) {
            Some((mode, Content::Id(id))) => *mode == entry.mode && id.as_bytes() == entry.id.as_bytes(),
            _ => false,
        };
        let base = self.base.map(|base| base.entries());
        let unchanged = base.is_some_and(|base| base.len() == self.files.len() && base.iter().all(same));
        Ok(Written { files: self.files, unchanged })
    }

    fn insert(&mut self, path: StatePath, mode: Mode, content: Content) -> Result<()> {
        match self.files.insert(path.clone(), (mode, content)) {
            Some(_) => Err(Error::Protocol(format!("{path} was written twice"))),
            None => Ok(()),
        }
    }
}

fn parents(path: &StatePath) -> impl Iterator<Item = StatePath> + '_ {
    let bytes = path.as_bytes();
    let slashes = bytes.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
    slashes.filter_map(move |at| StatePath::new(&bytes[..at]).ok())
}

impl Open {
    fn write(&mut self, bytes: &[u8], scratch: &Path) -> Result<()> {
        self.length += bytes.len() as u64;
        if self.spilled.is_none() && self.start.len() + bytes.len() <= IN_MEMORY {
            self.start.extend_from_slice(bytes);
            return Ok(());
        }
        let file = match &mut self.spilled {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(scratch).map_err(Error::io("create a file in", scratch))?),
        };
        file.write_all(&std::mem::take(&mut self.start))
            .and_then(|()| file.write_all(bytes))
            .map_err(Error::io("write to", scratch))
    }
}

impl StateSink<'_> {
    fn close(&mut self) -> Result<()> {
        let open = self.open.take().ok_or_else(|| Error::Protocol("no file was begun".into()))?;
        let base = self.base.and_then(|base| base.entry(&open.path)).map(|entry| entry.id.clone());
        let content = match open.spilled {
            None => self.import.content(base.as_ref(), open.length, &mut Cursor::new(&open.start))?,
            Some(mut file) => self.import.content(base.as_ref(), open.length, &mut file)?,
        };
        self.insert(open.path, open.mode, content)
    }
}

/// What git calls a blob of this content.
fn blob_id(length: u64, content: &mut dyn Read) -> std::io::Result<String> {
    let mut hash = Sha1::new();
    hash.update(format!("blob {length}\0"));
    let mut chunk = [0; 1 << 16];
    loop {
        match content.read(&mut chunk)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => hash.update(&chunk[..count]),
        }
    }
}

/// What can be read twice.
trait Rewind: Read + Seek {}

impl<T: Read + Seek> Rewind for T {}

impl Import {
    /// Writes a content, unless it is the one that the base has at this path.
    fn content(&mut self, base: Option<&ContentId>, length: u64, content: &mut dyn Rewind) -> Result<Content> {
        let scratch = self.scratch.clone();
        let reading = || Error::io("read in", &scratch);
        content.rewind().map_err(reading())?;
        if let Some(base) = base {
            let id = blob_id(length, content).map_err(reading())?;
            if id.as_bytes() == base.as_bytes() {
                return Ok(Content::Id(id));
            }
            content.rewind().map_err(reading())?;
        }
        Ok(Content::Mark(self.blob(length, content)?))
    }
}

fn carried<T>(result: Result<T>) -> glxc_handlers::Result<T> {
    result.map_err(glxc_handlers::Error::carrier("write the commit"))
}

impl Sink for StateSink<'_> {
    fn begin(&mut self, path: &StatePath, mode: Mode) -> glxc_handlers::Result<()> {
        if let Some(open) = &self.open {
            return carried(Err(Error::Protocol(format!("{} was begun and not ended", open.path))));
        }
        self.open = Some(Open { path: path.clone(), mode, start: Vec::new(), spilled: None, length: 0 });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> glxc_handlers::Result<()> {
        let outcome = match &mut self.open {
            Some(open) => open.write(bytes, &self.import.scratch),
            None => Err(Error::Protocol("no file was begun".into())),
        };
        carried(outcome)
    }

    fn end(&mut self) -> glxc_handlers::Result<()> {
        carried(self.close())
    }

    fn keep(&mut self, path: &StatePath) -> glxc_handlers::Result<()> {
        let Some(base) = self.base else { return Ok(()) };
        let kept = base.within(path).iter().chain(base.entry(path));
        carried(kept.into_iter().try_for_each(|entry| self.insert(entry.path.clone(), entry.mode, id_of(entry))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_byte_is_written_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let git = Git::new(folder.path());
        git.output(&["init", "--bare", "--quiet", "--template="]).unwrap();
        let tree = git.feed(&["mktree"], b"").unwrap();
        let author = [
            ("GIT_AUTHOR_NAME", "a"),
            ("GIT_AUTHOR_EMAIL", "a"),
            ("GIT_COMMITTER_NAME", "a"),
            ("GIT_COMMITTER_EMAIL", "a"),
        ];
        let committing = git.clone().with_environment(author.map(|(name, value)| (name.into(), value.into())));
        let tree = String::from_utf8(tree).unwrap();
        let parent = ObjectId::new(committing.feed(&["commit-tree", tree.trim()], b"x").unwrap().trim_ascii()).unwrap();
        let state = StatePath::new("data/kv").unwrap();
        let mut import = Import::new(&git, folder.path());
        let mut sink = import.sink(None);
        let mut names = Vec::new();
        for byte in (1..=255u8).filter(|byte| !b"/".contains(byte)) {
            for name in [vec![b'a', byte], vec![byte, b'b'], vec![b'"', byte, b'7'], vec![b'\\', byte]] {
                let path = StatePath::new(&name).unwrap();
                // A name may come up twice, as `"` and a backslash are among the bytes.
                if !names.contains(&path) {
                    sink.put(&path, &name).unwrap();
                    names.push(path);
                }
            }
        }
        let written = sink.finish().unwrap();
        let commit = import.commit("refs/glxc/0/x", &parent, "x", "a <a@a>", &[(state.clone(), written)]).unwrap();
        let read = GitTree::load(&git, &commit, &state).unwrap().unwrap();
        names.sort();
        assert_eq!(read.entries().iter().map(|entry| entry.path.clone()).collect::<Vec<_>>(), names);
        assert!(names.iter().all(|name| read.read(name, 10).unwrap() == name.as_bytes()));
    }
}
