//! Trees in plain folders.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{OFlags, syncfs};
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::{ContentId, Entry, Error, Mode, Result, Sink, StatePath, Tree};

/// The files of a folder, with their names and kinds as they are. Links are seen, never followed.
///
/// The ids are hashes with a key of this process: compare only trees that it opened itself.
///
/// ```
/// use glxc_handlers::{Tree, folder::FolderTree};
/// let folder = tempfile::tempdir().unwrap();
/// std::fs::write(folder.path().join("a.txt"), "hello").unwrap();
/// assert_eq!(FolderTree::open(folder.path())?.entries().len(), 1);
/// # Ok::<(), glxc_handlers::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct FolderTree {
    folder: PathBuf,
    entries: Vec<Entry>,
}

impl FolderTree {
    /// Lists and reads a folder as it is now: what changes in it afterwards does not show. One that is not there is a
    /// tree without files.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Input`] for what is neither a file, a folder nor a link.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let mut tree = FolderTree { folder: folder.into(), entries: Vec::new() };
        match fs::symlink_metadata(&tree.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(tree),
            Err(error) => return Err(Error::io("open", &tree.folder)(error)),
            Ok(metadata) if !metadata.is_dir() => {
                return Err(Error::io("open", &tree.folder)(io::ErrorKind::NotADirectory.into()));
            }
            Ok(_) => {}
        }
        tree.list(None)?;
        tree.entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    fn list(&mut self, within: Option<&StatePath>) -> Result<()> {
        let folder = within.map_or(self.folder.clone(), |path| place(&self.folder, path));
        let failed = || Error::io("list", &folder);
        for entry in fs::read_dir(&folder).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            let path = within.map_or(StatePath::new(name.as_bytes()), |within| within.join(name.as_bytes()));
            let path = path.map_err(|error| failed()(io::Error::other(error)))?;
            let file = place(&self.folder, &path);
            let metadata = fs::symlink_metadata(&file).map_err(Error::io("open", &file))?;
            let mode = match metadata.file_type() {
                kind if kind.is_dir() => {
                    self.list(Some(&path))?;
                    continue;
                }
                kind if kind.is_symlink() => Mode::Link,
                kind if !kind.is_file() => {
                    return Err(Error::input(&path, None, "neither a file, a folder nor a link"));
                }
                _ if metadata.permissions().mode() & 0o111 != 0 => Mode::Executable,
                _ => Mode::File,
            };
            let id = id_of(content(&file, mode)?).map_err(Error::io("read", &file))?;
            self.entries.push(Entry { path, mode, id });
        }
        Ok(())
    }
}

impl Tree for FolderTree {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn open(&self, path: &StatePath) -> Result<Box<dyn Read + '_>> {
        let missing = || Error::Carrier { context: format!("open {path}"), source: "no such file".into() };
        let entry = self.entry(path).ok_or_else(missing)?;
        content(&place(&self.folder, path), entry.mode)
    }
}

fn place(folder: &Path, path: &StatePath) -> PathBuf {
    folder.join(Path::new(std::ffi::OsStr::from_bytes(path.as_bytes())))
}

fn content(file: &Path, mode: Mode) -> Result<Box<dyn Read>> {
    if mode == Mode::Link {
        let target = fs::read_link(file).map_err(Error::io("read", file))?;
        return Ok(Box::new(io::Cursor::new(target.into_os_string().into_vec())));
    }
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(file);
    Ok(Box::new(opened.map_err(Error::io("open", file))?))
}

/// Whoever writes the files does not know the key, so nobody can make two contents that pass for one.
fn id_of(mut content: impl Read) -> io::Result<ContentId> {
    static KEYS: OnceLock<[u64; 2]> = OnceLock::new();
    let [a, b] = *KEYS.get_or_init(|| [0, 1].map(|number: u64| RandomState::new().hash_one(number)));
    let mut hash = SipHasher24::new_with_keys(a, b);
    let (mut chunk, mut length) = (vec![0; 64 << 10], 0_u64);
    loop {
        match content.read(&mut chunk)? {
            0 => break,
            count => {
                hash.write(&chunk[..count]);
                length += count as u64;
            }
        }
    }
    let hash = hash.finish128();
    Ok(ContentId::new([length.to_be_bytes(), hash.h1.to_be_bytes(), hash.h2.to_be_bytes()].concat()))
}

/// Writes the files of an export into a folder.
///
/// ```
/// use glxc_handlers::{Sink, StatePath, folder::FolderSink};
/// let folder = tempfile::tempdir().unwrap();
/// let mut sink = FolderSink::create(folder.path().join("shop"), None)?;
/// sink.put(&StatePath::new("a.txt").unwrap(), b"hello")?;
/// sink.finish()?;
/// # Ok::<(), glxc_handlers::Error>(())
/// ```
#[derive(Debug)]
pub struct FolderSink {
    folder: PathBuf,
    base: Option<FolderTree>,
    open: Option<(PathBuf, Mode, Writing)>,
}

#[derive(Debug)]
enum Writing {
    File(io::BufWriter<File>),
    Target(Vec<u8>),
}

