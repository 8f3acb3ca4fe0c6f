//! The files of the profiles as plain values.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A plain file.
    File,
    /// A plain file that may be executed.
    Executable,
    /// A symbolic link; its content is the target.
    Link,
}

/// A file and its content.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Its kind.
    pub kind: Kind,
    /// Its bytes, or the target of the link.
    pub content: Arc<[u8]>,
}

/// Files by their paths beneath one folder. Folders are there only as parts of paths.
pub type Files = BTreeMap<PathBuf, File>;

impl File {
    /// A file of a kind.
    pub fn new(kind: Kind, content: impl AsRef<[u8]>) -> Self {
        File { kind, content: content.as_ref().into() }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({} bytes)", self.kind, self.content.len())
    }
}

/// The longest file that a profile may have. Profiles are configuration, held in memory as a whole.
pub(crate) const MAX_FILE: usize = 64 << 20;
const MAX_ALL: usize = 256 << 20;
const MAX_PATH: usize = 3000;

/// What dpkg and ucf leave beside a configuration file. It belongs to the package, not to the profile.
const LEFTOVERS: [&str; 9] = [
    ".dpkg-new",
    ".dpkg-tmp",
    ".dpkg-dist",
    ".dpkg-old",
    ".dpkg-bak",
    ".dpkg-remove",
    ".ucf-new",
    ".ucf-old",
    ".ucf-dist",
];

/// The name under which a file is written before it is renamed into place.
pub(crate) const TEMPORARY: &str = ".glxc-new";

/// Whether a file beneath the profiles' folder is not part of the profiles.
pub(crate) fn is_leftover(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    name == TEMPORARY.as_bytes() || LEFTOVERS.iter().any(|end| name.ends_with(end.as_bytes()))
}

/// Checks paths and sizes: what may be written beneath the folder of the profiles at all.
pub(crate) fn check(files: &Files) -> Result<()> {
    let mut all = 0;
    for (path, file) in files {
        check_path(path)?;
        if file.content.len() > MAX_FILE {
            return Err(Error::invalid(path, format!("longer than {MAX_FILE} bytes")));
        }
        all += file.content.len();
        if all > MAX_ALL {
            return Err(Error::invalid(path, format!("the profiles are longer than {MAX_ALL} bytes in all")));
        }
        if file.kind == Kind::Link && (file.content.is_empty() || file.content.contains(&0)) {
            return Err(Error::invalid(path, "not a target of a link"));
        }
    }
    nested(files.keys())
}

fn check_path(path: &Path) -> Result<()> {
    let bytes = path.as_os_str().as_bytes();
    let normal = path.components().all(|c| matches!(c, Component::Normal(name) if name.len() <= 255));
    let plain = path.components().collect::<PathBuf>().as_os_str().as_bytes() == bytes;
    if !normal || !plain || bytes.is_empty() || bytes.contains(&0) || bytes.len() > MAX_PATH {
        return Err(Error::invalid(path, "not a path beneath the profiles"));
    }
    if is_leftover(path) {
        return Err(Error::invalid(path, "a name that package tools use for their leftovers"));
    }
    if path.starts_with("compiled") {
        return Err(Error::invalid(path, "`compiled` is made in the container; remove it from the repository"));
    }
    Ok(())
}

/// Fails where one path is a file and also a folder of another.
pub(crate) fn nested<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    let mut last: Option<&PathBuf> = None;
    for path in paths {
        if let Some(file) = last.filter(|last| path.starts_with(last)) {
            return Err(Error::invalid(file, format!("a file, but {} lies in it", crate::error::shown(path))));
        }
        last = Some(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(path: &str) -> Files {
        Files::from([(PathBuf::from(path), File::new(Kind::File, "x"))])
    }

    #[test]
    fn refuses_paths_that_leave_the_folder() {
        for bad in ["", "/etc/x", "../x", "web/../../x", "web//x", "./web/x", "web/x/", "we\0b", "compiled/x"] {
            assert!(check(&one(bad)).is_err(), "{bad:?}");
        }
        for good in ["web/tree/etc/x", "web/tree/..x", "web/tree/etc/compiled"] {
            check(&one(good)).unwrap();
        }
    }

    #[test]
    fn refuses_a_file_that_is_a_folder() {
        let mut files = one("web/tree/etc");
        files.extend(one("web/tree/etc/x"));
        assert_eq!(check(&files).unwrap_err().to_string(), "web/tree/etc: a file, but web/tree/etc/x lies in it");
    }

    #[test]
    fn package_leftovers_are_not_profile_files() {
        assert!(is_leftover(Path::new("web/tree/etc/x.conf.dpkg-dist")));
        assert!(!is_leftover(Path::new("web/tree/etc/dpkg-dist")));
        assert!(check(&one("web/tree/etc/x.dpkg-old")).is_err());
    }
}
