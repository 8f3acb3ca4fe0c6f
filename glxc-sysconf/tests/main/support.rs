use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use glxc_sysconf::{Applied, Error, Exported, File, Files, Kind, Scripts, Sysconf};

/// A folder that stands for `/`, with its profiles.
#[derive(Debug)]
pub struct System {
    dir: tempfile::TempDir,
    pub sysconf: Sysconf,
}

/// Files from pairs of path and content; a content that begins with `->` is a link.
pub fn files<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Files {
    let file = |(path, content): (&str, &str)| {
        let file = match content.strip_prefix("->") {
            Some(target) => File::new(Kind::Link, target),
            None => File::new(Kind::File, content),
        };
        (PathBuf::from(path), file)
    };
    pairs.into_iter().map(file).collect()
}

impl System {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sysconf = Sysconf::new(dir.path().join("sysconf"), dir.path().join("var/lib/state"));
        for folder in ["etc", "usr/bin", "operation"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        System { dir, sysconf }
    }

    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(path)
    }

    pub fn operation(&self) -> PathBuf {
        self.path("operation")
    }

    /// Begins an operation: nothing of an earlier one is left.
    fn begin(&self) -> PathBuf {
        let operation = self.operation();
        std::fs::remove_dir_all(&operation).unwrap();
        std::fs::create_dir(&operation).unwrap();
        operation
    }

    /// Files with the `target` that leads here.
    pub fn files<'a>(&self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Files {
        let mut files = files(pairs);
        files.insert("target".into(), File::new(Kind::File, self.dir.path().to_str().unwrap()));
        files
    }

    /// Plans and applies; gives the lines of the scripts too.
    pub fn push(&self, base: Option<&Files>, next: &Files) -> Result<(Applied, Vec<String>), Error> {
        let plan = self.sysconf.plan(base, next)?;
        let mut lines = Vec::new();
        let applied = self.sysconf.apply(&plan, &self.begin(), &mut scripts(&mut lines_of(&mut lines)))?;
        Ok((applied, lines))
    }

    /// Applies until so many steps, or other moments to stop, went by. `None`: it ended before.
    pub fn push_until(&self, base: Option<&Files>, next: &Files, moments: usize) -> Option<Error> {
        let plan = self.sysconf.plan(base, next).unwrap();
        let left = Cell::new(moments);
        let cancelled = || {
            left.set(left.get().saturating_sub(1));
            left.get() == 0
        };
        let mut scripts = Scripts { output: &mut |_, _| {}, cancelled: &cancelled, timeout: Duration::from_secs(60) };
        self.sysconf.apply(&plan, &self.begin(), &mut scripts).err()
    }

    pub fn undo(&self) -> Applied {
        self.sysconf.undo(&self.operation(), Some(&mut scripts(&mut |_, _| {}))).unwrap()
    }

    pub fn export(&self) -> Exported {
        self.sysconf.export().unwrap()
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Writes a file as an editor does that replaces it.
    pub fn replace(&self, path: &str, content: &str) {
        std::fs::write(self.path("new"), content).unwrap();
        std::fs::rename(self.path("new"), self.path(path)).unwrap();
    }

    pub fn is_link(&self, path: &str) -> bool {
        self.path(path).is_symlink()
    }

    /// Everything in the system but this crate's own notes: path, and mode and content or target.
    pub fn picture(&self) -> BTreeMap<PathBuf, String> {
        let mut picture = BTreeMap::new();
        let mut open = vec![self.dir.path().to_path_buf()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let own = path.strip_prefix(self.dir.path()).unwrap().to_path_buf();
                let meta = path.symlink_metadata().unwrap();
                let text = if meta.is_symlink() {
                    format!("-> {}", std::fs::read_link(&path).unwrap().display())
                } else if meta.is_dir() {
                    open.push(path);
                    "folder".into()
                } else {
                    format!("{:o} {}", meta.permissions().mode(), std::fs::read_to_string(&path).unwrap())
                };
                if !own.starts_with("operation") && !own.ends_with("state/unfinished") {
                    picture.insert(own, text);
                }
            }
        }
        picture
    }
}

pub fn lines_of(lines: &mut Vec<String>) -> impl FnMut(&str, &str) {
    |profile, line| lines.push(format!("{profile}: {line}"))
}

pub fn scripts(output: &mut dyn FnMut(&str, &str)) -> Scripts<'_> {
    Scripts { output, cancelled: &|| false, timeout: Duration::from_secs(60) }
}