impl FolderSink {
    /// Begins to write into a folder, which is made. [`Sink::keep`] takes from `base`, by hard links: the files of both
    /// are to be replaced, never written to.
    ///
    /// # Errors
    /// [`Error::Io`], also where the folder is there and holds something.
    pub fn create(folder: impl Into<PathBuf>, base: Option<FolderTree>) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let mut there = fs::read_dir(&folder).map_err(Error::io("list", &folder))?;
        match there.next() {
            Some(_) => Err(Error::io("write into", &folder)(io::ErrorKind::DirectoryNotEmpty.into())),
            None => Ok(FolderSink { folder, base, open: None }),
        }
    }

    /// Makes durable what was written.
    ///
    /// # Errors
    /// [`Error::Carrier`] where a file was begun and not ended, [`Error::Io`].
    pub fn finish(self) -> Result<()> {
        self.check_ended()?;
        let synced = File::open(&self.folder).and_then(|folder| Ok(syncfs(folder)?));
        synced.map_err(Error::io("write", &self.folder))
    }

    fn check_ended(&self) -> Result<()> {
        match &self.open {
            Some((file, ..)) => Err(broken(file, "begun and not ended")),
            None => Ok(()),
        }
    }

    /// Where a file of the export goes; the folders above it are made.
    fn place(&self, path: &StatePath) -> Result<PathBuf> {
        let file = place(&self.folder, path);
        let above = file.parent().unwrap_or(&self.folder);
        fs::create_dir_all(above).map_err(Error::io("create", above))?;
        Ok(file)
    }
}

fn broken(file: &Path, what: &str) -> Error {
    Error::Carrier { context: format!("write {}", file.display()), source: what.into() }
}

impl Sink for FolderSink {
    fn begin(&mut self, path: &StatePath, mode: Mode) -> Result<()> {
        self.check_ended()?;
        let file = self.place(path)?;
        let writing = match mode {
            Mode::Link => Writing::Target(Vec::new()),
            Mode::File | Mode::Executable => {
                let bits = if mode == Mode::File { 0o666 } else { 0o777 };
                let created = OpenOptions::new().write(true).create_new(true).mode(bits).open(&file);
                Writing::File(io::BufWriter::new(created.map_err(Error::io("create", &file))?))
            }
        };
        self.open = Some((file, mode, writing));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.open {
            Some((file, _, Writing::File(writer))) => writer.write_all(bytes).map_err(Error::io("write", &*file)),
            Some((_, _, Writing::Target(target))) => {
                target.extend_from_slice(bytes);
                Ok(())
            }
            None => Err(broken(&self.folder, "no file was begun")),
        }
    }

    fn end(&mut self) -> Result<()> {
        match self.open.take() {
            Some((file, _, Writing::File(mut writer))) => writer.flush().map_err(Error::io("write", file)),
            Some((file, _, Writing::Target(target))) => {
                symlink(std::ffi::OsString::from_vec(target), &file).map_err(Error::io("create", file))
            }
            None => Err(broken(&self.folder, "no file was begun")),
        }
    }

    fn keep(&mut self, path: &StatePath) -> Result<()> {
        self.check_ended()?;
        let Some(base) = self.base.take() else { return Ok(()) };
        let mut kept = base.within(path).iter().chain(base.entry(path));
        let outcome = kept.try_for_each(|entry| {
            let (from, to) = (place(&base.folder, &entry.path), self.place(&entry.path)?);
            fs::hard_link(&from, &to).map_err(Error::io("create", to))
        });
        self.base = Some(base);
        outcome
    }
}

/// Copies a tree into a folder that is made, with hard links to the files of `base` that are the same.
pub(super) fn copy(tree: &FolderTree, base: Option<&FolderTree>, folder: &Path) -> Result<()> {
    let mut sink = FolderSink::create(folder, base.cloned())?;
    for entry in &tree.entries {
        if base.is_some_and(|base| base.entry(&entry.path) == Some(entry)) {
            sink.keep(&entry.path)?;
            continue;
        }
        sink.begin(&entry.path, entry.mode)?;
        let mut content = Tree::open(tree, &entry.path)?;
        let mut chunk = vec![0; 64 << 10];
        loop {
            match content.read(&mut chunk).map_err(Error::carrier(format!("read {}", entry.path)))? {
                0 => break,
                count => sink.write(&chunk[..count])?,
            }
        }
        sink.end()?;
    }
    sink.finish()
}

/// Makes a folder hold what a tree holds. Files that are the same stay as they are; each other is replaced by a whole one,
/// which is written in `scratch`, on the same file system.
pub(super) fn update(folder: &Path, tree: &FolderTree, scratch: &Path) -> Result<()> {
    let here = FolderTree::open(folder)?;
    let differs = crate::differences(Some(&here), Some(tree));
    for differs in differs.iter().filter(|differs| differs.base.is_some()) {
        // Also what is replaced, where a folder comes in its place or goes from there.
        if differs.next.is_none() {
            let file = place(folder, &differs.path);
            fs::remove_file(&file).map_err(Error::io("remove", &file))?;
            remove_empty(folder, &file);
        }
    }
    let changed = FolderTree {
        folder: tree.folder.clone(),
        entries: differs.iter().filter_map(|differs| tree.entry(&differs.path).cloned()).collect(),
    };
    let fresh = scratch.join("fresh");
    copy(&changed, None, &fresh)?;
    for entry in &changed.entries {
        let (from, to) = (place(&fresh, &entry.path), place(folder, &entry.path));
        let above = to.parent().unwrap_or(folder);
        fs::create_dir_all(above).map_err(Error::io("create", above))?;
        fs::rename(&from, &to).map_err(Error::io("write", &to))?;
    }
    fs::remove_dir_all(&fresh).map_err(Error::io("remove", &fresh))?;
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let synced = File::open(folder).and_then(|folder| Ok(syncfs(folder)?));
    synced.map_err(Error::io("write", folder))
}

/// Removes the folders above a file, as far as nothing is left in them.
fn remove_empty(folder: &Path, file: &Path) {
    let above = file.ancestors().skip(1).take_while(|above| *above != folder);
    for above in above {
        if fs::remove_dir(above).is_err() {
            return;
        }
    }
}
