//! Reading and writing beneath one folder, whatever links stand in the way.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::files::{File, Kind, MAX_FILE, TEMPORARY};

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    Absent,
    Folder,
    File {
        content: Arc<[u8]>,
        mode: u32,
        /// User and group.
        owner: (u32, u32),
    },
    Link(Arc<[u8]>),
    /// A device, a socket, a pipe.
    Other,
}

impl Object {
    /// A link to a path.
    pub(crate) fn link(target: &Path) -> Self {
        Object::Link(target.as_os_str().as_bytes().into())
    }

    /// A file as a profile has it. What stood there before gives owner and mode, as far as they are not ours to say.
    pub(crate) fn from_file(file: &File, before: &Object) -> Self {
        if file.kind == Kind::Link {
            return Object::Link(file.content.clone());
        }
        let execute = file.kind == Kind::Executable;
        let (mode, owner) = match before {
            Object::File { mode, owner, .. } if (mode & 0o100 != 0) == execute => (*mode, *owner),
            Object::File { mode, owner, .. } if execute => (mode | (mode & 0o444) >> 2, *owner),
            Object::File { mode, owner, .. } => (mode & !0o111, *owner),
            _ => (if execute { 0o755 } else { 0o644 }, own()),
        };
        Object::File { content: file.content.clone(), mode, owner }
    }

    /// Whether a profile would have the same of both; owners and most bits of modes do not count, which scripts change.
    pub(crate) fn is_like(&self, other: &Object) -> bool {
        self == other || self.to_file().is_some() && self.to_file() == other.to_file()
    }

    /// The file or link that a profile would have.
    pub(crate) fn to_file(&self) -> Option<File> {
        match self {
            Object::File { content, mode, .. } if mode & 0o100 != 0 => {
                Some(File { kind: Kind::Executable, content: content.clone() })
            }
            Object::File { content, .. } => Some(File { kind: Kind::File, content: content.clone() }),
            Object::Link(target) => Some(File { kind: Kind::Link, content: target.clone() }),
            _ => None,
        }
    }
}

/// Who owns what this process makes.
fn own() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// A folder whose entries are read and replaced as a whole.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    fd: OwnedFd,
    resolve: ResolveFlags,
    /// Folders are there only as parts of paths: empty ones are removed.
    prune: bool,
}

