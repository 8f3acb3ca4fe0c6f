//! The folder in which a script leaves files, or finds them. What a script left is hostile: it is reached by descriptors,
//! and no link is followed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat};
use rustix::io::Errno;
use tempfile::TempDir;

use super::ATTRIBUTES;
use crate::{Cx, Error, Result, Sink, StatePath, Tree};

/// No folder lies deeper: each is an open descriptor.
const DEEPEST: usize = 64;

/// At most so many empty folders are named in a note.
const NAMED: usize = 5;

const OPEN_FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A work tree with the folder of one state, removed when it is dropped. Only its owner reaches it.
#[derive(Debug)]
pub(super) struct WorkTree {
    root: TempDir,
    path: StatePath,
}

impl WorkTree {
    /// Makes one, with the state's folder in it.
    pub(super) fn create(scratch: &Path, path: &StatePath) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("script-").tempdir_in(scratch);
        let work = WorkTree { root: root.map_err(Error::io("create a folder in", scratch))?, path: path.clone() };
        fs::create_dir_all(work.data()).map_err(Error::io("create", work.data()))?;
        Ok(work)
    }

    /// The top.
    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    fn data(&self) -> PathBuf {
        self.root().join(OsStr::from_bytes(self.path.as_bytes()))
    }

    /// Writes the files for a script to read.
    pub(super) fn fill(&self, files: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
        let entries = files.entries().iter().filter(|entry| entry.path.as_bytes() != ATTRIBUTES);
        for entry in entries {
            cx.check()?;
            let path = self.data().join(OsStr::from_bytes(entry.path.as_bytes()));
            let folder = path.parent().unwrap_or(self.root());
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
            let mut file = File::create_new(&path).map_err(Error::io("create", &path))?;
            std::io::copy(&mut files.open(&entry.path)?, &mut file).map_err(Error::io("write", &path))?;
        }
        Ok(())
    }

    /// Opens what a script left. `None` where it removed the folder.
    pub(super) fn open(&self) -> Result<Option<Found<'_>>> {
        let failed = |errno: Errno| Error::io("open", self.data())(errno.into());
        let root = openat2(CWD, self.root(), OPEN_FOLDER, Mode::empty(), ResolveFlags::empty()).map_err(failed)?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(root, self.path.as_bytes(), OPEN_FOLDER, Mode::empty(), resolve) {
            Ok(folder) => Ok(Some(Found { folder, path: &self.path })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                Err(Error::Unsupported { what: format!("a script that leaves no folder at {}", self.path) })
            }
            Err(errno) => Err(failed(errno)),
        }
    }
}

/// What a script left.
pub(super) struct Found<'a> {
    folder: OwnedFd,
    path: &'a StatePath,
}

impl Found<'_> {
    /// Hands on all files, folder by folder in the order of their names. How many there were, and what is not kept.
    pub(super) fn read(&self, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<(u64, Vec<String>)> {
        let mut read = Reading { sink, cx, path: self.path, files: 0, empty: 0, named: Vec::new() };
        read.folder(&self.folder, None, 0)?;
        let more = if read.empty > NAMED { " and others" } else { "" };
        let note = || format!("{} empty folders are not kept: {}{more}", read.empty, read.named.join(", "));
        Ok((read.files, if read.empty > 0 { vec![note()] } else { Vec::new() }))
    }
}

struct Reading<'a> {
    sink: &'a mut dyn Sink,
    cx: &'a Cx<'a>,
    path: &'a StatePath,
    files: u64,
    empty: usize,
    named: Vec<String>,
}

impl Reading<'_> {
    fn folder(&mut self, folder: &OwnedFd, at: Option<&StatePath>, depth: usize) -> Result<()> {
        self.cx.check()?;
        let names = names(folder).map_err(|errno| self.failed(at)(errno.into()))?;
        if let (true, Some(at)) = (names.is_empty(), at) {
            self.empty += 1;
            if self.named.len() < NAMED {
                self.named.push(at.to_string());
            }
        }
        for name in names {
            let path = at.map_or_else(|| StatePath::new(&name), |at| at.join(&name));
            let path = path.map_err(Error::carrier("name a file"))?;
            if let Some(why) = unfit(&path) {
                return Err(self.unsupported(&path, why));
            }
            self.entry(folder, &name, &path, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, folder: &OwnedFd, name: &[u8], path: &StatePath, depth: usize) -> Result<()> {
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| self.failed(Some(path))(e.into()))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let flags = match kind {
            FileType::Directory if depth == DEEPEST => return Err(self.unsupported(path, "lies too deep")),
            FileType::Directory => OPEN_FOLDER,
            FileType::RegularFile => {
                OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC
            }
            FileType::Symlink => return Err(self.unsupported(path, "is a symbolic link")),
            FileType::Fifo => return Err(self.unsupported(path, "is a fifo")),
            FileType::Socket => return Err(self.unsupported(path, "is a socket")),
            _ => return Err(self.unsupported(path, "is a device")),
        };
        let opened = openat(folder, name, flags, Mode::empty()).map_err(|e| self.failed(Some(path))(e.into()))?;
        // What was opened is what it is, whoever wrote meanwhile.
        let stat = rustix::fs::fstat(&opened).map_err(|e| self.failed(Some(path))(e.into()))?;
        match (kind, FileType::from_raw_mode(stat.st_mode)) {
            (FileType::Directory, FileType::Directory) => self.folder(&opened, Some(path), depth + 1),
            (FileType::RegularFile, FileType::RegularFile) => self.file(opened.into(), path),
            _ => Err(self.unsupported(path, "became something else while it was read")),
        }
    }

    fn file(&mut self, mut file: File, path: &StatePath) -> Result<()> {
        self.sink.begin(path, crate::Mode::File)?;
        let mut chunk = vec![0; 128 << 10];
        loop {
            self.cx.check()?;
            match file.read(&mut chunk).map_err(self.failed(Some(path)))? {
                0 => break,
                length => self.sink.write(&chunk[..length])?,
            }
        }
        self.files += 1;
        self.cx.progress.advance(self.files);
        self.sink.end()
    }

    fn full(&self, path: Option<&StatePath>) -> String {
        path.map_or_else(|| self.path.to_string(), |path| format!("{}/{path}", self.path))
    }

    fn failed(&self, path: Option<&StatePath>) -> impl FnOnce(std::io::Error) -> Error + use<> {
        Error::io("read", self.full(path))
    }

    fn unsupported(&self, path: &StatePath, why: &str) -> Error {
        Error::Unsupported { what: format!("{} {why}", self.full(Some(path))) }
    }
}

/// The names in a folder, in the order of their bytes.
fn names(folder: &OwnedFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort();
    Ok(names)
}

/// Why git, or a system where somebody checks it out, would not take a path.
pub(super) fn unfit(path: &StatePath) -> Option<&'static str> {
    let unfit = |part: &[u8]| {
        let Ok(text) = std::str::from_utf8(part) else { return Some("has a name that is not UTF-8") };
        if text.contains(|c| c == '\\' || crate::text::is_unsafe(c)) {
            return Some("has a control character, an invisible one or a backslash in its name");
        }
        let lower = text.to_ascii_lowercase();
        let short = lower.strip_prefix("git~").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        (short || lower.starts_with(".git")).then_some("has a name that is git's own")
    };
    path.components().find_map(unfit)
}
