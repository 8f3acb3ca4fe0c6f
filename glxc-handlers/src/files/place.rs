//! The live folder, reached by descriptors only: no link in it is ever followed.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fchmod, mkdirat, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;

use crate::{Error, Result};

/// What every temporary name of ours begins with; the operation's id follows, and something that tells its states apart.
pub(super) const TEMPORARY: &[u8] = b".glxc-";

/// Whether a name is a temporary one of ours.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    let id = name.strip_prefix(TEMPORARY).and_then(|rest| rest.get(..16));
    id.is_some_and(|id| id.iter().all(u8::is_ascii_hexdigit))
}

/// How a folder is opened.
pub(super) const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The root folder of a state, open.
#[derive(Debug)]
pub(super) struct Place {
    root: OwnedFd,
    path: PathBuf,
}

/// A file in a folder.
pub(super) struct Found {
    pub(super) name: Vec<u8>,
    pub(super) stat: Stat,
}

impl Found {
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// Opens a folder for reading by an absolute path in which no link is followed.
pub(super) fn open_folder(path: &Path) -> Result<Option<OwnedFd>> {
    let flags = FOLDER.difference(OFlags::NOFOLLOW); // a link must be told from a file
    match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::LOOP) => {
            let message = format!("{} leads through a symbolic link; write the path without it", path.display());
            Err(Error::option("root", message))
        }
        Err(error) => Err(Error::io("open", path)(error.into())),
    }
}

impl Place {
    /// Opens the root. `None` where it does not exist.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        Ok(open_folder(path)?.map(|root| Place { root, path: path.to_path_buf() }))
    }

    /// Creates the root, and the folders above it that do not exist, with the usual mode whatever the umask.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let missing: Vec<&Path> =
            path.ancestors().take_while(|above| !matches!(open_folder(above), Ok(Some(_)))).collect();
        for folder in missing.into_iter().rev() {
            let failed = || Error::io("create", folder);
            let (Some(above), Some(name)) = (folder.parent(), folder.file_name()) else { continue };
            let above = open_folder(above)?.ok_or_else(|| failed()(Errno::NOENT.into()))?;
            let made = mkdirat(&above, name, Mode::RWXU).and_then(|()| openat(&above, name, FOLDER, Mode::empty()));
            made.and_then(|made| fchmod(made, Mode::from_raw_mode(0o755))).map_err(|e| failed()(e.into()))?;
        }
        Place::open(path)?.ok_or_else(|| Error::io("create", path)(Errno::NOENT.into()))
    }

    /// The root itself.
    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// The absolute path of a relative one, for messages.
    pub(super) fn full(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() { self.path.clone() } else { self.path.join(OsStr::from_bytes(path)) }
    }

    /// The folder of a path and its name in it. `None` where there is no such folder (any more).
    pub(super) fn parent<'p>(&self, path: &'p [u8]) -> Result<Option<(OwnedFd, &'p [u8])>> {
        let (folder, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        Ok(self.folder(folder)?.map(|folder| (folder, name)))
    }

    /// A folder by its relative path. `None` where there is no such folder, or a link is in the way.
    pub(super) fn folder(&self, path: &[u8]) -> Result<Option<OwnedFd>> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(&self.root, path, FOLDER, Mode::empty(), resolve) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(Error::io("open", self.full(path))(error.into())),
        }
    }
}

/// What stands under a name in a folder. `None` where nothing does.
pub(super) fn look(folder: impl AsFd, name: &[u8]) -> std::io::Result<Option<Found>> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Found { name: name.to_vec(), stat })),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Everything in a folder but our own temporary files, in any order.
pub(super) fn list(folder: &OwnedFd) -> std::io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." && !is_temporary(name) {
            found.extend(look(folder, name)?);
        }
    }
    Ok(found)
}

/// Opens a plain file for reading. `None` where it is none (any more).
pub(super) fn open_file(folder: impl AsFd, name: &[u8]) -> std::io::Result<Option<std::fs::File>> {
    // nothing but a plain file is opened long enough to be noticed, and a fifo does not block
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    match openat(folder, name, flags, Mode::empty()) {
        Ok(file) => {
            let plain = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::RegularFile;
            Ok(plain.then(|| file.into()))
        }
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ISDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The target of a link.
pub(super) fn target(folder: impl AsFd, name: &[u8]) -> std::io::Result<Vec<u8>> {
    Ok(readlinkat(folder, name, Vec::new())?.into_bytes())
}

/// Whether two streams have the same bytes.
pub(super) fn same(mut a: impl Read, mut b: impl Read) -> std::io::Result<bool> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        a.by_ref().take(64 << 10).read_to_end(&mut left)?;
        b.by_ref().take(64 << 10).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}

/// The permission bits of a mode.
pub(super) fn bits(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}