impl Folder {
    /// Opens a folder of ours, and makes it where it is missing. No link in it is followed.
    pub(crate) fn own(path: &Path, mode: u32) -> Result<Self> {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        if !path.exists() {
            let made = std::fs::DirBuilder::new().recursive(true).mode(mode & 0o700).create(path);
            // Whatever the umask is: a service must be able to read its own configuration.
            let opened = made.and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)));
            opened.map_err(Error::io("make the folder", path))?;
        }
        Self::open(path, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS, true)
    }

    /// Opens the folder into which is installed. Links to folders, as `/bin` is one, are followed as if it were the
    /// root of the file system.
    pub(crate) fn target(path: &Path) -> Result<Self> {
        Self::open(path, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS, false)
    }

    fn open(path: &Path, resolve: ResolveFlags, prune: bool) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(Error::io("open", path))?;
        Ok(Folder { path: path.into(), fd, resolve, prune })
    }

    /// The whole path of an entry.
    pub(crate) fn full(&self, path: &Path) -> PathBuf {
        self.path.join(path)
    }

    fn fail(&self, operation: &'static str, path: &Path) -> impl FnOnce(Errno) -> Error {
        Error::io(operation, self.full(path))
    }

    fn folder(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), self.resolve)
    }

    /// The open folder of an entry, or `None` where it is missing.
    fn parent(&self, path: &Path) -> Result<Option<OwnedFd>> {
        match self.folder(path.parent().unwrap_or(Path::new(""))) {
            Ok(fd) => Ok(Some(fd)),
            // Nothing is beneath a file, nor a link that is not followed.
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(Errno::LOOP) if self.prune => Ok(None),
            Err(errno) => Err(self.fail("open the folder of", path)(errno)),
        }
    }

    /// Reads what stands at a path.
    pub(crate) fn read(&self, path: &Path) -> Result<Object> {
        let Some(parent) = self.parent(path)? else { return Ok(Object::Absent) };
        let name = name(path);
        let stat = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Object::Absent),
            Err(errno) => return Err(self.fail("look at", path)(errno)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if self.prune => Ok(Object::Absent),
            FileType::Directory => Ok(Object::Folder),
            FileType::RegularFile => self.read_file(&parent, path),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&parent, name, Vec::new()).map_err(self.fail("read", path))?;
                Ok(Object::Link(target.into_bytes().into()))
            }
            _ => Ok(Object::Other),
        }
    }

    fn read_file(&self, parent: &OwnedFd, path: &Path) -> Result<Object> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name(path), flags, Mode::empty()).map_err(self.fail("open", path))?;
        let stat = rustix::fs::fstat(&fd).map_err(self.fail("look at", path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(Object::Other);
        }
        let mut content = Vec::new();
        let read = std::fs::File::from(fd).take(MAX_FILE as u64 + 1).read_to_end(&mut content);
        read.map_err(Error::io("read", self.full(path)))?;
        if content.len() > MAX_FILE {
            return Err(Error::invalid(self.full(path), format!("longer than {MAX_FILE} bytes")));
        }
        let mode = stat.st_mode & 0o7777;
        Ok(Object::File { content: content.into(), mode, owner: (stat.st_uid, stat.st_gid) })
    }

    /// The paths of everything but folders, in order.
    pub(crate) fn list(&self) -> Result<Vec<PathBuf>> {
        let (mut found, mut open) = (Vec::new(), vec![PathBuf::new()]);
        while let Some(folder) = open.pop() {
            let fd = self.folder(&folder).map_err(self.fail("open", &folder))?;
            for entry in Dir::new(fd).map_err(self.fail("read", &folder))? {
                let entry = entry.map_err(self.fail("read", &folder))?;
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if name == "." || name == ".." {
                    continue;
                }
                let path = folder.join(name);
                let kind = match entry.file_type() {
                    FileType::Unknown => self.kind(&path)?,
                    kind => kind,
                };
                if kind == FileType::Directory { open.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        Ok(found)
    }

    /// The kind of an entry on file systems that do not list it.
    fn kind(&self, path: &Path) -> Result<FileType> {
        Ok(match self.read(path)? {
            Object::Folder | Object::Absent => FileType::Directory,
            _ => FileType::RegularFile,
        })
    }

    /// Makes what stands at a path be this, at once. Folders on the way are made; a file never replaces a folder that
    /// holds something.
    pub(crate) fn set(&self, path: &Path, object: &Object) -> Result<()> {
        match object {
            Object::Absent => self.remove(path),
            Object::Other => Err(Error::Unsupported { path: self.full(path), what: "can not be made again" }),
            Object::Folder => self.make(path),
            _ => {
                self.make(path.parent().unwrap_or(Path::new("")))?;
                self.put(path, object)
            }
        }
    }

    fn make(&self, path: &Path) -> Result<()> {
        if path.as_os_str().is_empty() || self.folder(path).is_ok() {
            return Ok(());
        }
        self.make(path.parent().unwrap_or(Path::new("")))?;
        let Some(parent) = self.parent(path)? else {
            return Err(self.fail("make the folder", path)(Errno::NOENT));
        };
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(&parent, name(path), mode)
            .and_then(|()| rustix::fs::chmodat(&parent, name(path), mode, AtFlags::empty()))
            .and_then(|()| rustix::fs::fsync(&parent))
            .map_err(self.fail("make the folder", path))
    }

    fn put(&self, path: &Path, object: &Object) -> Result<()> {
        let Some(parent) = self.parent(path)? else { return Err(self.fail("open the folder of", path)(Errno::NOENT)) };
        ignore(rustix::fs::unlinkat(&parent, TEMPORARY, AtFlags::empty()), &[Errno::NOENT])
            .map_err(self.fail("clear the way for", path))?;
        match object {
            Object::File { content, mode, owner } => self.write(&parent, path, content, *mode, *owner)?,
            Object::Link(target) => {
                rustix::fs::symlinkat(&**target, &parent, TEMPORARY).map_err(self.fail("link", path))?;
            }
            Object::Absent | Object::Folder | Object::Other => return Ok(()),
        }
        let rename = || rustix::fs::renameat(&parent, TEMPORARY, &parent, name(path));
        let renamed = match rename() {
            Err(Errno::ISDIR) => rustix::fs::unlinkat(&parent, name(path), AtFlags::REMOVEDIR).and_then(|()| rename()),
            other => other,
        };
        renamed.and_then(|()| rustix::fs::fsync(&parent)).map_err(self.fail("put", path))
    }

    fn write(&self, parent: &OwnedFd, path: &Path, content: &[u8], mode: u32, owner: (u32, u32)) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let private = Mode::from_raw_mode(0o600);
        let fd = rustix::fs::openat(parent, TEMPORARY, flags, private).map_err(self.fail("write", path))?;
        let mut file = std::fs::File::from(fd);
        file.write_all(content).map_err(Error::io("write", self.full(path)))?;
        if owner != own() {
            let (user, group) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
            rustix::fs::fchown(&file, Some(user), Some(group)).map_err(self.fail("give away", path))?;
        }
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::fchmod(&file, mode).map_err(self.fail("change the mode of", path))?;
        file.sync_all().map_err(Error::io("sync", self.full(path)))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let Some(parent) = self.parent(path)? else { return Ok(()) };
        let removed = match rustix::fs::unlinkat(&parent, name(path), AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {
                let removed = rustix::fs::unlinkat(&parent, name(path), AtFlags::REMOVEDIR);
                ignore(removed, &[Errno::NOTEMPTY, Errno::EXIST])
            }
            other => other,
        };
        ignore(removed, &[Errno::NOENT])
            .and_then(|()| rustix::fs::fsync(&parent))
            .map_err(self.fail("remove", path))?;
        if self.prune { self.prune(path) } else { Ok(()) }
    }

    /// Removes the folders above a path that have become empty.
    fn prune(&self, path: &Path) -> Result<()> {
        for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            let Some(parent) = self.parent(folder)? else { continue };
            match rustix::fs::unlinkat(&parent, name(folder), AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) => break,
                Err(errno) => return Err(self.fail("remove", folder)(errno)),
            }
        }
        Ok(())
    }
}

