//! The files of a commit as a [`Tree`].

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

use glxc_handlers::{ContentId, Entry, Mode, StatePath, Tree};

use crate::{Error, Git, ObjectId, Result};

/// The files beneath a folder of a commit.
#[derive(Clone, Debug)]
pub struct GitTree {
    entries: Arc<Vec<Entry>>,
    git: Git,
    id: ObjectId,
}

impl GitTree {
    /// Lists the files beneath `folder` of `commit`; `None` where there is no such folder.
    ///
    /// # Errors
    /// [`Error::Tree`] where the folder is a file, or holds a submodule or a path that no state can have;
    /// [`Error::Git`].
    pub fn load(git: &Git, commit: &ObjectId, folder: &StatePath) -> Result<Option<Self>> {
        let Some(id) = folder_id(git, commit, folder)? else { return Ok(None) };
        let mut entries = list(git, &id, folder)?;
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(Some(GitTree { entries: Arc::new(entries), git: git.clone(), id }))
    }

    /// The id of the tree object: equal ids mean equal files.
    pub fn id(&self) -> &ObjectId {
        &self.id
    }
}

/// The id of a folder of a commit: equal ids mean equal files. `None` where there is no such folder.
///
/// # Errors
/// [`Error::Tree`] where it is a file.
pub(crate) fn folder_id(git: &Git, commit: &ObjectId, folder: &StatePath) -> Result<Option<ObjectId>> {
    match git.entry(commit, folder)? {
        Some(found) if found.is_tree() => Ok(Some(found.id)),
        Some(_) => Err(Error::Tree { path: folder.to_string(), message: "is not a folder".into() }),
        None => Ok(None),
    }
}

/// What the files of a folder may take of memory, in bytes: a few small objects can stand for more files than any disk holds.
/// It is enough for a million of them.
const LISTING_LIMIT: usize = 256 << 20;

fn list(git: &Git, tree: &ObjectId, folder: &StatePath) -> Result<Vec<Entry>> {
    let mut child = git.spawn(&["ls-tree", "-r", "-z", "--full-tree", tree.as_str()])?;
    let listed = match child.stdout.take() {
        Some(output) => entries(BufReader::new(output), folder),
        None => Err(Error::Protocol("ls-tree has no pipe".into())),
    };
    if listed.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(Error::io("read", "git ls-tree"))?;
    let entries = listed?;
    if status.success() { Ok(entries) } else { Err(Error::git("ls-tree", status.to_string())) }
}

/// Reads records as they come: only what becomes of them is held.
fn entries(mut output: impl BufRead, folder: &StatePath) -> Result<Vec<Entry>> {
    let (mut entries, mut record, mut left) = (Vec::new(), Vec::new(), LISTING_LIMIT);
    loop {
        record.clear();
        let read = output.by_ref().take(left as u64).read_until(0, &mut record);
        if read.map_err(Error::io("read", "git ls-tree"))? == 0 {
            return Ok(entries);
        }
        left = match left.checked_sub(record.len() + size_of::<Entry>()) {
            Some(left) if left > 0 => left,
            _ => {
                let message = format!("holds too many files: their list is longer than {} MiB", LISTING_LIMIT >> 20);
                return Err(Error::Tree { path: folder.to_string(), message });
            }
        };
        entries.push(entry(record.strip_suffix(b"\0").unwrap_or(&record), folder)?);
    }
}

/// `MODE SP TYPE SP ID TAB PATH`
struct Fields<'a> {
    mode: &'a [u8],
    id: &'a [u8],
    path: &'a [u8],
}

fn fields(record: &[u8]) -> Result<Fields<'_>> {
    let unexpected = || Error::Protocol(format!("ls-tree: {}", record.escape_ascii()));
    let tab = record.iter().position(|b| *b == b'\t').ok_or_else(unexpected)?;
    let mut words = record[..tab].split(|b| *b == b' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(mode), Some(_), Some(id), None) => Ok(Fields { mode, id, path: &record[tab + 1..] }),
        _ => Err(unexpected()),
    }
}

