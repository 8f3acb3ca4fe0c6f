//! Pushed trees of `files` states that mean harm: they are refused by name, in little memory and time. Each is read by a child
//! of its own, which tells its peak.
#![cfg(feature = "files")]
#![allow(clippy::print_stdout)] // what the child tells

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use glxc_handlers::{
    Cancel, Change, Committed, ContentId, Cx, Decision, Direction, Entry, Mode, OpId, Options, Recorded, Recovered,
    Result, Settings, Silent, StatePath, Tree, Value, differences, files,
};

const MIB: u64 = 1 << 20;
const HEADER: &str = "#glxc-rows 1\tkey=1b\tpath\tmode\towner\tgroup\ttarget\n";
/// What a folder's row says behind its path.
const FOLDER: &str = "\t0755\troot\troot\t\\N\n";
/// With what the child is called: the name of a case.
const CHILD: &str = "GLXC_TEST_HOSTILE";

/// A content: some bytes, then one byte again and again.
#[derive(Debug)]
struct Content(Vec<u8>, u8, u64);

/// A tree whose large contents are made as they are read.
#[derive(Debug)]
struct Made {
    entries: Vec<Entry>,
    contents: Vec<Content>,
}

impl Made {
    fn new(mut files: Vec<(String, Content)>) -> Self {
        files.sort_by(|a, b| a.0.cmp(&b.0));
        let (paths, contents): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        let entry = |(at, path): (usize, &String)| {
            let id = ContentId::new(at.to_be_bytes());
            Entry { path: StatePath::new(path).unwrap(), mode: Mode::File, id }
        };
        Made { entries: paths.iter().enumerate().map(entry).collect(), contents }
    }

    /// A state that goes both ways, with these rows and small contents.
    fn both(rows: impl Into<Vec<u8>>, contents: impl IntoIterator<Item = String>) -> Self {
        let rows = [HEADER.as_bytes(), b"/", FOLDER.as_bytes(), &rows.into()].concat();
        let content = |path| (format!("files/{path}"), Content(b"1".to_vec(), 0, 0));
        let rows = ("entries/rows.tsv".to_owned(), Content(rows, 0, 0));
        Made::new(contents.into_iter().map(content).chain([rows]).collect())
    }

    /// One that is only pushed.
    fn literal(paths: impl IntoIterator<Item = String>) -> Self {
        Made::new(paths.into_iter().map(|path| (path, Content(b"1".to_vec(), 0, 0))).collect())
    }

    /// The same with what follows the bytes of one content.
    fn grown(mut self, path: &str, byte: u8, length: u64) -> Self {
        let at = self.entries.iter().position(|entry| entry.path.as_str() == Some(path)).unwrap();
        (self.contents[at].1, self.contents[at].2) = (byte, length);
        self
    }
}

impl Tree for Made {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }
    fn open(&self, path: &StatePath) -> Result<Box<dyn Read + '_>> {
        let at = self.entries.iter().position(|entry| entry.path == *path).unwrap();
        let Content(bytes, byte, length) = &self.contents[at];
        Ok(Box::new(bytes.chain(std::io::repeat(*byte).take(*length))))
    }
}

/// How many levels a deep path has.
const DEEP: usize = 10_000;

fn deep(levels: usize) -> String {
    "a/".repeat(levels)
}

/// What is to come of a tree.
enum Fate {
    /// It is refused: what is said of it begins so.
    Refused(String),
    /// It passes the check.
    Checked,
    /// It is installed.
    Installed,
}

