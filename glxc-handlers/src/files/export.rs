//! From the live folder to files.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Stat};

use super::accounts::Accounts;
use super::listing::{ATTRIBUTES, ENTRIES, FILES, header, is_git, known};
use super::names::{encode_siblings, encode_target};
use super::place::{Found, Place, bits, list, look, open_file, target};
use super::{ATTRIBUTES_TEXT, Settings};
use crate::rows::{Limits, Writer};
use crate::{Cx, Error, Mode, Result, Sink, StatePath};

/// At most so many files are named in a note.
const NAMED: usize = 5;

/// Writes everything beneath a root. What is weaker than promised, a line each.
pub(super) fn export(
    settings: &Settings, place: &Place, accounts: &mut Accounts, sink: &mut dyn Sink, cx: &Cx<'_>,
) -> Result<Vec<String>> {
    let spool = tempfile::tempfile_in(cx.scratch).map_err(Error::io("create a file in", cx.scratch))?;
    sink.put(&known(ATTRIBUTES)?, ATTRIBUTES_TEXT.as_bytes())?;
    let (unsteady, extended) = (Names::default(), Names::default());
    let mut export =
        Export { settings, place, accounts, sink, cx, spool: BufWriter::new(spool), done: 0, unsteady, extended };
    let root = rustix::fs::fstat(place.root()).map_err(|e| Error::io("read", place.full(b""))(e.into()))?;
    export.row("/", &root, None)?;
    export.note_attributes(place.root(), b"")?;
    export.all()?;
    let Export { sink, spool, unsteady, extended, .. } = export;
    write_entries(spool, sink, cx.scratch)?;
    let unsteady = unsteady.note("were written while they were read");
    let extended = extended.note("have access control lists or extended attributes, which are not kept");
    Ok(unsteady.into_iter().chain(extended).collect())
}

/// Spooled rows, which are in order, as a row file. (Only one file of a sink is open at a time.)
fn write_entries(spool: BufWriter<File>, sink: &mut dyn Sink, scratch: &Path) -> Result<()> {
    let failed = || Error::io("read a spooled file in", scratch);
    let mut spool = spool.into_inner().map_err(|error| failed()(error.into_error()))?;
    spool.rewind().map_err(failed())?;
    let mut writer = Writer::new(sink, known(ENTRIES)?, &header(), Limits::default())?;
    for line in BufReader::new(spool).split(b'\n') {
        writer.line(&line.map_err(failed())?)?;
    }
    writer.finish().map(drop)
}

struct Export<'e> {
    settings: &'e Settings,
    place: &'e Place,
    accounts: &'e mut Accounts,
    sink: &'e mut dyn Sink,
    cx: &'e Cx<'e>,
    spool: BufWriter<File>,
    done: u64,
    unsteady: Names,
    extended: Names,
}

/// A folder that is begun.
struct Level {
    folder: OwnedFd,
    path: Vec<u8>,
    encoded: String,
    rest: std::vec::IntoIter<(String, Found)>,
}

/// Some names, and how many there are.
#[derive(Default)]
struct Names(Vec<String>, usize);

impl Names {
    fn add(&mut self, path: &[u8]) {
        self.1 += 1;
        if self.0.len() < NAMED {
            self.0.push(path.escape_ascii().to_string());
        }
    }

    fn note(self, what: &str) -> Option<String> {
        let more = if self.1 > self.0.len() { " and others" } else { "" };
        (self.1 > 0).then(|| format!("{} files {what}: {}{more}", self.1, self.0.join(", ")))
    }
}

