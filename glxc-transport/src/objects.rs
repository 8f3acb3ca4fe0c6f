//! Objects as streams, through `git cat-file --batch` processes, which are used again.

use std::io::{BufRead, BufReader, Read, Take, Write};
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::{Arc, Mutex, PoisonError};

use glxc_handlers::StatePath;
use rustix::pipe::fcntl_setpipe_size;

use crate::{Error, Git, ObjectId, Result};

/// Processes that wait for a request. More than a few are not kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Idle(Arc<Mutex<Vec<CatFile>>>);

const KEPT: usize = 4;

/// So much is read to its end where nobody wants it, in bytes; a process with more to say is ended instead.
const DRAINED: u64 = 64 << 10;

/// The size of the pipe from git, which is what any user may have, and how much is read of it at a time, in bytes.
const PIPE: usize = 1 << 20;
const BUFFER: usize = 64 << 10;

/// No name in a tree is longer; a longer one is not read into memory.
const LONGEST_NAME: u64 = 64 << 10;

impl Git {
    /// Opens an object by its id, or by what git makes of an id (`ID^{tree}`). `None` where it is not there.
    pub(crate) fn object(&self, name: &str) -> Result<Option<Object>> {
        let idle = self.idle.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut process = match idle {
            Some(process) => process,
            None => CatFile::start(self)?,
        };
        match process.request(name)? {
            Some((kind, size)) => Ok(Some(Object { kind, content: Some(process.take(size)), idle: self.idle.clone() })),
            None => {
                self.idle.give_back(process);
                Ok(None)
            }
        }
    }

    /// Opens a blob by its id.
    pub(crate) fn blob(&self, id: &[u8]) -> Result<Object> {
        let id = ObjectId::new(id)?;
        match self.object(id.as_str())? {
            Some(object) if object.kind == "blob" => Ok(object),
            Some(object) => Err(Error::git("cat-file", format!("{id} is a {}", object.kind))),
            None => Err(Error::git("cat-file", format!("{id} is missing"))),
        }
    }

    /// Reads a whole blob; `None` where it has more than `limit` bytes.
    pub(crate) fn read_blob(&self, id: &ObjectId, limit: u64) -> Result<Option<Vec<u8>>> {
        let mut blob = self.blob(id.as_str().as_bytes())?;
        if blob.remaining() > limit {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        blob.read_to_end(&mut bytes).map_err(Error::io("read", "git cat-file"))?;
        Ok(Some(bytes))
    }

    /// What stands at a path of a commit.
    pub(crate) fn entry(&self, commit: &ObjectId, path: &StatePath) -> Result<Option<Found>> {
        let mut tree = format!("{commit}^{{tree}}");
        let mut names = path.components().peekable();
        while let Some(name) = names.next() {
            match self.in_tree(&tree, name)? {
                Some(found) if names.peek().is_none() => return Ok(Some(found)),
                Some(found) if found.is_tree() => tree = found.id.to_string(),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Looks for a name in a tree, whose format is `MODE SP NAME NUL` and the twenty bytes of the id, for each entry.
    fn in_tree(&self, tree: &str, wanted: &[u8]) -> Result<Option<Found>> {
        let object = self.object(tree)?.filter(|object| object.kind == "tree");
        let object = object.ok_or_else(|| Error::git("cat-file", format!("{tree} is no tree")))?;
        let mut entries = BufReader::new(object);
        let (mut mode, mut name, mut id) = (Vec::new(), Vec::new(), [0; 20]);
        loop {
            mode.clear();
            name.clear();
            let mut read = || {
                entries.by_ref().take(8).read_until(b' ', &mut mode)?;
                if mode.is_empty() {
                    return Ok(false);
                }
                entries.by_ref().take(LONGEST_NAME).read_until(0, &mut name)?;
                entries.read_exact(&mut id).map(|()| true)
            };
            let more = read().map_err(Error::io("read", "git cat-file"))?;
            if !more {
                return Ok(None);
            }
            match (mode.strip_suffix(b" "), name.strip_suffix(b"\0")) {
                (Some(mode), Some(name)) if name == wanted => {
                    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
                    return Ok(Some(Found { mode: mode.to_vec(), id: ObjectId::new(id)? }));
                }
                (Some(_), Some(_)) => {}
                _ => return Err(Error::git("cat-file", format!("the tree {tree} is damaged"))),
            }
        }
    }
}

/// An entry of a tree.
#[derive(Debug)]
pub(crate) struct Found {
    /// As it stands in the tree: `100644`, `40000`.
    pub(crate) mode: Vec<u8>,
    pub(crate) id: ObjectId,
}

impl Found {
    pub(crate) fn is_tree(&self) -> bool {
        self.mode == b"40000"
    }
}

impl Idle {
    fn give_back(&self, process: CatFile) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(process);
        }
    }
}

#[derive(Debug)]
struct CatFile {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl CatFile {
    fn start(git: &Git) -> Result<Self> {
        let mut child = git.spawn(&["cat-file", "--batch"])?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(requests), Some(answers)) => {
                // With a small pipe the two take turns. Who may have no larger one has a slower one.
                let _ = fcntl_setpipe_size(&answers, PIPE);
                Ok(CatFile { child, requests, answers: BufReader::with_capacity(BUFFER, answers) })
            }
            _ => Err(Error::Protocol("cat-file has no pipes".into())),
        }
    }

    /// Asks for an object and returns its kind and size; the content follows. `None` where it is missing.
    fn request(&mut self, name: &str) -> Result<Option<(String, u64)>> {
        let failed = || Error::io("read", "git cat-file");
        writeln!(self.requests, "{name}").map_err(failed())?;
        let mut header = String::new();
        self.answers.read_line(&mut header).map_err(failed())?;
        if header.trim_end().strip_prefix(name) == Some(" missing") {
            return Ok(None);
        }
        let mut words = header.trim_end().split(' ').skip(1);
        match (words.next(), words.next().and_then(|size| size.parse().ok()), words.next()) {
            (Some(kind), Some(size), None) => Ok(Some((kind.to_owned(), size))),
            _ => Err(Error::git("cat-file", format!("unexpected answer: {}", header.escape_debug()))),
        }
    }

    fn take(self, size: u64) -> Take<CatFile> {
        Read::take(self, size)
    }
}

impl Read for CatFile {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.answers.read(buffer)
    }
}