fn case(name: &str) -> (Direction, Made, Fate) {
    let (both, push) = (Direction::Both, Direction::Push);
    let long = "a folder's path of more than 4095 bytes, or a name of more than 255, which no system opens";
    let refused = |place: &str, why: &str| Fate::Refused(format!("{place}: {why}"));
    match name {
        "a deep folder" => {
            let row = format!("/{}{FOLDER}", deep(DEEP));
            (both, Made::both(row, []), refused("entries/rows.tsv:3", long))
        }
        "a deep file" => {
            let path = deep(DEEP) + "x";
            (both, Made::both("", [path.clone()]), refused(&format!("files/{path}"), long))
        }
        "a deep file of code" => {
            let path = deep(DEEP) + "x";
            (push, Made::literal([path.clone()]), refused(&path, long))
        }
        "a long name" => {
            let name = "x".repeat(256);
            (both, Made::both("", [name.clone()]), refused(&format!("files/{name}"), long))
        }
        "many deep folders" => {
            let path = |n: usize| format!("{n:03}/{}x", deep(2000));
            let tree = Made::literal((0..200).map(path));
            (push, tree, refused(&path(6), "with it the folders of all paths are more than 24 MiB of names"))
        }
        "many deep files" => {
            let path = |n: usize| format!("{n:03}/{}x", deep(1000));
            (both, Made::both("", (0..20).map(path)), Fate::Checked)
        }
        "a long row" => {
            let tree = Made::both("/x", []).grown("entries/rows.tsv", b'x', 1024 * MIB);
            (both, tree, refused("entries/rows.tsv:3", "a line of more than 65536 bytes"))
        }
        "a large file" => {
            let tree = Made::both("", ["large".into()]).grown("files/large", 0, 2048 * MIB);
            (both, tree, Fate::Installed)
        }
        other => panic!("no case {other}"),
    }
}

/// A push to a container where the root is not there yet, and a recovery of what is done already.
fn push(root: &Path, direction: Direction, tree: &Made, check_only: bool) -> Result<()> {
    let (scratch, cancel) = (tempfile::tempdir().unwrap(), Cancel::new());
    let folder = scratch.path();
    let cx = Cx { progress: &Silent, cancel: &cancel, deadline: None, scratch: folder, op_dir: folder };
    let options = Options::new().with("root", Value::Text(root.to_str().unwrap().into()));
    let settings = Settings::new("data", StatePath::new("data").unwrap(), options.clone());
    let handler = files::make(&Settings { direction, ..settings })?;
    handler.check(None, tree, &cx)?;
    if check_only {
        return Ok(());
    }
    let (op, differs) = (OpId::new("00112233445566ff").unwrap(), differences(None, Some(tree)));
    let next = Recorded { tree, options: &options };
    let change = Change { op: &op, base: None, next, differs: &differs, replace: true, prepare: false };
    let mut staged = handler.stage(&change, &cx)?;
    staged.lock()?;
    assert_eq!(staged.commit()?, Committed::default());
    let recovered = handler.recover(&change, None, Decision::Commit, &cx)?;
    assert_eq!(recovered, Recovered::Committed(Committed::default()));
    Ok(())
}

/// One case, in a process of its own. Does nothing where it is not called for one.
#[test]
fn child() {
    let Ok(name) = std::env::var(CHILD) else { return };
    let (direction, tree, fate) = case(&name);
    // not in /tmp, which may be in memory
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let root = folder.path().canonicalize().unwrap().join("srv/data");
    let start = Instant::now();
    match (push(&root, direction, &tree, matches!(fate, Fate::Checked)), fate) {
        (Err(error), Fate::Refused(said)) => {
            let text = error.to_string();
            assert!(text.starts_with(&said), "{}", text.chars().take(300).collect::<String>());
            assert!(!root.parent().unwrap().exists(), "nothing was made");
        }
        (Ok(()), Fate::Checked | Fate::Installed) => {}
        (outcome, _) => panic!("{outcome:?}"),
    }
    println!("TOOK: {}", start.elapsed().as_secs());
    println!("{}", fs::read_to_string("/proc/self/status").unwrap());
}

/// Runs a case, which is to take at most so many MiB.
#[track_caller]
fn run(name: &str, most: u64) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["child", "--exact", "--nocapture"]).env(CHILD, name).env("RUST_BACKTRACE", "0");
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name}: {text}{}", String::from_utf8_lossy(&output.stderr));
    let told = |what: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_else(|| panic!("{what} in {text}"));
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let (peak, seconds) = (told("VmHWM:"), told("TOOK:"));
    println!("{name}: {peak} KiB, {seconds} s");
    assert!(peak <= most << 10, "{name}: {peak} KiB");
    assert!(seconds < 60, "{name}: {seconds} s");
}

#[test]
fn paths_that_no_system_opens_are_refused() {
    ["a deep folder", "a deep file", "a deep file of code", "a long name"].iter().for_each(|name| run(name, 40));
}

#[test]
fn many_deep_paths_are_bounded() {
    run("many deep folders", 64);
    run("many deep files", 64);
}

#[test]
fn a_row_without_an_end_is_refused() {
    run("a long row", 40);
}

#[test]
fn a_large_file_passes_through() {
    if rustix::process::geteuid().is_root() {
        run("a large file", 40);
    }
}
