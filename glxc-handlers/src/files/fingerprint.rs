//! A sign that nothing in a folder changed, from what the kernel tells of each file: nothing is read.

use std::hash::Hasher;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, FsWord, Stat, fstat, fstatfs};
use siphasher::sip128::{Hasher128, SipHasher24};

use super::Settings;
use super::export::below;
use super::place::{Place, list};
use crate::{Cx, Error, Fingerprint, Result};

/// Part of every fingerprint: another way of writing means other files. Raise it with every change of what an export writes.
const FORMAT: &str = "files 1";

/// A file that changed less than this before may change again without a sign: the time of a change is that of a tick, and who
/// writes through a mapping of memory is not noticed again before the page was written back, half a minute later.
const SETTLED: Duration = Duration::from_secs(60);

/// File systems that do not keep the time of every change: tmpfs, those of FUSE, NFS.
const UNTOLD: [FsWord; 3] = [0x0102_1994, 0x6573_5546, 0x6969];

/// Takes a fingerprint of what is beneath a root. `None` where a file changed a short time before `now`.
pub(super) fn take(
    settings: &Settings, place: &Place, etc: &Path, now: SystemTime, cx: &Cx<'_>,
) -> Result<Option<Fingerprint>> {
    let mut sign = Sign { hash: SipHasher24::new(), settled: since_epoch(now).saturating_sub(SETTLED) };
    // After a crash of the kernel older times may stand for newer contents.
    let boot = Path::new("/proc/sys/kernel/random/boot_id");
    sign.add(&std::fs::read(boot).map_err(Error::io("read", boot))?);
    for accounts in ["passwd", "group"] {
        sign.add(&std::fs::read(etc.join(accounts)).unwrap_or_default());
    }
    let failed = |path: &[u8]| Error::io("read", place.full(path));
    let root = fstat(place.root()).map_err(|error| failed(b"")(error.into()))?;
    let mut told = sign.file(b"", &root);
    let mut folders = vec![Vec::new()];
    while let Some(path) = folders.pop() {
        cx.check()?;
        let Some(folder) = place.folder(&path)? else { return Ok(None) };
        told &= tells(&folder).map_err(failed(&path))?;
        let mut found = list(&folder).map_err(failed(&path))?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        for found in found {
            let (inner, is_folder) = (below(&path, &found.name), found.kind() == FileType::Directory);
            if settings.excludes(&inner, is_folder) {
                continue;
            }
            told &= sign.file(&inner, &found.stat);
            if is_folder {
                folders.push(inner);
            }
        }
        if !told {
            return Ok(None);
        }
    }
    let hash = sign.hash.finish128();
    Ok(Some(Fingerprint(format!("{FORMAT}; {:016x}{:016x}", hash.h1, hash.h2))))
}

struct Sign {
    hash: SipHasher24,
    /// What changed after this, since the epoch, is not trusted.
    settled: Duration,
}

impl Sign {
    fn add(&mut self, bytes: &[u8]) {
        self.hash.write_usize(bytes.len());
        self.hash.write(bytes);
    }

    /// Adds a file. Whether it was left alone long enough.
    fn file(&mut self, path: &[u8], stat: &Stat) -> bool {
        self.add(path);
        let Stat { st_dev, st_ino, st_mode, st_uid, st_gid, st_size, .. } = stat;
        let modified = (stat.st_mtime, stat.st_mtime_nsec);
        let changed = (stat.st_ctime, stat.st_ctime_nsec);
        // The time of the change can not be set, as that of the modification can.
        self.add(
            format!("{st_dev} {st_ino} {st_mode} {st_uid} {st_gid} {st_size} {modified:?} {changed:?}").as_bytes(),
        );
        u64::try_from(stat.st_ctime).is_ok_and(|seconds| Duration::from_secs(seconds) < self.settled)
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Whether the file system of a folder keeps the time of every change.
fn tells(folder: impl AsFd) -> std::io::Result<bool> {
    Ok(!UNTOLD.contains(&fstatfs(folder)?.f_type))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cancel, Direction, Options, Silent, Value};
    use std::fs::{self, File};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn taken(folder: &Path, now: SystemTime) -> Option<Fingerprint> {
        let root = folder.join("root");
        let options = Options::new().with("root", Value::Text(root.to_str().unwrap().into()));
        let options = options.with("exclude", Value::List(vec![Value::Text("/cache".into())]));
        let settings = Settings::read(&options, Direction::Both).unwrap();
        let cancel = Cancel::new();
        let cx = Cx { progress: &Silent, cancel: &cancel, deadline: None, scratch: folder, op_dir: folder };
        take(&settings, &Place::open(&root).unwrap().unwrap(), folder, now, &cx).unwrap()
    }

    /// Writes, once the kernel's clock has ticked since the last change.
    fn write(path: &Path, text: &str) {
        let changed = |path: &Path| fs::metadata(path).map(|m| (m.ctime(), m.ctime_nsec())).ok();
        let before = changed(path);
        while before == changed(path) {
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn every_change_shows_and_a_fresh_one_is_not_trusted() {
        // not in /tmp, which may be a tmpfs
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let (folder, root) = (folder.path(), folder.path().join("root"));
        fs::create_dir_all(root.join("a/cache")).unwrap();
        let (file, group) = (root.join("a/file"), folder.join("group"));
        fs::write(&file, "one").unwrap();
        fs::write(&group, "www:x:33:\n").unwrap();
        symlink("x", root.join("link")).unwrap();
        let later = SystemTime::now() + SETTLED * 2;
        assert_eq!(taken(folder, SystemTime::now()), None, "what was written a moment ago is not trusted");
        let mut last = taken(folder, later).unwrap();
        let mut differs = |what: &str| {
            let now = taken(folder, later).unwrap();
            assert_ne!(now, last, "{what}");
            assert_eq!(taken(folder, later), Some(now.clone()), "{what}");
            last = now;
        };
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        write(&file, "two");
        File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), modified);
        differs("another content of the same length and time");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        differs("another mode");
        fs::rename(&file, root.join("a/other")).unwrap();
        differs("another name");
        fs::remove_file(root.join("link")).unwrap();
        symlink("y", root.join("link")).unwrap();
        differs("another link");
        fs::create_dir(root.join("a/empty")).unwrap();
        differs("a folder");
        fs::write(&group, "web:x:33:\n").unwrap();
        differs("another name of a group");
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
        differs("another mode of the root");
        fs::write(root.join("a/cache/x"), "").unwrap();
        differs("the folder `cache` is excluded at the top only");
        fs::create_dir(root.join("cache")).unwrap();
        differs("the root itself has changed");
        fs::write(root.join("cache/x"), "").unwrap();
        assert_eq!(taken(folder, later), Some(last), "what is excluded does not count");
    }
}