impl Export<'_> {
    /// Everything beneath the root. Folders that are begun wait here and not on the stack: an application nests what it likes.
    fn all(&mut self) -> Result<()> {
        let root = self.place.root().try_clone().map_err(Error::io("open", self.place.full(b"")))?;
        let mut begun = vec![self.begin(root, Vec::new(), String::new())?];
        while let Some(level) = begun.last_mut() {
            match level.rest.next() {
                Some((name, found)) => {
                    let (path, encoded) = (below(&level.path, &found.name), format!("{}/{name}", level.encoded));
                    let inner = self.entry(&level.folder, path, &encoded, &found)?;
                    begun.extend(inner);
                }
                None => drop(begun.pop()),
            }
        }
        Ok(())
    }

    fn begin(&mut self, folder: OwnedFd, path: Vec<u8>, encoded: String) -> Result<Level> {
        self.cx.check()?;
        let found = list(&folder).map_err(Error::io("read", self.place.full(&path)))?;
        let kept: Vec<Found> = found
            .into_iter()
            .filter(|f| !self.settings.excludes(&below(&path, &f.name), f.kind() == FileType::Directory))
            .collect();
        let names = encode_siblings(kept.iter().map(|found| found.name.as_slice()));
        let mut named: Vec<(String, Found)> = names.into_iter().zip(kept).collect();
        // folders as they stand in the rows, so that a walk gives these in order
        named.iter_mut().filter(|(_, f)| f.kind() == FileType::Directory).for_each(|(name, _)| name.push('/'));
        named.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Level { folder, path, encoded, rest: named.into_iter() })
    }

    /// Writes what stands in a folder; what is in it where it is one, is to follow.
    fn entry(&mut self, folder: &OwnedFd, path: Vec<u8>, encoded: &str, found: &Found) -> Result<Option<Level>> {
        let full = self.place.full(&path);
        let failed = || Error::io("read", &full);
        match found.kind() {
            FileType::Directory => {
                // gone meanwhile, or a link now: it was not there
                let Some(inner) = self.place.folder(&path)? else { return Ok(None) };
                let stat = rustix::fs::fstat(&inner).map_err(|e| failed()(e.into()))?;
                self.row(encoded, &stat, None)?;
                self.note_attributes(&inner, &path)?;
                return self.begin(inner, path, encoded.trim_end_matches('/').into()).map(Some);
            }
            FileType::Symlink => match target(folder, &found.name) {
                Ok(target) => self.row(encoded, &found.stat, Some(&target))?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed()(error)),
            },
            FileType::RegularFile => {
                if let Some(file) = open_file(folder, &found.name).map_err(failed())? {
                    self.file(file, &path, encoded)?;
                }
            }
            other => {
                let kind = match other {
                    FileType::Fifo => "a fifo",
                    FileType::Socket => "a socket",
                    _ => "a device",
                };
                let what = format!("{kind}: {} (`exclude` leaves it out)", full.display());
                return Err(Error::Unsupported { what });
            }
        }
        Ok(None)
    }

    /// What a row says is what the opened file was before it was read.
    fn file(&mut self, mut file: File, path: &[u8], encoded: &str) -> Result<()> {
        let failed = || Error::io("read", self.place.full(path));
        let before = rustix::fs::fstat(&file).map_err(|e| failed()(e.into()))?;
        self.note_attributes(&file, path)?;
        self.sink.begin(&known(&format!("{FILES}{encoded}"))?, Mode::File)?;
        copy(&mut file, self.sink, self.cx)?.map_err(failed())?;
        let after = rustix::fs::fstat(&file).map_err(|e| failed()(e.into()))?;
        let version = |s: &Stat| (s.st_size, s.st_mtime, s.st_mtime_nsec);
        if version(&before) != version(&after) {
            self.unsteady.add(path);
        }
        self.row(encoded, &before, None)
    }

    fn row(&mut self, encoded: &str, stat: &Stat, target: Option<&[u8]>) -> Result<()> {
        let mode = if target.is_some() { "\\N".into() } else { format!("{:04o}", bits(stat)) };
        let (user, group) = (self.accounts.user(stat.st_uid), self.accounts.group(stat.st_gid));
        let target = target.map_or("\\N".into(), encode_target);
        let written = writeln!(self.spool, "{encoded}\t{mode}\t{user}\t{group}\t{target}");
        written.map_err(Error::io("write in", self.cx.scratch))?;
        self.done += 1;
        self.cx.progress.advance(self.done);
        Ok(())
    }

    fn note_attributes(&mut self, file: impl AsFd, path: &[u8]) -> Result<()> {
        let mut names = [0u8; 4096];
        let length = match rustix::fs::flistxattr(file, &mut names) {
            Ok(length) => length,
            Err(rustix::io::Errno::RANGE) => names.len(),
            Err(rustix::io::Errno::NOTSUP) => 0,
            Err(error) => return Err(Error::io("read the attributes of", self.place.full(path))(error.into())),
        };
        // labels of the security system are given by its policy
        let ours = |name: &[u8]| !name.is_empty() && !name.starts_with(b"security.") || name == b"security.capability";
        if names[..length].split(|b| *b == 0).any(ours) {
            self.extended.add(path);
        }
        Ok(())
    }
}