impl Drop for CatFile {
    fn drop(&mut self) {
        // Whoever did not read to the end leaves a process that would wait for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The content of an object as a stream.
#[derive(Debug)]
pub(crate) struct Object {
    /// `blob`, `tree`, `commit` or `tag`.
    pub(crate) kind: String,
    content: Option<Take<CatFile>>,
    idle: Idle,
}

impl Object {
    fn remaining(&self) -> u64 {
        self.content.as_ref().map_or(0, Take::limit)
    }
}

impl Read for Object {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Some(content) = self.content.as_mut() else { return Ok(0) };
        let count = content.read(buffer)?;
        if count == 0 && !buffer.is_empty() && content.limit() > 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(count)
    }
}

impl Drop for Object {
    /// Gives the process back where little is left to read.
    fn drop(&mut self) {
        let Some(mut content) = self.content.take().filter(|content| content.limit() <= DRAINED) else { return };
        let drained = std::io::copy(&mut content, &mut std::io::sink()).is_ok() && content.limit() == 0;
        let mut process = content.into_inner();
        let mut end = [0];
        if drained && process.answers.read_exact(&mut end).is_ok() {
            self.idle.give_back(process);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &std::path::Path) -> Git {
        let git = Git::new(folder);
        git.output(&["init", "-q", "--bare"]).unwrap();
        git
    }

    fn id(output: Vec<u8>) -> ObjectId {
        ObjectId::new(output.trim_ascii()).unwrap()
    }

    #[test]
    fn one_process_answers_one_request_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let git = git(folder.path());
        let small = id(git.feed(&["hash-object", "-w", "--stdin"], b"small").unwrap());
        let large = id(git.feed(&["hash-object", "-w", "--stdin"], &vec![b'x'; 1 << 20]).unwrap());
        let idle = || git.idle.0.lock().unwrap().iter().map(|process| process.child.id()).collect::<Vec<_>>();
        assert_eq!(git.read_blob(&small, 5).unwrap().unwrap(), b"small");
        let first = idle();
        assert_eq!(first.len(), 1);
        assert_eq!(git.read_blob(&small, 4).unwrap(), None, "too long, and little is left of it");
        assert!(git.object(&"1".repeat(40)).unwrap().is_none());
        assert_eq!(git.read_blob(&large, 1 << 20).unwrap().unwrap().len(), 1 << 20);
        assert_eq!(idle(), first);
        // Two are open at once, and one is let go long before its end.
        let (mut one, two) =
            (git.blob(large.as_str().as_bytes()).unwrap(), git.blob(small.as_str().as_bytes()).unwrap());
        one.read_exact(&mut [0; 10]).unwrap();
        drop((one, two));
        assert_eq!(idle().len(), 1);
        assert_eq!(git.read_blob(&small, 5).unwrap().unwrap(), b"small");
    }

    #[test]
    fn what_stands_at_a_path_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let git = git(folder.path());
        let blob = id(git.feed(&["hash-object", "-w", "--stdin"], b"x").unwrap());
        let make = |entries: String| id(git.feed(&["mktree"], entries.as_bytes()).unwrap());
        let inner = make(format!("100644 blob {blob}\ta\n100755 blob {blob}\tb\n120000 blob {blob}\tlink\n"));
        let root = make(format!("040000 tree {inner}\tdata\n100644 blob {blob}\tdata.txt\n"));
        let author = ["-c", "user.name=u", "-c", "user.email=u@e"];
        let commit = [&author[..], &["commit-tree", root.as_str(), "-m", "x"]].concat();
        let commit = id(git.output(&commit).unwrap());
        let found = |path: &str| {
            let found = git.entry(&commit, &StatePath::new(path).unwrap()).unwrap();
            found.map(|found| (String::from_utf8(found.mode).unwrap(), found.id))
        };
        assert_eq!(found("data"), Some(("40000".into(), inner)));
        assert_eq!(found("data/a"), Some(("100644".into(), blob.clone())));
        assert_eq!(found("data/link"), Some(("120000".into(), blob)));
        for missing in ["dat", "data/c", "data/a/x", "data.txt/x", "data/link/x"] {
            assert_eq!(found(missing), None, "{missing}");
        }
        assert!(git.entry(&ObjectId::zero(), &StatePath::new("data").unwrap()).is_err());
    }
}