fn entry(record: &[u8], folder: &StatePath) -> Result<Entry> {
    let Fields { mode, id, path, .. } = fields(record)?;
    let refused = |message: &str| {
        let path = folder.join(path).map_or_else(|_| format!("{folder}/{}", path.escape_ascii()), |p| p.to_string());
        Error::Tree { path, message: message.into() }
    };
    let mode = match mode {
        b"100644" | b"100664" => Mode::File,
        b"100755" => Mode::Executable,
        b"120000" => Mode::Link,
        b"160000" => return Err(refused("is a submodule, which no state can hold")),
        _ => return Err(refused("is neither a file, a folder nor a link")),
    };
    let path = StatePath::new(path).map_err(|_| refused("is no path of a state"))?;
    Ok(Entry { path, mode, id: ContentId::new(id) })
}

impl Tree for GitTree {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn open(&self, path: &StatePath) -> glxc_handlers::Result<Box<dyn Read + '_>> {
        let failed =
            |source: glxc_handlers::Cause| glxc_handlers::Error::Carrier { context: format!("open {path}"), source };
        let entry = self.entry(path).ok_or_else(|| failed("no such file".into()))?;
        let blob = self.git.blob(entry.id.as_bytes()).map_err(|error| failed(error.into()))?;
        Ok(Box::new(blob))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::path::Path;
    use std::process::{Command, Stdio};

    /// Runs git in a repository with some input.
    fn git(folder: &Path, arguments: &[&str], input: &str) -> String {
        let mut command = Git::new(folder).command();
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A repository whose one commit has `width`^3 empty files beneath `kv`.
    fn repository(folder: &Path, width: usize) -> ObjectId {
        git(folder, &["init", "-q", "--bare"], "");
        let mut content = format!("100644 blob {}", git(folder, &["hash-object", "-w", "--stdin"], ""));
        for _ in 0..3 {
            let entries: String = (0..width).map(|n| format!("{content}\tn{n:03}\n")).collect();
            content = format!("040000 tree {}", git(folder, &["mktree"], &entries));
        }
        let root = git(folder, &["mktree"], &format!("{content}\tkv\n"));
        let author = ["-c", "user.name=u", "-c", "user.email=u@e"];
        let commit = git(folder, &[&author[..], &["commit-tree", &root, "-m", "files"]].concat(), "");
        ObjectId::new(commit).unwrap()
    }

    /// With what the child is called: the repository and the commit.
    const CHILD: &str = "GLXC_TEST_FILES";

    /// A push compares two lists of files. Nothing but these lists is held.
    #[test]
    fn a_million_files_are_held_once() {
        let folder = tempfile::tempdir().unwrap();
        let commit = repository(folder.path(), 100);
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["tree::tests::child", "--exact", "--nocapture"]);
        let output = child.env(CHILD, format!("{} {commit}", folder.path().display())).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let peak = text.lines().find_map(|line| line.split_once("VmHWM:")?.1.trim().strip_suffix(" kB")?.parse().ok());
        let each = peak.map(|kib: u64| kib * 1024 / 2_000_000).unwrap();
        assert!(each <= 180, "{each} bytes a file");
    }

    /// Tells its peak. Does nothing where it is not called for that.
    #[test]
    #[allow(clippy::print_stdout)]
    fn child() {
        let Ok(words) = std::env::var(CHILD) else { return };
        let (folder, commit) = words.split_once(' ').unwrap();
        let load = || {
            let tree =
                GitTree::load(&Git::new(folder), &ObjectId::new(commit).unwrap(), &StatePath::new("kv").unwrap());
            tree.unwrap().unwrap()
        };
        let (base, next) = (load(), load());
        assert_eq!((base.entries().len(), next.entries().len()), (1_000_000, 1_000_000));
        assert!(glxc_handlers::differences(Some(&base), Some(&next)).is_empty());
        println!("{}", std::fs::read_to_string("/proc/self/status").unwrap());
    }

    proptest! {
        #[test]
        fn any_record_is_an_entry_or_an_error(
            record in prop::collection::vec(any::<u8>(), 0..80), mode in "(100644|100755|120000|160000|040000|x)",
            path in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let folder = StatePath::new("data/kv").unwrap();
            let _ = entry(&record, &folder);
            let id = "1".repeat(40);
            let record = [format!("{mode} blob {id}\t").as_bytes(), &path].concat();
            match entry(&record, &folder) {
                Ok(entry) => {
                    prop_assert!(["100644", "100755", "120000"].contains(&mode.as_str()));
                    prop_assert_eq!((entry.path.as_bytes(), entry.id.as_bytes()), (path.as_slice(), id.as_bytes()));
                }
                Err(Error::Tree { path, .. }) => {
                    prop_assert!(path.starts_with("data/kv/") && !path.chars().any(char::is_control), "{path}");
                }
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
    }
}