/// Copies a file into the one that was begun, and ends it. The inner error is one of reading.
fn copy(file: &mut File, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<std::io::Result<()>> {
    let mut chunk = vec![0; 128 << 10];
    loop {
        cx.check()?;
        match file.read(&mut chunk) {
            Ok(0) => return sink.end().map(Ok),
            Ok(length) => sink.write(&chunk[..length])?,
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// Writes the plain files beneath a root under their own names and with git's modes, as a state has them that is only pushed.
/// What such a state does not hold, in a line.
pub(super) fn export_literal(
    settings: &Settings, place: &Place, sink: &mut dyn Sink, cx: &Cx<'_>,
) -> Result<Vec<String>> {
    let mut left = Names::default();
    let mut paths = walk(settings, place, cx)?;
    paths.sort();
    for path in paths {
        let failed = || Error::io("read", place.full(&path));
        let Some((folder, name)) = place.parent(&path)? else { continue };
        let Some(found) = look(&folder, name).map_err(failed())? else { continue };
        if found.kind() == FileType::Directory {
            continue;
        }
        let file = match found.kind() {
            FileType::RegularFile if !is_git(&path) => open_file(&folder, name).map_err(failed())?,
            _ => None,
        };
        let (Some(mut file), Ok(state_path)) = (file, StatePath::new(&path)) else {
            left.add(&path);
            continue;
        };
        let mode = if bits(&found.stat) & 0o100 == 0 { Mode::File } else { Mode::Executable };
        sink.begin(&state_path, mode)?;
        copy(&mut file, sink, cx)?.map_err(failed())?;
    }
    Ok(left.note("are links, no plain files or git's own, which this state does not hold").into_iter().collect())
}

/// A name in a folder as a path.
pub(super) fn below(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// Whether a root holds nothing.
pub(super) fn is_empty(settings: &Settings, place: &Place) -> Result<bool> {
    let found = list(place.root()).map_err(Error::io("read", place.full(b"")))?;
    Ok(found.iter().all(|found| settings.excludes(&found.name, found.kind() == FileType::Directory)))
}

/// The paths of everything live, folders before what is in them.
pub(super) fn walk(settings: &Settings, place: &Place, cx: &Cx<'_>) -> Result<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    let mut folders = vec![Vec::new()];
    while let Some(path) = folders.pop() {
        cx.check()?;
        let Some(folder) = place.folder(&path)? else { continue };
        for found in list(&folder).map_err(Error::io("read", place.full(&path)))? {
            let (inner, is_folder) = (below(&path, &found.name), found.kind() == FileType::Directory);
            if settings.excludes(&inner, is_folder) {
                continue;
            }
            if is_folder {
                folders.push(inner.clone());
            }
            paths.push(inner);
        }
    }
    Ok(paths)
}

/// The path of a content for messages.
pub(super) fn shown(path: &[u8]) -> String {
    StatePath::new(path).map_or_else(|_| "the folder itself".into(), |path| path.to_string())
}