fn name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

fn ignore(result: Result<(), Errno>, errors: &[Errno]) -> Result<(), Errno> {
    match result {
        Err(errno) if errors.contains(&errno) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str) -> Object {
        Object::from_file(&File::new(Kind::File, content), &Object::Absent)
    }

    #[test]
    fn what_is_set_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = Path::new("a/b/c");
        let objects = [file("x"), Object::Link((*b"/nowhere").into()), Object::Absent, Object::Folder, file("y")];
        let target = Folder::target(dir.path()).unwrap();
        for object in objects {
            target.set(path, &object).unwrap();
            assert_eq!(target.read(path).unwrap(), object);
        }
        let own = Folder::own(dir.path(), 0o755).unwrap();
        assert_eq!(own.list().unwrap(), [path]);
        assert_eq!(own.read(Path::new("a")).unwrap(), Object::Absent, "a folder is nothing here");
        own.set(path, &Object::Absent).unwrap();
        assert!(!dir.path().join("a").exists(), "empty folders go");
    }

    #[test]
    fn links_in_a_folder_of_ours_are_not_followed() {
        let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(out.path(), dir.path().join("web")).unwrap();
        let folder = Folder::own(dir.path(), 0o755).unwrap();
        assert!(folder.set(Path::new("web/x"), &file("x")).is_err());
        assert_eq!(folder.read(Path::new("web/x")).unwrap(), Object::Absent);
        assert!(std::fs::read_dir(out.path()).unwrap().next().is_none());
    }

    #[test]
    fn absolute_links_in_a_target_stay_in_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("usr/bin")).unwrap();
        std::os::unix::fs::symlink("/usr/bin", dir.path().join("bin")).unwrap();
        Folder::target(dir.path()).unwrap().set(Path::new("bin/x"), &file("x")).unwrap();
        assert!(dir.path().join("usr/bin/x").is_file());
    }

    #[test]
    fn a_folder_with_files_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::own(dir.path(), 0o755).unwrap();
        folder.set(Path::new("a/b"), &file("x")).unwrap();
        assert!(folder.set(Path::new("a"), &file("y")).is_err());
        assert_eq!(folder.read(Path::new("a/b")).unwrap(), file("x"));
    }
}
